"""``verticlip catalog <verb>``: a searchable catalogue of products."""

from __future__ import annotations

import typer

from .create import create
from .delete import delete
from .export import export
from .ingest import ingest

app = typer.Typer(
    name="catalog",
    help="Product catalogues: take in rows, search, find duplicates, measure.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback()
def _group() -> None:
    """Product catalogues: take in rows, search, find duplicates, measure."""


for _command in (create, ingest, delete, export):
    app.command()(_command)
