"""What every kind of table gives: rows that can be read, and rows that cannot."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from .record import Product


@dataclass(frozen=True)
class Row:
    """One row: its number, as messages and :attr:`.record.Product.row` give it, and its cells by column."""

    number: int
    cells: Mapping[str, Any]


@dataclass(frozen=True)
class BadRow:
    """A row without cells, and why."""

    number: int
    reason: str


class Table(Protocol):
    """Rows of one source, read once from the start."""

    @property
    def name(self) -> str:
        """What messages call it."""
        ...

    @property
    def columns(self) -> Sequence[str]:
        """Columns known before the first row is asked for."""
        ...

    @property
    def is_closed(self) -> bool:
        """Whether no row can have a further column."""
        ...

    def rows(self) -> Iterator[Row | BadRow | Product]:
        """Yield every row in order; a product where the source holds products."""
        ...


class Notes:
    """What was mended or left out, by kind: how often, and where first."""

    def __init__(self) -> None:
        self._facts: list[str] = []
        self._counts: Counter[str] = Counter()
        self._first: dict[str, str] = {}

    def fact(self, text: str) -> None:
        """Add something about the source as a whole."""
        if text not in self._facts:
            self._facts.append(text)

    def count(self, kind: str, row: int, detail: str = "") -> None:
        """Count one row of a kind."""
        self._counts[kind] += 1
        self._first.setdefault(kind, f"row {row}{': ' if detail else ''}{detail}")

    def lines(self) -> tuple[str, ...]:
        """Return everything so far, one line each."""
        counted = (
            f"{kind}: {number:,} row{'s' if number > 1 else ''}, first {self._first[kind]}"
            for kind, number in self._counts.items()
        )
        return (*self._facts, *counted)
