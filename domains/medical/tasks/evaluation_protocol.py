"""The zero-shot protocol of the published tables: prompts, class vectors and metrics.

Reference: Khattak et al. 2024, "UniMed-CLIP" (arXiv 2412.10372), zero-shot evaluation.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ....core.errors import ConfigError
from ....core.files import read_json
from ....core.heads.zero_shot import class_embeddings
from ....core.limits import DEFAULT, Limits
from ....core.metrics.bootstrap import Bootstrap, Estimate
from ....core.metrics.classification import auc
from ....core.prompts import PromptSet, normalize_label
from ..biovil.similarity import embed_prompts
from .evaluation_catalogue import EvaluationSet, evaluation_set

if TYPE_CHECKING:
    from ....core.handle import ModelHandle

Ensemble = Literal["unit", "raw"]
"""``unit`` averages normalized prompts; ``raw`` averages them as they leave the tower (BioViL)."""


def read_prompt_bank(path: str | Path, name: str, *, cut: bool = True, limits: Limits = DEFAULT) -> PromptSet:
    """Return the prompts of one set from a JSON bank that a user exported, for comparisons.

    The file is data only: ``{"chexpert-5x200": {"Atelectasis": ["...", ...], ...}, ...}``, or the inner
    object alone. Write it in a clone of the reference with ``json.dump`` of its class dictionaries; its
    sentences are CC BY-NC 4.0, so they are not part of this package.

    Args:
        path: the JSON file.
        name: the set.
        cut: use the first 11 prompts of chexpert-5x200 and the first of rsna_pneumonia, as the reference.

    Raises:
        ConfigError: not such a file, or classes that are not those of the set.
    """
    one = evaluation_set(name)
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
        texts[key] = tuple(sentences[: one.reference_prompts] if cut else sentences)
    return in_set_order(
        PromptSet(name=f"{name} of {label}", classes={k: (k,) for k in texts}, prompts=texts), one
    )


def in_set_order(prompts: PromptSet, one: EvaluationSet) -> PromptSet:
    """Return ``prompts`` with the class names and the order of the set, every prompt of equal weight.

    Raises:
        ConfigError: other classes, or templates that weigh differently.
    """
    known = {normalize_label(name): name for name in prompts.class_names}
    keys = [normalize_label(name) for name in one.classes]
    if set(known) != set(keys):
        raise ConfigError(
            f"Prompt set {prompts.name!r} has the classes {', '.join(prompts.class_names)[:300]}; {one.name} "
            f"has {', '.join(one.classes)[:300]}. Name them alike."
        )
    found = {name: known[key] for name, key in zip(one.classes, keys, strict=True)}
    texts = {name: tuple(prompts.texts(own)) for name, own in found.items()}
    weights = {name: prompts.text_weights(own) for name, own in found.items()}
    if any(len(set(np.round(part, 12))) > 1 for part in weights.values()):
        raise ConfigError(f"Prompt set {prompts.name!r} weighs its templates; the protocol averages alike.")
    return PromptSet(
        name=prompts.name, version=prompts.version, classes={name: (name,) for name in texts}, prompts=texts
    )


def class_vectors(model: ModelHandle, prompts: PromptSet, ensemble: Ensemble = "unit") -> Tensor:
    """Return one unit vector per class, float32 [K, D] on the CPU.

    Args:
        ensemble: ``unit`` as in CLIP; ``raw`` sums the vectors before any is normalized, so that long
            ones count more, as BioViL does.
    """
    if ensemble == "unit":
        return class_embeddings(prompts, lambda texts: model.embed(list(texts), modality="text").vectors)
    if ensemble != "raw":
        raise ConfigError(f"ensemble is 'unit' or 'raw', got {ensemble!r}.")
    return embed_prompts(model, [prompts.texts(name) for name in prompts.class_names])


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


def part_accuracies(
    scores: NDArray[np.float64], targets: NDArray[np.int64], one: EvaluationSet, groups: list[Any] | None
) -> dict[str, Estimate]:
    """Return {"accuracy of <part>": accuracy among the images of the part}, for parts that have images.

    Args:
        scores: [N, K]. targets: [N]. groups: N ids that are resampled whole, or None.
    """
    correct = scores.argmax(axis=1) == targets
    accuracies = {}
    for name, classes in one.parts.items():
        rows = np.flatnonzero(np.isin(targets, classes))
        if len(rows):
            inside = None if groups is None else [groups[row] for row in rows]
            accuracies[f"accuracy of {name}"] = Bootstrap(len(rows), groups=inside).mean(correct[rows])
    return accuracies
