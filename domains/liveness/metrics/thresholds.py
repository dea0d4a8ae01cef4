"""Rules that fix the threshold, and what each finds on a set of scores.

A threshold is found on a development set and applied unchanged to others. Only ``test_eer`` takes it from
the set that it is then judged on: an oracle, for comparison with papers that do so, and always marked.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ....core.errors import ConfigError, DataError, InputError, nearest
from .iso import BONA_FIDE, IsoReport, Presentations, group_presentations, lowest_threshold, report_of
from .numbers import json_number, read_number

Kind = Literal["dev_eer", "dev_apcer", "dev_bpcer", "fixed", "test_eer"]

MODES: dict[str, str] = {
    "secure": "dev_apcer=0.01",
    "balanced": "dev_eer",
    "convenient": "dev_bpcer=0.01",
}
"""{mode: rule}: what a team means when it names a way of working instead of a rule."""

_NEAR = 1e-5
"""How far below the margin that was found a threshold is put, relative to it; see :func:`settle`."""

_FORMS = {
    "dev_eer": "dev_eer",
    "dev_apcer": "dev_apcer=0.01",
    "dev_bpcer": "dev_bpcer=0.01",
    "fixed": "fixed=0.5",
    "test_eer": "test_eer",
}


@dataclass(frozen=True)
class Rule:
    """How a threshold is fixed.

    Attributes:
        kind: ``dev_eer`` equal errors on the development set; ``dev_apcer`` the smallest threshold there
            with maximum APCER at most ``target``; ``dev_bpcer`` the largest there with BPCER at most
            ``target``; ``fixed`` the score ``target``; ``test_eer`` equal errors on the test set itself.
        target: a rate in [0, 1] of ``dev_apcer`` and ``dev_bpcer``, a score of ``fixed``, else None.
    """

    kind: Kind
    target: float | None = None

    @property
    def oracle(self) -> bool:
        """Whether the threshold is taken from the set it is judged on."""
        return self.kind == "test_eer"

    @property
    def needs_dev(self) -> bool:
        """Whether a development set is needed."""
        return self.kind.startswith("dev_")

    def __str__(self) -> str:
        return self.kind if self.target is None else f"{self.kind}={json_number(self.target)}"


def parse_rule(text: str | Rule) -> Rule:
    """Return the rule of a text such as ``dev_eer``, ``dev_apcer=0.01`` or ``fixed=0.5``; modes work too.

    Raises:
        ConfigError: no such rule, a missing or unwanted number, or a rate outside [0, 1].
    """
    if isinstance(text, Rule):
        return text
    name, equals, number = MODES.get(text.strip(), text.strip()).partition("=")
    if name not in _FORMS:
        known = (*_FORMS, *MODES)
        raise ConfigError(
            f"No threshold rule {text!r}.{nearest(name, known)} Rules: {', '.join(_FORMS.values())}; modes: "
            f"{', '.join(MODES)}."
        )
    kind: Kind = name  # pyright: ignore[reportAssignmentType]
    if kind in ("dev_eer", "test_eer"):
        if equals:
            raise ConfigError(f"The rule {kind} takes no number, got {text!r}. Write {kind}.")
        return Rule(kind)
    if not number:
        raise ConfigError(f"The rule {kind} needs a number, got {text!r}. Write for example {_FORMS[kind]}.")
    try:
        target = read_number(number, kind)
    except InputError as error:
        raise ConfigError(f"{error} Write for example {_FORMS[kind]}.") from None
    if kind != "fixed" and not 0 <= target <= 1:
        raise ConfigError(f"The rate of {kind} is a fraction from 0 to 1 (0.01 is 1 %), got {number}.")
    return Rule(kind, target)


@dataclass(frozen=True)
class Choice:
    """A threshold and what it does on the set it was found on.

    Attributes:
        rule: that found it.
        value: in scores; ±inf where only refusing or accepting all keeps the rule.
        margin: the same in margins; None where the presentations have none, or the rule is ``fixed``.
        report: error rates on that set.
        eer: ``(FAR + FRR) / 2`` at the threshold, of the two rules of equal errors; else None.
    """

    rule: Rule
    value: float
    margin: float | None
    report: IsoReport
    eer: float | None = None

    @property
    def oracle_threshold(self) -> bool:
        """Whether the threshold was taken from the set it is judged on."""
        return self.rule.oracle

    @property
    def counts(self) -> dict[str, int]:
        """{species: presentations} of the set, bona fides first."""
        return {BONA_FIDE: self.report.bpcer.n, **{name: rate.n for name, rate in self.report.apcer.items()}}


def choose(
    rule: str | Rule,
    scores: Sequence[float | None],
    species: Sequence[str],
    *,
    margins: Sequence[float | None] | None = None,
) -> Choice:
    """Return the threshold that a rule finds on a set.

    Thresholds tried are the observed scores, ascending, then +inf (not for ``dev_bpcer``): between two of
    them nothing changes.
    ``dev_apcer`` and ``dev_bpcer`` count as ISO does, with non-responses in the denominators. The rules of
    equal errors use the presentations that got a response, and among thresholds with equal distance of the
    two rates take the largest.

    Args:
        rule: see :func:`parse_rule`.
        scores: N numbers, higher = more live; None = no response.
        species: N names, ``bona_fide`` or an attack species.
        margins: N log-odds of live in the order of the scores, None in the same places. Where many scores
            are exactly 0 or 1 the margins still tell them apart, and the threshold is found on them.

    Raises:
        ConfigError: no such rule.
        DataError: a rule other than ``fixed`` on a set without bona fides or without attacks.
        InputError: lengths differ, a score is not finite, margins and scores disagree.
    """
    rule = parse_rule(rule)
    if rule.kind == "fixed":
        value = float(rule.target if rule.target is not None else math.nan)
        return Choice(rule, value, None, report_of(group_presentations(scores, species), value))
    check_classes(species, f"The rule {rule}")
    if margins is None:
        grouped = group_presentations(scores, species)
        value = _find(rule, grouped)
        return Choice(rule, value, None, report_of(grouped, value), _eer(rule, grouped, value))
    check_margins(scores, margins)
    grouped = group_presentations(margins, species)
    margin = _find(rule, grouped)
    value = score_at(margin, scores, margins)
    report = report_of(grouped, margin)
    return Choice(rule, value, margin, report, _eer(rule, grouped, margin))


def check_classes(species: Sequence[str], what: str) -> None:
    """Raise ``DataError`` where bona fides or attacks are missing; ``what`` needs them."""
    genuine = sum(name == BONA_FIDE for name in species)
    if not genuine or genuine == len(species):
        raise DataError(
            f"{what} needs bona fide and attack presentations; the set has {genuine} bona fide and "
            f"{len(species) - genuine} attack presentations."
        )


def check_margins(scores: Sequence[float | None], margins: Sequence[float | None]) -> None:
    """Check that margins order the presentations as the scores do.

    Raises:
        InputError: another number of them, a response without both, or an order that differs.
    """
    if len(scores) != len(margins):
        raise InputError(f"{len(margins)} margins for {len(scores)} scores; give one per score.")
    pairs: list[tuple[float, float]] = []
    for row, (score, margin) in enumerate(zip(scores, margins, strict=True)):
        if (score is None) != (margin is None):
            raise InputError(
                f"Presentation {row} has a score {score} and a margin {margin}; give both or none."
            )
        if score is not None and margin is not None:
            pairs.append((margin, score))
    pairs.sort()
    # Scores are float32 in many models; a score may fall by its rounding while the margin rises.
    falls = [(a, b) for a, b in itertools.pairwise(pairs) if b[1] < a[1] - 1e-6]
    if falls:
        (low, higher), (high, lower) = falls[0]
        raise InputError(
            f"Margins and scores disagree: margin {low:.6g} has score {higher:.6g}, and the larger margin "
            f"{high:.6g} has the smaller score {lower:.6g}. Both must come from the same answers."
        )


def score_at(margin: float, scores: Sequence[float | None], margins: Sequence[float | None]) -> float:
    """Return the score that belongs to a threshold on margins: the smallest accepted one; ±inf as it is."""
    if math.isinf(margin):
        return margin
    return min(
        float(score)
        for score, one in zip(scores, margins, strict=True)
        if score is not None and one is not None and one >= margin
    )


def settle(margin: float, margins: Sequence[float | None]) -> float:
    """Return a threshold a little below the margin that a rule found, with the same decisions on its set.

    The rules return the margin of a presentation. Scored again, in another batch or on another processor,
    that presentation may get one that differs in the last digits; it shall be decided in the same way. The
    step is a hundred-thousandth of the margin, or half the way to the next lower one if that is nearer.

    Args:
        margin: one of ``margins``; an infinite one is returned as it is.
        margins: of the set.
    """
    if math.isinf(margin):
        return margin
    step = _NEAR * max(1.0, abs(margin))
    below = max((one for one in margins if one is not None and one < margin), default=-math.inf)
    return margin - min(step, (margin - below) / 2)


def _find(rule: Rule, presentations: Presentations) -> float:
    if rule.kind == "dev_apcer":
        return lowest_threshold(presentations, float(rule.target or 0.0))
    if rule.kind == "dev_bpcer":
        return highest_threshold(presentations, float(rule.target or 0.0))
    return equal_error(presentations)[1]


def highest_threshold(presentations: Presentations, allowed: float) -> float:
    """Return the largest observed score at which BPCER is at most ``allowed``; +inf without any response.

    Where most bona fides got no response, rejecting all others may keep BPCER as well: of two in two hundred
    that is 1 %. Refusing everyone is no way to work, so +inf is not tried.
    """
    candidates = presentations.candidates()
    observed = candidates[:-1] if len(candidates) > 1 else candidates
    within = np.flatnonzero(presentations.bpcer(observed) <= allowed)
    # At the lowest score nothing is rejected, so there always is one.
    return float(observed[within[-1]])


def equal_error(presentations: Presentations) -> tuple[float, float]:
    """Return (EER, threshold) by the sorted scores of the presentations that got a response.

    EER = (FAR + FRR) / 2, pooled, where ``|FRR - FAR|`` is smallest; the largest such threshold among the
    observed scores and +inf. The rate of an empty class counts as 1.
    """
    thresholds = presentations.candidates()
    far, frr = answered_rates(presentations, thresholds)
    distance = np.abs(frr - far)
    last = len(thresholds) - 1 - int(np.argmin(distance[::-1]))
    return float(far[last] + frr[last]) / 2, float(thresholds[last])


def answered_rates(presentations: Presentations, thresholds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (FAR, FRR) among responses at each threshold, float64; 1 where a class is empty."""
    pooled, genuine = presentations.pooled.scores, presentations.bona_fide.scores
    at = np.asarray(thresholds, dtype=np.float64)
    accepted = len(pooled) - np.searchsorted(pooled, at, side="left")
    rejected = np.searchsorted(genuine, at, side="left")
    far = accepted / len(pooled) if len(pooled) else np.ones(at.shape)
    frr = rejected / len(genuine) if len(genuine) else np.ones(at.shape)
    return far, frr


def _eer(rule: Rule, presentations: Presentations, threshold: float) -> float | None:
    if rule.kind not in ("dev_eer", "test_eer"):
        return None
    far, frr = answered_rates(presentations, np.asarray(threshold))
    return float(far + frr) / 2
