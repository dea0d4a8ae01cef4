"""Regression metrics: R2, RMSE and MAE with bootstrap intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InputError
from .bootstrap import Bootstrap, Estimate


@dataclass(frozen=True)
class RegressionReport:
    """R2 (fraction of variance explained), RMSE and MAE (both in the unit of the target)."""

    rows: int
    r2: Estimate
    rmse: Estimate
    mae: Estimate
    seed: int

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        estimates = {name: getattr(self, name).to_dict() for name in ("r2", "rmse", "mae")}
        return {"rows": self.rows, "seed": self.seed, **estimates}


def regression_report(
    predictions: ArrayLike,
    targets: ArrayLike,
    *,
    groups: Sequence[Any] | None = None,
    seed: int = 0,
    resamples: int = 1000,
) -> RegressionReport:
    """Return R2, RMSE and MAE of predictions float [N] against targets float [N].

    Args:
        predictions: float [N], in the unit of the targets.
        targets: float [N], not all equal.
        groups: N ids to resample instead of rows.
        seed, resamples: of the bootstrap.

    Raises:
        InputError: shapes differ, a value is not finite, or all targets are equal (R2 is undefined).
    """
    predicted, actual = np.asarray(predictions, dtype=np.float64), np.asarray(targets, dtype=np.float64)
    if predicted.shape != actual.shape or actual.ndim != 1:
        raise InputError(f"predictions {predicted.shape} and targets {actual.shape} must both be [N].")
    for name, values in (("predictions", predicted), ("targets", actual)):
        if not np.isfinite(values).all():
            row = int(np.flatnonzero(~np.isfinite(values))[0])
            raise InputError(f"{name}: row {row} is {values[row]}, expected a finite number.")
    bootstrap = Bootstrap(len(actual), groups=groups, seed=seed, resamples=resamples)
    if np.ptp(actual) == 0:
        raise InputError(f"All {len(actual)} targets equal {actual[0]:g}; R2 needs targets that vary.")
    # Centring first keeps the difference of squares below accurate for targets far from zero.
    centered = actual - actual.mean()
    columns = np.stack([(predicted - actual) ** 2, np.abs(predicted - actual), centered**2, centered], axis=1)

    def statistic(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        squared, absolute, spread, offset = (weights @ columns / weights.sum(axis=1, keepdims=True)).T
        variance = spread - offset**2
        varies = variance > 1e-12 * columns[:, 2].mean()
        r2 = np.where(varies, 1 - squared / np.where(varies, variance, 1.0), np.nan)
        return np.stack([r2, np.sqrt(squared), absolute], axis=1)

    return RegressionReport(len(actual), *bootstrap.estimates(statistic), seed=seed)
