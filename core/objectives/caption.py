"""Contrastive plus captioning objective (CoCa)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import ConfigError, InputError
from ..types import Batch, Outputs
from .base import Needs, Objective, register_objective
from .pairwise import DEFAULT_CHUNK, InfoNCE


@register_objective("coca")
class CoCa(Objective):
    """``clip_weight * InfoNCE + caption_weight * token cross-entropy``.

    Reads ``outputs.extras["caption_logits"]`` [B, L, V] and ``batch.extras["caption_labels"]``
    int64 [B, L], already shifted by one against the decoder's input. The cross-entropy is a mean
    over the non-pad tokens of the whole batch.

    Args:
        clip_weight: weight of the contrastive part; 0 leaves it out.
        caption_weight: weight of the caption part.
        pad_id: label that carries no loss.
        chunk: tile side of the contrastive part, see :class:`~.pairwise.InfoNCE`.
        modalities: the two keys of ``outputs.embeddings``.

    Returns ``{"loss", "contrastive", "caption"}``.

    Reference:
        Yu et al. 2022, CoCa: Contrastive Captioners are Image-Text Foundation Models, eq. 4.
    """

    def __init__(
        self,
        clip_weight: float = 1.0,
        caption_weight: float = 2.0,
        *,
        pad_id: int = 0,
        chunk: int | None = DEFAULT_CHUNK,
        modalities: tuple[str, str] = ("image", "text"),
    ) -> None:
        super().__init__()
        if clip_weight < 0 or caption_weight < 0:
            raise ConfigError(f"CoCa weights must be at least 0, got {clip_weight} and {caption_weight}.")
        self.clip_weight = clip_weight
        self.caption_weight = caption_weight
        self.pad_id = pad_id
        self.contrastive = InfoNCE(chunk=chunk, modalities=modalities)
        self.needs = Needs(
            modalities=modalities, output_extras=("caption_logits",), batch_extras=("caption_labels",)
        )

    def compute(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        """Return the parts ``contrastive`` and ``caption``, weighted."""
        caption = self.caption_weight * self._caption(
            outputs.extras["caption_logits"], batch.extras["caption_labels"]
        )
        if not self.clip_weight:
            return {"contrastive": torch.zeros_like(caption), "caption": caption}
        contrastive = self.contrastive.compute(outputs, batch)["contrastive"]
        return {"contrastive": self.clip_weight * contrastive, "caption": caption}

    def _caption(self, logits: Tensor, labels: Tensor) -> Tensor:
        if logits.ndim != 3 or logits.shape[:2] != labels.shape:
            raise InputError(
                f"caption_logits must be [B, L, V] and caption_labels [B, L]; "
                f"got {list(logits.shape)} and {list(labels.shape)}."
            )
        if bool((labels == self.pad_id).all()):
            raise InputError(
                f"Every caption label of the batch is the pad id {self.pad_id}: no token to learn."
            )
        if logits.dtype in (torch.float16, torch.bfloat16):
            logits = logits.float()
        return F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=self.pad_id)
