"""``verticlip audio evaluate generation``: what another model hears in generated sounds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ....core.commandline import (
    Device,
    Dtype,
    Json,
    Labels,
    ModelName,
    Revision,
    check_file,
    open_model,
    progress_line,
    split_labels,
)
from ....core.console import print_json, print_table, say
from ....core.errors import ConfigError


def evaluate_generation(
    context: typer.Context,
    model: ModelName = "audio/tiny-sonic",
    labels: Labels = None,
    each: Annotated[int, typer.Option(min=1, help="Sounds per prompt.")] = 8,
    judge: Annotated[
        str | None, typer.Option(help="Model that hears and reads; default: the model itself.")
    ] = None,
    real: Annotated[Path | None, typer.Option(help="Folder of recordings, for the Frechet distance.")] = None,
    seconds: Annotated[
        float | None, typer.Option(help="Length; default: what the model was trained on.")
    ] = None,
    steps: Annotated[int, typer.Option(help="Calls of the network per sound.")] = 25,
    guidance: Annotated[float, typer.Option(help="How strictly the words are followed.")] = 3.0,
    sampler: Annotated[str, typer.Option(help="dpm, ddim, ddpm, unipc, deis or euler.")] = "dpm",
    seed: Annotated[int, typer.Option(help="Of the first sound; the others count on from it.")] = 0,
    out: Annotated[Path | None, typer.Option(help="JSON file for the whole report.")] = None,
    revision: Revision = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    as_json: Json = False,
) -> None:
    """Make sounds from prompts and say how many a judge recognizes and how far they are from real ones."""
    from ....core.files import write_json_atomic
    from ..tasks.generation import GenerationOptions
    from ..tasks.generation_evaluation import evaluate_generation as measure
    from .tag import recordings

    if out is not None:
        check_file(out, ".json")
    options = GenerationOptions().with_(
        seconds=seconds, steps=steps, guidance=guidance, sampler=sampler, seed=seed
    )
    files = recordings([real]) if real is not None else []
    handle = open_model(context, model, revision, device, dtype)
    prompts = split_labels(labels)
    if prompts is None:
        if handle.prompts is None:
            raise ConfigError(
                f"{handle.id} has no classes of its own. Name prompts: --labels 'rain,dog barking'."
            )
        prompts = list(handle.prompts.class_names)
    found = measure(
        handle,
        prompts,
        options,
        each=each,
        judge=None if judge is None else open_model(context, judge, None, device, dtype),
        real=files,
        progress=progress_line(),
    )
    if out is not None:
        write_json_atomic(out, found.to_dict())
        say(f"wrote {out}")
    if as_json:
        print_json([found.to_dict()])
        return
    rows = [
        ("sounds", str(found.sounds)),
        ("judge", found.judge if found.independent else f"{found.judge} (the towers that drove it: lenient)"),
        ("agreement with the prompts", f"{found.score.mean:.3f}"),
    ]
    if found.score.contrast is not None:
        rows.append(("agreement over that with wrong prompts", f"{found.score.contrast:+.3f}"))
    if found.recognized is not None:
        rows.append(("recognized", f"{found.recognized:.3f} (chance {found.chance:.3f})"))
    rows += [(f"  {name}", f"{share:.2f}") for name, share in found.classes.items()]
    if found.frechet is not None:
        distance = found.frechet
        beyond = "" if distance.infinite is None else f", {distance.infinite:.3f} for endlessly many"
        note = f"; {distance.warning}" if distance.warning else ""
        rows.append(("Frechet distance", f"{distance.distance:.3f}{beyond} in {distance.embedding}{note}"))
    print_table(("", ""), rows)
