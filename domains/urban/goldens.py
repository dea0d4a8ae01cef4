"""Reference cases of UrbanCLIP: captioner and losses, indicator regression, indicator tables."""

from __future__ import annotations

from torch import Tensor

from .coca import goldens as coca
from .indicators import goldens as indicators

CASES = {**coca.CASES, **indicators.CASES}


def tolerance(case: str, name: str, expected: Tensor) -> float:
    """Return the largest error of an output that its case allows."""
    return (coca if case in coca.CASES else indicators).tolerance(case, name, expected)


def error(case: str, name: str, got: Tensor, expected: Tensor) -> float | None:
    """Return how far off an output is where the largest difference is the wrong measure."""
    return coca.error(case, name, got, expected) if case in coca.CASES else None
