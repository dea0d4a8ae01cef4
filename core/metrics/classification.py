"""Classification metrics: accuracy, balanced accuracy, macro-F1, AUC, calibration, confusion matrix."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InputError
from .bootstrap import Bootstrap, Estimate

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Groups = Sequence[Any] | None


@dataclass(frozen=True)
class ClassificationReport:
    """What a classifier does on one evaluation set.

    Attributes:
        rows: evaluated rows N.
        class_names: K names, in column order.
        accuracy, balanced_accuracy, macro_f1: of the most probable class.
        auc: area under the ROC curve; for two classes of the second class against the first, for
            more the mean of one-vs-rest. None when the targets hold a single class.
        calibration_error: expected calibration error, 15 equal-width bins of top-class probability.
        recall, precision, f1: {class: Estimate}. Recall of a class is its sensitivity.
        support: {class: rows}. A class with no rows is left out of the averages.
        confusion: int [K, K] nested tuples, row = target, column = prediction.
        seed: of the bootstrap.
    """

    rows: int
    class_names: tuple[str, ...]
    accuracy: Estimate
    balanced_accuracy: Estimate
    macro_f1: Estimate
    auc: Estimate | None
    calibration_error: Estimate
    recall: dict[str, Estimate]
    precision: dict[str, Estimate]
    f1: dict[str, Estimate]
    support: dict[str, int]
    confusion: tuple[tuple[int, ...], ...]
    seed: int

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        averages = ("accuracy", "balanced_accuracy", "macro_f1", "auc", "calibration_error")
        found = {name: getattr(self, name) for name in averages}
        return {
            "rows": self.rows,
            "seed": self.seed,
            "class_names": list(self.class_names),
            **{name: value.to_dict() if value else None for name, value in found.items()},
            "per_class": {
                name: {
                    "support": self.support[name],
                    "recall": self.recall[name].to_dict(),
                    "precision": self.precision[name].to_dict(),
                    "f1": self.f1[name].to_dict(),
                }
                for name in self.class_names
            },
            "confusion": [list(row) for row in self.confusion],
        }


def classification_report(
    probabilities: ArrayLike,
    targets: ArrayLike,
    class_names: Sequence[str],
    *,
    groups: Groups = None,
    seed: int = 0,
    resamples: int = 1000,
) -> ClassificationReport:
    """Return every classification metric with 95 % intervals from the same resamples.

    Args:
        probabilities: float [N, K] in [0, 1]; rows need not sum to one (sigmoid models).
        targets: int [N] in [0, K).
        class_names: K distinct names in column order; K >= 2.
        groups: N ids (patients) to resample instead of rows.
        seed, resamples: of the bootstrap.

    Raises:
        InputError: shapes disagree, a value is out of range or not finite, a name stands twice.
    """
    scores, labels = _checked(probabilities, targets)
    classes = scores.shape[1]
    names = tuple(class_names)
    if len(names) != classes or len(set(names)) != classes:
        raise InputError(f"class_names must be {classes} distinct names, one per column; got {list(names)}.")
    if scores.min() < 0 or scores.max() > 1:
        raise InputError(
            f"probabilities must lie in [0, 1], got {scores.min():.4g} to {scores.max():.4g}. "
            "Apply the softmax or sigmoid first."
        )
    bootstrap = Bootstrap(len(labels), groups=groups, seed=seed, resamples=resamples)
    predictions = scores.argmax(axis=1)
    support = np.bincount(labels, minlength=classes)
    averages = bootstrap.estimates(_label_statistic(predictions, labels, classes))
    summary, per_class = averages[:3], averages[3:]
    recall, precision, f1 = (
        dict(zip(names, per_class[start : start + classes], strict=True))
        for start in range(0, 3 * classes, classes)
    )
    return ClassificationReport(
        rows=len(labels),
        class_names=names,
        accuracy=summary[0],
        balanced_accuracy=summary[1],
        macro_f1=summary[2],
        auc=bootstrap.estimate(_auc_statistic(scores, labels)) if (support > 0).sum() > 1 else None,
        calibration_error=bootstrap.estimate(_calibration_statistic(scores, labels)),
        recall=recall,
        precision=precision,
        f1=f1,
        support={name: int(count) for name, count in zip(names, support, strict=True)},
        confusion=tuple(map(tuple, confusion_matrix(predictions, labels, classes).tolist())),
        seed=seed,
    )


def accuracy(
    predictions: ArrayLike, targets: ArrayLike, *, groups: Groups = None, seed: int = 0, resamples: int = 1000
) -> Estimate:
    """Return the fraction of rows whose predicted class int [N] equals the target int [N]."""
    predicted, labels, _ = _checked_labels(predictions, targets)
    return Bootstrap(len(labels), groups=groups, seed=seed, resamples=resamples).mean(predicted == labels)


def balanced_accuracy(
    predictions: ArrayLike, targets: ArrayLike, *, groups: Groups = None, seed: int = 0, resamples: int = 1000
) -> Estimate:
    """Return the mean recall over the classes that occur in ``targets``; both int [N]."""
    predicted, labels, classes = _checked_labels(predictions, targets)
    statistic = _label_statistic(predicted, labels, classes)
    return Bootstrap(len(labels), groups=groups, seed=seed, resamples=resamples).estimates(statistic)[1]


def macro_f1(
    predictions: ArrayLike, targets: ArrayLike, *, groups: Groups = None, seed: int = 0, resamples: int = 1000
) -> Estimate:
    """Return the mean F1 over the classes that occur in ``targets`` or ``predictions``; both int [N]."""
    predicted, labels, classes = _checked_labels(predictions, targets)
    statistic = _label_statistic(predicted, labels, classes)
    return Bootstrap(len(labels), groups=groups, seed=seed, resamples=resamples).estimates(statistic)[2]


def auc(
    scores: ArrayLike, targets: ArrayLike, *, groups: Groups = None, seed: int = 0, resamples: int = 1000
) -> Estimate:
    """Return the area under the ROC curve; equal scores count one half.

    Args:
        scores: any finite values. [N]: of the positive class, with targets 0 and 1. [N, 2]: column 1
            is used. [N, K]: mean of one-vs-rest over the classes that occur in ``targets``.
        targets: int [N].
        groups, seed, resamples: of the bootstrap.

    Raises:
        InputError: fewer than two classes occur in ``targets``.
    """
    table = np.asarray(scores, dtype=np.float64)
    if table.ndim == 1:
        table = np.stack([-table, table], axis=1)
    table, labels = _checked(table, targets)
    if len(np.unique(labels)) < 2:
        raise InputError(
            f"AUC needs rows of at least two classes; all {len(labels)} targets are {labels[0]}."
        )
    return Bootstrap(len(labels), groups=groups, seed=seed, resamples=resamples).estimate(
        _auc_statistic(table, labels)
    )


def calibration_error(
    probabilities: ArrayLike,
    targets: ArrayLike,
    *,
    bins: int = 15,
    groups: Groups = None,
    seed: int = 0,
    resamples: int = 1000,
) -> Estimate:
    """Return the expected calibration error of the most probable class.

    ``ECE = sum_b (n_b / N) |accuracy_b - confidence_b|`` over ``bins`` equal-width bins
    ``((b-1)/bins, b/bins]`` of the highest probability in a row. Few rows per bin bias it upwards,
    and resampling adds to that: the interval may lie above the value.

    Args:
        probabilities: float [N, K] in [0, 1].
        targets: int [N] in [0, K).
        bins: number of bins, 1 or more.
        groups, seed, resamples: of the bootstrap.

    Reference: Guo et al. 2017, "On Calibration of Modern Neural Networks", equation 3.
    """
    scores, labels = _checked(probabilities, targets)
    if bins < 1:
        raise InputError(f"bins must be 1 or more, got {bins}.")
    return Bootstrap(len(labels), groups=groups, seed=seed, resamples=resamples).estimate(
        _calibration_statistic(scores, labels, bins)
    )


def confusion_matrix(predictions: ArrayLike, targets: ArrayLike, classes: int) -> Ints:
    """Return counts int64 [K, K]: row = target, column = prediction.

    Raises:
        InputError: a class index is outside [0, ``classes``).
    """
    predicted, labels, found = _checked_labels(predictions, targets)
    if found > classes:
        raise InputError(f"Class index {found - 1} is outside [0, {classes}); pass classes={found}.")
    flat = np.bincount(labels * classes + predicted, minlength=classes * classes)
    return flat.reshape(classes, classes)


def class_sums(weights: Floats, classes: Ints, count: int) -> Floats:
    """Return the sum of ``weights`` [R, N] over the rows of each class: float [R, count]."""
    sums = np.zeros((len(weights), count))
    order = np.argsort(classes, kind="stable")
    present, starts = np.unique(classes[order], return_index=True)
    if len(present):
        sums[:, present] = np.add.reduceat(weights[:, order], starts, axis=1)
    return sums


def _ratio(numerator: Floats, denominator: Floats) -> Floats:
    """Divide, with NaN where the denominator is zero."""
    return np.divide(numerator, denominator, out=np.full_like(numerator, np.nan), where=denominator > 0)


def _mean_defined(values: Floats) -> Floats:
    """Mean over the last axis of the entries that are not NaN."""
    defined = ~np.isnan(values)
    return _ratio(np.where(defined, values, 0.0).sum(axis=-1), defined.sum(axis=-1).astype(np.float64))


def _label_statistic(predicted: Ints, labels: Ints, classes: int) -> Callable[[Floats], Floats]:
    """Accuracy, balanced accuracy, macro-F1, then recall, precision and F1 of each class."""
    correct = predicted == labels

    def statistic(weights: Floats) -> Floats:
        hits = class_sums(weights[:, correct], labels[correct], classes)
        actual = class_sums(weights, labels, classes)
        claimed = class_sums(weights, predicted, classes)
        recall = _ratio(hits, actual)
        f1 = _ratio(2 * hits, actual + claimed)
        averages = [_ratio(hits.sum(axis=1), actual.sum(axis=1)), _mean_defined(recall), _mean_defined(f1)]
        return np.concatenate([np.stack(averages, axis=1), recall, _ratio(hits, claimed), f1], axis=1)

    return statistic


def _auc_statistic(scores: Floats, labels: Ints) -> Callable[[Floats], Floats]:
    columns = [1] if scores.shape[1] == 2 else [int(column) for column in np.unique(labels)]
    rankings = [_binary_auc(scores[:, column], labels == column) for column in columns]
    return lambda weights: _mean_defined(np.stack([ranking(weights) for ranking in rankings], axis=1))


def _binary_auc(scores: Floats, positive: NDArray[np.bool_]) -> Callable[[Floats], Floats]:
    """Weighted probability that a positive row scores above a negative one, ties counting one half."""
    order = np.argsort(scores, kind="stable")
    ordered = scores[order]
    ties = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    is_positive = positive[order]

    def statistic(weights: Floats) -> Floats:
        sorted_weights = weights[:, order]
        positives = np.add.reduceat(sorted_weights * is_positive, ties, axis=1)
        negatives = np.add.reduceat(sorted_weights * ~is_positive, ties, axis=1)
        below = np.cumsum(negatives, axis=1) - negatives
        won = (positives * (below + negatives / 2)).sum(axis=1)
        return _ratio(won, positives.sum(axis=1) * negatives.sum(axis=1))

    return statistic


def _calibration_statistic(scores: Floats, labels: Ints, bins: int = 15) -> Callable[[Floats], Floats]:
    confidence = scores.max(axis=1)
    gap = (scores.argmax(axis=1) == labels) - confidence
    bin_of_row = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)

    def statistic(weights: Floats) -> Floats:
        return np.abs(class_sums(weights * gap, bin_of_row, bins)).sum(axis=1) / weights.sum(axis=1)

    return statistic


def _checked(scores: ArrayLike, targets: ArrayLike) -> tuple[Floats, Ints]:
    table = np.asarray(scores, dtype=np.float64)
    labels = np.asarray(targets)
    if table.ndim != 2 or table.shape[1] < 2:
        raise InputError(f"Scores must be [N, K] with K >= 2 classes, got shape {table.shape}.")
    if labels.shape != (len(table),):
        raise InputError(
            f"targets has shape {labels.shape} for {len(table)} rows of scores; give one per row."
        )
    if not np.isfinite(table).all():
        row = int(np.flatnonzero(~np.isfinite(table).all(axis=1))[0])
        raise InputError(f"Scores of row {row} hold NaN or infinite values.")
    labels = _class_indices(labels, "targets")
    if labels.max() >= table.shape[1]:
        raise InputError(f"targets holds class {labels.max()} but scores have {table.shape[1]} columns.")
    return table, labels


def _checked_labels(predictions: ArrayLike, targets: ArrayLike) -> tuple[Ints, Ints, int]:
    predicted, labels = np.asarray(predictions), np.asarray(targets)
    if predicted.shape != labels.shape or labels.ndim != 1:
        raise InputError(f"predictions {predicted.shape} and targets {labels.shape} must both be [N].")
    predicted, labels = _class_indices(predicted, "predictions"), _class_indices(labels, "targets")
    return predicted, labels, int(max(predicted.max(), labels.max())) + 1


def _class_indices(values: NDArray[Any], name: str) -> Ints:
    if not values.size:
        raise InputError(f"{name} is empty; expected at least one row.")
    if values.dtype == np.bool_:
        values = values.astype(np.int64)
    if not np.issubdtype(values.dtype, np.integer) or values.min() < 0:
        raise InputError(f"{name} must be class indices (integers from 0), got {values.dtype}: {values[:3]}.")
    return values.astype(np.int64)
