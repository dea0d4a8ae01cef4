"""Reference cases of e-commerce: losses over product pairs, composed queries, retrieval metrics."""

from __future__ import annotations

from torch import Tensor

from .evaluation import goldens as evaluation
from .objectives import goldens as objectives

_HOMES = (objectives, evaluation)

CASES = {case: replay for home in _HOMES for case, replay in home.CASES.items()}
"""Golden cases by name."""


def tolerance(case: str, name: str, expected: Tensor) -> float:
    """Return the largest error of an output that its case allows."""
    home = next(home for home in _HOMES if case in home.CASES)
    return home.tolerance(case, name, expected)
