"""``verticlip medical <verb>``: what only makes sense for scans, beside the verbs that every domain has."""

from __future__ import annotations

import typer

from .. import COMMANDS
from .export import deidentify
from .pictures import annotate, compare, ground
from .volumes import volume

_HELP = COMMANDS["medical"].help
app = typer.Typer(
    name="medical",
    help=_HELP,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for _command in (ground, annotate, compare, volume, deidentify):
    app.command()(_command)
