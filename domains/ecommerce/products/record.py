"""One product of a catalogue as it was read, and a row that is not one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

Attribute = str | float | bool
"""What an attribute may be."""

TEXT_FIELDS = ("title", "description", "category", "brand", "color", "material", "gender", "supplier")
"""Fields of a product that are text."""


@dataclass(frozen=True)
class ImageRef:
    """Where a picture of a product is: a file, an address or the bytes themselves.

    Attributes:
        given: path or address as the row spells it; empty for bytes without a name.
        path: the file, absolute; it is not known to exist.
        url: http or https; nothing is fetched unless asked, see :mod:`.remote`.
        data: the encoded picture.
    """

    given: str
    path: Path | None = None
    url: str | None = None
    data: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Product:
    """One row of a catalogue.

    Attributes:
        id: unique and stable, exactly as given but for spaces around it.
        title, description, category, brand, color, material, gender, supplier: text; None where there is
            none. A category is a path such as ``Clothing > Dresses``.
        price: finite and not negative. currency: three letters where they are known.
        image: the primary picture. images: further ones of the same product.
        attributes: all else that is known of it, by name.
        updated_at: with a time zone.
        deleted: the product is to be taken out; the other fields may then be empty.
        row: where it stands: line of a text file (the header is line 1), row of a Parquet file, picture of
            a folder or item of an iterable, from 1.
    """

    id: str
    title: str | None = None
    description: str | None = None
    category: str | None = None
    brand: str | None = None
    color: str | None = None
    material: str | None = None
    gender: str | None = None
    supplier: str | None = None
    price: float | None = None
    currency: str | None = None
    image: ImageRef | None = None
    images: tuple[ImageRef, ...] = ()
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    updated_at: datetime | None = None
    deleted: bool = False
    row: int = 0

    @property
    def category_leaf(self) -> str | None:
        """Last part of the category's path: ``Dresses``."""
        return leaf_of(self.category)


def leaf_of(category: str | None) -> str | None:
    """Return the last part of a category's path, or None where there is none."""
    return None if category is None else category.rsplit(">", 1)[-1].strip() or None


@dataclass(frozen=True)
class Reject:
    """A row that is no usable product.

    Attributes:
        row: as :attr:`Product.row`. id: where the row has one. reason: what is wrong and what to do.
    """

    row: int
    id: str | None
    reason: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)
