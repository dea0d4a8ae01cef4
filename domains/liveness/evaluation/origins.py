"""Where the numbers come from: which threshold, which kind of zero-shot, which systems and sets."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from ....core.errors import DataError
from ..calibration.threshold import Threshold
from ..metrics.numbers import json_number
from ..metrics.thresholds import Choice
from ..protocols.aliases import PUBLIC, canonical_dataset
from .table import ScoredPresentation

Setting = Literal[
    "prompt zero-shot", "cross-dataset zero-shot", "few-shot", "trained on this set", "not stated"
]


@dataclass(frozen=True)
class ReportThreshold:
    """The threshold a report was made at.

    Attributes:
        value: in scores. margin: the same as log-odds; None where there are none. One that was found on a
            development set lies a little below the margin that the rule found, as calibration puts it.
        rule: that found it. mode: of its file, if any.
        oracle_threshold: taken from the very set it is judged on.
        compared: which of the two the presentations were compared with.
        source: where it was found. counts: {species: presentations} there; empty where nothing was counted.
        fingerprint: of the system it was made for; empty where it is not known.
    """

    value: float
    margin: float | None
    rule: str
    mode: str | None
    oracle_threshold: bool
    compared: Literal["score", "margin"]
    source: str
    counts: Mapping[str, int] = field(default_factory=dict)
    fingerprint: str = ""

    @property
    def applied(self) -> float:
        """The number that presentations are compared with."""
        return self.margin if self.compared == "margin" and self.margin is not None else self.value

    def to_dict(self) -> dict[str, object]:
        """Return plain values for JSON; infinities are words."""
        return {
            **vars(self),
            "value": json_number(self.value),
            "margin": json_number(self.margin),
            "counts": dict(self.counts),
        }


def from_choice(choice: Choice, source: str, fingerprint: str) -> ReportThreshold:
    """Return a threshold that a rule found on a set."""
    return ReportThreshold(
        value=choice.value,
        margin=choice.margin,
        rule=str(choice.rule),
        mode=None,
        oracle_threshold=choice.oracle_threshold,
        compared="score" if choice.margin is None else "margin",
        source=source,
        counts={} if choice.rule.kind == "fixed" else choice.counts,
        fingerprint=fingerprint,
    )


def from_stored(stored: Threshold, *, margins: bool) -> ReportThreshold:
    """Return a stored threshold; compared by margins where the presentations have them."""
    return ReportThreshold(
        value=stored.value,
        margin=stored.margin,
        rule=stored.rule,
        mode=stored.mode,
        oracle_threshold=stored.oracle_threshold,
        compared="margin" if margins else "score",
        source=stored.provenance,
        counts=dict(stored.n),
        fingerprint="" if stored.fingerprint is None else str(stored.fingerprint),
    )


@dataclass(frozen=True)
class ZeroShot:
    """Which kind of zero-shot a result is, if any.

    Attributes:
        kind: ``prompt zero-shot``: a general model with the texts of the categories, never trained for
            liveness; ``cross-dataset zero-shot``: trained on other sets; ``few-shot``: on a few presentations
            of the tested set as well; else no zero-shot, or not stated.
        trained_on: data sets, where stated. shots: presentations of the tested set that were trained on.
    """

    kind: Setting
    trained_on: tuple[str, ...] | None
    shots: int = 0

    @property
    def says(self) -> str:
        """The kind as a sentence."""
        sets = ", ".join(self.trained_on or ())
        return {
            "prompt zero-shot": "Prompt zero-shot: never trained for liveness, only told the categories.",
            "cross-dataset zero-shot": f"Cross-dataset zero-shot: trained on {sets}, judged on other sets.",
            "few-shot": (
                f"Few-shot, no zero-shot: trained on {self.shots:,} presentations of the tested set, whose "
                f"subjects may be among those judged{f'; also on {sets}' if sets else ''}."
            ),
            "trained on this set": f"No zero-shot: trained on {sets}, which is in this test.",
            "not stated": "It is not stated what the system was trained on; no zero-shot is claimed.",
        }[self.kind]

    def to_dict(self) -> dict[str, object]:
        """Return plain values for JSON."""
        sets = None if self.trained_on is None else list(self.trained_on)
        return {"kind": self.kind, "trained_on": sets, "shots": self.shots, "says": self.says}


def zero_shot(trained_on: Sequence[str] | None, datasets: Sequence[str], shots: int = 0) -> ZeroShot:
    """Return the kind of zero-shot of a system trained on some sets and judged on others.

    Args:
        trained_on: data sets; empty for a model that was never trained for liveness; None: not stated.
        datasets: that are judged. Canonical names are compared: ``oulu`` is ``oulu-npu``.
        shots: presentations of a few-shot protocol that the system was trained on.
    """
    if shots:
        return ZeroShot("few-shot", None if trained_on is None else tuple(trained_on), shots)
    if trained_on is None:
        return ZeroShot("not stated", None)
    if not trained_on:
        return ZeroShot("prompt zero-shot", ())
    seen = set(map(canonical_dataset, trained_on)) & set(map(canonical_dataset, datasets))
    return ZeroShot("trained on this set" if seen else "cross-dataset zero-shot", tuple(trained_on))


def misspelt(trained_on: Sequence[str], datasets: Sequence[str]) -> list[str]:
    """Return a warning for each name that is no data set known here but close to one.

    A misspelt one would match nothing, and a test on what was trained on would read cross-dataset.
    """
    tested = {canonical_dataset(name) for name in datasets}
    words = {*PUBLIC, *(word for others in PUBLIC.values() for word in others), *tested}
    found = []
    for name in trained_on:
        canonical = canonical_dataset(name)
        if canonical in PUBLIC or canonical in tested:
            continue
        # Sets of one's own have any name; only a slip of a letter or two is asked about.
        if close := difflib.get_close_matches(canonical, sorted(words), n=1, cutoff=0.75):
            found.append(
                f"Trained on {name!r}: no data set of that name is judged or known here. Did you mean "
                f"{close[0]!r}? A misspelt name makes a test on what was trained on read as cross-dataset."
            )
    return found


def one_system(*parts: Sequence[ScoredPresentation], stored: Threshold | None = None) -> str:
    """Return the fingerprint of the system that scored all parts; empty where none is known.

    Raises:
        DataError: two systems scored them, or the threshold was made for another.
    """
    found = sorted({row.fingerprint for part in parts for row in part if row.fingerprint})
    if len(found) > 1:
        raise DataError(
            f"The presentations were scored by {len(found)} systems (fingerprints {', '.join(found[:3])}). A "
            "threshold holds for one; score all of them again with one system."
        )
    made_for = "" if stored is None or stored.fingerprint is None else str(stored.fingerprint)
    if found and made_for and found[0] != made_for:
        raise DataError(
            f"The threshold was made for the system {made_for}, the presentations were scored by {found[0]}. "
            "Calibrate this system, or score again with the other."
        )
    return found[0] if found else ""
