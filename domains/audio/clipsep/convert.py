"""Checkpoints of sony/CLIPSep, of every kind that its training script can make, to our own model folder.

Reference: Dong et al. 2023, CLIPSep, arXiv 2212.07065; names of tensors and arguments as in sony/CLIPSep.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from ....core.clip_layout import ClipTowers, clip_processor, clip_towers, read_clip
from ....core.config import LN_100, Config, ModelConfig, ProcessorConfig, parse_config
from ....core.conversion import (
    Converted,
    LoadReport,
    build_empty,
    dimension,
    read_checkpoint,
    refuse_incomplete,
    rename_state,
)
from ....core.errors import ConfigError, InputError, WeightsError
from ....core.files import read_json
from .separator import Kind

SYSTEM = "CLIPSep"
VERSION = 2
"""Raised when the same file would be converted differently; stored conversions are then made anew."""

_PREFIX = "separator."
_FIRST = "sound_net.unet_block.model.0.weight"
_MIDDLE = "sound_net.unet_block.downconv.weight"
_PROMPTS = Path(__file__).parent.parent / "prompts"
_SENTENCES = "clipsep"
"""The prompt set of a model that is asked with words: queries are means over its sentences."""
_VECTORS = " Takes query vectors of {} values, not texts or pictures."
_AGAIN = " For those, convert it again with a 'clip' file."


class ConversionOptions(Config):
    """What the files do not say themselves; the defaults are those of the published training script.

    A ``train-args.json`` wins over the first five.
    """

    sampling_rate: int = Field(default=16_000, ge=1000)
    n_fft: int = Field(default=1024, ge=4)
    hop_length: int = Field(default=256, ge=1)
    win_length: int = Field(default=1024, ge=2)
    log_frequency: bool = True
    frames: int = Field(default=256, ge=1)
    """Frames of the window it was trained on; a train-args.json says it as ``audio_len``."""
    quick_gelu: bool = True
    """Of the CLIP towers: True for OpenAI's own weights."""
    licence: str = "MIT"
    description: str = ""


def convert(name: str, files: Mapping[str, Path], options: Mapping[str, Any]) -> Converted:
    """Return a CLIPSep checkpoint as config, processor and renamed tensors.

    Args:
        name: registry name of the model.
        files: ``weights``, the ``best_model.pt`` or ``model_<step>.pt`` of a training run; and, where there
            are, ``args``, its ``train-args.json``; ``clip``, OpenAI CLIP ViT-B/32 in the layout of open_clip
            or transformers, for text and image queries; ``labels``, the label map {label: number} of a
            label model.
        options: fields of :class:`ConversionOptions`.

    The kind of model (late, NIT, middle fusion, PIT, label table, sentence vectors) and its sizes are read
    from the tensors. Without ``clip`` the result takes query vectors only; with it words fill the sentences
    of the prompt set ``clipsep``: training knows sentences like "a photo of ...", not bare words.

    Raises:
        WeightsError: another system's checkpoint, missing or unexpected tensors, arguments that belong to
            another checkpoint, or a kind of which no working model can exist.
        ConfigError: a ``clip`` file for a model that is not asked by CLIP, or bad options.

    Example:
        >>> files = {"weights": Path("best_model.pt"), "args": Path("train-args.json")}
        >>> convert("audio/clipsep-nit", files, {})  # doctest: +SKIP
    """
    settings = parse_config(ConversionOptions, options, source=f"{name}: converter options")
    if "weights" not in files:
        raise ConfigError(f"{name}: the converter needs a 'weights' file, for example best_model.pt.")
    source = Path(files["weights"]).name
    state = read_checkpoint(files["weights"])
    kind = kind_of(state, source)
    separator = _sizes(state, kind, source)
    if "args" in files:
        kind, stated = _stated(files["args"], kind, separator)
        separator |= {"kind": kind, **stated}
    else:
        separator |= {"sampling_rate": settings.sampling_rate, "frames": settings.frames}
        separator["spectra"] = {
            key: getattr(settings, key) for key in ("n_fft", "hop_length", "win_length", "log_frequency")
        }
    if "labels" in files:
        separator["labels"] = _labels(files["labels"], separator)
    towers = _query_towers(files, separator, settings, name=name)
    config = _config(name, separator, towers, settings)
    wanted = {one for one in build_empty(config).state_dict() if one.startswith(_PREFIX)}
    renamed, report = rename_state(
        state, lambda given: ("separator", _PREFIX + given), wanted, lambda _: "separator"
    )
    refuse_incomplete(report, source=source, system=SYSTEM)
    if towers is None:
        renamed["logit_scale"] = torch.tensor(config.logit_scale)
        return Converted(config, ProcessorConfig(), None, renamed, report)
    both = {**renamed, **towers.state, "logit_scale": torch.tensor(config.logit_scale)}
    return Converted(
        config,
        clip_processor(towers.towers),
        None,
        both,
        LoadReport({**report.towers, **towers.report.towers}),
        (_PROMPTS / f"{config.prompts}.yaml").read_text(encoding="utf-8"),
    )


def kind_of(state: Mapping[str, Tensor], source: str) -> Kind:
    """Return which kind of separator the tensors are of.

    Raises:
        WeightsError: none, or early fusion.
    """
    if "frame_net.fc.weight" in state or (_FIRST in state and dimension(state, _FIRST, 1, source=source) > 1):
        raise WeightsError(
            f"{source} is a CLIPSep with early fusion. Its training script averages the frames of a query "
            "over which this network then takes the maximum, and stops with an error: no trained weights "
            "exist."
        )
    if _MIDDLE in state:
        return "middle"
    if _FIRST not in state or "synth_net.bias" not in state:
        raise WeightsError(
            f"{source} is not a checkpoint of {SYSTEM}: no U-Net of a separator in it. Give best_model.pt or "
            "model_<step>.pt of a training run."
        )
    if state.get("synth_net.weight", torch.empty(0)).ndim == 4:
        return "pit"
    if "label_net.weight" in state:
        return "label"
    if "pit_nets.0.weight" in state:
        return "nit"
    # Sentence vectors of BERT have 256 values, embeddings of CLIP 512; the networks are the same.
    return "bert" if dimension(state, "frame_net.weight", 1, source=source) == 256 else "late"


def _sizes(state: Mapping[str, Tensor], kind: Kind, source: str) -> dict[str, Any]:
    """Return the separator's sizes from the shapes alone."""
    middle = kind == "middle"
    first = _MIDDLE if middle else _FIRST
    inside = "submodule." if middle else "model."
    prefix, layers = "sound_net.unet_block.", 1
    step = "submodule." if middle else "model.1."
    down = "downconv.weight" if middle else "model.1.weight"
    while f"{prefix}{step}{down}" in state:
        prefix, layers = prefix + step, layers + 1
        step = inside if middle else "model.3."
    sizes: dict[str, Any] = {
        "kind": kind,
        "layers": layers,
        "ngf": dimension(state, first, 0, source=source),
        "channels": dimension(
            state,
            "synth_net.weight" if kind == "pit" else "synth_net.scale",
            int(kind == "pit"),
            source=source,
        ),
    }
    if kind != "pit":
        sizes["query_dim"] = dimension(state, "frame_net.weight", 1, source=source)
    if kind == "label":
        sizes["n_labels"] = dimension(state, "label_net.weight", 0, source=source)
    return sizes


class _TrainArgs(Config):
    """The arguments of a training run that its weights do not say."""

    image_model: str = "clip"
    fusion: Literal["late", "early", "middle"] = "late"
    layers: int = Field(default=7, ge=1)
    channels: int = Field(default=32, ge=1)
    audio_rate: int = Field(default=16_000, ge=1000)
    audio_len: int | None = Field(default=65_535, ge=1)
    n_fft: int = Field(default=1024, ge=4)
    hop_len: int = Field(default=256, ge=1)
    win_len: int = Field(default=1024, ge=2)
    log_freq: bool = True
    binary_mask: bool = True


_IMAGE_MODELS: Mapping[str, tuple[Kind, ...]] = {
    "clip": (),
    "sop": (),
    "clipsepnit": ("nit",),
    "clippit4": ("nit",),
    "label_only": ("label",),
    "bert": ("bert", "late"),
    "pit": ("pit",),
}
"""{``--image_model``: kinds that the tensors may look like}; where none is given, ``--fusion`` says it.
``clippit4`` is an older name of ``clipsepnit``."""


def _stated(path: Path, kind: Kind, sizes: Mapping[str, Any]) -> tuple[Kind, dict[str, Any]]:
    """Return the kind and settings that ``train-args.json`` states, after comparing it with the tensors."""
    source = Path(path).name
    raw = read_json(path)
    if not isinstance(raw, dict):
        raise WeightsError(f"{source}: expected the arguments of a training run, got {type(raw).__name__}.")
    known = {key: value for key, value in raw.items() if key in _TrainArgs.model_fields}
    args = parse_config(_TrainArgs, known, source=source)
    if args.image_model not in _IMAGE_MODELS:
        raise WeightsError(
            f"{source}: image_model {args.image_model!r} is not one of {', '.join(_IMAGE_MODELS)}."
        )
    if not args.binary_mask:
        raise WeightsError(
            f"{source}: binary_mask is false. The reference then compares masks that are no probabilities, "
            "which stops with an error: no trained weights exist."
        )
    for what, stated in (("layers", args.layers), ("channels", args.channels)):
        if sizes[what] != stated:
            raise WeightsError(
                f"{source} states {what} {stated} and the weights have {sizes[what]}. They belong to "
                "different runs."
            )
    allowed = _IMAGE_MODELS[args.image_model] or (args.fusion,)
    if kind not in allowed:
        raise WeightsError(
            f"{source} states image_model {args.image_model!r} with {args.fusion} fusion, and the weights "
            f"are of the kind {kind!r}. They belong to different runs."
        )
    spectra = {
        "n_fft": args.n_fft,
        "hop_length": args.hop_len,
        "win_length": args.win_len,
        "log_frequency": args.log_freq,
    }
    frames = 1 + (args.audio_len or 65_535) // args.hop_len
    return ("bert" if args.image_model == "bert" else kind), {
        "sampling_rate": args.audio_rate,
        "frames": frames,
        "spectra": spectra,
        "asked_by": args.image_model,
    }


def _labels(path: Path, separator: Mapping[str, Any]) -> list[str]:
    """Return the names of the label table's rows, in order, from a map {label: number}."""
    source = Path(path).name
    raw = read_json(path)
    count = separator.get("n_labels")
    if count is None:
        raise ConfigError(f"{source}: only a label model has labels; this one is {separator['kind']!r}.")
    if not isinstance(raw, dict) or sorted(map(str, raw.values())) != sorted(map(str, range(count))):
        raise InputError(f"{source}: expected a map of {count} labels to the numbers 0..{count - 1}.")
    return sorted(raw, key=lambda label: int(raw[label]))


def _query_towers(
    files: Mapping[str, Path], separator: dict[str, Any], settings: ConversionOptions, *, name: str
) -> ClipTowers | None:
    """Return the towers of the ``clip`` file, or None without one."""
    asked_by = separator.pop("asked_by", "clip")
    if "clip" not in files:
        return None
    kind = separator["kind"]
    if kind not in ("late", "nit", "middle") or asked_by == "sop":
        what = "a ResNet (image_model 'sop')" if asked_by == "sop" else f"other means (kind {kind!r})"
        raise ConfigError(f"{name}: this model is asked by {what}, not by CLIP. Leave the 'clip' file out.")
    source = Path(files["clip"]).name
    towers = clip_towers(read_clip(files["clip"]), source=source, quick_gelu=settings.quick_gelu)
    if towers.embed_dim != separator["query_dim"]:
        raise WeightsError(
            f"{source} embeds in {towers.embed_dim} values and the separator takes {separator['query_dim']}. "
            "Give OpenAI CLIP ViT-B/32."
        )
    return towers


def _config(
    name: str, separator: Mapping[str, Any], towers: ClipTowers | None, settings: ConversionOptions
) -> ModelConfig:
    description = settings.description
    if towers is None and separator["kind"] in ("late", "nit", "middle", "bert"):
        description += _VECTORS.format(separator["query_dim"])
        description += _AGAIN if separator["kind"] != "bert" else ""
    raw: dict[str, Any] = {
        "name": name,
        "domain": "audio",
        "architecture": "clipsep",
        "embed_dim": towers.embed_dim if towers else 0,
        "towers": dict(towers.towers) if towers else {},
        "licence": settings.licence,
        "description": description.strip(),
        "prompts": _SENTENCES if towers else None,
        "options": dict(separator),
    }
    if towers is not None and "logit_scale" in towers.state:
        # 4.6052 in OpenAI's file, which rounding may lift over ln 100.
        raw["logit_scale"] = min(float(towers.state["logit_scale"]), LN_100)
    return ModelConfig.model_validate(raw)
