"""What the products of a catalogue say of themselves, as columns in the order of their ids."""

from __future__ import annotations

import html
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from ..catalog.payload import attribute_name
from ..products.cleaning import words_of
from ..products.record import leaf_of

if TYPE_CHECKING:
    import pyarrow
    from numpy.typing import NDArray

    from ....core.index.base import VectorIndex
    from ....core.index.filters import Where

_NOT_COUNTED = ("row_hash", "image_sha256", "image_state", "image_path", "text", "more", "duplicate_of")
"""Columns that are there for other reasons than that somebody filled them in."""


@dataclass(frozen=True, eq=False)
class Listing:
    """N products.

    Attributes:
        ids: in order. place: {id: position}.
        titles: compared letters only; "" where there is none. categories: last part, "" likewise.
        brands: "" where unknown.
        files: path of the picture or None. sha256: of the picture's bytes or None.
        updated: seconds since 1970 or None. filled: int [N], fields that have a value.
        marks: what a product was marked as a duplicate of, or None.
        variants: per product {attribute: (letters compared, value shown)} of those known.
    """

    ids: tuple[str, ...]
    place: dict[str, int]
    titles: tuple[str, ...]
    categories: tuple[str, ...]
    brands: tuple[str, ...]
    files: tuple[str | None, ...]
    sha256: tuple[str | None, ...]
    updated: tuple[float | None, ...]
    filled: NDArray[np.int64]
    marks: tuple[str | None, ...]
    variants: tuple[dict[str, tuple[str, str]], ...]

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class _Product:
    id: str
    title: str
    category: str
    brand: str
    file: str | None
    sha256: str | None
    updated: float | None
    filled: int
    mark: str | None
    variant: dict[str, tuple[str, str]]


def read_listing(
    index: VectorIndex, variant_attributes: Sequence[str] = (), where: Where | None = None
) -> Listing:
    """Return the live products of an index, or those that fit ``where``."""
    columns = [name for name in index.schema.names if name not in ("row_hash", "text", "description")]
    found: list[_Product] = []
    for rows in index.scan(columns=columns, where=where):
        found.extend(_products(rows.ids, rows.payload, variant_attributes))
    found.sort(key=lambda one: one.id)
    return Listing(
        ids=tuple(one.id for one in found),
        place={one.id: place for place, one in enumerate(found)},
        titles=tuple(one.title for one in found),
        categories=tuple(one.category for one in found),
        brands=tuple(one.brand for one in found),
        files=tuple(one.file for one in found),
        sha256=tuple(one.sha256 for one in found),
        updated=tuple(one.updated for one in found),
        filled=np.array([one.filled for one in found], dtype=np.int64),
        marks=tuple(one.mark for one in found),
        variants=tuple(one.variant for one in found),
    )


def _compared(text: str | None) -> str:
    """Return what of a text is compared: its words, one space apart."""
    return " ".join(words_of(html.unescape(text or "")))


def _products(
    ids: Sequence[str], table: pyarrow.Table, variant_attributes: Sequence[str]
) -> Iterator[_Product]:
    counted = [name for name in table.column_names if name not in _NOT_COUNTED]
    cells = {name: table.column(name).to_pylist() for name in table.column_names}
    empty: list[Any] = [None] * len(ids)
    homes = _homes(table.column_names, variant_attributes)
    for row, name in enumerate(ids):
        more = json.loads(cells["more"][row]) if cells.get("more", empty)[row] else {}
        known: dict[str, tuple[str, str]] = {}
        for attribute in variant_attributes:
            home = homes.get(attribute)
            value = cells[home][row] if home else more.get(attribute)
            if value is not None and (compared := _compared(str(value))):
                known[attribute] = (compared, str(value))
        when = cells.get("updated_at", empty)[row]
        yield _Product(
            id=name,
            title=_compared(cells.get("title", empty)[row]),
            category=_compared(leaf_of(cells.get("category", empty)[row])),
            brand=_compared(cells.get("brand", empty)[row]),
            file=cells.get("image_path", empty)[row],
            sha256=cells.get("image_sha256", empty)[row],
            updated=when.timestamp() if isinstance(when, datetime) else None,
            filled=sum(cells[column][row] not in (None, "", []) for column in counted) + len(more),
            mark=cells.get("duplicate_of", empty)[row],
            variant=known,
        )


def _homes(columns: Sequence[str], attributes: Sequence[str]) -> dict[str, str]:
    """Return {attribute: its column}; a catalogue may write ``Size`` where we say ``size``."""
    spelled = {attribute_name(name).casefold(): name for name in reversed(columns)}
    return {name: spelled[name.casefold()] for name in attributes if name.casefold() in spelled}


def variant_differences(
    first: dict[str, tuple[str, str]], second: dict[str, tuple[str, str]]
) -> dict[str, tuple[str, str]]:
    """Return {attribute: (value, value)} of what both are known to have and have differently."""
    return {
        name: (first[name][1], second[name][1])
        for name in first
        if name in second and first[name][0] != second[name][0]
    }
