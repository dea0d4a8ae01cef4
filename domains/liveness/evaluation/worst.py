"""Single presentations that went wrong, named by path: only where the user asked for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .table import ScoredPresentation


@dataclass(frozen=True)
class Example:
    """A presentation that was decided wrongly.

    Attributes:
        path: as the user gave it; the id where no path is known. species, subject: of the manifest.
        score: on the scale that was compared. error: ``attack accepted`` or ``bona fide rejected``.
    """

    path: str
    species: str
    score: float
    error: str

    def to_dict(self) -> dict[str, str | float]:
        """Return plain values for JSON."""
        return dict(vars(self))


def worst_examples(
    rows: Sequence[ScoredPresentation], values: Sequence[float | None], threshold: float, count: int
) -> tuple[Example, ...]:
    """Return the accepted attacks with the highest and the rejected bona fides with the lowest scores.

    Args:
        count: at most so many of each.
    """
    wrong = [
        Example(
            row.path or row.id, row.species, value, "bona fide rejected" if row.is_live else "attack accepted"
        )
        for row, value in zip(rows, values, strict=True)
        if value is not None and (value >= threshold) != row.is_live
    ]
    attacks = sorted((one for one in wrong if one.error == "attack accepted"), key=lambda one: -one.score)
    genuine = sorted((one for one in wrong if one.error != "attack accepted"), key=lambda one: one.score)
    return (*attacks[:count], *genuine[:count])
