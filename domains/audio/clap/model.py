"""The architecture ``clap``: recordings and sentences in one space, as LAION-CLAP was published.

The towers are those of transformers, built from plain values: a hierarchical Swin transformer over a mel
spectrogram, and RoBERTa. Models with feature fusion look at a recording longer than their window as a
whole and in three pieces at once; see :mod:`verticlip.domains.audio.clap.features`.

Reference: Wu et al., "Large-Scale Contrastive Language-Audio Pretraining with Feature Fusion and
Keyword-to-Caption Augmentation", 2023; transformers, ``ClapModel``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ....core.config import ModelConfig, TransformersTower
from ....core.errors import ConfigError, InputError
from ....core.model import ContrastiveModel
from ....core.processing import Processor
from ....core.towers import Tower, TransformersAdapter
from ....core.types import TokenOutput, TowerOutput
from .features import fused_features

FUSED_S = 600.0
"""Up to this length a recording is fused; shrunk to one window, an hour would be a blur."""

_BACKENDS = {"audio": "clap_audio_model", "text": "roberta"}


class ClapProjection(nn.Module):
    """Linear, ReLU, linear, into the joint space."""

    def __init__(self, width: int, dim: int) -> None:
        super().__init__()
        self.linear1 = nn.Linear(width, dim)
        self.linear2 = nn.Linear(dim, dim)

    def forward(self, pooled: Tensor) -> Tensor:
        """Return float [B, D] of float [B, W]."""
        return self.linear2(F.relu(self.linear1(pooled)))


class FusionTower(Tower):
    """The audio tower of models with feature fusion.

    ``tower({"features": float [B, C, frames, n_mels], "is_longer": bool [B, 1]})``: C is 1 for windows, or 4
    where ``is_longer`` marks rows that hold a whole recording and three pieces of it.
    """

    def __init__(self, adapter: TransformersAdapter) -> None:
        super().__init__()
        self.model, self.width = adapter.model, adapter.width

    def forward(self, inputs: Mapping[str, Tensor], *, tokens: bool = False) -> TowerOutput:
        """Return pooled [B, W]; tokens [B, N, W] of the last feature map."""
        features, longer = inputs["features"], inputs.get("is_longer")
        if longer is None:
            longer = torch.zeros(features.shape[0], 1, dtype=torch.bool, device=features.device)
        if features.shape[1] != 4 and bool(longer.any()):
            raise InputError(
                f"is_longer marks recordings that are fused from 4 spectrograms, and features have "
                f"{features.shape[1]} channels. Make them with fused_features, or leave is_longer out."
            )
        result = self.model(input_features=features, is_longer=longer)
        if not tokens:
            return TowerOutput(result.pooler_output)
        states = result.last_hidden_state.flatten(2).transpose(1, 2)
        return TowerOutput(result.pooler_output, TokenOutput(states))


class Clap(ContrastiveModel):
    """Recordings and sentences in one space.

    Towers are any of ``audio`` (backend ``transformers``, ``clap_audio_model``) and ``text`` (backend
    ``transformers``, ``roberta``), both pooled by ``pooler``; ``projection`` of both is ``mlp``, whose form
    here is that of the paper. ``logit_scale`` is that of audio against texts; ``logit_scale_text`` the other
    direction's, which the paper trains separately.

    Raises:
        ConfigError: towers that this architecture does not take.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        if config.options:
            raise ConfigError(
                f"{config.name}: architecture 'clap' takes no options, got {list(config.options)}."
            )
        for modality, tower in config.towers.items():
            wanted = _BACKENDS.get(modality)
            kind = tower.model_type if isinstance(tower, TransformersTower) else tower.backend
            if not isinstance(tower, TransformersTower) or kind != wanted or tower.pooling != "pooler":
                raise ConfigError(
                    f"{config.name}: architecture 'clap' takes an audio tower of transformers "
                    f"'clap_audio_model' and a text tower 'roberta', both pooled by 'pooler', not "
                    f"{modality!r} as {kind!r}."
                )
            adapter = cast("TransformersAdapter", self.towers[modality])
            if tower.options.get("enable_fusion"):
                self.towers[modality] = FusionTower(adapter)
            self.projections[modality] = ClapProjection(adapter.width, config.embed_dim)
        self.logit_scale_text = nn.Parameter(torch.tensor(config.logit_scale))

    @property
    def fuses(self) -> bool:
        """Whether the audio tower can look at recordings longer than its window in one go."""
        return isinstance(self.towers["audio"], FusionTower) if "audio" in self.towers else False

    def sees_whole(self, modality: str, seconds: float) -> bool:
        """Return whether the model fuses and a recording is no longer than :data:`FUSED_S`."""
        return modality == "audio" and self.fuses and seconds <= FUSED_S

    def inputs_of_whole(self, modality: str, value: Tensor, processor: Processor) -> dict[str, Tensor]:
        """Return the fused features of a recording float32 [T]."""
        config = processor.config.audio
        if modality != "audio" or not self.fuses or config is None:
            return super().inputs_of_whole(modality, value, processor)
        return fused_features(value, config)
