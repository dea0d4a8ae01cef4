"""The records that pass between loaders, processors, models, objectives and heads.

Shape alphabet used in every docstring: ``B`` batch, ``N`` tokens, ``D`` joint dimension, ``W``
tower width, ``C H W`` image, ``T`` samples or frames, ``F`` mel bins, ``K`` classes, ``P``
prompts, ``L`` text length, ``V`` vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import torch

Modality = Literal["image", "text", "audio", "volume", "video"]
MODALITIES: tuple[Modality, ...] = ("image", "text", "audio", "volume", "video")


@dataclass(frozen=True)
class Sample:
    """One loaded input: what every domain loader returns and every processor accepts.

    ``value`` by modality: image ``float32 [C, H, W]`` in [0, 1] with C = 1 or 3; volume
    ``float32 [1, D, H, W]``; audio ``float32 [C, T]`` in [-1, 1]; text ``str``.
    ``valid`` is None, or bool [H, W] of an image, False where it has no data: processors put a mean there.
    ``meta`` holds only what may leave the machine (spacing, modality, window, sampling rate ...).
    """

    value: Any
    modality: Modality
    meta: Mapping[str, Any] = field(default_factory=dict)
    id: str | None = None
    valid: torch.Tensor | None = field(default=None, kw_only=True)


@dataclass(frozen=True)
class TokenOutput:
    """Per-token states of a tower, kept for grounding, captioning and dense heads.

    Attributes:
        tokens: float [B, N, W] (tower width) or [B, N, D] when projected.
        grid: (rows, columns) when the N tokens tile an image row by row, else None.
        mask: bool [B, N], True at real tokens, or None when all are real.
    """

    tokens: torch.Tensor
    grid: tuple[int, int] | None = None
    mask: torch.Tensor | None = None


@dataclass(frozen=True)
class TowerOutput:
    """What one tower returns: ``pooled`` float [B, W] and, where it has them, its tokens."""

    pooled: torch.Tensor
    tokens: TokenOutput | None = None


@dataclass(frozen=True)
class Outputs:
    """What a model returns for a batch and what an objective reads.

    Attributes:
        embeddings: {modality: float [B, D]}, unit length.
        logit_scale: float scalar, already ``exp`` of the parameter.
        logit_bias: float scalar or None.
        tokens: {modality: TokenOutput}; only the modalities that were asked for.
        extras: further tensors by name, e.g. ``caption_logits`` [B, L, V], ``masks``.
    """

    embeddings: Mapping[str, torch.Tensor]
    logit_scale: torch.Tensor
    logit_bias: torch.Tensor | None = None
    tokens: Mapping[str, TokenOutput] = field(default_factory=dict)
    extras: Mapping[str, torch.Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Batch:
    """A collated batch.

    Attributes:
        inputs: {modality: {argument: tensor [B, ...]}} as the processor made them.
        labels: int64 [B] class of each row, or None.
        ids: B stable strings.
        extras: further tensors by name (masks, targets, caption labels).
    """

    inputs: Mapping[str, Mapping[str, torch.Tensor]]
    labels: torch.Tensor | None = None
    ids: tuple[str, ...] = ()
    extras: Mapping[str, torch.Tensor] = field(default_factory=dict)

    def to(self, device: torch.device) -> Batch:
        """Return the batch with every tensor on ``device``."""
        return Batch(
            {
                name: {key: tensor.to(device) for key, tensor in given.items()}
                for name, given in self.inputs.items()
            },
            None if self.labels is None else self.labels.to(device),
            self.ids,
            {key: tensor.to(device) for key, tensor in self.extras.items()},
        )

    def __len__(self) -> int:
        for arguments in self.inputs.values():
            for tensor in arguments.values():
                return len(tensor)
        return len(self.ids)
