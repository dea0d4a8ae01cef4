"""Published ConceptCLIP weights and training checkpoints to our own model folder.

Reference: Nie et al. 2026 (arXiv 2501.15579); parameter names of the authors' training code. The
published file is read directly; the modelling code beside it is not run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

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
from ....core.errors import ConfigError, InputError, WeightsError
from ....core.tokenizer import panics_as_errors
from ..layouts import recognize

SYSTEM = "ConceptCLIP"
VERSION = 1
"""Raised when the same file would be converted differently; stored conversions are then made anew."""

BACKBONE = "vit_so400m_patch14_siglip_384"
"""The only image backbone; reduced sizes are this one with other options. Its GELU is the exact one."""

_PATCHES, _WORDS = "patch_embed.proj.weight", "embeddings.word_embeddings.weight"
_IMAGE_NAMES = ("visual", "image_encoder", "vision_model", "vision_encoder")
_TEXT_NAMES = ("text", "text_encoder", "text_model")
_SCALARS = ("logit_scale", "logit_bias", "concept_logit_scale", "concept_logit_bias")
_KNOWN_SIZE = {(14, 27): 384}
"""{(patch size, patches of a side): pixels of a side}, where the patches leave a margin."""
_KNOWN_HEADS = {("image", 1152): 16, ("text", 768): 12}


class ConceptClipConversion(Config):
    """Options of the converter: what shapes do not say."""

    image_size: int | None = Field(default=None, ge=1)
    """Pixels of a side. Positions count whole patches, so the published 384 cannot be told from 378."""
    image_heads: int | None = Field(default=None, ge=1)
    """Attention heads of the image tower; known for the published width."""
    text_heads: int | None = Field(default=None, ge=1)
    concept_heads: Literal["required", "none", "new"] = "required"
    """Weights of the first training stage have no concept heads: ``none`` leaves them out of the model,
    ``new`` starts them at random (seed 0), as the second stage does; both are reported."""
    context_length: int = Field(default=77, ge=3)
    layer_norm_eps: float = Field(default=1e-12, gt=0)
    overlong: Literal["error", "truncate"] = "error"
    """The reference cuts captions at the context length, closing token kept: ``truncate``."""
    licence: str = "MIT"
    description: str = ""


def convert(name: str, files: Mapping[str, Path], options: Mapping[str, Any]) -> Converted:
    """Return ConceptCLIP weights as config, processor, tokenizer and renamed tensors.

    Args:
        name: registry name of the model.
        files: ``weights``, the published safetensors or a training checkpoint; and ``vocab``, a
            ``vocab.txt``, or ``tokenizer``, a ``tokenizer.json``.
        options: fields of :class:`ConceptClipConversion`.

    Raises:
        WeightsError: another system's checkpoint, missing or unexpected tensors, other shapes, or the
            vocabulary of another model.
        ConfigError: a number of heads that is neither known nor given, or a bad option.
        InputError: no vocabulary, or one that is not BERT's.

    Example:
        >>> files = {"weights": Path("model.safetensors"), "vocab": Path("vocab.txt")}
        >>> convert("medical/conceptclip", files, {})  # doctest: +SKIP
    """
    settings = parse_config(ConceptClipConversion, options, source=f"{name}: converter options")
    source = Path(files["weights"]).name
    state = read_checkpoint(files["weights"])
    rename = _renaming(state, source)
    named = {found[1]: tensor for key, tensor in state.items() if (found := rename(key)) and found[1]}
    towers = {"image": _image_tower(named, settings, source), "text": _text_tower(named, settings, source)}
    with_heads = settings.concept_heads != "none"
    config = ModelConfig.model_validate(
        {
            "name": name,
            "domain": "medical",
            "architecture": "conceptclip",
            "embed_dim": towers["image"]["options"]["embed_dim"],
            "towers": towers,
            "logit_bias": -10.0,
            "options": {"concept_heads": with_heads},
            "licence": settings.licence,
            "description": settings.description,
        }
    )
    wanted = {key: tensor.shape for key, tensor in build_empty(config).state_dict().items()}
    renamed, report = rename_state(state, rename, wanted, _part)
    if settings.concept_heads == "new":
        # Reported as missing; refused below only if anything else is.
        report_without_heads = {part: one for part, one in report.towers.items() if part != "concept heads"}
        refuse_incomplete(type(report)(report_without_heads), source=source, system=SYSTEM)
        renamed |= _new_heads(config, set(wanted) - set(renamed))
    else:
        _explain_missing_heads(renamed, wanted, source)
        refuse_incomplete(report, source=source, system=SYSTEM)
    renamed = {key: _shaped(tensor, wanted[key], key, source) for key, tensor in renamed.items()}
    tokenizer = _tokenizer(files, towers["text"]["vocab_size"], source)
    return Converted(
        config, _processor(towers["image"]["options"]["img_size"], settings), tokenizer, renamed, report
    )


def _processor(size: int, settings: ConceptClipConversion) -> ProcessorConfig:
    half = (0.5, 0.5, 0.5)
    return ProcessorConfig(
        image=ImageProcessing(
            size=size, resize="squash", interpolation="bicubic", resampler="pillow", mean=half, std=half
        ),
        text=TextProcessing(context_length=settings.context_length, overlong=settings.overlong),
    )


def _prefix(state: Mapping[str, Tensor], ending: str, names: tuple[str, ...], source: str) -> tuple[str, str]:
    """Return what stands before ``ending`` in its key, and that prefix up to the tower's own name."""
    for key in state:
        if not key.endswith(ending):
            continue
        parts = key[: -len(ending)].split(".")
        for position, part in enumerate(parts):
            if part in names:
                return key[: -len(ending)], ".".join(parts[: position + 1]) + "."
    found = recognize(state)
    what = f". Its tensors are named like those of {found}" if found else ""
    raise WeightsError(
        f"{source} is not a checkpoint of {SYSTEM}: no tensor of {' or '.join(names)} ends in "
        f"{ending!r}{what}."
    )


def _renaming(state: Mapping[str, Tensor], source: str) -> Callable[[str], tuple[str, str | None] | None]:
    """Return the rule from a name of this file to a name of ours.

    The published file's prefixes were not documented, so the towers are found by the ends of their
    keys; everything before a tower's name (``model.``) is common to all keys.
    """
    image, visual = _prefix(state, _PATCHES, _IMAGE_NAMES, source)
    text, textual = _prefix(state, _WORDS, _TEXT_NAMES, source)
    outer = visual.rsplit(".", 2)[0] + "." if visual.count(".") > 1 else ""
    projections = (f"{textual}proj.weight", f"{outer}text_projection.weight")

    def rename(key: str) -> tuple[str, str | None] | None:
        if key.startswith(image):
            return "image", f"towers.image.model.{key.removeprefix(image)}"
        if key in projections:
            return "text", "projections.text.weight"
        if key.startswith(text):
            rest = key.removeprefix(text)
            # Made by older libraries; nothing reads them.
            if rest.endswith("position_ids") or rest.startswith("pooler."):
                return "text", None
            return "text", f"towers.text.{rest}"
        rest = key.removeprefix(outer)
        if rest.startswith(("image_proj.", "text_proj.", "concept_logit_")):
            return "concept heads", rest
        return ("scalars", rest) if rest in _SCALARS else None

    return rename


def _part(name: str) -> str:
    if name.startswith(("image_proj.", "text_proj.", "concept_logit_")):
        return "concept heads"
    if name in _SCALARS:
        return "scalars"
    return "image" if name.startswith("towers.image.") else "text"


def _image_tower(named: Mapping[str, Tensor], settings: ConceptClipConversion, source: str) -> dict[str, Any]:
    prefix = "towers.image.model."
    width = dimension(named, f"{prefix}patch_embed.proj.weight", 0, source=source)
    patch = dimension(named, f"{prefix}patch_embed.proj.weight", 2, source=source)
    places = dimension(named, f"{prefix}pos_embed", 1, source=source)
    side = math.isqrt(places)
    if side * side != places:
        raise WeightsError(
            f"{source}: {places} positions are not a square grid. It belongs to another system."
        )
    hidden = dimension(named, f"{prefix}blocks.0.mlp.fc1.weight", 0, source=source)
    return {
        "backend": "timm",
        "architecture": BACKBONE,
        "projection": "none",
        "options": {
            "img_size": _image_size(side, patch, settings.image_size, source),
            "patch_size": patch,
            "embed_dim": width,
            "depth": count_blocks(named, f"{prefix}blocks."),
            "num_heads": _heads("image", width, settings.image_heads),
            # timm cuts width x ratio to a whole number; half a unit more lands on the one in the file.
            "mlp_ratio": (hidden + 0.5) / width,
        },
    }


def _image_size(side: int, patch: int, given: int | None, source: str) -> int:
    size = given or _KNOWN_SIZE.get((patch, side), side * patch)
    if size // patch != side:
        raise ConfigError(
            f"{source} has {side} x {side} positions of {patch} pixels; an image_size of {size} makes "
            f"{size // patch} x {size // patch}. Give {side * patch} to {side * patch + patch - 1}."
        )
    return size


def _text_tower(named: Mapping[str, Tensor], settings: ConceptClipConversion, source: str) -> dict[str, Any]:
    prefix = "towers.text."
    words = f"{prefix}embeddings.word_embeddings.weight"
    width = dimension(named, words, 1, source=source)
    return bert_tower(
        named,
        prefix,
        heads=_heads("text", width, settings.text_heads),
        source=source,
        projection="linear",
        layer_norm_eps=settings.layer_norm_eps,
        pooling="mean",
    )


def _heads(tower: str, width: int, given: int | None) -> int:
    heads = given or _KNOWN_HEADS.get((tower, width))
    if heads is None:
        raise ConfigError(
            f"The number of attention heads of the {tower} tower of width {width} is not known. Give the "
            f"converter option {tower}_heads: --option {tower}_heads=N (options={{...}})."
        )
    return heads


def _explain_missing_heads(renamed: Mapping[str, Tensor], wanted: Mapping[str, Any], source: str) -> None:
    heads = [key for key in wanted if _part(key) == "concept heads"]
    if heads and not any(key in renamed for key in heads):
        raise WeightsError(
            f"{source} has no concept heads: weights of the first training stage. Convert with the option "
            "concept_heads='none' (global embeddings only) or 'new' (start the second stage from them)."
        )


def _new_heads(config: ModelConfig, names: set[str]) -> dict[str, Tensor]:
    """Return start values of the concept heads that the file lacks, the same on every machine."""
    from .model import ConceptClipOptions

    options = ConceptClipOptions()
    generator = torch.Generator().manual_seed(0)
    width = {"image_proj": config.embed_dim, "text_proj": getattr(config.towers["text"], "width", 0)}
    state: dict[str, Tensor] = {}
    for name in sorted(names):
        if name.startswith("concept_"):
            state[name] = torch.tensor(getattr(options, name))
            continue
        head, layer, _ = name.split(".")
        inputs = width[head] if layer == "0" else config.embed_dim
        state[name] = torch.empty(config.embed_dim, inputs)
        # The start values of torch's own linear layer.
        nn.init.kaiming_uniform_(state[name], a=math.sqrt(5), generator=generator)
    return state


def _shaped(tensor: Tensor, shape: torch.Size, name: str, source: str) -> Tensor:
    """Return the tensor in its place's shape; only a scalar may be stored as a vector of one."""
    if tensor.shape == shape:
        return tensor
    if tensor.numel() == 1 and not shape:
        return tensor.reshape(())
    raise WeightsError(
        f"{source}: {name} has shape {list(tensor.shape)}, {SYSTEM} of this size has {list(shape)}. "
        "The file mixes two models."
    )


def _tokenizer(files: Mapping[str, Path], rows: int, source: str) -> str:
    if "tokenizer" in files:
        from tokenizers import Tokenizer

        path = Path(files["tokenizer"])
        with panics_as_errors(f"{path.name}: not a tokenizer file"):
            tokenizer = Tokenizer.from_str(path.read_text(encoding="utf-8"))
        content = tokenizer.to_str()
    elif "vocab" in files:
        path = Path(files["vocab"])
        content = wordpiece_tokenizer(path)
    else:
        raise InputError("ConceptCLIP needs its vocabulary: give 'vocab' (vocab.txt) or 'tokenizer'.")
    check_vocabulary(content, rows, name=path.name, source=source)
    return content
