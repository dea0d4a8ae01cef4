"""``verticlip hub``: publish a model, check one, and take it to other libraries."""

from __future__ import annotations

import typer

from .cli_card import card
from .cli_export import export
from .cli_push import push
from .cli_verify import probe, verify

app = typer.Typer(
    help="Publish models, check what was loaded, export to other libraries.", no_args_is_help=True
)


@app.callback()
def hub() -> None:
    """Publish models, check what was loaded, export to other libraries."""


app.command("push")(push)
app.command("verify")(verify)
app.command("probe")(probe)
app.command("card")(card)
app.command("export")(export)
