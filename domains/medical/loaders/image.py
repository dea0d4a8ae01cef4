"""``load_image``: one image of any supported format, identified by content, never by suffix."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ....core.limits import DEFAULT, Limits
from .arrays import load_array_row
from .color import to_channels
from .dicom import Loaded, load_dicom
from .dicom_file import UNKNOWN, describe
from .errors import MedicalImageError, NotAMedicalImage, check_input_file, label_of
from .geometry import check_box
from .himl import as_grey_levels, load_flat_nifti, reading_options
from .raster import load_raster
from .records import ImageOptions, MedicalImage
from .resize import resize_bilinear

_RASTER_MARKS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def identify(path: str | os.PathLike[str], *, limits: Limits = DEFAULT, show_paths: bool = False) -> str:
    """Return "dicom", "raster", "npz", "nifti" or "unknown" from the first bytes of a file.

    Raises:
        MissingInput, DirectoryInput, OverLimit: see :func:`.errors.check_input_file`.
    """
    check_input_file(path, limits=limits, label=label_of(path, show_paths=show_paths))
    with Path(path).open("rb") as stream:
        head = stream.read(352)
    return _kind(head)


def _kind(head: bytes) -> str:
    if head[128:132] == b"DICM":
        return "dicom"
    if head.startswith(_RASTER_MARKS):
        return "raster"
    if head.startswith(b"PK\x03\x04"):
        return "npz"
    if (
        head.startswith(b"\x1f\x8b")
        or head[344:348] in (b"n+1\0", b"ni1\0")
        or head[4:8] in (b"n+2\0", b"ni2\0")
    ):
        return "nifti"
    return "unknown"


def load_image(
    path: str | os.PathLike[str],
    options: ImageOptions | None = None,
    *,
    transform: Callable[[torch.Tensor], torch.Tensor] | None = None,
    limits: Limits = DEFAULT,
    **changes: Any,
) -> MedicalImage:
    """Return one image: float32 [C, H, W] in [0, 1], or [T, C, H, W] when ``frames`` is given.

    Example::

        image = load_image("ct.dcm", window="lung")
        clip = load_image("us.dcm", frames=slice(0, 30, 3))
        cell = load_image("smear.jpg", box=(10, 20, 90, 100), size=(224, 224))

    Args:
        path: DICOM, PNG, JPEG, TIFF or npz file.
        options: see :class:`ImageOptions`; its fields may also be given by keyword.
        transform: called with the pixels last; its mapping back to input pixels is unknown.
        limits: ceilings checked before memory grows.

    Raises:
        MedicalImageError: a child named for the cause, with ``.kind``; see :mod:`.errors`.
        ConfigError: unknown or contradicting options.
    """
    options = (options or ImageOptions()).with_(**changes)
    label = label_of(path, show_paths=options.show_paths)
    kind = identify(path, limits=limits, show_paths=options.show_paths)
    if kind == "unknown" and options.force:
        kind = "dicom"
    loaders = {"dicom": load_dicom, "raster": load_raster, "npz": load_array_row}
    if options.normalize == "hi-ml":
        loaders["nifti"] = load_flat_nifti
    if kind == "nifti" and kind not in loaders:
        raise MedicalImageError(
            f"{label}: is a NIfTI volume or gzip file, not one image. Use load_volume(path), or on the "
            "command line `verticlip medical volume`."
        )
    if kind not in loaders:
        with Path(path).open("rb") as stream:
            content = describe(stream.read(512))
        raise NotAMedicalImage(
            f"{label}: not a DICOM, PNG, JPEG, TIFF, NIfTI or npz file; the content looks like {content}."
            + (" If it is DICOM without preamble, pass force=True." if content == UNKNOWN else "")
        )
    if options.normalize == "hi-ml":
        loaded = loaders[kind](path, reading_options(options, kind), limits=limits)
        return _finish(as_grey_levels(loaded, options, label), options, transform, label)
    return _finish(loaders[kind](path, options, limits=limits), options, transform, label)


def _finish(loaded: Loaded, options: ImageOptions, transform: Any, label: str) -> MedicalImage:
    """Return the record after crop, resize, channel rule and the caller's transform."""
    values, geometry, history = loaded.values, loaded.geometry, loaded.history
    if options.box is not None:
        x0, y0, x1, y1 = box = check_box(options.box, geometry.size, label)
        values, geometry = values[..., y0:y1, x0:x1], geometry.crop(box)
        history.append(f"crop: {box}")
    pixels = torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))
    if options.size is not None:
        height, width = (int(value) for value in options.size)
        pixels = resize_bilinear(pixels, (height, width))
        geometry = geometry.resize((height, width))
        history.append(f"resize: {height} x {width} bilinear")
    if options.channels not in (None, pixels.shape[1]):
        pixels = torch.from_numpy(to_channels(pixels.numpy(), options.channels))
        history.append(f"channels: {options.channels}")
    mask = None if loaded.mask is None else torch.from_numpy(loaded.mask)
    if options.frames is None:
        pixels, mask = pixels[0], None if mask is None else mask[0]
    if transform is not None:
        pixels = transform(pixels)
        geometry = geometry.opaque("transform")
        history.append("transform: by the caller")
    modality = "image" if options.frames is None else "video"
    return MedicalImage(pixels, modality, loaded.meta, None, geometry, tuple(history), mask)
