"""Cross-validation of indicator models: predictions for tiles that did not train, at random or by place."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ....core.errors import ConfigError, InputError
from ....core.metrics.bootstrap import Estimate
from .autocorrelation import Autocorrelation, autocorrelation, checked_centers
from .metrics import UnitReports, unit_reports
from .mlp import MLPSettings
from .regression import IndicatorRegressor, random_parts
from .regressors import HeadName, Part
from .splits import Folds, Scheme, block_ids, make_folds, pairs_among
from .transforms import TargetKind, TargetTransform, to_log

_INNER_FOLDS = 4
_LEAST_TRAINING = 10
_NEAREST_TILES = 5


@dataclass(frozen=True)
class ValidationSettings:
    """What a cross-validation is told beyond its scheme and its head.

    Attributes:
        target: transform of the target.
        block_m: side of a block in meters; None: from the autocorrelation of the target.
        buffer_m: tiles nearer than this to a tile under test do not train beside it.
        overlaps: int64 [P, 2], pairs of tiles with ground in common, see ``places.overlapping``: under
            ``block`` and ``region`` neither trains where the other is tested.
        groups: N region ids for the scheme ``region``.
        normalize: scale every vector to length 1.
        mlp: settings of the MLP.
        seed: of splits, trainings and intervals.
        resamples: of the bootstrap.
    """

    target: TargetKind = "log1p"
    block_m: float | None = None
    buffer_m: float = 0.0
    overlaps: NDArray[np.int64] | None = None
    groups: Sequence[Any] | NDArray[Any] | None = None
    normalize: bool = True
    mlp: MLPSettings | None = None
    seed: int = 0
    resamples: int = 1000


@dataclass(frozen=True)
class CVReport:
    """Predictions for tiles that did not train, and how far off they are.

    Attributes:
        head, target: what was validated.
        folds: the plan.
        reports: R2, RMSE and MAE with 95 % intervals over all tiles, each predicted once. ``n`` of an
            interval says how many units were resampled: blocks or regions where the plan has them, else
            tiles.
        fold_r2: R2 of every fold by itself, after the logarithm; NaN where its targets are all equal.
        chosen: per fold, what was chosen inside its training part.
        predicted, actual: float64 [N] after the logarithm (the original unit where there is none).
        least_training: tiles of the fold with the fewest to train on.
    """

    head: str
    target: TargetKind
    folds: Folds
    reports: UnitReports
    fold_r2: tuple[float, ...]
    chosen: tuple[Mapping[str, float], ...]
    predicted: NDArray[np.float64]
    actual: NDArray[np.float64]
    least_training: int

    @property
    def r2(self) -> Estimate:
        """R2 in z units, which is that of the logarithm too."""
        return self.reports.z.r2

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, without the predictions."""
        return {
            "scheme": self.folds.scheme,
            "head": self.head,
            "target": self.target,
            "rows": len(self.actual),
            "folds": self.folds.count,
            "units": int(self.folds.units.max()) + 1,
            "block_m": self.folds.block_m,
            "buffer_m": self.folds.buffer_m,
            "overlapping_pairs_kept_apart": 0 if self.folds.overlaps is None else len(self.folds.overlaps),
            "least_training_tiles": self.least_training,
            "fold_r2": [value if np.isfinite(value) else None for value in self.fold_r2],
            "chosen": [dict(found) for found in self.chosen],
            "metrics": self.reports.to_dict(),
        }


def cross_validate(
    vectors: ArrayLike,
    values: ArrayLike,
    centers_m: ArrayLike | None = None,
    *,
    scheme: Scheme = "block",
    folds: int = 5,
    head: HeadName = "ridge",
    settings: ValidationSettings | None = None,
) -> CVReport:
    """Return how well a head predicts tiles that it was not fitted on.

    Everything that is learned from targets is learned inside the training part of each fold: the transform of
    the target, the scaling of features, and the penalty, number of neighbors or epoch, which an inner split
    of the same scheme chooses.

    Args:
        vectors: float [N, D]. values: float [N] in the original unit, finite.
        centers_m: float [N, 2], centers of the tiles in meters; needed for ``block`` and for a buffer.
        scheme: ``random``, ``block`` or ``region``.
        folds: 2 or more.
        head: ``ridge``, ``knn``, ``mlp`` or ``mean``.
        settings: see there.

    Raises:
        ConfigError: unknown names, or what the scheme needs is missing.
        InputError: shapes disagree, too few tiles, blocks or regions, or values the target cannot hold.
    """
    settings = settings or ValidationSettings()
    numbers = np.asarray(values, dtype=np.float64)
    actual = to_log(numbers, settings.target)
    plan = plan_folds(actual, centers_m, scheme=scheme, folds=folds, settings=settings)
    return run_folds(np.asarray(vectors, dtype=np.float32), numbers, plan=plan, head=head, settings=settings)


def plan_folds(
    actual: NDArray[np.float64],
    centers_m: ArrayLike | None,
    *,
    scheme: Scheme,
    folds: int,
    settings: ValidationSettings,
) -> Folds:
    """Return the plan of a scheme for targets float64 [N] after the logarithm.

    Buffer and overlaps hold where whole places are tested; at random they would leave nothing to train on.
    """
    centers = None if centers_m is None else checked_centers(centers_m, len(actual))
    if settings.buffer_m < 0:
        raise ConfigError(f"buffer_m must be 0 or more meters, got {settings.buffer_m}.")
    if settings.buffer_m and centers is None:
        raise ConfigError("A buffer needs the centers of the tiles.")
    block_m = settings.block_m
    if scheme == "block" and block_m is None and centers is not None:
        found = autocorrelation(actual, centers, seed=settings.seed)
        block_m = suggest_block_m(found, centers, folds=folds, overlaps=settings.overlaps)
    plan = make_folds(
        len(actual),
        scheme,
        folds=folds,
        centers_m=centers,
        block_m=block_m,
        groups=settings.groups,
        seed=settings.seed,
    )
    if scheme == "random":
        return plan
    return replace(plan, buffer_m=settings.buffer_m, overlaps=settings.overlaps)


def suggest_block_m(
    found: Autocorrelation,
    centers: NDArray[np.float64],
    *,
    folds: int,
    overlaps: NDArray[np.int64] | None = None,
) -> float:
    """Return a side of blocks: the range of the autocorrelation, at least three rows of tiles, if these fit.

    Where a tile overlaps more than its next neighbors, three times as far as it does: around a block under
    test, what overlaps it does not train.

    Twice as many blocks as folds have to hold tiles; the side shrinks until they do.
    """
    reach = found.spacing_m
    if overlaps is not None and len(overlaps):
        reach = max(reach, float(np.abs(centers[overlaps[:, 0]] - centers[overlaps[:, 1]]).max()))
    side = max(found.range_m, 3 * reach)
    while side > found.spacing_m and int(block_ids(centers, side).max()) + 1 < 2 * folds:
        side *= 0.8
    return side


def run_folds(
    vectors: NDArray[np.float32],
    values: NDArray[np.float64],
    *,
    plan: Folds,
    head: HeadName,
    settings: ValidationSettings,
    units: NDArray[np.int64] | None = None,
) -> CVReport:
    """Return the report of a plan.

    Args:
        units: int64 [N], what the bootstrap draws; None: the plan's own blocks or regions.
    """

    def predict(
        train: NDArray[np.int64], test: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], Mapping[str, float]]:
        regressor = IndicatorRegressor(
            settings.target, head, normalize=settings.normalize, mlp=settings.mlp, seed=settings.seed
        )
        regressor.fit(vectors[train], values[train], inner=inner_parts(plan, train, settings.seed))
        return regressor.transform.logs(regressor.scores(vectors[test])), regressor.chosen

    if vectors.ndim != 2 or len(vectors) != len(values):
        raise InputError(f"vectors must be [{len(values)}, D], one per value, got {vectors.shape}.")
    return _run(predict, values, plan=plan, head=head, settings=settings, units=units)


def run_position_baseline(
    values: NDArray[np.float64],
    *,
    plan: Folds,
    settings: ValidationSettings,
    units: NDArray[np.int64] | None = None,
) -> CVReport:
    """Return the report of guessing every tile from the nearest labelled ones, without any picture."""
    from scipy.spatial import KDTree

    centers = plan.centers
    if centers is None:
        raise ConfigError("Guessing from neighbors needs the centers of the tiles.")

    def predict(
        train: NDArray[np.int64], test: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], Mapping[str, float]]:
        transform = TargetTransform.fit(values[train], settings.target)
        count = min(_NEAREST_TILES, len(train))
        _, found = KDTree(centers[train]).query(centers[test], k=count)
        near = transform.forward(values[train])[np.reshape(found, (len(test), count))]
        return transform.logs(near.mean(axis=1)), {"neighbors": count}

    return _run(predict, values, plan=plan, head="position", settings=settings, units=units)


def _run(
    predict: Callable[
        [NDArray[np.int64], NDArray[np.int64]], tuple[NDArray[np.float64], Mapping[str, float]]
    ],
    values: NDArray[np.float64],
    *,
    plan: Folds,
    head: str,
    settings: ValidationSettings,
    units: NDArray[np.int64] | None,
) -> CVReport:
    """Return the report; ``predict``: (training, test rows) to (values after the logarithm, chosen)."""
    actual = to_log(values, settings.target)
    predicted = np.full(len(actual), np.nan)
    fold_r2, chosen, least = [], [], len(actual)
    for fold in range(plan.count):
        train, test = plan.train_rows(fold), plan.test_rows(fold)
        if len(train) < _LEAST_TRAINING:
            near = "overlap tested tiles or " if plan.overlaps is not None and len(plan.overlaps) else ""
            raise InputError(
                f"Fold {fold + 1} of the {plan.scheme} split has {len(train)} tiles to train on, at least "
                f"{_LEAST_TRAINING} are needed: the others {near}lie in the buffer of {plan.buffer_m:g} m. "
                "Label more tiles, or use larger blocks or a smaller buffer."
            )
        predicted[test], found = predict(train, test)
        least = min(least, len(train))
        chosen.append(found)
        spread = float(((actual[test] - actual[test].mean()) ** 2).sum())
        error = float(((predicted[test] - actual[test]) ** 2).sum())
        fold_r2.append(1 - error / spread if spread else float("nan"))
    groups = units if units is not None else None if plan.scheme == "random" else plan.units
    reports = unit_reports(
        predicted, actual, settings.target, groups=groups, seed=settings.seed, resamples=settings.resamples
    )
    return CVReport(
        head, settings.target, plan, reports, tuple(fold_r2), tuple(chosen), predicted, actual, least
    )


def inner_parts(plan: Folds, train: NDArray[np.int64], seed: int) -> list[Part]:
    """Return (rows that fit, rows that judge) among the training rows, split as the plan splits.

    Whole blocks or regions stay together, and the buffer and overlaps hold inside too. With fewer than two
    blocks left the parts are random.
    """
    if plan.scheme != "random":
        names, units = np.unique(plan.units[train], return_inverse=True)
        count = min(_INNER_FOLDS, len(names))
        if count >= 2:
            inner = make_folds(len(train), "region", folds=count, groups=units.tolist(), seed=seed + 1)
            centers = None if plan.centers is None else plan.centers[train]
            overlaps = pairs_among(plan.overlaps, train)
            inner = replace(inner, centers=centers, buffer_m=plan.buffer_m, overlaps=overlaps)
            parts = [(inner.train_rows(fold), inner.test_rows(fold)) for fold in range(count)]
            if all(len(fit) >= 2 for fit, _ in parts):
                return parts
    return random_parts(len(train), seed + 1, _INNER_FOLDS)
