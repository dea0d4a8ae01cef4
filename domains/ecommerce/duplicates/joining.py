"""From pairs to groups: the strongest evidence first, and no group of things that differ as a whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Link:
    """A pair that may join.

    Attributes:
        first, second: rows.
        least: mean cosine that the groups of both must have to join; None for the same picture, which is the
            same however many there are of it.
    """

    first: int
    second: int
    least: float | None


@dataclass(eq=False)
class _Part:
    """A group in the making."""

    rows: list[int]
    total: NDArray[np.float64]
    values: dict[str, set[str]]


class Joiner:
    """Joins rows into groups, link by link.

    Args:
        vectors: float32 [R, D], unit length or zero.
        values: per row {attribute: value} of those that make a variant.

    Two single rows join on their evidence alone. Larger groups must be alike as a whole: in a chain of small
    steps the ends are different products, and the mean cosine over all pairs across shows it. The same
    picture is no small step and joins always. No group holds two values of one variant attribute.
    """

    def __init__(self, vectors: NDArray[np.float32], values: Sequence[Mapping[str, str]]) -> None:
        self._parts = [
            _Part([row], vectors[row].astype(np.float64), {name: {one} for name, one in values[row].items()})
            for row in range(len(vectors))
        ]
        self._home = list(range(len(vectors)))

    def join(self, link: Link) -> tuple[Literal["joined", "together", "chain", "variant"], float]:
        """Join the groups of two rows if they may; return what became of it and their mean cosine."""
        first, second = self._home[link.first], self._home[link.second]
        if first == second:
            return "together", 1.0
        one, two = self._parts[first], self._parts[second]
        mean = float(one.total @ two.total) / (len(one.rows) * len(two.rows))
        if any(len(values | two.values.get(name, values)) > 1 for name, values in one.values.items()):
            return "variant", mean
        single = len(one.rows) == len(two.rows) == 1
        if not single and link.least is not None and mean < link.least:
            return "chain", mean
        large, small = (first, second) if len(one.rows) >= len(two.rows) else (second, first)
        into, taken = self._parts[large], self._parts[small]
        into.rows += taken.rows
        into.total = into.total + taken.total
        for name, values in taken.values.items():
            into.values.setdefault(name, set()).update(values)
        for row in taken.rows:
            self._home[row] = large
        taken.rows = []
        return "joined", mean

    def groups(self) -> list[list[int]]:
        """Return the rows of each group of two or more, in order."""
        return sorted(sorted(part.rows) for part in self._parts if len(part.rows) > 1)
