"""Targets of a regression between their own unit and the scale that it is linear in."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import ConfigError, InputError, nearest

TargetKind = Literal["log1p", "log", "standardize", "none"]
"""``log1p`` for counts and amounts with zeros; ``log`` where every value is above zero; ``standardize`` for
quantities that are spread evenly; ``none`` for values that are of about 1 already."""

TARGET_KINDS: tuple[TargetKind, ...] = get_args(TargetKind)


def has_log(kind: TargetKind) -> bool:
    """Return whether a kind of target takes a logarithm."""
    return kind in ("log", "log1p")


def to_log(values: ArrayLike, kind: TargetKind, *, name: str = "target") -> NDArray[np.float64]:
    """Return values float64 on the scale that is standardized: after the logarithm, where there is one.

    Args:
        values: float, any shape, in the original unit.
        kind: see :data:`TargetKind`.
        name: what messages call the values.

    Raises:
        ConfigError: unknown kind.
        InputError: a value is not finite or outside the range of the logarithm.
    """
    if kind not in TARGET_KINDS:
        raise ConfigError(
            f"Unknown target transform {kind!r}; there are: {', '.join(TARGET_KINDS)}."
            f"{nearest(str(kind), TARGET_KINDS)}"
        )
    numbers = np.asarray(values, dtype=np.float64)
    if not np.isfinite(numbers).all():
        row = int(np.flatnonzero(~np.isfinite(numbers))[0])
        raise InputError(f"{name}: value {row} is {numbers.flat[row]}, expected a finite number.")
    low = float(numbers.min()) if numbers.size else 1.0
    if kind == "log" and low <= 0:
        raise InputError(f"{name}: a log target needs values above 0, got {low:g}; use log1p for zeros.")
    if kind == "log1p" and low < 0:
        raise InputError(
            f"{name}: a log1p target needs values of 0 or more, got {low:g}; use standardize for quantities "
            "that may be negative."
        )
    return np.log(numbers) if kind == "log" else np.log1p(numbers) if kind == "log1p" else numbers


def from_log(logs: ArrayLike, kind: TargetKind) -> NDArray[np.float64]:
    """Return values float64 in the original unit; the inverse of :func:`to_log`.

    ``log1p`` targets begin at 0, so predictions below that end at 0.
    """
    numbers = np.asarray(logs, dtype=np.float64)
    # A prediction may lie far outside of every target; an infinite amount is said by whoever shows it.
    with np.errstate(over="ignore"):
        if kind == "log":
            return np.exp(numbers)
        return np.maximum(np.expm1(numbers), 0.0) if kind == "log1p" else numbers
