"""``verticlip audio <verb>``: what only makes sense for sound, beside the verbs that every domain has."""

from __future__ import annotations

import typer

_HELP = "Sound: separate by a query, tag over time, generate from words, measure."
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
    """Sound: separate by a query, tag over time, generate from words, measure."""
