"""Targets between their own unit and the scale a regressor works on, inverted exactly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field

from ....core.config import Config
from ....core.errors import InputError
from ....core.heads.targets import TARGET_KINDS, TargetKind, from_log, has_log, to_log

__all__ = ["TARGET_KINDS", "TargetConfig", "TargetKind", "TargetTransform", "from_log", "has_log", "to_log"]


class TargetConfig(Config):
    """A fitted :class:`TargetTransform` on disk."""

    kind: TargetKind
    mean: float
    deviation: float = Field(gt=0)


@dataclass(frozen=True)
class TargetTransform:
    """Original unit -> log (where there is one) -> mean 0 and deviation 1, and back.

    Attributes:
        kind: see :data:`TargetKind`.
        mean, deviation: of the training values after the logarithm; population deviation (``ddof`` 0).
            0 and 1 for ``none``.
    """

    kind: TargetKind
    mean: float
    deviation: float

    @classmethod
    def fit(cls, values: ArrayLike, kind: TargetKind = "log1p", *, name: str = "target") -> TargetTransform:
        """Return the transform that standardizes these values.

        Args:
            values: float [N] in the original unit, finite.
            kind: see :data:`TargetKind`.
            name: what messages call the values.

        Raises:
            ConfigError: unknown kind.
            InputError: values outside the range of the logarithm, not finite, or all equal.
        """
        logs = to_log(values, kind, name=name)
        if not len(logs):
            raise InputError(f"{name}: no values to fit the transform on.")
        deviation = float(logs.std())
        if deviation <= 1e-12 * max(1.0, float(np.abs(logs).max())):
            raise InputError(
                f"{name}: all {len(logs)} training values equal {float(np.asarray(values).flat[0]):g}; there "
                "is nothing to learn. Label tiles that differ."
            )
        if kind == "none":
            return cls(kind, 0.0, 1.0)
        return cls(kind, float(logs.mean()), deviation)

    def forward(self, values: ArrayLike, *, name: str = "target") -> NDArray[np.float64]:
        """Return standardized values float64 [N] of values in the original unit."""
        return (to_log(values, self.kind, name=name) - self.mean) / self.deviation

    def logs(self, scores: ArrayLike) -> NDArray[np.float64]:
        """Return values float64 [N] after the logarithm (the original unit where there is none) of scores."""
        return np.asarray(scores, dtype=np.float64) * self.deviation + self.mean

    def inverse(self, scores: ArrayLike) -> NDArray[np.float64]:
        """Return values float64 [N] in the original unit of standardized scores.

        ``log1p`` targets begin at 0, so scores below that end at 0.
        """
        return from_log(self.logs(scores), self.kind)

    def to_config(self) -> TargetConfig:
        """Return what :meth:`from_config` reads."""
        return TargetConfig(kind=self.kind, mean=self.mean, deviation=self.deviation)

    @classmethod
    def from_config(cls, config: TargetConfig) -> TargetTransform:
        """Return the transform of :meth:`to_config`."""
        return cls(config.kind, config.mean, config.deviation)
