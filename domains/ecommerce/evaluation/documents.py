"""Tables of documents to search: ids, texts by column, and pictures inside the table or beside it.

Pictures inside a Parquet file are held as their compressed bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ....core.data.tables import read_table
from ....core.errors import DataError, nearest, require
from ....core.limits import DEFAULT, Limits
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
        rows = _parquet_rows(parquet, [id_column, *columns])
    return _documents(rows, root, id_column, columns)


def _documents(
    rows: Iterator[tuple[str, dict[str, Any]]], root: Path, id_column: str, columns: Sequence[str]
) -> Documents:
    ids: dict[str, None] = {}
    pictures: list[Picture] = []
    texts: dict[str, list[str]] = {column: [] for column in columns}
    missing = []
    for where, row in rows:
        name = str(row[id_column]).strip() if row[id_column] is not None else ""
        if not name or name in ids:
            raise DataError(f"{where}: {id_column} {name!r} is {'given twice' if name else 'empty'}.")
        ids[name] = None
        picture = picture_of(row.get(IMAGE_COLUMN), root)
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


def picture_of(cell: Any, root: Path) -> Picture:
    """Return a picture of a cell: bytes, the Hub's ``{"bytes", "path"}``, or a path below ``root``.

    Raises:
        DataError: a path that leaves the folder.
    """
    if isinstance(cell, Mapping):
        cell = cell.get("bytes") or cell.get("path")
    if isinstance(cell, bytes):
        return cell
    if not cell or not isinstance(cell, str):
        return None
    path = root / cell
    if Path(cell).is_absolute() or ".." in Path(cell).parts:
        raise DataError(f"The picture {cell!r} is not below the folder of the data; move it there.")
    return path


def local_picture(folder: Path, name: str, link: str) -> Path | None:
    """Return the file of a picture that a table has as a link: called as the link's last part, or the id."""
    last = link.split("?")[0].rstrip("/").rpartition("/")[2]
    for candidate in (last, *(f"{name}{suffix}" for suffix in _SUFFIXES)):
        if candidate and candidate == Path(candidate).name and (folder / candidate).is_file():
            return folder / candidate
    return None


def _parquet_rows(paths: Sequence[Path], columns: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    parquet = require("pyarrow.parquet", extra="ecommerce")
    number = 0
    for path in paths:
        try:
            file = parquet.ParquetFile(path)
        except Exception as error:  # pyarrow has its own errors, of many types
            raise DataError(
                f"{path.name}: not a whole Parquet file ({' '.join(str(error).split())[:100]})."
            ) from None
        known = file.schema_arrow.names
        for column in columns:
            if column not in known:
                raise DataError(f"{path.name}: no column {column!r}.{nearest(column, known)}")
        wanted = [*columns, *([IMAGE_COLUMN] if IMAGE_COLUMN in known else [])]
        for batch in file.iter_batches(batch_size=256, columns=list(dict.fromkeys(wanted))):
            for row in batch.to_pylist():
                number += 1
                yield f"{path.name} row {number}", row
