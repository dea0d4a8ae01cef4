"""OpenAI CLIP with a Vision Transformer, from the files it is shared in, to our own model folder.

Reference: Radford et al. 2021, Learning Transferable Visual Models From Natural Language Supervision,
arXiv 2103.00020.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ....core.clip_layout import clip_processor, clip_towers, read_clip
from ....core.config import LN_100, Config, ModelConfig, parse_config
from ....core.conversion import Converted
from ....core.errors import ConfigError

VERSION = 1
"""Raised when the same file would be converted differently; stored conversions are then made anew."""


class ConversionOptions(Config):
    """What the file does not say itself."""

    quick_gelu: bool = True
    """Activation x sigmoid(1.702 x): True for OpenAI's own weights, False for most that others trained."""
    licence: str = "MIT"
    description: str = ""


def convert(name: str, files: Mapping[str, Path], options: Mapping[str, Any]) -> Converted:
    """Return a CLIP as config, processor and renamed tensors; its sizes are read from the tensors.

    Args:
        name: registry name of the model.
        files: ``weights``: ``open_clip_model.safetensors`` of open_clip, or ``model.safetensors`` of
            transformers, each also as a pickled state dict.
        options: fields of :class:`ConversionOptions`.

    Raises:
        ConfigError: no ``weights``, or bad options.
        WeightsError: another system's file, a TorchScript archive, missing or unexpected tensors.

    Example:
        >>> files = {"weights": Path("open_clip_model.safetensors")}
        >>> convert("audio/openai-clip-vit-b32", files, {})  # doctest: +SKIP
    """
    settings = parse_config(ConversionOptions, options, source=f"{name}: converter options")
    if "weights" not in files:
        raise ConfigError(
            f"{name}: the converter needs a 'weights' file, for example open_clip_model.safetensors."
        )
    source = Path(files["weights"]).name
    found = clip_towers(read_clip(files["weights"]), source=source, quick_gelu=settings.quick_gelu)
    raw: dict[str, Any] = {
        "name": name,
        "domain": "audio",
        "embed_dim": found.embed_dim,
        "towers": dict(found.towers),
        "licence": settings.licence,
        "description": settings.description,
    }
    if "logit_scale" in found.state:
        # 4.6052 in OpenAI's file, which rounding may lift over ln 100.
        raw["logit_scale"] = min(float(found.state["logit_scale"]), LN_100)
    config = ModelConfig.model_validate(raw)
    state = {**found.state, "logit_scale": torch.tensor(config.logit_scale)}
    return Converted(config, clip_processor(found.towers), None, state, found.report)
