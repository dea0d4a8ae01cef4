"""Towers by backend: one adapter class each, all with the same call.

``tower(inputs, tokens=False) -> TowerOutput``. Inputs by modality, as the processor makes them:
image ``{"pixels": float [B, C, H, W]}``, text ``{"input_ids": int64 [B, L], "attention_mask":
int64 [B, L]}``, audio ``{"features": float [B, C, T, F]}``.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from .config import (
    BertTower,
    CausalTextTower,
    OpenClipTower,
    TimmTower,
    TowerConfig,
    TransformersTower,
    VisionTransformerTower,
)
from .errors import ConfigError, nearest
from .types import TokenOutput, TowerOutput


class Tower(nn.Module):
    """Base of every tower. Subclasses set ``width``, the size W of the pooled state."""

    width: int

    def forward(self, inputs: Mapping[str, Tensor], *, tokens: bool = False) -> TowerOutput:
        """Return the pooled state [B, W] and, when ``tokens``, the per-token states."""
        raise NotImplementedError

    def project(self, states: Tensor) -> Tensor:
        """Return [..., ``width``] from states [..., W] that have passed the last norm."""
        return states


class TimmAdapter(Tower):
    """A backbone of timm for images or spectrograms: global pooling, feature map as tokens."""

    def __init__(self, config: TimmTower) -> None:
        super().__init__()
        import timm

        known = timm.list_models()
        if config.architecture not in known:
            raise ConfigError(
                f"timm has no architecture {config.architecture!r}.{nearest(config.architecture, known)}"
            )
        try:
            # Any: timm's models share these methods by convention, not by a type.
            model: Any = timm.create_model(
                config.architecture, pretrained=False, num_classes=0, **_no_loading(config.options)
            )
        except TypeError as error:
            raise ConfigError(f"timm {config.architecture!r} does not take these options: {error}.") from None
        self.model: Any = model
        self.width = int(model.num_features)

    def forward(self, inputs: Mapping[str, Tensor], *, tokens: bool = False) -> TowerOutput:
        """Return pooled [B, W]; tokens [B, rows * columns, W] of the last feature map."""
        # A spectrogram is a picture of one channel: backbones for images read both.
        features = self.model.forward_features(inputs["pixels"] if "pixels" in inputs else inputs["features"])
        pooled = self.model.forward_head(features, pre_logits=True)
        if not tokens:
            return TowerOutput(pooled)
        if features.ndim == 4:
            grid = (features.shape[2], features.shape[3])
            return TowerOutput(pooled, TokenOutput(features.flatten(2).transpose(1, 2), grid))
        prefix = int(getattr(self.model, "num_prefix_tokens", 0))
        patch_embed = getattr(self.model, "patch_embed", None)
        grid = getattr(patch_embed, "grid_size", None)
        return TowerOutput(pooled, TokenOutput(features[:, prefix:], tuple(grid) if grid else None))


class OpenClipAdapter(Tower):
    """A tower of open_clip built from config values; it ends in the joint dimension itself."""

    def __init__(self, config: OpenClipTower) -> None:
        super().__init__()
        from open_clip.model import CLIPTextCfg, CLIPVisionCfg, _build_text_tower, _build_vision_tower

        self.kind = config.kind
        schema: Any = CLIPVisionCfg if config.kind == "vision" else CLIPTextCfg
        known = set(inspect.signature(schema).parameters)
        for key, value in config.options.items():
            if key not in known:
                raise ConfigError(
                    f"open_clip {config.kind} tower has no setting {key!r}.{nearest(key, known)}"
                )
            fetches = key in {"hf_model_name", "hf_tokenizer_name", "tokenizer_kwargs"} or "pretrained" in key
            if fetches and value:
                raise ConfigError(f"open_clip setting {key!r} fetches other files and is refused. Remove it.")
        options = {**config.options, "output_tokens": True}
        if config.kind == "vision":
            options["timm_model_pretrained"] = False
        else:
            options["hf_model_pretrained"] = False
        build: Any = _build_vision_tower if config.kind == "vision" else _build_text_tower
        self.model = build(config.output_dim, schema(**options), config.quick_gelu)
        self.width = config.output_dim

    def forward(self, inputs: Mapping[str, Tensor], *, tokens: bool = False) -> TowerOutput:
        """Return pooled [B, W] and, when ``tokens``, the states open_clip gives to a decoder."""
        result = self.model(inputs["pixels"] if self.kind == "vision" else inputs["input_ids"])
        if not isinstance(result, tuple):
            return TowerOutput(result)
        pooled, states = result
        return TowerOutput(pooled, TokenOutput(states) if tokens else None)


_TRANSFORMERS = {
    "bert": ("BertModel", "input_ids", "input_ids"),
    "roberta": ("RobertaModel", "input_ids", "input_ids"),
    "clip_text_model": ("CLIPTextModel", "input_ids", "input_ids"),
    "clip_vision_model": ("CLIPVisionModel", "pixels", "pixel_values"),
    "siglip_text_model": ("SiglipTextModel", "input_ids", "input_ids"),
    "siglip_vision_model": ("SiglipVisionModel", "pixels", "pixel_values"),
    "clap_audio_model": ("ClapAudioModel", "features", "input_features"),
}
"""{model type: (class, our input, the argument it goes to)}."""


class TransformersAdapter(Tower):
    """A model class of the installed transformers, built from plain config values."""

    def __init__(self, config: TransformersTower) -> None:
        super().__init__()
        import transformers

        name, self.source, self.argument = _TRANSFORMERS[config.model_type]
        try:
            settings = transformers.AutoConfig.for_model(config.model_type, **_no_loading(config.options))
            # By class: AutoModel does not know the towers that are half of another model.
            self.model: Any = getattr(transformers, name)(settings)
        except (TypeError, ValueError) as error:
            raise ConfigError(
                f"transformers {config.model_type!r} does not take these options: {error}."
            ) from None
        self.pooling = config.pooling
        self.width = int(settings.hidden_size)

    def forward(self, inputs: Mapping[str, Tensor], *, tokens: bool = False) -> TowerOutput:
        """Return pooled [B, W] by the configured rule; tokens [B, N, W] with the attention mask."""
        arguments: dict[str, Tensor] = {self.argument: inputs[self.source]}
        mask = inputs.get("attention_mask") if self.source == "input_ids" else None
        if mask is not None:
            arguments["attention_mask"] = mask
        result = self.model(**arguments)
        states = result.last_hidden_state
        if states.ndim == 4:  # a feature map [B, W, rows, columns]
            states = states.flatten(2).transpose(1, 2)
        if self.pooling == "pooler":
            pooled = result.pooler_output
        elif self.pooling == "cls":
            pooled = states[:, 0]
        else:
            pooled = masked_pool(states, mask, last=self.pooling == "last")
        bool_mask = mask.bool() if mask is not None else None
        return TowerOutput(pooled, TokenOutput(states, None, bool_mask) if tokens else None)


def masked_pool(states: Tensor, mask: Tensor | None, *, last: bool = False) -> Tensor:
    """Return the mean (or the last real) token state [B, W] of ``states`` [B, N, W]."""
    if mask is None:
        return states[:, -1] if last else states.mean(dim=1)
    if last:
        return states[torch.arange(states.shape[0], device=states.device), mask.sum(dim=1).long() - 1]
    weights = mask.to(states.dtype).unsqueeze(-1)
    return (states * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)


def _no_loading(options: Mapping[str, Any]) -> dict[str, Any]:
    """Refuse options that would make a library read or fetch weights, or name a class."""
    for key in options:
        if any(
            word in key
            for word in ("pretrained", "checkpoint", "cache", "hub", "url", "file", "path", "auto_map")
        ):
            raise ConfigError(f"Tower option {key!r} would load other files and is refused. Remove it.")
    return dict(options)


def build_tower(config: TowerConfig) -> Tower:
    """Build the tower that ``config`` describes, with random weights."""
    if isinstance(config, TimmTower):
        return TimmAdapter(config)
    if isinstance(config, OpenClipTower):
        return OpenClipAdapter(config)
    if isinstance(config, TransformersTower):
        return TransformersAdapter(config)
    from .transformer import Bert, CausalText, VisionTransformer

    if isinstance(config, VisionTransformerTower):
        return VisionTransformer(config)
    if isinstance(config, CausalTextTower):
        return CausalText(config)
    if isinstance(config, BertTower):
        return Bert(config)
    raise ConfigError(f"No tower backend for {type(config).__name__}.")
