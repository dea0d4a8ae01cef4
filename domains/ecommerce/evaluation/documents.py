"""Tables of documents to search: ids, texts by column, and pictures inside the table or beside it.

Pictures inside a Parquet file are held as their compressed bytes.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ....core.data.parquet import parquet_rows
from ....core.data.tables import read_table
from ....core.errors import DataError, InputError
from ....core.limits import DEFAULT, Limits
from ..products.pictures import ImageRoot
from .vectors import Picture

IMAGE_COLUMN = "image"
_TABLES = ("documents.csv", "documents.jsonl", "metadata.csv", "metadata.jsonl")
_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")


@dataclass(frozen=True)
class Documents:
    """N documents.

    Attributes:
        ids: different strings. pictures: path, bytes, or None where there is none.
        texts: {column: N texts, "" where there is none}. missing: pictures that are named and not there.
    """

    ids: tuple[str, ...]
    pictures: tuple[Picture, ...]
    texts: Mapping[str, tuple[str, ...]]
    missing: tuple[str, ...]


def read_documents(
    data: str | Path, *, id_column: str, columns: Sequence[str], limits: Limits = DEFAULT
) -> Documents:
    """Return the documents of a Parquet file, a folder with some, or a folder with a CSV or JSON-lines table.

    Args:
        data: file or folder; pictures of a table are paths relative to it.
        id_column: column of the id. columns: of the texts that are wanted.

    Raises:
        DataError: no table, a column that is not there, an id that is empty or stands twice, or no rows.
    """
    data = Path(data)
    root = data if data.is_dir() else data.parent
    parquet = sorted(data.rglob("*.parquet")) if data.is_dir() else [data]
    if data.is_dir() and not parquet:
        table = next((data / name for name in _TABLES if (data / name).is_file()), None)
        if table is None:
            raise DataError(f"{data}: no table of documents; expected *.parquet or {' or '.join(_TABLES)}.")
        rows: Iterator[tuple[str, dict[str, Any]]] = iter(
            read_table(table, [id_column, *columns], limits=limits)
        )
    elif data.is_file() and data.suffix.lower() != ".parquet":
        rows = iter(read_table(data, [id_column, *columns], limits=limits))
    elif not data.exists():
        raise DataError(f"{data}: no such file or folder.")
    else:
        # Pictures lie in the cells: few rows at once.
        wanted = [id_column, *columns]
        rows = itertools.chain.from_iterable(
            parquet_rows(path, wanted, further=[IMAGE_COLUMN], batch_size=256) for path in parquet
        )
    return _documents(rows, root, id_column, columns)


def _documents(
    rows: Iterator[tuple[str, dict[str, Any]]], root: Path, id_column: str, columns: Sequence[str]
) -> Documents:
    ids: dict[str, None] = {}
    pictures: list[Picture] = []
    texts: dict[str, list[str]] = {column: [] for column in columns}
    missing = []
    images = ImageRoot(root)
    for where, row in rows:
        name = str(row[id_column]).strip() if row[id_column] is not None else ""
        if not name or name in ids:
            raise DataError(f"{where}: {id_column} {name!r} is {'given twice' if name else 'empty'}.")
        ids[name] = None
        picture = picture_of(row.get(IMAGE_COLUMN), images)
        if isinstance(picture, Path) and not picture.is_file():
            missing.append(str(row[IMAGE_COLUMN]))
            picture = None
        pictures.append(picture)
        for column in columns:
            value = row[column]
            texts[column].append("" if value is None else str(value).strip())
    if not ids:
        raise DataError(f"{root.name}: the table of documents has no rows.")
    frozen = {column: tuple(values) for column, values in texts.items()}
    return Documents(tuple(ids), tuple(pictures), frozen, tuple(missing))


def picture_of(cell: Any, root: ImageRoot) -> Picture:
    """Return a picture of a cell: bytes, the Hub's ``{"bytes", "path"}``, or a path below the root.

    Raises:
        DataError: a path that leaves the folder, also by a link.
    """
    if isinstance(cell, Mapping):
        cell = cell.get("bytes") or cell.get("path")
    if isinstance(cell, bytes):
        return cell
    if not cell or not isinstance(cell, str):
        return None
    try:
        return root.resolve(cell)
    except InputError as error:
        raise DataError(f"{root.folder.name}: {error}") from None


def local_picture(folder: Path, name: str, link: str) -> Path | None:
    """Return the file of a picture that a table has as a link: called as the link's last part, or the id."""
    last = link.split("?")[0].rstrip("/").rpartition("/")[2]
    for candidate in (last, *(f"{name}{suffix}" for suffix in _SUFFIXES)):
        if candidate and candidate == Path(candidate).name and (folder / candidate).is_file():
            return folder / candidate
    return None
