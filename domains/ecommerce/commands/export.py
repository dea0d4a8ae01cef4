"""``verticlip catalog export``: products into a file that can be taken in again, or into a Qdrant cluster."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ....core.commandline import Json, check_file, progress_line
from ....core.console import print_json, say
from ....core.errors import ConfigError
from .options import Folder, MaxDeleteShare, WhereText

if TYPE_CHECKING:
    from ....core.index.base import VectorIndex

SUFFIXES = (".parquet", ".jsonl", ".csv")
KEY_VARIABLE = "QDRANT_API_KEY"
"""Environment variable with the key of a server; on a command line others could read it."""


def export(
    catalog: Folder,
    to: Annotated[
        str,
        typer.Option(
            metavar="FILE|URL", help="File to write (.parquet, .jsonl, .csv), or http://host:6333 of Qdrant."
        ),
    ],
    vectors: Annotated[
        bool, typer.Option("--vectors", help="Into a file, write the vectors, too; not into a CSV.")
    ] = False,
    collection: Annotated[
        str | None, typer.Option(help="Qdrant: name of the collection; the key is taken from QDRANT_API_KEY.")
    ] = None,
    update: Annotated[
        bool, typer.Option("--update", help="Qdrant: write into a collection that an earlier export made.")
    ] = False,
    sync: Annotated[
        bool,
        typer.Option("--sync", help="With --update: take out what the catalogue does not have any more."),
    ] = False,
    max_delete_share: MaxDeleteShare = 0.2,
    where: WhereText = None,
    as_json: Json = False,
) -> None:
    """Copy products out of a catalogue; no model is needed.

    A cluster gets the vectors, fields and attributes of every product under the same ids. A CSV is safe to
    open in a spreadsheet: texts that look like formulas get a quote, which `ingest` takes off.
    """
    from ..catalog.catalog import Catalog

    is_server = to.startswith(("http://", "https://"))
    if is_server and not collection:
        raise ConfigError(
            f"--to {to}: name the collection, for example --collection {catalog.resolve().name}."
        )
    if not is_server:
        if collection or update or sync:
            raise ConfigError(
                "--collection, --update and --sync belong to --to http://...; leave them out for a file."
            )
        suffix = Path(to).suffix.lower()
        if suffix not in SUFFIXES:
            raise ConfigError(f"--to {to}: name a file that ends in {', '.join(SUFFIXES)}.")
        check_file(Path(to), suffix)
    with Catalog.open(catalog, read_only=True) as opened:
        target = _collection(to, str(collection), opened.index, update=update) if is_server else to
        count = opened.export(
            target,
            vectors=vectors,
            where=where,
            sync=sync,
            max_delete_share=max_delete_share,
            progress=progress_line(),
        )
        if not isinstance(target, str) and where is None and len(target) > len(opened):
            more = len(target) - len(opened)
            say(
                f"note: the collection has {more:,} product{'' if more == 1 else 's'} more than the "
                "catalogue; --sync takes them out"
            )
    if as_json:
        print_json([{"out": to, "collection": collection, "products": count}])
    else:
        print(to)
        say(f"{count:,} product{'' if count == 1 else 's'}")


def _collection(server: str, name: str, source: VectorIndex, *, update: bool) -> VectorIndex:
    """Return a new collection for what an index holds, or one that an earlier export made."""
    from ....core.index.qdrant import QdrantIndex

    key = os.environ.get(KEY_VARIABLE)
    if update:
        return QdrantIndex.open(server, name, api_key=key)
    return QdrantIndex.create(
        server, name, identity=source.identity, views=source.views, schema=source.schema, api_key=key
    )
