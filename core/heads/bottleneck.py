"""A classifier that decides through named concepts, so that every answer can be taken apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from ..config import Config
from ..errors import ConfigError, InputError
from ..types import Modality, Outputs
from .base import as_embeddings, check_names, parse_head, pick


@dataclass(frozen=True)
class BottleneckTraining:
    """How a :class:`ConceptBottleneck` is fitted.

    Attributes:
        lr: of Adam. batch_size, epochs: passes over the shuffled rows. seed: of that order.
        pull: how strongly the matrix is held at its start, which keeps concepts with the classes they
            were named for: ``pull * mean((M - M0)^2)`` is added to the loss.
        center: subtract each concept's mean score over the training rows and divide by its spread, and
            let weights be negative; otherwise cosines with weights from a softmax. (The original takes dot
            products of features as they leave the towers; here their length never counts, so its
            learning rate and scale need not suit.) Centred, an absent concept counts too, and the
            weights of several correlated concepts are less easy to read.
    """

    lr: float = 5e-4
    batch_size: int = 256
    epochs: int = 500
    seed: int = 0
    pull: float = 0.0
    center: bool = False

    def check(self) -> None:
        """Raise ``ConfigError`` for a value that cannot be used."""
        low = min(self.lr, self.batch_size, self.epochs)
        if low <= 0 or self.pull < 0:
            raise ConfigError(
                "Bottleneck training needs lr, batch_size and epochs above 0 and pull of at least 0; got "
                f"{self}."
            )


@dataclass(frozen=True)
class Contribution:
    """What one concept added to the logit of a class.

    Attributes:
        concept: its words.
        activation: its score on the picture, as the matrix sees it.
        weight: how much the class heeds it: its share, or any number where weights are signed.
        logit: weight times activation times the scale; these sum to the class's logit.
    """

    concept: str
    activation: float
    weight: float
    logit: float


@dataclass(frozen=True)
class Explanation:
    """Why a picture got its class.

    Attributes:
        label: the class explained. score: its probability. logit: the sum of all contributions.
        contributions: of every concept, the largest in size first.
    """

    label: str
    score: float
    logit: float
    contributions: tuple[Contribution, ...]

    def __str__(self) -> str:
        return self.table()

    def table(self, count: int = 8) -> str:
        """Return the ``count`` concepts that decided most, one per line, as text."""
        shown = self.contributions[:count]
        width = max([len(one.concept) for one in shown], default=0)
        lines = [f"{self.label}  probability {self.score:.3f}  logit {self.logit:+.2f}"]
        lines += [
            f"  {one.logit:+8.3f}  {one.concept:<{width}}  "
            f"activation {one.activation:+.3f}, weight {one.weight:+.3f}"
            for one in shown
        ]
        rest = self.contributions[count:]
        if rest:
            lines.append(f"  {sum(one.logit for one in rest):+8.3f}  {len(rest)} other concepts")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


class ConceptBottleneckConfig(Config):
    """``head.json`` of a :class:`ConceptBottleneck`."""

    kind: Literal["concept_bottleneck"] = "concept_bottleneck"
    modality: Modality = "image"
    class_names: tuple[str, ...] = Field(min_length=2)
    concepts: tuple[str, ...] = Field(min_length=1)
    scale: float = Field(gt=0)
    signed: bool = False


class ConceptBottleneck:
    """Classes as weighted sums of concept scores: ``logits = s a W^T``.

    ``a`` are the cosines of an embedding with the C concept embeddings (centred when so fitted) and W
    is the softmax over concepts of a class-concept matrix M. With signed weights W is M itself.

    Args:
        concept_weights: float [C, D], unit text embeddings.
        matrix: float [K, C], M.
        class_names, concepts: K answer keys and C concepts.
        scale: s, usually the model's logit scale.
        statistics: float [2, C], what is subtracted from each cosine and what it is divided by.
        signed: see above.

    Raises:
        InputError: shapes disagree.

    Reference: Yang et al. 2023, Language in a Bottle (LaBo), section 3.3, without its concept
        selection and with cosines in place of its dot products of features of any length.
    """

    kind: ClassVar[str] = "concept_bottleneck"
    modality: Modality = "image"

    def __init__(
        self,
        concept_weights: Tensor,
        matrix: Tensor,
        class_names: Sequence[str],
        concepts: Sequence[str],
        *,
        scale: float,
        statistics: Tensor | None = None,
        signed: bool = False,
    ) -> None:
        self.concept_weights = F.normalize(as_embeddings(concept_weights), dim=-1)
        self.matrix = matrix.detach().float()
        self.class_names, self.concepts = tuple(class_names), tuple(concepts)
        self.scale, self.signed = float(scale), signed
        shape = (len(self.class_names), len(self.concepts))
        if tuple(self.matrix.shape) != shape or len(self.concept_weights) != shape[1]:
            raise InputError(
                f"{shape[0]} classes and {shape[1]} concepts need a matrix of {list(shape)} and {shape[1]} "
                f"concept embeddings; got {list(self.matrix.shape)} and {len(self.concept_weights)}."
            )
        plain = torch.stack([torch.zeros(shape[1]), torch.ones(shape[1])])
        self.statistics = plain if statistics is None else statistics.detach().float()

    @classmethod
    def fit(
        cls,
        embeddings: Tensor,
        targets: ArrayLike,
        class_names: Sequence[str],
        *,
        concepts: Mapping[str, Sequence[str]] | Sequence[str],
        concept_weights: Tensor,
        scale: float,
        training: BottleneckTraining | None = None,
    ) -> ConceptBottleneck:
        """Return a fitted bottleneck; equal inputs give equal weights on one machine.

        Args:
            embeddings: float [N, D]. targets: int [N] in [0, K), every class present.
            class_names: K answer keys.
            concepts: {class: its concepts}, for a start at 1 where a concept belongs to a class; or C
                concepts without a class, for a start at 0.
            concept_weights: float [C, D], text embeddings in the order of ``concepts``.
            scale: the model's logit scale; centred scores need none and have 1.
            training: None is :class:`BottleneckTraining` as it stands.

        Raises:
            InputError: shapes disagree, a class without rows, no concept, or one named twice.
        """
        training = training or BottleneckTraining()
        training.check()
        words, start = _initial(class_names, concepts)
        features = F.normalize(as_embeddings(embeddings), dim=-1)
        labels = _labels(targets, len(features), class_names)
        head = cls(concept_weights, start, class_names, words, scale=scale, signed=training.center)
        head.concept_weights = head.concept_weights.to(features.device)
        if training.center:
            cosines = features @ head.concept_weights.T
            spread = cosines.std(dim=0, correction=0).clamp(min=1e-6)
            head.statistics = torch.stack([cosines.mean(dim=0), spread]).cpu()
            head.scale = 1.0
        head.matrix = _train(head, head.activations(features), labels.to(features.device), training)
        return head

    def activations(self, embeddings: Tensor) -> Tensor:
        """Return the score of every concept, float32 [B, C]."""
        embeddings = as_embeddings(embeddings, width=self.concept_weights.shape[1])
        cosines = F.normalize(embeddings, dim=-1) @ self.concept_weights.to(embeddings.device).T
        mean, spread = self.statistics.to(embeddings.device)
        return (cosines - mean) / spread

    @property
    def weights(self) -> Tensor:
        """W, float32 [K, C]: how much each class heeds each concept."""
        return _weights(self.matrix, signed=self.signed)

    def logits(self, embeddings: Tensor) -> Tensor:
        """Return ``s a W^T`` float32 [B, K]."""
        return self.scale * self.activations(embeddings) @ self.weights.to(embeddings.device).T

    def scores(self, embeddings: Tensor) -> Tensor:
        """Return probabilities float32 [B, K] for embeddings float [B, D]."""
        return self.logits(embeddings).softmax(dim=-1)

    def __call__(self, outputs: Outputs) -> dict[str, Tensor]:
        """Return ``logits`` and ``probabilities`` float32 [B, K] and ``concepts`` float32 [B, C]."""
        embeddings = pick(outputs, self.modality)
        logits = self.logits(embeddings)
        return {
            "logits": logits,
            "probabilities": logits.softmax(dim=-1),
            "concepts": self.activations(embeddings),
        }

    def explain(self, embeddings: Tensor, label: str | None = None) -> list[Explanation]:
        """Return for each row what every concept added to the logit of a class.

        Args:
            embeddings: float [B, D].
            label: the class to explain; None is each row's most probable one.

        Raises:
            InputError: unknown label.
        """
        if label is not None and label not in self.class_names:
            raise InputError(f"No class {label!r}; there are: {', '.join(self.class_names)}.")
        activations, probabilities = self.activations(embeddings).cpu(), self.scores(embeddings).cpu()
        weights = self.weights.cpu()
        answers = []
        for row, scores in zip(activations, probabilities, strict=True):
            k = int(scores.argmax()) if label is None else self.class_names.index(label)
            parts = self.scale * row * weights[k]
            order = parts.abs().argsort(descending=True, stable=True).tolist()
            columns = row.tolist(), weights[k].tolist(), parts.tolist()
            told = tuple(Contribution(self.concepts[c], *(values[c] for values in columns)) for c in order)
            answers.append(Explanation(self.class_names[k], float(scores[k]), float(parts.sum()), told))
        return answers

    def to_config(self) -> dict[str, Any]:
        """Return everything but the tensors."""
        return ConceptBottleneckConfig(
            modality=self.modality,
            class_names=self.class_names,
            concepts=self.concepts,
            scale=self.scale,
            signed=self.signed,
        ).model_dump(mode="json")

    def tensors(self) -> dict[str, Tensor]:
        """Return ``concept_weights`` [C, D], ``matrix`` [K, C] and ``statistics`` [2, C]."""
        return {
            "concept_weights": self.concept_weights,
            "matrix": self.matrix,
            "statistics": self.statistics,
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> ConceptBottleneck:
        """Return the head that :meth:`to_config` and :meth:`tensors` describe."""
        shapes = {"concept_weights": ("C", "D"), "matrix": ("K", "C"), "statistics": ("S", "C")}
        parsed = parse_head(ConceptBottleneckConfig, config, tensors, shapes)
        check_names(parsed.class_names, len(tensors["matrix"]))
        head = cls(
            tensors["concept_weights"],
            tensors["matrix"],
            parsed.class_names,
            parsed.concepts,
            scale=parsed.scale,
            statistics=tensors["statistics"],
            signed=parsed.signed,
        )
        head.modality = parsed.modality
        return head


def _weights(matrix: Tensor, *, signed: bool) -> Tensor:
    return matrix if signed else matrix.softmax(dim=-1)


def _initial(
    class_names: Sequence[str], concepts: Mapping[str, Sequence[str]] | Sequence[str]
) -> tuple[list[str], Tensor]:
    """Return the concepts in order and the matrix [K, C] that training starts from."""
    if isinstance(concepts, str):
        raise InputError(
            f"concepts must be a list or a mapping of classes, got the string {concepts[:60]!r}."
        )
    if isinstance(concepts, Mapping):
        strangers = [name for name in concepts if name not in class_names]
        if strangers:
            raise InputError(
                f"Concepts are given for {strangers[0]!r}, which is no class; there are: "
                f"{', '.join(class_names)}."
            )
        words = list(dict.fromkeys(word for own in concepts.values() for word in own))
        owners = [[word in concepts.get(name, ()) for word in words] for name in class_names]
        start = torch.tensor(owners, dtype=torch.float32)
    else:
        words = list(concepts)
        start = torch.zeros(len(class_names), len(words))
    if not words or len(set(words)) != len(words) or not all(word.strip() for word in words):
        raise InputError(f"Give at least one concept, none empty and none twice; got {words!r:.120}.")
    return words, start


def _labels(targets: ArrayLike, count: int, class_names: Sequence[str]) -> Tensor:
    labels = np.asarray(targets)
    if labels.shape != (count,) or not np.issubdtype(labels.dtype, np.integer):
        raise InputError(f"targets must be {count} class indices, got {labels.dtype} {labels.shape}.")
    if len(labels) and (labels.min() < 0 or labels.max() >= len(class_names)):
        raise InputError(
            f"targets must lie in [0, {len(class_names)}), got {labels.min()} to {labels.max()}."
        )
    absent = np.flatnonzero(np.bincount(labels, minlength=len(class_names)) == 0)
    if len(absent):
        raise InputError(
            f"Class {class_names[absent[0]]!r} has no training rows; add some or drop the class."
        )
    return torch.from_numpy(labels.astype(np.int64))


def _train(
    head: ConceptBottleneck, activations: Tensor, labels: Tensor, training: BottleneckTraining
) -> Tensor:
    """Return the fitted matrix; order and arithmetic depend on the seed alone."""
    start = head.matrix.to(activations.device)
    matrix = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([matrix], lr=training.lr)
    generator = torch.Generator().manual_seed(training.seed)
    with torch.enable_grad():
        for _ in range(training.epochs):
            order = torch.randperm(len(labels), generator=generator).to(labels.device)
            for rows in order.split(training.batch_size):
                logits = head.scale * activations[rows] @ _weights(matrix, signed=head.signed).T
                loss = F.cross_entropy(logits, labels[rows])
                loss = loss + training.pull * (matrix - start).square().mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
    return matrix.detach().cpu()
