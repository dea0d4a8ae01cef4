"""Bootstrap confidence intervals, vectorised over resamples."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import ConfigError, InputError

# Largest block of resampling counts held at once: 4 M doubles are 32 MiB.
_BLOCK = 4_000_000


@dataclass(frozen=True)
class Estimate:
    """A measured value and its 95 % bootstrap interval.

    Attributes:
        value: the metric on all rows.
        low, high: 2.5 and 97.5 percentile over resamples; NaN when there are fewer than two units.
            A metric at its extreme (accuracy 1.0) gets a zero-width interval: read ``n`` with it.
        n: independent units that were resampled: groups (patients) where given, else rows.
    """

    value: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        if self.low != self.low:  # of one query there is no interval
            return f"{self.value:.4f} (n={self.n})"
        return f"{self.value:.4f} (95 % CI {self.low:.4f} to {self.high:.4f}, n={self.n})"

    def to_dict(self) -> dict[str, float | int | None]:
        """Return plain numbers for JSON; a bound that is not defined is None."""
        return {
            "value": _finite(self.value),
            "low": _finite(self.low),
            "high": _finite(self.high),
            "n": self.n,
        }


def _finite(number: float) -> float | None:
    return float(number) if math.isfinite(number) else None


class Bootstrap:
    """Resampling plan shared by all metrics of one evaluation, so that they are comparable.

    A resample is a vector of counts: how often each row was drawn. A metric is written once, as a
    function of such weights, and serves both the value (all ones) and every resample.

    Args:
        rows: number of evaluated rows N.
        groups: N ids; whole groups are drawn, so rows of one patient never part. None: rows.
        seed: of the numpy generator; equal seeds give equal intervals.
        resamples: number of resamples; 0 leaves the intervals undefined.

    Reference: Efron and Tibshirani 1993, percentile interval (section 13.3).
    """

    def __init__(
        self,
        rows: int,
        *,
        groups: Sequence[Any] | NDArray[Any] | None = None,
        seed: int = 0,
        resamples: int = 1000,
    ) -> None:
        if rows < 1:
            raise InputError("There are no rows to evaluate; expected at least one.")
        if resamples < 0:
            raise ConfigError(f"resamples must be 0 or more, got {resamples}.")
        self.rows = rows
        self.seed = seed
        self.resamples = resamples
        self._group_of_row: NDArray[np.int64] | None = None
        self.units = rows
        if groups is not None:
            if len(groups) != rows:
                raise InputError(f"groups has {len(groups)} ids for {rows} rows; give one id per row.")
            _, index = np.unique(np.asarray([str(group) for group in groups]), return_inverse=True)
            self._group_of_row = index.astype(np.int64)
            self.units = int(index.max()) + 1

    def estimate(self, statistic: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> Estimate:
        """Return one :class:`Estimate` for a statistic that maps weights [R, N] to values [R]."""
        return self.estimates(lambda weights: statistic(weights)[:, None])[0]

    def estimates(self, statistic: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> list[Estimate]:
        """Return M estimates for a statistic that maps weights [R, N] to values [R, M].

        NaN marks a resample in which a metric is not defined; it is left out of the percentiles.
        """
        values = statistic(np.ones((1, self.rows)))[0]
        low = high = np.full(len(values), np.nan)
        if self.units > 1 and self.resamples:
            sampled = np.concatenate([statistic(weights) for weights in self._weights()])
            with warnings.catch_warnings():
                # A metric undefined in every resample stays NaN, which is the answer.
                warnings.filterwarnings("ignore", message="All-NaN slice", category=RuntimeWarning)
                low, high = np.nanpercentile(sampled, [2.5, 97.5], axis=0)
        return [
            Estimate(float(value), float(lowest), float(highest), self.units)
            for value, lowest, highest in zip(values, low, high, strict=True)
        ]

    def mean(self, values: ArrayLike) -> Estimate:
        """Return the mean of one value per row [N] with its interval."""
        column = np.asarray(values, dtype=np.float64)
        return self.estimate(lambda weights: weights @ column / weights.sum(axis=1))

    def median(self, values: ArrayLike) -> Estimate:
        """Return the median of one value per row [N] (mean of the middle two) with its interval."""
        column = np.asarray(values, dtype=np.float64)
        order = np.argsort(column, kind="stable")
        ordered = column[order]

        def statistic(weights: NDArray[np.float64]) -> NDArray[np.float64]:
            reached = np.cumsum(weights[:, order], axis=1)
            total = reached[:, -1:]
            lower = (reached > (total - 1) // 2).argmax(axis=1)
            upper = (reached > total // 2).argmax(axis=1)
            return (ordered[lower] + ordered[upper]) / 2

        return self.estimate(statistic)

    def _weights(self) -> Iterator[NDArray[np.float64]]:
        generator = np.random.default_rng(self.seed)
        block = max(1, _BLOCK // max(self.rows, self.units))
        for start in range(0, self.resamples, block):
            size = min(block, self.resamples - start)
            drawn = generator.integers(self.units, size=(size, self.units))
            drawn += self.units * np.arange(size)[:, None]
            counts = np.bincount(drawn.ravel(), minlength=size * self.units).reshape(size, self.units)
            if self._group_of_row is not None:
                counts = counts[:, self._group_of_row]
            yield counts.astype(np.float64)
