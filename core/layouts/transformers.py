"""Models as transformers keeps them: ``CLIPModel`` and ``SiglipModel``.

Reference: Radford et al. 2021, arXiv 2103.00020; Zhai et al. 2023, Sigmoid Loss for Language Image
Pre-Training, arXiv 2303.15343.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from ..clip_layout import HEAD_WIDTH, clip_towers, read_clip
from ..config import Config, parse_config
from ..conversion import Converted
from ..errors import ConfigError, WeightsError
from ..files import read_json
from . import siglip
from .open_clip import converted, weights_file

VERSION = 1
"""Raised when the same file would be converted differently; stored conversions are then made anew."""

_QUICK = "quick_gelu"


class TransformersClipOptions(Config):
    """What the weights of a ``CLIPModel`` do not say themselves."""

    quick_gelu: bool
    """Activation x sigmoid(1.702 x) instead of GELU; a ``config.json`` has to say the same."""
    head_width: int = Field(default=HEAD_WIDTH, ge=1)
    embed_dim: int | None = Field(default=None, ge=1)
    image_size: int | None = Field(default=None, ge=1)


def convert_clip(name: str, files: Mapping[str, Path], options: Mapping[str, Any]) -> Converted:
    """Return a ``CLIPModel`` of transformers as config, processor and renamed tensors.

    Args:
        name: registry name of the model.
        files: ``weights``: ``model.safetensors`` or ``pytorch_model.bin``; ``config``: ``config.json`` of the
            same folder, optional.
        options: fields of :class:`TransformersClipOptions`.

    Raises:
        ConfigError: no ``weights``, options without the activation, or a ``config`` that has another one.
        WeightsError: another system's file, missing or unexpected tensors, other sizes than stated.
    """
    settings = parse_config(TransformersClipOptions, options, source=f"{name}: converter options")
    path = weights_file(name, files)
    if "config" in files:
        _refuse_other_activation(name, Path(files["config"]), settings.quick_gelu)
    state = read_clip(path)
    if "vision_model.embeddings.class_embedding" not in state:
        raise WeightsError(
            f"{path.name} is no CLIPModel of transformers: it has no vision_model with a class token."
        )
    found = clip_towers(
        state,
        source=path.name,
        quick_gelu=settings.quick_gelu,
        image_head_width=settings.head_width,
        text_head_width=settings.head_width,
    )
    return converted(name, found, settings.embed_dim, settings.image_size, source=path.name)


def _refuse_other_activation(name: str, path: Path, quick_gelu: bool) -> None:
    content = read_json(path)
    for tower in ("text_config", "vision_config"):
        part = content.get(tower) if isinstance(content, dict) else None
        # transformers' own default where the file is silent.
        said = part.get("hidden_act", _QUICK) if isinstance(part, dict) else _QUICK
        if (said == _QUICK) != quick_gelu:
            raise ConfigError(
                f"{path.name}: {tower} has the activation {said!r}, {name} is registered with "
                f"{_QUICK if quick_gelu else 'gelu'!r}. Take both files from the same repository."
            )


def convert_siglip(name: str, files: Mapping[str, Path], options: Mapping[str, Any]) -> Converted:
    """Return a ``SiglipModel`` of transformers as config, processor, tokenizer and renamed tensors.

    Args:
        name: registry name of the model.
        files: ``weights``: ``model.safetensors`` or ``pytorch_model.bin``; ``config``: ``config.json``;
            ``tokenizer``: ``tokenizer.json``.
        options: fields of :class:`.siglip.SiglipOptions`.

    Raises:
        ConfigError: a file is missing, or ``config.json`` has settings that this converter does not know.
        WeightsError: another system's file, missing or unexpected tensors, another vocabulary.
    """
    missing = [role for role in ("config", "tokenizer") if role not in files]
    if missing:
        raise ConfigError(f"{name}: the converter needs a {missing[0]!r} file ({missing[0]}.json).")
    settings = parse_config(siglip.SiglipOptions, options, source=f"{name}: converter options")
    return siglip.convert(name, weights_file(name, files), files, settings)
