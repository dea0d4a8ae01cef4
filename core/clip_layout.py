"""Image and text towers in the layout of OpenAI CLIP, from the files that open_clip and transformers share.

Every CLIP that was trained from OpenAI's weights, or with open_clip's code, comes in this layout.

Reference: Radford et al. 2021, Learning Transferable Visual Models From Natural Language Supervision,
arXiv 2103.00020.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .config import ImageProcessing, ModelConfig, ProcessorConfig, TextProcessing
from .conversion import (
    LoadReport,
    TowerReport,
    build_empty,
    count_blocks,
    dimension,
    read_checkpoint,
)
from .errors import WeightsError

HEAD_WIDTH = 64
"""Values of an attention head in OpenAI's CLIPs; ViT-H/14 of open_clip has 80 in its image tower."""

_ELSEWHERE = (
    "open_clip_model.safetensors of timm/vit_base_patch32_clip_224.openai (for ViT-L/14: "
    "timm/vit_large_patch14_clip_224.openai)"
)

_POOL = "visual.attnpool."
_RESNET_FACTOR = 32
"""A ResNet's last map has a 32nd of the picture's side and 32 times the width."""

_TEXT_PARTS = ("transformer.", "token_embedding.", "positional_embedding", "ln_final.", "text_projection")
_NUMBERS = ("input_resolution", "context_length", "vocab_size", "attn_mask", "text.attn_mask")
"""What a file may hold besides weights."""

_OUTSIDE = {
    "vision_model.embeddings.class_embedding": "visual.class_embedding",
    "vision_model.embeddings.patch_embedding.weight": "visual.conv1.weight",
    "vision_model.embeddings.position_embedding.weight": "visual.positional_embedding",
    "vision_model.pre_layrnorm.": "visual.ln_pre.",
    "vision_model.post_layernorm.": "visual.ln_post.",
    "vision_model.encoder.layers.": "visual.transformer.resblocks.",
    "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "text_model.final_layer_norm.": "ln_final.",
    "text_model.encoder.layers.": "transformer.resblocks.",
}
_INSIDE = {
    ".layer_norm1.": ".ln_1.",
    ".layer_norm2.": ".ln_2.",
    ".mlp.fc1.": ".mlp.c_fc.",
    ".mlp.fc2.": ".mlp.c_proj.",
    ".self_attn.out_proj.": ".attn.out_proj.",
}
"""{name in transformers: name in open_clip}, of what stands outside and inside of blocks."""
_PROJECTIONS = {"visual_projection.weight": "visual.proj", "text_projection.weight": "text_projection"}


@dataclass(frozen=True)
class ClipTowers:
    """Both towers in our terms.

    Attributes:
        towers: {"image", "text": tower config}. embed_dim: of the joint space.
        state: {our parameter name: tensor}, ``logit_scale`` included.
        report: what became of every tensor.
    """

    towers: Mapping[str, Mapping[str, Any]]
    embed_dim: int
    state: Mapping[str, Tensor]
    report: LoadReport


def read_clip(
    path: str | Path, *, entries: Sequence[str] = ("state_dict",), skip_objects: bool = False
) -> dict[str, Tensor]:
    """Return {name: tensor} of a CLIP file: safetensors, or a pickled state dict or training checkpoint.

    Args:
        entries, skip_objects: as in :func:`core.conversion.read_checkpoint`.

    Raises:
        WeightsError: missing or damaged, or the TorchScript archive of OpenAI's own download: its tensors
            belong to a program and cannot be had without loading that.
    """
    path = Path(path)
    if path.is_file() and zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if any(name.endswith("/constants.pkl") for name in archive.namelist()):
                raise WeightsError(
                    f"{path.name} is a TorchScript archive, as OpenAI shares CLIP: a program that would have "
                    f"to be loaded to get at its weights. The same weights lie in {_ELSEWHERE}."
                )
    return read_checkpoint(path, entries=entries, skip_objects=skip_objects)


def clip_towers(
    state: Mapping[str, Tensor],
    *,
    source: str,
    quick_gelu: bool = True,
    image_head_width: int = HEAD_WIDTH,
    text_head_width: int = HEAD_WIDTH,
) -> ClipTowers:
    """Return the towers of a CLIP with a Vision Transformer or a ResNet, sizes read from the shapes.

    Args:
        state: tensors in the layout of open_clip (``visual.conv1.weight``) or of transformers
            (``vision_model.embeddings...``).
        source: what messages call the file.
        quick_gelu: activation x sigmoid(1.702 x), as all of OpenAI's weights need, and those trained from
            them. No tensor tells; the wrong one gives embeddings that are only somewhat worse.
        image_head_width, text_head_width: values of an attention head, which no shape tells either.

    Raises:
        WeightsError: another system's file, or tensors that are missing or do not belong there.
    """
    if "vision_model.embeddings.class_embedding" in state:
        state = _from_transformers(state, source)
    state = {name.removeprefix("text."): tensor for name, tensor in state.items()}
    resnet = _POOL + "c_proj.weight" in state
    if "text_projection" not in state or not (resnet or "visual.proj" in state):
        raise WeightsError(
            f"{source} is no CLIP with an image tower and a text tower. Give weights as open_clip or "
            f"transformers share them, for example {_ELSEWHERE}."
        )
    image = _resnet if resnet else image_tower
    towers = {
        "image": image(state, source, quick_gelu, image_head_width),
        "text": _text(state, source, quick_gelu, text_head_width),
    }
    embed_dim = int(towers["image"]["output_dim"])
    inside = "towers.image.model." if resnet else "towers.image."
    renamed: dict[str, Tensor] = {}
    counts, dropped, strangers = {"image": 0, "text": 0, "scalars": 0}, [], []
    for name, tensor in state.items():
        if name in _NUMBERS:
            dropped.append(name)
        elif name == "logit_scale":
            renamed[name] = tensor.float().reshape(())
            counts["scalars"] += 1
        elif name.startswith("visual."):
            renamed[inside + name.removeprefix("visual.")] = tensor
            counts["image"] += 1
        elif name.startswith(_TEXT_PARTS):
            renamed[f"towers.text.{name}"] = tensor
            counts["text"] += 1
        else:
            strangers.append(name)
    if strangers:
        raise WeightsError(
            f"{source} holds {len(strangers)} tensors that CLIP does not have ({', '.join(strangers[:3])}). "
            "It belongs to another system."
        )
    _refuse_missing(renamed, towers, embed_dim, source)
    reports = {part: TowerReport(loaded=count) for part, count in counts.items() if count}
    if dropped:
        reports["other"] = TowerReport(dropped=tuple(dropped))
    return ClipTowers(towers, embed_dim, renamed, LoadReport(reports))


def _refuse_missing(
    renamed: Mapping[str, Tensor], towers: Mapping[str, Mapping[str, Any]], embed_dim: int, source: str
) -> None:
    config = ModelConfig.model_validate({"name": "clip/towers", "embed_dim": embed_dim, "towers": towers})
    wanted = (name for name in build_empty(config).state_dict() if name.startswith("towers."))
    missing = [name for name in wanted if name not in renamed]
    if missing:
        first = missing[0].replace("towers.image.model.", "visual.").replace("towers.image.", "visual.")
        first = first.removeprefix("towers.text.")
        raise WeightsError(f"{source}: {len(missing)} tensors are missing, first {first}. Fetch it again.")


def clip_processor(towers: Mapping[str, Mapping[str, Any]]) -> ProcessorConfig:
    """Return the preprocessing of CLIP: bicubic short side, centre crop; its own byte-pair tokens."""
    return ProcessorConfig(
        image=ImageProcessing(
            size=int(towers["image"].get("image_size") or towers["image"]["options"]["image_size"]),
            resize="shortest",
            interpolation="bicubic",
            resampler="pillow",
        ),
        text=TextProcessing(
            tokenizer="open_clip_bpe",
            context_length=int(towers["text"]["context_length"]),
            clean="whitespace",
            padding="context",
        ),
    )


def image_tower(
    state: Mapping[str, Tensor], source: str, quick_gelu: bool, head_width: int
) -> dict[str, Any]:
    """Return the config of the Vision Transformer under ``visual.``, with or without its projection.

    Raises:
        WeightsError: a tensor that tells a size is missing: another system's file.
    """

    def side(name: str, axis: int) -> int:
        return dimension(state, f"visual.{name}", axis, source=source)

    grid = _grid(side("positional_embedding", 0) - 1, source)
    width, patch = side("conv1.weight", 0), side("conv1.weight", 3)
    return {
        "backend": "vit",
        "image_size": grid * patch,
        "patch_size": patch,
        "width": width,
        "layers": count_blocks(state, "visual.transformer.resblocks."),
        "heads": _heads(width, head_width, source),
        "mlp_width": side("transformer.resblocks.0.mlp.c_fc.weight", 0),
        "quick_gelu": quick_gelu,
        "output_dim": side("proj", 1) if "visual.proj" in state else None,
    }


def _resnet(state: Mapping[str, Tensor], source: str, quick_gelu: bool, head_width: int) -> dict[str, Any]:
    """Return the ResNet of CLIP: three-layer stem, antialiased strides, attention pooling.

    Its own activation is ReLU; ``quick_gelu`` is kept beside it because the text tower has it.
    """

    def side(name: str, axis: int) -> int:
        return dimension(state, f"visual.{name}", axis, source=source)

    width = side("conv1.weight", 0) * 2
    if side("attnpool.c_proj.weight", 1) != width * _RESNET_FACTOR:
        raise WeightsError(
            f"{source}: its attention pooling does not fit a stem of {width}. It is another model."
        )
    grid = _grid(side("attnpool.positional_embedding", 0) - 1, source)
    return {
        "backend": "open_clip",
        "kind": "vision",
        "output_dim": side("attnpool.c_proj.weight", 0),
        "quick_gelu": quick_gelu,
        "options": {
            "image_size": grid * _RESNET_FACTOR,
            "layers": [count_blocks(state, f"visual.layer{stage}.") for stage in (1, 2, 3, 4)],
            "width": width,
            "head_width": head_width,
        },
    }


def _grid(places: int, source: str) -> int:
    """Return the side of the square of image positions."""
    grid = math.isqrt(max(places, 0))
    if not grid or grid * grid != places:
        raise WeightsError(f"{source}: its {places} image positions are no square. It is another model.")
    return grid


def _heads(width: int, head_width: int, source: str) -> int:
    """Return how many heads a width has; a tower narrower than one head has a single one."""
    if width > head_width and width % head_width:
        raise WeightsError(f"{source}: a width of {width} is no multiple of {head_width} values per head.")
    return max(1, width // head_width)


def _text(state: Mapping[str, Tensor], source: str, quick_gelu: bool, head_width: int) -> dict[str, Any]:
    def side(name: str, axis: int) -> int:
        return dimension(state, name, axis, source=source)

    width = side("token_embedding.weight", 1)
    return {
        "backend": "clip_text",
        "context_length": side("positional_embedding", 0),
        "vocab_size": side("token_embedding.weight", 0),
        "width": width,
        "layers": count_blocks(state, "transformer.resblocks."),
        "heads": _heads(width, head_width, source),
        "mlp_width": side("transformer.resblocks.0.mlp.c_fc.weight", 0),
        "quick_gelu": quick_gelu,
        "output_dim": side("text_projection", 1),
    }


def _from_transformers(state: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    """Return tensors under open_clip's names: query, key and value in one, projections turned over."""
    found: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if name.endswith("position_ids"):
            continue
        if name in _PROJECTIONS:
            found[_PROJECTIONS[name]] = tensor.T
            continue
        ours = name
        for theirs, mine in _OUTSIDE.items():
            if name.startswith(theirs):
                ours = mine + name.removeprefix(theirs)
                break
        for theirs, mine in _INSIDE.items():
            ours = ours.replace(theirs, mine)
        if ".self_attn.q_proj." in ours:
            parts = [name.replace(".q_proj.", f".{part}_proj.") for part in "qkv"]
            missing = [part for part in parts if part not in state]
            if missing:
                raise WeightsError(f"{source}: {missing[0]} is missing. Fetch the file again.")
            kind = ours.rsplit(".", 1)[1]
            block = ours.split(".self_attn.")[0]
            found[f"{block}.attn.in_proj_{kind}"] = torch.cat([state[part] for part in parts])
        elif ".self_attn." not in ours:
            found[ours] = tensor
    return found
