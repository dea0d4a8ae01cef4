"""Reference cases of liveness: FLIP's logits and losses, MiniFASNet, error rates."""

from __future__ import annotations

import importlib

from torch import Tensor

_HOMES = [
    importlib.import_module(f".{home}.goldens", __package__) for home in ("models", "minifasnet", "metrics")
]

CASES = {case: replay for home in _HOMES for case, replay in home.CASES.items()}
"""Golden cases by name."""


def tolerance(case: str, name: str, expected: Tensor) -> float:
    """Return the largest error of an output that its case allows."""
    home = next(home for home in _HOMES if case in home.CASES)
    return home.tolerance(case, name, expected)
