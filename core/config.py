"""Config objects for everything that crosses a file boundary.

A config is data: unknown keys are refused, and no value can name a class, a URL, another
repository or a path outside its own folder.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

import yaml
from pydantic import Field, ValidationError, model_validator

from .audio_config import AudioProcessing
from .config_base import Config, Probability, Scalar
from .errors import ConfigError, nearest
from .files import read_json, unique_keys
from .limits import DEFAULT, Limits
from .types import Modality

LN_100 = math.log(100.0)

C = TypeVar("C", bound=Config)


class _Tower(Config):
    projection: Literal["none", "linear", "mlp"] = "linear"
    """From tower width to the joint dimension; ``none`` when the tower already ends there."""
    projection_hidden: int | None = Field(default=None, ge=1)
    projection_bias: bool = False


class _ClipTower(_Tower):
    """What both towers in OpenAI CLIP layout have."""

    projection: Literal["none", "linear", "mlp"] = "none"
    width: int = Field(ge=1)
    layers: int = Field(ge=1)
    heads: int = Field(ge=1)
    mlp_width: int = Field(ge=1)
    quick_gelu: bool = False
    output_dim: int | None = Field(default=None, ge=1)
    """Columns of the projection matrix inside the tower; None leaves the pooled width as it is."""


class VisionTransformerTower(_ClipTower):
    """Our Vision Transformer in OpenAI CLIP layout; parameter names as in open_clip's ``visual.*``."""

    backend: Literal["vit"]
    image_size: int = Field(ge=1)
    patch_size: int = Field(ge=1)
    channels: int = Field(default=3, ge=1)


class CausalTextTower(_ClipTower):
    """Our causal text transformer in OpenAI CLIP layout; parameter names as in open_clip's ``text.*``."""

    backend: Literal["clip_text"]
    context_length: int = Field(default=77, ge=1)
    vocab_size: int = Field(default=49408, ge=1)


class BertTower(_Tower):
    """Our BERT encoder without pooler; parameter names as in transformers' ``BertModel``."""

    backend: Literal["bert"]
    vocab_size: int = Field(ge=1)
    width: int = Field(ge=1)
    layers: int = Field(ge=1)
    heads: int = Field(ge=1)
    mlp_width: int = Field(ge=1)
    max_positions: int = Field(default=512, ge=1)
    type_vocab_size: int = Field(default=2, ge=1)
    layer_norm_eps: float = Field(default=1e-12, gt=0)
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    pooling: Literal["cls", "mean"] = "cls"


class OpenClipTower(_Tower):
    """Any vision or text tower of open_clip from the values of its JSON model config."""

    backend: Literal["open_clip"]
    projection: Literal["none", "linear", "mlp"] = "none"
    kind: Literal["vision", "text"]
    output_dim: int = Field(ge=1)
    quick_gelu: bool = False
    options: dict[str, Any] = Field(default_factory=dict)
    """Keys of open_clip's ``CLIPVisionCfg`` or ``CLIPTextCfg``; those that fetch anything are refused."""


class TimmTower(_Tower):
    """An image backbone of timm, created by its registry name without its classifier."""

    backend: Literal["timm"]
    architecture: str = Field(pattern=r"^[a-z0-9_.]+$")
    options: dict[str, Scalar | list[int] | list[float]] = Field(default_factory=dict)
    """Plain numbers, strings and lists for the timm constructor, e.g. ``channels``, ``img_size``."""


class TransformersTower(_Tower):
    """A model of transformers built from a config of plain values (never from remote code)."""

    backend: Literal["transformers"]
    model_type: Literal[
        "bert", "roberta", "clip_text_model", "clip_vision_model", "siglip_text_model",
        "siglip_vision_model", "clap_audio_model",
    ]  # fmt: skip
    options: dict[str, Scalar | list[int] | list[float]] = Field(default_factory=dict)
    pooling: Literal["cls", "mean", "pooler", "last"] = "cls"


TowerConfig = Annotated[
    VisionTransformerTower | CausalTextTower | BertTower | OpenClipTower | TimmTower | TransformersTower,
    Field(discriminator="backend"),
]


class ModelConfig(Config):
    """A contrastive model: any number of towers into one joint space."""

    schema_version: Literal[1] = 1
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]*$")
    domain: str | None = Field(default=None, pattern=r"^[a-z]+$")
    architecture: str = Field(default="contrastive", pattern=r"^[a-z0-9_]+$")
    """``contrastive``, or an architecture that the domain declares."""
    embed_dim: int = Field(ge=0)
    """Size of the joint space; 0, with no towers, for a part that embeds nothing (a vocoder)."""
    towers: dict[Modality, TowerConfig] = Field(default_factory=dict)
    logit_scale: float = Field(default=math.log(1 / 0.07), ge=0.0, le=LN_100)
    """Start value in the log domain; kept within [0, ln 100] during training."""
    logit_bias: float | None = None
    """Set (usually -10) for sigmoid models; None for softmax models."""
    description: str = ""
    licence: str = ""
    """SPDX identifier of the weights."""
    prompts: str | None = Field(default=None, pattern=r"^[a-z0-9_-]+$")
    """Name of the prompt set stored beside the weights as ``prompts.yaml``."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Settings of a domain's architecture, checked by the architecture itself."""

    @model_validator(mode="after")
    def _embeds_something(self) -> ModelConfig:
        if self.architecture == "contrastive" and not (self.towers and self.embed_dim):
            raise ValueError("a contrastive model needs towers and an embed_dim of at least 1")
        if bool(self.towers) != bool(self.embed_dim):
            raise ValueError(f"embed_dim {self.embed_dim} does not fit {len(self.towers)} towers")
        return self


class AugmentConfig(Config):
    """Random changes of training images; ranges are inclusive, probabilities are per image."""

    content_box: tuple[float, float] | None = None
    """Look at anything between the whole picture (0) and its content without black border (1)."""
    zoom: tuple[float, float] = (1.0, 1.0)
    """Magnification, drawn log-uniformly: 1.25 shows 80 % of each side."""
    aspect: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Largest change of the width to height ratio, as a log."""
    rotate_deg: float = Field(default=0.0, ge=0.0, le=180.0)
    translate: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Largest shift as a fraction of the side."""
    flip_horizontal: Probability = 0.0
    flip_vertical: Probability = 0.0
    warp: Probability = 1.0
    """Share of images that get zoom, aspect, rotation and shift, which resample and so soften the picture.
    The others are flipped and, with ``rotate_deg`` from 90, turned by quarters: every pixel stays sharp."""
    border: Literal["zeros", "reflection"] = "zeros"
    histogram: Probability = 0.0
    """Grey images: take over, in part, the grey-value distribution of another image of the batch."""
    tone_curve: Probability = 0.0
    """Grey images: a random smooth tone curve."""
    tone_strength: float = Field(default=0.25, ge=0.0, le=1.0)
    """Largest strength of the curve: 0.25 changes exposure, 1 reaches the contrast of other sequences."""
    brightness: float = Field(default=0.0, ge=0.0, le=2.0)
    """Largest log gain; contrast (about the image mean) and gamma likewise."""
    contrast: float = Field(default=0.0, ge=0.0, le=2.0)
    gamma: float = Field(default=0.0, ge=0.0, le=2.0)
    photometric: Probability = 0.8
    """Share of images that get brightness, contrast and gamma."""
    channel_gain: float = Field(default=0.0, ge=0.0, le=1.0)
    """Largest log gain of each colour channel by itself: stain and white balance."""
    invert: Probability = 0.0
    blur: Probability = 0.0
    low_resolution: Probability = 0.0
    noise: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Largest standard deviation of the noise that three images in ten get."""
    jpeg: Probability = 0.0
    """The loss of a JPEG file, as the last thing that happens to an image."""
    jpeg_quality: tuple[Annotated[int, Field(ge=1, le=100)], Annotated[int, Field(ge=1, le=100)]] = (40, 95)
    erase: Probability = 0.0
    """One rectangle of up to 30 % of each side."""

    @model_validator(mode="after")
    def _ranges_run_upwards(self) -> AugmentConfig:
        if self.jpeg_quality[0] > self.jpeg_quality[1]:
            raise ValueError(f"jpeg_quality runs from low to high, got {list(self.jpeg_quality)}")
        return self


class ImageProcessing(Config):
    """Image in [0, 1] to the tensor the tower expects."""

    size: int = Field(ge=1, le=4096)
    resize: Literal["shortest", "longest", "squash"] = "shortest"
    """``shortest``: short side to ``short_side`` then centre crop; ``longest``: pad to square; ``squash``."""
    short_side: int | None = Field(default=None, ge=1, le=4096)
    """With ``shortest``: short side before the centre crop of ``size``; None is ``size``. A picture
    smaller than the crop is put in the middle of black."""
    center: Literal["round", "floor"] = "round"
    """Where a crop begins when an odd number of pixels goes: as torchvision has it, or one pixel earlier in
    half of the cases, as transformers has it."""
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    resampler: Literal["torch", "pillow"] = "torch"
    """``pillow`` rounds to 8 bits and resizes with Pillow, as most published weights were trained."""
    channels: Literal[1, 3] = 3
    mean: tuple[float, ...] = (0.48145466, 0.4578275, 0.40821073)
    std: tuple[float, ...] = (0.26862954, 0.26130258, 0.27577711)
    trim_border: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Crop dark margins: keep the span of rows and columns where more than 4 % of the pixels are above
    this share of the image's 99th percentile. 0 keeps the frame; 0.12 suits MR slices."""
    stretch: tuple[float, float] | None = None
    """Map these percentiles of each image to 0 and 1 before normalization; None keeps values."""
    standardize: float | None = Field(default=None, gt=0)
    """Take each image's own mean and deviation (plus this much) instead of ``mean`` and ``std``."""
    load: dict[str, Scalar | list[int] | list[float]] = Field(default_factory=dict)
    """Options for the domain's loader that belong to these weights; the caller's own win."""

    @model_validator(mode="after")
    def _channels_agree(self) -> ImageProcessing:
        if len(self.mean) != self.channels or len(self.std) != self.channels:
            raise ValueError(
                f"mean and std need {self.channels} values, got {len(self.mean)} and {len(self.std)}"
            )
        if any(value <= 0 for value in self.std):
            raise ValueError(f"std must be positive, got {self.std}")
        if self.short_side is not None and self.resize != "shortest":
            raise ValueError(f"short_side {self.short_side} needs resize 'shortest', not {self.resize!r}")
        return self


class TextProcessing(Config):
    """Text to token ids with a tokenizer file stored beside the weights."""

    tokenizer: Literal["tokenizer_json", "open_clip_bpe"] = "tokenizer_json"
    context_length: int = Field(ge=1, le=8192)
    pad_id: int = Field(default=0, ge=0)
    clean: Literal["none", "whitespace", "canonicalize"] = "whitespace"
    """``whitespace`` also mends encodings and HTML escapes, as open_clip does; ``canonicalize`` then makes
    letters small and leaves out ASCII punctuation, as SigLIP was trained."""
    strip_end: str = ""
    """Characters taken off the right end of every text."""
    allow_empty: bool = False
    allow_special: tuple[str, ...] | None = None
    """Special tokens a text may contain; None does not look for any."""
    overlong: Literal["error", "truncate"] = "error"
    padding: Literal["longest", "context"] = "longest"


class ProcessorConfig(Config):
    """Everything between a loaded sample and the tensors of a tower, per modality."""

    version: Literal[1] = 1
    image: ImageProcessing | None = None
    text: TextProcessing | None = None
    audio: AudioProcessing | None = None


def _strings(value: Any, where: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield where, str(key)
            yield from _strings(inner, f"{where}.{key}" if where else str(key))
    elif isinstance(value, (list, tuple)):
        for position, inner in enumerate(value):
            yield from _strings(inner, f"{where}[{position}]")
    elif isinstance(value, str):
        yield where, value


def refuse_unsafe(raw: Any, *, source: str) -> None:
    """Raise ``ConfigError`` when a raw config tries to reach outside its folder.

    ``trust_remote_code`` anywhere, URLs and ``..`` path segments are refused whatever key they
    stand under, so that a later field cannot reopen the door by accident.
    """
    for where, text in _strings(raw):
        at = f" at {where!r}" if where else ""
        if "trust_remote_code" in text:
            raise ConfigError(f"{source}: 'trust_remote_code'{at} is never accepted. Remove the key.")
        if "://" in text and where != "description":
            raise ConfigError(f"{source}: the URL {text!r}{at} is not accepted in a config. Remove it.")
        if ".." in text.replace("\\", "/").split("/"):
            raise ConfigError(f"{source}: {text!r}{at} leaves the folder. Use a name inside it.")


def parse_config(cls: type[C], raw: Any, *, source: str) -> C:
    """Validate ``raw`` as ``cls``; the first problem becomes one readable ``ConfigError``."""
    if not isinstance(raw, Mapping):
        raise ConfigError(f"{source}: expected a mapping of settings, got {type(raw).__name__}.")
    refuse_unsafe(raw, source=source)
    try:
        return cls.model_validate(raw)
    except ValidationError as error:
        # A misspelled key also shows up as a missing one; naming the misspelling helps more.
        first = min(error.errors(), key=lambda found: found["type"] != "extra_forbidden")
        where = ".".join(str(part) for part in first["loc"])
        more = f" ({error.error_count() - 1} more)" if error.error_count() > 1 else ""
        if first["type"] == "extra_forbidden":
            key = str(first["loc"][-1])
            hint = nearest(key, _known_keys(cls, first["loc"][:-1])) or " Remove it."
            raise ConfigError(f"{source}: unknown key {where!r}.{hint}{more}") from None
        if first["type"] == "value_error":  # a rule of ours about several settings; its text names them
            said = first["msg"].removeprefix("Value error, ")
            raise ConfigError(f"{source}: {where + ': ' if where else ''}{said}.{more}") from None
        raise ConfigError(
            f"{source}: {where}: {first['msg']} (got {first.get('input')!r:.120}){more}"
        ) from None


def _known_keys(cls: type[Config], location: tuple[Any, ...]) -> list[str]:
    """Field names of ``cls`` and of the configs below it, enough for a did-you-mean."""
    names = set(cls.model_fields)
    for tower in get_args(get_args(TowerConfig)[0]):
        if "towers" in location:
            names |= set(tower.model_fields)
    for part in location:
        field = cls.model_fields.get(str(part))
        for candidate in getattr(field and field.annotation, "__args__", (field and field.annotation,)):
            if isinstance(candidate, type) and issubclass(candidate, Config):
                names |= set(candidate.model_fields)
    return sorted(names)


def read_config(cls: type[C], path: str | Path, *, limits: Limits = DEFAULT) -> C:
    """Read a JSON or YAML file as ``cls``.

    Raises:
        ConfigError: missing file, over-long file, bad syntax, unknown key, value out of range.
    """
    path = Path(path)
    raw = (
        read_yaml(path, limits=limits) if path.suffix in {".yaml", ".yml"} else read_json(path, limits=limits)
    )
    return parse_config(cls, raw, source=path.name)


class _UniqueKeyLoader(yaml.SafeLoader):
    """The safe loader; a key that stands twice is an error instead of the last one winning."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        unique_keys([(str(self.construct_object(key, deep=True)), None) for key, _ in node.value])
        return super().construct_mapping(node, deep=deep)


_OPENING = (
    yaml.FlowSequenceStartToken,
    yaml.FlowMappingStartToken,
    yaml.BlockSequenceStartToken,
    yaml.BlockMappingStartToken,
)
_CLOSING = (yaml.FlowSequenceEndToken, yaml.FlowMappingEndToken, yaml.BlockEndToken)
_DEEPEST = 64
"""Levels of a YAML document; ours have fewer than ten."""


def read_yaml(path: str | Path, *, limits: Limits = DEFAULT) -> Any:
    """Read one YAML document with the safe loader; aliases are refused (they can grow without bound)."""
    path = Path(path)
    if not path.is_file():
        raise ConfigError(f"{path}: no such file.")
    limits.check("config_bytes", path.stat().st_size, what=f"{path.name}: bytes")
    try:
        text = path.read_text(encoding="utf-8")
    except ValueError as error:
        raise ConfigError(f"{path.name}: not valid YAML ({' '.join(str(error).split())}).") from error
    return parse_yaml(text, source=path.name)


def parse_yaml(text: str, *, source: str) -> Any:
    """Return what one YAML document holds, as :func:`read_yaml` does; ``source`` names it in errors."""
    try:
        depth = 0
        for token in yaml.scan(text):
            if isinstance(token, yaml.AliasToken):
                raise ConfigError(f"{source}: YAML aliases ('*name') are not accepted. Write the value out.")
            depth += isinstance(token, _OPENING) - isinstance(token, _CLOSING)
            if depth > _DEEPEST:
                # The parser would take minutes for a file of brackets that is within the limit of bytes.
                raise ConfigError(f"{source}: more than {_DEEPEST} levels inside each other.")
        return yaml.load(text, Loader=_UniqueKeyLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{source}: not valid YAML ({' '.join(str(error).split())}).") from error
