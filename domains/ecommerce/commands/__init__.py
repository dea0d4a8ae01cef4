"""``verticlip catalog <verb>``: a searchable catalogue of products."""

from __future__ import annotations

import typer

from .. import COMMANDS
from .create import create
from .dedupe import dedupe
from .delete import delete
from .evaluate import evaluate
from .example import example
from .export import export
from .ingest import ingest
from .pairs import pairs
from .search import search
from .tune import tune

app = typer.Typer(
    name="catalog",
    help=COMMANDS["catalog"].help,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback()
def _group() -> None:
    """Product catalogues: take in rows, search, find duplicates, measure."""


for _command in (create, ingest, search, dedupe, delete, export, tune, pairs):
    app.command()(_command)
app.command("eval")(evaluate)
app.command()(example)
