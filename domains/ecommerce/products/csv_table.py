"""CSV and its relatives, where a bad row is one bad row and the others are read."""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ....core.errors import ConfigError, DataError
from ....core.limits import DEFAULT, Limits
from ....core.spreadsheet import from_cell
from .fields import KNOWN_NAMES, plain_name
from .lines import Line, TextFile
from .rows import BadRow, Notes, Row

DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
_LOOKED_AT = 50
"""Rows that the delimiter is guessed from."""
_SHOWN = 60
_OPEN_QUOTE = "has a quote that is not closed"


class CsvTable:
    """Rows of a delimited text file with a header line.

    Args:
        path: the file, plain or compressed.
        encoding: see :class:`.lines.TextFile`.
        delimiter: one character, or "auto": comma, semicolon, tab or bar, by header and first rows.
        notes: told of what was guessed and mended.

    Raises:
        DataError: no table.
        ConfigError: an option is not acceptable.
    """

    is_closed = True

    def __init__(
        self,
        path: Path,
        notes: Notes,
        *,
        encoding: str = "auto",
        delimiter: str = "auto",
        limits: Limits = DEFAULT,
    ) -> None:
        self.name = path.name
        self._notes, self._limits = notes, limits
        self._file = TextFile(path, encoding, notes, limits=limits)
        delimiter = {"tab": "\t", "\\t": "\t"}.get(delimiter, delimiter)
        if delimiter != "auto" and (len(delimiter) != 1 or delimiter in '"\r\n' or delimiter.isalnum()):
            raise ConfigError(f"delimiter {delimiter!r}: give auto or one sign such as ; or tab.")
        self._records = _Records(self._file.lines(), ",")
        self._delimiter = self._records.delimiter = self._choose(delimiter, path)
        header = next(iter(self._records), None)
        if header is None or header.cells is None:
            problem = "" if header is None else f" The first line {header.problem}."
            raise DataError(f"{self.name}: no header line with the names of the columns.{problem}")
        self.columns: Sequence[str] = self._named(header.cells)

    def rows(self) -> Iterator[Row | BadRow]:
        """Yield every row that is not blank."""
        count = len(self.columns)
        for record in self._records.expecting(count):
            cells = record.cells
            if cells is None:
                yield BadRow(record.number, f"the row {record.problem}{_begins(record.text)}")
                continue
            if len(cells) > count and not any(cell.strip() for cell in cells[count:]):
                self._notes.count("empty cells behind the last column were left out", record.number)
                cells = cells[:count]
            if not any(cell.strip() for cell in cells):
                if len(cells) > 1:
                    self._notes.count("rows without any content were passed over", record.number)
                continue
            if len(cells) != count:
                sign = DELIMITERS.get(self._delimiter, repr(self._delimiter))
                yield BadRow(
                    record.number,
                    f"{len(cells)} cells for {count} columns; text with a {sign} or a line break in it has "
                    f"to be quoted{_begins(record.text)}",
                )
                continue
            yield Row(record.number, dict(zip(self.columns, map(from_cell, cells), strict=True)))

    def _choose(self, delimiter: str, path: Path) -> str:
        """Return the delimiter, after passing over a line ``sep=;`` as spreadsheets write it."""
        ahead = self._records.peek(_LOOKED_AT)
        if ahead and ahead[0].text is not None:
            first = ahead[0].text.strip()
            if first.lower().startswith("sep=") and len(first) == 5:
                self._records.skip()
                return first[4] if delimiter == "auto" else delimiter
            if first.lower() == "sep=":
                self._records.skip()
                return "\t" if delimiter == "auto" else delimiter
        if delimiter != "auto":
            return delimiter
        chosen = _sniff(ahead)
        expected = "\t" if path.name.lower().split(".")[1:2] == ["tsv"] else ","
        if chosen is None:
            return expected
        if chosen != expected:
            self._notes.fact(f"{self.name}: columns are separated by a {DELIMITERS[chosen]}")
        return chosen

    def _named(self, cells: Sequence[str]) -> list[str]:
        """Return the names of the columns; empty and repeated ones get a number."""
        names: list[str] = []
        for place, cell in enumerate(cells, 1):
            name = " ".join(cell.split())
            if not name:
                name = f"column {place}"
                self._notes.fact(f"{self.name}: column {place} has no name; it is called {name!r}")
            if name in names:
                again = f"{name} ({place})"
                self._notes.fact(
                    f"{self.name}: the column {name!r} stands twice; the second is called {again!r}"
                )
                name = again
            names.append(name)
        return names


class _Record(NamedTuple):
    """Cells of one record, or None and the problem; ``number`` and ``text`` are of its first line."""

    number: int
    cells: list[str] | None
    problem: str
    text: str


class _Records:
    """Records of lines. A line that breaks the rules is one bad record, and reading starts again behind it.

    A quote that is never closed would otherwise swallow the rest of the file.
    """

    def __init__(self, lines: Iterator[Line], delimiter: str) -> None:
        self._lines, self.delimiter = lines, delimiter
        self._waiting: deque[Line] = deque()
        self._taken: list[Line] = []
        self._count: int | None = None

    def peek(self, count: int) -> list[Line]:
        """Return the next lines without passing over them."""
        while len(self._waiting) < count and (line := next(self._lines, None)) is not None:
            self._waiting.append(line)
        return list(self._waiting)[:count]

    def skip(self) -> None:
        """Pass over one line."""
        self._waiting.popleft()

    def expecting(self, count: int) -> _Records:
        """Return the records, told how many cells each should have."""
        self._count = count
        return self

    def __iter__(self) -> Iterator[_Record]:
        reader = self._reader()
        while (record := self._next(reader)) is not None:
            if record.cells is None:
                # What the old reader had begun is over.
                reader = self._reader()
            yield record

    def _next(self, reader: Iterator[list[str]]) -> _Record | None:
        self._taken.clear()
        try:
            cells = next(reader)
        except StopIteration:
            return None
        except _Unreadable:
            *before, bad = self._taken
            return self._refused(_OPEN_QUOTE) if before else _Record(bad.number, None, bad.problem, "")
        except csv.Error as error:
            return self._refused(_problem(error))
        if len(self._taken) > 1 and self._swallowed(cells):
            return self._refused(_OPEN_QUOTE)
        return _Record(self._taken[0].number, cells, "", self._taken[0].text or "")

    def _refused(self, problem: str) -> _Record:
        """Return the first of the taken lines as a bad record, and put the others back."""
        first, *others = self._taken
        self._waiting.extendleft(reversed(others))
        return _Record(first.number, None, problem, first.text or "")

    def _reader(self) -> Iterator[list[str]]:
        return iter(csv.reader(self._feed(), delimiter=self.delimiter, strict=True))

    def _feed(self) -> Iterator[str]:
        while True:
            line = self._waiting.popleft() if self._waiting else next(self._lines, None)
            if line is None:
                return
            self._taken.append(line)
            if line.text is None:
                raise _Unreadable
            yield line.text

    def _swallowed(self, cells: list[str]) -> bool:
        """Return whether a record of several lines has rows in it: most of them are rows by themselves."""
        if self._count is None or len(cells) == self._count:
            return False
        rest = self._taken[1:]
        return 2 * sum(self._is_row(line.text or "") for line in rest) >= len(rest)

    def _is_row(self, text: str) -> bool:
        try:
            alone = next(csv.reader([text], delimiter=self.delimiter, strict=True), [])
        except csv.Error:
            return False
        return len(alone) == self._count


class _Unreadable(Exception):
    """A line that is no text."""


def _problem(error: csv.Error) -> str:
    """Return what the csv module means, in words for those who made the file."""
    text = str(error)
    if "unexpected end of data" in text:
        return _OPEN_QUOTE
    if "expected after" in text:
        return "has a quote that is not closed, or one inside a quoted cell that is not written twice"
    if "field larger than field limit" in text:
        return f"has a cell of over {csv.field_size_limit():,} characters, or a quote that is not closed"
    if "new-line character" in text:
        return "has a carriage return inside a cell that is not quoted"
    return f"is not valid CSV ({text})"


def _begins(text: str) -> str:
    start = " ".join(text.split())
    if not start:
        return ""
    return f". It begins {start[:_SHOWN]!r}{' ...' if len(start) > _SHOWN else ''}"


def _sniff(ahead: Sequence[Line]) -> str | None:
    """Return the delimiter that fits the header and the rows after it best; None where none divides them."""
    known = {name for names in KNOWN_NAMES.values() for name in names.split()}
    best, chosen = (0, 0.0, 0), None
    for delimiter in DELIMITERS:
        records = _Records(iter(ahead), delimiter)
        found = [record.cells for record in records if record.cells]
        if not found or len(found[0]) < 2:
            continue
        header, rows = found[0], found[1:]
        fitting = sum(len(row) == len(header) for row in rows) / len(rows) if rows else 1.0
        score = (sum(plain_name(cell) in known for cell in header), fitting, len(header))
        if score > best:
            best, chosen = score, delimiter
    return chosen
