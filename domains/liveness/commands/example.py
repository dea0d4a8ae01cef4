"""``verticlip liveness example``: from a data set to error rates and answers, without network or faces."""

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
    out: Annotated[Path, typer.Option(help="Folder for everything that is made.")] = Path("liveness-example"),
    model: ModelName = "liveness/tiny",
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Run the whole way once, on drawn things.

    A manifest in, thresholds, a report in the words of ISO/IEC 30107-3 and answers out. Pictures are drawn
    and attacks on them simulated, no face among them. The figures show what a report says; they are no
    evidence of how live faces are told from attacks.
    """
    from ..tasks.example import run_example

    check_folder(out)
    handle = open_model(context, model, None, device, "auto")
    report = run_example(handle, out, tell=say)
    if as_json:
        print_json([report.to_dict()])
    else:
        _show(report)


def _show(report: ExampleReport) -> None:
    """Print what was made and decided, and what to think of it."""
    print_table(
        ("what", "file"), [(what, (report.folder / name).as_posix()) for what, name in report.files.items()]
    )
    typer.echo("")
    print_table(("capture", "decision"), list(report.decisions.items()))
    for note in report.notes[1:]:
        say(f"note: {note}")
    # The first note once more: it stands beside the figures.
    say(report.notes[0])
