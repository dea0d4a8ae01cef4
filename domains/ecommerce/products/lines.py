"""Lines of a text file whose encoding nobody wrote down.

``core/data/tables.py`` refuses a file over its first bad byte: a training set has to be whole. A feed of a
shop has to be read for what is good in it, so here a bad line is one bad row, and old encodings are read.
"""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ....core.errors import ConfigError, DataError
from ....core.limits import DEFAULT, Limits, MiB
from .rows import Notes
from .streams import open_bytes

LONGEST_LINE = 4 * MiB
_NOT_TABLES = {
    b"PK\x03\x04": "a ZIP archive or an Excel workbook; save the sheet as CSV",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook; save the sheet as CSV",
    b"%PDF": "a PDF",
    b"\x89PNG": "a PNG picture; a folder of pictures is taken, one picture is not",
    b"\xff\xd8\xff": "a JPEG picture; a folder of pictures is taken, one picture is not",
    b"SQLite format 3": "an SQLite database; export the table as CSV",
    b"<?xml": "XML; save it as CSV or JSON lines",
    b"<!DOCTYPE": "a web page; it may be an error page that was saved in place of the file",
    b"<html": "a web page; it may be an error page that was saved in place of the file",
}
_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1f\x7f]")
_UNDEFINED = re.compile(rb"[\x81\x8d\x8f\x90\x9d]")
"""Bytes that mean nothing in Windows-1252."""
_FOREIGN = re.compile(rb"[\x80-\xff]{4,}|[\x81\x8d\x8f\x90\x9d]")
"""Western words have no four accents in a row; Cyrillic, Greek and Asian ones do."""


@dataclass(frozen=True)
class Line:
    """One line with its end. ``text`` is None where it cannot be read, for ``problem``."""

    number: int
    text: str | None
    problem: str = ""


class TextFile:
    """Lines of a file.

    Args:
        path: plain, gzip or Zstandard.
        encoding: a name, or "auto": UTF-8 (UTF-16 with a byte order mark), else Windows-1252 if it looks
            like that.
        notes: told of any other encoding than UTF-8.

    Raises:
        DataError: no such file, no table, or an encoding that is neither.
        ConfigError: ``encoding`` is unknown.
    """

    def __init__(self, path: Path, encoding: str, notes: Notes, *, limits: Limits = DEFAULT) -> None:
        self._path, self._notes, self._limits = path, notes, limits
        with open_bytes(path, limits=limits) as stream:
            self.head = stream.read(64 * 1024)
        self._refuse_others()
        marked = next((name for mark, name in _MARKS if self.head.startswith(mark)), None)
        self.encoding = marked or ("utf-8" if encoding == "auto" else _known(encoding))
        self._is_fixed = marked is not None or encoding != "auto"
        if not self._is_fixed:
            self.encoding = self._guess()

    def lines(self) -> Iterator[Line]:
        """Yield every line."""
        if codecs.lookup(self.encoding).name.startswith(("utf-16", "utf-32")):
            yield from self._wide_lines()
            return
        with open_bytes(self._path, limits=self._limits) as stream:
            for number, line in enumerate(self._split(stream), 1):
                yield Line(number, None, _TOO_LONG) if line is None else self._decoded(number, line)

    def _refuse_others(self) -> None:
        name = self._path.name
        if not self.head.removeprefix(codecs.BOM_UTF8).strip():
            raise DataError(f"{name}: the file is empty.")
        start = self.head.lstrip().removeprefix(codecs.BOM_UTF8)
        for mark, what in _NOT_TABLES.items():
            if start[: len(mark)].lower() == mark.lower():
                raise DataError(f"{name}: this is no table but {what}.")
        # Rows of garbage hold zero bytes here and there; text never holds them by the dozen.
        if not self.head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            zeros = self.head.count(0)
            if zeros > len(self.head) // 10:
                raise DataError(f"{name}: this is no text file; give CSV, TSV, JSON lines or Parquet.")

    def _guess(self) -> str:
        """Return utf-8 or cp1252 by what the lines outside ASCII look like."""
        lines = utf8 = western = foreign = 0
        first = 0
        with open_bytes(self._path, limits=self._limits) as stream:
            for line in self._split(stream):
                lines += 1
                if line is None or line.isascii():
                    continue
                if _is_utf8(line):
                    utf8 += 1
                elif not _CONTROL.search(line):
                    is_foreign = _FOREIGN.search(line) is not None
                    foreign, western = foreign + is_foreign, western + (not is_foreign)
                    first = first or lines
        # A few lines of garbage are rows to reject; a tenth of the file is a language.
        if foreign > max(utf8, western) and foreign >= lines / 10:
            raise DataError(
                f"{self._path.name}: neither UTF-8 nor Western European text (line {first}). Save it as "
                "UTF-8, or say what it is: encoding='cp1251', 'gb18030', 'shift_jis' ..."
            )
        if western <= utf8:
            return "utf-8"
        self._notes.fact(
            f"{self._path.name} is not UTF-8; read as Windows-1252 (first such line: {first}). "
            "If letters look wrong, say the encoding."
        )
        return "cp1252"

    def _split(self, stream: io.BufferedReader) -> Iterator[bytes | None]:
        """Yield lines; None for one that is too long."""
        source = stream
        if _ends_in_returns(self.head):
            # Each end of line is a carriage return alone, as old programs wrote.
            text = io.TextIOWrapper(stream, "latin-1", newline="\r")
            while line := text.readline(LONGEST_LINE + 1):
                if len(line) <= LONGEST_LINE:
                    yield line.encode("latin-1").replace(b"\r", b"\n")
                    continue
                while line and not line.endswith("\r"):
                    line = text.readline(LONGEST_LINE)
                yield None
            return
        while line := source.readline(LONGEST_LINE + 1):
            if len(line) <= LONGEST_LINE:
                yield line
                continue
            while line and not line.endswith(b"\n"):
                line = source.readline(LONGEST_LINE)
            yield None

    def _decoded(self, number: int, line: bytes) -> Line:
        if number == 1:
            line = line.removeprefix(codecs.BOM_UTF8)
        if 0 in line:
            return Line(number, None, "holds zero bytes")
        if line.isascii():
            return Line(number, line.decode("ascii"))
        if not self._is_fixed and self.encoding == "cp1252":
            if _is_utf8(line):
                self._notes.count("lines that are UTF-8, unlike the others", number)
                return Line(number, line.decode("utf-8"))
            if _UNDEFINED.search(line):
                return Line(number, None, "is no text in Windows-1252")
        try:
            return Line(number, line.decode(self.encoding))
        except UnicodeDecodeError as error:
            return Line(
                number,
                None,
                f"is no text in {self.encoding.upper()}: byte 0x{line[error.start]:02x} at {error.start + 1}",
            )

    def _wide_lines(self) -> Iterator[Line]:
        with open_bytes(self._path, limits=self._limits) as stream:
            text = io.TextIOWrapper(stream, self.encoding, errors="replace", newline="")
            number = 0
            while line := text.readline(LONGEST_LINE):
                number += 1
                if "\0" in line or "\ufffd" in line:
                    yield Line(number, None, f"is no text in {self.encoding.upper()}")
                else:
                    yield Line(number, line.removeprefix("\ufeff") if number == 1 else line)


_TOO_LONG = f"is over {LONGEST_LINE // MiB} MiB long"


def _ends_in_returns(head: bytes) -> bool:
    """Return whether lines end in a carriage return alone, by the first end that is not in quotes."""
    quoted = False
    for place, sign in enumerate(head):
        if sign == ord('"'):
            quoted = not quoted
        elif not quoted and sign in b"\r\n":
            return head[place : place + 1] == b"\r" and head[place + 1 : place + 2] != b"\n"
    return head.count(b"\r") - head.count(b"\r\n") > head.count(b"\n")


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _known(encoding: str) -> str:
    try:
        info = codecs.lookup(encoding)
        if not getattr(info, "_is_text_encoding", True):
            raise LookupError
    except LookupError:
        raise ConfigError(
            f"encoding {encoding!r} is unknown; give auto, utf-8, cp1252, gb18030 ..."
        ) from None
    return info.name
