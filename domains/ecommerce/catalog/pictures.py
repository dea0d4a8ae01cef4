"""The picture of a product that is in a catalogue."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ....core.errors import InputError
from ..loaders.image import load_image
from .encode import read_bytes

if TYPE_CHECKING:
    from PIL import Image as PILImage

    from ....core.index.base import VectorIndex


def picture_of(index: VectorIndex, identifier: str) -> PILImage.Image:
    """Return the picture of a product, upright and in RGB.

    Raises:
        InputError: no such product, no picture, or one that is no longer there.
    """
    rows = index.get([identifier], columns=["image", "image_path"])
    if not rows.ids:
        raise InputError(f"The catalogue has no product {identifier!r}.")
    given, path = (rows.payload.column(name)[0].as_py() for name in ("image", "image_path"))
    if path is None:
        why = "its picture was not a file" if given else "it has no picture"
        raise InputError(f"Product {identifier!r}: {why}.")
    return upright(read_bytes(Path(path), given or identifier))


def upright(content: bytes) -> PILImage.Image:
    """Return an encoded picture, upright and in RGB.

    Raises:
        InputError: it cannot be read.
    """
    from PIL import Image

    pixels = load_image(content).value
    if pixels.is_floating_point():
        pixels = (pixels * 255).round().clamp(0, 255)
    pixels = pixels.to("cpu").numpy().astype(np.uint8).transpose(1, 2, 0)
    return Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).convert("RGB")
