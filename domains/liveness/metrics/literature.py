"""Pooled metrics of the face anti-spoofing literature, as the papers' programs count them.

All attacks are one class and only presentations that got a response take part: FAR = attacks accepted /
attacks, FRR = bona fides rejected / bona fides, both among responses; accepted where
``score >= threshold``. What got no response stands beside, as APNRR and BPNRR (see :mod:`.iso`). The rate of
an empty class counts as 1 in FAR, FRR and all that is made of them; AUC is not known then.

Reference: koushiksrivats/FLIP, utils/statistic.py and utils/evaluate.py (arXiv 2309.16649), for the scan of
thresholds and the figures at 0.5: what they compute, checked against outputs of the reference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ....core.errors import InputError
from ....core.metrics import auc as core_auc
from .iso import BONA_FIDE, Answers, Presentations
from .thresholds import equal_error

GRID = 10_000
"""Steps of the scanned thresholds between 0 and 1."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Confusion:
    """Counts at a threshold; positive = bona fide, accepted = called positive."""

    tn: int
    fn: int
    fp: int
    tp: int

    @property
    def far(self) -> float:
        """Attacks accepted; 1 without attacks."""
        return self.fp / (self.fp + self.tn) if self.fp + self.tn else 1.0

    @property
    def frr(self) -> float:
        """Bona fides rejected; 1 without bona fides."""
        return self.fn / (self.fn + self.tp) if self.fn + self.tp else 1.0

    @property
    def hter(self) -> float:
        """Half total error rate."""
        return (self.far + self.frr) / 2

    @property
    def accuracy(self) -> float:
        """Share of right decisions; it follows the larger class."""
        return (self.tp + self.tn) / (self.tn + self.fn + self.fp + self.tp)


@dataclass(frozen=True)
class AtHalf:
    """FLIP's ``calculate``: all attacks pooled, at a threshold of 0.5.

    Attributes:
        apcer: FAR. bpcer: FRR, which the reference calls NPCER. acer: their mean. accuracy: right decisions.
    """

    apcer: float
    bpcer: float
    acer: float
    accuracy: float


def confusion(scores: Sequence[float | None] | ArrayLike, live: ArrayLike, threshold: float) -> Confusion:
    """Return the counts at a threshold.

    Args:
        scores: [N], higher = more live; None = no response, left out.
        live: bool or 0/1 [N].
        threshold: accepted at and above it.

    Raises:
        InputError: lengths differ, a score is not finite, a label is not 0 or 1, or nothing got a response.
    """
    values, labels = answered(scores, live)
    accepted = values >= threshold
    return Confusion(
        tn=int((~labels & ~accepted).sum()),
        fn=int((labels & ~accepted).sum()),
        fp=int((~labels & accepted).sum()),
        tp=int((labels & accepted).sum()),
    )


def hter(scores: Sequence[float | None] | ArrayLike, live: ArrayLike, threshold: float) -> float:
    """Return ``(FAR + FRR) / 2`` at a threshold; see :func:`confusion`."""
    return confusion(scores, live, threshold).hter


def at_half(scores: Sequence[float | None] | ArrayLike, live: ArrayLike) -> AtHalf:
    """Return pooled APCER, BPCER, ACER and accuracy at 0.5, for scores that are probabilities."""
    counts = confusion(scores, live, 0.5)
    return AtHalf(counts.far, counts.frr, counts.hter, counts.accuracy)


def grid_eer(
    scores: Sequence[float | None] | ArrayLike, live: ArrayLike, *, density: int = GRID
) -> tuple[float, float]:
    """Return (EER, threshold) by the reference's scan of probabilities.

    Thresholds are ``i / density`` for i = 0 .. density, then 1.1; the last with the smallest
    ``|FRR - FAR|`` is taken. Too coarse where probabilities saturate: see :func:`exact_eer`.

    Args:
        scores: probabilities [N]; None = no response, left out.
        live: bool or 0/1 [N].
        density: steps between 0 and 1, 1 or more.

    Raises:
        InputError: as :func:`confusion`, or a density below 1.
    """
    if density < 1:
        raise InputError(f"density must be 1 or more, got {density}.")
    values, labels = answered(scores, live)
    thresholds = np.append(np.arange(density + 1) / density, 1.1)
    genuine, attacks = np.sort(values[labels]), np.sort(values[~labels])
    far = _share(len(attacks) - np.searchsorted(attacks, thresholds, side="left"), len(attacks))
    frr = _share(np.searchsorted(genuine, thresholds, side="left"), len(genuine))
    last = density + 1 - int(np.argmin(np.abs(frr - far)[::-1]))
    return float(far[last] + frr[last]) / 2, float(thresholds[last])


def exact_eer(scores: Sequence[float | None] | ArrayLike, live: ArrayLike) -> tuple[float, float]:
    """Return (EER, threshold) by the sorted scores, probabilities or margins alike.

    Thresholds tried are the observed scores and +inf, between which nothing changes; of several with the
    smallest ``|FRR - FAR|`` the largest, as in the scan.
    """
    values, labels = answered(scores, live)
    genuine, attacks = np.sort(values[labels]), np.sort(values[~labels])
    groups = {"attack": Answers(attacks, len(attacks))} if len(attacks) else {}
    return equal_error(Presentations(Answers(genuine, len(genuine)), groups))


def auc(scores: Sequence[float | None] | ArrayLike, live: ArrayLike) -> float | None:
    """Return the probability that a bona fide scores above an attack, ties counting one half.

    None where a class is empty.
    """
    values, labels = answered(scores, live)
    if labels.all() or not labels.any():
        return None
    return core_auc(values, labels.astype(np.int64), resamples=0).value


def tpr_at_fpr(
    scores: Sequence[float | None] | ArrayLike, live: ArrayLike, fpr: float = 0.01
) -> float | None:
    """Return the share of bona fides accepted at the last point of the ROC curve with FAR <= ``fpr``.

    The points are those that scikit-learn's ``roc_curve`` keeps by default: one per distinct score, without
    those that lie on a straight line between two others with equal steps, then the origin. Where attacks and
    bona fides tie, a dropped point can be the one a search over all thresholds would have found.

    Returns:
        0 where no other point keeps to ``fpr``, or there are no attacks; None without bona fides.

    Raises:
        InputError: as :func:`confusion`, or ``fpr`` outside [0, 1].
    """
    if not 0 <= fpr <= 1:
        raise InputError(f"fpr is a rate from 0 to 1, got {fpr}.")
    values, labels = answered(scores, live)
    if not labels.any():
        return None
    if labels.all():
        return 0.0
    false, true = roc_counts(values, labels)
    last = np.flatnonzero(false / false[-1] <= fpr)[-1]
    return float(true[last] / true[-1])


def roc_counts(values: Floats, labels: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return (false, true positives) int64 [P] of the kept points of the ROC curve, from the origin on.

    Reference: scikit-learn ``roc_curve``, ``drop_intermediate=True``.
    """
    order = np.argsort(-values, kind="stable")
    ranked, genuine = values[order], labels[order]
    # The last presentation of each run of equal scores: a threshold there accepts the whole run.
    ends = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)
    true = np.cumsum(genuine)[ends]
    false = 1 + ends - true
    if len(ends) > 2:
        corner = (np.diff(false, 2) != 0) | (np.diff(true, 2) != 0)
        kept = np.concatenate([[True], corner, [True]])
        true, false = true[kept], false[kept]
    return np.append(0, false), np.append(0, true)


def live_labels(species: Sequence[str]) -> NDArray[np.bool_]:
    """Return which presentations are bona fide: bool [N]."""
    return np.asarray([name == BONA_FIDE for name in species], dtype=bool)


def answered(scores: Sequence[float | None] | ArrayLike, live: ArrayLike) -> tuple[Floats, NDArray[np.bool_]]:
    """Return (scores float64 [M], live bool [M]) of the presentations that got a response.

    Raises:
        InputError: lengths differ, a score is not finite, a label is not 0 or 1, or nothing got a response.
    """
    listed = np.asarray(scores, dtype=object)
    labels = np.asarray(live)
    if listed.ndim != 1 or labels.shape != listed.shape:
        raise InputError(f"scores {listed.shape} and labels {labels.shape} must both be [N].")
    if not np.isin(labels, (0, 1)).all():
        raise InputError("labels are 1 (or True) for bona fide and 0 (or False) for attack.")
    present = np.asarray([score is not None for score in listed], dtype=bool)
    if not present.any():
        raise InputError(f"None of {len(listed)} presentations got a response; there is nothing to rank.")
    values = listed[present].astype(np.float64)
    if not np.isfinite(values).all():
        raise InputError("A score is not finite; expected numbers, or None where there was no response.")
    return values, labels[present].astype(bool)


def _share(counts: NDArray[np.int64], total: int) -> Floats:
    return counts / total if total else np.ones(counts.shape)
