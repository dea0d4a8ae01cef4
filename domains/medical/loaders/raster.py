"""PNG, JPEG and TIFF to values, keeping 16 bits, applying EXIF orientation and alpha."""

from __future__ import annotations

import os
import re
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ....core.errors import require
from ....core.limits import Limits
from .color import apply_icc
from .dicom import Loaded
from .errors import (
    CorruptFile,
    MedicalImageError,
    NotAMedicalImage,
    OverLimit,
    UnsupportedEncoding,
    WindowError,
    check_input_file,
    check_limit,
    label_of,
)
from .geometry import Geometry
from .records import ImageOptions, Meta, choose_frames
from .windows import Range, ValueMap, explicit_maps, is_preset, range_of

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = ("PNG", "JPEG", "TIFF")
_GRAY16 = ("I;16", "I;16L", "I;16B", "I;16N")
_PNG_COLOR16 = {2: 3, 6: 4, 4: 2}
_TAG_BITS, _ORIENTATION = 258, 0x0112


def load_raster(path: str | os.PathLike[str], options: ImageOptions, *, limits: Limits) -> Loaded:
    """Return the frames asked for as float32 [T, C, H, W].

    Grey keeps its own range (8, 16 or 32 bits, float). RGBA is composited on black. EXIF, text chunks
    and other tags are dropped.

    Raises:
        MedicalImageError: every kind of :mod:`.errors` that concerns raster files.
    """
    from PIL import Image, UnidentifiedImageError

    label = label_of(path, show_paths=options.show_paths)
    check_input_file(path, limits=limits, label=label)
    data = Path(path).read_bytes()
    try:
        with Image.open(BytesIO(data), formats=FORMATS) as image:
            frames = choose_frames(options, getattr(image, "n_frames", 1), label)
            check_limit(limits, "frames", len(frames), what=f"{label}: frames")
            total = len(frames) * image.size[0] * image.size[1] * len(image.getbands()) * 4
            check_limit(limits, "decoded_bytes", total, what=f"{label}: decoded bytes")
            history: list[str] = []
            pages = []
            for frame in frames:
                image.seek(frame)
                check_limit(limits, "pixels", image.size[0] * image.size[1], what=f"{label}: pixels")
                pages.append(_decode(image, data, options, history, label))
    except MedicalImageError:
        raise
    except UnidentifiedImageError as error:
        raise NotAMedicalImage(
            f"{label}: starts like an image but is not a readable PNG, JPEG or TIFF."
        ) from error
    except Image.DecompressionBombError as error:
        declared = int(re.findall(r"\d+", str(error))[0])
        check_limit(limits, "pixels", declared, what=f"{label}: pixels")
        raise OverLimit(
            f"{label}: {declared:,} pixels are more than Pillow decodes. Split or shrink the image."
        ) from error
    except Exception as error:  # Pillow's plugins raise many types on damaged input
        raise CorruptFile(
            f"{label}: the image is damaged and cannot be decoded. Copy or export it again."
        ) from error
    if len({page.shape for page, _ in pages}) > 1:
        raise MedicalImageError(f"{label}: the pages differ in size. Load them one by one with frame=.")
    values = np.moveaxis(np.stack([page for page, _ in pages]), -1, 1)
    return _finish(values, pages[0][1], options, history, label)


def _decode(
    image: Image, data: bytes, options: ImageOptions, history: list[str], label: str
) -> tuple[np.ndarray, float | None]:
    """Return (array [H, W, C], largest value of the type or None for float)."""
    from PIL import ImageOps

    mode, info = image.mode, image.info
    if options.parity:
        # What the reference reads: no orientation, 8 bits of 16-bit colour, alpha as one more sample.
        array, top = _array_of(image, mode, label)
        history.append(f"decode: {image.format}")
        return array, top
    if _color_bits(image, data) == 16:
        array, top = _color16(image, data, label)
    else:
        turned = ImageOps.exif_transpose(image) if image.getexif().get(_ORIENTATION, 1) != 1 else image
        if turned is not image:
            history.append("orientation: EXIF")
        array, top = _array_of(turned, mode, label)
    history.append(f"decode: {image.format}")
    if array.shape[-1] in (2, 4):
        array = _composite(array, top)
        history.append("alpha: composited on black")
    if options.icc and array.shape[-1] == 3 and info.get("icc_profile"):
        array = apply_icc(array, info["icc_profile"], label)
        history.append("color: ICC profile to sRGB")
    return array, top


def _color_bits(image: Image, data: bytes) -> int:
    """Return 16 when the file holds 16-bit colour, which Pillow would cut to 8 bits."""
    if image.format == "PNG" and len(data) > 26:
        return 16 if data[24] == 16 and data[25] in _PNG_COLOR16 else 8
    if image.format == "TIFF" and image.mode in ("RGB", "RGBA"):
        bits = getattr(image, "tag_v2", {}).get(_TAG_BITS, (8,))
        return max(bits) if isinstance(bits, tuple) else int(bits)
    return 8


def _color16(image: Image, data: bytes, label: str) -> tuple[np.ndarray, float]:
    """Return a 16-bit colour PNG as uint16 [H, W, C]."""
    if image.format != "PNG":
        raise UnsupportedEncoding(f"{label}: 16-bit colour TIFF is not supported. Save it as 16-bit PNG.")
    import torch

    module = require("torchvision.io", extra="medical")
    # torchvision announces that its decoders will go; without them there is no 16-bit colour
    if not hasattr(module, "decode_image"):
        raise UnsupportedEncoding(
            f"{label}: this torchvision decodes no 16-bit colour PNG. Save it as 8 bits."
        )
    mode = module.ImageReadMode.RGB_ALPHA if data[25] in (4, 6) else module.ImageReadMode.RGB
    try:
        tensor = module.decode_image(torch.frombuffer(bytearray(data), dtype=torch.uint8), mode=mode)
    except RuntimeError as error:
        raise CorruptFile(f"{label}: the 16-bit PNG is damaged. Copy or export it again.") from error
    return tensor.permute(1, 2, 0).numpy(), 65_535.0


def _array_of(image: Image, mode: str, label: str) -> tuple[np.ndarray, float | None]:
    """Return (array [H, W, C], largest value of its type; None for float)."""
    if mode in _GRAY16:
        array = np.asarray(image)
        array, top = array.astype(array.dtype.newbyteorder("=")), 65_535.0
    elif mode == "F":
        array, top = np.asarray(image), None
    elif mode == "I":
        array, top = np.asarray(image), 65_535.0 if image.format == "PNG" else None
    elif mode == "1":
        array, top = np.asarray(image.convert("L")), 255.0
    elif mode in ("P", "PA"):
        kind = "RGBA" if "transparency" in image.info or mode == "PA" else "RGB"
        array, top = np.asarray(image.convert(kind)), 255.0
    elif mode in ("L", "LA", "RGB", "RGBA"):
        array, top = np.asarray(image), 255.0
    elif mode in ("CMYK", "YCbCr", "LAB"):
        array, top = np.asarray(image.convert("RGB")), 255.0
    else:
        raise UnsupportedEncoding(f"{label}: Pillow mode {mode!r} is not supported. Save as grey or RGB PNG.")
    return (array[..., None] if array.ndim == 2 else array), top


def _composite(array: np.ndarray, top: float | None) -> np.ndarray:
    color, alpha = array[..., :-1].astype(np.float32), array[..., -1:].astype(np.float32)
    return color * (alpha / (top or 1.0))


def _finish(
    values: np.ndarray, top: float | None, options: ImageOptions, history: list[str], label: str
) -> Loaded:
    """Return values [T, C, H, W] after the window choice."""
    if options.normalize == "xrv":
        raise WindowError(f"{label}: normalize='xrv' is defined for DICOM. Load the DICOM file.")
    size = (int(values.shape[-2]), int(values.shape[-1]))
    geometry = Geometry(size)
    kind = "gray" if values.shape[1] == 1 else "color"
    meta = Meta(photometric=kind, units="stored", spacing_mm=None, spacing_source=None)
    # float64 holds every 32-bit integer; 8 and 16 bits fit float32
    values = values.astype(np.float64 if values.dtype.itemsize > 4 else np.float32)
    if options.window is None or "window" in options.skip:
        return Loaded(values.astype(np.float32), meta, geometry, history)
    maps = _value_maps(values, top, options, label)
    unit = np.concatenate([item.apply(values) for item in maps], axis=1)
    history.extend(f"window: {item}" for item in maps)
    meta["window"] = tuple(str(item) for item in maps)
    return Loaded(unit.astype(np.float32, copy=False), meta, geometry, history)


def _value_maps(values: np.ndarray, top: float | None, options: ImageOptions, label: str) -> list[ValueMap]:
    choice = options.window
    full = Range(0.0, top, "full") if top is not None else range_of("minmax", values, None)
    if choice in ("default", "full"):
        return [full]
    if values.shape[1] != 1:
        raise WindowError(f"{label}: a window applies to grey images, this one is colour. Leave window out.")
    if isinstance(choice, str) and choice.startswith("header"):
        raise WindowError(
            f"{label}: a PNG, JPEG or TIFF has no header window. Pass (center, width) or leave it out."
        )
    if isinstance(choice, str) and is_preset(choice) and values.min() >= 0:
        # Air is -1000: a picture without negative values holds greys, and a CT window would whiten it.
        raise WindowError(
            f"{label}: window {choice!r} is in Hounsfield units and this image holds grey values from "
            f"{values.min():g} to {values.max():g}. Leave window out, or give (center, width) in its values."
        )
    return explicit_maps(choice, values)
