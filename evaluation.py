"""Measuring how well text prompts alone classify a labelled folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .core.answers import Failure, Prediction
from .core.data.files import check_readable
from .core.data.manifest import Manifest
from .core.errors import DataError, nearest
from .core.files import write_json_atomic
from .core.metrics.classification import ClassificationReport, classification_report
from .core.plots import save_confusion_matrix
from .core.prompts import PromptSet, normalize_label
from .core.stores import noun_of

if TYPE_CHECKING:
    from .facade import Model

REPORT_FILE, CONFUSION_FILE = "report.json", "confusion.png"


@dataclass(frozen=True)
class ZeroShotResult:
    """A measured model.

    Attributes:
        report: every metric with its 95 % interval.
        origin: model, revision and processor fingerprint.
        data, split: what it was measured on.
        prompts: fingerprint of the prompt set that was used.
        failures: inputs that could not be used; they are not in the metrics.
        confusion: PNG of the confusion matrix.
    """

    report: ClassificationReport
    origin: dict[str, str]
    data: str
    split: str | None
    prompts: str
    failures: tuple[Failure, ...]
    confusion: Path

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            **self.origin,
            "task": "zero-shot",
            "data": self.data,
            "split": self.split,
            "prompts": self.prompts,
            **self.report.to_dict(),
            "failed": [failure.to_dict() for failure in self.failures],
            "confusion_png": str(self.confusion),
        }


def evaluate_folder(
    model: Model,
    data: str | Path,
    out: str | Path,
    *,
    labels: Sequence[str] | None = None,
    templates: PromptSet | None = None,
    split: str | None = None,
    batch_size: int = 8,
    **options: Any,
) -> ZeroShotResult:
    """Classify every file below ``data``, compare with the folder names, and write report and figure.

    Args:
        model: with a text tower and one for what the files hold.
        data: ``data/<class>/...`` or ``data/<split>/<class>/...``.
        out: folder for ``report.json`` and ``confusion.png``.
        labels: what to choose from; None takes the folder names. A folder belongs to the label that
            reads the same or that the prompt set knows under the folder's name; labels without a
            folder are distractors.
        templates: prompt set; None takes the model's own.
        split: needed when the folder has splits.
        options: of the domain's loader.

    Raises:
        DataError: no usable file, no such split, or a folder that is none of the labels.
        InputError: labels that cannot be used.
    """
    manifest = _of_split(Manifest.from_folder(data, check=check_readable, limits=model.limits), split)
    prompts = model.prompts_for(labels if labels is not None else manifest.class_names, templates)
    targets = match_folders(manifest.class_names, prompts)
    # An unusable output folder should show before the work, not after it.
    Path(out).mkdir(parents=True, exist_ok=True)
    failures = [Failure(problem.path, problem.reason) for problem in manifest.problems]
    rows, truth = [], []
    files = [manifest.file_of(record) for record in manifest]
    answers = model.classify_each(files, templates=prompts, batch_size=batch_size, **options)
    for record, answer in zip(manifest, answers, strict=True):
        if isinstance(answer, Prediction):
            rows.append([answer.scores[name] for name in prompts.class_names])
            truth.append(targets[str(record.label)])
        else:
            failures.append(Failure(record.id, answer.error))
    if not rows:
        raise DataError(
            f"{data}: none of {len(files)} {noun_of(model.primary)} could be used. First: {failures[0].error}"
        )
    report = classification_report(rows, truth, prompts.class_names)
    origin = {"model": model.id, "revision": model.revision, "processor": model.processor.fingerprint}
    confusion = Path(out) / CONFUSION_FILE
    result = ZeroShotResult(
        report, origin, Path(data).name, split, prompts.fingerprint, tuple(failures), confusion
    )
    save_confusion_matrix(
        report.confusion, prompts.class_names, confusion, title=f"{model.id} on {result.data}"
    )
    write_json_atomic(Path(out) / REPORT_FILE, result.to_dict())
    return result


def match_folders(folders: Sequence[str], prompts: PromptSet) -> dict[str, int]:
    """Return {folder: index of the class it means}.

    Raises:
        DataError: a folder reads like no class and none of its words.
    """
    known: dict[str, int] = {}
    for index, (name, words) in enumerate(prompts.classes.items()):
        known |= dict.fromkeys(map(normalize_label, (name, *words)), index)
    for folder in folders:
        if normalize_label(folder) not in known:
            raise DataError(
                f"The folder {folder!r} is none of the labels: {', '.join(prompts.class_names)}."
                f"{nearest(normalize_label(folder), known)} Rename it, or add its label."
            )
    return {folder: known[normalize_label(folder)] for folder in folders}


def _of_split(manifest: Manifest, split: str | None) -> Manifest:
    if split is not None:
        return manifest.only(split)
    if len(manifest.splits) > 1:
        raise DataError(
            f"The folder has the splits {', '.join(manifest.splits)}. Choose one with split (--split)."
        )
    return manifest
