"""Errors of the raster loaders: what is wrong with a file, named so that callers can tell cases apart.

Messages name a file without its folder unless the raster was opened with ``show_paths=True``.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from ....core.errors import DataError, InputError, nearest


class RasterError(InputError):
    """Root of the errors of one raster. ``kind`` is a short stable word for counting by cause."""

    kind = "raster"


class RasterOpenError(RasterError):
    """A file is missing, empty, unreadable or of no raster format that is opened here."""

    kind = "open"


class UnsafeRasterError(RasterOpenError):
    """A file would make the reader open other files or the network."""

    kind = "unsafe"


class RasterReadError(RasterError):
    """A part of a file cannot be decoded: it was cut off or damaged."""

    kind = "read"


class MissingCRSError(RasterError):
    """A place on the ground was asked of a raster that does not say where it lies."""

    kind = "no_crs"


class UnknownCRSError(RasterError):
    """A coordinate system is neither a known code nor well-formed WKT."""

    kind = "crs"


class GeoreferenceError(RasterError):
    """The georeference is rotated, sheared, given by control points only, or contradicts itself."""

    kind = "georeference"


class BandError(RasterError):
    """Bands were asked for that the file does not have; the message lists those it has."""

    kind = "bands"


class ScalingError(RasterError):
    """Numbers of a file cannot be brought to a model's range without knowing more."""

    kind = "scaling"


class TileOutsideBounds(RasterError):
    """A window shares no pixel with the raster."""

    kind = "outside"


class MosaicError(DataError, RasterError):
    """Files that shall form one raster do not fit together; the message lists each that differs."""

    kind = "mosaic"


def label_of(path: str | os.PathLike[str], *, show_paths: bool) -> str:
    """Return how messages call a file: its name, or its whole path."""
    return os.fspath(path) if show_paths else Path(path).name


def reason_of(error: BaseException, path: str | os.PathLike[str], label: str) -> str:
    """Return the words of a GDAL error without the folder of the file, ending in a full stop."""
    words = str(error).strip() or type(error).__name__
    words = words.replace(os.fspath(path), label).replace(str(Path(path).parent) + os.sep, "")
    return words if words.endswith(".") else words + "."


def no_such_band(label: str, asked: object, available: Iterable[str]) -> BandError:
    """Return the error for a band that is not there."""
    names = list(available)
    hint = nearest(str(asked), names) if isinstance(asked, str) else ""
    return BandError(f"{label}: there is no band {asked!r}; it has: {', '.join(names)}.{hint}")
