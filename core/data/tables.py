"""Rows of CSV and JSON-lines files, with file and row number for messages.

One rule for every table of the package: UTF-8 with or without a byte order mark; a ceiling on each line;
a column or key that stands twice, a row of another length or what is not UTF-8 is refused with its row.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import DataError, nearest
from ..files import unique_keys
from ..limits import Limits
from .manifest import FIELDS

Rows = list[tuple[str, dict[str, Any]]]
"""(where, {column: value}) of each row; ``where`` is "boxes.csv row 3", for messages."""


def read_table(path: str | Path, columns: Sequence[str] = (), *, limits: Limits) -> Rows:
    """Return the rows of a CSV, TSV or JSON-lines file that has at least ``columns``.

    Cells of a CSV are text; further columns are kept as they are.

    Raises:
        DataError: missing file, missing column, a row of another length, not UTF-8, or no rows.
        LimitError: the file is too large, has too many rows, or one is too long.
    """
    path = Path(path)
    if path.is_file():
        limits.check("file_bytes", path.stat().st_size, what=f"{path.name}: bytes")
    rows: Rows = []
    if path.suffix.lower() == ".jsonl":
        for where, row in json_rows(path, limits):
            for column in columns:
                if column not in row:
                    raise DataError(f"{where}: no column {column!r}.{nearest(column, row)}")
            rows.append((where, row))
    else:
        rows.extend(table_rows(path, limits, needed=columns))
    if not rows:
        raise DataError(f"{path.name}: no rows.")
    return rows


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


def csv_rows(path: Path, limits: Limits) -> Iterator[tuple[str, list[str]]]:
    """Yield (where, cells) of each row that is not blank; TSV by the file's suffix."""
    lines = (line for _, line in text_lines(path, limits))
    reader = csv.reader(lines, delimiter="\t" if path.suffix.lower() == ".tsv" else ",", strict=True)
    count = 0
    try:
        for cells in reader:
            if not cells:
                continue
            count += 1
            limits.check("manifest_rows", count - 1, what=f"{path.name}: rows")
            yield f"{path.name} row {reader.line_num}", cells
    except csv.Error as error:
        raise DataError(f"{path.name} row {reader.line_num}: not valid CSV ({error}).") from error


def table_rows(
    path: Path, limits: Limits, *, needed: Sequence[str] = ()
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (where, {column: text}) of each row of a CSV or TSV file whose header has the needed columns."""
    header: list[str] | None = None
    for where, cells in csv_rows(path, limits):
        if header is None:
            header = [cell.strip() for cell in cells]
            _refuse_twice(header, f"{path.name} header")
            for column in needed:
                if column not in header:
                    raise DataError(
                        f"{path.name} header: no column {column!r}; columns: {', '.join(header)}."
                        f"{nearest(column, header)}"
                    )
        elif len(cells) != len(header):
            raise DataError(f"{where}: {len(cells)} cells for {len(header)} columns.")
        else:
            yield where, dict(zip(header, cells, strict=True))


def json_rows(path: Path, limits: Limits) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (where, object) of each line of a JSON-lines file that is not blank."""
    count = 0
    for number, line in text_lines(path, limits):
        where = f"{path.name} row {number}"
        if not line.strip():
            continue
        count += 1
        limits.check("manifest_rows", count, what=f"{path.name}: rows")
        try:
            row = json.loads(line, object_pairs_hook=unique_keys)
        except (ValueError, RecursionError) as error:
            # The error names a place or a key; the line itself may be a report and is not shown.
            raise DataError(f"{where}: not valid JSON ({error}).") from None
        if not isinstance(row, dict):
            raise DataError(f'{where}: expected an object like {{"path": ...}}, got {type(row).__name__}.')
        yield where, row


def text_lines(path: Path, limits: Limits) -> Iterator[tuple[int, str]]:
    """Yield (number from 1, line) of a text file in UTF-8, without its byte order mark.

    Raises:
        DataError: no such file, or bytes that are not UTF-8.
        LimitError: a line is over ``limits.config_bytes``.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file.")
    number = 0
    # utf-8-sig: spreadsheets write a byte order mark that would become part of the first name.
    with path.open(encoding="utf-8-sig", newline="") as handle:
        try:
            # Reading with a ceiling: a line without an end must not fill the memory.
            while line := handle.readline(limits.config_bytes + 1):
                number += 1
                limits.check("config_bytes", len(line), what=f"{path.name} row {number}: characters")
                yield number, line
        except UnicodeDecodeError as error:
            raise DataError(
                f"{path.name} row {number + 1}: not UTF-8 text ({error}). Save it as UTF-8."
            ) from error


def read_csv(path: Path, columns: Mapping[str, str] | None, limits: Limits) -> Rows:
    """Return (where, {field: text}) of each row of a manifest with a header line."""
    rows: Rows = []
    wanted: dict[str, str] | None = None
    header: list[str] = []
    for where, cells in csv_rows(path, limits):
        if wanted is None:
            header = cells
            wanted = _fields(header, columns, path)
        elif len(cells) != len(header):
            raise DataError(f"{where}: {len(cells)} cells for {len(header)} columns.")
        else:
            named = dict(zip(header, cells, strict=True))
            rows.append((where, {field: named[column] for field, column in wanted.items()}))
    if wanted is None:
        _fields([], columns, path)
    return rows


def read_jsonl(path: Path, columns: Mapping[str, str] | None, limits: Limits) -> Rows:
    """Return (where, {field: value}) of each line of a manifest in JSON lines."""
    rows: Rows = []
    for where, row in json_rows(path, limits):
        wanted = _fields(list(row), columns, path, where=where)
        rows.append((where, {field: row[column] for field, column in wanted.items() if column in row}))
    return rows


def _refuse_twice(names: Sequence[str], where: str) -> None:
    if len(set(names)) != len(names):
        twice = next(name for name in names if list(names).count(name) > 1)
        raise DataError(f"{where}: a column name stands twice: {twice!r}.")


def _fields(
    present: list[str], columns: Mapping[str, str] | None, path: Path, *, where: str | None = None
) -> dict[str, str]:
    """Return {field: column} for the columns that are read."""
    where = where or f"{path.name} header"
    _refuse_twice(present, where)
    if columns is None:
        for column in present:
            if column not in FIELDS:
                raise DataError(
                    f"{where}: unknown column {column!r}.{nearest(column, FIELDS)} "
                    f"Fields: {', '.join(FIELDS)}. "
                    "Pass columns={'path': 'your_column', ...} to name the ones to read."
                )
        wanted = {column: column for column in present}
    else:
        for field, column in columns.items():
            if field not in FIELDS:
                raise DataError(f"columns: unknown field {field!r}.{nearest(field, FIELDS)}")
            if column not in present and path.suffix.lower() in {".csv", ".tsv"}:
                raise DataError(f"{where}: no column {column!r}.{nearest(column, present)}")
        wanted = dict(columns)
    if not {"path", "text"} & set(wanted):
        raise DataError(f"{where}: neither a path nor a text column among {present}.")
    return wanted
