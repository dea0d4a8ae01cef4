"""Grey levels as BioViL was trained on: 8 bits between the extremes of each image.

Plain PNG and JPEG files come out exactly as in the reference. DICOM files go through our own
modality, VOI and MONOCHROME1 steps first, which the reference lacks; ``parity=True`` leaves them
out and reproduces it, inverted images included.

Reference: microsoft/hi-ml, ``health_multimodal/image/data/io.py`` (``remap_to_uint8``, ``load_image``).
"""

from __future__ import annotations

import os
import warnings

import numpy as np

from ....core.limits import Limits
from .dicom import Loaded
from .errors import MedicalImageError, label_of
from .geometry import Geometry
from .records import STEPS, ImageOptions, Meta
from .volume import load_volume

_LUMA = np.array([19595, 38470, 7471], dtype=np.uint32)
"""ITU-R 601 weights times 65536, as Pillow's conversion to ``L`` has them."""


def reading_options(options: ImageOptions, kind: str) -> ImageOptions:
    """Return the options that give the values whose extremes count.

    Args:
        options: with ``normalize="hi-ml"``.
        kind: "dicom", "raster", "npz" or "nifti".
    """
    if options.parity:
        # The flag stays on for raster files, which have steps of their own to leave out.
        return options.with_(window=None, skip=STEPS)
    if kind != "dicom" and options.window == "default":
        return options.with_(window=None)
    return options.with_(normalize="unit", percentiles=None)


def load_flat_nifti(path: str | os.PathLike[str], options: ImageOptions, *, limits: Limits) -> Loaded:
    """Return a NIfTI file of one slice as float32 [1, 1, H, W], as the reference reads ``.nii.gz``.

    Raises:
        MedicalImageError: damaged, or a volume of several slices.
    """
    volume = load_volume(path, frame=options.frame, limits=limits, show_paths=options.show_paths)
    slices = int(volume.pixels.shape[1])
    if slices != 1:
        label = label_of(path, show_paths=options.show_paths)
        raise MedicalImageError(f"{label}: is a NIfTI volume of {slices} slices. Use load_volume(path).")
    values = volume.pixels.numpy()
    size = (int(values.shape[2]), int(values.shape[3]))
    meta = Meta(photometric="gray", units="stored", spacing_mm=None, spacing_source=None)
    return Loaded(values, meta, Geometry(size), ["decode: NIfTI"])


def as_grey_levels(loaded: Loaded, options: ImageOptions, label: str) -> Loaded:
    """Return the same frames as float32 [T, 1, H, W], every value a whole number of 255ths."""
    frames = [remap_to_uint8(frame, options.percentiles, label=label) for frame in loaded.values]
    loaded.values = np.stack([_luma(frame) for frame in frames])[:, None].astype(np.float32) / np.float32(255)
    between = (
        "extremes"
        if options.percentiles is None
        else "percentiles {:g} and {:g}".format(*options.percentiles)
    )
    loaded.history.append(f"grey levels: 8 bits between the {between} of the image")
    return loaded


def remap_to_uint8(
    values: np.ndarray, percentiles: tuple[float, float] | None = None, *, label: str = "image"
) -> np.ndarray:
    """Return uint8 of the same shape: the range of all samples to 0 to 255, truncated.

    Computed in float64 as ``(x - min) / max(x - min) * 255``. A constant array gives zeros and a
    warning, where the reference divides 0 by 0.

    Args:
        values: numbers of any shape and type.
        percentiles: (low, high) in percent; values outside are clipped to them first.
        label: what the warning calls the image.
    """
    array = values.astype(np.float64)
    if percentiles is not None:
        array = np.clip(array, *np.percentile(array, percentiles))
    array -= array.min()
    top = array.max()
    if not top > 0:
        warnings.warn(f"{label}: every pixel has the same value, so the image is black.", stacklevel=2)
        return np.zeros(array.shape, np.uint8)
    array /= top
    array *= 255
    return array.astype(np.uint8)


def _luma(levels: np.ndarray) -> np.ndarray:
    """Return uint8 [H, W] of [C, H, W] with C from 1 to 4; alpha, the second or fourth, is dropped."""
    if len(levels) < 3:
        return levels[0]
    weighted = np.tensordot(_LUMA, levels[:3].astype(np.uint32), axes=1)
    return ((weighted + 0x8000) >> 16).astype(np.uint8)
