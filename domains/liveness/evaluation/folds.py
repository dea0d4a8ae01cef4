"""Mean and spread over folds or seeds, as protocols of several runs report them (OULU-NPU 3 and 4)."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ....core.errors import DataError
from ....core.files import read_json
from .report import FORMAT, REPORT_FILE


@dataclass(frozen=True)
class Spread:
    """A figure over several runs.

    Attributes:
        mean, deviation: over the runs that have it; the sample standard deviation (n - 1).
        runs: how many have it.
    """

    mean: float
    deviation: float
    runs: int


@dataclass(frozen=True)
class FoldSummary:
    """Several reports as one.

    Attributes:
        rule: of every threshold. oracle_threshold: whether they were taken from the test sets.
        at_threshold: {figure: ...} at each run's own threshold; ``apcer_max`` is the mean of the maxima.
        auc: of all thresholds.
        oracle: {figure: ...} with thresholds of the test sets, always apart.
    """

    rule: str
    oracle_threshold: bool
    at_threshold: Mapping[str, Spread]
    auc: Spread | None
    oracle: Mapping[str, Spread]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "rule": self.rule,
            "deviation": "sample standard deviation",
            "at_threshold": {
                "oracle_threshold": self.oracle_threshold,
                "figures": {name: vars(one) for name, one in self.at_threshold.items()},
            },
            "auc": None if self.auc is None else vars(self.auc),
            "oracle": {
                "oracle_threshold": True,
                "figures": {name: vars(one) for name, one in self.oracle.items()},
            },
        }


def read_report(path: str | Path) -> dict[str, Any]:
    """Return a report that was written, by its file or its folder.

    Raises:
        ConfigError: no such file, or no JSON.
        DataError: not a report.
    """
    path = Path(path)
    path = path / REPORT_FILE if path.is_dir() else path
    found = read_json(path)
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise DataError(f"{path}: not a report of `verticlip liveness evaluate` ({FORMAT}).")
    return found


def over_folds(reports: Sequence[Mapping[str, Any]]) -> FoldSummary:
    """Return mean and deviation over reports: what ``to_dict`` gives, or :func:`read_report`.

    Raises:
        DataError: fewer than two reports, or thresholds found in different ways.
    """
    if len(reports) < 2:
        raise DataError(f"A mean over runs needs at least two reports, got {len(reports)}.")
    rules = sorted({str(one["threshold"]["rule"]) for one in reports})
    flags = {bool(one["threshold"]["oracle_threshold"]) for one in reports}
    if len(rules) > 1 or len(flags) > 1:
        raise DataError(
            f"The reports fix their thresholds in different ways ({', '.join(rules)}); figures of two "
            "ways have no mean. Give reports of one rule."
        )
    figures = [_figures(one) for one in reports]
    return FoldSummary(
        rule=rules[0],
        oracle_threshold=flags.pop(),
        at_threshold=_spreads(figures),
        auc=_spreads([{"auc": one["auc"]} for one in reports]).get("auc"),
        oracle=_spreads([_oracle(one) for one in reports]),
    )


def _figures(report: Mapping[str, Any]) -> dict[str, float | None]:
    iso, pooled = report["at_threshold"]["iso"], report["at_threshold"]["pooled"]
    return {
        **{f"apcer.{name}": rate["rate"] for name, rate in iso["apcer"].items()},
        "apcer_max": iso["apcer_max"],
        "bpcer": iso["bpcer"]["rate"],
        "bpnrr": iso["bpnrr"]["rate"],
        "acer_max": iso["acer_max"],
        "acer_pooled": iso["acer_pooled"],
        "hter": None if pooled is None else pooled["hter"],
    }


def _oracle(report: Mapping[str, Any]) -> dict[str, float | None]:
    oracle = report["oracle"] or {}
    return {name: oracle.get(name) for name in ("eer", "scan_eer", "tpr_at_fpr_1pct")}


def _spreads(figures: Sequence[Mapping[str, float | None]]) -> dict[str, Spread]:
    found: dict[str, list[float]] = {}
    for one in figures:
        for name, value in one.items():
            if value is not None:
                found.setdefault(name, []).append(value)
    return {
        name: Spread(
            statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else 0.0, len(values)
        )
        for name, values in found.items()
    }
