"""What a reader of a report has to be told, and when."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..metrics.iso import BONA_FIDE, upper_bound
from ..metrics.thresholds import parse_rule
from .table import UNSPECIFIED

if TYPE_CHECKING:
    from .choosing import Chosen
    from .report import LivenessReport

_REVERSED = (
    "attacks score higher than bona fides. The labels look reversed, or the score is P(attack). Settle this "
    "before you read anything else."
)


def warnings_of(report: LivenessReport, chosen: Chosen) -> Iterator[str]:
    """Yield what has to be acted on."""
    if report.auc is not None and report.auc < 0.5:
        yield f"AUC is {report.auc:.3f}: {_REVERSED}"
    if chosen.development_auc is not None and chosen.development_auc < 0.5:
        yield f"AUC of the development set is {chosen.development_auc:.3f}: {_REVERSED}"
    threshold = report.threshold
    if threshold.oracle_threshold:
        yield (
            "The threshold was taken from the test set itself (oracle). The error rates are optimistic: in "
            "operation nobody has this threshold."
        )
    if math.isinf(threshold.applied):
        everything = "refuses" if threshold.applied > 0 else "accepts"
        yield (
            f"The threshold {everything} every presentation: on its development set nothing less keeps the "
            f"rule {threshold.rule}."
        )
    yield from _too_few(report)
    if not report.iso.bpcer.n:
        yield "There are no bona fide presentations: BPCER, HTER and AUC are not known."
    if not report.iso.apcer:
        yield "There are no attack presentations: APCER, HTER and AUC are not known."
    if report.failures:
        count = len(report.failures)
        yield f"{count:,} presentations could not be read and are not counted, first {report.failures[0].id}."


def _too_few(report: LivenessReport) -> Iterator[str]:
    """Yield which groups of the development set are too small to show the rate that was asked for."""
    if not report.threshold.rule.startswith(("dev_apcer=", "dev_bpcer=")):
        return
    rule = parse_rule(report.threshold.rule)
    live = rule.kind == "dev_bpcer"
    for name, n in report.threshold.counts.items():
        if (name == BONA_FIDE) == live and n and (bound := upper_bound(0, n)) > (rule.target or 0.0):
            yield (
                f"{rule}: {n:,} development presentations of {name} cannot show this rate: with no error "
                f"among them the 95 % bound is {100 * bound:.2g} %."
            )


def failed_checks(report: LivenessReport) -> dict[str, int]:
    """Return {quality check: presentations without a response that did not pass it}, most first."""
    silent = [row for row, value in zip(report.rows, report.values, strict=True) if value is None]
    return dict(Counter(name for row in silent for name in row.failed_checks).most_common())


def notes_of(report: LivenessReport) -> Iterator[str]:
    """Yield what has to be known."""
    missing = report.iso.bpnrr.errors + report.iso.apnrr_pooled.errors
    if missing:
        yield (
            f"{missing:,} of {len(report.rows):,} presentations got no response. They stay in the numbers "
            "that APCER and BPCER are divided by; AUC, HTER and EER are of the others."
        )
        failed = ", ".join(f"{name} {count:,}" for name, count in failed_checks(report).items())
        if failed:
            yield f"Checks that these presentations did not pass: {failed}."
    pooled = report.iso.apcer.get(UNSPECIFIED)
    if pooled is not None:
        yield (
            f"{pooled.n:,} attacks have no species and are judged as one pool, which can hide the worst "
            "kind. Add a column species."
        )
    if report.subjects is None:
        yield (
            "Not every presentation has a subject: intervals are over presentations, which makes them too "
            "narrow, and nothing shows that no person is in two sets. Add a column subject."
        )
    if not any(row.fingerprint for row in report.rows):
        yield "The score table does not say which system made it; nothing ties the threshold to it."
