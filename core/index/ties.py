"""The end of a list of answers from a back end that breaks ties in its own way."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .base import Hits

SPARE = 8
"""Rows asked for beyond k at first; there are seldom more that are as good as the last."""
_SLACK = 2e-5


def settled(
    ids: Sequence[str],
    scores: NDArray[np.float32],
    coarse: NDArray[np.float32],
    k: int,
    *,
    complete: bool,
) -> Hits | None:
    """Return the k best rows, equal scores by id, or None where rows that are as good may be missing.

    Args:
        ids: C rows, the best by the scores of the back end.
        scores: float32 [C], exact. coarse: float32 [C], those of the back end.
        complete: there are no other rows, or whether there are does not matter.
    """
    order = sorted(range(len(ids)), key=lambda place: (-scores[place], ids[place]))[:k]
    if not complete and coarse.min() >= scores[order[-1]] - _SLACK:
        return None
    return Hits(tuple(ids[place] for place in order), scores[order])
