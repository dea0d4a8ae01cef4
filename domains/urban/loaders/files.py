"""What a file is, told from its first bytes, and which other files opening it would touch.

GDAL opens far more than pictures: connection strings, descriptions of web services, virtual datasets that
name any file on the machine. Here the format is decided first and GDAL is asked for that one driver; a
virtual dataset is opened from a rewritten copy in which every source was looked at.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from ....core.errors import LimitError
from ....core.limits import Limits
from .errors import RasterOpenError, RasterReadError, UnsafeRasterError, label_of
from .truncation import is_cut_jpeg, missing_blocks

_MARKS = (
    (b"II*\0", "GTiff"),
    (b"MM\0*", "GTiff"),
    (b"II+\0", "GTiff"),
    (b"MM\0+", "GTiff"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JP2OpenJPEG"),
    (b"\xff\x4f\xff\x51", "JP2OpenJPEG"),
)
_OTHER = (
    (b"\x89HDF", "an HDF5 or netCDF file; convert the band you need: gdal_translate IN OUT.tif"),
    (b"CDF", "a netCDF file; convert the band you need: gdal_translate IN OUT.tif"),
    (b"PK\x03\x04", "a ZIP archive; unpack it first"),
    (b"\x1f\x8b", "a gzip file; unpack it first"),
    (b"SQLite format 3", "a GeoPackage or SQLite file; polygons go to regions, not here"),
    (b"PAR1", "a Parquet file"),
    (b"%PDF", "a PDF document"),
    (b"GIF8", "a GIF picture"),
    (b"version https://git-lfs", "a Git LFS pointer; fetch the file itself with `git lfs pull`"),
    (b"{", "a JSON file"),
)
_REMOTE = re.compile(r"(?:/vsi|[a-z][a-z0-9+.-]+://)", re.IGNORECASE)
_SIDECARS = (".ovr", ".OVR", ".msk", ".MSK")
FORMATS = "GeoTIFF (also cloud-optimized), VRT, JPEG 2000, PNG and JPEG"


@dataclass(frozen=True)
class FileFacts:
    """A file as found on disk.

    Attributes:
        path: absolute, or a remote name.
        label: how messages call it.
        driver: of GDAL.
        size: bytes; 0 for a remote one.
        mtime_ns: time of its last change; 0 for a remote one.
        beside: (name, bytes, time of the last change) of the files that are read with it: those beside it, or
            those that a VRT names.
    """

    path: str
    label: str
    driver: str
    size: int
    mtime_ns: int
    beside: tuple[tuple[str, int, int], ...] = ()


def is_remote(source: str | os.PathLike[str]) -> bool:
    """Return whether a source is a network or virtual file system name."""
    return _REMOTE.match(os.fspath(source)) is not None


def identify(
    path: str | os.PathLike[str], *, limits: Limits, show_paths: bool = False, allow_remote: bool = False
) -> FileFacts:
    """Return what a file is.

    Raises:
        RasterOpenError: missing, a folder, empty, or of another format.
        UnsafeRasterError: a network name without ``allow_remote``.
        LimitError: a VRT larger than ``limits.config_bytes``, or a JPEG than ``limits.file_bytes``.
    """
    label = label_of(path, show_paths=show_paths)
    if is_remote(path):
        return _remote(os.fspath(path), label, allow_remote)
    found = Path(path).absolute()
    try:
        info = found.stat()
    except (OSError, ValueError) as error:
        raise RasterOpenError(f"{label}: no such file. Check the name.") from error
    if found.is_dir():
        raise RasterOpenError(
            f"{label}: is a folder. Pass its files, for example sorted(folder.glob('*.tif'))."
        )
    if not found.is_file():
        raise RasterOpenError(f"{label}: is no regular file.")
    if not info.st_size:
        raise RasterOpenError(f"{label}: the file is empty (0 bytes). Fetch it again.")
    try:
        with found.open("rb") as stream:
            head = stream.read(1024)
    except OSError as error:
        raise RasterOpenError(f"{label}: cannot be read ({error.strerror or error}).") from error
    driver = driver_of(head)
    if not driver:
        words = next((words for mark, words in _OTHER if head.startswith(mark)), "text or unknown data")
        raise RasterOpenError(f"{label}: is no raster: the content looks like {words}. Read here: {FORMATS}.")
    if driver == "VRT" and info.st_size > limits.config_bytes:
        raise LimitError(
            f"{label}: a VRT of {info.st_size:,} bytes is over the limit of {limits.config_bytes:,}."
        )
    if driver == "JPEG":
        # Looking for its end may take all of it.
        limits.check("file_bytes", info.st_size, what=f"{label}: bytes")
    if driver == "JPEG" and is_cut_jpeg(found):
        raise RasterOpenError(f"{label}: the JPEG ends before its picture does. Fetch it again.")
    return FileFacts(str(found), label, driver, info.st_size, info.st_mtime_ns)


def verify_complete(facts: FileFacts) -> None:
    """Check that no part of a GeoTIFF lies beyond the end of the file; others are not checked.

    Raises:
        RasterReadError: parts are missing.
    """
    if facts.driver != "GTiff" or not facts.size:
        return
    missing, total = missing_blocks(facts.path)
    if missing:
        raise RasterReadError(
            f"{facts.label}: the file is cut off: {missing:,} of its {total:,} blocks lie beyond its end "
            f"({facts.size:,} bytes). Fetch it again."
        )


def driver_of(head: bytes) -> str:
    """Return the GDAL driver for a file that begins with ``head``, or an empty string."""
    for mark, driver in _MARKS:
        if head.startswith(mark):
            return driver
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    return (
        "VRT"
        if text.startswith(b"<VRTDataset") or (text.startswith(b"<?xml") and b"<VRTDataset" in text)
        else ""
    )


def check_sidecars(facts: FileFacts) -> tuple[tuple[str, int, int], ...]:
    """Refuse overview and mask files beside a raster that are no TIFF: GDAL would open them as anything.

    GDAL is told not to list folders, and looks for these spellings of the names alone. What it reads of
    ``.aux.xml`` files stands in the header, and they come and go as a scene is looked at in a GIS.

    Returns:
        (ending, bytes, time of the last change) of those beside the raster.

    Raises:
        UnsafeRasterError: such a file.
    """
    found = []
    for suffix in _SIDECARS:
        beside = Path(facts.path + suffix)
        if not beside.is_file():
            continue
        info = beside.stat()
        found.append((suffix, info.st_size, info.st_mtime_ns))
        with beside.open("rb") as stream:
            driver = driver_of(stream.read(1024))
        if driver != "GTiff":
            raise UnsafeRasterError(
                f"{facts.label}: the file {Path(facts.label).name}{suffix} beside it is no TIFF. "
                "Remove it, or pass sidecars=False."
            )
    return tuple(found)


def _remote(name: str, label: str, allow_remote: bool) -> FileFacts:
    if not allow_remote:
        raise UnsafeRasterError(
            f"{label}: is a network or virtual file name, which is not opened unasked. "
            "Download the file, or pass allow_remote=True if you trust the address."
        )
    path = name if name.startswith("/vsi") else f"/vsicurl/{name}"
    suffix = Path(name.split("?")[0]).suffix.lower()
    drivers = {".tif": "GTiff", ".tiff": "GTiff", ".jp2": "JP2OpenJPEG", ".png": "PNG", ".jpg": "JPEG"}
    if suffix not in drivers or not name.lower().startswith(
        ("/vsicurl/https://", "https://", "/vsis3/", "/vsigs/", "/vsiaz/")
    ):
        raise UnsafeRasterError(
            f"{label}: of remote files only .tif, .jp2, .png and .jpg are opened, over https, S3, GCS and "
            "Azure."
        )
    return FileFacts(path, label, drivers[suffix], 0, 0)
