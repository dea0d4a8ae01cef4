"""Rows of ``.npz`` image sets (MedMNIST and alike), with size checked from the array header first."""

from __future__ import annotations

import functools
import os
import zipfile
from typing import Any

import numpy as np

from ....core.limits import Limits
from .dicom import Loaded
from .errors import (
    CorruptFile,
    FrameError,
    MedicalImageError,
    UnsupportedEncoding,
    check_inflation,
    check_input_file,
    check_limit,
    label_of,
)
from .geometry import Geometry
from .records import ImageOptions, Meta

_CACHED_FILE_BYTES = 64 * 1024**2


def read_npz_array(path: str | os.PathLike[str], name: str, *, limits: Limits, label: str) -> np.ndarray:
    """Return one array of an ``.npz``; nothing is unpickled and its size is checked before reading.

    Raises:
        MedicalImageError: unknown array name; the message lists the known ones.
        UnsupportedEncoding: an object array.
        OverLimit: the array is over a ceiling.
        CorruptFile: not an npz, or damaged.
    """
    check_input_file(path, limits=limits, label=label)
    try:
        with zipfile.ZipFile(path) as archive:
            known = [entry[:-4] for entry in archive.namelist() if entry.endswith(".npy")]
            if name not in known:
                raise MedicalImageError(f"{label}: no array {name!r}; it has: {', '.join(known) or 'none'}.")
            member = archive.getinfo(f"{name}.npy")
            with archive.open(member) as stream:
                shape, fortran, dtype = _npy_header(stream)
                if dtype.hasobject:
                    raise UnsupportedEncoding(
                        f"{label}: array {name!r} holds Python objects. Save it as numbers."
                    )
                size = int(np.prod(shape, dtype=object)) * dtype.itemsize
                check_inflation(limits, member.compress_size, size, what=f"{label}: array {name}")
                data = stream.read(size + 1)
    except MedicalImageError:
        raise
    except Exception as error:  # zipfile, zlib and numpy raise many types on damaged archives
        raise CorruptFile(f"{label}: not a readable npz archive. Copy or download it again.") from error
    if len(data) != size:
        raise CorruptFile(f"{label}: array {name!r} holds {len(data)} bytes, {size} expected. Copy it again.")
    return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")


def _read(path: str, name: str, limits: Limits, label: str, modified_ns: int) -> np.ndarray:
    return read_npz_array(path, name, limits=limits, label=label)


_read_recent = functools.lru_cache(maxsize=4)(_read)
"""Inflating a whole array for each of its rows would make an epoch quadratic; small files are kept."""


def _npy_header(stream: Any) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(stream)
    return np.lib.format.read_array_header_2_0(stream)


def load_array_row(path: str | os.PathLike[str], options: ImageOptions, *, limits: Limits) -> Loaded:
    """Return one image of an ``.npz`` as float32 [1, C, H, W]; uint8 and uint16 map to [0, 1].

    ``options.array`` names the array ([N, H, W] or [N, H, W, 3]), ``options.index`` the row.

    Raises:
        FrameError: ``index`` or ``array`` is missing, or the row is outside the array.
        UnsupportedEncoding: not an image array of uint8 or uint16.
    """
    label = label_of(path, show_paths=options.show_paths)
    if options.index is None or options.array is None:
        raise FrameError(
            f"{label}: an npz holds many images. Pass array= (its name) and index= (the row from 0)."
        )
    if options.window not in ("default", "full", None):
        raise UnsupportedEncoding(f"{label}: rows of an npz take no window. Leave window out.")
    status = os.stat(path)
    read = _read_recent if status.st_size <= _CACHED_FILE_BYTES else _read
    stack = read(os.fspath(path), options.array, limits, label, status.st_mtime_ns)
    if stack.dtype not in (np.uint8, np.uint16) or not (
        stack.ndim == 3 or (stack.ndim == 4 and stack.shape[-1] == 3)
    ):
        raise UnsupportedEncoding(
            f"{label}: array {options.array!r} is {stack.dtype} {list(stack.shape)}; "
            "expected uint8 or uint16 of [N, H, W] or [N, H, W, 3]."
        )
    if not 0 <= options.index < len(stack):
        raise FrameError(f"{label}: row {options.index} asked for, {options.array!r} has {len(stack)} rows.")
    row = stack[options.index]
    check_limit(limits, "pixels", row.shape[0] * row.shape[1], what=f"{label}: pixels")
    values = (row[None] if row.ndim == 2 else np.moveaxis(row, -1, 0)).astype(np.float32)[None]
    history = ["decode: npz"]
    if options.window is not None and "window" not in options.skip:
        top = np.iinfo(stack.dtype).max
        values /= top
        history.append(f"unit: divided by {top}")
    meta = Meta(
        photometric="gray" if row.ndim == 2 else "color", units="stored", spacing_mm=None, spacing_source=None
    )
    return Loaded(values, meta, Geometry((row.shape[0], row.shape[1])), history)


def array_shapes(path: str | os.PathLike[str], *, limits: Limits, label: str) -> dict[str, str]:
    """Return {array name: "dtype [shape]"} of an ``.npz`` without reading the arrays.

    Raises:
        CorruptFile: not an npz, or damaged.
    """
    shapes = {}
    try:
        with zipfile.ZipFile(path) as archive:
            check_limit(limits, "frames", len(archive.namelist()), what=f"{label}: members")
            for member in archive.namelist():
                with archive.open(member) as stream:
                    shape, _, dtype = _npy_header(stream)
                shapes[member.removesuffix(".npy")] = f"{dtype} {list(shape)}"
    except MedicalImageError:
        raise
    except Exception as error:  # zipfile, zlib and numpy raise many types on damaged archives
        raise CorruptFile(f"{label}: not a readable npz archive. Copy or download it again.") from error
    return shapes
