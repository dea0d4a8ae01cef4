"""JSON lines, and rows that a program gives, where a bad row is one bad row."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

from ....core.errors import DataError
from ....core.files import unique_keys
from ....core.limits import DEFAULT, Limits
from .lines import TextFile
from .record import Product
from .rows import BadRow, Notes, Row

_LOOKED_AT = 1000
"""Rows whose keys are known before the first is given."""


class _Open:
    """Rows whose columns are only known as they come: the keys of the first thousand are looked at."""

    def __init__(self, name: str, rows: Iterator[Row | BadRow | Product]) -> None:
        self.name = name
        ahead = list(islice(rows, _LOOKED_AT))
        self.is_closed = len(ahead) < _LOOKED_AT
        self.columns: Sequence[str] = tuple(
            dict.fromkeys(str(key) for row in ahead if isinstance(row, Row) for key in row.cells)
        )
        self._rows = chain(ahead, rows)

    def rows(self) -> Iterator[Row | BadRow | Product]:
        """Yield every row."""
        return self._rows


class JsonTable(_Open):
    """Objects of a JSON-lines file, plain or compressed.

    Args:
        path: the file. encoding: see :class:`.lines.TextFile`. notes: told of what was mended.

    Raises:
        DataError: no such file, or not one object per line.
    """

    def __init__(self, path: Path, notes: Notes, *, encoding: str = "auto", limits: Limits = DEFAULT) -> None:
        # The format is UTF-8 by definition: what is not UTF-8 in it is damage, not another encoding.
        file = TextFile(path, "utf-8" if encoding == "auto" else encoding, notes, limits=limits)
        if file.head.lstrip().removeprefix(b"\xef\xbb\xbf").startswith(b"["):
            raise DataError(
                f"{path.name}: one JSON list; expected one object per line. Convert it with: jq -c '.[]'"
            )
        super().__init__(path.name, _parsed(file))
        if self.is_closed and not self.columns:
            raise DataError(f'{path.name}: no line is a JSON object such as {{"id": "42", "title": "Mug"}}.')


class GivenTable(_Open):
    """Mappings and products that a program gives."""

    def __init__(self, rows: Iterable[Any]) -> None:
        super().__init__("rows", _given(rows))


def _parsed(file: TextFile) -> Iterator[Row | BadRow]:
    for line in file.lines():
        if line.text is None:
            yield BadRow(line.number, f"the row {line.problem}")
            continue
        if not line.text.strip():
            continue
        try:
            value = json.loads(line.text, object_pairs_hook=unique_keys)
        except (ValueError, RecursionError) as error:
            yield BadRow(
                line.number, f"not valid JSON ({_short(error)}). It begins {line.text.strip()[:60]!r}"
            )
            continue
        if isinstance(value, dict):
            yield Row(line.number, value)
        else:
            yield BadRow(
                line.number, f'{type(value).__name__} where an object like {{"id": "42"}} is expected'
            )


def _given(rows: Iterable[Any]) -> Iterator[Row | BadRow | Product]:
    for number, row in enumerate(rows, 1):
        if isinstance(row, Product):
            yield replace(row, row=number)
        elif isinstance(row, Mapping):
            yield Row(number, row)
        else:
            yield BadRow(number, f"{type(row).__name__} where a mapping or a Product is expected")


def _short(error: Exception) -> str:
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)[:120]
