"""What a catalogue holds, counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from .config import VIEWS
from .payload import PREFIX, attribute_name

if TYPE_CHECKING:
    from ....core.index.base import IndexStats, VectorIndex
    from .config import CatalogConfig

_MOST_CATEGORIES = 20


@dataclass(frozen=True)
class CatalogStats:
    """What a catalogue holds.

    Attributes:
        products: all of them. views: {view: products with that vector}.
        further_pictures: beyond the first of a product.
        duplicates: products that a merge marked.
        categories: {category: products}, the largest first, 20 at most.
        attributes: names of those that can be filtered by.
        model: that made the vectors. index: None while nothing has been taken in.
    """

    products: int
    views: Mapping[str, int]
    further_pictures: int
    duplicates: int
    categories: Mapping[str, int]
    attributes: tuple[str, ...]
    model: str
    index: IndexStats | None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


def stats_of(index: VectorIndex | None, config: CatalogConfig, *, further: int = 0) -> CatalogStats:
    """Count the products of an index; None is an empty one. ``further``: pictures beyond the first."""
    views: Counter[str] = Counter(dict.fromkeys(VIEWS, 0))
    categories, duplicates, products = Counter[str](), 0, 0
    columns = ("category", "duplicate_of", "text", "image_sha256")
    for rows in index.scan(columns=columns) if index is not None else ():
        products += len(rows)
        category, marks, texts, pictures = (rows.payload.column(name) for name in columns)
        categories.update(name for name in category.to_pylist() if name)
        duplicates += len(rows) - marks.null_count
        views["product"] += len(rows)
        views["text"] += len(rows) - texts.null_count
        views["image"] += len(rows) - pictures.null_count
    names = (
        tuple(config.attributes or ())
        if index is None
        else tuple(attribute_name(name) for name in index.schema.names if name.startswith(PREFIX))
    )
    return CatalogStats(
        products,
        dict(views),
        further,
        duplicates,
        dict(categories.most_common(_MOST_CATEGORIES)),
        names,
        config.model,
        None if index is None else index.stats(),
    )
