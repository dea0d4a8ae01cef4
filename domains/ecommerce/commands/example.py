"""``verticlip catalog example``: a made-up shop from its table to search and duplicates, without network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ....core.commandline import Device, Json, ModelName, check_folder, open_model
from ....core.console import print_json, print_table, say

if TYPE_CHECKING:
    from ..tasks.example import ExampleReport


def example(
    context: typer.Context,
    out: Annotated[Path, typer.Option(help="Folder for everything that is made.")] = Path("catalog-example"),
    model: ModelName = "ecommerce/tiny",
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Run the whole way once, on a drawn shop.

    Its messy table is taken in and searched, its duplicates are found; no network is needed.
    """
    from ..tasks.example import run_example

    check_folder(out)
    report = run_example(open_model(context, model, None, device, "auto"), out, tell=say)
    if as_json:
        print_json([report.to_dict()])
    else:
        _show(report)


def _show(report: ExampleReport) -> None:
    """Print what was made, and say what it amounts to."""
    rows = [(what, (report.folder / name).as_posix()) for what, name in report.files.items()]
    print_table(("what", "file"), rows)
    for question, best in report.best.items():
        say(f"{question!r}: {best} fits best")
    say(
        f"{report.hit_recall_at_5:.0%} of the labelled queries find a right product among five; "
        f"{report.duplicates} listings are there twice, {report.copies} of them drawn so"
    )
