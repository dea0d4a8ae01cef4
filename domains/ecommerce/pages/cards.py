"""From products of a catalogue to what a page shows of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from ..catalog.payload import BOOKKEEPING, shown
from ..catalog.search import Found
from .results import ResultCard
from .shell import ProductCard
from .thumbnails import ThumbnailSize, size_for, thumbnail_or_none

if TYPE_CHECKING:
    from PIL.Image import Image

    from ....core.index.base import VectorIndex

_FIRST = ("brand", "category", "color", "size", "material", "gender", "price", "supplier")
"""What is shown of a product before its other attributes."""
_ELSEWHERE = ("title", "description", "image", "images", "text", "currency", "attributes", "updated_at")


class Pictured(Protocol):
    """The part of :class:`..catalog.catalog.Catalog` that pages use."""

    @property
    def index(self) -> VectorIndex:
        """Fields of all products."""
        ...

    def image_of(self, identifier: str) -> Image:
        """Return the picture of a product."""
        ...


def result_cards(catalog: Pictured, found: Sequence[Found]) -> list[ResultCard]:
    """Return what a page shows of the products that a search found."""
    size = size_for(len(found))
    return [
        ResultCard(_card(catalog, one.id, one.payload, size), one.rank, one.score, one.scores, one.view)
        for one in found
    ]


def product_cards(catalog: Pictured, ids: Iterable[str]) -> dict[str, ProductCard]:
    """Return {id: what a page shows} of those products that are there; pictures shrink with their number."""
    wanted = list(dict.fromkeys(ids))
    size = size_for(len(wanted))
    columns = [name for name in catalog.index.schema.names if name not in BOOKKEEPING]
    rows = catalog.index.get(wanted, columns=columns)
    cells = rows.payload.to_pylist()
    return {
        name: _card(catalog, name, shown(payload), size)
        for name, payload in zip(rows.ids, cells, strict=True)
    }


def facts_of(payload: Mapping[str, Any]) -> dict[str, str]:
    """Return {what: value} of a product in the order people look at them: brand, category, color, price."""
    known = {**payload, **payload.get("attributes", {})}
    names = [name for name in _FIRST if name in known]
    names += [name for name in known if name not in _FIRST and name not in _ELSEWHERE]
    return {name.replace("_", " "): _written(name, known) for name in names}


def _written(name: str, known: Mapping[str, Any]) -> str:
    value = known[name]
    if name == "price" and isinstance(value, (int, float)):
        return f"{value:,.2f} {known.get('currency') or ''}".strip()
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _card(catalog: Pictured, name: str, payload: Mapping[str, Any], size: ThumbnailSize) -> ProductCard:
    picture = thumbnail_or_none(lambda: catalog.image_of(name), size)
    return ProductCard(name, str(payload.get("title") or ""), facts_of(payload), picture)
