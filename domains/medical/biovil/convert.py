"""Published checkpoints of BioViL, BioViL-T and CXR-BERT to our own model folder.

Reference: microsoft/hi-ml, ``health_multimodal``: the names of its tensors.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, cast

import torch
from pydantic import Field
from torch import Tensor

from ....core.config import (
    BertTower,
    Config,
    ImageProcessing,
    ModelConfig,
    ProcessorConfig,
    TextProcessing,
    parse_config,
)
from ....core.conversion import (
    Converted,
    bert_tower,
    build_empty,
    check_vocabulary,
    count_blocks,
    dimension,
    read_checkpoint,
    refuse_incomplete,
    rename_state,
    wordpiece_tokenizer,
)
from ....core.errors import ConfigError, WeightsError
from ..layouts import recognize

SYSTEM = "BioViL"
VERSION = 1
"""Raised when the same file would be converted differently; stored conversions are then made anew."""

_TRUNK, _POOLER = "encoder.encoder.", "encoder.vit_pooler."
_RESNET_LAYERS = {"resnet50": [3, 4, 6, 3], "resnet18": [2, 2, 2, 2]}
_RESNET_PLANES = [64, 128, 256, 512]
_HEAD_WIDTH = 64
_WORDS = "bert.embeddings.word_embeddings.weight"

_NAMES = {
    _TRUNK: "towers.image.trunk.",
    "encoder.backbone_to_vit.": "towers.image.temporal.reduce.",
    "encoder.missing_previous_emb": "towers.image.temporal.missing_previous",
    f"{_POOLER}norm_post.": "towers.image.temporal.norm.",
    _POOLER: "towers.image.temporal.",
    "projector.model.": "projections.image.",
    "bert.": "towers.text.",
    "cls.predictions.transform.LayerNorm.": "masked_words.norm.",
    "cls.predictions.transform.": "masked_words.",
    "cls.predictions.bias": "masked_words.bias",
    "cls_projection_head.LayerNorm.": "projections.text.norm.",
    "cls_projection_head.": "projections.text.",
}
"""{start of a published name: start of ours}; the first that fits wins."""
_LEFT_OUT = (f"{_TRUNK}fc.", "bert.pooler.", "bert.embeddings.position_ids", "cls.predictions.decoder.")
"""Never used by the model, or stored a second time."""


class ConversionOptions(Config):
    """What the files do not say themselves; the defaults are those of the published checkpoints."""

    temporal: bool | None = None
    """Whether the image file has to be a BioViL-T; None takes either."""
    crop: int | None = Field(default=None, ge=1, le=4096)
    """Side of the centre crop; None is the grid's own size for BioViL-T and 480 for BioViL."""
    short_side: int = Field(default=512, ge=1, le=4096)
    grid: tuple[int, int] = (14, 14)
    """Rows and columns of patches that the temporal encoder compares."""
    temporal_heads: int = Field(default=8, ge=1)
    text_heads: int | None = Field(default=None, ge=1)
    """None is one per 64 channels."""
    layer_norm_eps: float = Field(default=1e-12, gt=0)
    text_dropout: float = Field(default=0.25, ge=0, lt=1)
    temperature: float = Field(default=0.5, gt=0, le=1)
    """Turns cosines into probabilities: the fixed temperature reported for training (not verified)."""
    overlong: Literal["error", "truncate"] = "error"
    licence: str = "MIT"
    description: str = ""


def convert(name: str, files: Mapping[str, Path], options: Mapping[str, Any]) -> Converted:
    """Return a BioViL or BioViL-T as config, processor, tokenizer and renamed tensors.

    Args:
        name: registry name of the model.
        files: ``image``, the ``.pt`` of the image model, and ``text``, ``pytorch_model.bin`` or
            ``model.safetensors`` of its CXR-BERT, with ``vocab``, its ``vocab.txt``; either half may be
            left out.
        options: fields of :class:`ConversionOptions`.

    Raises:
        WeightsError: another system's checkpoint, missing or unexpected tensors, halves that do not
            belong together.
        InputError: ``vocab`` is not a BERT vocabulary.

    Example:
        >>> files = {"image": Path("biovil_image.pt"), "text": Path("model.bin"), "vocab": Path("vocab.txt")}
        >>> convert("medical/biovil", files, {"temporal": False})  # doctest: +SKIP
    """
    settings = parse_config(ConversionOptions, options, source=f"{name}: converter options")
    if "image" not in files and "text" not in files:
        raise ConfigError(f"{name}: the converter needs an 'image' file, a 'text' file, or both.")
    if "text" in files and "vocab" not in files:
        raise ConfigError(f"{name}: the text tower needs its 'vocab' file, vocab.txt.")
    sources = {part: Path(files[part]).name for part in ("image", "text") if part in files}
    states = {part: read_checkpoint(files[part]) for part in sources}
    tokenizer = wordpiece_tokenizer(files["vocab"]) if "text" in files else None
    if tokenizer is not None:
        rows = len(states["text"].get(_WORDS, ()))
        if rows:
            vocab = Path(files["vocab"]).name
            check_vocabulary(tokenizer, rows, name=vocab, source=sources["text"])
    return convert_states(name, states, settings, sources=sources, tokenizer=tokenizer)


def convert_text(name: str, files: Mapping[str, Path], options: Mapping[str, Any]) -> Converted:
    """Return a CXR-BERT alone: roles ``text`` and ``vocab``; otherwise as :func:`convert`.

    Without a projection head (CXR-BERT-general) the model fills masks and refuses to embed.
    """
    if "text" not in files:
        raise ConfigError(f"{name}: the converter needs a 'text' file and its 'vocab'.")
    return convert(name, {role: path for role, path in files.items() if role != "image"}, options)


def convert_states(
    name: str,
    states: Mapping[str, Mapping[str, Tensor]],
    settings: ConversionOptions,
    *,
    sources: Mapping[str, str],
    tokenizer: str | None,
) -> Converted:
    """Return tensors that are already read as :func:`convert` returns files.

    Args:
        states: {"image" or "text": {published name: tensor}}.
        sources: what messages call them.
        tokenizer: content of ``tokenizer.json``; needed when there is a text state.
    """
    towers: dict[str, dict[str, Any]] = {}
    options: dict[str, Any] = {}
    if "image" in states:
        towers["image"], more = _image_tower(states["image"], settings, sources["image"])
        options.update(more)
    if "text" in states:
        towers["text"], more = _text_tower(states["text"], settings, sources["text"])
        options.update(more)
    config = ModelConfig.model_validate(
        {
            "name": name,
            "domain": "medical",
            "architecture": "biovil",
            "embed_dim": _joint_width(states, options, sources),
            "towers": towers,
            "logit_scale": math.log(1 / settings.temperature),
            "licence": settings.licence,
            "description": settings.description,
            "options": options,
        }
    )
    merged: dict[str, Tensor] = {}
    for part, state in states.items():
        merged |= _untied(state, sources[part]) if part == "text" else state
    wanted = set(build_empty(config).state_dict()) - {"logit_scale"}
    renamed, report = rename_state(merged, _rename, wanted, _part)
    refuse_incomplete(report, source=" with ".join(sources.values()), system=SYSTEM)
    renamed["logit_scale"] = torch.tensor(config.logit_scale)
    return Converted(config, _processor(config, settings), tokenizer, renamed, report)


def _image_tower(
    state: Mapping[str, Tensor], settings: ConversionOptions, source: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the tower's config and the architecture's options, from the shapes alone."""
    if f"{_TRUNK}conv1.weight" not in state or "projector.model.0.weight" not in state:
        raise WeightsError(f"{source} is not an image model of {SYSTEM}{_looks_like(state)}.")
    network = "resnet50" if f"{_TRUNK}layer1.0.conv3.weight" in state else "resnet18"
    stages = [f"{_TRUNK}layer{number}." for number in (1, 2, 3, 4)]
    layers = [count_blocks(state, stage) for stage in stages]
    planes = [dimension(state, f"{stage}0.conv1.weight", 0, source=source) for stage in stages]
    trunk: dict[str, Any] = {}
    if layers != _RESNET_LAYERS[network]:
        trunk["layers"] = layers
    if planes != _RESNET_PLANES:
        trunk["channels"] = planes
    options: dict[str, Any] = {}
    temporal = "encoder.backbone_to_vit.weight" in state
    if settings.temporal is not None and settings.temporal != temporal:
        kinds = {True: "BioViL-T", False: "BioViL"}
        raise WeightsError(
            f"{source} is the image model of {kinds[temporal]}, not of {kinds[settings.temporal]}. "
            "Their files have different names; fetch the other one."
        )
    if temporal:
        options["temporal"] = {
            "dim": dimension(state, "encoder.backbone_to_vit.weight", 0, source=source),
            "grid": list(settings.grid),
            "heads": settings.temporal_heads,
            "blocks": count_blocks(state, f"{_POOLER}blocks."),
            "mlp_width": dimension(state, f"{_POOLER}blocks.0.mlp.fc1.weight", 0, source=source),
        }
    heads = len({name.split(".")[1] for name in state if name.startswith("classifier.fc_")})
    if heads:
        options["classifier"] = {**_classifier(state, source), "tasks": heads}
    hidden = dimension(state, "projector.model.0.weight", 0, source=source)
    tower = {"backend": "timm", "architecture": network, "options": trunk}
    return {**tower, "projection": "mlp", "projection_hidden": hidden}, options


def _classifier(state: Mapping[str, Tensor], source: str) -> dict[str, int]:
    first = "classifier.fc_0.model."
    if f"{first}weight" in state:
        return {"classes": dimension(state, f"{first}weight", 0, source=source)}
    return {
        "hidden": dimension(state, f"{first}0.weight", 0, source=source),
        "classes": dimension(state, f"{first}3.weight", 0, source=source),
    }


def _text_tower(
    state: Mapping[str, Tensor], settings: ConversionOptions, source: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the tower's config and the architecture's options, from the shapes alone."""
    if _WORDS not in state:
        raise WeightsError(f"{source} is not a CXR-BERT{_looks_like(state)}.")
    width = dimension(state, _WORDS, 1, source=source)
    tower = bert_tower(
        state,
        "bert.",
        heads=settings.text_heads or max(1, width // _HEAD_WIDTH),
        source=source,
        layer_norm_eps=settings.layer_norm_eps,
        dropout=settings.text_dropout,
        pooling="cls",
    )
    options: dict[str, Any] = {}
    if not any(name.startswith("cls.predictions.") for name in state):
        options["masked_words"] = False
    if any(name.startswith("cls_projection_head.") for name in state):
        hidden = dimension(state, "cls_projection_head.dense_to_hidden.weight", 0, source=source)
        return {**tower, "projection": "mlp", "projection_hidden": hidden}, options
    return {**tower, "projection": "none"}, {**options, "joint_space": False}


def _joint_width(
    states: Mapping[str, Mapping[str, Tensor]], options: Mapping[str, Any], sources: Mapping[str, str]
) -> int:
    """Return D, which both halves must agree on; the text width where there is no joint space."""
    names = {"image": "projector.model.3.weight", "text": "cls_projection_head.dense_to_output.weight"}
    if options.get("joint_space") is False:
        if "image" in states:
            raise WeightsError(
                f"{sources['text']} has no projection head (it is a CXR-BERT-general), so it does not go "
                "with an image model. Take the text file of the image model's own repository."
            )
        return dimension(states["text"], _WORDS, 1, source=sources["text"])
    widths = {part: dimension(state, names[part], 0, source=sources[part]) for part, state in states.items()}
    if len(set(widths.values())) > 1:
        raise WeightsError(
            f"{sources['image']} ends in {widths['image']} values and {sources['text']} in {widths['text']}. "
            "They belong to different models."
        )
    return next(iter(widths.values()))


def _untied(state: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    """Return ``state`` with the decoder's bias under one name, after checking that copies are copies."""
    bias, copy = "cls.predictions.bias", "cls.predictions.decoder.bias"
    state = dict(state)
    if bias not in state and copy in state:
        state[bias] = state.pop(copy)
    for name, other in ((copy, bias), ("cls.predictions.decoder.weight", _WORDS)):
        if name in state and not torch.equal(state[name], state[other]):
            raise WeightsError(
                f"{source}: {name} differs from {other}, which are one tensor in CXR-BERT. "
                "Another model was saved under these names."
            )
    return state


def _rename(name: str) -> tuple[str, str | None] | None:
    part = "text" if name.startswith(("bert.", "cls")) and not name.startswith("classifier.") else "image"
    if name.startswith(_LEFT_OUT):
        return part, None
    if name.startswith("classifier.fc_"):
        task, _, rest = name.removeprefix("classifier.fc_").partition(".model.")
        return part, f"classifier.{task}.{rest}"
    for start, ours in _NAMES.items():
        if name.startswith(start):
            return part, ours + name.removeprefix(start)
    return None


def _part(name: str) -> str:
    return "text" if name.startswith(("towers.text.", "projections.text.", "masked_words.")) else "image"


def _processor(config: ModelConfig, settings: ConversionOptions) -> ProcessorConfig:
    image = text = None
    if "image" in config.towers:
        temporal = "temporal" in config.options
        crop = settings.crop or (settings.grid[0] * 32 if temporal else 480)
        image = ImageProcessing(
            size=crop,
            resize="shortest",
            short_side=settings.short_side,
            interpolation="bilinear",
            resampler="pillow",
            mean=(0.0, 0.0, 0.0),
            std=(1.0, 1.0, 1.0),
            load={"normalize": "hi-ml"},
        )
    if "text" in config.towers:
        text = TextProcessing(
            context_length=cast("BertTower", config.towers["text"]).max_positions,
            clean="none",
            strip_end="!?.",
            allow_empty=True,
            allow_special=("[MASK]",),
            overlong=settings.overlong,
        )
    return ProcessorConfig(image=image, text=text)


def _looks_like(state: Mapping[str, Tensor]) -> str:
    found = recognize(state)
    return f"; it looks like {found}" if found else ""
