"""Pictures of tiles, from a folder or a server: decoded with a mask, checked before memory grows."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from ....core.errors import LimitError
from ....core.limits import DEFAULT, Limits
from ..loaders.errors import RasterReadError
from ..loaders.records import TileImage
from .tiles import Tile

if TYPE_CHECKING:
    import PIL.Image

FORMATS = ("PNG", "JPEG", "WEBP")
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, LookupError, ArithmeticError, struct.error, zlib.error)
"""What Pillow raises on damaged files, depending on the format and on where the damage is."""


def picture_tile(
    source: Path | bytes,
    tile: Tile,
    *,
    label: str,
    size: tuple[int, int] | None = None,
    limits: Limits = DEFAULT,
) -> TileImage:
    """Return a PNG, JPEG or WebP picture as the image of a tile, float32 [3, H, W] in [0, 1].

    Transparent pixels are invalid. Without georeference the transform counts pixels from the upper left.

    Args:
        source: a file or its bytes.
        tile: what the picture shows; it fills the tile's bounds.
        label: how messages call the picture.
        size: (rows, columns) to bring it to.
        limits: ceilings of one picture.

    Raises:
        RasterReadError: no such picture, or damaged.
        LimitError: over ``limits``.
    """
    from PIL import Image

    if isinstance(source, bytes):
        limits.check("file_bytes", len(source), what=f"{label}: bytes")
        handle: Path | io.BytesIO = io.BytesIO(source)
    else:
        handle = source
        if source.is_file():
            limits.check("file_bytes", source.stat().st_size, what=f"{label}: bytes")
    try:
        with Image.open(handle, formats=FORMATS) as image:
            limits.check("pixels", image.width * image.height, what=f"{label}: pixels")
            pixels, valid = _decoded(image, size)
    except LimitError:
        raise
    except (*_DAMAGE, Image.DecompressionBombError) as error:
        missing = isinstance(source, Path) and not source.is_file()
        reason = "there is no such file" if missing else "it cannot be decoded as PNG, JPEG or WebP"
        raise RasterReadError(f"{label}: {reason}. Fetch or export this tile anew.") from error
    rows, columns = valid.shape
    west, south, east, north = tile.bounds
    transform = ((east - west) / columns, 0.0, west, 0.0, (south - north) / rows, north)
    if not tile.crs:
        transform = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    image_values = torch.from_numpy(pixels).permute(2, 0, 1).float().div_(255.0)
    mask = torch.from_numpy(valid)
    return TileImage(image_values * mask, mask, transform, tile.crs, tile.id)


def _decoded(image: PIL.Image.Image, size: tuple[int, int] | None) -> tuple[np.ndarray, np.ndarray]:
    """Return uint8 [H, W, 3] and bool [H, W], True where not transparent."""
    from PIL import Image

    if image.mode.startswith(("I", "F")):
        raise ValueError(f"pixels of type {image.mode}")
    see_through = "transparency" in image.info or image.mode in ("RGBA", "LA", "PA", "RGBa", "La")
    whole = image.convert("RGBA" if see_through else "RGB")
    alpha = whole.getchannel("A") if see_through else None
    colors = whole.convert("RGB")
    if size is not None and (whole.height, whole.width) != tuple(size):
        colors = colors.resize((size[1], size[0]), Image.Resampling.BILINEAR)
        alpha = None if alpha is None else alpha.resize((size[1], size[0]), Image.Resampling.NEAREST)
    pixels = np.array(colors)
    valid = np.ones(pixels.shape[:2], dtype=bool) if alpha is None else np.array(alpha) > 0
    return pixels, valid
