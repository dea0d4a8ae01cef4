"""How open_clip and transformers prepare pictures, as our own settings.

Both shrink with Pillow's filters where they were trained. The torchvision backend of newer transformers
rounds some pixels by one more or less of 255; the settings here are those of its Pillow backend.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from ..config import Config, ImageProcessing, parse_config
from ..errors import ConfigError
from .foreign_config import choice, close, square

_Side = Annotated[int, Field(ge=1, le=4096)]
_Three = Annotated[list[float], Field(min_length=3, max_length=3)]
_Deviation = Annotated[float, Field(gt=0)]
_Deviations = Annotated[list[_Deviation], Field(min_length=3, max_length=3)]
OPENAI_MEAN, OPENAI_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
_HALF = (0.5, 0.5, 0.5)


class _OpenClipPictures(Config):
    """``preprocess_cfg`` of open_clip."""

    size: _Side | Annotated[list[_Side], Field(min_length=2, max_length=2)] | None = None
    mode: Literal["RGB"] = "RGB"
    mean: _Three | float | None = None
    std: _Deviations | _Deviation | None = None
    interpolation: str | None = None
    resize_mode: Literal["shortest", "longest", "squash"] | None = None
    fill_color: int = 0


def open_clip_pictures(raw: Mapping[str, Any], size: int, *, source: str) -> ImageProcessing:
    """Return the preparation that ``preprocess_cfg`` describes, for pictures of ``size`` pixels a side.

    The size of the tower counts, as in open_clip, whatever ``size`` says.

    Raises:
        ConfigError: an unknown key, filter or mode, or bars of another colour than black.
    """
    known = parse_config(_OpenClipPictures, raw, source=f"{source}: preprocess_cfg")
    filters = {"bicubic": "bicubic", "bilinear": "bilinear", "random": "bicubic", None: "bicubic"}
    mode = known.resize_mode or "shortest"
    if mode == "longest" and known.fill_color:
        raise ConfigError(
            f"{source}: preprocess_cfg.fill_color {known.fill_color} is not supported; bars are black (0)."
        )
    return ImageProcessing(
        size=size,
        resize=mode,
        interpolation=choice(known.interpolation, filters, f"{source}: preprocess_cfg.interpolation"),  # pyright: ignore[reportArgumentType]
        resampler="pillow",
        mean=_each(known.mean, OPENAI_MEAN),
        std=_each(known.std, OPENAI_STD),
    )


class _Sides(Config):
    shortest_edge: _Side | None = None
    height: _Side | None = None
    width: _Side | None = None


def _each(said: list[float] | float | None, default: tuple[float, ...]) -> tuple[float, ...]:
    """Return a value for each of three channels; one number stands for all of them."""
    if said is None:
        return default
    return tuple(said) if isinstance(said, list) else (said,) * 3


class _TransformersPictures(Config):
    """``preprocessor_config.json`` of a CLIP or SigLIP; what is None has the default of its class."""

    do_resize: bool = True
    size: _Side | _Sides | None = None
    resample: int = 3
    do_center_crop: bool | None = None
    crop_size: _Side | _Sides | None = None
    do_rescale: bool = True
    rescale_factor: float = 1 / 255
    do_normalize: bool = True
    image_mean: _Three | float | None = None
    image_std: _Deviations | _Deviation | None = None


_PASSED = frozenset(
    {
        "_processor_class", "_valid_processor_keys", "auto_class", "data_format",
        "default_to_square", "device", "disable_grouping", "do_convert_rgb",
        "feature_extractor_type", "image_processor_type", "image_seq_length", "input_data_format",
        "processor_class", "return_tensors",
    }
)  # fmt: skip
"""Names of classes and forms of output; every picture becomes RGB here."""


def transformers_pictures(
    raw: Mapping[str, Any], size: int, *, siglip: bool, source: str = "preprocessor_config.json"
) -> ImageProcessing:
    """Return the preparation that an image processor of transformers describes.

    Args:
        raw: its settings; empty ones stand for the defaults of the class at ``size``.
        size: pixels of a side that the tower takes.
        siglip: whose defaults count: ``SiglipImageProcessor`` rather than ``CLIPImageProcessor``.

    Raises:
        ConfigError: an unknown key, or a preparation that we do not have.
    """
    kept = {key: value for key, value in raw.items() if key not in _PASSED and value is not None}
    known = parse_config(_TransformersPictures, kept, source=source)
    for off, said in (("do_resize", known.do_resize), ("do_rescale", known.do_rescale)):
        if not said:
            raise ConfigError(
                f"{source}: {off} false is not supported; pictures come in every size and as bytes."
            )
    if not close(known.rescale_factor, 1 / 255):
        raise ConfigError(f"{source}: rescale_factor {known.rescale_factor:g} is not supported; it is 1/255.")
    crops = (not siglip) if known.do_center_crop is None else known.do_center_crop
    edge, target = _sides(known, size, siglip=siglip, source=source)
    crop = _crop(known, size, source=source) if crops else target
    if (edge is not None and not crops) or (crop if crops else target) != size:
        raise ConfigError(
            f"{source}: pictures come out with {crop or target or 'no fixed'} pixels a side; the tower takes "
            f"{size}. Use the file of the same repository."
        )
    mean, std = (_HALF, _HALF) if siglip else (OPENAI_MEAN, OPENAI_STD)
    if not known.do_normalize:
        mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    else:
        mean, std = _each(known.image_mean, mean), _each(known.image_std, std)
    filters = {3: "bicubic", 2: "bilinear"}
    shared: dict[str, Any] = {
        "size": size,
        "interpolation": choice(known.resample, filters, f"{source}: resample"),
        "resampler": "pillow",
        "mean": mean,
        "std": std,
    }
    if edge is None:
        if crops and target != size:
            raise ConfigError(f"{source}: size {target} and crop_size {size} together are not supported.")
        return ImageProcessing(resize="squash", **shared)
    short = None if edge == size else edge
    return ImageProcessing(resize="shortest", short_side=short, center="floor", **shared)


def _sides(
    known: _TransformersPictures, size: int, *, siglip: bool, source: str
) -> tuple[int | None, int | None]:
    """Return (short side, None) or (None, side of the square that the picture is pressed into)."""
    asked = known.size
    if asked is None:
        return (None, size) if siglip else (size, None)
    if isinstance(asked, int):
        return (None, asked) if siglip else (asked, None)
    if asked.shortest_edge is not None:
        return asked.shortest_edge, None
    if asked.height is None or asked.width is None:
        raise ConfigError(f"{source}: size needs shortest_edge, or height and width.")
    return None, square([asked.height, asked.width], f"{source}: size")


def _crop(known: _TransformersPictures, size: int, *, source: str) -> int:
    asked = known.crop_size
    if asked is None or isinstance(asked, int):
        return asked or size
    if asked.height is None or asked.width is None:
        raise ConfigError(f"{source}: crop_size needs height and width.")
    return square([asked.height, asked.width], f"{source}: crop_size")
