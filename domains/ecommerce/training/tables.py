"""Rows of the small tables that training reads, pairs and clicks, from CSV, JSON lines or Parquet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ....core.data.parquet import check_columns, parquet_rows
from ....core.data.tables import json_rows, table_rows
from ....core.errors import DataError
from ....core.limits import DEFAULT, Limits

SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")


def rows_of(
    path: Path, needed: Sequence[str], *, limits: Limits = DEFAULT
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (where, {column: value}) of each row, one after the other.

    Args:
        path: ``.csv``, ``.tsv``, ``.jsonl`` or ``.parquet``.
        needed: columns that have to be there.
        limits: ceilings on the file and its rows.

    Raises:
        DataError: no such file, another format, a column is missing, or a row is damaged.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise DataError(f"{path.name}: {suffix or 'no suffix'} is none of {', '.join(SUFFIXES)}.")
    if not path.is_file():
        raise DataError(f"{path}: no such file.")
    if suffix == ".parquet":
        yield from parquet_rows(path, needed)
    elif suffix == ".jsonl":
        for where, row in json_rows(path, limits):
            check_columns(list(row), needed, where)
            yield where, row
    else:
        yield from table_rows(path, limits, needed=needed)


def cell(row: dict[str, Any], column: str | None) -> str | None:
    """Return a cell as text without spaces around it, or None where it is empty or absent."""
    value = row.get(column) if column is not None else None
    if value is None or isinstance(value, bool) or value != value:
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # ids that a table with gaps has turned into decimals
    return str(value).strip() or None
