"""Tables that the tasks read: CSV files with named columns, and JSON lines."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ....core.errors import DataError, nearest
from ....core.limits import Limits

Rows = list[tuple[str, dict[str, Any]]]
"""(where, {column: value}) of each row; ``where`` is "boxes.csv row 3", for messages."""


def read_table(path: str | Path, columns: Sequence[str], *, limits: Limits) -> Rows:
    """Return the rows of a CSV, TSV or JSON-lines file that has at least ``columns``.

    Cells of a CSV are text; further columns are kept as they are.

    Raises:
        DataError: missing file, missing column, a row of another length, not UTF-8, or no rows.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: no such file.")
    limits.check("file_bytes", path.stat().st_size, what=f"{path.name}: bytes")
    rows: Rows = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as handle:
            read = _json_rows if path.suffix.lower() == ".jsonl" else _csv_rows
            for where, row in read(handle, path):
                for column in columns:
                    if column not in row:
                        raise DataError(f"{where}: no column {column!r}.{nearest(column, row)}")
                limits.check("manifest_rows", len(rows) + 1, what=f"{path.name}: rows")
                rows.append((where, row))
    except UnicodeDecodeError:
        raise DataError(f"{path.name}: not UTF-8 text. Save it as UTF-8.") from None
    if not rows:
        raise DataError(f"{path.name}: no rows.")
    return rows


def _csv_rows(handle: Any, path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    reader = csv.reader(handle, delimiter="\t" if path.suffix.lower() == ".tsv" else ",", strict=True)
    try:
        header = next(reader, [])
        for cells in reader:
            where = f"{path.name} row {reader.line_num}"
            if cells and len(cells) != len(header):
                raise DataError(f"{where}: {len(cells)} cells for {len(header)} columns.")
            if cells:
                yield where, dict(zip(header, cells, strict=True))
    except csv.Error as error:
        raise DataError(f"{path.name} row {reader.line_num}: not valid CSV ({error}).") from error


def _json_rows(handle: Any, path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, line in enumerate(handle, 1):
        if not line.strip():
            continue
        where = f"{path.name} row {number}"
        try:
            row = json.loads(line)
        except (json.JSONDecodeError, RecursionError) as error:
            raise DataError(f"{where}: not valid JSON ({error}).") from error
        if not isinstance(row, dict):
            raise DataError(f"{where}: expected an object with named values, got {type(row).__name__}.")
        yield where, row


def number_in(row: Mapping[str, Any], column: str, where: str) -> float:
    """Return a cell as a finite number.

    Raises:
        DataError: it is none.
    """
    try:
        value = float(row[column])
    except (TypeError, ValueError):
        value = math.nan
    if not math.isfinite(value):
        raise DataError(f"{where}: {column} is {row[column]!r:.40}, expected a number.")
    return value
