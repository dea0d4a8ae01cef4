"""The whole way once: simulated presentations in, thresholds, error rates and answers out."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ....core.errors import ConfigError
from ....core.files import write_json_atomic, write_text_atomic
from ..detector import LivenessDetector
from ..protocols.entry import Entry, Split
from ..protocols.manifest import read_manifest, write_manifest
from ..protocols.subjects import check_disjoint

if TYPE_CHECKING:
    from ....core.handle import ModelHandle
    from ..calibration.threshold import Threshold
    from ..evaluation.report import LivenessReport
    from ..result import LivenessResult
    from ..simulate.ranges import Part

NO_EVIDENCE = (
    "Drawn things and simulated recapture: this shows how the steps fit together. Its figures, good or bad, "
    "are no evidence of how live faces and attacks on them are told apart."
)

_SEEDS: dict[Split, int] = {"dev": 1, "test": 2}
_PARTS: dict[Split, Part] = {"dev": "train", "test": "test"}
"""{split: part of the simulation}; the parameters of the two parts never meet."""


@dataclass(frozen=True)
class ExampleReport:
    """What the example made.

    Attributes:
        folder: where everything is.
        files: {what it is: name below ``folder``}, in the order they are made.
        presentations: {split: {species: how many}}.
        threshold: value of the balanced mode, as P(live).
        apcer_max: of the worst species on test, at that threshold. worst_species: its name.
        bpcer: of the bona fides on test. no_response: presentations of test without an answer.
        auc: over all thresholds; None where a class got no answer.
        decisions: {presentation: decision} of those that were checked one by one.
        notes: what to know before anything is believed.
    """

    folder: Path
    files: dict[str, str]
    presentations: dict[str, dict[str, int]]
    threshold: float
    apcer_max: float | None
    worst_species: str | None
    bpcer: float | None
    no_response: int
    auc: float | None
    decisions: dict[str, str]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in vars(self).items()
            if name != "folder"
        }


def run_example(
    model: ModelHandle,
    out: str | Path,
    *,
    things: int = 40,
    tell: Callable[[str], None] = lambda text: None,
) -> ExampleReport:
    """Make a data set, choose thresholds on its development set, judge the test set, check some captures.

    Args:
        model: a liveness model.
        out: folder for everything; made when missing. Started again, drawings and captures that are there
            are taken as they are.
        things: drawings of each split, each the "subject" of one bona fide and two attack presentations.
        tell: called with a line about each step.

    Raises:
        ConfigError: the model is no liveness model, or fewer than 10 things.
        DataError: the model answered too few presentations for a threshold.
    """
    if things < 10:
        raise ConfigError(f"things is {things}; with fewer than 10 not every kind of attack is there.")
    out = Path(out)
    # The drawings are whole pictures: no face is looked for.
    detector = LivenessDetector(model)
    tell(NO_EVIDENCE)
    manifest = write_drawn_captures(out, things, tell)
    entries = read_manifest(manifest)
    check_disjoint(entries)
    tell(f"1. {manifest.name}: {len(entries):,} presentations, no subject in two splits")

    calibration = detector.calibrate(entries, modes=("balanced", "convenient"))
    calibration.save(out / "threshold.json")
    threshold = calibration["balanced"]
    tell(
        f"2. threshold {threshold.value:.4f} (balanced: equal errors on the development set) "
        "-> threshold.json"
    )

    test = [entry for entry in entries if entry.split == "test"]
    report = _judge(detector, test, threshold, out / "report")
    tell(f"3. test set judged at that threshold: {_rates(report)}")

    answers = _check(detector.using(threshold=threshold), _one_of_each(test), out)
    tell(f"4. {len(answers)} captures of the test set checked one by one -> answers.jsonl")
    made = ExampleReport(
        folder=out,
        files=_files(out),
        presentations=_counts(entries),
        threshold=threshold.value,
        **_figures(report),
        decisions={name: answer.decision for name, answer in answers.items()},
        notes=(NO_EVIDENCE, *calibration.notes, *report.warnings),
    )
    write_json_atomic(out / "example.json", made.to_dict())
    return made


def write_drawn_captures(
    out: str | Path, things: int = 40, tell: Callable[[str], None] = lambda text: None
) -> Path:
    """Write drawings, simulated presentations of them and one manifest; return the manifest.

    The development set has attacks with parameters of the simulation's train part, the test set those of its
    test part: what is judged was not seen when the threshold was chosen.

    Args:
        out: folder for everything; captures that are there are taken as they are.
        things: drawings of each split, each the "subject" of one bona fide and two attack presentations.
        tell: called with a line about each split that is made.
    """
    from ..simulate.dataset import MANIFEST, Plan, write_dataset
    from .drawings import write_drawings

    out = Path(out)
    entries: list[Entry] = []
    for split, seed in _SEEDS.items():
        photos, captures = out / "drawings" / split, out / "captures" / split
        write_drawings(photos, things, seed=seed)
        if not (captures / MANIFEST).is_file():
            tell(f"   {things} drawings of the split {split}: bona fide and attack captures are simulated")
            plan = Plan(part=_PARTS[split], seed=seed, dev_share=0.0, dataset="drawn-things")
            write_dataset(photos, captures, plan)
        for entry in read_manifest(captures / MANIFEST):
            # Subjects and videos are named within a split: 000.jpg of the two are two drawings.
            named = replace(entry, split=split, subject=f"{split}/{entry.subject}")
            entries.append(replace(named, video_id=f"{split}/{entry.video_id}"))
    write_manifest(entries, out / MANIFEST)
    return out / MANIFEST


def _judge(
    detector: LivenessDetector, entries: Sequence[Entry], threshold: Threshold, folder: Path
) -> LivenessReport:
    """Score presentations, judge them at a threshold and write the report."""
    from ..evaluation.report import EvaluationSettings, evaluate
    from ..evaluation.scoring import score_entries

    settings = EvaluationSettings(resamples=200, system=detector.model.id)
    report = evaluate(score_entries(detector, entries), threshold, settings=settings)
    report.write(folder)
    write_text_atomic(folder / "report.txt", str(report))
    return report


def _one_of_each(entries: Sequence[Entry]) -> list[Entry]:
    """Return the first presentation of each species."""
    first: dict[str, Entry] = {}
    for entry in entries:
        first.setdefault(entry.species, entry)
    return list(first.values())


def _check(detector: LivenessDetector, entries: Sequence[Entry], out: Path) -> dict[str, LivenessResult]:
    """Ask for each presentation by its file, as a program would; keep and return {name below out: answer}."""
    answers = {
        entry.path.relative_to(out.absolute()).as_posix(): detector.predict(entry.path) for entry in entries
    }
    rows = [{**answer.to_dict(), "id": name} for name, answer in answers.items()]
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    write_text_atomic(out / "answers.jsonl", text)
    return answers


def _counts(entries: Sequence[Entry]) -> dict[str, dict[str, int]]:
    counted = Counter((entry.split, entry.species) for entry in entries)
    return {
        split: {species: count for (part, species), count in sorted(counted.items()) if part == split}
        for split in _SEEDS
    }


def _files(out: Path) -> dict[str, str]:
    """Return {what: name} of what was made; the curves are absent where a class got no answer."""
    made = {
        "drawings": "drawings",
        "captures": "captures",
        "manifest": "manifest.csv",
        "thresholds": "threshold.json",
        "report": "report/report.json",
        "report as text": "report/report.txt",
        "DET curve": "report/det.png",
        "scores": "report/scores.png",
        "answers": "answers.jsonl",
    }
    return {what: name for what, name in made.items() if (out / name).exists()}


def _figures(report: LivenessReport) -> dict[str, Any]:
    return {
        "apcer_max": report.iso.apcer_max,
        "worst_species": report.iso.worst_species,
        "bpcer": report.iso.bpcer.value,
        "no_response": sum(value is None for value in report.values),
        "auc": report.auc,
    }


def _rates(report: LivenessReport) -> str:
    iso = report.iso
    refused = sum(value is None for value in report.values)
    return (
        f"max APCER {_percent(iso.apcer_max)} ({iso.worst_species}), BPCER {_percent(iso.bpcer.value)}, "
        f"{refused} of {len(report.values)} without an answer -> report/"
    )


def _percent(rate: float | None) -> str:
    return "-" if rate is None else f"{rate:.1%}"
