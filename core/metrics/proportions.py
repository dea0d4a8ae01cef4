"""Exact bounds of a rate that was counted: how high, or how low, it may be where few were seen.

Counts are taken as independent draws. Those of one person, patient or object are not; bounds of such counts
are closer to the rate than they should be.

Reference: Clopper and Pearson 1934.
"""

from __future__ import annotations

import math

from ..errors import InputError

CONFIDENCE = 0.95
"""Of a bound, where nothing else is said."""


def upper_bound(errors: int, n: int, confidence: float = CONFIDENCE) -> float:
    """Return the one-sided upper bound of a rate of which ``errors`` in ``n`` were seen, in [0, 1].

    With no error ``1 - (1 - confidence) ** (1 / n)``; 1 where nothing was seen.

    Raises:
        InputError: more errors than were looked at, a negative count, or a confidence outside (0, 1).
    """
    _check(errors, n, confidence)
    if errors == n:
        return 1.0
    if errors == 0:
        return -math.expm1(math.log1p(-confidence) / n)
    from scipy.special import betaincinv

    return float(betaincinv(errors + 1, n - errors, confidence))


def lower_bound(hits: int, n: int, confidence: float = CONFIDENCE) -> float:
    """Return the one-sided lower bound of a rate of which ``hits`` in ``n`` were seen, in [0, 1].

    With nothing else ``(1 - confidence) ** (1 / n)``; 0 where nothing was seen.

    Raises:
        InputError: as :func:`upper_bound`.
    """
    _check(hits, n, confidence)
    if hits == 0:
        return 0.0
    if hits == n:
        return math.exp(math.log1p(-confidence) / n)
    from scipy.special import betaincinv

    return float(betaincinv(hits, n - hits + 1, 1 - confidence))


def _check(count: int, n: int, confidence: float) -> None:
    if not 0 <= count <= n:
        raise InputError(f"{count} of {n} were counted; expected 0 <= count <= n.")
    if not 0 < confidence < 1:
        raise InputError(f"A confidence lies between 0 and 1, both excluded; got {confidence}.")
