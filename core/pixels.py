"""Images of every kind as tensors, and the pixel steps of preprocessing: trim, stretch, resize, channels."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from .config import ImageProcessing
from .errors import InputError
from .limits import Limits
from .types import Sample


def to_pixels(item: Any, *, name: str = "image") -> Tensor:
    """Return an image as float32 [C, H, W] in [0, 1].

    Integers are scaled by the full range of their type, so a 16-bit image keeps its steps.

    Raises:
        InputError: unknown type or shape, empty, non-finite, or floats outside [0, 1].
    """
    return as_unit(to_tensor(item, name=name))


def as_unit(pixels: Tensor) -> Tensor:
    """Return 8-bit pixels as float32 in [0, 1]; floats pass."""
    return pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels


def to_tensor(item: Any, *, name: str) -> Tensor:
    """Return an image as uint8 [C, H, W], as it came, or as float32 [C, H, W] in [0, 1].

    Raises:
        InputError: as :func:`to_pixels`.
    """
    if isinstance(item, Sample):
        item = item.value
    if hasattr(item, "getbands"):
        item = _pil_array(item)
    if isinstance(item, np.ndarray):
        item = _array_tensor(item, name)
    if not isinstance(item, Tensor):
        raise InputError(
            f"{name}: {type(item).__name__} is not an image; pass a Sample, a PIL image, an array or "
            "a tensor."
        )
    if item.ndim != 3 or item.shape[0] not in (1, 3) or 0 in item.shape:
        raise InputError(f"{name}: shape {tuple(item.shape)} is not [1, H, W] or [3, H, W].")
    if item.dtype == torch.uint8:
        return item
    if not item.is_floating_point():
        raise InputError(f"{name}: dtype {item.dtype} has no known range; use uint8 or floats in [0, 1].")
    low, high = (float(bound) for bound in item.float().aminmax())
    if not (low >= -1e-3 and high <= 1 + 1e-3):
        raise InputError(f"{name}: values from {low:g} to {high:g}; expected [0, 1]. Choose a window first.")
    return item.float().clamp(0.0, 1.0)


def _array_tensor(array: np.ndarray, name: str) -> Tensor:
    """Return [H, W] or [H, W, C] as [C, H, W]: uint8 as it is, wider integers scaled, floats as float32."""
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3:
        raise InputError(f"{name}: an array of shape {array.shape} is not an image; use [H, W] or [H, W, C].")
    if array.dtype.kind == "u" and array.dtype.itemsize > 1:
        # torch has no arithmetic for wide unsigned integers; float64 keeps each one exact.
        array = array.astype(np.float64) / np.iinfo(array.dtype).max
    elif array.dtype.kind not in "uf":
        raise InputError(
            f"{name}: dtype {array.dtype} has no known range; use uint8, uint16 or floats in [0, 1]."
        )
    if array.dtype.kind == "f":
        array = array.astype(np.float32)
    # A copy: arrays that view a PIL image are read-only, which torch does not support.
    # Channels stay last in memory: the resize kernel takes that as it is.
    return torch.from_numpy(np.array(array, order="C")).permute(2, 0, 1)


def _pil_array(image: Any) -> np.ndarray:
    """Return the pixels of a PIL image as an array; palettes become RGB, alpha goes onto black."""
    if image.mode in {"I;16", "I;16B", "I;16L", "I;16N", "I", "F"}:
        array = np.asarray(image)
        return array.astype(np.uint16) if image.mode != "F" and array.max(initial=0) <= 0xFFFF else array
    if image.mode in {"L", "RGB"}:
        return np.asarray(image)
    if image.mode in {"RGBA", "LA", "PA"} or "transparency" in image.info:
        rgba = np.asarray(image.convert("RGBA"), dtype=np.uint16)
        return ((rgba[..., :3] * rgba[..., 3:] + 127) // 255).astype(np.uint8)
    return np.asarray(image.convert("L" if image.mode == "1" else "RGB"))


def fill_missing(pixels: Tensor, mask: Tensor, config: ImageProcessing) -> Tensor:
    """Return an image whose pixels without data have the mean that normalization subtracts.

    The network then sees 0 there, which tells it least.

    Args:
        pixels: float32 [C, H, W] in [0, 1].
        mask: bool [H, W], True where there are data; somewhere there are.
        config: of the processor; one that subtracts the image's own mean gets that of the other pixels.
    """
    if config.standardize is not None:
        return torch.where(mask, pixels, pixels[:, mask].mean(dim=1).view(-1, 1, 1))
    # One band becomes as many as the mean has.
    return torch.where(mask, pixels, torch.tensor(config.mean).view(-1, 1, 1))


def trim_box(pixels: Tensor, level: float) -> tuple[int, int, int, int]:
    """Return (x0, y0, x1, y1) inside the dark margins; all of an image with next to nothing bright.

    Args:
        pixels: float32 [C, H, W] in [0, 1].
        level: share of the bright end of the image below which a pixel is dark.
    """
    grey = pixels.mean(dim=0)
    # The floor keeps compression noise around an all but black image from counting as content.
    threshold = max(12 / 255, level * float(np.percentile(grey.numpy(), 99)))
    bright = (grey > threshold).float()
    rows = (bright.mean(dim=1) > 0.04).nonzero().flatten()
    columns = (bright.mean(dim=0) > 0.04).nonzero().flatten()
    if len(rows) < 10 or len(columns) < 10:
        return 0, 0, pixels.shape[2], pixels.shape[1]
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def stretch(pixels: Tensor, low: float, high: float) -> Tensor:
    """Return float32 [C, H, W] with two percentiles mapped to 0 and 1; a constant image stays as it is."""
    floor, ceiling = (float(value) for value in np.percentile(pixels.numpy(), [low, high]))
    return ((pixels - floor) / (ceiling - floor)).clamp(0.0, 1.0) if ceiling > floor else pixels


def resize(pixels: Tensor, config: ImageProcessing, *, limits: Limits, name: str) -> Tensor:
    """Return [C, H, W], uint8 or float32, resized with antialiasing to a square of ``config.size``.

    Raises:
        LimitError: a strip so thin that its long side, enlarged with the short one, is over ``limits``.
    """
    height, width = pixels.shape[1:]
    size = config.size
    if config.resampler == "pillow":
        pixels = pixels if pixels.dtype == torch.uint8 else (pixels * 255).round().to(torch.uint8)
    if config.resize == "squash":
        return _interpolate(pixels, size, size, config)
    if config.resize == "longest":
        ratio = size / max(height, width)
        pixels = _interpolate(pixels, max(1, round(height * ratio)), max(1, round(width * ratio)), config)
        down, right = size - pixels.shape[1], size - pixels.shape[2]
        return F.pad(pixels, (right // 2, right - right // 2, down // 2, down - down // 2))
    # Side lengths and crop offsets follow torchvision, which the published weights were trained with.
    short, long = min(height, width), max(height, width)
    short_side = config.short_side or size
    long_side = int(short_side * long / short)
    limits.check("pixels", short_side * long_side, what=f"{name}: pixels after resizing {height} x {width}")
    new = (short_side, long_side) if height <= width else (long_side, short_side)
    pixels = _interpolate(pixels, *new, config)
    down, right = max(0, size - new[0]), max(0, size - new[1])
    if down or right:
        pixels = F.pad(pixels, (right // 2, right - right // 2, down // 2, down - down // 2))
        new = pixels.shape[1], pixels.shape[2]
    spare = new[0] - size, new[1] - size
    top, left = (each // 2 if config.center == "floor" else round(each / 2) for each in spare)
    return pixels[:, top : top + size, left : left + size]


def _interpolate(pixels: Tensor, height: int, width: int, config: ImageProcessing) -> Tensor:
    if pixels.shape[1:] == (height, width):
        return pixels
    mode = config.interpolation
    if config.resampler == "pillow":
        from PIL import Image

        rows = pixels.permute(1, 2, 0).numpy()
        image = Image.fromarray(rows[..., 0] if rows.shape[2] == 1 else np.ascontiguousarray(rows))
        return _array_tensor(
            np.asarray(image.resize((width, height), Image.Resampling[mode.upper()])), "image"
        )
    resized = F.interpolate(pixels[None], (height, width), mode=mode, antialias=True, align_corners=False)[0]
    return resized if resized.dtype == torch.uint8 else resized.clamp(0.0, 1.0)


def set_channels(pixels: Tensor, channels: int) -> Tensor:
    """Return [channels, H, W]: grey repeated for a colour tower, ITU-R 601 luma for a grey one."""
    if pixels.shape[0] == channels:
        return pixels
    if channels == 3:
        return pixels.expand(3, -1, -1)
    weights = torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)
    return (pixels * weights).sum(dim=0, keepdim=True)
