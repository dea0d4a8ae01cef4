"""``verticlip catalog delete``: products out of a catalogue, by id or by what they are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ....core.commandline import Json
from ....core.console import print_json, say
from ....core.errors import ConfigError, InputError
from .options import Folder, WhereText


def delete(
    catalog: Folder,
    ids: Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="Products to take out.")] = None,
    ids_from: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Text file with one id per line.", dir_okay=False, exists=True),
    ] = None,
    where: WhereText = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count what would be taken out.")] = False,
    as_json: Json = False,
) -> None:
    """Take products out, as one version; no model is needed.

    The files of their pictures stay. Earlier versions stay readable until the catalogue is optimized.
    """
    from ....core.index.filters import parse_where
    from ..catalog.catalog import Catalog
    from ..catalog.writing import ids_of

    if sum(given is not None for given in (ids or None, ids_from, where)) != 1:
        raise ConfigError("Say which products: ids, --ids-from FILE or --where CONDITION, one of the three.")
    names = [*(ids or ()), *_ids_in(ids_from)]
    with Catalog.open(catalog, read_only=dry_run) as opened:
        there = set(opened.index.get(names, columns=[]).ids)
        missing = [name for name in names if name not in there]
        which = list(there) if where is None else parse_where(where)
        deleted = len(ids_of(opened.index, which)) if dry_run else opened.delete(which).deleted
        facts = {"deleted": deleted, "not_there": len(missing), "version": opened.version, "dry_run": dry_run}
    if missing:
        say(
            f"note: {len(missing):,} {'id is' if len(missing) == 1 else 'ids are'} not in the catalogue, "
            f"such as {missing[0]!r}"
        )
    if as_json:
        print_json([facts])
    else:
        what = "product" if deleted == 1 else "products"
        done = "would be taken out" if dry_run else "taken out"
        print(f"{deleted:,} {what} {done}; version {facts['version']}")


def _ids_in(file: Path | None) -> list[str]:
    if file is None:
        return []
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise InputError(f"{file}: not UTF-8 text. Save it as UTF-8, one id per line.") from None
    return [line.strip() for line in lines if line.strip()]
