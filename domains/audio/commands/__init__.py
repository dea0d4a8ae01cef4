"""``verticlip audio <verb>``: what only makes sense for sound, beside the verbs that every domain has."""

from __future__ import annotations

import typer

from .. import COMMANDS
from .evaluate import app as evaluate
from .generate import generate
from .separate import separate
from .tag import tag

_HELP = COMMANDS["audio"].help
app = typer.Typer(
    name="audio",
    help=_HELP,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback()
def _group() -> None:
    """Sound: tag over time, separate, generate, measure."""


for _command in (separate, tag, generate):
    app.command()(_command)
app.add_typer(evaluate, name="evaluate")
