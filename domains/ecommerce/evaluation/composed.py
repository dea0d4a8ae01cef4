"""Queries of a picture with words on FashionIQ, CIRR and GeneCIS.

FashionIQ: recall at 10 and 50 in the validation split of each category, and their means; the reference stays
in the gallery. CIRR: recall at 1, 5, 10 and 50 without the reference, and at 1, 2 and 3 among the five others
of its set. GeneCIS: recall at 1, 2 and 3 in a gallery of each query's own.

Reference: Wu et al. 2021, Fashion IQ; Liu et al. 2021, CIRR; Vaze et al. 2023, GeneCIS; Tursun et al. 2025,
PDV, arXiv 2502.07215.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ....core.errors import DataError, InputError
from ....core.metrics.bootstrap import Bootstrap, Estimate
from ....core.metrics.ranking import Positives, positive_ranks
from ..composed.query import PLAIN_REFERENCE, ComposeSettings, combine, joined, shortened
from .composed_data import ComposedData, ComposedQuery, ComposedTask
from .published_results import results
from .results import ProtocolResult, TaskResult
from .vectors import EvaluationEncoder

_DEPTHS = {"fashioniq": (10, 50), "cirr": (1, 5, 10, 50), "genecis": ()}
_SUBSET_DEPTHS = (1, 2, 3)


def evaluate_composed(
    encoder: EvaluationEncoder,
    data: ComposedData,
    *,
    settings: ComposeSettings | None = None,
) -> ProtocolResult:
    """Measure a model on a data set of composed queries.

    Args:
        data: of :func:`.composed_data.read_composed`.
        settings: how picture and words become one query; None takes the defaults.

    Raises:
        DataError: no query is left once pictures that cannot be used are gone.
    """
    settings = settings or ComposeSettings()
    names = list(data.pictures)
    vectors, failures = _pictures(encoder, data, names)
    tasks = []
    for task in data.tasks:
        queries = [one for one in task.queries if {one.reference, one.target} <= set(vectors)]
        if not queries:
            continue
        composed = _compose(encoder, data, queries, vectors, settings)
        tasks.append(_measure(data, task, queries, composed, vectors))
    if not tasks:
        raise DataError(f"{data.name}: no query has pictures that can be used. First: {failures[0].error}")
    tasks += _average(data, tasks)
    return ProtocolResult(
        data.protocol,
        data.name,
        tuple(tasks),
        len(vectors),
        sum(len(task.queries) for task in data.tasks),
        tuple(failures),
        data.missing,
        tuple(_notes(data, settings)),
        {**encoder.origin, "compose": settings.model_dump_json()},
    )


def _pictures(
    encoder: EvaluationEncoder, data: ComposedData, names: Sequence[str]
) -> tuple[dict[str, Tensor], list[Any]]:
    """Return ({id: vector [D]} of the pictures that can be used, the failures)."""
    regions = [data.pictures[name] for name in names]
    found = encoder.pictures([region.load for region in regions], names)
    present = found.present.tolist()
    rows = {name: vector for name, vector, there in zip(names, found.vectors, present, strict=True) if there}
    return rows, list(found.failures)


def _compose(
    encoder: EvaluationEncoder,
    data: ComposedData,
    queries: Sequence[ComposedQuery],
    vectors: Mapping[str, Tensor],
    settings: ComposeSettings,
) -> Tensor:
    images = torch.stack([vectors[one.reference] for one in queries])
    if settings.method == "encoder":
        pictures = [data.pictures[one.reference].load for one in queries]
        return encoder.both(pictures, [one.change for one in queries])
    if settings.method == "sum":
        return combine(images, [encoder.texts([one.change for one in queries])[0]], settings)
    said = [data.captions.get(one.reference, PLAIN_REFERENCE) for one in queries]
    short = [_shortened(encoder, text, one.change) for text, one in zip(said, queries, strict=True)]
    both = [joined(text, one.change) for text, one in zip(short, queries, strict=True)]
    return combine(images, [encoder.texts(short)[0], encoder.texts(both)[0]], settings)


def _shortened(encoder: EvaluationEncoder, said: str, change: str) -> str:
    try:
        return shortened(encoder.encoder, said, change)
    except InputError:
        # A change that is too long by itself is cut by the model, as in the published evaluations.
        return said


def _measure(
    data: ComposedData,
    task: ComposedTask,
    queries: Sequence[ComposedQuery],
    composed: Tensor,
    vectors: Mapping[str, Tensor],
) -> TaskResult:
    bootstrap = Bootstrap(len(queries))
    metrics: dict[str, Estimate] = {}
    gallery = [name for name in task.gallery if name in vectors]
    if gallery:
        gallery = list(dict.fromkeys([*gallery, *(one.target for one in queries)]))
        ranks = _gallery_ranks(composed, queries, (gallery, vectors), without=data.protocol == "cirr")
        metrics |= {f"Recall@{k}": bootstrap.mean(ranks < k) for k in _DEPTHS[data.protocol]}
    if any(one.subset for one in queries):
        ranks = np.empty(len(queries), dtype=np.int64)
        for row, (query, one) in enumerate(zip(composed, queries, strict=True)):
            others = [name for name in dict.fromkeys(one.subset) if name in vectors and name != one.target]
            ranks[row] = _subset_rank(query, vectors[one.target], [vectors[name] for name in others])
        word = "Recall_subset" if gallery else "Recall"
        metrics |= {f"{word}@{k}": bootstrap.mean(ranks < k) for k in _SUBSET_DEPTHS}
    said: dict[str, dict[str, float]] = {}
    for one in results(data.protocol, task=task.name):
        said.setdefault(one.model, {})[one.metric] = one.value
    return TaskResult(task.name, len(queries), len(gallery), metrics, said)


def _gallery_ranks(
    composed: Tensor,
    queries: Sequence[ComposedQuery],
    searched: tuple[Sequence[str], Mapping[str, Tensor]],
    *,
    without: bool,
) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return the 0-based ranks of the targets in a gallery that all queries share, int64 [Q].

    Args:
        without: leave each query's own reference out.
    """
    names, vectors = searched
    places = {name: place for place, name in enumerate(names)}
    own = [places.get(one.reference, -1) if without else -1 for one in queries]
    return positive_ranks(
        composed,
        torch.stack([vectors[name] for name in names]),
        Positives.from_lists([[places[one.target]] for one in queries]),
        exclude=torch.tensor(own),
    )


def _subset_rank(query: Tensor, target: Tensor, others: Sequence[Tensor]) -> int:
    """Return the 0-based rank of the target among a few; among equal scores it stands last."""
    last = Positives.from_lists([[len(others)]])
    return int(positive_ranks(query[None], torch.stack([*others, target]), last)[0])


def _average(data: ComposedData, tasks: Sequence[TaskResult]) -> list[TaskResult]:
    """Return the mean over categories or tasks, as the published tables have it; it has no interval."""
    if len(tasks) < 2:
        return []
    names = [name for name in tasks[0].metrics if all(name in task.metrics for task in tasks)]
    metrics = {
        name: Estimate(
            float(np.mean([task.metrics[name].value for task in tasks])), float("nan"), float("nan"), 0
        )
        for name in names
    }
    said: dict[str, dict[str, float]] = {}
    for one in results(data.protocol, task="average"):
        said.setdefault(one.model, {})[one.metric] = one.value
    return [TaskResult("average", sum(task.queries for task in tasks), 0, metrics, said)]


def _notes(data: ComposedData, settings: ComposeSettings) -> list[str]:
    notes: list[str] = []
    if data.left_out:
        notes.append(f"{data.left_out} queries need a picture that is not there; left out.")
    if data.missing:
        notes.append(f"{len(data.missing)} pictures are not there: galleries are smaller than published.")
    if settings.method == "pdv" and not data.captions:
        notes.append(
            f"Nothing says what the references show, so that all are {PLAIN_REFERENCE!r}; captions of them "
            "in reference_captions.json ({picture: words}) are what the published results have."
        )
    return notes
