"""Still pictures of any kind as uint8 RGB, upright."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ....core.errors import InputError
from ....core.images import load_image, open_still
from ....core.limits import DEFAULT, Limits
from ....core.pixels import to_tensor
from ....core.types import Sample


def read_picture(
    item: Any, *, limits: Limits = DEFAULT, show_paths: bool = False, name: str | None = None
) -> np.ndarray:
    """Return a picture as uint8 [H, W, 3], RGB, turned as the camera was held.

    Args:
        item: a path or the bytes of an image file (PNG, JPEG, TIFF, WebP, BMP ...), an array [H, W] or [H, W,
            3], a tensor [C, H, W], a PIL image, or a Sample. Integers are scaled by the range of their type,
            floats are in [0, 1]; grey is repeated; transparent pixels go onto black.
        limits: ceilings on bytes and pixels, compared with the header before decoding.
        show_paths: let error messages name the whole path instead of the file name.
        name: what messages call it; None takes the file name.

    Raises:
        InputError: missing, damaged, no picture, or more than one frame. LimitError: over a ceiling.
    """
    if isinstance(item, (str, os.PathLike)):
        return as_picture(load_image(item, limits=limits, show_paths=show_paths).value)
    if isinstance(item, (bytes, bytearray, memoryview)):
        limits.check("file_bytes", len(item), what=f"{name or 'picture in memory'}: bytes")
        with open_still(io.BytesIO(item), name=name or "picture in memory", limits=limits) as (image, _):
            image.load()
            return as_picture(to_tensor(image, name=name or "picture in memory"))
    called = name or (item.id if isinstance(item, Sample) else None) or "picture"
    if isinstance(item, np.ndarray) and item.ndim == 3 and item.shape[2] == 3 and item.dtype == np.uint8:
        if 0 in item.shape:
            raise InputError(f"{called}: shape {item.shape} has no pixels.")
        limits.check("pixels", item.shape[0] * item.shape[1], what=f"{called}: pixels")
        return np.ascontiguousarray(item)
    if hasattr(item, "getbands"):
        from PIL import ImageOps

        photo: Any = item
        item = ImageOps.exif_transpose(photo)
    pixels = to_tensor(item, name=called)
    limits.check("pixels", pixels.shape[1] * pixels.shape[2], what=f"{called}: pixels")
    return as_picture(pixels)


def as_picture(pixels: torch.Tensor) -> np.ndarray:
    """Return uint8 [H, W, 3] of uint8 or float [C, H, W] in [0, 1], C = 1 or 3."""
    if pixels.dtype != torch.uint8:
        pixels = (pixels * 255).round().to(torch.uint8)
    return np.ascontiguousarray(pixels.expand(3, -1, -1).permute(1, 2, 0).cpu().numpy())


def name_of(item: Any, *, show_paths: bool) -> str | None:
    """Return what messages and reports call an input, or None where it has no name."""
    if isinstance(item, (str, os.PathLike)):
        return str(item) if show_paths else Path(item).name
    return item.id if isinstance(item, Sample) else None
