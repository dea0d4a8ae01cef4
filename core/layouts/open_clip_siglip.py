"""SigLIPs as open_clip keeps them: an image tower of timm (``visual.trunk.``) and a text tower of its own.

Reference: Zhai et al. 2023, Sigmoid Loss for Language Image Pre-Training, arXiv 2303.15343;
mlfoundations/open_clip, ``ViT-B-16-SigLIP``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field
from torch import Tensor

from ..clip_layout import HEAD_WIDTH
from ..config import Config, parse_config
from ..conversion import Converted, count_blocks, dimension, read_checkpoint
from ..errors import ConfigError, WeightsError
from .open_clip import weights_file
from .siglip_towers import (
    IMAGE,
    SCALARS,
    SYSTEM,
    TEXT,
    Activation,
    ImageSizes,
    SiglipText,
    TextSizes,
    image_grid,
    image_tower,
    refuse_other_sizes,
    siglip_model,
    text_tower,
)

VERSION = 1
"""Raised when the same file would be converted differently; stored conversions are then made anew."""

_TRUNK, _WORDS = "visual.trunk.", "text."
_POOL = f"{_TRUNK}attn_pool.latent"


class OpenClipSiglipOptions(Config):
    """What the file does not say itself, and what it has to agree with."""

    activation: Activation
    """``gelu`` as open_clip builds its SigLIPs, ``gelu_tanh`` where its config says so; never guessed."""
    clean: Literal["whitespace", "canonicalize"]
    """How texts are cleaned before they are cut: ``canonicalize`` also takes punctuation and capitals."""
    pad_id: int = Field(default=1, ge=0)
    image_head_width: int = Field(default=HEAD_WIDTH, ge=1)
    text_head_width: int = Field(default=HEAD_WIDTH, ge=1)
    embed_dim: int | None = Field(default=None, ge=1)
    image_size: int | None = Field(default=None, ge=1)
    """Sizes that the file must have; None takes what is there."""


def convert(name: str, files: Mapping[str, Path], options: Mapping[str, Any]) -> Converted:
    """Return a SigLIP in open_clip's layout as config, processor, tokenizer and renamed tensors.

    Args:
        name: registry name of the model.
        files: ``weights``: a state dict or training checkpoint of open_clip, pickled or safetensors;
            ``tokenizer``: ``tokenizer.json``.
        options: fields of :class:`OpenClipSiglipOptions`.

    Raises:
        ConfigError: a file is missing, or options without activation or cleaning.
        WeightsError: another system's file, missing or unexpected tensors, other sizes than stated, another
            vocabulary.

    Example:
        >>> files = {"weights": Path("open_clip_model.safetensors"), "tokenizer": Path("tokenizer.json")}
        >>> options = {"activation": "gelu", "clean": "canonicalize"}
        >>> convert("ecommerce/marqo-fashion-siglip", files, options)  # doctest: +SKIP
    """
    settings = parse_config(OpenClipSiglipOptions, options, source=f"{name}: converter options")
    if "tokenizer" not in files:
        raise ConfigError(f"{name}: the converter needs a 'tokenizer' file (tokenizer.json).")
    path = weights_file(name, files)
    state = read_checkpoint(path, skip_objects=True)
    source = path.name
    if _POOL not in state or "text.token_embedding.weight" not in state:
        raise WeightsError(
            f"{source} is no {SYSTEM} of open_clip: it has no attention pooling under {_TRUNK!r} and no text "
            "tower. Use open_clip_model.safetensors of the same repository."
        )
    towers = {
        "image": image_tower(
            _image_sizes(state, settings.image_head_width, source), activation=settings.activation
        ),
        "text": text_tower(
            _text_sizes(state, settings.text_head_width, source), activation=settings.activation
        ),
    }
    refuse_other_sizes(name, towers, settings.embed_dim, settings.image_size, source=source)
    tokenizer = Path(files["tokenizer"])
    text = SiglipText(tokenizer.read_text(encoding="utf-8"), tokenizer.name, settings.pad_id, settings.clean)
    return siglip_model(name, towers, _renamed(state), text, source=source)


def _image_sizes(state: Mapping[str, Tensor], head_width: int, source: str) -> ImageSizes:
    def side(name: str, axis: int) -> int:
        return dimension(state, f"{_TRUNK}{name}", axis, source=source)

    width, patch = side("patch_embed.proj.weight", 0), side("patch_embed.proj.weight", 2)
    return ImageSizes(
        size=image_grid(side("pos_embed", 1), source) * patch,
        patch=patch,
        width=width,
        layers=count_blocks(state, f"{_TRUNK}blocks."),
        heads=_heads(width, head_width, source),
        mlp_width=side("blocks.0.mlp.fc1.weight", 0),
    )


def _text_sizes(state: Mapping[str, Tensor], head_width: int, source: str) -> TextSizes:
    def side(name: str, axis: int) -> int:
        return dimension(state, f"{_WORDS}{name}", axis, source=source)

    width = side("token_embedding.weight", 1)
    return TextSizes(
        context=side("positional_embedding", 0),
        vocabulary=side("token_embedding.weight", 0),
        width=width,
        layers=count_blocks(state, f"{_WORDS}transformer.resblocks."),
        heads=_heads(width, head_width, source),
        mlp_width=side("transformer.resblocks.0.mlp.c_fc.weight", 0),
        output=side("text_projection.weight", 0),
    )


def _heads(width: int, head_width: int, source: str) -> int:
    if width % head_width:
        raise WeightsError(f"{source}: a width of {width} is no multiple of {head_width} values per head.")
    return width // head_width


def _renamed(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if name in SCALARS:
            found[name] = tensor.float().reshape(())
        elif name.startswith(_TRUNK):
            found[IMAGE + name.removeprefix(_TRUNK)] = tensor
        elif name.startswith(_WORDS):
            found[TEXT + name.removeprefix(_WORDS)] = tensor
        else:
            found[name] = tensor
    return found
