"""``verticlip liveness <verb>``: live face or presentation attack."""

from __future__ import annotations

import typer

from .. import COMMANDS
from .calibrate import calibrate
from .check import check
from .evaluate import evaluate
from .example import example
from .folds import folds
from .manifest import flip_lists, manifest
from .simulate import simulate

app = typer.Typer(
    name="liveness",
    help=COMMANDS["liveness"].help,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback()
def _group() -> None:
    """Live face or presentation attack: check files, calibrate, measure in ISO terms."""


for _command in (check, calibrate, evaluate, folds, manifest, flip_lists, simulate, example):
    app.command()(_command)
