"""What a reader of a report has to be told, and when."""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from ....core.metrics.proportions import upper_bound
from ..metrics.iso import BONA_FIDE
from ..metrics.thresholds import parse_rule
from ..protocols.entry import UNSPECIFIED
from .origins import misspelt
from .table import ScoredPresentation

if TYPE_CHECKING:
    from .choosing import Chosen
    from .report import LivenessReport

_SUFFIX = re.compile(r"\.[A-Za-z][A-Za-z0-9]{1,4}$")

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
    yield from _out_of_range(report)
    yield from _too_few(report)
    if not report.iso.bpcer.n:
        yield "There are no bona fide presentations: BPCER, HTER and AUC are not known."
    if not report.iso.apcer:
        yield "There are no attack presentations: APCER, HTER and AUC are not known."
    if report.failures:
        count, first = len(report.failures), without_path(report.failures[0].id)
        yield f"{count:,} presentations could not be read and are not counted, first {first}."
    yield from misspelt(report.zero_shot.trained_on or (), list(report.datasets.parts))


def _out_of_range(report: LivenessReport) -> Iterator[str]:
    """Yield that a finite threshold decides nothing: it may be of another scale than the scores."""
    applied, answered = report.threshold.applied, [value for value in report.values if value is not None]
    if report.auc is None or math.isinf(applied):
        return
    if min(answered) >= applied or max(answered) < applied:
        said = "accepts" if min(answered) >= applied else "refuses"
        yield (
            f"The threshold {said} every presentation that got a response. Scores run from "
            f"{min(answered):.4g} to {max(answered):.4g}, the threshold is {applied:.4g}: are they on one "
            "scale?"
        )


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


def without_path(id: str) -> str:
    """Return the id of a presentation, or a digest where it is the name of a file.

    A manifest without ``video_id`` names presentations by their paths, and a file is often called like a
    person. Who holds the manifest finds the row by ``sha256(path)``.
    """
    if "/" not in id and "\\" not in id and not _SUFFIX.search(id):
        return id
    return f"sha256:{hashlib.sha256(id.encode()).hexdigest()[:16]}"


def repeated_subjects(rows: Sequence[ScoredPresentation]) -> str:
    """Return what the exact bounds assume, where presentations are not one per subject; else nothing."""
    people = {row.subject_id for row in rows}
    if len(people) == len(rows) and None not in people:
        return ""
    whose = "of an unknown number of" if None in people else f"of {len(people):,}"
    return (
        f"The exact bounds take {len(rows):,} presentations as independent; they are {whose} subjects, and "
        "those of one subject or one attack instrument are alike. The rates are less certain than the bounds "
        "say."
    )


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
    if alike := repeated_subjects(report.rows):
        yield alike
    if report.subjects is None:
        yield (
            "Not every presentation has a subject: intervals are over presentations, which makes them too "
            "narrow, and nothing shows that no person is in two sets. Add a column subject."
        )
    if not any(row.fingerprint for row in report.rows):
        yield "The score table does not say which system made it; nothing ties the threshold to it."
