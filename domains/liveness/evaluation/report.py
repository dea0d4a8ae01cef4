"""Judging scored presentations: a threshold found on one set, the error rates it has on another."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ....core.answers import Failure
from ....core.files import write_json_atomic
from ....core.provenance import now, version
from ..metrics import literature
from ..metrics.det import DetCurve, det_curve, save_det
from ..metrics.iso import BONA_FIDE, IsoReport, OperatingPoint, bpcer_at_apcer, iso_report
from ..metrics.numbers import json_number
from .breakdown import Breakdown, break_down, by_dataset, group_columns
from .choosing import Chosen, Ruling, choose_threshold
from .intervals import Intervals, bootstrap_intervals
from .origins import ReportThreshold, ZeroShot, zero_shot
from .remarks import failed_checks, notes_of, warnings_of, without_path
from .table import Columns, ScoredPresentation, columns_of, write_scores

if TYPE_CHECKING:
    from .worst import Example

REPORT_FILE, DET_FILE, SCORES_FILE, TABLE_FILE = "report.json", "det.png", "scores.png", "scores.csv"
FORMAT = "verticlip liveness report 1"


@dataclass(frozen=True)
class EvaluationSettings:
    """What a report holds beyond the error rates.

    Attributes:
        group_by: group columns to break down by; None takes every one with few values.
        resamples, seed: of the bootstrap over subjects; 0 resamples leave the intervals out.
        worst: so many accepted attacks and rejected bona fides are listed by path; 0 lists none.
        trained_on: data sets the system was trained on; empty: never for liveness; None: not stated.
        shots: presentations of the tested set it was trained on as well, by a few-shot protocol.
        system: its name, for the heading.
    """

    group_by: tuple[str, ...] | None = None
    resamples: int = 1000
    seed: int = 0
    worst: int = 0
    trained_on: tuple[str, ...] | None = None
    shots: int = 0
    system: str = ""


@dataclass(frozen=True)
class Pooled:
    """Figures of the literature at the report's threshold: all attacks as one, among responses only."""

    responses: int
    far: float
    frr: float
    hter: float
    accuracy: float


@dataclass(frozen=True)
class Oracle:
    """Figures whose thresholds are taken from the very set they describe: optimistic upper bounds.

    Attributes:
        eer, threshold: by the sorted scores (margins where there are any), and there HTER = EER.
        scan_eer, scan_threshold: by FLIP's scan of probabilities in steps of 1e-4; None for other scores.
        tpr_at_fpr_1pct: bona fides accepted where at most 1 % of all attacks are.
        bpcer_at_apcer: {10, 20, 100: ...}, with maximum APCER at most 10, 5, 1 %.
    """

    eer: float
    threshold: float
    scan_eer: float | None
    scan_threshold: float | None
    tpr_at_fpr_1pct: float | None
    bpcer_at_apcer: Mapping[int, OperatingPoint]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "oracle_threshold": True,
            "eer": self.eer,
            "hter_at_eer_threshold": self.eer,
            "threshold": json_number(self.threshold),
            "scan_eer": self.scan_eer,
            "scan_threshold": self.scan_threshold,
            "tpr_at_fpr_1pct": self.tpr_at_fpr_1pct,
            "bpcer_at_apcer": {str(point): at.to_dict() for point, at in self.bpcer_at_apcer.items()},
        }


@dataclass(frozen=True)
class LivenessReport:
    """What a system does on a test set, at a threshold that is not taken from it (unless it says so).

    Attributes:
        threshold: and where it comes from. iso: APCER, BPCER and non-responses at it.
        pooled: HTER and accuracy at it; None where a class is missing. auc: of all thresholds, likewise.
        intervals: bootstrap over subjects. datasets, groups: the same rates of parts.
        oracle: figures with thresholds of the test set itself; None where a class is missing.
        development: rates on the development set, where the threshold was found just now.
        det: the whole tradeoff; None where a class is missing.
        zero_shot: which kind, if any. subjects: how many; None where not all are known.
        worst: examples by path, where asked for. failures: presentations that could not be read; not counted.
        warnings: to act on. notes: to know.
        rows: the presentations that were judged. values: their scores or margins, as compared.
    """

    threshold: ReportThreshold
    iso: IsoReport
    pooled: Pooled | None
    auc: float | None
    intervals: Intervals
    datasets: Breakdown
    groups: Mapping[str, Breakdown]
    oracle: Oracle | None
    development: IsoReport | None
    det: DetCurve | None
    zero_shot: ZeroShot
    subjects: int | None
    worst: tuple[Example, ...]
    failures: tuple[Failure, ...]
    warnings: tuple[str, ...]
    notes: tuple[str, ...]
    system: str
    rows: tuple[ScoredPresentation, ...] = field(repr=False)
    values: tuple[float | None, ...] = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for strict JSON: no pixels, no embeddings; paths only among ``worst``.

        Where a manifest has no ``video_id``, ids are paths; for such a failure a digest of it stands.
        """
        return {
            "format": FORMAT,
            "system": self.system,
            "fingerprint": next((row.fingerprint for row in self.rows if row.fingerprint), ""),
            "zero_shot": self.zero_shot.to_dict(),
            "presentations": self._counts(),
            "warnings": list(self.warnings),
            "notes": list(self.notes),
            "threshold": self.threshold.to_dict(),
            "at_threshold": {
                "oracle_threshold": self.threshold.oracle_threshold,
                "iso": self.iso.to_dict(),
                "pooled": None if self.pooled is None else vars(self.pooled),
                "intervals": self.intervals.to_dict(),
                "datasets": self.datasets.to_dict(),
                "groups": {name: part.to_dict() for name, part in self.groups.items()},
            },
            "auc": self.auc,
            "oracle": None if self.oracle is None else self.oracle.to_dict(),
            "development": None if self.development is None else self.development.to_dict(),
            "det": None if self.det is None else self.det.to_dict(),
            "worst": [example.to_dict() for example in self.worst],
            "failures": [{**failure.to_dict(), "id": without_path(failure.id)} for failure in self.failures],
        }

    def _counts(self) -> dict[str, Any]:
        counts = {BONA_FIDE: self.iso.bpcer.n} | {name: rate.n for name, rate in self.iso.apcer.items()}
        return {
            "all": len(self.rows),
            "by_species": counts,
            "non_responses": self.iso.bpnrr.errors + self.iso.apnrr_pooled.errors,
            "non_responses_failed": failed_checks(self),
            "subjects": self.subjects,
            "datasets": sorted({row.dataset for row in self.rows if row.dataset}),
            "unreadable": len(self.failures),
        }

    def __str__(self) -> str:
        from .text import summary

        return summary(self)

    def write(
        self, folder: str | Path, *, table: Sequence[ScoredPresentation] | None = None
    ) -> tuple[Path, ...]:
        """Write ``report.json``, ``det.png`` and ``scores.png`` into a folder, and return their paths.

        All are made apart and then moved, so that a run which is stopped leaves the files of one report. No
        DET curve is written where a class is missing, and no picture where nothing got a response; such a
        picture of an earlier report in the folder is removed.

        Args:
            folder: is made where it is missing.
            table: presentations for ``scores.csv`` beside them, without paths.
        """
        from .pictures import save_scores

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".report-") as apart:
            made = Path(apart)
            name = self.system or "Presentation attack detection"
            if self.det is not None:
                note = f"Circles: threshold {self.threshold.rule} ({self.threshold.source})."
                title = f"{name}: detection error tradeoff"
                save_det(self.det, made / DET_FILE, title=title, at=self.iso, note=note)
            if any(value is not None for value in self.values):
                save_scores(self, made / SCORES_FILE)
            if table is not None:
                write_scores(made / TABLE_FILE, table)
            write_json_atomic(made / REPORT_FILE, {**self.to_dict(), "date": now(), "verticlip": version()})
            return _moved(made, folder)


def _moved(made: Path, folder: Path) -> tuple[Path, ...]:
    """Move the files of a report into a folder, the report first in what is returned."""
    names = (REPORT_FILE, DET_FILE, SCORES_FILE, TABLE_FILE)
    # No report stands beside pictures of another, not even for the moment in which the files are moved.
    (folder / REPORT_FILE).unlink(missing_ok=True)
    for name in names[::-1]:
        if (made / name).exists():
            (made / name).replace(folder / name)
        elif name != TABLE_FILE:
            (folder / name).unlink(missing_ok=True)
    return tuple(folder / name for name in names if (folder / name).exists())


def evaluate(
    scored: Sequence[ScoredPresentation],
    threshold: Ruling = "dev_eer",
    *,
    dev: Sequence[ScoredPresentation] | None = None,
    settings: EvaluationSettings = EvaluationSettings(),
    failures: Sequence[Failure] = (),
) -> LivenessReport:
    """Return the error rates of a system on a test set, at a threshold found elsewhere.

    Args:
        scored: presentations of the test set, or of several splits of one manifest: those of the split
            ``test`` are judged, those of ``dev`` find the threshold.
        threshold: a rule (``dev_eer``, ``dev_apcer=0.01``, ``dev_bpcer=0.01``, ``fixed=0.5``,
            ``test_eer``), a mode, a number, or a stored :class:`~..calibration.threshold.Threshold`.
        dev: presentations that find the threshold, where ``scored`` has none.
        settings: what else the report holds.
        failures: presentations that could not be read, to be named.

    Raises:
        ConfigError: no such rule or group.
        DataError: a rule without a development set, one with a single class, subjects or presentations in
            both sets, scores of two systems, or a threshold of another system.

    Example::

        report = evaluate(read_scores("scores.csv"), "dev_apcer=0.01")
        report.iso.apcer_max, report.iso.worst_species, report.iso.bpcer.upper
    """
    chosen = choose_threshold(scored, threshold, dev)
    names, left_out = group_columns(chosen.rows, settings.group_by)
    found = _judged(chosen, names, settings, failures)
    return replace(
        found,
        warnings=tuple(warnings_of(found, chosen)),
        notes=(*chosen.notes, *left_out, *notes_of(found)),
    )


def _judged(
    chosen: Chosen, names: Sequence[str], settings: EvaluationSettings, failures: Sequence[Failure]
) -> LivenessReport:
    """Return the figures of a report, without what is to be remarked on them."""
    rows, values, applied = chosen.rows, chosen.values, chosen.threshold
    columns = columns_of(rows)
    iso = iso_report(values, columns.species, applied.applied)
    auc, pooled, oracle, det = _of_both_classes(columns, values, iso, applied)
    subjects = {row.subject_id for row in rows}
    datasets = sorted({row.dataset for row in rows})
    return LivenessReport(
        threshold=applied,
        iso=iso,
        pooled=pooled,
        auc=auc,
        intervals=bootstrap_intervals(
            rows, values, applied.applied, resamples=settings.resamples, seed=settings.seed
        ),
        datasets=by_dataset(rows, values, applied.applied),
        groups={name: break_down(rows, values, applied.applied, name) for name in names},
        oracle=oracle,
        development=chosen.development,
        det=det,
        zero_shot=zero_shot(settings.trained_on, datasets, settings.shots),
        subjects=None if None in subjects else len(subjects),
        worst=_worst(rows, values, applied, settings.worst),
        failures=tuple(failures),
        warnings=(),
        notes=(),
        system=settings.system,
        rows=tuple(rows),
        values=tuple(values),
    )


def _of_both_classes(
    columns: Columns, values: Sequence[float | None], iso: IsoReport, applied: ReportThreshold
) -> tuple[float | None, Pooled | None, Oracle | None, DetCurve | None]:
    """Return AUC, pooled figures, oracle figures and DET curve; None where a class got no response."""
    if not iso.bpcer.n or not iso.apcer:
        return None, None, None, None
    det = det_curve(values, columns.species)
    live = literature.live_labels(columns.species)
    responded = [there for there, value in zip(live, values, strict=True) if value is not None]
    if not responded or all(responded) or not any(responded):
        return None, None, None, det
    counts = literature.confusion(values, live, applied.applied)
    pooled = Pooled(len(responded), counts.far, counts.frr, counts.hter, counts.accuracy)
    eer, threshold = literature.exact_eer(values, live)
    scores = [score for score in columns.scores if score is not None]
    are_probabilities = min(scores) >= 0 and max(scores) <= 1
    scan = literature.grid_eer(columns.scores, live) if are_probabilities else (None, None)
    oracle = Oracle(
        eer=eer,
        threshold=threshold,
        scan_eer=scan[0],
        scan_threshold=scan[1],
        tpr_at_fpr_1pct=literature.tpr_at_fpr(values, live),
        bpcer_at_apcer=bpcer_at_apcer(values, columns.species),
    )
    return literature.auc(values, live), pooled, oracle, det


def _worst(
    rows: Sequence[ScoredPresentation],
    values: Sequence[float | None],
    applied: ReportThreshold,
    count: int,
) -> tuple[Example, ...]:
    from .worst import worst_examples

    return worst_examples(rows, values, applied.applied, count) if count else ()
