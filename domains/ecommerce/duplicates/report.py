"""What a search for duplicates found: groups with the evidence for each pair, and what was left alone."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from ....core.index.base import Identity
from .settings import DuplicateSettings

Reason = Literal[
    "same_file", "same_pixels", "same_title", "similar_picture", "mirrored_picture", "similar_product"
]
REASONS: dict[Reason, str] = {
    "same_file": "same picture file",
    "same_pixels": "same pixels",
    "same_title": "same title",
    "similar_picture": "nearly the same picture",
    "mirrored_picture": "the picture mirrored",
    "similar_product": "alike as products",
}
"""{reason: words for it}, strongest first."""


@dataclass(frozen=True)
class Pair:
    """Two products and why they are taken for one.

    Attributes:
        first, second: ids in order. reasons: strongest first.
        bits: of 64 in which the hashes of the pictures differ; None where that was not looked at.
        product, image, text: cosines of their vectors; None where one has no such vector.
    """

    first: str
    second: str
    reasons: tuple[Reason, ...]
    bits: int | None = None
    product: float | None = None
    image: float | None = None
    text: float | None = None

    def words(self) -> str:
        """Return the evidence as a person reads it."""
        bits = "" if self.bits is None else f" ({self.bits} of 64 bits apart)"
        hashed = ("similar_picture", "mirrored_picture")
        return ", ".join(REASONS[reason] + (bits if reason in hashed else "") for reason in self.reasons)


@dataclass(frozen=True)
class Group:
    """Products that are one.

    Attributes:
        canonical: id of the one that stands for all.
        members: all ids, the canonical one first, then in order.
        pairs: evidence; every member is in at least one of them.
    """

    canonical: str
    members: tuple[str, ...]
    pairs: tuple[Pair, ...]

    @property
    def duplicates(self) -> tuple[str, ...]:
        """Ids of the members that would be marked."""
        return self.members[1:]


@dataclass(frozen=True)
class Variant:
    """Two products alike that differ in what makes a variant.

    Attributes:
        differs: {attribute: (value of the first, value of the second)}.
    """

    pair: Pair
    differs: dict[str, tuple[str, str]]


@dataclass(frozen=True)
class Refusal:
    """Two products alike whose groups were not joined.

    Attributes:
        reason: ``chain`` where the groups as a whole are too different, ``variant`` where other members of
            them are variants of each other.
        similarity: mean cosine of the two groups.
    """

    pair: Pair
    reason: Literal["chain", "variant"]
    similarity: float


@dataclass(frozen=True)
class DuplicateReport:
    """What was found in one version of a catalogue.

    Attributes:
        version: of the catalogue's index. made_by: encoder of its vectors.
        settings: that were used. products: that were compared.
        groups: largest first, then by canonical id. variants, refused: what was left alone.
        notes: what a reader must know, one sentence each.
    """

    version: int
    made_by: Identity
    settings: DuplicateSettings
    products: int
    groups: tuple[Group, ...]
    variants: tuple[Variant, ...]
    refused: tuple[Refusal, ...]
    notes: tuple[str, ...] = ()

    @property
    def duplicates(self) -> int:
        """Products that would be marked."""
        return sum(len(group.duplicates) for group in self.groups)

    def marks(self) -> dict[str, str]:
        """Return {id of a duplicate: id of the product that stands for it}."""
        return {one: group.canonical for group in self.groups for one in group.duplicates}

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "version": self.version,
            "made_by": self.made_by.to_dict(),
            "settings": self.settings.model_dump(mode="json"),
            "products": self.products,
            "duplicates": self.duplicates,
            "groups": [asdict(group) for group in self.groups],
            "variants": [asdict(one) for one in self.variants],
            "refused": [asdict(one) for one in self.refused],
            "notes": list(self.notes),
        }
