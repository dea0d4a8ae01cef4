"""Colour steps shared by DICOM and raster files. Arrays are channels-last [..., 3]."""

from __future__ import annotations

import numpy as np

from .errors import CorruptFile, MedicalImageError
from .header import Header
from .windows import Table, parse_descriptor

_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)


def palette_table(header: Header, color: str) -> Table:
    """Return the look-up table of one colour ("Red", "Green", "Blue") of a PALETTE COLOR image.

    Raises:
        CorruptFile: the table is missing or too short.
    """
    descriptor = header.values(f"{color}PaletteDescriptor")
    data = header.raw(f"{color}PaletteData")
    if not descriptor or data is None:
        raise CorruptFile(
            f"{header.label}: PALETTE COLOR without its {color.lower()} table. Export the file again."
        )
    return parse_descriptor(
        descriptor, data, first=header.signed(descriptor[1]), source=f"{color.lower()} palette"
    )


def look_up_palette(stored: np.ndarray, tables: list[Table]) -> np.ndarray:
    """Return the palette entries [..., 3] of stored indices [...], unscaled (8 or 16 bit)."""
    return np.stack([table.look_up(stored) for table in tables], axis=-1)


def apply_palette(stored: np.ndarray, header: Header) -> np.ndarray:
    """Return uint8 RGB [..., 3]; 16-bit entries keep their high byte.

    Reference: PS3.3 C.7.6.3.1.5 and C.7.9.
    """
    if header.raw("SegmentedRedPaletteData") is not None:
        return _segmented(stored, header)
    tables = [palette_table(header, color) for color in ("Red", "Green", "Blue")]
    entries = look_up_palette(stored, tables)
    return (entries >> 8 if tables[0].bits > 8 else entries).astype(np.uint8)


def _segmented(stored: np.ndarray, header: Header) -> np.ndarray:
    from pydicom.pixels import apply_color_lut

    try:
        entries = apply_color_lut(stored, header.dataset)
    except Exception as error:  # pydicom's expansion raises several types on damaged segments
        raise CorruptFile(
            f"{header.label}: the segmented palette is damaged. Export the file again."
        ) from error
    return (entries >> 8 if entries.dtype == np.uint16 else entries).astype(np.uint8)


def ybr_to_rgb(ybr: np.ndarray) -> np.ndarray:
    """Return uint8 RGB [..., 3] of uint8 YBR_FULL, rounded and clipped.

    Reference: PS3.3 C.7.6.3.1.2 (ITU-R BT.601, full range).
    """
    y, cb, cr = (ybr[..., i].astype(np.float64) for i in range(3))
    cb, cr = cb - 128, cr - 128
    rgb = np.stack([y + 1.402 * cr, y - 0.344136 * cb - 0.714136 * cr, y + 1.772 * cb], axis=-1)
    return np.clip(np.rint(rgb), 0, 255).astype(np.uint8)


def to_channels(unit: np.ndarray, channels: int | None) -> np.ndarray:
    """Return [..., C, H, W] with the channel count asked for.

    One channel repeats to three; three become one by ITU-R 601 luma.
    """
    have = unit.shape[-3]
    if channels in (None, have):
        return unit
    if channels == 3:
        return np.repeat(unit, 3, axis=-3)
    return np.tensordot(unit, _LUMA, axes=([-3], [0]))[..., None, :, :]


def apply_icc(rgb: np.ndarray, profile: bytes, label: str) -> np.ndarray:
    """Return uint8 RGB [H, W, 3] converted from ``profile`` to sRGB.

    Raises:
        MedicalImageError: the profile is damaged or not an RGB profile.
    """
    from io import BytesIO

    from PIL import Image, ImageCms

    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        image = ImageCms.profileToProfile(
            Image.fromarray(rgb), source, ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
    except (ImageCms.PyCMSError, OSError, ValueError) as error:
        raise MedicalImageError(
            f"{label}: the ICC profile cannot be used. Pass icc=False to ignore it."
        ) from error
    return np.asarray(image)
