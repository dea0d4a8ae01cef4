"""``verticlip hub``: publish a model, check one, and take it to other libraries."""

from __future__ import annotations

import typer

app = typer.Typer(help="Publish models, check what was loaded, export to other libraries.", no_args_is_help=True)


@app.callback()
def hub() -> None:
    """Publish models, check what was loaded, export to other libraries."""
