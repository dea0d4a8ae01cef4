"""Files that appear whole or not at all, with what GIS programs keep beside them."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from ....core.errors import ConfigError

_COMPANIONS = (".aux.xml", ".ovr", ".msk", "-wal", "-shm", "-journal")
"""Endings of files that GDAL, SQLite and GIS programs keep beside a file and that speak of its content."""


@contextlib.contextmanager
def staged(path: str | Path) -> Iterator[Path]:
    """Yield a path of the same name in a hidden folder beside ``path``; on success it takes its place.

    Drivers choose by the ending of a name and write companions beside it, so that a temporary name would not
    do. What an older file of this name had beside it (statistics, overviews, a write-ahead log) goes: it
    would be read as belonging to the new one. On error nothing is left behind.
    """
    path = Path(path)
    if path.is_dir():
        raise ConfigError(f"{path}: is a folder. Name a file.")
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    try:
        yield folder / path.name
        with (folder / path.name).open("rb") as handle:
            os.fsync(handle.fileno())
        for ending in _COMPANIONS:
            path.with_name(path.name + ending).unlink(missing_ok=True)
        os.replace(folder / path.name, path)
        for ending in (".aux.xml", ".ovr", ".msk"):
            companion = folder / (path.name + ending)
            if companion.exists():
                os.replace(companion, path.with_name(companion.name))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def file_names(names: Sequence[str], blank: str) -> list[str]:
    """Return a file name, without ending, for each of some names.

    Letters of any language, digits, ``_``, ``-`` and ``.`` stay; where that makes names alike, or alike but
    for upper and lower case, they are numbered. Equal lists give equal file names.

    Args:
        names: of tiles, indicators and the like. blank: for a name of which nothing can stay.
    """
    found: list[str] = []
    taken: set[str] = set()
    counts: dict[str, int] = {}
    for name in names:
        word = chosen = re.sub(r"[^\w.-]+", "_", name).lstrip(".")[:150].rstrip("._") or blank
        while chosen.casefold() in taken:
            counts[word.casefold()] = counts.get(word.casefold(), 1) + 1
            chosen = f"{word}_{counts[word.casefold()]}"
        taken.add(chosen.casefold())
        found.append(chosen)
    return found
