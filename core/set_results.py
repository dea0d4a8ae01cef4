"""A model on public labelled sets: class vectors from prompts, metrics, and what a report says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from .answers import Failure
from .errors import ConfigError
from .files import read_json, write_json_atomic
from .heads.zero_shot import class_embeddings
from .inputs import encode_texts
from .limits import DEFAULT, Limits
from .metrics.bootstrap import Bootstrap, Estimate
from .metrics.classification import auc
from .plots import save_confusion_matrix
from .prompts import PromptSet, normalize_label

if TYPE_CHECKING:
    from .data.labelled import LabelledRow
    from .handle import ModelHandle
    from .labelled_sets import LabelledSet

Ensemble = Literal["unit", "raw"]
"""``unit`` averages normalized prompts; ``raw`` averages them as they leave the tower."""

FIGURE_CLASSES = 40
"""A confusion matrix of more classes cannot be read as a picture."""


@dataclass(frozen=True)
class SetResult:
    """A model on one set.

    Attributes:
        name, modality, class_names: of the set.
        metrics: ``accuracy``; for binary sets ``auc``, ``f1``, ``precision`` and ``recall`` of the second
            class; what else the domain measures. Fractions with 95 % intervals, over patients or scenes where
            the set names them. The AUC is that of the difference of the two scores; precision and F1 are 0
            where nothing was called positive.
        confusion: counts, row = target, column = prediction.
        layout: which files were read.
        notes: what to know before comparing the numbers.
        failures: images that could not be used; they are not in the metrics.
        origin: model, revision and processor, prompt set and its fingerprint, ensemble; and what else the
            domain's protocol depends on.
    """

    name: str
    modality: str
    class_names: tuple[str, ...]
    images: int
    metrics: Mapping[str, Estimate]
    confusion: tuple[tuple[int, ...], ...]
    layout: str
    notes: tuple[str, ...]
    failures: tuple[Failure, ...]
    origin: Mapping[str, str]

    def percent(self) -> dict[str, float]:
        """Return the metrics times 100, as published tables print them."""
        return {name: 100 * estimate.value for name, estimate in self.metrics.items()}

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            **self.origin,
            "task": "evaluation-set",
            "set": self.name,
            "modality": self.modality,
            "images": self.images,
            "class_names": list(self.class_names),
            "metrics": {name: value.to_dict() for name, value in self.metrics.items()},
            "percent": self.percent(),
            "confusion": [list(row) for row in self.confusion],
            "layout": self.layout,
            "notes": list(self.notes),
            "failed": [failure.to_dict() for failure in self.failures],
        }

    def write(self, out: str | Path) -> None:
        """Write ``report.json`` into a folder and, where it can be read, ``confusion.png``."""
        if len(self.class_names) <= FIGURE_CLASSES:
            table = np.array(self.confusion, dtype=np.int64)
            title = f"{self.origin['model']} on {self.name}"
            save_confusion_matrix(table, self.class_names, Path(out) / "confusion.png", title=title)
        write_json_atomic(Path(out) / "report.json", self.to_dict())


@dataclass(frozen=True)
class SetTable:
    """A model on several sets.

    Attributes:
        results: {set: result}.
        missing: {set: why it was not measured}.
    """

    results: Mapping[str, SetResult]
    missing: Mapping[str, str]

    def average(self, binary: Literal["accuracy", "auc"] = "accuracy") -> float | None:
        """Return the mean over the measured sets, in percent; None without any.

        Args:
            binary: which metric binary sets count with; multi-class sets always count with accuracy.
        """
        values = [
            100 * one.metrics[binary if binary in one.metrics else "accuracy"].value
            for one in self.results.values()
        ]
        return float(np.mean(values)) if values else None

    def by_modality(self) -> dict[str, float]:
        """Return {modality: mean accuracy in percent}."""
        groups: dict[str, list[float]] = {}
        for one in self.results.values():
            groups.setdefault(one.modality, []).append(one.percent()["accuracy"])
        return {modality: float(np.mean(values)) for modality, values in groups.items()}

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "task": "evaluation-sets",
            "sets": {name: result.to_dict() for name, result in self.results.items()},
            "missing": dict(self.missing),
            "average_percent": {"accuracy": self.average(), "auc_where_binary": self.average("auc")},
            "by_modality_percent": self.by_modality(),
        }


def set_notes(one: LabelledSet, rows: Sequence[LabelledRow], targets: NDArray[np.int64]) -> tuple[str, ...]:
    """Return what to know before a result on these images is compared with a published one.

    Args:
        rows: images that were used. targets: their classes [N].
    """
    notes = [one.caution] if one.caution else []
    if one.images is not None and len(rows) != one.images:
        notes.append(f"{len(rows):,} images; the published set has {one.images:,}.")
    absent = [name for index, name in enumerate(one.classes) if index not in set(targets.tolist())]
    if absent:
        shown = ", ".join(absent[:10]) + (" ..." if len(absent) > 10 else "")
        notes.append(f"{len(absent)} of {len(one.classes)} classes have no image: {shown}.")
    return tuple(notes)


def prompts_in_order(prompts: PromptSet, name: str, classes: Sequence[str]) -> PromptSet:
    """Return ``prompts`` with the class names and the order of a set, every prompt of equal weight.

    A class of the set is the one of the prompts that has its name, or its name among its words.

    Args:
        name: of the set. classes: its classes.

    Raises:
        ConfigError: other classes, or templates that weigh differently.
    """
    known = {normalize_label(word): own for own, words in prompts.classes.items() for word in (own, *words)}
    found = {own: known.get(normalize_label(own)) for own in classes}
    if None in found.values() or len(set(found.values())) != len(prompts.class_names):
        raise ConfigError(
            f"Prompt set {prompts.name!r} has the classes {', '.join(prompts.class_names)[:300]}; {name} "
            f"has {', '.join(classes)[:300]}. Name them alike."
        )
    found = {own: str(theirs) for own, theirs in found.items()}
    texts = {own: tuple(prompts.texts(theirs)) for own, theirs in found.items()}
    weights = {own: prompts.text_weights(theirs) for own, theirs in found.items()}
    if any(len(set(np.round(part, 12))) > 1 for part in weights.values()):
        raise ConfigError(f"Prompt set {prompts.name!r} weighs its templates; the protocol averages alike.")
    return PromptSet(
        name=prompts.name, version=prompts.version, classes={own: (own,) for own in texts}, prompts=texts
    )


def bank_prompts(
    path: str | Path,
    name: str,
    classes: Sequence[str],
    *,
    first: int | None = None,
    limits: Limits = DEFAULT,
) -> PromptSet:
    """Return the prompts of one set from a JSON bank that a user exported, for comparisons.

    The file is data only: ``{"<set>": {"<class>": ["...", ...], ...}, ...}``, or the inner object alone.

    Args:
        path: the JSON file.
        name: the set. classes: its classes.
        first: use only this many prompts of each class.

    Raises:
        ConfigError: not such a file, or classes that are not those of the set.
    """
    bank = read_json(path, limits=limits)
    bank = bank.get(name, bank) if isinstance(bank, dict) else bank
    label = Path(path).name
    if not isinstance(bank, dict):
        raise ConfigError(f"{label}: expected an object {{class: [prompts]}}, got {type(bank).__name__}.")
    if not bank:
        raise ConfigError(f"{label}: no classes; expected an object {{class: [prompts]}}.")
    texts: dict[str, tuple[str, ...]] = {}
    for key, value in bank.items():
        sentences = [value] if isinstance(value, str) else value
        if not isinstance(sentences, list) or not all(isinstance(text, str) for text in sentences):
            raise ConfigError(f"{label}: class {key!r:.80} does not hold a list of sentences.")
        texts[key] = tuple(sentences[:first])
    prompts = PromptSet(name=f"{name} of {label}", classes={k: (k,) for k in texts}, prompts=texts)
    return prompts_in_order(prompts, name, classes)


def class_vectors(model: ModelHandle, prompts: PromptSet, ensemble: Ensemble = "unit") -> Tensor:
    """Return one unit vector per class, float32 [K, D] on the CPU.

    Args:
        ensemble: ``unit`` as in CLIP; ``raw`` averages the vectors before any is normalized, so that long
            ones count more.

    Raises:
        ConfigError: an unknown ensemble.
    """
    if ensemble == "unit":
        return class_embeddings(prompts, lambda texts: model.embed(list(texts), modality="text").vectors)
    if ensemble != "raw":
        raise ConfigError(f"ensemble is 'unit' or 'raw', got {ensemble!r}.")
    # One class at a time: all prompts of a set at once are thousands.
    means = [
        encode_texts(model, prompts.texts(name), normalize=False).mean(dim=0) for name in prompts.class_names
    ]
    return F.normalize(torch.stack(means), dim=-1)


def set_metrics(
    cosines: NDArray[np.float64], targets: NDArray[np.int64], groups: list[Any] | None, *, binary: bool
) -> dict[str, Estimate]:
    """Return accuracy and, where ``binary``, AUC, F1, precision and recall of the second class.

    Args:
        cosines: [N, K]. targets: [N]. groups: N ids that are resampled whole, or None.
    """
    predicted = cosines.argmax(axis=1)
    bootstrap = Bootstrap(len(targets), groups=groups)
    metrics = {"accuracy": bootstrap.mean(predicted == targets)}
    if not binary:
        return metrics
    if len(np.unique(targets)) == 2:
        metrics["auc"] = auc(cosines[:, 1] - cosines[:, 0], targets, groups=groups)

    def statistic(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        hits, called, actual = (
            weights @ flags.astype(np.float64)
            for flags in ((predicted == 1) & (targets == 1), predicted == 1, targets == 1)
        )
        parts = ((2 * hits, called + actual), (hits, called), (hits, actual))
        zero = np.zeros_like(hits)
        return np.stack([np.divide(a, b, out=zero.copy(), where=b > 0) for a, b in parts], axis=1)

    return metrics | dict(zip(("f1", "precision", "recall"), bootstrap.estimates(statistic), strict=True))
