"""Thresholds from labelled pairs, with a precision that holds on pairs that had no part in choosing them."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ....core.errors import DataError, InputError
from ..catalog.config import MadeBy
from .settings import Fit, Thresholds

if TYPE_CHECKING:
    from numpy.typing import NDArray

_STEPS = 32
"""Values of each threshold that are tried."""


@dataclass(frozen=True)
class LabelledPair:
    """Two products of which somebody has said whether they are one.

    Attributes:
        first, second: ids. is_duplicate: the label.
        product, image, text: cosines; None where one has no such vector.
    """

    first: str
    second: str
    is_duplicate: bool
    product: float | None
    image: float | None = None
    text: float | None = None


@dataclass(frozen=True, eq=False)
class _Pairs:
    """Cosines [P], -2 where there is none, and labels bool [P]."""

    product: NDArray[np.float64]
    image: NDArray[np.float64]
    text: NDArray[np.float64]
    label: NDArray[np.bool_]

    @classmethod
    def of(cls, pairs: Sequence[LabelledPair]) -> _Pairs:
        def column(name: str) -> NDArray[np.float64]:
            values = [getattr(pair, name) for pair in pairs]
            return np.array([-2.0 if value is None else value for value in values], dtype=np.float64)

        labels = np.array([pair.is_duplicate for pair in pairs], dtype=bool)
        return cls(column("product"), column("image"), column("text"), labels)

    def accepted(self, product: float, image: float, text: float) -> NDArray[np.bool_]:
        return (self.product >= product) & ((self.image >= image) | (self.text >= text))


def least_precision(right: int, accepted: int, confidence: float) -> float:
    """Return the lower bound of a precision of which ``right`` of ``accepted`` were seen; 0 for none.

    Reference: Clopper and Pearson 1934; one-sided, so it holds with at least ``confidence``.
    """
    if right == 0:
        return 0.0
    from scipy.stats import beta

    return float(beta.ppf(1 - confidence, right, accepted - right + 1))


def pairs_needed(precision: float, confidence: float) -> int:
    """Return how many pairs, all of them right, prove a precision: 299 for 0.99 at 95 %."""
    return math.ceil(math.log(1 - confidence) / math.log(precision) - 1e-9)


def fit_thresholds(
    pairs: Sequence[LabelledPair],
    *,
    target_precision: float = 0.99,
    confidence: float = 0.95,
    made_by: MadeBy | None = None,
    seed: int = 0,
) -> Thresholds:
    """Return the thresholds that find most duplicates at a precision that is proven.

    Half of the pairs, drawn by chance, choose thresholds from strict to loose; the other half is asked of one
    after the other whether the precision holds, until it does not. So the bound is true although several were
    tried, and ``fit`` of the result tells the figures of that half.

    The precision is that among pairs like the labelled ones: label pairs drawn evenly from candidates of the
    catalogue, see :func:`.labels.candidates`, not only clear cases.

    Args:
        pairs: labelled; for a target of 0.99 several hundred duplicates are needed.
        target_precision: share of the accepted pairs that must be right, below 1.
        confidence: how sure one can be of it.
        made_by: encoder of the vectors, stored with the result.
        seed: of the draw.

    Raises:
        InputError: a target or confidence outside of (0, 1), or a cosine that is none.
        DataError: too few duplicates or pairs to prove it, or no thresholds that reach it.

    Reference: Angelopoulos et al. 2021, "Learn then Test" (arXiv 2110.01052), fixed sequence testing.
    """
    _check(pairs, target_precision, confidence)
    choosing, testing = (_Pairs.of(half) for half in _halves(pairs, seed))
    labelled, positives = sum(pair.is_duplicate for pair in pairs), int(testing.label.sum())
    _check_enough(labelled, positives, len(pairs), target_precision, confidence)
    best: Thresholds | None = None
    closest = 0.0
    for product, image, text in _path(choosing, confidence):
        took = testing.accepted(product, image, text)
        right, accepted = int((took & testing.label).sum()), int(took.sum())
        low = least_precision(right, accepted, confidence)
        closest = max(closest, low)
        if low < target_precision:
            break
        fit = Fit(
            target=target_precision,
            confidence=confidence,
            pairs=len(pairs),
            positives=labelled,
            held_out=len(testing.label),
            accepted=accepted,
            wrong=accepted - right,
            precision=right / accepted,
            precision_low=low,
            recall=right / positives,
            made_by=made_by,
        )
        best = Thresholds(product=product, image=image, text=text, fit=fit)
    if best is None:
        raise DataError(
            f"No thresholds hold a precision of {target_precision:g} with {confidence:.0%} confidence on the "
            f"held-out pairs; {closest:.3f} is the most that can be shown. Label more pairs, ask for less, "
            "or use a model that tells these products apart."
        )
    return best


def _check_enough(labelled: int, held_out: int, pairs: int, target: float, confidence: float) -> None:
    """Raise ``DataError`` where even without a mistake the held-out duplicates could not prove the target."""
    needed = pairs_needed(target, confidence)
    if held_out < needed:
        raise DataError(
            f"Of {pairs:,} labelled pairs {labelled:,} are duplicates, and {held_out:,} of these are held "
            f"out. To prove a precision of {target:g} with {confidence:.0%} confidence at least {needed:,} "
            f"are needed there: label about {2 * needed:,} duplicates, or ask for a lower precision or "
            "confidence."
        )


def _check(pairs: Sequence[LabelledPair], target: float, confidence: float) -> None:
    for name, value in (("target_precision", target), ("confidence", confidence)):
        if not 0 < value < 1:
            raise InputError(f"{name} lies between 0 and 1, got {value:g}.")
    for pair in pairs:
        for name in ("product", "image", "text"):
            value = getattr(pair, name)
            if value is not None and not -1.001 <= value <= 1.001:
                raise InputError(f"{pair.first} and {pair.second}: {name} is {value}, expected a cosine.")


def _halves(pairs: Sequence[LabelledPair], seed: int) -> tuple[list[LabelledPair], list[LabelledPair]]:
    """Return two halves drawn by chance, whatever the order of the pairs.

    Pairs are drawn, not products: hard pairs hang together in one large web of products, and a cut around it
    would leave one half with the easy ones.
    """

    def lot(pair: LabelledPair) -> str:
        return hashlib.sha256(json.dumps([seed, *sorted((pair.first, pair.second))]).encode()).hexdigest()

    drawn = sorted(pairs, key=lot)
    return drawn[::2], drawn[1::2]


def _path(pairs: _Pairs, confidence: float) -> list[tuple[float, float, float]]:
    """Return thresholds in the order they are tested: the most certain first, then ever more recall."""
    grid = [_steps(values[pairs.label]) for values in (pairs.product, pairs.image, pairs.text)]
    found: dict[int, tuple[int, tuple[float, float, float]]] = {}
    for product in grid[0]:
        fits = pairs.product >= product
        right, wrong = (_taken(pairs, fits & kind, grid[1], grid[2]) for kind in (pairs.label, ~pairs.label))
        for (row, column), count in np.ndenumerate(right):
            mistakes = int(wrong[row, column])
            if count and (count not in found or mistakes < found[count][0]):
                found[int(count)] = (mistakes, (product, grid[1][row], grid[2][column]))
    if not found:
        return []
    from scipy.stats import beta

    counts = sorted(found)
    bounds = beta.ppf(1 - confidence, counts, [found[right][0] + 1 for right in counts])
    # Of equal bounds the one that finds more.
    start = counts[len(bounds) - 1 - int(np.argmax(bounds[::-1]))]
    path: list[tuple[float, float, float]] = []
    # Of all that find as much, only those that are wrong least often; from the loosest back, so that one
    # which is both stricter and worse is passed by.
    least_wrong = math.inf
    for right in sorted((right for right in found if right >= start), reverse=True):
        wrong, candidate = found[right]
        if wrong < least_wrong or right == start:
            least_wrong = wrong
            path.append(candidate)
    return path[::-1]


def _taken(
    pairs: _Pairs, among: NDArray[np.bool_], images: Sequence[float], texts: Sequence[float]
) -> NDArray[np.int64]:
    """Return how many of the pairs ``among`` each two thresholds take, int64 [I, T]."""
    # A pair passes the first so many thresholds; it is left out where both are beyond.
    passed = [
        np.searchsorted(steps, values[among], side="right")
        for steps, values in ((images, pairs.image), (texts, pairs.text))
    ]
    counts = np.zeros((len(images) + 1, len(texts) + 1), np.int64)
    np.add.at(counts, (passed[0], passed[1]), 1)
    left_out = counts.cumsum(axis=0).cumsum(axis=1)[:-1, :-1]
    return int(among.sum()) - left_out


def _steps(values: NDArray[np.float64]) -> list[float]:
    """Return values to try: quantiles of the duplicates' cosines, and one that nothing reaches."""
    known = values[values >= -1]
    if not len(known):
        return [1.0]
    quantiles = np.quantile(known, np.linspace(0, 1, _STEPS))
    # Rounded down, so that the pair at the quantile itself still fits.
    return sorted({max(-1.0, math.floor(one * 10_000) / 10_000) for one in quantiles.tolist()} | {1.0})
