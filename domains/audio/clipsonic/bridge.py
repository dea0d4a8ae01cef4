"""From the embeddings of one modality to where those of another lie.

Towers trained by contrast keep the embeddings of each modality in a narrow cone of its own. A network that
learned to follow images answers texts better once the difference of the cones is taken away.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ....core.errors import InputError, nearest
from .options import Bridging


class Bridge(nn.Module):
    """Mean and deviation of the unit embeddings of each modality, stored with the weights.

    Args:
        modalities: those of the model.
        width: values of an embedding.

    Reference: Liang et al., "Mind the Gap", 2022; standardization: I0T, arXiv 2412.14384; centering: C3,
    arXiv 2401.08567.
    """

    def __init__(self, modalities: Sequence[str], width: int) -> None:
        super().__init__()
        self.modalities = tuple(modalities)
        for name in self.modalities:
            self.register_buffer(f"{name}_mean", torch.zeros(width))
            self.register_buffer(f"{name}_std", torch.ones(width))

    @torch.no_grad()
    def measure(self, modality: str, embeddings: Tensor) -> None:
        """Take mean and deviation from unit embeddings float32 [N, D] of one modality.

        Raises:
            InputError: another modality, or fewer than two embeddings.
        """
        mean, std = self._of(modality)
        if len(embeddings) < 2:
            raise InputError(f"{modality}: {len(embeddings)} embeddings have no deviation. Pass two or more.")
        mean.copy_(embeddings.mean(dim=0))
        # A value that never changes stays where it is.
        std.copy_(embeddings.std(dim=0).clamp(min=1e-4))

    def knows(self, modality: str) -> bool:
        """Return whether the embeddings of ``modality`` were measured."""
        return bool(self._of(modality)[0].any())

    def forward(
        self, embeddings: Tensor, source: str, target: str, *, how: Bridging, center: bool = False
    ) -> Tensor:
        """Return unit vectors float32 [B, D] as ``target`` would have them.

        Args:
            embeddings: float32 [B, D] of modality ``source``, unit length.
            how: ``shift`` is normalize(e - mean of source + mean of target), ``standardize`` also
                divides by the deviation of the source and multiplies by that of the target, ``none`` does
                neither.
            center: subtract the mean of the target in the end.

        Raises:
            InputError: a modality the model lacks, or one that was never measured.
        """
        mean, std = self._of(target)
        if source != target and how != "none":
            for name in (source, target):
                if not self.knows(name):
                    raise InputError(
                        f"These weights carry no mean of {name} embeddings, so there is no bridge from "
                        f"{source} to {target}. Use bridge='none', or a model whose training measured both."
                    )
            own_mean, own_std = self._of(source)
            embeddings = embeddings - own_mean
            if how == "standardize":
                embeddings = embeddings / own_std * std
            embeddings = embeddings + mean
        if center:
            # Without a bridge, the own mean: both cones end up around zero.
            gone = self._of(source)[0] if how == "none" else mean
            embeddings = embeddings - gone
        return F.normalize(embeddings, dim=-1)

    def _of(self, modality: str) -> tuple[Tensor, Tensor]:
        if modality not in self.modalities:
            raise InputError(
                f"The model has no {modality!r}; it has {', '.join(self.modalities)}."
                f"{nearest(modality, self.modalities)}"
            )
        return cast("Tensor", getattr(self, f"{modality}_mean")), cast(
            "Tensor", getattr(self, f"{modality}_std")
        )
