"""``verticlip catalog export``: products into a file that can be taken in again, or into another index."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ....core.commandline import Json, check_file, progress_line
from ....core.console import print_json, say
from ....core.errors import ConfigError
from .options import Folder, WhereText

SUFFIXES = (".parquet", ".jsonl", ".csv")


def export(
    catalog: Folder,
    to: Annotated[Path, typer.Option(help="File to write: .parquet, .jsonl or .csv.")],
    vectors: Annotated[
        bool, typer.Option("--vectors", help="Write the vectors, too; not into a CSV.")
    ] = False,
    where: WhereText = None,
    as_json: Json = False,
) -> None:
    """Copy products out of a catalogue; no model is needed."""
    from ..catalog.catalog import Catalog

    if to.suffix.lower() not in SUFFIXES:
        raise ConfigError(f"--to {to}: name a file that ends in {', '.join(SUFFIXES)}.")
    check_file(to, to.suffix.lower())
    with Catalog.open(catalog, read_only=True) as opened:
        count = opened.export(to, vectors=vectors, where=where, progress=progress_line())
    if as_json:
        print_json([{"out": str(to), "products": count}])
    else:
        print(to)
        say(f"{count:,} products")
