"""``verticlip urban <verb>``: what only makes sense for imagery, beside the verbs that every domain has."""

from __future__ import annotations

import typer

from .. import COMMANDS
from .caption import caption
from .classify import classify
from .embed import embed
from .example import example
from .predict import predict
from .search import search
from .tiles import tiles

app = typer.Typer(
    name="urban",
    help=COMMANDS["urban"].help,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback()
def _group() -> None:
    """Satellite imagery: tiles, embeddings, search, indicators, captions."""


for _command in (tiles, embed, classify, search, predict, caption, example):
    app.command()(_command)
