"""From a labelled development set to thresholds with their provenance, and to a temperature.

A threshold is found on people and captures that nobody is tested on, by a rule that was named beforehand.
What it achieved there is kept with it, with the numbers it was counted over: it is optimistic for any other
set.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ....core.errors import ConfigError, DataError, nearest
from ....core.metrics.proportions import upper_bound
from ....core.provenance import now, version
from ..evaluation.remarks import repeated_subjects
from ..evaluation.table import ScoredPresentation
from ..metrics.iso import BONA_FIDE, IsoReport, Rate, iso_report
from ..metrics.literature import auc
from ..metrics.thresholds import MODES, Rule, check_classes, choose, parse_rule, settle
from .fingerprint import Fingerprint
from .temperature import TEMPERATURE_FILE, Temperature, fit_temperature, negative_log_likelihood
from .threshold import THRESHOLD_FILE, Achieved, AchievedRate, Threshold, save_threshold

_FEW = 30
"""Presentations of a class below which one of them moves an equal error rate by more than three points."""
_DEAR = 0.3
"""Error rate above which a threshold is of no use."""


@dataclass(frozen=True)
class DevSet:
    """Scored presentations of a development set and what is to be recorded about them.

    Attributes:
        scored: with ``margin`` where there was a response.
        dataset: name. sampling: how frames were taken from videos.
        crops: settings of the model's crops.
    """

    scored: Sequence[ScoredPresentation]
    dataset: str
    sampling: str = ""
    crops: tuple[Mapping[str, Any], ...] = ()

    @property
    def margins(self) -> list[float | None]:
        """Log-odds of live; None for a non-response."""
        return [one.margin for one in self.scored]

    @property
    def species(self) -> list[str]:
        """``bona_fide`` or the species of the attack."""
        return [one.species for one in self.scored]


@dataclass(frozen=True)
class Calibration:
    """Thresholds of a development set.

    Attributes:
        thresholds: one per mode and rule that could be kept.
        refused: {mode or rule: why no threshold keeps it on this set}.
        temperature: None where it was not asked for or cannot be fitted.
        notes: what to know before relying on them.
        scored: the development set as it was scored, for reports.
    """

    thresholds: tuple[Threshold, ...]
    refused: Mapping[str, str] = field(default_factory=dict)
    temperature: Temperature | None = None
    notes: tuple[str, ...] = ()
    scored: tuple[ScoredPresentation, ...] = ()

    def __getitem__(self, name: str) -> Threshold:
        """Return the threshold of a mode or rule.

        Raises:
            ConfigError: there is none; says why where it was refused.
        """
        for one in self.thresholds:
            if name in (one.mode, one.rule):
                return one
        if name in self.refused:
            raise ConfigError(f"No threshold for {name}: {self.refused[name]}")
        known = [one.name for one in self.thresholds]
        raise ConfigError(f"No threshold for {name!r}; there are: {', '.join(known)}.{nearest(name, known)}")

    def save(self, path: str | Path) -> list[Path]:
        """Write the thresholds, and a temperature beside them, and return the files.

        Args:
            path: a ``.json`` file, or a folder, such as the model's own, that gets ``threshold.json``.
        """
        path = Path(path)
        if path.suffix.lower() != ".json":
            path = path / THRESHOLD_FILE
        written = [save_threshold(self.thresholds, path)]
        if self.temperature is not None:
            written.append(self.temperature.save(path.with_name(TEMPERATURE_FILE)))
        return written

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, without the scored presentations."""
        return {
            "thresholds": [one.model_dump(mode="json") for one in self.thresholds],
            "refused": dict(self.refused),
            "temperature": None if self.temperature is None else self.temperature.model_dump(mode="json"),
            "notes": list(self.notes),
        }


def calibrate_scores(
    dev: DevSet,
    fingerprint: Fingerprint,
    *,
    modes: Sequence[str] = tuple(MODES),
    rules: Sequence[str] = (),
    temperature: bool = False,
) -> Calibration:
    """Return the thresholds that modes and rules find on scored presentations.

    Thresholds are found on margins: where probabilities saturate at 0 or 1, margins still tell apart.

    Args:
        dev: the development set.
        fingerprint: of the detector that scored it.
        modes: ``secure``, ``balanced``, ``convenient``.
        rules: further rules, such as ``dev_apcer=0.05``.
        temperature: fit one as well.

    Raises:
        ConfigError: an unknown mode or rule, or one that needs no development set.
        DataError: no bona fide or no attack presentation, or no rule can be kept.
    """
    named = _rules(modes, rules)
    check_classes(dev.species, "Calibration")
    area = auc(dev.margins, [name == BONA_FIDE for name in dev.species])
    if area is None:
        raise DataError(
            "Calibration needs responses of bona fide and of attack presentations; on this set every "
            "presentation of one of them failed a quality gate. Look at the failed checks first."
        )
    notes = _notes_of_set(dev, area)
    found, refused = [], {}
    for name, (mode, rule) in named.items():
        threshold = _threshold(dev, rule, mode, area, fingerprint)
        if threshold is None:
            refused[name] = _why_refused(dev, rule)
        else:
            found.append(threshold)
            notes += [note for note in threshold.notes if note not in notes]
    if not found:
        raise DataError(" ".join(f"{name}: {why}" for name, why in refused.items()))
    notes += [f"{name}: {why}" for name, why in refused.items()]
    fitted, why = _temperature(dev, fingerprint) if temperature else (None, "")
    notes += [why] if why else []
    return Calibration(tuple(found), refused, fitted, tuple(notes), tuple(dev.scored))


def _rules(modes: Sequence[str], rules: Sequence[str]) -> dict[str, tuple[str | None, Rule]]:
    """Return {mode or rule: (mode or None, rule)}, each once."""
    named: dict[str, tuple[str | None, Rule]] = {}
    for mode in modes:
        if mode not in MODES:
            raise ConfigError(f"Unknown mode {mode!r}; modes: {', '.join(MODES)}.{nearest(mode, MODES)}")
        named[mode] = (mode, parse_rule(mode))
    for text in rules:
        rule = parse_rule(text)
        if not rule.needs_dev:
            raise ConfigError(
                f"The rule {rule} is not found on a development set. Rules for calibration: dev_eer, "
                "dev_apcer=0.01, dev_bpcer=0.01."
            )
        named.setdefault(str(rule), (None, rule))
    if not named:
        raise ConfigError("Nothing to calibrate: name at least one mode or rule.")
    return named


def _threshold(
    dev: DevSet, rule: Rule, mode: str | None, area: float, fingerprint: Fingerprint
) -> Threshold | None:
    """Return the threshold of a rule, or None where only refusing everyone keeps it."""
    choice = choose(rule, dev.margins, dev.species)
    if not math.isfinite(choice.value):
        return None
    margin = settle(choice.value, dev.margins)
    report = iso_report(dev.margins, dev.species, margin)
    return Threshold.at_margin(
        margin,
        rule=str(rule),
        mode=mode,
        dataset=dev.dataset,
        n=choice.counts,
        achieved=Achieved(
            apcer={name: _rate(rate) for name, rate in report.apcer.items()},
            bpcer=_rate(report.bpcer),
            apnrr={name: _rate(rate) for name, rate in report.apnrr.items()},
            bpnrr=_rate(report.bpnrr),
            auc=area,
        ),
        fingerprint=fingerprint,
        crops=tuple(dict(crop) for crop in dev.crops),
        sampling=dev.sampling,
        date=now(),
        verticlip=version(),
        notes=(*_notes_of_rule(rule, choice.counts), *_notes_of_rates(rule, report)),
    )


def _rate(rate: Rate) -> AchievedRate:
    return AchievedRate(rate=rate.value or 0.0, errors=rate.errors, n=rate.n, upper_95=rate.upper)


def _why_refused(dev: DevSet, rule: Rule) -> str:
    """Say why only refusing everyone keeps a rule; ``dev_bpcer`` always has another threshold."""
    if rule.kind == "dev_eer":
        # A tie of all responses is the one set on which refusing everyone comes as near to equal errors.
        return "every response has the same score: no threshold tells bona fides from attacks."
    answered = [(m, name) for m, name in zip(dev.margins, dev.species, strict=True) if m is not None]
    best = max(margin for margin, name in answered if name == BONA_FIDE)
    above = Counter(name for margin, name in answered if name != BONA_FIDE and margin >= best)
    kinds = ", ".join(f"{count} of {name}" for name, count in above.most_common(3))
    because = f" Attacks that score at least as high as every bona fide: {kinds}." if kinds else ""
    return f"only refusing everyone keeps {rule} on this set.{because}"


def _notes_of_set(dev: DevSet, area: float) -> list[str]:
    notes = []
    if area < 0.5:
        notes.append(
            f"AUC is {area:.3f}: attacks score higher than bona fides. Labels are probably reversed; look at "
            "the label column before anything else."
        )
    unanswered = sum(margin is None for margin in dev.margins)
    if unanswered:
        notes.append(
            f"{unanswered} of {len(dev.scored)} presentations got no response; they count in the "
            "denominators of APCER and BPCER as ISO/IEC 30107-3 counts them, and as APNRR and BPNRR."
        )
    alike = repeated_subjects(dev.scored)
    return [*notes, alike] if alike else notes


def _notes_of_rule(rule: Rule, counts: Mapping[str, int]) -> list[str]:
    """Say where a set is too small for what is asked of it."""
    if rule.kind == "dev_eer":
        classes = {"bona fide": counts[BONA_FIDE], "attack": sum(counts.values()) - counts[BONA_FIDE]}
        return [
            f"{rule} on {count} {name} presentations: each of them moves the rate by {1 / count:.1%}."
            for name, count in classes.items()
            if count < _FEW
        ]
    target = rule.target or 0.0
    groups = {name: n for name, n in counts.items() if (name == BONA_FIDE) == (rule.kind == "dev_bpcer")}
    needed = None if target <= 0 or target >= 1 else math.ceil(math.log(0.05) / math.log1p(-target))
    return [
        f"{rule} on {count} presentations of {name}: even with no error among them the rate may be "
        f"{upper_bound(0, count):.1%} (95 % bound). "
        + (f"Showing {target:.2%} takes at least {needed:,} without an error." if needed else "")
        for name, count in groups.items()
        if needed is None or count < needed
    ]


def _notes_of_rates(rule: Rule, report: IsoReport) -> list[str]:
    """Say where a rule is kept at a price that nobody would pay."""
    rates = (
        ("of bona fides are rejected", report.bpcer.value),
        ("of the worst attacks pass", report.apcer_max),
    )
    return [
        f"{rule}: {rate:.0%} {what} at this threshold; the model hardly tells this set apart."
        for what, rate in rates
        if rate is not None and rate > _DEAR
    ]


def _temperature(dev: DevSet, fingerprint: Fingerprint) -> tuple[Temperature | None, str]:
    """Return the temperature, or None and why there is none."""
    pairs = [(one.margin, one.species == BONA_FIDE) for one in dev.scored if one.margin is not None]
    margins, labels = [margin for margin, _ in pairs], [is_live for _, is_live in pairs]
    try:
        value = fit_temperature(margins, labels)
    except DataError as error:
        return None, f"No temperature: {error}"
    fitted = Temperature(
        value=value,
        nll_before=negative_log_likelihood(margins, labels),
        nll_after=negative_log_likelihood(margins, labels, value),
        n_bona_fide=sum(labels),
        n_attack=len(labels) - sum(labels),
        dataset=dev.dataset,
        fingerprint=fingerprint,
        date=now(),
        verticlip=version(),
    )
    return fitted, ""
