"""Softmax with a margin over classes: embeddings whose neighbors are of their own class."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import ConfigError, InputError
from ..types import Batch, Modality, Outputs
from .base import Needs, Objective, register_objective
from .pairwise import InfoNCE

_EPS = 1e-7


@register_objective("margin_softmax")
class MarginSoftmax(Objective):
    """Cross-entropy over cosines with one learned direction per class, the own class made harder by a margin.

    With ``cos_ik`` the cosine of embedding i and class k, the logit is ``scale * cos_ik``; for the own class
    ``scale * (cos - margin)`` (``kind="cosine"``) or ``scale * cos(angle + margin)`` (``kind="angle"``, in
    radians; past pi - margin the linear continuation that keeps it falling). Classes of the run are what the
    embeddings are pulled to: with products as classes this is training for same-product search.

    Args:
        scale: inverse temperature, 10 to 64; more classes want more.
        margin: 0 to 0.5; 0 is a plain normalized softmax.
        kind: where the margin applies.
        label_smoothing: probability mass in [0, 1) spread over all classes.
        modality: whose embeddings are trained.

    Returns ``{"loss", "margin"}``. :meth:`prepare` sizes the directions before training.

    Reference: CosFace, arXiv 1801.09414, eq. 4; ArcFace, arXiv 1801.07698, eq. 3.
    """

    def __init__(
        self,
        scale: float = 24.0,
        margin: float = 0.2,
        kind: Literal["cosine", "angle"] = "cosine",
        label_smoothing: float = 0.0,
        modality: Modality = "image",
    ) -> None:
        super().__init__()
        if not (math.isfinite(scale) and scale > 0):
            raise ConfigError(f"scale must be above 0, got {scale}.")
        if not 0 <= margin < 1:
            raise ConfigError(f"margin must be in [0, 1), got {margin}.")
        if not 0 <= label_smoothing < 1:
            raise ConfigError(f"label_smoothing must be in [0, 1), got {label_smoothing}.")
        self.scale, self.margin, self.kind = scale, margin, kind
        self.label_smoothing = label_smoothing
        self.modality: Modality = modality
        self.needs = Needs(modalities=(modality,), labels=True)
        self.directions = nn.Parameter(torch.zeros(1, 1))

    def prepare(self, width: int, class_names: Sequence[str]) -> None:
        """Draw one direction of ``width`` D values per class."""
        if len(class_names) < 2:
            raise ConfigError(f"A margin between classes needs two or more of them, got {len(class_names)}.")
        self.directions = nn.Parameter(F.normalize(torch.randn(len(class_names), width), dim=-1))

    def logits(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Return logits [B, K] of unit embeddings [B, D], the margin taken at ``labels`` int64 [B]."""
        cosines = embeddings @ F.normalize(self.directions.to(embeddings.dtype), dim=-1).T
        own = cosines.gather(1, labels[:, None])
        if self.kind == "cosine":
            harder = own - self.margin
        else:
            # acos has no slope at the ends.
            inside = own.clamp(-1 + _EPS, 1 - _EPS)
            moved = torch.cos(torch.acos(inside) + self.margin)
            harder = torch.where(
                inside > math.cos(math.pi - self.margin), moved, inside - self.margin * math.sin(self.margin)
            )
        return self.scale * cosines.scatter(1, labels[:, None], harder)

    def compute(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        """Return the mean cross-entropy over the rows.

        Raises:
            InputError: a row without class, or of one that the objective was not prepared for.
        """
        embeddings = outputs.embeddings[self.modality]
        return {"margin": self._loss(embeddings, batch)}

    def _loss(self, embeddings: Tensor, batch: Batch) -> Tensor:
        labels = batch.labels
        if labels is None or int(labels.min()) < 0 or int(labels.max()) >= len(self.directions):
            raise InputError(
                f"The objective knows classes 0 to {len(self.directions) - 1}, and the batch has "
                f"{None if labels is None else labels.tolist()}."
            )
        if embeddings.shape[1] != self.directions.shape[1]:
            raise InputError(
                f"Embeddings have {embeddings.shape[1]} values and the classes {self.directions.shape[1]}."
            )
        return F.cross_entropy(self.logits(embeddings, labels), labels, label_smoothing=self.label_smoothing)


@register_objective("aligned_retrieval")
class AlignedRetrieval(MarginSoftmax):
    """Margin softmax over classes of images, together with contrast of images and texts.

    The second part holds images where their words are while the first moves them towards their class; with
    texts chosen by the untuned model itself (pseudo-captions) no captions are needed.

    Args:
        scale, margin, kind, label_smoothing: as in :class:`MarginSoftmax`, whose part is weighted 1.
        weight: of the image-text contrast.
        positives: ``pairs`` or ``labels``, as in :class:`InfoNCE`.

    Returns ``{"loss", "margin", "contrastive"}``.

    Reference: Schall et al. 2024, Optimizing CLIP Models for Image Retrieval with Maintained Joint-Embedding
    Alignment, arXiv 2409.01936 (MCIP); the weights of the parts are ours.
    """

    def __init__(
        self,
        scale: float = 24.0,
        margin: float = 0.2,
        kind: Literal["cosine", "angle"] = "cosine",
        label_smoothing: float = 0.0,
        weight: float = 1.0,
        positives: Literal["pairs", "labels"] = "pairs",
    ) -> None:
        super().__init__(scale, margin, kind, label_smoothing)
        if not (math.isfinite(weight) and weight > 0):
            raise ConfigError(f"weight must be above 0, got {weight}; without it use margin_softmax.")
        self.weight = weight
        self.contrast = InfoNCE(positives=positives)
        self.needs = Needs(modalities=("image", "text"), labels=True)

    def compute(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        """Return both parts."""
        margin = self._loss(outputs.embeddings["image"], batch)
        return {"margin": margin, "contrastive": self.weight * self.contrast(outputs, batch)["loss"]}
