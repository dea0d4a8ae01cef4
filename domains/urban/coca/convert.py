"""CoCa checkpoints of open_clip to our own model folder, UrbanCLIP's ``best_model.bin`` among them.

Sizes are read from the tensors. What no tensor tells is the same in all published CoCas: attention heads of
64 values, 8 heads in the attention pooling, GELU.

Reference: open_clip 3.3, ``model_configs/coca_*.json``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field
from torch import Tensor

from ....core.config import (
    LN_100,
    Config,
    ImageProcessing,
    ModelConfig,
    ProcessorConfig,
    TextProcessing,
    parse_config,
)
from ....core.conversion import (
    Converted,
    build_empty,
    count_blocks,
    dimension,
    read_checkpoint,
    refuse_incomplete,
    rename_state,
)
from ....core.errors import ConfigError, WeightsError
from .model import name_here

SYSTEM = "CoCa"
VERSION = 1
"""Raised when the same file would be converted differently; stored conversions are then made anew."""

CLIP_VOCABULARY = 49408
_MASKS = (".attn_mask",)
"""What files of old releases hold besides weights."""


class ConversionOptions(Config):
    """What the file does not say itself."""

    quick_gelu: bool = False
    """Activation x sigmoid(1.702 x) instead of GELU."""
    head_width: int = Field(default=64, ge=1)
    """Values of an attention head, in every tower."""
    pooler_heads: int = Field(default=8, ge=1)
    """Heads of the attention pooling of the image."""
    pool_type: Literal["tok", "avg"] = "tok"
    """How an image is pooled without attention pooling."""
    overlong: Literal["error", "truncate"] = "error"
    """What becomes of longer texts; open_clip cuts them without a word."""
    licence: str = "MIT"
    description: str = ""


def convert(name: str, files: Mapping[str, Path], options: Mapping[str, Any]) -> Converted:
    """Return a CoCa as config, processor and renamed tensors.

    Args:
        name: registry name of the model.
        files: ``weights``: a state dict or training checkpoint of open_clip, pickled or safetensors.
        options: fields of :class:`ConversionOptions`.

    Raises:
        ConfigError: no ``weights``, or bad options.
        WeightsError: another system's file, missing or unexpected tensors, sizes that cannot be.

    Example:
        >>> files = {"weights": Path("open_clip_pytorch_model.bin")}
        >>> convert("urban/coca-vit-l14-mscoco", files, {})  # doctest: +SKIP
    """
    settings = parse_config(ConversionOptions, options, source=f"{name}: converter options")
    if "weights" not in files:
        raise ConfigError(
            f"{name}: the converter needs a 'weights' file, for example open_clip_pytorch_model.bin."
        )
    path = Path(files["weights"])
    # Training checkpoints hold the state of optimizer and scaler beside the weights.
    state = read_checkpoint(path, entries=("state_dict", "model"), skip_objects=True)
    config = config_from_state(name, state, settings, source=path.name)
    renamed, report = rename_state(state, _rename, set(build_empty(config).state_dict()), _part)
    refuse_incomplete(report, source=path.name, system=SYSTEM)
    # One file has the scale as a tensor of one value, all others as a number.
    renamed["logit_scale"] = renamed["logit_scale"].reshape(())
    return Converted(config, _processor(config, settings), None, renamed, report)


def config_from_state(
    name: str, state: Mapping[str, Tensor], settings: ConversionOptions, *, source: str
) -> ModelConfig:
    """Return the config of a CoCa from the shapes of its tensors.

    Args:
        state: tensors under open_clip's names.
        source: what messages call the file.

    Raises:
        WeightsError: another system's file, or sizes that cannot be.
    """
    if "text_decoder.text_projection" not in state or "visual.proj" not in state:
        raise WeightsError(
            f"{source} is no {SYSTEM}: it has no caption decoder. Take open_clip_pytorch_model.bin of a "
            "repository laion/...CoCa..., or the best_model.bin that UrbanCLIP's training writes."
        )
    dim = dimension(state, "visual.proj", 1, source=source)
    vocabulary = dimension(state, "text.token_embedding.weight", 0, source=source)
    if vocabulary != CLIP_VOCABULARY:
        raise WeightsError(
            f"{source} has a vocabulary of {vocabulary} words; CLIP's tokenizer has {CLIP_VOCABULARY}. Its "
            "words are those of another tokenizer, which the file does not bring."
        )
    shared = {"backend": "open_clip", "output_dim": dim, "quick_gelu": settings.quick_gelu}
    text = _text(state, settings, source)
    scale = float(state["logit_scale"]) if "logit_scale" in state else math.log(1 / 0.07)
    return ModelConfig.model_validate(
        {
            "name": name,
            "domain": "urban",
            "architecture": "coca",
            "embed_dim": dim,
            "towers": {
                "image": {**shared, "kind": "vision", "options": _image(state, settings, source)},
                "text": {**shared, "kind": "text", "options": text},
            },
            "options": {"decoder": _decoder(state, settings, int(text["context_length"]), source)},
            # Training clamps it to ln 100, which rounding may lift a little.
            "logit_scale": min(max(scale, 0.0), LN_100),
            "logit_bias": float(state["logit_bias"]) if "logit_bias" in state else None,
            "licence": settings.licence,
            "description": settings.description,
        }
    )


def config_from_open_clip(name: str, model: Mapping[str, Any], **options: Any) -> ModelConfig:
    """Return our config of the arguments of open_clip's CoCa class.

    Args:
        name: of the model.
        model: ``embed_dim``, ``quick_gelu``, ``vision_cfg``, ``text_cfg`` and ``multimodal_cfg``, as in
            open_clip's ``model_configs/coca_*.json``.
        options: of the architecture, beside ``decoder``.

    Raises:
        ConfigError: a part is missing.
    """
    for part in ("embed_dim", "vision_cfg", "text_cfg", "multimodal_cfg"):
        if part not in model:
            raise ConfigError(f"{name}: the arguments of a CoCa have no {part!r}.")
    dim, quick_gelu = int(model["embed_dim"]), bool(model.get("quick_gelu", False))
    decoder, text = model["multimodal_cfg"], dict(model["text_cfg"])
    shared = {"backend": "open_clip", "output_dim": dim, "quick_gelu": quick_gelu}
    return ModelConfig.model_validate(
        {
            "name": name,
            "domain": "urban",
            "architecture": "coca",
            "embed_dim": dim,
            "logit_bias": model.get("init_logit_bias"),
            "towers": {
                "image": {**shared, "kind": "vision", "options": dict(model["vision_cfg"])},
                "text": {**shared, "kind": "text", "options": text},
            },
            "options": {
                "decoder": {
                    "width": decoder.get("width", 512),
                    "heads": decoder.get("heads", 8),
                    "layers": decoder.get("layers", 12),
                    "context_length": decoder.get("context_length", 77),
                    "quick_gelu": quick_gelu,
                    "ls_init_value": decoder.get("ls_init_value"),
                },
                "pad_id": text.get("pad_id", 0),
                **options,
            },
        }
    )


def _image(state: Mapping[str, Tensor], settings: ConversionOptions, source: str) -> dict[str, Any]:
    def side(name: str, axis: int) -> int:
        return dimension(state, f"visual.{name}", axis, source=source)

    places, patch = side("positional_embedding", 0) - 1, side("conv1.weight", 3)
    grid = math.isqrt(places)
    if grid * grid != places:
        raise WeightsError(f"{source}: {places} patch positions are no square. It belongs to another system.")
    attentional = "visual.attn_pool.query" in state
    options: dict[str, Any] = {
        "image_size": grid * patch,
        "patch_size": patch,
        "head_width": settings.head_width,
        "pool_type": settings.pool_type,
        "attentional_pool": attentional,
        **_blocks(state, "visual.transformer.resblocks.", side("conv1.weight", 0), settings, source),
    }
    if attentional:
        options["attn_pooler_queries"] = side("attn_pool.query", 0)
        options["attn_pooler_heads"] = settings.pooler_heads
    if "visual.ln_pre.weight" not in state:
        options["no_ln_pre"] = True
    return options


def _text(state: Mapping[str, Tensor], settings: ConversionOptions, source: str) -> dict[str, Any]:
    def side(name: str, axis: int) -> int:
        return dimension(state, f"text.{name}", axis, source=source)

    width, has_class = side("token_embedding.weight", 1), "text.cls_emb" in state
    return {
        "context_length": side("positional_embedding", 0) - has_class,
        "vocab_size": side("token_embedding.weight", 0),
        "heads": _heads(width, settings, source),
        "embed_cls": has_class,
        **_blocks(state, "text.transformer.resblocks.", width, settings, source),
    }


def _decoder(
    state: Mapping[str, Tensor], settings: ConversionOptions, context: int, source: str
) -> dict[str, Any]:
    width = dimension(state, "text_decoder.text_projection", 0, source=source)
    found = _blocks(state, "text_decoder.resblocks.", width, settings, source)
    if found.pop("mlp_ratio") != 4.0:
        raise WeightsError(f"{source}: the decoder's hidden layers are not four times as wide as its states.")
    # Positions are the text tower's: the decoder has none of its own.
    return {
        "heads": _heads(width, settings, source), "context_length": context,
        "quick_gelu": settings.quick_gelu, **found,
    }  # fmt: skip


def _blocks(
    state: Mapping[str, Tensor], prefix: str, width: int, settings: ConversionOptions, source: str
) -> dict[str, Any]:
    """Return width, layers and what is inside the blocks of one stack."""
    _heads(width, settings, source)
    hidden = dimension(state, f"{prefix}0.mlp.c_fc.weight", 0, source=source)
    found: dict[str, Any] = {
        "width": width,
        "layers": count_blocks(state, prefix),
        "mlp_ratio": hidden / width,
    }
    if f"{prefix}0.ls_1.gamma" in state:
        found["ls_init_value"] = 1e-5
    return found


def _heads(width: int, settings: ConversionOptions, source: str) -> int:
    if width % settings.head_width:
        raise WeightsError(
            f"{source}: a width of {width} is no multiple of heads of {settings.head_width} values. Say "
            "head_width in the converter options."
        )
    return width // settings.head_width


def _rename(name: str) -> tuple[str, str | None] | None:
    ours = name_here(name)
    if ours is None:
        return None
    return _part(ours), None if name.endswith(_MASKS) else ours


def _part(name: str) -> str:
    parts = {"towers.image.": "image", "towers.text.": "text", "decoder.": "decoder"}
    return next((part for prefix, part in parts.items() if name.startswith(prefix)), "scalars")


def _processor(config: ModelConfig, settings: ConversionOptions) -> ProcessorConfig:
    options = {modality: tower.model_dump()["options"] for modality, tower in config.towers.items()}
    return ProcessorConfig(
        image=ImageProcessing(
            size=int(options["image"]["image_size"]),
            resize="shortest",
            interpolation="bicubic",
            resampler="pillow",
        ),
        # The network fills texts up to the context itself; shorter rows make captions cheaper to learn.
        text=TextProcessing(
            tokenizer="open_clip_bpe",
            context_length=int(options["text"]["context_length"]),
            clean="whitespace",
            overlong=settings.overlong,
        ),
    )
