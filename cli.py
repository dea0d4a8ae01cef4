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
from typer.core import TyperGroup

from .cli_evaluate import app as evaluate_app
from .cli_hub import app as hub_app
from .cli_index import app as index_app
from .cli_models import app as models_app
from .cli_options import load_model
from .core import registry
from .core.commandline import (
    BatchSize,
    Device,
    Dtype,
    Json,
    Labels,
    Load,
    ModelName,
    Prompts,
    Revision,
    failure_line,
    finish,
    load_options,
    progress_line,
    read_prompts,
    split_labels,
)
from .core.console import number, plain, print_json, print_table, say, shown
from .core.errors import VerticlipError

if TYPE_CHECKING:
    from .core.prompts import PromptSet
    from .core.types import Sample
    from .facade import Model


class _WithDomains(TyperGroup):
    """The commands of the program and, imported when they are asked for, those of each domain."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return every name; a domain without commands of its own has none here."""
        return [*super().list_commands(ctx), *registry.command_groups()]

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write names and help of all commands, without importing those of any domain."""
        width = formatter.width - 6 - max(len(name) for name in self.list_commands(ctx))
        own = (
            (name, super(_WithDomains, self).get_command(ctx, name)) for name in super().list_commands(ctx)
        )
        rows = [(name, found.get_short_help_str(width)) for name, found in own if found and not found.hidden]
        rows += [(name, home.commands[name].help) for name, home in registry.command_groups().items()]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return the command or the domain's group of commands, or None."""
        found = super().get_command(ctx, cmd_name)
        if found is None:
            home = registry.command_groups().get(cmd_name)
            found = typer.main.get_group(home.command_app(cmd_name)) if home is not None else None
        return found


app = typer.Typer(
    name="verticlip",
    cls=_WithDomains,
    help="CLIP for verticals: classify, embed, train and evaluate.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
train_app = typer.Typer(help="Train a model by recipe.", no_args_is_help=True)
app.add_typer(models_app, name="models")
app.add_typer(train_app, name="train")
app.add_typer(evaluate_app, name="evaluate")
app.add_typer(index_app, name="index")
app.add_typer(hub_app, name="hub")


def main() -> None:
    """Run the command line; an error becomes one line on standard error."""
    arguments = sys.argv[1:]
    # ``--debug`` may stand anywhere, so that it can be added to a command that failed.
    debug = "--debug" in arguments
    handler = logging.StreamHandler(sys.stderr)
    if not debug:
        handler.addFilter(_is_ours)
    logging.basicConfig(handlers=[handler], level=logging.INFO, format="%(message)s")
    logging.getLogger().setLevel(logging.WARNING)
    logging.getLogger(__package__).setLevel(logging.INFO)
    if not debug:
        # Each retry would be told twice; what failed in the end is our own one line. The library reads
        # this when it is imported and would undo a level set before.
        os.environ.setdefault("HF_HUB_VERBOSITY", "error")

    def show_warning(message: Warning | str, _: object, source: str, *__: object, **___: object) -> None:
        # As with logs: other libraries warn with what stands in a file, a header for one.
        if debug or _is_our_file(source):
            say(f"note: {' '.join(str(message).split())}")

    warnings.showwarning = show_warning
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


def _is_ours(record: logging.LogRecord) -> bool:
    """Return whether verticlip wrote a log record: those of other libraries may quote file content."""
    return record.name.partition(".")[0] == __package__


def _is_our_file(source: str) -> bool:
    """Return whether a source file is one of this package, and not of an environment inside its folder."""
    path, package = Path(source), Path(__file__).parent
    return path.is_relative_to(package) and "site-packages" not in path.relative_to(package).parts


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
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """CLIP for verticals: classify, embed, train and evaluate."""
    # What a domain's commands open models with: a domain may not import the program above it.
    context.obj = load_model


@app.command()
def classify(
    files: Annotated[
        list[Path],
        # Not checked here: one file that may not be read must not stop the others.
        typer.Argument(
            metavar="FILES...",
            help="Images, recordings, or volumes a domain reads.",
            readable=False,
        ),
    ],
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="Model name, folder, or Hub repository; default: the head's."),
    ] = None,
    labels: Labels = None,
    prompts: Prompts = None,
    head: Annotated[
        Path | None, typer.Option(help="Folder of a head that a probe or a fine-tuning wrote.")
    ] = None,
    load: Load = None,
    batch_size: BatchSize = 8,
    revision: Revision = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    as_json: Json = False,
) -> None:
    """Classify images or recordings by the text of each label, or with a fitted head."""
    if model is None:
        if head is None:
            raise typer.BadParameter("Missing option '--model'; a --head that names its model will do, too.")
        from .core.heads.pointer import read_pointer

        model = read_pointer(head).locate(head)
    loaded = load_model(model, revision, device, dtype)
    _classify(
        loaded,
        files,
        split_labels(labels),
        templates=read_prompts(prompts),
        head=head,
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
    head: Path | None = None,
    batch_size: int = 8,
    load: list[str] | None = None,
    as_json: bool = False,
) -> None:
    from .core.answers import Prediction

    failed = 0
    answers = model.classify_each(
        items, labels, templates=templates, head=head, batch_size=batch_size, **load_options(load)
    )
    for answer in answers:
        if as_json:
            print_json([answer.to_dict()])
        if isinstance(answer, Prediction):
            if not as_json:
                ranked = sorted(answer.scores.items(), key=lambda item: -item[1])[:3]
                print(
                    f"{shown(str(answer.id))}\t"
                    + "\t".join(f"{label} {score:.3f}" for label, score in ranked),
                    flush=True,
                )
        else:
            failed += 1
            say(failure_line(answer))
    finish(failed, len(items))


@app.command()
def embed(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="INPUT",
            help="Image, recording, volume, folder of them, or manifest (.csv, .jsonl).",
        ),
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
    """Embed images or recordings into a Parquet file; run again after an interruption, it continues."""
    from .core.embed import list_files

    files = list_files(source)
    loaded = load_model(model, revision, device, dtype)
    report = loaded.embed_files(
        files, out, batch_size=batch_size, workers=workers, progress=progress_line(), **load_options(load)
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
    finish(report.failed, len(files))


@train_app.command("list")
def train_list(as_json: Json = False) -> None:
    """List the recipes that can be run by name."""
    rows = [
        {"name": spec.name, "domain": spec.domain, "summary": spec.summary, "path": str(spec.path)}
        for spec in registry.recipes().values()
    ]
    if as_json:
        print_json(rows)
    else:
        print_table(("name", "summary"), [(row["name"], row["summary"]) for row in rows])


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
    """Train a model or fit a probe by recipe; run it again after an interruption and it continues."""
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
        say(result.summary)


@train_app.command("caption")
def train_caption(
    model: ModelName,
    images: Annotated[Path, typer.Argument(help="Image folder (class folders), or manifest .csv/.jsonl.")],
    captions: Annotated[Path, typer.Option(help="Text file of captions to choose from, one per line.")],
    out: Annotated[Path, typer.Option(help="JSON lines to write: path, label, split, text.")],
    threshold: Annotated[
        float, typer.Option(help="Least cosine of image and caption; models differ, look at the quartiles.")
    ] = 0.27,
    at_most: Annotated[int, typer.Option(min=1, help="Captions per image.")] = 5,
    revision: Revision = None,
    batch_size: BatchSize = 8,
    device: Device = "auto",
    dtype: Dtype = "auto",
    as_json: Json = False,
) -> None:
    """Give images captions that a model finds fitting, to keep words in place while training by classes."""
    from .core.data import Manifest
    from .core.pseudo_captions import choose_captions, read_pool

    pool = read_pool(captions)
    if images.is_dir():
        manifest = Manifest.from_folder(images, check=None)
    else:
        read = Manifest.from_jsonl if images.suffix == ".jsonl" else Manifest.from_csv
        manifest = read(images, check=None)
    found = choose_captions(
        load_model(model, revision, device, dtype),
        manifest,
        pool,
        threshold=threshold,
        at_most=at_most,
        batch_size=batch_size,
    )
    found.save(out)
    facts = found.to_dict()
    if as_json:
        print_json([facts])
    else:
        low, middle, high = found.best
        print_table(
            ("images with captions", "captions", "without", "unusable", "best cosine: quartiles"),
            [
                (
                    str(facts["with_captions"]),
                    str(facts["captions"]),
                    str(found.without),
                    str(len(found.failures)),
                    f"{low:.3f} {middle:.3f} {high:.3f}",
                )
            ],
        )
    say(f"wrote {out}")
    finish(len(found.failures), len(found.records) + len(found.failures))


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
    model = load_model(_DEMO_MODEL)
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
