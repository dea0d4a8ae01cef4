"""Thresholds as records: value, rule, where they come from, what they achieved, and for which detector.

Scores are compared on the log-odds scale. A probability of a confident model is 1.0 for a good part of all
presentations; their log-odds still differ. ``value`` and ``margin`` are the same threshold on both scales,
and a presentation is accepted when its margin is at least ``margin``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from ....core.config import parse_config
from ....core.config_base import Config, Probability
from ....core.errors import ConfigError, nearest
from ....core.files import THRESHOLD_FILE as THRESHOLD_FILE
from ....core.limits import DEFAULT, Limits
from ..metrics.iso import BONA_FIDE
from .fingerprint import Fingerprint
from .sealed import read_sealed, write_sealed

Mode = Literal["secure", "balanced", "convenient"]
_FORMAT = "verticlip liveness thresholds 1"
_ADVICE = "Make it again: verticlip liveness calibrate MANIFEST --model MODEL --out threshold.json"


class AchievedRate(Config):
    """A rate on the development set, with the number it was counted over."""

    rate: Probability
    errors: int = Field(ge=0)
    n: int = Field(ge=1)
    upper_95: Probability
    """Exact one-sided 95 % bound; with no error in n presentations 1 - 0.05 ** (1 / n)."""

    def __str__(self) -> str:
        return f"{self.rate:.2%}, at most {self.upper_95:.2%} (95 % bound, n {self.n})"


class Achieved(Config):
    """What a threshold achieved on the development set that it was chosen on: optimistic for any other."""

    apcer: dict[str, AchievedRate]
    """{attack species: attack presentations classified as bona fide}."""
    bpcer: AchievedRate
    """Bona fide presentations classified as attack."""
    apnrr: dict[str, AchievedRate]
    bpnrr: AchievedRate
    """Non-responses, attack and bona fide."""
    auc: Probability
    """Area under the ROC curve of the presentations that got a response; below 0.5 labels are reversed."""

    @property
    def worst_species(self) -> str:
        """The species with the largest APCER, the headline of ISO/IEC 30107-3; the first among equals."""
        return max(self.apcer, key=lambda name: self.apcer[name].rate)

    @property
    def apcer_max_upper_95(self) -> float:
        """95 % bound of the largest APCER: the largest of any species, see ``IsoReport.apcer_max_upper``."""
        return max(rate.upper_95 for rate in self.apcer.values())

    def __str__(self) -> str:
        worst = self.worst_species
        own, bound = self.apcer[worst], max(self.apcer, key=lambda name: self.apcer[name].upper_95)
        of = "" if bound == worst else f" by {bound}, n {self.apcer[bound].n}"
        return (
            f"max APCER {own.rate:.2%} ({worst}, n {own.n}), at most {self.apcer_max_upper_95:.2%} (95 % "
            f"bound{of}), BPCER {self.bpcer}"
        )


class Threshold(Config):
    """A threshold on P(live), with its origin."""

    value: Probability
    """On the scale of P(live), before any temperature."""
    margin: float
    """The same as log-odds; what scores are compared with."""
    rule: str
    mode: Mode | None = None
    oracle_threshold: bool = False
    """Chosen on the set that it is reported for; only to reproduce published tables."""
    dataset: str = ""
    """Name of the development set; empty for a value that somebody gave."""
    n: dict[str, int] = Field(default_factory=dict)
    """{species or ``bona_fide``: presentations of the development set}."""
    achieved: Achieved | None = None
    fingerprint: Fingerprint | None = None
    """Of the detector it was made with; None for a value that somebody gave."""
    crops: tuple[dict[str, Any], ...] = ()
    """Crop settings of the model, readable."""
    sampling: str = ""
    """How frames were taken from videos of the development set."""
    date: str = ""
    """UTC, ISO 8601."""
    verticlip: str = ""
    """Version of this package."""
    notes: tuple[str, ...] = ()
    """What was warned of when it was made."""

    @model_validator(mode="after")
    def _scales_agree(self) -> Threshold:
        if abs(probability_of(self.margin) - self.value) > 1e-9:
            raise ValueError(f"value {self.value!r} is not the probability of margin {self.margin!r}")
        return self

    @classmethod
    def fixed(cls, value: float) -> Threshold:
        """Return a threshold somebody chose without a development set.

        Raises:
            ConfigError: not a number between 0 and 1, both excluded: those accept all or nobody.
        """
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 < value < 1:
            raise ConfigError(f"A threshold lies between 0 and 1, both excluded; got {value!r}.")
        margin = log_odds(float(value))
        return cls(value=probability_of(margin), margin=margin, rule=f"fixed={value:g}")

    @classmethod
    def at_margin(cls, margin: float, *, rule: str, **rest: Any) -> Threshold:
        """Return a threshold from its log-odds; ``rest`` are further fields."""
        return cls(value=probability_of(margin), margin=margin, rule=rule, **rest)

    def accepts(self, margin: float) -> bool:
        """Return whether a presentation with this margin is accepted as bona fide."""
        return margin >= self.margin

    @property
    def name(self) -> str:
        """The mode, or the rule of a threshold without one."""
        return self.mode or self.rule

    @property
    def provenance(self) -> str:
        """One line: where the threshold comes from."""
        if not self.dataset:
            return "not calibrated"
        attacks = sum(count for name, count in self.n.items() if name != BONA_FIDE)
        made = f"{self.rule} on {self.dataset}: {self.n.get(BONA_FIDE, 0)} bona fide, {attacks} attacks"
        return f"{made}, {self.date[:10]}" if self.date else made


def probability_of(margin: float) -> float:
    """Return P(live) of log-odds."""
    return 1 / (1 + math.exp(-margin)) if margin >= 0 else math.exp(margin) / (1 + math.exp(margin))


def log_odds(value: float) -> float:
    """Return the log-odds of a probability strictly between 0 and 1."""
    return math.log(value) - math.log1p(-value)


def save_threshold(thresholds: Threshold | Sequence[Threshold], path: str | Path) -> Path:
    """Write thresholds as JSON with a SHA-256 over their content, and return the path.

    Raises:
        ConfigError: none, or two that go by the same mode or rule.
    """
    several = [thresholds] if isinstance(thresholds, Threshold) else list(thresholds)
    names = [one.name for one in several]
    twice = next((name for name in names if names.count(name) > 1), None)
    if not several or twice:
        raise ConfigError(
            f"Two thresholds are called {twice}." if twice else "There is no threshold to save."
        )
    return write_sealed(path, _FORMAT, {"thresholds": [one.model_dump(mode="json") for one in several]})


def load_thresholds(path: str | Path, *, limits: Limits = DEFAULT) -> list[Threshold]:
    """Return the thresholds of a file.

    Raises:
        ConfigError: no such file, another kind of file, or one that was changed after it was written.
    """
    path = Path(path)
    listed = read_sealed(path, _FORMAT, advice=_ADVICE, limits=limits).get("thresholds")
    if not isinstance(listed, list) or not listed:
        raise ConfigError(f"{path}: holds no thresholds. {_ADVICE}")
    return [parse_config(Threshold, one, source=path.name) for one in listed]


def load_threshold(
    path: str | Path,
    fingerprint: Fingerprint | None = None,
    *,
    mode: str | None = None,
    limits: Limits = DEFAULT,
) -> Threshold:
    """Return one threshold of a file, checked against the detector that will use it.

    Args:
        path: what :func:`save_threshold` wrote.
        fingerprint: of the detector; None skips the comparison, to look at a file.
        mode: ``secure``, ``balanced``, ``convenient`` or a rule such as ``dev_apcer=0.05``; None takes the
            only one, or ``balanced`` of several.

    Raises:
        ConfigError: as :func:`load_thresholds`; the mode is not in the file; or the file was made for another
            detector.
    """
    found = {one.name: one for one in load_thresholds(path, limits=limits)}
    name = mode or (next(iter(found)) if len(found) == 1 else "balanced")
    chosen = found.get(name) or next((one for one in found.values() if one.rule == name), None)
    if chosen is None:
        raise ConfigError(
            f"{path}: no threshold for {name!r}; it holds: {', '.join(found)}.{nearest(name, found)}"
        )
    if fingerprint is not None:
        check_made_for(chosen, fingerprint, source=str(path))
    return chosen


def check_made_for(threshold: Threshold, fingerprint: Fingerprint, *, source: str = "threshold") -> None:
    """Raise ``ConfigError`` where a threshold was made for another detector, naming what differs."""
    made_for = threshold.fingerprint
    if made_for is None:
        return
    differences = fingerprint.differences(made_for)
    if differences:
        raise ConfigError(
            f"{source}: made for another detector; different: {'; '.join(differences)}. Scores of the two "
            "cannot be compared. Use the same settings, or calibrate again on your development set."
        )
