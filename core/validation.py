"""How a run with texts or classes is judged: zero-shot, by retrieval, by its classifier, and its loss."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from .errors import ConfigError, DataError, nearest
from .heads.zero_shot import ZeroShotHead, class_embeddings
from .inputs import on_device
from .metrics.bootstrap import Bootstrap
from .metrics.classification import classification_report
from .metrics.matched import Matches, matched_report
from .metrics.ranking import Positives, positive_ranks
from .metrics.retrieval import QueryMetrics
from .model import ContrastiveModel
from .objectives.base import Objective
from .objectives.classify import CrossEntropy
from .preparing import mean_direction
from .recipe import EvaluationConfig
from .types import Batch

if TYPE_CHECKING:
    from .data import Record
    from .processing import Processor
    from .stores import Store
    from .training_data import TrainingData

ENCODED_AT_ONCE = 64
"""Views per call of the network."""


def evaluate(
    model: ContrastiveModel,
    objective: Objective,
    data: TrainingData,
    *,
    settings: EvaluationConfig,
    details: bool = False,
) -> dict[str, Any]:
    """Return how good a model is on the validation part.

    A run with cross-entropy is judged by its classifier. Otherwise sources whose labels are classes of
    the prompt set are judged by zero-shot classification and the others by retrieval of texts and by texts,
    or as ``settings.suite`` says.

    Returns:
        ``score`` and ``chance`` (means over sources of balanced accuracy, and of the mean recall of
        retrieval), ``across`` (accuracy among all classes of all sources, or None), ``sources`` {name:
        numbers}. With ``details`` the numbers have 95 % intervals.

    Raises:
        ConfigError: ``settings.suite`` asks for what no source has.
    """
    if isinstance(objective, CrossEntropy):
        return evaluate_classifier(model, objective, data, details=details)
    by_class, by_text, by_neighbors = _suites(data, settings)
    report: dict[str, Any] = {"sources": {}, "across": None}
    scores: list[tuple[float, float]] = []
    if by_class:
        found = evaluate_zero_shot(model, data, sources=by_class, details=details)
        report["sources"] |= found["sources"]
        report["across"] = found["across"]
        scores += [(found["score"], found["chance"])] * len(by_class)
    for name in by_text:
        found = evaluate_retrieval(
            model,
            data,
            name,
            depths=settings.recall_at,
            duplicates=settings.duplicates,
            details=details,
        )
        report["sources"][name] = {**report["sources"].get(name, {}), **found}
        scores.append((found["score"], found["chance"]))
    for name in by_neighbors:
        found = evaluate_neighbors(model, data, name, details=details)
        report["sources"][name] = {**report["sources"].get(name, {}), "neighbors": found}
        scores.append((_value(found["map@10"]), found["chance"]))
    report["score"] = sum(score for score, _ in scores) / len(scores)
    report["chance"] = sum(chance for _, chance in scores) / len(scores)
    return report


def _suites(data: TrainingData, settings: EvaluationConfig) -> tuple[list[str], list[str], list[str]]:
    """Return the sources that are judged by their classes, by retrieval, and by neighbors."""
    by_class = [name for name in data.validation if _has_classes(data, name)]
    by_text = [name for name in data.validation if all(data.validation_texts(name))]
    by_neighbors: list[str] = []
    if settings.suite:
        by_class = by_class if "zero_shot" in settings.suite else []
        by_text = by_text if "retrieval" in settings.suite else []
        if "neighbors" in settings.suite:
            by_neighbors = [name for name in data.validation if _has_neighbors(data, name)]
    else:
        by_text = [name for name in by_text if name not in by_class]
    if not by_class and not by_text and not by_neighbors:
        raise ConfigError(
            f"evaluation.suite {list(settings.suite) or 'by data'}: no source has what it needs. "
            "zero_shot needs a prompt set with the labels of the validation rows, retrieval needs captions "
            "of their own, neighbors needs two validation rows of one label and rows of another."
        )
    return by_class, by_text, by_neighbors


def _has_neighbors(data: TrainingData, source: str) -> bool:
    counts = Counter(record.label for record in data.validation[source] if record.label is not None)
    return len(counts) > 1 and max(counts.values()) > 1


def evaluate_neighbors(
    model: ContrastiveModel, data: TrainingData, source: str, *, details: bool = False
) -> dict[str, Any]:
    """Return whether the validation samples most like a sample are of its class; no text is read.

    Returns:
        ``map@10`` and ``precision@1``, means over the samples whose class has another, each searched for
        among all others; ``chance``: the share of right answers among them; ``queries``. With ``details``
        the first two have 95 % intervals.
    """
    with judged(model):
        vectors, targets = _encode_records(model, data, source)
    vectors, labels = vectors[targets >= 0], targets[targets >= 0].tolist()
    counts = Counter(labels)
    rows = [row for row, label in enumerate(labels) if counts[label] > 1]
    positives = Positives.from_lists(
        [
            [other for other, label in enumerate(labels) if label == labels[row] and other != row]
            for row in rows
        ]
    )
    ranks = positive_ranks(vectors[rows], vectors, positives, exclude=torch.tensor(rows))
    metrics = QueryMetrics.from_ranks(ranks, positives)
    found = {"map@10": metrics.average_precision(10), "precision@1": metrics.precision_at(1)}
    bootstrap = Bootstrap(len(rows)) if details else None
    return {
        "queries": len(rows),
        "chance": float(np.mean(positives.counts / (len(labels) - 1))),
        **{
            name: float(values.mean()) if bootstrap is None else bootstrap.mean(values).to_dict()
            for name, values in found.items()
        },
    }


def _has_classes(data: TrainingData, source: str) -> bool:
    if data.prompts is None:
        return False
    labels = {record.label for record in data.validation[source]}
    return labels <= set(data.prompts.class_names) and len(data.source_classes(source)) > 1


def evaluate_zero_shot(
    model: ContrastiveModel,
    data: TrainingData,
    *,
    sources: Sequence[str] | None = None,
    details: bool = False,
) -> dict[str, Any]:
    """Return how well text prompts alone classify the validation part.

    Args:
        model: any mode; put back as it was.
        data: gives validation records per source, and the prompt set.
        sources: None takes all.
        details: full reports with 95 % intervals instead of the plain numbers.

    Returns:
        ``score`` (mean over sources of balanced accuracy among the source's own classes), ``chance``
        (the same for guessing), ``across`` (accuracy among all classes of all sources), ``sources``
        {name: {accuracy, balanced_accuracy} or a full report}.
    """
    if data.prompts is None:
        raise ConfigError("Zero-shot evaluation needs a prompt set. Name one in the recipe.")
    prompts = data.prompts
    with judged(model):
        weights = class_embeddings(prompts, lambda texts: _encode_text(model, data, texts))
        embedded = {name: _encode_records(model, data, name) for name in sources or data.validation}
    scale = model.scale().item()
    bias = None if model.logit_bias is None else model.logit_bias.item()
    names = prompts.class_names
    report: dict[str, Any] = {"sources": {}}
    balanced, chance, hits, count = [], [], 0, 0
    for source, (embeddings, targets) in embedded.items():
        own = data.source_classes(source)
        head = ZeroShotHead(weights[own], [names[index] for index in own], scale=scale, bias=bias)
        local = torch.tensor([own.index(int(target)) for target in targets])
        found = _classified(
            head.scores(embeddings), head.logits(embeddings), local, [names[i] for i in own], details=details
        )
        found |= {data.store.noun: len(targets)} if details else {}
        report["sources"][source] = found
        balanced.append(_value(found["balanced_accuracy"]))
        chance.append(1 / len(own))
        everywhere = ZeroShotHead(weights, names, scale=scale, bias=bias).logits(embeddings).argmax(dim=1)
        hits += int((everywhere == targets).sum())
        count += len(targets)
    report |= {
        "score": sum(balanced) / len(balanced),
        "chance": sum(chance) / len(chance),
        "across": hits / count,
    }
    return report


def evaluate_classifier(
    model: ContrastiveModel, objective: CrossEntropy, data: TrainingData, *, details: bool = False
) -> dict[str, Any]:
    """Return how well the trained classification head does on the validation part, among all classes."""
    report: dict[str, Any] = {"sources": {}}
    balanced, hits, count = [], 0, 0
    with judged(model):
        embedded = {name: _encode_records(model, data, name) for name in data.validation}
    head = objective.head()
    for source, (embeddings, targets) in embedded.items():
        logits = head.logits(embeddings)
        found = _classified(logits.softmax(1), logits, targets, list(head.class_names), details=details)
        found |= {data.store.noun: len(targets)} if details else {}
        report["sources"][source] = found
        balanced.append(_value(found["balanced_accuracy"]))
        hits += int((logits.argmax(dim=1) == targets).sum())
        count += len(targets)
    return report | {
        "score": sum(balanced) / len(balanced),
        "chance": 1 / len(head.class_names),
        "across": hits / count,
    }


def _classified(
    probabilities: Tensor, logits: Tensor, targets: Tensor, names: list[str], *, details: bool
) -> dict[str, Any]:
    """Return {accuracy, balanced_accuracy}, or the full report with intervals."""
    if details:
        return classification_report(probabilities.numpy(), targets.numpy(), names).to_dict()
    predicted = logits.argmax(dim=1)
    recalls = [float((predicted[targets == k] == k).float().mean()) for k in targets.unique().tolist()]
    accuracy = float((predicted == targets).float().mean())
    return {"accuracy": accuracy, "balanced_accuracy": sum(recalls) / len(recalls)}


def _value(number: float | dict[str, Any]) -> float:
    return float(number["value"]) if isinstance(number, dict) else number


def evaluate_retrieval(
    model: ContrastiveModel,
    data: TrainingData,
    source: str,
    *,
    depths: Sequence[int] = (1, 5, 10),
    duplicates: Literal["merge", "separate"] = "merge",
    details: bool = False,
) -> dict[str, Any]:
    """Return how well validation samples find their captions and captions their samples.

    Captions that read the same are one, and so are images of the same pixels at the model's size and
    recordings of the same samples; each row adds a match. ``duplicates="separate"`` counts only the
    own captions of a row as right, also where another row has the same words.

    Returns:
        ``score``: mean recall over both directions and all depths at which a random order could fail;
        ``chance``: the same for a random order, exact; ``images`` (or ``recordings``), ``texts``: how
        many were ranked; for both directions, ``image_to_text`` and ``text_to_image`` (or ``audio``),
        ``{"recall@k": ..., "median_rank": ...}``, ranks from 1; ``chances`` of each recall; with
        ``details`` intervals, and ``score_interval``.

    Raises:
        DataError: fewer than two validation records.
    """
    captions = data.validation_texts(source)
    if len(captions) < 2:
        raise DataError(
            f"Source {source!r} has {len(captions)} validation {data.store.noun}; retrieval needs at least "
            "two. Raise data.validation.fraction."
        )
    if duplicates == "merge":
        contents = [data.store.content(record) for record in data.validation[source]]
        matches = Matches.merged(contents, captions)
    else:
        matches = Matches.separate(captions)
    flat = list(matches.texts)
    with judged(model):
        images, _ = _encode_records(model, data, source)
        vectors = torch.cat([_encode_text(model, data, flat[i : i + 64]) for i in range(0, len(flat), 64)])
    report = matched_report(
        images[torch.from_numpy(matches.image_rows)],
        vectors,
        matches.links,
        ks=depths,
        resamples=1000 if details else 0,
    )
    found = {**report.to_dict(details=details), "duplicates": duplicates}
    return found if data.modality == "image" else _renamed(found, data.modality, data.store.noun)


def _renamed(report: dict[str, Any], modality: str, noun: str) -> dict[str, Any]:
    """Return a report on images and texts with the keys of another modality."""
    ways = {"image_to_text": f"{modality}_to_text", "text_to_image": f"text_to_{modality}"}
    found = {ways.get(key, noun if key == "images" else key): value for key, value in report.items()}
    return {**found, "chances": {ways[key]: value for key, value in report["chances"].items()}}


def mean_loss(
    model: ContrastiveModel, objective: Objective, batches: Iterable[Batch], *, part: str = "loss"
) -> float | None:
    """Return the mean objective, or one part of it, over batches; None without a batch or a finite mean.

    Model and objective are judged in evaluation mode, without gradients.

    Raises:
        ConfigError: the objective has no such part.
    """
    needs, losses = objective.needs, []
    with judged(model), judged(objective):
        for batch in batches:
            moved = batch.to(model.device)
            outputs = model(moved, tokens=needs.tokens, extras=needs.output_extras)
            found = objective(outputs, moved)
            if part not in found:
                raise ConfigError(
                    f"evaluation.loss_part {part!r} is no part of this objective; it has {', '.join(found)}."
                    f"{nearest(part, found)}"
                )
            losses.append(float(found[part]))
    mean = sum(losses) / len(losses) if losses else math.nan
    return mean if math.isfinite(mean) else None


@contextmanager
def judged(module: nn.Module) -> Iterator[None]:
    """Put ``module`` in evaluation mode without gradients for the body of a ``with``."""
    was_training = module.training
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        module.train(was_training)


def _encode_text(model: ContrastiveModel, data: TrainingData, texts: list[str]) -> Tensor:
    inputs = data.processor("text", texts)
    return model.encode("text", on_device(model, inputs)).cpu()


def _encode_records(model: ContrastiveModel, data: TrainingData, source: str) -> tuple[Tensor, Tensor]:
    """Return embeddings [N, D] and class indices [N] of a source's validation records."""
    vectors = encode_records(model, data.store, data.processor, data.validation[source])
    return vectors, data.validation_targets(source)


def encode_records(
    model: ContrastiveModel, store: Store, processor: Processor, records: Sequence[Record]
) -> Tensor:
    """Return unit embeddings float32 [N, D], on the CPU, of records as a user of the model gets them.

    A recording longer than the model's window gets the mean direction of its windows.
    """
    found: list[Tensor] = []
    for start in range(0, len(records), ENCODED_AT_ONCE):
        parts = [store.parts(record) for record in records[start : start + ENCODED_AT_ONCE]]
        vectors = torch.cat(
            [
                model.encode(store.modality, on_device(model, store.finish(views, processor))).cpu()
                for views in torch.cat(parts).split(ENCODED_AT_ONCE)
            ]
        )
        for own in vectors.split([len(part) for part in parts]):
            found.append(own[0] if len(own) == 1 else mean_direction(own))
    return torch.stack(found)
