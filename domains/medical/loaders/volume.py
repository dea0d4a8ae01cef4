"""``load_volume``: NIfTI-1 and NIfTI-2 volumes, plain or gzip, identified by content."""

from __future__ import annotations

import gzip
import os
import zlib
from io import IOBase
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

import numpy as np
import torch

from ....core.errors import ConfigError, require
from ....core.limits import DEFAULT, Limits
from .dicom_file import describe
from .errors import (
    CorruptFile,
    FrameError,
    MedicalImageError,
    NotAMedicalImage,
    UnsupportedEncoding,
    WindowError,
    check_inflation,
    check_input_file,
    check_limit,
    label_of,
)
from .records import MedicalVolume, Meta
from .windows import explicit_maps

_GZIP = b"\x1f\x8b"
_MILLIMETRES = {"unknown": 1.0, "mm": 1.0, "meter": 1000.0, "micron": 0.001}


def load_volume(
    path: str | os.PathLike[str],
    *,
    frame: int | None = None,
    window: Any = None,
    canonical: bool = False,
    space: Literal["LPS", "RAS"] = "RAS",
    limits: Limits = DEFAULT,
    show_paths: bool = False,
) -> MedicalVolume:
    """Return a NIfTI volume: float32 [1, D, H, W], scaled by scl_slope and scl_inter.

    The array is not reoriented unless asked: the tensor is [0, k, j, i] of the file's voxel (i, j, k)
    and ``affine`` maps (i, j, k) to millimetres. The affine is the sform when its code is set, else
    the qform, else from pixdim.

    Example::

        volume = load_volume("brain.nii.gz")
        middle = volume.slice(volume.pixels.shape[1] // 2, axis="axial")  # float32 [1, H, W]

    Args:
        frame: index on the fourth axis, needed when it is longer than 1.
        window: (center, width), a preset, "minmax" or "percentile:LOW,HIGH"; None keeps the values.
        canonical: reorder and flip the axes to the closest RAS; ``meta["reorientation"]`` says how.
        space: axes of ``affine``; NIfTI's own is "RAS".

    Raises:
        NotAMedicalImage: not NIfTI.
        CorruptFile: damaged header or short data.
        FrameError: 4-D without ``frame``, or ``frame`` outside.
        OverLimit: over a ceiling.
    """
    if space not in ("LPS", "RAS"):
        raise ConfigError(f"space must be 'LPS' or 'RAS', got {space!r}.")
    label = label_of(path, show_paths=show_paths)
    size = check_input_file(path, limits=limits, label=label)
    require("nibabel", extra="medical")
    with Path(path).open("rb") as file:
        try:
            values, image, chosen = _read(file, size, frame, limits=limits, label=label)
        except MedicalImageError:
            raise
        except Exception as error:  # nibabel, gzip and zlib raise many types on damaged input
            raise CorruptFile(
                f"{label}: the NIfTI file is damaged or cut short. Copy or export it again."
            ) from error
    affine, notes, meta = _affine(image, label)
    history = ["decode: nibabel", *([f"frame: {chosen}"] if chosen is not None else [])]
    if canonical:
        values, affine, meta["reorientation"] = _to_canonical(values, affine)
        history.append("reorient: closest canonical")
    if window is not None:
        maps = explicit_maps(window, values)
        if len(maps) != 1:
            raise WindowError(f"{label}: a volume has one channel. Pass one window instead of {window!r}.")
        values = maps[0].apply(values)
        history.append(f"window: {maps[0]}")
    # Writable: of an uncompressed file the values may still be its read-only mapping.
    pixels = torch.from_numpy(np.require(values.transpose(2, 1, 0), np.float32, ["C", "W"]))[None]
    volume = MedicalVolume(pixels, "volume", meta, None, affine, "RAS", tuple(history), tuple(notes))
    return volume.to_space(space)


def _read(
    file: BinaryIO, size: int, frame: int | None, *, limits: Limits, label: str
) -> tuple[np.ndarray, Any, int | None]:
    """Return (values [X, Y, Z], nibabel image, frame used); the header is checked before the data."""
    image, zipped = _open_nifti(file, label)
    shape, dtype = image.shape, np.dtype(image.get_data_dtype())
    if dtype.kind not in "iuf":
        raise UnsupportedEncoding(
            f"{label}: voxels of type {dtype} are not supported. Save as integer or float."
        )
    chosen, selection = _choose(shape, frame, label)
    check_limit(limits, "frames", max(shape), what=f"{label}: slices")
    if zipped:
        total = int(np.prod(shape, dtype=object)) * dtype.itemsize
        check_inflation(limits, size, total, what=label)
    voxels = int(np.prod(shape[:3], dtype=object))
    check_limit(limits, "decoded_bytes", voxels * 8, what=f"{label}: decoded bytes")
    values = np.asarray(image.dataobj[selection])
    return values.reshape((*values.shape, 1, 1)[:3]), image, chosen


def _open_nifti(file: BinaryIO, label: str) -> tuple[Any, bool]:
    """Return (nibabel image whose data is not read yet, whether the file is gzip)."""
    from nibabel.nifti1 import Nifti1Image
    from nibabel.nifti2 import Nifti2Image

    zipped = file.read(2) == _GZIP
    file.seek(0)
    stream = cast(BinaryIO, gzip.GzipFile(fileobj=file)) if zipped else file
    try:
        head = stream.read(352)
    except (OSError, EOFError, zlib.error) as error:
        raise NotAMedicalImage(f"{label}: a damaged gzip file. Copy it again.") from error
    kind = Nifti1Image if head[344:348] == b"n+1\0" else Nifti2Image if head[4:8] == b"n+2\0" else None
    if kind is None:
        hint = " Use load_image or load_series for DICOM." if head[128:132] == b"DICM" else ""
        raise NotAMedicalImage(f"{label}: not a NIfTI file; the content looks like {describe(head)}.{hint}")
    stream.seek(0)
    return kind.from_stream(cast(IOBase, stream)), zipped


def load_volume_header(
    path: str | os.PathLike[str], *, limits: Limits = DEFAULT, show_paths: bool = False
) -> dict[str, Any]:
    """Return shape, type, units and affine of a NIfTI file; text fields of the header are left out.

    Raises:
        NotAMedicalImage, CorruptFile: as ``load_volume``.
    """
    label = label_of(path, show_paths=show_paths)
    check_input_file(path, limits=limits, label=label)
    require("nibabel", extra="medical")
    with Path(path).open("rb") as file:
        try:
            image, _ = _open_nifti(file, label)
        except MedicalImageError:
            raise
        except Exception as error:  # nibabel raises many types on damaged headers
            raise CorruptFile(f"{label}: the NIfTI header is damaged. Copy or export it again.") from error
        affine, notes, meta = _affine(image, label)
    return {**meta, "affine_ras_mm": affine.round(6).tolist(), **({"notes": notes} if notes else {})}


def _choose(shape: tuple[int, ...], frame: int | None, label: str) -> tuple[int | None, tuple[Any, ...]]:
    """Return (frame used or None, index that gives at most three axes)."""
    if len(shape) < 2 or any(length < 1 for length in shape):
        raise CorruptFile(f"{label}: shape {list(shape)} is not an image. Export it again.")
    if any(length != 1 for length in shape[4:]):
        raise UnsupportedEncoding(f"{label}: shape {list(shape)} has more than four axes. Split the file.")
    count = shape[3] if len(shape) > 3 else 1
    if frame is None and count > 1:
        raise FrameError(f"{label}: 4-D with {count} frames. Pass frame=0 to {count - 1}.")
    if frame is not None and not 0 <= frame < count:
        raise FrameError(f"{label}: frame {frame} asked for, the file has {count} (0 to {count - 1}).")
    rest = (frame or 0,) * (len(shape) > 3) + (0,) * max(len(shape) - 4, 0)
    return frame, (slice(None),) * min(len(shape), 3) + rest


def _affine(image: Any, label: str) -> tuple[np.ndarray, list[str], Meta]:
    """Return (affine in mm RAS, notes, meta without any text field of the header)."""
    header = image.header
    sform, qform = int(header["sform_code"]), int(header["qform_code"])
    notes = []
    if sform > 0 and qform > 0 and not np.allclose(header.get_sform(), header.get_qform(), atol=1e-3):
        notes.append("sform and qform disagree; the sform is used")
    if sform <= 0 and qform <= 0:
        notes.append("the header gives no orientation; which side is left is a guess")
    unit, time_unit = header.get_xyzt_units()
    if unit == "unknown":
        notes.append("the header gives no unit of length; millimetres are assumed")
    affine = np.array(image.affine, dtype=np.float64)
    affine[:3] *= _MILLIMETRES[unit]
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-12:
        raise CorruptFile(f"{label}: the affine is not finite or not invertible. Repair the header.")
    source = "sform" if sform > 0 else "qform" if qform > 0 else "pixdim"
    meta = Meta(
        units="unspecified", affine_source=source, shape=tuple(int(length) for length in image.shape),
        stored_dtype=str(image.get_data_dtype()), length_unit=unit, time_unit=time_unit,
    )  # fmt: skip
    return affine, notes, meta


def _to_canonical(
    values: np.ndarray, affine: np.ndarray
) -> tuple[np.ndarray, np.ndarray, tuple[tuple[int, int], ...]]:
    """Return values and affine in the closest RAS order, and per input axis (output axis, direction)."""
    from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation

    orientation = io_orientation(affine)
    turned = apply_orientation(values, orientation)
    steps = tuple((int(axis), int(direction)) for axis, direction in orientation)
    return turned, affine @ inv_ornt_aff(orientation, values.shape), steps
