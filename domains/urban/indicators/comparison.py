"""How good an indicator model is on ground it has not seen: a random split, one by place, and the gap."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ....core.metrics.bootstrap import Estimate
from .autocorrelation import Autocorrelation, autocorrelation, checked_centers
from .metrics import r2_difference
from .regressors import HeadName
from .splits import Folds, Scheme
from .transforms import to_log
from .validation import (
    CVReport,
    ValidationSettings,
    plan_folds,
    run_folds,
    run_position_baseline,
    suggest_block_m,
)

_LEAST_GAP = 0.02
"""Difference of R2 below which a random split is not worth a word."""


@dataclass(frozen=True)
class SpatialReport:
    """The same model validated at random and by place.

    Attributes:
        random: with tiles of one neighbourhood on both sides of the split.
        spatial: by block or by region: what to expect where nothing is labelled.
        gap: R2 of ``random`` minus R2 of ``spatial``: what the random split owes to neighbors. Both are
            resampled together, by block or region.
        autocorrelation: of the labelled targets, after the logarithm; None with fewer than ten.
        baselines: {name: (random, spatial)}: ``mean``; ``position``, the nearest labelled tiles; and
            ``mean_color`` where colors were given.
        warnings: sentences for whoever reads the numbers.
    """

    random: CVReport
    spatial: CVReport
    gap: Estimate
    autocorrelation: Autocorrelation | None
    baselines: Mapping[str, tuple[CVReport, CVReport]] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "random": self.random.to_dict(),
            "spatial": self.spatial.to_dict(),
            "gap_r2": self.gap.to_dict(),
            "autocorrelation": None if self.autocorrelation is None else self.autocorrelation.to_dict(),
            "baselines": {
                name: {"random": one.to_dict(), "spatial": other.to_dict()}
                for name, (one, other) in self.baselines.items()
            },
            "warnings": list(self.warnings),
        }


def validate(
    vectors: ArrayLike,
    values: ArrayLike,
    centers_m: ArrayLike,
    *,
    head: HeadName = "ridge",
    folds: int = 5,
    settings: ValidationSettings | None = None,
    colors: ArrayLike | None = None,
) -> SpatialReport:
    """Return the model and its baselines validated at random and by place, with the gap between the two.

    The place is a block, or a region where ``settings.groups`` are given.

    Args:
        vectors, values, centers_m, head, folds: as in :func:`cross_validate`.
        settings: see there.
        colors: float [N, C], mean color of every tile, for one more baseline.

    Raises:
        ConfigError, InputError: as :func:`cross_validate`.
    """
    settings = settings or ValidationSettings()
    features = np.asarray(vectors, dtype=np.float32)
    numbers = np.asarray(values, dtype=np.float64)
    actual = to_log(numbers, settings.target)
    centers = checked_centers(centers_m, len(actual))
    found = autocorrelation(actual, centers, seed=settings.seed) if len(actual) >= 10 else None
    scheme: Scheme = "block" if settings.groups is None else "region"
    if scheme == "block" and settings.block_m is None and found is not None:
        settings = replace(
            settings, block_m=suggest_block_m(found, centers, folds=folds, overlaps=settings.overlaps)
        )
    spatial_plan = plan_folds(actual, centers, scheme=scheme, folds=folds, settings=settings)
    plans = plan_folds(actual, centers, scheme="random", folds=folds, settings=settings), spatial_plan
    units = spatial_plan.units

    def both(run: Callable[[Folds], CVReport]) -> tuple[CVReport, CVReport]:
        return run(plans[0]), run(plans[1])

    options: dict[str, Any] = {"settings": settings, "units": units}
    random, spatial = both(lambda plan: run_folds(features, numbers, plan=plan, head=head, **options))
    baselines = {
        "mean": both(lambda plan: run_folds(features, numbers, plan=plan, head="mean", **options)),
        "position": both(lambda plan: run_position_baseline(numbers, plan=plan, **options)),
    }
    if colors is not None:
        table, plain = np.asarray(colors, dtype=np.float32), replace(settings, normalize=False)
        baselines["mean_color"] = both(
            lambda plan: run_folds(table, numbers, plan=plan, head="ridge", settings=plain, units=units)
        )
    gap = r2_difference(
        random.predicted,
        spatial.predicted,
        actual,
        groups=units,
        seed=settings.seed,
        resamples=settings.resamples,
    )
    return SpatialReport(random, spatial, gap, found, baselines, _warnings(spatial, gap, found, baselines))


def _warnings(
    spatial: CVReport,
    gap: Estimate,
    found: Autocorrelation | None,
    baselines: Mapping[str, tuple[CVReport, CVReport]],
) -> tuple[str, ...]:
    warnings = []
    if spatial.folds.overlaps is not None and len(spatial.folds.overlaps):
        warnings.append(
            "Tiles overlap: no tile trained where a tile with the same ground was tested. The random split "
            "cannot keep them apart and is too kind."
        )
    side = spatial.folds.block_m
    if found is not None and side is not None and side < found.range_m * 0.999:
        least = "at least " if found.beyond else ""
        warnings.append(
            f"Blocks of {side:,.0f} m are smaller than the range over which this indicator hangs together "
            f"({least}{found.range_m:,.0f} m): the block split is still too kind. Use larger blocks or a "
            "buffer."
        )
    if gap.low > 0 and gap.value >= _LEAST_GAP:
        warnings.append(
            f"A random split shows R2 {gap.value:.2f} more than one by {spatial.folds.scheme}: that part is "
            "owed to labelled neighbors and is not there in unlabelled places."
        )
    units = int(spatial.folds.units.max()) + 1
    if units < 10:
        warnings.append(
            f"Only {units} {spatial.folds.scheme}s: the intervals rest on few independent places."
        )
    if spatial.r2.value <= baselines["mean"][1].r2.value:
        warnings.append(
            "By place, the model is no better than the mean of the labelled tiles. Do not map it."
        )
    elif spatial.r2.value <= baselines["position"][1].r2.value:
        warnings.append("By place, averaging the nearest labelled tiles does as well as the pictures.")
    elif "mean_color" in baselines and spatial.r2.value <= baselines["mean_color"][1].r2.value:
        warnings.append("By place, the mean colors of the tiles do as well as the embeddings.")
    return tuple(warnings)
