"""Error rates of presentation attack detection in the words of ISO/IEC 30107-3.

A presentation is what the system answers about: a still, or a whole video. It is a bona fide or an attack
of one species, and gets a score (higher = more live, accepted where ``score >= threshold``) or none: a
non-response, where the detector or a quality gate refused.

* ``APCER_s`` = attacks of species s accepted / all presentations of s. The headline is the maximum over
  species: pooling hides the worst.
* ``BPCER`` = bona fides rejected / all bona fides.
* ``APNRR_s`` and ``BPNRR`` = non-responses / all presentations of that group. A non-response is neither an
  accepted attack nor a rejected bona fide, and it stays in every denominator.
* Bounds are exact for independent presentations (Clopper and Pearson). Those of one subject or of one
  instrument are alike, which makes the rate less certain than the bound says.
* ``ACER`` = (max APCER + BPCER) / 2 is a figure of the literature, not of the standard's current edition.

Reference: ISO/IEC 30107-3, testing and reporting; the text of the standard was not re-read for this.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ....core.errors import InputError
from ....core.metrics.proportions import CONFIDENCE, upper_bound
from ..taxonomy import BONA_FIDE, LIVE_NAMES
from .numbers import json_number

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Rate:
    """A number of errors among ``n`` presentations.

    Attributes:
        errors: how many. n: out of how many; 0 where there were none, and the rate is not known.
    """

    errors: int
    n: int

    @property
    def value(self) -> float | None:
        """The rate in [0, 1]; None without presentations."""
        return self.errors / self.n if self.n else None

    @property
    def upper(self) -> float:
        """One-sided 95 % upper bound, exact: with no error ``1 - 0.05**(1/n)``; 1 without presentations.

        Reference: Clopper and Pearson 1934.
        """
        return upper_bound(self.errors, self.n)

    @property
    def interval(self) -> tuple[float, float]:
        """Two-sided exact 95 % interval, (0, 1) without presentations.

        Reference: Clopper and Pearson 1934.
        """
        tail = (1 + CONFIDENCE) / 2
        return 1 - upper_bound(self.n - self.errors, self.n, tail), upper_bound(self.errors, self.n, tail)

    def to_dict(self) -> dict[str, float | int | list[float] | None]:
        """Return plain values for JSON."""
        return {
            "rate": self.value,
            "errors": self.errors,
            "n": self.n,
            "upper_95": self.upper,
            "interval_95": list(self.interval),
        }


@dataclass(frozen=True, eq=False)
class Answers:
    """What one group of presentations got.

    Attributes:
        scores: float64, ascending, of the presentations that got one. n: all, non-responses too.
    """

    scores: Floats
    n: int

    @property
    def missing(self) -> int:
        """Non-responses."""
        return self.n - len(self.scores)

    def rejected(self, thresholds: ArrayLike) -> Ints:
        """Return how many scores lie below each threshold: int64 of the same shape."""
        return np.searchsorted(self.scores, np.asarray(thresholds, dtype=np.float64), side="left")

    def accepted(self, thresholds: ArrayLike) -> Ints:
        """Return how many scores are at least each threshold: int64 of the same shape."""
        return len(self.scores) - self.rejected(thresholds)


@dataclass(frozen=True, eq=False)
class Presentations:
    """Scores sorted within each group, so that a rate at a threshold is one search.

    Attributes:
        bona_fide: of the bona fide presentations. attacks: {species: ...} in the order of their names.
    """

    bona_fide: Answers
    attacks: Mapping[str, Answers]

    @property
    def pooled(self) -> Answers:
        """All attacks as one group."""
        parts = [answers.scores for answers in self.attacks.values()]
        scores = np.sort(np.concatenate(parts)) if parts else np.empty(0)
        return Answers(scores, sum(answers.n for answers in self.attacks.values()))

    def candidates(self) -> Floats:
        """Return the thresholds between which nothing changes: the distinct scores, ascending, then +inf."""
        parts = [self.bona_fide.scores, *(answers.scores for answers in self.attacks.values())]
        return np.append(np.unique(np.concatenate(parts)), np.inf)

    def max_apcer(self, thresholds: ArrayLike) -> Floats:
        """Return the largest APCER over species at each threshold; NaN without attacks."""
        at = np.asarray(thresholds, dtype=np.float64)
        rates = [answers.accepted(at) / answers.n for answers in self.attacks.values()]
        return np.max(rates, axis=0) if rates else np.full(at.shape, np.nan)

    def bpcer(self, thresholds: ArrayLike) -> Floats:
        """Return BPCER at each threshold; NaN without bona fides."""
        at = np.asarray(thresholds, dtype=np.float64)
        total = self.bona_fide.n
        return self.bona_fide.rejected(at) / total if total else np.full(at.shape, np.nan)


def group_presentations(scores: Sequence[float | None], species: Sequence[str]) -> Presentations:
    """Return the presentations by group.

    Args:
        scores: N finite numbers, higher = more live; None = no response.
        species: N names: ``bona_fide``, or of the attack's species.

    Raises:
        InputError: the lengths differ, there is nothing, a score is not finite, a name is empty or another
            word for live, which would count as an attack.
    """
    if len(scores) != len(species):
        raise InputError(f"{len(scores)} scores for {len(species)} species; give one species per score.")
    if not len(scores):
        raise InputError("There are no presentations; expected at least one.")
    found: dict[str, list[float]] = {}
    counts: dict[str, int] = {}
    for row, (score, name) in enumerate(zip(scores, species, strict=True)):
        if not isinstance(name, str) or not name:
            raise InputError(f"Presentation {row}: species is {name!r}; expected 'bona_fide' or a name.")
        if name != BONA_FIDE and name.lower() in LIVE_NAMES:
            raise InputError(
                f"Presentation {row}: species {name!r} would count as an attack; a live one is {BONA_FIDE!r}."
            )
        counts[name] = counts.get(name, 0) + 1
        answered = found.setdefault(name, [])
        if score is None:
            continue
        if not math.isfinite(score):
            raise InputError(
                f"Presentation {row}: the score is {score}; expected a finite number, or None where there "
                "was no response."
            )
        answered.append(float(score))
    groups = {
        name: Answers(np.sort(np.asarray(found[name], dtype=np.float64)), counts[name])
        for name in sorted(counts)
    }
    return Presentations(groups.pop(BONA_FIDE, Answers(np.empty(0), 0)), groups)


@dataclass(frozen=True)
class IsoReport:
    """Error rates at one threshold.

    Attributes:
        threshold: accepted at and above it.
        apcer, apnrr: {species: ...}, in the order of their names.
        bpcer, bpnrr: of the bona fides.
        apcer_pooled, apnrr_pooled: all attacks as one group. The first hides the worst species.
    """

    threshold: float
    apcer: Mapping[str, Rate]
    apnrr: Mapping[str, Rate]
    bpcer: Rate
    bpnrr: Rate
    apcer_pooled: Rate
    apnrr_pooled: Rate

    @property
    def worst_species(self) -> str | None:
        """The species with the largest APCER (the first by name among equals); None without attacks."""
        return max(self.apcer, key=lambda name: self.apcer[name].value or 0.0, default=None)

    @property
    def apcer_max(self) -> float | None:
        """The headline: the largest APCER over species; None without attacks."""
        worst = self.worst_species
        return None if worst is None else self.apcer[worst].value

    @property
    def apcer_max_upper(self) -> float | None:
        """95 % upper bound of the headline; None without attacks.

        The largest bound of any species, which need not be that of the worst seen: no error among three
        masks leaves masks more room than two among a hundred prints leave prints. It takes no correction
        for the number of species: whichever is truly the worst, its own bound holds with 95 %, and this one
        is at least that.
        """
        bounding = self.bounding_species
        return None if bounding is None else self.apcer[bounding].upper

    @property
    def bounding_species(self) -> str | None:
        """The species with the largest bound (the first by name among equals); None without attacks."""
        return max(self.apcer, key=lambda name: self.apcer[name].upper, default=None)

    @property
    def acer_max(self) -> float | None:
        """``(max APCER + BPCER) / 2``; None where either is not known."""
        return _mean(self.apcer_max, self.bpcer.value)

    @property
    def acer_pooled(self) -> float | None:
        """``(pooled APCER + BPCER) / 2``; None where either is not known."""
        return _mean(self.apcer_pooled.value, self.bpcer.value)

    def to_dict(self) -> dict[str, object]:
        """Return plain values for JSON; an infinite threshold is the word ``Infinity``."""
        return {
            "threshold": json_number(self.threshold),
            "apcer_max": self.apcer_max,
            "apcer_max_upper_95": self.apcer_max_upper,
            "worst_species": self.worst_species,
            "bpcer": self.bpcer.to_dict(),
            "bpnrr": self.bpnrr.to_dict(),
            "apcer": {name: rate.to_dict() for name, rate in self.apcer.items()},
            "apnrr": {name: rate.to_dict() for name, rate in self.apnrr.items()},
            "acer_max": self.acer_max,
            "apcer_pooled": self.apcer_pooled.to_dict(),
            "apnrr_pooled": self.apnrr_pooled.to_dict(),
            "acer_pooled": self.acer_pooled,
        }


def _mean(first: float | None, second: float | None) -> float | None:
    return None if first is None or second is None else (first + second) / 2


def iso_report(scores: Sequence[float | None], species: Sequence[str], threshold: float) -> IsoReport:
    """Return APCER of each species, BPCER and the non-response rates at a threshold.

    Args:
        scores: N finite numbers, higher = more live; None = no response.
        species: N names: ``bona_fide``, or of the attack's species.
        threshold: a score is accepted where it is at least this; ±infinity is allowed.

    Raises:
        InputError: lengths differ, a score is not finite, the threshold is not a number.

    Example::

        report = iso_report([0.9, 0.2, None], ["bona_fide", "print", "display"], 0.5)
        report.apcer_max, report.apnrr["display"].value    # 0.0, 1.0
    """
    return report_of(group_presentations(scores, species), threshold)


def report_of(presentations: Presentations, threshold: float) -> IsoReport:
    """Return :func:`iso_report` of presentations that are grouped already."""
    if math.isnan(threshold):
        raise InputError("The threshold is not a number; expected a score or ±infinity.")
    attacks, genuine, pooled = presentations.attacks, presentations.bona_fide, presentations.pooled
    return IsoReport(
        threshold=float(threshold),
        apcer={name: Rate(int(one.accepted(threshold)), one.n) for name, one in attacks.items()},
        apnrr={name: Rate(one.missing, one.n) for name, one in attacks.items()},
        bpcer=Rate(int(genuine.rejected(threshold)), genuine.n),
        bpnrr=Rate(genuine.missing, genuine.n),
        apcer_pooled=Rate(int(pooled.accepted(threshold)), pooled.n),
        apnrr_pooled=Rate(pooled.missing, pooled.n),
    )


OPERATING_POINTS = (10, 20, 100)
"""BPCER10, BPCER20 and BPCER100: one attack in so many may be accepted."""


@dataclass(frozen=True)
class OperatingPoint:
    """BPCER where the maximum APCER is held down.

    Attributes:
        allowed: the largest maximum APCER allowed. threshold: +inf where only refusing all keeps to it.
        apcer_max: reached. bpcer: there.
    """

    allowed: float
    threshold: float
    apcer_max: float
    bpcer: Rate

    def to_dict(self) -> dict[str, object]:
        """Return plain values for JSON."""
        return {
            "apcer_allowed": self.allowed,
            "threshold": json_number(self.threshold),
            "apcer_max": self.apcer_max,
            "bpcer": self.bpcer.to_dict(),
        }


def bpcer_at_apcer(
    scores: Sequence[float | None],
    species: Sequence[str],
    *,
    points: Sequence[int] = OPERATING_POINTS,
) -> dict[int, OperatingPoint]:
    """Return {10: BPCER10, ...}: BPCER at the lowest threshold whose maximum APCER is at most 1/10, ...

    Thresholds tried are the observed scores, ascending, then +inf. They are found on the very scores they
    are applied to, so these figures describe a system; they are not what a fixed threshold would do.

    Returns:
        Empty where there are no attacks or no bona fides.

    Raises:
        InputError: lengths differ, a score is not finite, or a point is below 1.
    """
    if any(point < 1 for point in points):
        raise InputError(f"points are 1 or more (10 means APCER <= 1/10), got {list(points)}.")
    presentations = group_presentations(scores, species)
    if not presentations.attacks or not presentations.bona_fide.n:
        return {}
    return {point: _lowest(presentations, 1 / point) for point in points}


def _lowest(presentations: Presentations, allowed: float) -> OperatingPoint:
    threshold = lowest_threshold(presentations, allowed)
    return OperatingPoint(
        allowed=allowed,
        threshold=threshold,
        apcer_max=float(presentations.max_apcer(threshold)),
        bpcer=Rate(int(presentations.bona_fide.rejected(threshold)), presentations.bona_fide.n),
    )


def lowest_threshold(presentations: Presentations, allowed: float) -> float:
    """Return the smallest observed score, or +inf, at which the maximum APCER is at most ``allowed``."""
    candidates = presentations.candidates()
    # At +inf nothing is accepted, so there always is one.
    return float(candidates[np.argmax(presentations.max_apcer(candidates) <= allowed)])
