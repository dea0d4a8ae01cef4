"""Plain image files (PNG, JPEG, TIFF, WebP, BMP) as samples, checked before they are decoded."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from .errors import InputError
from .limits import DEFAULT, Limits
from .types import Sample

_FORMATS = ("PNG", "JPEG", "TIFF", "WEBP", "BMP", "GIF", "PPM")
_ORIENTATION_TAG = 0x0112


def load_image(path: str | os.PathLike[str], *, limits: Limits = DEFAULT) -> Sample:
    """Return an image file as a sample.

    Args:
        path: one still image.
        limits: ceilings on file size and pixels, compared with the header before decoding.

    Returns:
        Sample with ``value`` [C, H, W], C = 1 or 3: uint8 as stored, or float32 in [0, 1] for files of
        more than 8 bits. ``meta`` has format, mode, height, width and, where the camera turned the
        picture, ``exif_orientation``; the turn is undone.

    Raises:
        InputError: missing file, not an image, damaged, or more than one frame.
        LimitError: over a ceiling.
    """
    import numpy as np
    from PIL import Image, ImageOps, UnidentifiedImageError

    from .processing import Processor  # noqa: F401

    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: {'is a folder' if path.is_dir() else 'no such file'}. Give one image file.")
    limits.check("file_bytes", path.stat().st_size, what=f"{path.name}: bytes")
    try:
        with Image.open(path, formats=_FORMATS) as image:
            limits.check("pixels", image.width * image.height, what=f"{path.name}: pixels")
            pass
    except UnidentifiedImageError:
        raise InputError("...") from None
