"""Choosing one of several settings by labelled queries, and what the choice is worth on others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....core.errors import InputError
from ....core.metrics.bootstrap import Bootstrap, Estimate

Floats = NDArray[np.float64]

LEAST_QUERIES = 10
"""Queries below which no choice is worthwhile: a resample of two says nothing of others."""


@dataclass(frozen=True)
class Choice:
    """The best of S settings on Q queries.

    Attributes:
        best: number of the setting.
        before, after: mean score of the setting in use and of the best one, on all the queries.
        held_out: mean score where each half of the queries takes the setting that is best on the other
            half: what to expect on queries that nothing was chosen by.
        gain: mean of what each query gains by that over the setting in use.
    """

    best: int
    before: Estimate
    after: Estimate
    held_out: Estimate
    gain: Estimate

    @property
    def worthwhile(self) -> bool:
        """Whether queries that nothing was chosen by surely gain: the interval of :attr:`gain` is above 0.

        Fewer than :data:`LEAST_QUERIES` are never sure.
        """
        return self.gain.n >= LEAST_QUERIES and self.gain.low > 0

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {name: getattr(self, name).to_dict() for name in ("before", "after", "held_out", "gain")}


def choose(scores: Floats, *, current: int, seed: int = 0) -> Choice:
    """Return the best setting; of equal ones the current one, then the first.

    Args:
        scores: float [S, Q], of each setting on each query; higher is better.
        current: setting in use. seed: of the halves and of the bootstrap.

    Raises:
        InputError: fewer than two queries, which leave nothing to hold out.
    """
    if scores.shape[1] < 2:
        raise InputError(
            f"{scores.shape[1]} labelled queries cannot choose a setting; give at least 2, better 200."
        )
    order = np.random.default_rng(seed).permutation(scores.shape[1])
    halves = order[: len(order) // 2], order[len(order) // 2 :]
    held_out = np.empty(scores.shape[1])
    for mine, other in (halves, halves[::-1]):
        held_out[mine] = scores[_best(scores[:, other], current), mine]
    best = _best(scores, current)
    bootstrap = Bootstrap(scores.shape[1], seed=seed)
    return Choice(
        best,
        before=bootstrap.mean(scores[current]),
        after=bootstrap.mean(scores[best]),
        held_out=bootstrap.mean(held_out),
        gain=bootstrap.mean(held_out - scores[current]),
    )


def _best(scores: Floats, current: int) -> int:
    means = scores.mean(axis=1)
    # Sums of equal scores may differ in their last bit; a change needs a reason.
    return current if means[current] >= means.max() - 1e-12 else int(means.argmax())
