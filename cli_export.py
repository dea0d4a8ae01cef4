"""``verticlip hub export``: a model in the format of another library, compared with itself first."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .core.commandline import Json, Revision
from .core.console import print_json, print_table, say, shown
from .core.errors import ConfigError, nearest

if TYPE_CHECKING:
    from .hub.export.report import ExportReport

_PARTED = ("onnx", "openvino")
"""Formats of one file per part, of which some can be left out."""


def export(
    model: Annotated[str, typer.Argument(help="Model name, folder, or Hub repository org/name.")],
    out: Annotated[Path, typer.Argument(help="Folder to write; must not exist or be empty.")],
    to: Annotated[
        str, typer.Option("--to", metavar="FORMAT", help="open_clip, transformers, onnx or openvino.")
    ],
    tower: Annotated[
        list[str] | None,
        typer.Option(help="This part only, such as image (onnx and openvino). Repeatable."),
    ] = None,
    repo_id: Annotated[
        str | None,
        typer.Option(help="org/name that the folder will be published as, for its tokenizer (open_clip)."),
    ] = None,
    revision: Revision = None,
    as_json: Json = False,
) -> None:
    """Write a model as another library reads it.

    Both are run on the same inputs first: if they differ by more than is allowed nothing is written, and the
    table says where and by how much.
    """
    from .hub.export import FORMATS
    from .hub.export import export as carry_out
    from .hub.export.report import ExportRefused

    if to not in FORMATS:
        raise ConfigError(f"--to {to}: there are {', '.join(FORMATS)}.{nearest(to, FORMATS)}")
    if tower and to not in _PARTED:
        raise ConfigError(f"--tower is for {' and '.join(_PARTED)}: {to} has all of a model in one file.")
    if repo_id and to != "open_clip":
        raise ConfigError("--repo-id is for open_clip: other formats name no repository.")
    options: dict[str, Any] = {"towers": tuple(dict.fromkeys(tower))} if tower else {}
    if repo_id:
        options["repo_id"] = repo_id
    try:
        report = carry_out(model, out, to, revision=revision, **options)
    except ExportRefused as error:
        _show(error.report, as_json=as_json)
        say(shown(f"error: {error}"))
        raise typer.Exit(1) from None
    _show(report, as_json=as_json)
    if not as_json:
        say(shown(f"{report.model} is in {out} as {to}: {', '.join(report.files)}"))


def _show(report: ExportReport, *, as_json: bool) -> None:
    if as_json:
        print_json([report.to_dict()])
        return
    rows = [
        (
            check.name,
            "-" if check.error is None else f"{check.error:.2g}",
            "-" if check.tolerance is None else f"{check.tolerance:.2g}",
            "ok" if check.status == "ok" else shown(f"{check.status} {check.note}".strip()),
        )
        for check in report.checks
    ]
    print_table(("compared", "off by", "allowed", ""), rows)
    for note in report.notes:
        print(shown(note))
