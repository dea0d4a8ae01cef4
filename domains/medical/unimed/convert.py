"""Published UniMed-CLIP checkpoints to our own model folder.

Reference: Khattak et al., "UniMed-CLIP: Towards a Unified Image-Text Pretraining Paradigm for Diverse
Medical Imaging Modalities", 2024 (arXiv 2412.10372); model code of mbzuai-oryx/UniMed-CLIP.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from ....core.config import (
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

SYSTEM = "UniMed-CLIP"
VERSION = 1
"""Raised when the same file would be converted differently; stored conversions are then made anew."""

_TEXT_PREFIXES = ("text_encoder.", "text.")
"""The reference's name of the text tower, and open_clip's."""
_BLOCK = "visual.transformer.resblocks."
_WORDS = "transformer.embeddings.word_embeddings.weight"


class UniMedOptions(Config):
    """What the file does not say itself, and what it has to agree with."""

    image_size: int | None = Field(default=None, ge=1)
    """Pixels of a side that the position table must stand for; None takes what the table says."""
    image_width: int | None = Field(default=None, ge=1)
    text_width: int | None = Field(default=None, ge=1)
    embed_dim: int | None = Field(default=None, ge=1)
    """Sizes that the checkpoint must have: the published files are told apart by them."""
    image_head_width: int = Field(default=64, ge=1)
    text_head_width: int = Field(default=64, ge=1)
    quick_gelu: bool = True
    layer_norm_eps: float = Field(default=1e-12, gt=0)
    context_length: int = Field(default=256, ge=2)
    overlong: Literal["error", "truncate"] = "error"
    """The reference cuts texts at the context length without a word; ``truncate`` does the same."""


def convert(name: str, files: Mapping[str, Path], options: Mapping[str, Any]) -> Converted:
    """Return a UniMed-CLIP checkpoint as config, processor, tokenizer and renamed tensors.

    Args:
        name: registry name of the model.
        files: ``weights``, a training checkpoint or plain state dict (pickle or safetensors), and
            ``vocab``, the ``vocab.txt`` of its text backbone.
        options: fields of :class:`UniMedOptions`.

    Raises:
        WeightsError: another system's checkpoint, missing or unexpected tensors, other sizes than
            ``options`` state.
        InputError: ``vocab`` is not a BERT vocabulary.

    Example:
        >>> files = {"weights": Path("unimed-clip-vit-b16.pt"), "vocab": Path("vocab.txt")}
        >>> convert("medical/unimed-clip-vit-b16", files, {"image_size": 224})  # doctest: +SKIP
    """
    settings = parse_config(UniMedOptions, options, source=f"{name}: converter options")
    source = Path(files["weights"]).name
    state = read_checkpoint(files["weights"])
    prefix = _text_prefix(state, source)
    towers = {
        "image": _image_tower(state, settings, source),
        "text": _text_tower(state, prefix, settings, source),
    }
    _refuse_other_size(towers, settings, name=name, source=source)
    config = ModelConfig.model_validate(
        {
            "name": name,
            "domain": "medical",
            "embed_dim": towers["image"]["output_dim"],
            "towers": towers,
        }
    )
    renamed, report = rename_state(
        state,
        lambda given: _rename(given, prefix),
        build_empty(config).state_dict(),
        _part,
    )
    refuse_incomplete(report, source=source, system=SYSTEM)
    tokenizer = wordpiece_tokenizer(files["vocab"])
    rows = towers["text"]["vocab_size"]
    check_vocabulary(tokenizer, rows, name=Path(files["vocab"]).name, source=source)
    processor = ProcessorConfig(
        image=ImageProcessing(
            size=towers["image"]["image_size"], resize="shortest", interpolation="bicubic", resampler="pillow"
        ),
        text=TextProcessing(
            context_length=settings.context_length, clean="whitespace", overlong=settings.overlong
        ),
    )
    return Converted(config, processor, tokenizer, renamed, report)


def resize_position_table(table: Tensor, grid: tuple[int, int]) -> Tensor:
    """Return positions [1 + h w, W] for another grid, as the reference does when training starts.

    Bicubic with aligned corners and without antialiasing; the first row, the class token's, is kept.
    open_clip interpolates differently. For starting from MetaCLIP at another size: a published
    checkpoint is never resized.

    Args:
        table: float [1 + n n, W] of a square grid.
        grid: (rows, columns) wanted.

    Raises:
        ConfigError: the table is not that of a square grid with a class token.
    """
    side = math.isqrt(len(table) - 1) if table.ndim == 2 and len(table) > 1 else 0
    if not side or side * side != len(table) - 1 or min(grid) < 1:
        raise ConfigError(
            f"A position table of shape {list(table.shape)} for a grid of {grid}: expected [1 + n n, W] and "
            "a grid of at least 1 x 1."
        )
    places = table[1:].T.reshape(1, -1, side, side)
    resized = F.interpolate(places.float(), grid, mode="bicubic", align_corners=True)
    return torch.cat([table[:1], resized[0].flatten(1).T.to(table.dtype)])


def _text_prefix(state: Mapping[str, Tensor], source: str) -> str:
    """Return the prefix of the text tower, or say which other system this is."""
    for prefix in _TEXT_PREFIXES:
        if prefix + _WORDS in state and "visual.conv1.weight" in state:
            return prefix
    found = recognize(state)
    raise WeightsError(
        f"{source} is not a checkpoint of {SYSTEM}"
        + (
            f": its tensors are those of {found}."
            if found
            else ": no image tower and medical text tower in it."
        )
        + " Give the file that the UniMed-CLIP authors published, or one trained from it."
    )


def _image_tower(state: Mapping[str, Tensor], settings: UniMedOptions, source: str) -> dict[str, Any]:
    width = dimension(state, "visual.conv1.weight", 0, source=source)
    patch = dimension(state, "visual.conv1.weight", 3, source=source)
    places = dimension(state, "visual.positional_embedding", 0, source=source) - 1
    side = math.isqrt(max(places, 0))
    if side * side != places or not places:
        raise WeightsError(
            f"{source}: the position table has {places} places besides the class token, which is no square."
        )
    size = side * patch
    if settings.image_size is not None and settings.image_size // patch == side:
        # The table counts whole patches: pixels left over at the edge do not show in it.
        size = settings.image_size
    return {
        "backend": "vit",
        "image_size": size,
        "patch_size": patch,
        "channels": dimension(state, "visual.conv1.weight", 1, source=source),
        "width": width,
        "layers": count_blocks(state, _BLOCK),
        "heads": _heads(width, settings.image_head_width, "image", source),
        "mlp_width": dimension(state, f"{_BLOCK}0.mlp.c_fc.weight", 0, source=source),
        "quick_gelu": settings.quick_gelu,
        "output_dim": dimension(state, "visual.proj", 1, source=source),
    }


def _text_tower(
    state: Mapping[str, Tensor], prefix: str, settings: UniMedOptions, source: str
) -> dict[str, Any]:
    def side(name: str, axis: int) -> int:
        return dimension(state, prefix + name, axis, source=source)

    width = side(_WORDS, 1)
    positions = side("transformer.embeddings.position_embeddings.weight", 0)
    if settings.context_length > positions:
        raise WeightsError(
            f"{source}: the text tower has {positions} positions, fewer than the context of "
            f"{settings.context_length} tokens. It belongs to another model."
        )
    return bert_tower(
        state,
        f"{prefix}transformer.",
        heads=_heads(width, settings.text_head_width, "text", source),
        source=source,
        layer_norm_eps=settings.layer_norm_eps,
        pooling="cls",
        projection="mlp",
        projection_hidden=side("proj.0.weight", 0),
        projection_bias=f"{prefix}proj.0.bias" in state,
    )


def _heads(width: int, head_width: int, tower: str, source: str) -> int:
    if width % head_width:
        raise WeightsError(
            f"{source}: the {tower} tower is {width} wide, no multiple of {head_width} values a head."
        )
    return width // head_width


def _refuse_other_size(
    towers: Mapping[str, Mapping[str, Any]], settings: UniMedOptions, *, name: str, source: str
) -> None:
    """Raise unless the sizes are those of the model that was asked for; no table is resized to fit."""
    image, text = towers["image"], towers["text"]
    checks = (
        ("position table is for images of {} pixels", image["image_size"], settings.image_size),
        ("image tower is {} wide", image["width"], settings.image_width),
        ("text tower is {} wide", text["width"], settings.text_width),
        ("joint space has {} dimensions", image["output_dim"], settings.embed_dim),
    )
    for what, found, wanted in checks:
        if wanted is not None and found != wanted:
            raise WeightsError(
                f"{source}: its {what.format(found)}; {name} needs {wanted}. "
                "It is the checkpoint of another UniMed-CLIP model."
            )


def _rename(name: str, prefix: str) -> tuple[str, str | None] | None:
    """Return (part, our name); see :data:`core.conversion.Rename`."""
    if name == "logit_scale":
        return "scalars", name
    if name.startswith("visual."):
        return "image", f"towers.image.{name.removeprefix('visual.')}"
    rest = name.removeprefix(prefix)
    if rest == name:
        return None
    # A buffer that older versions of the transformers library saved: the numbers 0, 1, 2 ...
    if rest == "transformer.embeddings.position_ids":
        return "text", None
    if rest.startswith("transformer."):
        return "text", f"towers.text.{rest.removeprefix('transformer.')}"
    if rest.startswith("proj."):
        return "text projection", f"projections.text.{rest.removeprefix('proj.')}"
    return None


def _part(ours: str) -> str:
    for prefix, part in (
        ("towers.image.", "image"),
        ("towers.text.", "text"),
        ("projections.text.", "text projection"),
    ):
        if ours.startswith(prefix):
            return part
    return "scalars"


def source_name(ours: str) -> str:
    """Return the reference's name of one of our parameters; the inverse of the renaming."""
    for mine, theirs in (
        ("towers.image.", "visual."),
        ("towers.text.", "text_encoder.transformer."),
        ("projections.text.", "text_encoder.proj."),
    ):
        if ours.startswith(mine):
            return theirs + ours.removeprefix(mine)
    return ours
