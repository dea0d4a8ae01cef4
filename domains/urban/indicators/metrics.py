"""How good predictions are: the reference's five numbers, and R2, RMSE and MAE in three units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ....core.errors import InputError
from ....core.metrics.bootstrap import Bootstrap, Estimate
from ....core.metrics.regression import RegressionReport, regression_report
from .transforms import TargetKind, from_log, has_log


def reference_metrics(targets: ArrayLike, predictions: ArrayLike) -> dict[str, float]:
    """Return ``mse``, ``r2``, ``rmse``, ``mae`` and ``mape`` as the reference has them after every epoch.

    Args:
        targets, predictions: float [N], N of 2 or more, in one unit.

    Raises:
        InputError: shapes differ or there are fewer than two rows.

    Reference: scikit-learn's definitions; ``mape`` divides by ``max(|target|, eps)`` and means little on
    standardized targets.
    """
    actual, predicted = np.asarray(targets, dtype=np.float64), np.asarray(predictions, dtype=np.float64)
    if actual.shape != predicted.shape or actual.ndim != 1 or len(actual) < 2:
        raise InputError(
            f"targets {actual.shape} and predictions {predicted.shape} must both be [N] with N of 2 or more."
        )
    error = predicted - actual
    mse = float((error**2).mean())
    spread = float(((actual - actual.mean()) ** 2).mean())
    mape = float((np.abs(error) / np.maximum(np.abs(actual), np.finfo(np.float64).eps)).mean())
    # Equal targets: scikit-learn answers 1 for no error and 0 for any.
    r2 = 1 - mse / spread if spread else float(mse == 0)
    return {
        "mse": mse,
        "r2": r2,
        "rmse": float(np.sqrt(mse)),
        "mae": float(np.abs(error).mean()),
        "mape": mape,
    }


@dataclass(frozen=True)
class UnitReports:
    """One set of predictions, measured in three units.

    Attributes:
        original: in the unit of the indicator.
        log: after the logarithm; None for targets without one.
        z: errors in deviations of the labelled targets, after the logarithm where there is one. R2 is the
            same as that of ``log``: it does not know units.
    """

    original: RegressionReport
    log: RegressionReport | None
    z: RegressionReport

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "original": self.original.to_dict(),
            "log": None if self.log is None else self.log.to_dict(),
            "z": self.z.to_dict(),
        }


def unit_reports(
    predicted: NDArray[np.float64],
    actual: NDArray[np.float64],
    kind: TargetKind,
    *,
    groups: Sequence[Any] | NDArray[Any] | None = None,
    seed: int = 0,
    resamples: int = 1000,
) -> UnitReports:
    """Return the reports of predictions against targets, both float64 [N] on the scale of ``to_log``.

    Args:
        predicted, actual: after the logarithm where the kind has one.
        kind: of the target.
        groups: N ids whose members are resampled together.
        seed, resamples: of the bootstrap.
    """

    def report(left: NDArray[np.float64], right: NDArray[np.float64]) -> RegressionReport:
        together = None if groups is None else np.asarray(groups).tolist()
        return regression_report(left, right, groups=together, seed=seed, resamples=resamples)

    mean, deviation = float(actual.mean()), float(actual.std())
    if deviation == 0:
        raise InputError(f"All {len(actual)} targets are equal; R2 needs targets that vary.")
    return UnitReports(
        report(from_log(predicted, kind), from_log(actual, kind)),
        report(predicted, actual) if has_log(kind) else None,
        report((predicted - mean) / deviation, (actual - mean) / deviation),
    )


def r2_difference(
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    actual: NDArray[np.float64],
    *,
    groups: Sequence[Any] | NDArray[Any] | None = None,
    seed: int = 0,
    resamples: int = 1000,
) -> Estimate:
    """Return R2 of the first predictions minus R2 of the second, with the interval of paired resamples.

    Args:
        first, second, actual: float64 [N], of the same rows.
        groups, seed, resamples: as in :func:`unit_reports`.
    """
    centered = actual - actual.mean()
    columns = np.stack([(first - actual) ** 2, (second - actual) ** 2, centered**2, centered], axis=1)

    def statistic(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        one, other, spread, offset = (weights @ columns / weights.sum(axis=1, keepdims=True)).T
        variance = spread - offset**2
        varies = variance > 1e-12 * columns[:, 2].mean()
        return np.where(varies, (other - one) / np.where(varies, variance, 1.0), np.nan)

    return Bootstrap(len(actual), groups=groups, seed=seed, resamples=resamples).estimate(statistic)
