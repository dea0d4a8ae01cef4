"""One indicator for every tile: validated, fitted on what is labelled, with intervals and a guard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ....core.errors import ConfigError, InputError, nearest
from .comparison import SpatialReport, validate
from .metrics import UnitReports, unit_reports
from .mlp import URBANCLIP_MLP, MLPSettings
from .places import novelty
from .preparation import SHUFFLE_SEED
from .regression import Binding, IndicatorRegressor
from .regressors import HeadName
from .splits import SCHEMES, Scheme, pairs_among
from .transforms import TargetKind, TargetTransform, from_log
from .validation import CVReport, ValidationSettings, inner_parts

Recipe = Literal["default", "urbanclip"]
RECIPES: tuple[Recipe, ...] = get_args(Recipe)
"""``default`` keeps zeros. ``urbanclip`` is the paper's: rows with a zero in any of the targets go, the
logarithm, two layers trained as the reference does, and its 80/20 split beside ours."""

LEAST_LABELLED = 30
"""Labelled tiles below which nothing is predicted."""


@dataclass(frozen=True)
class PredictionSettings:
    """How indicators are predicted.

    Attributes:
        head: ``ridge``, ``knn``, ``mlp`` or ``mean``.
        target: transform of the targets.
        split: by which the numbers that count are made: ``block``, ``region`` or ``random``. Random and
            spatial numbers are both reported either way.
        folds, block_m, buffer_m, seed, resamples: see :class:`ValidationSettings`.
        level: share of cross-validated tiles whose truth lies in the intervals, 0 to 1.
        recipe: see :data:`RECIPES`.
        mlp: settings of the MLP.
    """

    head: HeadName = "ridge"
    target: TargetKind = "log1p"
    split: Scheme = "block"
    folds: int = 5
    block_m: float | None = None
    buffer_m: float = 0.0
    seed: int = 0
    resamples: int = 1000
    level: float = 0.9
    recipe: Recipe = "default"
    mlp: MLPSettings | None = None

    def __post_init__(self) -> None:
        if self.split not in SCHEMES:
            raise ConfigError(
                f"Unknown split {self.split!r}; there are: {', '.join(SCHEMES)}."
                f"{nearest(str(self.split), SCHEMES)}"
            )
        if self.recipe not in RECIPES:
            raise ConfigError(
                f"Unknown recipe {self.recipe!r}; there are: {', '.join(RECIPES)}."
                f"{nearest(str(self.recipe), RECIPES)}"
            )
        if not 0 < self.level < 1:
            raise ConfigError(f"level must lie between 0 and 1, got {self.level}.")
        if self.recipe == "urbanclip":
            # A frozen record: what the recipe fixes is written once, here.
            for name, value in (("head", "mlp"), ("target", "log"), ("mlp", self.mlp or URBANCLIP_MLP)):
                object.__setattr__(self, name, value)

    def validation(
        self, groups: Sequence[Any] | NDArray[Any] | None, overlaps: NDArray[np.int64] | None = None
    ) -> ValidationSettings:
        """Return the settings of the cross-validation; ``groups`` are used under ``split="region"`` only."""
        return ValidationSettings(
            self.target,
            self.block_m,
            self.buffer_m,
            overlaps,
            groups if self.split == "region" else None,
            mlp=self.mlp,
            seed=self.seed,
            resamples=self.resamples,
        )


@dataclass(frozen=True)
class Labels:
    """What is known of one indicator.

    Attributes:
        name, unit: of the indicator.
        values: float64 [N], NaN where it is not known.
        groups: region of every tile, -1 for none; or None.
        colors: float32 [N, C], mean color of every tile, or None.
        binding: whose embeddings these are.
        overlaps: int64 [P, 2], pairs of tiles with ground in common, or None where none has.
    """

    name: str
    unit: str
    values: NDArray[np.float64]
    groups: NDArray[np.int64] | None = None
    colors: NDArray[np.float32] | None = None
    binding: Binding | None = None
    overlaps: NDArray[np.int64] | None = None


@dataclass(frozen=True)
class IndicatorPrediction:
    """One indicator of N tiles.

    Attributes:
        labels: what was known.
        report: random and spatial validation.
        regressor: fitted on every labelled tile.
        values: float64 [N], predictions in the unit of the indicator; NaN without an embedding.
        low, high: float64 [N], the prediction less and plus the error after the logarithm that ``level`` of
            the cross-validated tiles stayed below. Empirical: nothing guarantees it for other tiles.
        far: bool [N], True where the embedding is unlike those that were learned from.
        total_ratio: sum of the cross-validated predictions over the sum of the truth. Predictions of a
            logarithm are medians, and medians of skewed amounts add up to less than the amounts.
        reference: on the test rows of the reference's own split; with the recipe ``urbanclip`` only.
    """

    labels: Labels
    report: SpatialReport
    regressor: IndicatorRegressor
    values: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    far: NDArray[np.bool_]
    total_ratio: float
    reference: UnitReports | None = None

    @property
    def labelled(self) -> int:
        """Number of tiles that were learned from."""
        return self.regressor.rows

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "unit": self.labels.unit,
            "labelled_tiles": self.labelled,
            "predicted_tiles": int(np.isfinite(self.values).sum()),
            "far_tiles": int(self.far.sum()),
            "head": self.regressor.head,
            "target": self.regressor.target,
            "chosen": self.regressor.chosen,
            "cross_validated_total_over_true_total": self.total_ratio,
            "validation": self.report.to_dict(),
            "reference_split": None if self.reference is None else self.reference.to_dict(),
        }


def predict_indicator(
    vectors: NDArray[np.float32], centers_m: NDArray[np.float64], labels: Labels, settings: PredictionSettings
) -> IndicatorPrediction:
    """Return one indicator for every tile.

    Args:
        vectors: float32 [N, D], NaN for tiles without an embedding.
        centers_m: float64 [N, 2], centers in meters.
        labels: what is known.
        settings: see there.

    Raises:
        ConfigError: a split by region without regions.
        InputError: too few labelled tiles, too few for the level of the intervals, or labels that the target
            cannot hold.
    """
    seen = np.asarray(np.isfinite(vectors).all(axis=1))
    rows = _learned_rows(seen, labels, settings)
    known, features, centers = labels.values[rows], vectors[rows], centers_m[rows]
    TargetTransform.fit(known, settings.target, name=labels.name)
    validation = settings.validation(
        None if labels.groups is None else labels.groups[rows], pairs_among(labels.overlaps, rows)
    )
    report = validate(
        features,
        known,
        centers,
        head=settings.head,
        folds=settings.folds,
        settings=validation,
        colors=None if labels.colors is None else labels.colors[rows],
    )
    counted = report.random if settings.split == "random" else report.spatial
    regressor = IndicatorRegressor(settings.target, settings.head, mlp=settings.mlp, seed=settings.seed)
    inner = inner_parts(counted.folds, np.arange(len(rows)), settings.seed)
    regressor.fit(features, known, inner=inner, name=labels.name, unit=labels.unit, binding=labels.binding)
    logs = np.full(len(vectors), np.nan)
    logs[seen] = regressor.transform.logs(regressor.scores(vectors[seen]))
    reach = interval_half_width(counted, settings.level)
    far = np.zeros(len(vectors), dtype=bool)
    far[seen] = novelty(vectors[seen], np.searchsorted(np.flatnonzero(seen), rows)) > 1
    return IndicatorPrediction(
        labels,
        report,
        regressor,
        from_log(logs, settings.target),
        from_log(logs - reach, settings.target),
        from_log(logs + reach, settings.target),
        far,
        float(from_log(counted.predicted, settings.target).sum() / known.sum())
        if known.sum()
        else float("nan"),
        reference_split(features, known, settings) if settings.recipe == "urbanclip" else None,
    )


def _learned_rows(seen: NDArray[np.bool_], labels: Labels, settings: PredictionSettings) -> NDArray[np.int64]:
    """Return the tiles that are learned from: seen, labelled and, under a split by region, in one."""
    labelled = np.isfinite(labels.values) & seen
    where = ""
    if settings.split == "region":
        if labels.groups is None:
            raise ConfigError("A split by region needs regions. Give them, or split by block.")
        # What lies outside of every region is no region, and has no fold.
        labelled &= labels.groups >= 0
        where = " and lie in a region"
    rows = np.flatnonzero(labelled)
    if len(rows) < LEAST_LABELLED:
        raise InputError(
            f"{labels.name}: {len(rows)} tiles have both an embedding and a value{where}; at least "
            f"{LEAST_LABELLED} are needed to fit and to check a model. Label more tiles, or use smaller ones."
        )
    if np.ceil(settings.level * (len(rows) + 1)) > len(rows):
        raise InputError(
            f"{labels.name}: {len(rows)} labelled tiles are too few for intervals of {settings.level:g}; "
            f"{len(rows) / (len(rows) + 1):.3g} is the most they can tell."
        )
    return rows


def interval_half_width(report: CVReport, level: float) -> float:
    """Return the error after the logarithm that ``level`` of the cross-validated tiles stay below.

    An empirical quantile: the tiles were predicted by the models of the folds, the map is by one that was
    fitted on all of them, and places without labels may differ.
    """
    errors = np.sort(np.abs(report.predicted - report.actual))
    return float(errors[int(np.ceil(level * (len(errors) + 1))) - 1])


def reference_split(
    vectors: NDArray[np.float32], values: NDArray[np.float64], settings: PredictionSettings
) -> UnitReports:
    """Return the reports on the last fifth of the reference's shuffle, trained on the rest.

    Of the training rows, the first four fifths train and the others choose the epoch. Neighbours of test
    tiles train: the number says how the paper's protocol would judge, not how unlabelled places will fare.
    """
    # The reference's shuffle is this one; see ``preparation.py``.
    order = np.random.RandomState(SHUFFLE_SEED).permutation(len(values))
    count = int(0.8 * len(values))
    train, test = order[:count], order[count:]
    fitted = int(0.8 * count)
    parts = [(np.arange(fitted), np.arange(fitted, count))]
    regressor = IndicatorRegressor(settings.target, settings.head, mlp=settings.mlp, seed=settings.seed)
    regressor.fit(vectors[train], values[train], inner=parts)
    predicted = regressor.transform.logs(regressor.scores(vectors[test]))
    actual = np.log(values[test])
    return unit_reports(predicted, actual, settings.target, seed=settings.seed, resamples=settings.resamples)


def drop_zeros(columns: dict[str, NDArray[np.float64]]) -> tuple[dict[str, NDArray[np.float64]], int]:
    """Return columns without the rows that hold a zero in any of them, and how many rows that were."""
    zeros = np.zeros(len(next(iter(columns.values()))), dtype=bool)
    for values in columns.values():
        zeros |= values == 0
    return {name: np.where(zeros, np.nan, values) for name, values in columns.items()}, int(zeros.sum())
