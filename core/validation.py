"""How a training run is judged: zero-shot accuracy, retrieval, or a classification head, and the loss."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from .errors import ConfigError, DataError
from .heads.zero_shot import ZeroShotHead, class_embeddings
from .inputs import on_device
from .metrics.classification import classification_report
from .metrics.matched import Matches, matched_report
from .model import ContrastiveModel
from .objectives.base import Objective
from .objectives.classify import CrossEntropy
from .recipe import EvaluationConfig

if TYPE_CHECKING:
    from .training_data import TrainingData


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
    the prompt set are judged by zero-shot classification and the others by image-text retrieval, or as
    ``settings.suite`` says.

    Returns:
        ``score`` and ``chance`` (means over sources of balanced accuracy, and of the mean recall of
        retrieval), ``across`` (accuracy among all classes of all sources, or None), ``sources`` {name:
        numbers}. With ``details`` the numbers have 95 % intervals.

    Raises:
        ConfigError: ``settings.suite`` asks for what no source has.
    """
    if isinstance(objective, CrossEntropy):
        return evaluate_classifier(model, objective, data, details=details)
    by_class, by_text = _suites(data, settings)
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
    report["score"] = sum(score for score, _ in scores) / len(scores)
    report["chance"] = sum(chance for _, chance in scores) / len(scores)
    return report


def _suites(data: TrainingData, settings: EvaluationConfig) -> tuple[list[str], list[str]]:
    """Return the sources that are judged by their classes and those judged by retrieval."""
    by_class = [name for name in data.validation if _has_classes(data, name)]
    by_text = [name for name in data.validation if all(data.validation_texts(name))]
    if settings.suite:
        by_class = by_class if "zero_shot" in settings.suite else []
        by_text = by_text if "retrieval" in settings.suite else []
    else:
        by_text = [name for name in by_text if name not in by_class]
    if not by_class and not by_text:
        raise ConfigError(
            f"evaluation.suite {list(settings.suite) or 'by data'}: no source has what it needs. "
            "zero_shot needs a prompt set with the labels of the validation rows, retrieval needs captions "
            "of their own."
        )
    return by_class, by_text


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
    """Return how well text prompts alone classify the validation images.

    Args:
        model: any mode; put back as it was.
        data: gives validation images per source, and the prompt set.
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
        embedded = {name: _encode_images(model, data, name) for name in sources or data.validation}
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
    """Return how well the trained classification head does on the validation images, among all classes."""
    report: dict[str, Any] = {"sources": {}}
    balanced, hits, count = [], 0, 0
    with judged(model):
        embedded = {name: _encode_images(model, data, name) for name in data.validation}
    head = objective.head()
    for source, (embeddings, targets) in embedded.items():
        logits = head.logits(embeddings)
        found = _classified(logits.softmax(1), logits, targets, list(head.class_names), details=details)
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
        full = classification_report(probabilities.numpy(), targets.numpy(), names)
        return {**full.to_dict(), "images": len(targets)}
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
    """Return how well validation images find their captions and captions their images.

    Captions that read the same are one, and so are images of the same pixels at the model's size; each
    row adds a match. ``duplicates="separate"`` counts only the own captions of a row as right, also where
    another row has the same words.

    Returns:
        ``score``: mean recall over both directions and all depths at which a random order could fail;
        ``chance``: the same for a random order, exact; ``images``, ``texts``: how many were ranked; for
        both directions ``{"recall@k": ..., "median_rank": ...}``, ranks from 1; ``chances`` of each
        recall; with ``details`` intervals, and ``score_interval``.

    Raises:
        DataError: fewer than two validation images.
    """
    captions = data.validation_texts(source)
    if len(captions) < 2:
        raise DataError(
            f"Source {source!r} has {len(captions)} validation images; retrieval needs at least two. Raise "
            "data.validation.fraction."
        )
    if duplicates == "merge":
        matches = Matches.merged(list(_contents(data, source)), captions)
    else:
        matches = Matches.separate(captions)
    flat = list(matches.texts)
    with judged(model):
        images, _ = _encode_images(model, data, source)
        vectors = torch.cat([_encode_text(model, data, flat[i : i + 64]) for i in range(0, len(flat), 64)])
    report = matched_report(
        images[torch.from_numpy(matches.image_rows)],
        vectors,
        matches.links,
        ks=depths,
        resamples=1000 if details else 0,
    )
    return {**report.to_dict(details=details), "duplicates": duplicates}


def validation_loss(model: ContrastiveModel, objective: Objective, data: TrainingData) -> float | None:
    """Return the mean objective over the validation batches; None without a batch or a finite mean."""
    needs, losses = objective.needs, []
    with judged(model), judged(objective):
        for batch in data.loss_batches():
            moved = batch.to(model.device)
            outputs = model(moved, tokens=needs.tokens, extras=needs.output_extras)
            losses.append(float(objective(outputs, moved)["loss"]))
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


def _contents(data: TrainingData, source: str) -> Iterator[bytes]:
    """Yield a digest of the pixels of each validation image, as the model gets them."""
    for pixels, _ in data.validation_batches(source):
        for image in pixels:
            yield hashlib.sha256(image.contiguous().numpy().tobytes()).digest()


def _encode_text(model: ContrastiveModel, data: TrainingData, texts: list[str]) -> Tensor:
    inputs = data.processor("text", texts)
    return model.encode("text", on_device(model, inputs)).cpu()


def _encode_images(model: ContrastiveModel, data: TrainingData, source: str) -> tuple[Tensor, Tensor]:
    """Return embeddings [N, D] and class indices [N] of a source's validation images."""
    parts = [
        (model.encode("image", {"pixels": pixels.to(model.device)}).cpu(), targets)
        for pixels, targets in data.validation_batches(source)
    ]
    return torch.cat([embeddings for embeddings, _ in parts]), torch.cat([targets for _, targets in parts])
