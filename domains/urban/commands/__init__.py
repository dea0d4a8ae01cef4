"""``verticlip urban <verb>``: what only makes sense for imagery on the ground, beside the verbs of every domain."""

from __future__ import annotations

import typer

app = typer.Typer(
    name="urban",
    help="Satellite imagery: tiles, embeddings, search, indicators, captions.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback()
def _group() -> None:
    """Satellite imagery: tiles, embeddings, search, indicators, captions."""
