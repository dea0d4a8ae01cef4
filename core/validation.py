"""How a training run is judged: zero-shot accuracy on the validation split of every source."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .heads.zero_shot import ZeroShotHead, class_embeddings
from .metrics.classification import classification_report
from .model import ContrastiveModel

if TYPE_CHECKING:
    from .training_data import TrainingData


def evaluate_zero_shot(
    model: ContrastiveModel, data: TrainingData, *, details: bool = False
) -> dict[str, Any]:
    """Return how well text prompts alone classify the validation images.

    Args:
        model: any mode; put back as it was.
        data: gives validation images per source, and the prompt set.
        details: full reports with 95 % intervals instead of the plain numbers.

    Returns:
        ``score`` (mean over sources of balanced accuracy among the source's own classes), ``chance``
        (the same for guessing), ``across`` (accuracy among all classes of all sources), ``sources``
        {name: {accuracy, balanced_accuracy} or a full report}.
    """
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            weights = class_embeddings(data.prompts, lambda texts: _encode_text(model, data, texts))
            embedded = {name: _encode_images(model, data, name) for name in data.validation}
    finally:
        model.train(was_training)
    scale = model.scale().item()
    bias = None if model.logit_bias is None else model.logit_bias.item()
    names = data.prompts.class_names
    report: dict[str, Any] = {"sources": {}}
    balanced, chance, hits, count = [], [], 0, 0
    for source, (embeddings, targets) in embedded.items():
        own = data.source_classes(source)
        head = ZeroShotHead(weights[own], [names[index] for index in own], scale=scale, bias=bias)
        local = torch.tensor([own.index(int(target)) for target in targets])
        probabilities = head.scores(embeddings)
        predicted = head.logits(embeddings).argmax(dim=1)
        recalls = [
            float((predicted[local == index] == index).float().mean()) for index in local.unique().tolist()
        ]
        balanced.append(sum(recalls) / len(recalls))
        chance.append(1 / len(own))
        everywhere = ZeroShotHead(weights, names, scale=scale, bias=bias).logits(embeddings).argmax(dim=1)
        hits += int((everywhere == targets).sum())
        count += len(targets)
        if details:
            full = classification_report(
                probabilities.numpy(), local.numpy(), [names[index] for index in own]
            )
            report["sources"][source] = {**full.to_dict(), "images": len(targets)}
        else:
            accuracy = float((predicted == local).float().mean())
            report["sources"][source] = {"accuracy": accuracy, "balanced_accuracy": balanced[-1]}
    report |= {
        "score": sum(balanced) / len(balanced),
        "chance": sum(chance) / len(chance),
        "across": hits / count,
    }
    return report


def _encode_text(model: ContrastiveModel, data: TrainingData, texts: list[str]) -> Tensor:
    inputs = data.processor("text", texts)
    return model.encode("text", {key: value.to(model.device) for key, value in inputs.items()}).cpu()


def _encode_images(model: ContrastiveModel, data: TrainingData, source: str) -> tuple[Tensor, Tensor]:
    """Return embeddings [N, D] and class indices [N] of a source's validation images."""
    parts = [
        (model.encode("image", {"pixels": pixels.to(model.device)}).cpu(), targets)
        for pixels, targets in data.validation_batches(source)
    ]
    return torch.cat([embeddings for embeddings, _ in parts]), torch.cat([targets for _, targets in parts])
