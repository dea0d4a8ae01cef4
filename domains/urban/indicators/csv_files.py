"""Tables of numbers as people send them: any separator, units in the header, gaps, marks at the start."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ....core.data.tables import text_lines
from ....core.errors import InputError, nearest
from ....core.limits import DEFAULT, Limits

_SEPARATORS = (",", ";", "\t", "|")
_GAPS = {"", "na", "n/a", "nan", "null", "none", "-", "--"}
_UNIT = re.compile(r"^(.*\S)\s*[(\[]([^()\[\]]+)[)\]]$")


@dataclass(frozen=True)
class CsvFile:
    """Cells of a table as text.

    Attributes:
        name: file name, for messages.
        header: column names as written.
        rows: cells of every row; each row has as many as the header.
        lines: line of the file where each row ends.
        separator: between cells.
    """

    name: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    lines: tuple[int, ...]
    separator: str

    def column(self, header: str) -> list[str]:
        """Return the cells of a column, without spaces around them."""
        index = self.header.index(header)
        return [row[index].strip() for row in self.rows]

    def find(self, wanted: str) -> str:
        """Return the header of a column that may be named with or without its unit.

        Raises:
            InputError: there is none; those that exist are listed.
        """
        for header in self.header:
            if wanted in (header, split_unit(header)[0]):
                return header
        raise InputError(
            f"{self.name} has no column {wanted!r}; it has: "
            f"{', '.join(self.header)}.{nearest(wanted, self.header)}"
        )

    def numbers(self, header: str) -> tuple[NDArray[np.float64], bool]:
        """Return a column as float64 with NaN for gaps, and whether its numbers have decimal commas.

        Raises:
            InputError: a cell is neither a finite number nor a gap; its line is named.
        """
        cells = self.column(header)
        commas = (
            self.separator != "," and any("," in cell for cell in cells) and not any("." in c for c in cells)
        )
        values = np.empty(len(cells))
        for row, cell in enumerate(cells):
            number = to_number(cell.replace(",", ".") if commas else cell)
            if number is None:
                raise InputError(
                    f"{self.name}, line {self.lines[row]}: column {header!r} holds {cell[:40]!r}, expected a "
                    "number. Leave the cell empty where there is none; write numbers without thousands "
                    "separators."
                )
            values[row] = number
        return values, commas

    def is_text(self, header: str) -> bool:
        """Return whether no cell of a column is a number."""
        return all(to_number(cell.replace(",", ".")) is None or is_gap(cell) for cell in self.column(header))


def read_csv(path: str | Path, *, limits: Limits = DEFAULT, show_paths: bool = False) -> CsvFile:
    """Return the cells of a CSV file in UTF-8, with or without a mark at the start, split by , ; tab or |.

    Raises:
        InputError: the file is missing, empty, or a row has another number of cells than the header.
        DataError: it is not UTF-8.
        LimitError: more bytes or rows than ``limits`` allow, or a longer line.
    """
    path = Path(path)
    name = str(path) if show_paths else path.name
    if not path.is_file():
        raise InputError(f"{name}: no such file.")
    limits.check("file_bytes", path.stat().st_size, what=f"{name}: bytes")
    lines = (line for _, line in text_lines(path, limits))
    try:
        first = next(lines, "")
        separator = max(_SEPARATORS, key=lambda mark: len(next(csv.reader([first], delimiter=mark), [])))
        return _read(csv.reader(chain([first], lines), delimiter=separator), name, separator, limits)
    except csv.Error as error:
        raise InputError(f"{name} cannot be read as CSV ({error}).") from error


def _read(reader: csv._reader, name: str, separator: str, limits: Limits) -> CsvFile:  # pyright: ignore[reportAttributeAccessIssue]
    header = tuple(cell.strip() for cell in next(reader, []))
    if not any(header):
        raise InputError(f"{name} is empty; expected a line of column names and rows of numbers below it.")
    named = [column for column in header if column]
    twice = next((column for column in named if named.count(column) > 1), None)
    if twice is not None:
        raise InputError(f"{name}: the column {twice!r} stands twice in the header. Rename one.")
    rows: list[tuple[str, ...]] = []
    lines: list[int] = []
    for cells in reader:
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) != len(header):
            raise InputError(
                f"{name}, line {reader.line_num}: {len(cells)} cells, the header has {len(header)}. Is a "
                f"separator ({separator!r}) missing or inside a number?"
            )
        rows.append(tuple(cells))
        lines.append(reader.line_num)
        limits.check("manifest_rows", len(rows), what=f"{name}: rows")
    if not rows:
        raise InputError(f"{name} has a header ({', '.join(named[:6])}) and no rows.")
    return CsvFile(name, header, tuple(rows), tuple(lines), separator)


def to_number(cell: str) -> float | None:
    """Return the number in a cell, NaN for a gap, None for anything else."""
    if is_gap(cell):
        return math.nan
    try:
        number = float(cell)
    except ValueError:
        return None
    # "1_000" is a number to Python and to nobody else.
    return number if math.isfinite(number) and "_" not in cell else None


def is_gap(cell: str) -> bool:
    """Return whether a cell says that there is no number."""
    return cell.strip().lower() in _GAPS


def split_unit(header: str) -> tuple[str, str]:
    """Return ("population", "persons") of "population (persons)"; the unit is empty where there is none."""
    found = _UNIT.match(header.strip())
    return (found[1], found[2].strip()) if found else (header.strip(), "")


def some(names: Sequence[str], count: int = 5) -> str:
    """Return the first few names of a list, and how many more there are."""
    more = len(names) - count
    return ", ".join(names[:count]) + (f" and {more} more" if more > 0 else "")
