"""Files that end before their pixels do, found without decoding any.

A cut-off GeoTIFF opens without complaint, and reading fails only where pixels are missing; a cut-off JPEG
even reads, gray from there on.

References:
    TIFF 6.0, section 2; BigTIFF; ITU T.81 (JPEG), annex B.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

_OFFSETS, _COUNTS = {273, 324}, {279, 325}
"""Tags of where strips or tiles begin, and of their bytes."""
_TYPES = {3: "u2", 4: "u4", 13: "u4", 16: "u8", 18: "u8"}
_DIRECTORIES = 64
"""Pictures and smaller copies in one file; more are not looked at."""
_TAIL = 4096


def missing_blocks(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Return how many blocks of a TIFF lie beyond its end, and how many it has.

    Blocks of smaller copies count too. Blocks that were never written (sparse files) are not missing.

    Args:
        path: of a TIFF or BigTIFF.
    """
    size = Path(path).stat().st_size
    missing = total = 0
    with Path(path).open("rb") as stream:
        order, big, position = _start(stream)
        seen: set[int] = set()
        while position and position not in seen and len(seen) < _DIRECTORIES:
            seen.add(position)
            entries, position = _directory(stream, order, big, position, size)
            offsets = _first(entries, _OFFSETS)
            counts = _first(entries, _COUNTS)
            if offsets is None or counts is None or len(offsets) != len(counts):
                # The directory itself, or the list of blocks, lies beyond the end.
                return (1, 1) if not total else (missing + 1, total + 1)
            total += len(offsets)
            with np.errstate(over="ignore"):
                ends = offsets + counts
            missing += int(((counts > 0) & ((ends > size) | (ends < offsets))).sum())
    return missing, total


def is_cut_jpeg(path: str | os.PathLike[str]) -> bool:
    """Return whether a JPEG ends before its end mark."""
    with Path(path).open("rb") as stream:
        stream.seek(0, os.SEEK_END)
        stream.seek(max(0, stream.tell() - _TAIL))
        if b"\xff\xd9" in stream.read():
            return False
        # Cameras append data of their own; the end mark then stands before it, but after the last scan.
        stream.seek(0)
        data = stream.read()
    return data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda")


def _start(stream: BinaryIO) -> tuple[str, bool, int]:
    """Return byte order, whether it is a BigTIFF, and where the first directory lies."""
    head = stream.read(16)
    order = "<" if head[:2] == b"II" else ">"
    big = _number(head[2:4], order) == 43
    return order, big, _number(head[8:16] if big else head[4:8], order)


def _directory(
    stream: BinaryIO, order: str, big: bool, position: int, size: int
) -> tuple[dict[int, NDArray[np.uint64]], int]:
    """Return {tag: values} of one directory, and where the next lies; tags beyond the end are left out."""
    count_bytes, entry_bytes, place_bytes = (8, 20, 8) if big else (2, 12, 4)
    stream.seek(position)
    count = _number(stream.read(count_bytes), order)
    block = stream.read(min(count, 4096) * entry_bytes + place_bytes)
    entries = {}
    for start in range(0, min(count, 4096) * entry_bytes, entry_bytes):
        entry = block[start : start + entry_bytes]
        tag, kind = _number(entry[:2], order), _number(entry[2:4], order)
        if len(entry) < entry_bytes or tag not in _OFFSETS | _COUNTS or kind not in _TYPES:
            continue
        dtype = np.dtype(order + _TYPES[kind])
        length = _number(entry[4 : 4 + place_bytes], order) * dtype.itemsize
        data = entry[4 + place_bytes :][:length]
        if length > place_bytes:
            place = _number(entry[4 + place_bytes :], order)
            if place + length > size:
                continue
            stream.seek(place)
            data = stream.read(length)
        entries[tag] = np.frombuffer(data, dtype).astype(np.uint64)
    return entries, _number(block[count * entry_bytes :], order)


def _first(entries: dict[int, NDArray[np.uint64]], tags: set[int]) -> NDArray[np.uint64] | None:
    return next((values for tag, values in entries.items() if tag in tags), None)


def _number(data: bytes, order: str) -> int:
    return int.from_bytes(data, "little" if order == "<" else "big")
