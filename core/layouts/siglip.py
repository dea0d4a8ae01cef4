"""A ``SiglipModel`` of transformers as towers of timm and open_clip, whose parameter names stay.

(transformers renames the parts of its own SigLIP between releases; a converted folder must not.)

Reference: Zhai et al. 2023, Sigmoid Loss for Language Image Pre-Training, arXiv 2303.15343.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from ..config import Config
from ..conversion import Converted, count_blocks, dimension, read_checkpoint
from ..errors import ConfigError, WeightsError
from ..files import read_json
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

_ACTIVATIONS: dict[str, Activation] = {"gelu_pytorch_tanh": "gelu_tanh", "gelu": "gelu"}
"""{name in transformers: name in timm}."""
_OUTSIDE = {
    "vision_model.embeddings.patch_embedding.": f"{IMAGE}patch_embed.proj.",
    "vision_model.embeddings.position_embedding.weight": f"{IMAGE}pos_embed",
    "vision_model.encoder.layers.": f"{IMAGE}blocks.",
    "vision_model.post_layernorm.": f"{IMAGE}norm.",
    "vision_model.head.probe": f"{IMAGE}attn_pool.latent",
    "vision_model.head.attention.out_proj.": f"{IMAGE}attn_pool.proj.",
    "vision_model.head.layernorm.": f"{IMAGE}attn_pool.norm.",
    "vision_model.head.mlp.": f"{IMAGE}attn_pool.mlp.",
    "text_model.embeddings.token_embedding.": f"{TEXT}token_embedding.",
    "text_model.embeddings.position_embedding.weight": f"{TEXT}positional_embedding",
    "text_model.encoder.layers.": f"{TEXT}transformer.resblocks.",
    "text_model.final_layer_norm.": f"{TEXT}ln_final.",
    "text_model.head.": f"{TEXT}text_projection.",
}
_INSIDE = {
    IMAGE: {".layer_norm1.": ".norm1.", ".layer_norm2.": ".norm2.", ".self_attn.out_proj.": ".attn.proj."},
    TEXT: {
        ".layer_norm1.": ".ln_1.",
        ".layer_norm2.": ".ln_2.",
        ".self_attn.out_proj.": ".attn.out_proj.",
        ".mlp.fc1.": ".mlp.c_fc.",
        ".mlp.fc2.": ".mlp.c_proj.",
    },
}
_JOINED = {IMAGE: "attn.qkv.{}", TEXT: "attn.in_proj_{}"}
"""Where query, key and value stand in one."""


class SiglipOptions(Config):
    """What the files have to agree with; None takes what is there."""

    embed_dim: int | None = Field(default=None, ge=1)
    image_size: int | None = Field(default=None, ge=1)


class _Part(Config):
    """What ``config.json`` says of one tower and no tensor does; defaults are those of transformers."""

    num_attention_heads: int = Field(default=12, ge=1)
    hidden_act: str = "gelu_pytorch_tanh"
    layer_norm_eps: float = 1e-6
    image_size: int | None = None
    pad_token_id: int | None = None


def convert(name: str, weights: Path, files: Mapping[str, Path], settings: SiglipOptions) -> Converted:
    """Return the model; see :func:`.transformers.convert_siglip`."""
    state = read_checkpoint(weights)
    source = weights.name
    if "vision_model.head.probe" not in state or "text_model.head.weight" not in state:
        raise WeightsError(
            f"{source} is no {SYSTEM}: it has no attention pooling over an image. Use another file."
        )
    parts = _parts(Path(files["config"]))
    towers = {
        "image": _image_tower(state, parts["vision_config"], source),
        "text": _text_tower(state, parts["text_config"], source),
    }
    refuse_other_sizes(name, towers, settings.embed_dim, settings.image_size, source=source)
    renamed = _renamed(state, source)
    tokenizer = Path(files["tokenizer"]).read_text(encoding="utf-8")
    pad = parts["text_config"].pad_token_id
    text = SiglipText(tokenizer, Path(files["tokenizer"]).name, pad_id=1 if pad is None else pad)
    return siglip_model(name, towers, renamed, text, source=source)


def _parts(path: Path) -> dict[str, _Part]:
    content = read_json(path)
    found: dict[str, _Part] = {}
    for key in ("vision_config", "text_config"):
        raw = content.get(key, {}) if isinstance(content, dict) else {}
        # Only the numbers that are read: the rest of a config of transformers names other files and classes.
        raw = {name: raw[name] for name in _Part.model_fields if name in raw} if isinstance(raw, dict) else {}
        try:
            found[key] = _Part.model_validate(raw)
        except ValueError as error:
            raise ConfigError(
                f"{path.name}: {key} has a setting that is no number of that kind: {error}."
            ) from None
        if found[key].hidden_act not in _ACTIVATIONS:
            known = " and ".join(_ACTIVATIONS)
            raise ConfigError(
                f"{path.name}: {key} has the activation {found[key].hidden_act!r}; known are {known}."
            )
        if not math.isclose(found[key].layer_norm_eps, 1e-6):
            raise ConfigError(
                f"{path.name}: {key} has layer_norm_eps {found[key].layer_norm_eps}; expected 1e-06."
            )
    return found


def _image_tower(state: Mapping[str, Tensor], part: _Part, source: str) -> dict[str, Any]:
    def side(name: str, axis: int) -> int:
        return dimension(state, f"vision_model.{name}", axis, source=source)

    width, patch = side("embeddings.patch_embedding.weight", 0), side("embeddings.patch_embedding.weight", 2)
    places = side("embeddings.position_embedding.weight", 0)
    grid = image_grid(places, source)
    size = part.image_size or grid * patch
    if size // patch != grid:
        raise WeightsError(
            f"{source}: {grid} x {grid} positions of {patch} pixels; config.json says {size} pixels."
        )
    return image_tower(
        ImageSizes(
            size=size,
            patch=patch,
            width=width,
            layers=count_blocks(state, "vision_model.encoder.layers."),
            heads=_heads(width, part, source),
            mlp_width=side("encoder.layers.0.mlp.fc1.weight", 0),
        ),
        activation=_ACTIVATIONS[part.hidden_act],
    )


def _text_tower(state: Mapping[str, Tensor], part: _Part, source: str) -> dict[str, Any]:
    def side(name: str, axis: int) -> int:
        return dimension(state, f"text_model.{name}", axis, source=source)

    width = side("embeddings.token_embedding.weight", 1)
    return text_tower(
        TextSizes(
            context=side("embeddings.position_embedding.weight", 0),
            vocabulary=side("embeddings.token_embedding.weight", 0),
            width=width,
            layers=count_blocks(state, "text_model.encoder.layers."),
            heads=_heads(width, part, source),
            mlp_width=side("encoder.layers.0.mlp.fc1.weight", 0),
            output=side("head.weight", 0),
        ),
        activation=_ACTIVATIONS[part.hidden_act],
    )


def _heads(width: int, part: _Part, source: str) -> int:
    if width % part.num_attention_heads:
        raise WeightsError(
            f"{source}: a width of {width} does not divide into {part.num_attention_heads} heads."
        )
    return part.num_attention_heads


def _renamed(state: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    """Return the tensors under our names; query, key and value in one, as timm and open_clip keep them."""
    found: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if name.endswith("position_ids"):
            continue
        if name in SCALARS:
            found[name] = tensor.float().reshape(())
            continue
        ours = next(
            (
                mine + name.removeprefix(theirs)
                for theirs, mine in _OUTSIDE.items()
                if name.startswith(theirs)
            ),
            name,
        )
        home = IMAGE if ours.startswith(IMAGE) else TEXT
        if ".self_attn.q_proj." in ours:
            parts = [name.replace(".q_proj.", f".{part}_proj.") for part in "qkv"]
            missing = [part for part in parts if part not in state]
            if missing:
                raise WeightsError(f"{source}: {missing[0]} is missing. Fetch the file again.")
            block, kind = ours.split("self_attn.")[0], ours.rsplit(".", 1)[1]
            found[block + _JOINED[home].format(kind)] = torch.cat([state[part] for part in parts])
        elif ".self_attn.k_proj." in ours or ".self_attn.v_proj." in ours:
            continue
        elif name.startswith("vision_model.head.attention.in_proj_"):
            kind = name.rpartition("_")[2]
            width = len(tensor) // 3
            found[f"{IMAGE}attn_pool.q.{kind}"] = tensor[:width]
            found[f"{IMAGE}attn_pool.kv.{kind}"] = tensor[width:]
        else:
            for theirs, mine in _INSIDE[home].items():
                ours = ours.replace(theirs, mine)
            # A table of positions is a parameter of timm with a batch axis, and one of open_clip without.
            found[ours] = tensor[None] if ours == f"{IMAGE}pos_embed" else tensor
    return found
