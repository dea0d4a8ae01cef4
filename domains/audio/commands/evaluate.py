"""``verticlip audio evaluate``: how well a model separates, or generates, against what is known."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ....core.commandline import (
    PARTIAL,
    Device,
    Dtype,
    Json,
    ModelName,
    Prompts,
    Revision,
    check_file,
    open_model,
    progress_line,
    read_pairs,
    read_prompts,
)
from ....core.console import print_json, print_table, say
from .evaluate_generation import evaluate_generation

if TYPE_CHECKING:
    from ....core.metrics.bootstrap import Estimate
    from ..tasks.separation_evaluation import SeparationReport

app = typer.Typer(help="Measure what a model makes.", no_args_is_help=True)
app.command("generation", short_help="What a judge hears in generated sounds.")(evaluate_generation)


@app.command("separation", short_help="Decibels gained over the mixture.")
def evaluate_separation(
    context: typer.Context,
    data: Annotated[
        Path,
        typer.Option(
            help="Folder of class folders, to make mixtures of; or a CSV with columns mixture, target, query."
        ),
    ],
    model: ModelName = "audio/tiny-sep",
    names: Annotated[
        list[str] | None, typer.Option("--name", help="Query for a class folder: FOLDER=WORDS. Repeatable.")
    ] = None,
    level: Annotated[float, typer.Option(help="Target over interference, dB: equal loudness at 0.")] = 0.0,
    seconds: Annotated[float, typer.Option(help="Longest mixture that is made.")] = 5.0,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many mixtures.")] = None,
    seed: Annotated[int, typer.Option(help="Of the choice of partners.")] = 0,
    filters: Annotated[
        bool, typer.Option(help="Also SDR, SIR and SAR of BSS Eval, which take most of the time.")
    ] = True,
    mask: Annotated[str, typer.Option(help="soft or hard.")] = "soft",
    prompts: Prompts = None,
    out: Annotated[Path, typer.Option(help="JSON file for the whole report.")] = Path("separation.json"),
    revision: Revision = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    as_json: Json = False,
) -> None:
    """Measure separation: dB gained over the mixture, by class, with 95 % intervals."""
    from ....core.files import write_json_atomic
    from ..tasks.separation_evaluation import MixingOptions, measure_separation, mixtures_of

    check_file(out, ".json")
    words = {
        key: str(value) for key, value in read_pairs(names, "--name", example="dog_bark='a dog'").items()
    }
    options = MixingOptions(level_db=level, seconds=seconds, limit=limit, seed=seed)
    handle = open_model(context, model, revision, device, dtype)
    mixtures = mixtures_of(data, handle, options, words=words)
    report = measure_separation(
        handle,
        mixtures,
        mask=mask,
        templates=read_prompts(prompts),
        filters=filters,
        progress=progress_line(),
    )
    write_json_atomic(out, report.to_dict())
    if as_json:
        print_json([report.to_dict()])
    else:
        _show(report)
    for failure in report.failures:
        say(f"left out: {failure}")
    say(f"wrote {out}")
    if report.failures:
        raise typer.Exit(PARTIAL)


def _show(report: SeparationReport) -> None:
    """Print one line per class and one for all of them; intervals for what was gained over the mixture."""
    columns = list(report.overall)

    def cell(column: str, estimate: Estimate) -> str:
        return report.words(estimate) if column.endswith("_improvement") else f"{estimate.value:+.2f}"

    rows = [
        [name, str(report.counts[name]), *(cell(column, one[column]) for column in columns)]
        for name, one in (*report.classes.items(), ("all", report.overall))
    ]
    print_table(["class", "sources", *(column.replace("_", " ") for column in columns)], rows)
