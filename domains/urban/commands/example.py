"""``verticlip urban example``: from a scene and districts to maps, without network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ....core.commandline import Device, Json, ModelName, check_folder, open_model
from ....core.console import print_json, say

if TYPE_CHECKING:
    from ..tasks.example import ExampleReport


def example(
    context: typer.Context,
    out: Annotated[Path, typer.Option(help="Folder for everything that is made.")] = Path("urban-example"),
    data: Annotated[
        Path | None,
        typer.Option(help="Data folder: urban/geotiff/RGB.byte.tif of it is the scene when it is there."),
    ] = None,
    model: ModelName = "urban/tiny",
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Run the whole way once: a scene and districts in, land use, found places and an indicator as maps out.

    Without --data, or where its scene is absent, a made-up coastal town is drawn first.
    """
    from ..tasks.example import run_example

    check_folder(out)
    handle = open_model(context, model, None, device, "auto")
    report = run_example(handle, out, data=data, tell=say)
    if as_json:
        print_json([report.to_dict()])
    else:
        _show(report)


def _show(report: ExampleReport) -> None:
    """Print what was made, and say what it amounts to."""
    from ....core.console import print_table

    rows = [(what, (report.folder / name).as_posix()) for what, name in report.files.items()]
    print_table(("what", "file"), rows)
    for query, tile in report.hits.items():
        say(f"{query!r} fits tile {tile} best")
    say(
        f"{report.indicator}: R2 {report.block_r2:.2f} on ground that nothing was learned from; "
        f"{report.random_r2:.2f} beside neighbors of the same ground"
    )
