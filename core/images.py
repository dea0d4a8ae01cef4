"""Plain image files (PNG, JPEG, TIFF, WebP, BMP ...) as samples, checked before they are decoded."""

from __future__ import annotations

import contextlib
import os
import re
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from .errors import InputError, LimitError
from .limits import DEFAULT, Limits
from .pixels import to_pixels
from .types import Sample

if TYPE_CHECKING:
    from PIL import Image as PILImage

FORMATS = ("PNG", "JPEG", "TIFF", "WEBP", "BMP", "GIF", "PPM")
_ORIENTATION_TAG = 0x0112
_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, LookupError, ArithmeticError, struct.error, zlib.error)
"""What Pillow raises on damaged files, depending on the format and on where the damage is."""


def load_image(path: str | os.PathLike[str], *, limits: Limits = DEFAULT, show_paths: bool = False) -> Sample:
    """Return an image file as a sample.

    Args:
        path: one still image.
        limits: ceilings on file size and pixels, compared with the header before decoding.
        show_paths: let error messages name the whole path instead of the file name.

    Returns:
        Sample with ``value`` [C, H, W], C = 1 or 3: uint8 as stored, or float32 in [0, 1] where the
        file has more than 8 bits or transparency. ``meta`` has format, height, width and, when the
        camera turned the picture, ``exif_orientation``; the turn is undone.

    Raises:
        InputError: missing file, not an image, damaged, or more than one frame.
        LimitError: over a ceiling.
    """
    path = Path(path)
    name = str(path) if show_paths else path.name
    # Not Path.is_file, which raises for a name that is too long.
    if not os.path.isfile(path):
        found = "is a folder" if os.path.isdir(path) else "no such file"
        raise InputError(f"{name:.200}: {found}. Give one image file.")
    limits.check("file_bytes", path.stat().st_size, what=f"{name}: bytes")
    with open_still(path, name=name, limits=limits) as (image, meta):
        return Sample(_pixels(image, name), "image", meta, id=name)


@contextlib.contextmanager
def open_still(
    source: str | os.PathLike[str] | IO[bytes], *, name: str, limits: Limits = DEFAULT
) -> Iterator[tuple[PILImage.Image, dict[str, Any]]]:
    """Yield one still image, turned as the camera meant it, and what its header says.

    Damage that shows while the caller decodes the pixels is told in the same words as damage found here.

    Args:
        source: a file, or a stream of its bytes.
        name: what messages call it.
        limits: ceiling on pixels, compared with the header before decoding.

    Yields:
        The PIL image, and ``meta`` as of :func:`load_image`.

    Raises:
        InputError: not an image, damaged, or more than one frame.
        LimitError: over a ceiling.
    """
    # Pillow opens a named format only when its plugin has been imported; it imports the others itself.
    from PIL import Image, ImageOps, TiffImagePlugin, WebPImagePlugin  # noqa: F401

    try:
        with Image.open(source, formats=FORMATS) as image:
            limits.check("pixels", image.width * image.height, what=f"{name}: pixels")
            frames = getattr(image, "n_frames", 1)
            # An MPO file is a photograph followed by previews or a second view; its first frame is the one.
            if frames > 1 and image.format != "MPO":
                raise InputError(
                    f"{name}: has {frames} frames, expected a still image. Save one frame of it."
                )
            meta: dict[str, Any] = {"format": image.format, "height": image.height, "width": image.width}
            orientation = image.getexif().get(_ORIENTATION_TAG, 1)
            if orientation != 1:
                meta["exif_orientation"] = orientation
            yield ImageOps.exif_transpose(image), meta
    except (InputError, LimitError):
        raise
    except Image.DecompressionBombError as error:
        limits.check("pixels", int(re.findall(r"\d+", str(error))[0]), what=f"{name}: pixels")
        raise LimitError(f"{name}: more pixels than Pillow decodes. Cut the image into tiles.") from None
    except Image.UnidentifiedImageError:
        raise InputError(f"{name}: not an image of a known format ({', '.join(FORMATS)}).") from None
    except _DAMAGE as error:
        raise InputError(
            f"{name}: the image is damaged ({type(error).__name__}). Copy or save it again."
        ) from error


def _pixels(image: Any, name: str) -> Tensor:
    """Return [C, H, W]: 8-bit grey and colour as they are, everything else scaled to [0, 1]."""
    if image.mode == "L":
        return torch.from_numpy(np.array(image))[None]
    if image.mode == "RGB":
        return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()
    image.load()
    return to_pixels(image, name=name)
