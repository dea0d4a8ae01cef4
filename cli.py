"""``verticlip <noun> <verb>``: parse, call the library, print.

Data goes to standard output, talk to standard error. Exit status: 0 done, 1 failed, 2 wrong usage,
3 some inputs failed and the others were done. Everything heavy is imported inside the commands.
"""

from __future__ import annotations

import io
import logging
import os
import sys
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .console import number, plain, print_json, print_table, say
from .core.errors import ConfigError, VerticlipError

if TYPE_CHECKING:
    from .core.answers import Failure
    from .core.prompts import PromptSet
    from .core.types import Sample
    from .facade import Model

PARTIAL = 3

app = typer.Typer(
    name="verticlip",
    help="CLIP for verticals: classify, embed, train and evaluate.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
models_app = typer.Typer(help="Models that can be loaded by name.", no_args_is_help=True)
train_app = typer.Typer(help="Train a model by recipe.", no_args_is_help=True)
evaluate_app = typer.Typer(help="Measure a model.", no_args_is_help=True)
app.add_typer(models_app, name="models")
app.add_typer(train_app, name="train")
app.add_typer(evaluate_app, name="evaluate")

ModelName = Annotated[
    str, typer.Option("--model", "-m", help="Model name, folder, or Hub repository org/name.")
]
Revision = Annotated[str | None, typer.Option(help="Branch, tag or commit of a Hub repository.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 ...")]
Dtype = Annotated[str, typer.Option(help="auto (exact float32), float32 or bfloat16.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Inputs per call of the network.")]
Labels = Annotated[str | None, typer.Option(help="Comma-separated; default: the model's own classes.")]
Prompts = Annotated[Path | None, typer.Option(help="YAML prompt set: classes, their words, templates.")]
Load = Annotated[
    list[str] | None, typer.Option(help="Loader option KEY=VALUE, e.g. window=lung. Repeatable.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON lines.")]


def main() -> None:
    """Run the command line; an error becomes one line on standard error."""
    arguments = sys.argv[1:]
    # ``--debug`` may stand anywhere, so that it can be added to a command that failed.
    debug = "--debug" in arguments
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(message)s")
    logging.getLogger().setLevel(logging.WARNING)
    logging.getLogger(__package__).setLevel(logging.INFO)
    warnings.showwarning = lambda message, *_, **__: say(f"note: {' '.join(str(message).split())}")
    # Pillow warns at half of its limit; the package's own ceiling decides.
    warnings.filterwarnings("ignore", message=r"Image size .* exceeds limit")
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A file name need not be UTF-8; escaped, it is still valid JSON and reads back as the same name.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        app(args=[argument for argument in arguments if argument != "--debug"])
    except Exception as error:  # the edge of the program
        if debug:
            traceback.print_exc()
        elif isinstance(error, VerticlipError):
            say(f"error: {' '.join(str(error).split())}")
        elif isinstance(error, OSError) and error.errno is not None:
            say(f"error: {_os_reason(error)}")
        else:
            # The text of other libraries' errors may quote file content; only the type is safe to show.
            say(f"error: unexpected {type(error).__name__}. Run the command again with --debug to see where.")
        sys.exit(1)


def _os_reason(error: OSError) -> str:
    """Return what the system refused, without the text of the library that asked."""
    place = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, (str, bytes)) else ""
    return (
        f"{place}{os.strerror(error.errno or 0)}. Check that the folder exists, may be written to and "
        "has space left, or choose another."
    )


def _show_version(value: bool) -> None:
    if value:
        from . import __version__

        print(__version__)
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """CLIP for verticals: classify, embed, train and evaluate."""


@models_app.command("list")
def list_models(as_json: Json = False) -> None:
    """List the models that can be loaded by name."""
    from .core import registry

    specs = registry.models().values()
    rows = [_spec_facts(spec) for spec in specs]
    if as_json:
        print_json(rows)
    else:
        print_table(
            ("name", "takes", "licence", "summary"),
            [(r["name"], "+".join(r["modalities"]), r["licence"], r["summary"]) for r in rows],
        )


@models_app.command("info")
def model_info(name: str, as_json: Json = False) -> None:
    """Show what a model is, what it takes and what it may be used for."""
    from .core import registry
    from .core.config import ModelConfig, read_config
    from .core.files import CONFIG_FILE
    from .hub.loading import resolve

    known = registry.models().get(name)
    facts: dict[str, Any] = _spec_facts(known) if known else {"name": name}
    source = resolve(name)
    config = read_config(ModelConfig, source.folder / CONFIG_FILE)
    facts |= {
        "revision": source.revision,
        "modalities": list(config.towers),
        "embed_dim": config.embed_dim,
        "licence": config.licence or facts.get("licence", ""),
        "description": config.description,
    }
    if as_json:
        print_json([facts])
    else:
        print_table(("", ""), [(key, plain(value)) for key, value in facts.items()])


def _spec_facts(spec: Any) -> dict[str, Any]:
    keys = (
        "name",
        "domain",
        "summary",
        "modalities",
        "embed_dim",
        "licence",
        "intended_use",
        "paper",
        "extra",
    )
    return {key: getattr(spec, key) for key in keys}


@app.command()
def classify(
    files: Annotated[list[Path], typer.Argument(metavar="FILES...", help="Images.")],
    model: ModelName,
    labels: Labels = None,
    prompts: Prompts = None,
    load: Load = None,
    batch_size: BatchSize = 8,
    revision: Revision = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    as_json: Json = False,
) -> None:
    """Classify images by the text of each label."""
    loaded = _model(model, revision, device, dtype)
    _classify(
        loaded,
        files,
        _split(labels),
        templates=_prompts(prompts),
        batch_size=batch_size,
        load=load,
        as_json=as_json,
    )


def _classify(
    model: Model,
    items: Sequence[Path | Sample],
    labels: list[str] | None,
    *,
    templates: PromptSet | None = None,
    batch_size: int = 8,
    load: list[str] | None = None,
    as_json: bool = False,
) -> None:
    from .core.answers import Prediction

    failed = 0
    answers = model.classify_each(
        items, labels, templates=templates, batch_size=batch_size, **_load_options(load)
    )
    for answer in answers:
        if as_json:
            print_json([answer.to_dict()])
        if isinstance(answer, Prediction):
            if not as_json:
                ranked = sorted(answer.scores.items(), key=lambda item: -item[1])[:3]
                print(
                    f"{answer.id}\t" + "\t".join(f"{label} {score:.3f}" for label, score in ranked),
                    flush=True,
                )
        else:
            failed += 1
            say(_failure_line(answer))
    _finish(failed, len(items))


@app.command()
def embed(
    source: Annotated[
        Path, typer.Argument(metavar="INPUT", help="Image, folder, or manifest (.csv, .jsonl).")
    ],
    model: ModelName,
    out: Annotated[Path, typer.Option(help="Parquet file with ids and vectors.")],
    load: Load = None,
    batch_size: BatchSize = 8,
    workers: Annotated[int | None, typer.Option(min=1, help="Threads that read files ahead.")] = None,
    revision: Revision = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    as_json: Json = False,
) -> None:
    """Embed images into a Parquet file; run it again after an interruption and it continues."""
    from .core.embed import list_files

    files = list_files(source)
    loaded = _model(model, revision, device, dtype)
    report = loaded.embed_files(
        files, out, batch_size=batch_size, workers=workers, progress=_progress(), **_load_options(load)
    )
    facts = {
        "out": str(report.out),
        "embedded": report.embedded,
        "failed": report.failed,
        "failures": str(report.failures) if report.failures else None,
        "resumed_parts": report.resumed,
    }
    if as_json:
        print_json([facts])
    else:
        print(report.out)
    if report.failed:
        say(f"{report.failed} of {len(files)} inputs failed; reasons in {report.failures}")
    _finish(report.failed, len(files))


@train_app.command("run")
def train_run(
    recipe: Annotated[str, typer.Argument(help="Recipe name or YAML file.")],
    data: Annotated[Path, typer.Option(help="Folder that the recipe's sources are relative to.")],
    out: Annotated[Path, typer.Option(help="Run folder.")],
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE of the recipe. Repeatable.")
    ] = None,
    resume: Annotated[bool, typer.Option(help="Continue an unfinished run in the folder.")] = True,
    as_json: Json = False,
) -> None:
    """Train a model by recipe; run it again after an interruption and it continues."""
    from .api import train

    result = train(recipe, data, out, overrides=changes or (), resume=resume, progress=sys.stderr.isatty())
    facts = {
        "model": str(result.model),
        "steps": result.steps,
        "resumed_from": result.resumed_from,
        "metrics": result.metrics,
    }
    if as_json:
        print_json([facts])
    else:
        print(result.model)
        say(f"{result.steps} steps; metrics in {result.model / 'metrics.json'}")


@evaluate_app.command("zero-shot")
def evaluate_zero_shot(
    model: ModelName,
    data: Annotated[Path, typer.Option(help="One folder per class, or one per split with those inside.")],
    labels: Annotated[str | None, typer.Option(help="Comma-separated; default: the folder names.")] = None,
    prompts: Prompts = None,
    split: Annotated[str | None, typer.Option(help="Which split, when the folder has splits.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for report.json and confusion.png.")] = Path("evaluation"),
    load: Load = None,
    batch_size: BatchSize = 8,
    revision: Revision = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    as_json: Json = False,
) -> None:
    """Measure how well text prompts alone classify labelled images."""
    from .evaluation import evaluate_folder

    loaded = _model(model, revision, device, dtype)
    result = evaluate_folder(
        loaded,
        data,
        out,
        labels=_split(labels),
        templates=_prompts(prompts),
        split=split,
        batch_size=batch_size,
        **_load_options(load),
    )
    if as_json:
        print_json([result.to_dict()])
    else:
        names = ("accuracy", "balanced_accuracy", "macro_f1", "auc", "calibration_error")
        print_table(("metric", "value"), [(name, str(getattr(result.report, name))) for name in names])
    for failure in result.failures:
        say(_failure_line(failure))
    say(f"report and confusion matrix in {out}")
    _finish(len(result.failures), len(result.failures) + result.report.rows)


@app.command()
def verify(
    system: Annotated[str, typer.Argument(help="core, or a system of a domain, e.g. medical_loading.")],
    case_dir: Annotated[Path, typer.Argument(help="Folder of one stored reference case.")],
    as_json: Json = False,
) -> None:
    """Replay a stored reference case and compare every output with its tolerance."""
    from .core.verify import replay

    report = replay(system, case_dir)
    rows = [
        {"output": c.name, "status": c.status, "error": c.error, "tolerance": c.tolerance, "note": c.note}
        for c in report.checks
    ]
    if as_json:
        print_json({"system": report.system, "case": report.case, **row} for row in rows)
    else:
        shown = {"over": "OVER", "shape": "OVER"}
        print_table(
            ("output", "largest error", "tolerance", ""),
            [
                (
                    r["output"],
                    number(r["error"]),
                    number(r["tolerance"]),
                    f"{shown.get(r['status'], r['status'])} {r['note']}".strip(),
                )
                for r in rows
            ],
        )
    if not report.passed:
        failed = sum(check.status not in ("ok", "documented") for check in report.checks)
        reason = f"{failed} of {len(rows)} outputs failed" if failed else "no output could be compared"
        raise VerticlipError(f"{report.system} {report.case}: {reason}.")


@app.command()
def doctor(as_json: Json = False) -> None:
    """Show versions, devices, optional parts and the download cache."""
    from .diagnosis import diagnose

    facts = diagnose()
    if as_json:
        print_json([facts])
    else:
        rows = [
            (section, key, plain(value)) for section, part in facts.items() for key, value in part.items()
        ]
        print_table(("", "", ""), rows)


_DEMO_MODEL = "medical/tiny"
_DEMO_FILES = {
    "J2K_pixelrep_mismatch.dcm": "head CT, JPEG 2000, signed",
    "693_J2KI.dcm": "head CT, JPEG 2000, lossy",
    "MR_small.dcm": "MR, uncompressed",
}
_DEMO_LABELS = ("brain scan", "chest X-ray", "blood smear microscopy")


@app.command()
def demo(as_json: Json = False) -> None:
    """Classify the DICOM files that come with pydicom and a drawn head, with medical/tiny."""
    from dataclasses import replace

    from .core.errors import require

    data = require("pydicom.data", extra="demo")
    model = _model(_DEMO_MODEL)
    say(f"{_DEMO_MODEL} is a demonstration, not a medical device. Which of these kinds is closest?")
    paths = {name: data.get_testdata_file(name, download=False) for name in _DEMO_FILES}
    items: list[Path | Sample] = [
        replace(model.load(path), id=f"{name} ({_DEMO_FILES[name]})") for name, path in paths.items() if path
    ]
    _classify(model, [*items, _drawn_head()], list(_DEMO_LABELS), as_json=as_json)


def _drawn_head() -> Sample:
    """Return a synthetic axial head, 128 x 128: bright skull, grey brain, dark ventricles."""
    import torch

    from .core.types import Sample

    y, x = torch.meshgrid(torch.linspace(-1, 1, 128), torch.linspace(-1, 1, 128), indexing="ij")
    image = torch.zeros(128, 128)
    for height, width, level in ((0.92, 0.76, 0.85), (0.84, 0.68, 0.40), (0.30, 0.20, 0.10)):
        image[(y / height) ** 2 + (x / width) ** 2 < 1] = level
    return Sample(image[None], "image", id="drawn head")


def _split(labels: str | None) -> list[str] | None:
    return None if labels is None else [label.strip() for label in labels.split(",")]


def _prompts(path: Path | None) -> PromptSet | None:
    if path is None:
        return None
    from .core.prompts import PromptSet

    return PromptSet.load(path)


_NOT_OPTIONS = ("path", "options", "transform", "limits", "modality")
"""Arguments of a loader that no text can stand for, or that the program gives itself."""


def _load_options(pairs: list[str] | None) -> dict[str, Any]:
    """Return loader options; messages name the paths, because the user typed them."""
    import yaml

    options: dict[str, Any] = {"show_paths": True}
    for pair in pairs or ():
        key, equals, value = pair.partition("=")
        if not equals or not key.isidentifier():
            raise ConfigError(f"--load {pair!r} is not KEY=VALUE, for example window=lung.")
        if key in _NOT_OPTIONS:
            raise ConfigError(f"--load {key} is not a loader option. Give one such as window=lung.")
        try:
            options[key] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise ConfigError(
                f"--load {pair!r}: the value cannot be read. Write a word, a number or a list like [40, 80]."
            ) from None
    return options


def _failure_line(failure: Failure) -> str:
    """Return the input and the reason on one line; most reasons name the input already."""
    named = failure.error.startswith(" ".join(failure.id.split()))
    return " ".join((failure.error if named else f"{failure.id}: {failure.error}").split())


def _model(name: str, revision: str | None = None, device: str = "auto", dtype: str = "auto") -> Model:
    from .api import from_pretrained

    return from_pretrained(name, revision=revision, device=device, dtype=dtype)  # pyright: ignore[reportArgumentType]


def _progress() -> Any:
    """Return a progress callback on a terminal, else None."""
    if not sys.stderr.isatty():
        return None
    return lambda done, total: print(
        f"\r{done:,} of {total:,}", end="\n" if done == total else "", file=sys.stderr
    )


def _finish(failed: int, total: int) -> None:
    if failed:
        raise typer.Exit(1 if failed == total else PARTIAL)
