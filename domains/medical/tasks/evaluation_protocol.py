"""The zero-shot protocol of the published tables: prompts, class vectors and metrics.

Reference: Khattak et al. 2024, "UniMed-CLIP" (arXiv 2412.10372), zero-shot evaluation.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....core.limits import DEFAULT, Limits
from ....core.metrics.bootstrap import Bootstrap, Estimate
from ....core.prompts import PromptSet
from ....core.set_results import Ensemble, bank_prompts, class_vectors, prompts_in_order, set_metrics
from .evaluation_catalogue import EvaluationSet, evaluation_set

__all__ = [
    "Ensemble",
    "class_vectors",
    "in_set_order",
    "part_accuracies",
    "read_prompt_bank",
    "set_metrics",
]


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
    first = one.reference_prompts if cut else None
    return bank_prompts(path, name, one.classes, first=first, limits=limits)


def in_set_order(prompts: PromptSet, one: EvaluationSet) -> PromptSet:
    """Return ``prompts`` as :func:`core.set_results.prompts_in_order` orders them for a set."""
    return prompts_in_order(prompts, one.name, one.classes)


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
