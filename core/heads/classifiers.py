"""Classifiers fitted on frozen embeddings: linear probe and k nearest neighbours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from ..config import Config
from ..errors import InputError
from ..metrics.ranking import top_k
from ..types import Modality, Outputs
from .base import (
    Validation,
    apply_linear,
    as_embeddings,
    candidates,
    check_names,
    parse_head,
    pick,
    standardization,
)

C_GRID = tuple(10.0**power for power in range(-5, 3))
"""Inverse regularization tried by :meth:`LinearProbe.fit`, on standardized features."""


class LinearProbeConfig(Config):
    """``head.json`` of a :class:`LinearProbe`."""

    kind: Literal["linear_probe"] = "linear_probe"
    modality: Modality = "image"
    class_names: tuple[str, ...] = Field(min_length=2)
    c: float = Field(gt=0)


class LinearProbe:
    """Multinomial logistic regression on embeddings: ``softmax(e W^T + b)``.

    Args:
        weight: float [K, D]. bias: float [K].
        class_names: K answer keys.
        c: inverse regularization it was fitted with, recorded only.
        modality: whose embeddings ``__call__`` reads.
    """

    kind: ClassVar[str] = "linear_probe"

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor,
        class_names: Sequence[str],
        *,
        c: float,
        modality: Modality = "image",
    ) -> None:
        self.weight = weight.float()
        self.bias = bias.float()
        self.class_names = tuple(class_names)
        self.c = c
        self.modality: Modality = modality

    @classmethod
    def fit(
        cls,
        embeddings: Tensor,
        targets: ArrayLike,
        class_names: Sequence[str],
        *,
        c: float | None = None,
        validation: Validation | None = None,
        balanced: bool = False,
        modality: Modality = "image",
    ) -> LinearProbe:
        """Return a fitted probe.

        Args:
            embeddings: float [N, D]. targets: int [N] in [0, K), every class present.
            class_names: K answer keys.
            c: inverse regularization on standardized features, or None to choose it by
                ``validation``.
            validation: (embeddings [M, D], targets [M]) for choosing among ``C_GRID`` by balanced
                accuracy; the smaller value wins a tie.
            balanced: weigh classes inversely to their size.
            modality: whose embeddings the head will read.

        Raises:
            InputError: shapes disagree, a class has no rows, or neither ``c`` nor ``validation`` is
                given.
        """
        from sklearn.linear_model import LogisticRegression

        features, labels = _class_data(embeddings, targets, class_names)
        absent = np.flatnonzero(np.bincount(labels, minlength=len(class_names)) == 0)
        if len(absent):
            raise InputError(
                f"Class {class_names[absent[0]]!r} has no training rows; add some or drop the class."
            )
        mean, spread = standardization(features)
        tried: list[tuple[float, LinearProbe]] = []
        for strength in candidates(c, validation, C_GRID, "c"):
            model = LogisticRegression(
                C=strength, max_iter=2000, class_weight="balanced" if balanced else None
            ).fit((features - mean) / spread, labels)
            weight, bias = model.coef_, model.intercept_
            if len(class_names) == 2:
                # scikit-learn keeps one row for two classes; softmax over [0, z] equals sigmoid(z).
                weight, bias = np.concatenate([0 * weight, weight]), np.concatenate([0 * bias, bias])
            probe = cls(
                torch.from_numpy(weight / spread),
                torch.from_numpy(bias - (weight / spread) @ mean),
                class_names,
                c=strength,
                modality=modality,
            )
            if validation is None:
                return probe
            tried.append((probe._balanced_accuracy(*validation), probe))
        return max(tried, key=lambda pair: pair[0])[1]

    def _balanced_accuracy(self, embeddings: Tensor, targets: ArrayLike) -> float:
        _, labels = _class_data(embeddings, targets, self.class_names)
        predicted = self.logits(embeddings).argmax(dim=1).cpu().numpy()
        return float(np.mean([(predicted[labels == k] == k).mean() for k in np.unique(labels)]))

    def logits(self, embeddings: Tensor) -> Tensor:
        """Return ``e W^T + b`` float32 [B, K]."""
        return apply_linear(embeddings, self.weight, self.bias)

    def scores(self, embeddings: Tensor) -> Tensor:
        """Return probabilities float32 [B, K] for embeddings float [B, D]."""
        return self.logits(embeddings).softmax(dim=-1)

    def __call__(self, outputs: Outputs) -> dict[str, Tensor]:
        """Return ``logits`` and ``probabilities`` float32 [B, K]."""
        logits = self.logits(pick(outputs, self.modality))
        return {"logits": logits, "probabilities": logits.softmax(dim=-1)}

    def to_config(self) -> dict[str, Any]:
        """Return everything but the tensors."""
        config = LinearProbeConfig(modality=self.modality, class_names=self.class_names, c=self.c)
        return config.model_dump(mode="json")

    def tensors(self) -> dict[str, Tensor]:
        """Return ``weight`` [K, D] and ``bias`` [K]."""
        return {"weight": self.weight, "bias": self.bias}

    @classmethod
    def from_config(cls, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> LinearProbe:
        """Return the probe that :meth:`to_config` and :meth:`tensors` describe."""
        parsed = parse_head(LinearProbeConfig, config, tensors, {"weight": ("K", "D"), "bias": ("K",)})
        check_names(parsed.class_names, len(tensors["bias"]))
        return cls(
            tensors["weight"], tensors["bias"], parsed.class_names, c=parsed.c, modality=parsed.modality
        )


class KNNConfig(Config):
    """``head.json`` of a :class:`KNN`."""

    kind: Literal["knn"] = "knn"
    modality: Modality = "image"
    class_names: tuple[str, ...] = Field(min_length=2)
    k: int = Field(ge=1)
    temperature: float | None = Field(default=None, gt=0)


class KNN:
    """Vote of the k training embeddings with the highest cosine; ties go to the earlier row.

    Args:
        embeddings: float [N, D]. targets: int64 [N] in [0, K).
        class_names: K answer keys.
        k: neighbours, from 1 to N.
        temperature: neighbours vote with weight ``exp(cosine / temperature)``; None: all alike.
        modality: whose embeddings ``__call__`` reads.

    Raises:
        InputError: shapes disagree or k is out of range.
    """

    kind: ClassVar[str] = "knn"

    def __init__(
        self,
        embeddings: Tensor,
        targets: ArrayLike,
        class_names: Sequence[str],
        *,
        k: int = 20,
        temperature: float | None = None,
        modality: Modality = "image",
    ) -> None:
        _, labels = _class_data(embeddings, targets, class_names)
        if not 1 <= k <= len(embeddings):
            raise InputError(f"k must be from 1 to {len(embeddings)} (the training rows), got {k}.")
        self.embeddings = F.normalize(as_embeddings(embeddings), dim=-1)
        self.targets = torch.from_numpy(labels).to(embeddings.device)
        self.class_names = tuple(class_names)
        self.k = k
        self.temperature = temperature
        self.modality: Modality = modality

    def scores(self, embeddings: Tensor) -> Tensor:
        """Return the share of the vote per class, float32 [B, K], for embeddings float [B, D]."""
        embeddings = as_embeddings(embeddings, width=self.embeddings.shape[1])
        ids, cosines = top_k(F.normalize(embeddings, dim=-1), self.embeddings.to(embeddings.device), self.k)
        votes = torch.ones_like(cosines)
        if self.temperature is not None:
            votes = (cosines / self.temperature).softmax(dim=1)
        share = votes / votes.sum(dim=1, keepdim=True)
        labels = self.targets.to(embeddings.device)[ids]
        return embeddings.new_zeros(len(embeddings), len(self.class_names)).scatter_add_(1, labels, share)

    def __call__(self, outputs: Outputs) -> dict[str, Tensor]:
        """Return ``probabilities`` float32 [B, K]."""
        return {"probabilities": self.scores(pick(outputs, self.modality))}

    def to_config(self) -> dict[str, Any]:
        """Return everything but the tensors."""
        return KNNConfig(
            modality=self.modality, class_names=self.class_names, k=self.k, temperature=self.temperature
        ).model_dump(mode="json")

    def tensors(self) -> dict[str, Tensor]:
        """Return ``embeddings`` [N, D] and ``targets`` [N]."""
        return {"embeddings": self.embeddings, "targets": self.targets}

    @classmethod
    def from_config(cls, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> KNN:
        """Return the head that :meth:`to_config` and :meth:`tensors` describe."""
        parsed = parse_head(KNNConfig, config, tensors, {"embeddings": ("N", "D"), "targets": ("N",)})
        return cls(
            tensors["embeddings"],
            tensors["targets"].numpy(),
            parsed.class_names,
            k=parsed.k,
            temperature=parsed.temperature,
            modality=parsed.modality,
        )


def _class_data(
    embeddings: Tensor, targets: ArrayLike, class_names: Sequence[str]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return features float64 [N, D] and labels int64 [N] after checking that they agree."""
    features = as_embeddings(embeddings).cpu().numpy().astype(np.float64)
    labels = np.asarray(targets)
    if labels.shape != (len(features),) or not np.issubdtype(labels.dtype, np.integer):
        raise InputError(f"targets must be {len(features)} class indices, got {labels.dtype} {labels.shape}.")
    if len(labels) and (labels.min() < 0 or labels.max() >= len(class_names)):
        raise InputError(
            f"targets must lie in [0, {len(class_names)}), got {labels.min()} to {labels.max()}; "
            "class_names must cover every class."
        )
    return features, labels.astype(np.int64)
