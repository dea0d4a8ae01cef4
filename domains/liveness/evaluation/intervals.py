"""Bootstrap intervals of the error rates at a fixed threshold, over whole subjects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ....core.metrics import Bootstrap, Estimate
from ....core.metrics import auc as auc_estimate
from ..metrics.iso import BONA_FIDE
from .table import ScoredPresentation

FEW_SUBJECTS = 20
"""Below this many subjects a percentile interval is rough, and the report says so."""

_PARTS = {
    "acer_max": ("apcer_max", "bpcer"),
    "acer_pooled": ("apcer_pooled", "bpcer"),
    "hter": ("apcer_pooled", "bpcer"),
}
"""{mean: the rates it is made of}; where one of them has no interval, the mean has none."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Intervals:
    """95 % bootstrap intervals, and what was drawn for them.

    Attributes:
        estimates: {metric: value and interval}; the names of :class:`~..metrics.iso.IsoReport`, ``hter`` and
            ``auc`` among responses, and ``apcer.<species>``. A metric that is not known is left out.
        unit: ``subjects``, or ``presentations`` where not every presentation has a subject.
        units: how many there are. resamples, seed: of the bootstrap.
        without_species: resamples in which a species was not drawn; they say nothing about max APCER.
    """

    estimates: Mapping[str, Estimate]
    unit: str
    units: int
    resamples: int
    seed: int
    without_species: int = 0

    def interval(self, name: str) -> tuple[float, float] | None:
        """Return the interval of a metric; None where there is none, or a rate it is made of has no width.

        Where every resample gives the same, as without a single error, resampling says nothing about what
        more presentations would give. The exact bounds do.
        """
        made_of = [self.estimates.get(part) for part in _PARTS.get(name, (name,))]
        if any(one is None or not one.low < one.high for one in made_of):
            return None
        found = self.estimates.get(name)
        return None if found is None else (found.low, found.high)

    @property
    def says(self) -> str:
        """What was resampled, as a sentence."""
        if not self.resamples:
            return "No intervals were drawn."
        whole = "whole subjects with all their presentations" if self.unit == "subjects" else "presentations"
        text = (
            f"95 % intervals of {self.resamples:,} resamples of {self.units:,} {self.unit} "
            f"({whole} are drawn; seed {self.seed}), the threshold held fixed."
        )
        if self.without_species:
            share = self.without_species / self.resamples
            text += (
                f" A species is missing from {share:.1%} of the resamples; those are left out of max APCER "
                "and its ACER."
            )
        if any(self.interval(name) is None for name in self.estimates):
            text += (
                " Where all resamples agree on a rate, as without an error, they tell no interval of it "
                "or of a mean with it: read the exact one."
            )
        if self.units < FEW_SUBJECTS:
            text += (
                f" {self.units:,} {self.unit} are few: these intervals are rough; read the exact bounds too."
            )
        return text

    def to_dict(self) -> dict[str, object]:
        """Return plain values for JSON."""
        return {
            "resampled": self.unit,
            "units": self.units,
            "resamples": self.resamples,
            "seed": self.seed,
            "without_species": self.without_species,
            "says": self.says,
            "metrics": {name: self._interval_of(name) for name in self.estimates},
        }

    def _interval_of(self, name: str) -> dict[str, float | int | None]:
        low, high = self.interval(name) or (None, None)
        return {**self.estimates[name].to_dict(), "low": low, "high": high}


def bootstrap_intervals(
    rows: Sequence[ScoredPresentation],
    values: Sequence[float | None],
    threshold: float,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> Intervals:
    """Return intervals of every rate at a threshold that does not move with the resamples.

    Args:
        rows: N presentations.
        values: N scores or margins, on the scale of the threshold; None = no response.
        threshold: accepted at and above it.
        resamples, seed: of the bootstrap; equal seeds give equal intervals.
    """
    subjects = [row.subject_id for row in rows]
    known = all(subject is not None for subject in subjects)
    names = sorted({row.species for row in rows})
    counts = _counts(rows, values, threshold, names, subjects if known else None)
    # Rates are made of sums, so whole subjects are drawn by their sums.
    plan = Bootstrap(len(counts), seed=seed, resamples=resamples)
    attacks = np.asarray([name != BONA_FIDE for name in names])
    undrawn = 0

    def statistic(weights: Floats) -> Floats:
        nonlocal undrawn
        total, accepted, answered = np.split(weights @ counts, 3, axis=1)
        undrawn += int((total[:, attacks] == 0).any(axis=1).sum())
        return _rates(total, accepted, answered, attacks)

    labels = [*_METRICS, *(f"apcer.{name}" for name in names if name != BONA_FIDE)]
    found = dict(zip(labels, plan.estimates(statistic), strict=True))
    kept = {name: estimate for name, estimate in found.items() if estimate.value == estimate.value}
    area = _area(rows, values, seed=seed, resamples=resamples, subjects=known)
    if area is not None:
        kept["auc"] = area
    return Intervals(kept, "subjects" if known else "presentations", plan.units, resamples, seed, undrawn)


def _counts(
    rows: Sequence[ScoredPresentation],
    values: Sequence[float | None],
    threshold: float,
    names: Sequence[str],
    subjects: Sequence[str | None] | None,
) -> Floats:
    """Return [units, 3 species]: all, accepted and answered presentations of each subject or presentation."""
    of_unit = {name: index for index, name in enumerate(sorted(map(str, set(subjects))))} if subjects else {}
    of_species = {name: index for index, name in enumerate(names)}
    counts = np.zeros((len(of_unit) or len(rows), 3, len(names)))
    for index, (row, value) in enumerate(zip(rows, values, strict=True)):
        unit = of_unit[str(subjects[index])] if subjects else index
        seen = (True, value is not None and value >= threshold, value is not None)
        counts[unit, :, of_species[row.species]] += seen
    return counts.reshape(len(counts), -1)


def _area(
    rows: Sequence[ScoredPresentation],
    values: Sequence[float | None],
    *,
    seed: int,
    resamples: int,
    subjects: bool,
) -> Estimate | None:
    """Return AUC among responses with its interval; None where a class has none."""
    kept = [(row, value) for row, value in zip(rows, values, strict=True) if value is not None]
    live = np.asarray([row.is_live for row, _ in kept], dtype=np.int64)
    if not live.any() or live.all():
        return None
    return auc_estimate(
        np.asarray([value for _, value in kept], dtype=np.float64),
        live,
        groups=[row.subject_id for row, _ in kept] if subjects else None,
        seed=seed,
        resamples=resamples,
    )


_METRICS = ("bpcer", "bpnrr", "apcer_max", "apcer_pooled", "apnrr_pooled", "acer_max", "acer_pooled", "hter")


def _rates(total: Floats, accepted: Floats, answered: Floats, attacks: NDArray[np.bool_]) -> Floats:
    """Return [R, metrics] from counts [R, groups]; NaN where a group was not drawn.

    The maximum is that of all species or none: of those that happened to be drawn it would be too low.
    """
    genuine = ~attacks
    all_live, all_attacks = total[:, genuine].sum(axis=1), total[:, attacks].sum(axis=1)
    live, fakes = answered[:, genuine].sum(axis=1), answered[:, attacks].sum(axis=1)
    rejected = live - accepted[:, genuine].sum(axis=1)
    passed = accepted[:, attacks].sum(axis=1)
    apcer = _ratio(accepted[:, attacks], total[:, attacks])
    bpcer, pooled = _ratio(rejected, all_live), _ratio(passed, all_attacks)
    worst = np.max(apcer, axis=1) if apcer.shape[1] else np.full(len(total), np.nan)
    columns = [
        bpcer,
        _ratio(all_live - live, all_live),
        worst,
        pooled,
        _ratio(all_attacks - fakes, all_attacks),
        (worst + bpcer) / 2,
        (pooled + bpcer) / 2,
        (_ratio(passed, fakes) + _ratio(rejected, live)) / 2,
    ]
    return np.concatenate([np.stack(columns, axis=1), apcer], axis=1)


def _ratio(numerator: Floats, denominator: Floats) -> Floats:
    return np.divide(numerator, denominator, out=np.full_like(numerator, np.nan), where=denominator > 0)
