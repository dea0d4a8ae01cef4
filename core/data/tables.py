"""Rows of CSV and JSON-lines files, with file and row number for messages."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..errors import DataError, nearest
from ..limits import Limits
from .manifest import FIELDS

Rows = list[tuple[str, Mapping[str, Any]]]


def read_csv(path: Path, columns: Mapping[str, str] | None, limits: Limits) -> Rows:
    """Return (where, {field: text}) of each row of a table with a header line."""
    rows: Rows = []
    # utf-8-sig: spreadsheets write a byte order mark that would become part of the first name.
    with _opened(path, "utf-8-sig") as handle:
        lines = (line for _, line in _lines(handle, path, limits))
        reader = csv.reader(lines, delimiter="\t" if path.suffix.lower() == ".tsv" else ",", strict=True)
        try:
            header = next(reader, [])
            wanted = _fields(header, columns, path)
            for cells in reader:
                where = f"{path.name} row {reader.line_num}"
                if not cells:
                    continue
                if len(cells) != len(header):
                    raise DataError(f"{where}: {len(cells)} cells for {len(header)} columns.")
                limits.check("manifest_rows", len(rows) + 1, what=f"{path.name}: rows")
                named = dict(zip(header, cells, strict=True))
                rows.append((where, {field: named[column] for field, column in wanted.items()}))
        except (csv.Error, UnicodeDecodeError) as error:
            raise DataError(
                f"{path.name} row {reader.line_num}: not valid CSV in UTF-8 ({error})."
            ) from error
    return rows


def read_jsonl(path: Path, columns: Mapping[str, str] | None, limits: Limits) -> Rows:
    """Return (where, {field: value}) of each line of a JSON-lines file."""
    rows: Rows = []
    with _opened(path, "utf-8") as handle:
        for number, line in _lines(handle, path, limits):
            where = f"{path.name} row {number}"
            if not line.strip():
                continue
            limits.check("manifest_rows", len(rows) + 1, what=f"{path.name}: rows")
            try:
                row = json.loads(line)
            except (json.JSONDecodeError, RecursionError) as error:
                raise DataError(f"{where}: not valid JSON ({error}).") from error
            if not isinstance(row, dict):
                raise DataError(
                    f'{where}: expected an object like {{"path": ...}}, got {type(row).__name__}.'
                )
            wanted = _fields(list(row), columns, path, where=where)
            rows.append((where, {field: row[column] for field, column in wanted.items() if column in row}))
    return rows


def _opened(path: Path, encoding: str) -> Any:
    if not path.is_file():
        raise DataError(f"{path}: no such file.")
    return path.open(encoding=encoding, newline="")


def _lines(handle: Any, path: Path, limits: Limits) -> Iterator[tuple[int, str]]:
    number = 0
    try:
        # Reading with a ceiling: a line without an end must not fill the memory.
        while line := handle.readline(limits.config_bytes + 1):
            number += 1
            limits.check("config_bytes", len(line), what=f"{path.name} row {number}: characters")
            yield number, line
    except UnicodeDecodeError as error:
        raise DataError(f"{path.name} row {number + 1}: not UTF-8 ({error}).") from error


def _fields(
    present: list[str], columns: Mapping[str, str] | None, path: Path, *, where: str | None = None
) -> dict[str, str]:
    """Return {field: column} for the columns that are read."""
    where = where or f"{path.name} header"
    if len(set(present)) != len(present):
        raise DataError(f"{where}: a column name stands twice in {present}.")
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
