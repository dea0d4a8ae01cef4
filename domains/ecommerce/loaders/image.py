"""Pictures of products: from files or bytes, turned upright, on white where they are transparent."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ....core.errors import InputError
from ....core.images import open_still
from ....core.limits import DEFAULT, Limits
from ....core.pixels import to_pixels
from ....core.types import Sample

SHORTEST_SIDE = 64
"""Pixels; smaller pictures are icons and placeholders, in which no product can be told."""
_TRANSPARENT = ("RGBA", "LA", "PA", "RGBa", "La")


def load_image(
    source: str | os.PathLike[str] | bytes,
    *,
    limits: Limits = DEFAULT,
    show_paths: bool = False,
    shortest_side: int = SHORTEST_SIDE,
) -> Sample:
    """Return the picture of a product as a sample.

    Args:
        source: one still picture, as a file or its bytes.
        limits: ceilings on size and pixels, compared with the header before decoding.
        show_paths: let error messages name the whole path instead of the file name.
        shortest_side: pixels that the shorter side has at least.

    Returns:
        Sample with ``value`` [C, H, W], C = 1 or 3: uint8, or float32 in [0, 1] where the file has more
        than 8 bits. Transparent pixels lie on white, the usual ground of catalogues; black would become
        part of the product. ``meta`` has format, height, width, and ``exif_orientation`` and ``alpha``
        where the picture was turned or had transparency.

    Raises:
        InputError: missing file, not a picture, damaged, cut off, animated or too small.
        LimitError: over a ceiling.
    """
    if isinstance(source, bytes):
        name, stream = "image", io.BytesIO(source)
        if not source:
            raise InputError(f"{name}: there are no bytes. Give an encoded picture.")
        limits.check("file_bytes", len(source), what=f"{name}: bytes")
    else:
        path = Path(source)
        name, stream = str(path) if show_paths else path.name, path
        if not path.is_file():
            raise InputError(
                f"{name}: {'is a folder' if path.is_dir() else 'no such file'}. Give one image file."
            )
        if path.stat().st_size == 0:
            raise InputError(f"{name}: the file is empty. Copy or download it again.")
        limits.check("file_bytes", path.stat().st_size, what=f"{name}: bytes")
    with open_still(stream, name=name, limits=limits) as (image, meta):
        if min(image.width, image.height) < shortest_side:
            raise InputError(
                f"{name}: {image.width} x {image.height} pixels; the shorter side needs {shortest_side}. "
                "Give a larger picture."
            )
        if image.mode in _TRANSPARENT or "transparency" in image.info:
            meta["alpha"] = "white"
            return Sample(_on_white(np.asarray(image.convert("RGBA"))), "image", meta, id=name)
        if image.mode in ("L", "RGB"):
            pixels = np.asarray(image)
            value = torch.from_numpy(pixels.copy())
            return Sample(
                value[None] if value.ndim == 2 else value.permute(2, 0, 1).contiguous(),
                "image",
                meta,
                id=name,
            )
        image.load()
        return Sample(to_pixels(image, name=name), "image", meta, id=name)


def _on_white(rgba: np.ndarray) -> Tensor:
    """Return uint8 [3, H, W] of uint8 [H, W, 4] laid on white."""
    wide = rgba.astype(np.uint16)
    alpha = wide[..., 3:]
    pixels = (wide[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255
    return torch.from_numpy(pixels.astype(np.uint8)).permute(2, 0, 1).contiguous()
