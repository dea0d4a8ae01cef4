"""Thresholds from labelled pairs, measured on pairs that had no part in choosing them."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ....core.errors import DataError, InputError
from ....core.metrics.proportions import lower_bound
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


def pairs_needed(precision: float, confidence: float) -> int:
    """Return how many pairs, all of them right, the bound of a precision takes: 299 for 0.99 at 95 %."""
    return math.ceil(math.log(1 - confidence) / math.log(precision) - 1e-9)


def fit_thresholds(
    pairs: Sequence[LabelledPair],
    *,
    target_precision: float = 0.99,
    confidence: float = 0.95,
    made_by: MadeBy | None = None,
    seed: int = 0,
) -> Thresholds:
    """Return the thresholds that find most duplicates at a precision that holds on held-out labels.

    Half of the pairs, drawn by chance, choose thresholds from strict to loose; the other half is asked of one
    after the other whether the precision holds, until it does not. So the bound allows for all that were
    tried, and ``fit`` of the result tells the figures of that half.

    What the bound assumes: the labelled pairs are an even draw from the candidates of this catalogue, as
    :func:`.labels.candidates` makes it. Chance lies in that draw, so pairs may share products, and the bound
    is about the candidates of this catalogue. It is too good where only clear cases have labels, and for
    products that come later it is an estimate. It is about pairs that the vectors take, one by one; what
    groups make of them is counted by :func:`.judging.judge_groups`.

    Args:
        pairs: labelled; for a target of 0.99 several hundred duplicates are needed. A pair counts once,
            whichever product comes first.
        target_precision: share of the accepted pairs that must be right, below 1.
        confidence: of the bound.
        made_by: encoder of the vectors, stored with the result.
        seed: of the draw.

    Raises:
        InputError: a target or confidence outside of (0, 1), a cosine that is none, a product paired with
            itself, or a pair with both labels.
        DataError: too few duplicates for such a bound, or no thresholds that reach it.

    Reference: Angelopoulos et al. 2021, "Learn then Test" (arXiv 2110.01052), fixed sequence testing.
    """
    _check(pairs, target_precision, confidence)
    choosing, testing = (_Pairs.of(half) for half in _halves(pairs, seed))
    held_back = int(testing.label.sum())
    labelled, positives = len(choosing.label) + len(testing.label), int(choosing.label.sum()) + held_back
    _check_enough(labelled, positives, held_back, target_precision, confidence)
    thresholds, right, accepted = _loosest(choosing, testing, target_precision, confidence)
    fit = Fit(
        target=target_precision,
        confidence=confidence,
        pairs=labelled,
        positives=positives,
        held_out=len(testing.label),
        accepted=accepted,
        wrong=accepted - right,
        precision=right / accepted,
        precision_low=lower_bound(right, accepted, confidence),
        recall=right / held_back,
        made_by=made_by,
    )
    return thresholds.model_copy(update={"fit": fit})


def held_out(pairs: Sequence[LabelledPair], seed: int = 0) -> list[LabelledPair]:
    """Return the pairs that have no part in choosing thresholds, see :func:`fit_thresholds`.

    Raises:
        InputError: a pair with both labels.
    """
    return _halves(pairs, seed)[1]


def _loosest(
    choosing: _Pairs, testing: _Pairs, target: float, confidence: float
) -> tuple[Thresholds, int, int]:
    """Return the last thresholds that hold the target on held-out pairs, and how many are right and taken."""
    best: tuple[Thresholds, int, int] | None = None
    closest = 0.0
    for product, image, text in _path(choosing, confidence):
        took = testing.accepted(product, image, text)
        right, accepted = int((took & testing.label).sum()), int(took.sum())
        low = lower_bound(right, accepted, confidence)
        closest = max(closest, low)
        if low < target:
            break
        best = Thresholds(product=product, image=image, text=text), right, accepted
    if best is None:
        raise DataError(
            f"No thresholds hold a precision of {target:g} with {confidence:.0%} confidence on the held-out "
            f"pairs; {closest:.3f} is the most that can be shown. Label more pairs, ask for less, or use a "
            "model that tells these products apart."
        )
    return best


def _check_enough(labelled: int, positives: int, held_back: int, target: float, confidence: float) -> None:
    """Raise ``DataError`` where the held-out duplicates are too few even if no mistake is made."""
    needed = pairs_needed(target, confidence)
    if held_back < needed:
        raise DataError(
            f"Of {labelled:,} labelled pairs {positives:,} are duplicates, and {held_back:,} of these are "
            f"held out. For a precision of {target:g} with {confidence:.0%} confidence at least {needed:,} "
            f"are needed there: label about {2 * needed:,} duplicates, or ask for a lower precision or "
            "confidence."
        )


def _check(pairs: Sequence[LabelledPair], target: float, confidence: float) -> None:
    for name, value in (("target_precision", target), ("confidence", confidence)):
        if not 0 < value < 1:
            raise InputError(f"{name} lies between 0 and 1, got {value:g}.")
    for pair in pairs:
        if pair.first == pair.second:
            raise InputError(f"{pair.first!r:.80} is paired with itself. Take the pair out.")
        for name in ("product", "image", "text"):
            value = getattr(pair, name)
            if value is not None and not -1.001 <= value <= 1.001:
                raise InputError(f"{pair.first} and {pair.second}: {name} is {value}, expected a cosine.")


def _halves(pairs: Sequence[LabelledPair], seed: int) -> tuple[list[LabelledPair], list[LabelledPair]]:
    """Return two halves drawn by chance, each pair once, whatever the order of the pairs.

    Pairs are drawn, not products: hard pairs hang together in one large web of products, and a cut around it
    leaves one half with the easy ones.
    """
    once: dict[tuple[str, str], LabelledPair] = {}
    for pair in pairs:
        first, second = sorted((pair.first, pair.second))
        if once.setdefault((first, second), pair).is_duplicate != pair.is_duplicate:
            raise InputError(f"{first!r:.80} and {second!r:.80} have both labels. Keep one.")

    def lot(names: tuple[str, str]) -> str:
        return hashlib.sha256(json.dumps([seed, *names]).encode()).hexdigest()

    drawn = [once[names] for names in sorted(once, key=lot)]
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
