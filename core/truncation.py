"""Whether a file that was cut off: what its header announces against what is there.

Decoders read a WAV cut in half as half the sound and say nothing. Most formats announce the bytes of their
samples (WAV, RF64, W64, AIFF, AU, CAF, MP4, Matroska, AVI, many MP3) and Ogg marks its last page, so that is
checked here, before anything is decoded. FLAC announces samples: whoever reads it to the end compares.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from typing import BinaryIO

_W64_RIFF, _W64_DATA = b"riff\x2e\x91\xcf\x11", b"data\xf3\xac\xd3\x11"
_OGG_TAIL = 65_536 + 4096
"""The longest page and a little more."""
_MAX_CHUNKS = 10_000
_MP3_SLACK = 0.01
"""Share by which editors leave the byte count of an MP3 wrong."""


def missing_share(stream: BinaryIO, size: int) -> float | None:
    """Return which share of the announced sound is not in the file, in (0, 1]; None when it is whole.

    Also None where the header leaves the length open, as a recorder that writes to a pipe does, and for
    formats that announce no bytes.

    Args:
        stream: at any position; it is moved.
        size: bytes of the file.
    """
    stream.seek(0)
    head = stream.read(40)
    if head[:4] == b"OggS":
        return _ogg_share(stream, size)
    for start, announced in _announced(stream, head):
        there = max(0, size - start)
        slack = _MP3_SLACK * announced if head[:3] == b"ID3" or head[:1] == b"\xff" else 0
        if announced > there + slack:
            return 1.0 - there / announced
    return None


def _announced(stream: BinaryIO, head: bytes) -> Iterator[tuple[int, int]]:
    """Yield (position, bytes) of the samples, at most once."""
    if head[:4] in (b"RIFF", b"RIFX", b"RF64", b"BW64") and head[8:12] == b"WAVE":
        order = ">" if head[:4] == b"RIFX" else "<"
        large = None
        for name, start, length in _chunks(stream, 12, order):
            if name == b"ds64":
                large = struct.unpack("<QQ", _at(stream, start, 16).ljust(16, b"\0"))[1]
            if name == b"data":
                if length == 0xFFFFFFFF and large is not None:
                    yield start, large
                elif not _is_open(length):
                    yield start, length
                return
    elif head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        yield from ((start, length) for name, start, length in _chunks(stream, 12, ">") if name == b"SSND")
    elif head[:4] == b".snd" and len(head) >= 12:
        start, length = struct.unpack(">II", head[4:12])
        if not _is_open(length):
            yield start, length
    elif head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        yield 8, struct.unpack("<I", head[4:8])[0]
    elif head[:8] == _W64_RIFF:
        yield from _wave64(stream)
    elif head[4:8] in (b"ftyp", b"moov", b"mdat"):
        yield from _mp4(stream)
    elif head[:4] == b"\x1aE\xdf\xa3":
        yield from _matroska(stream)
    elif head[:4] == b"caff":
        yield from _caf(stream)
    elif head[:3] == b"ID3" or head[:1] == b"\xff":
        yield from _mp3(stream, head)


def _at(stream: BinaryIO, position: int, count: int) -> bytes:
    """Return the bytes at a position; a damaged length may lead further than files go."""
    if position >= 1 << 62:
        return b""
    stream.seek(position)
    return stream.read(count)


def _is_open(length: int) -> bool:
    """Return whether a length is what programs write that do not know it: sox and ffmpeg, to a pipe."""
    return length == 0xFFFFFFFF or 0x7FFFF000 <= length <= 0x7FFFFFFF


def _chunks(stream: BinaryIO, position: int, order: str) -> Iterator[tuple[bytes, int, int]]:
    """Yield (name, start, bytes) of the chunks of a RIFF or IFF file; each starts at an even byte."""
    for _ in range(_MAX_CHUNKS):
        header = _at(stream, position, 8)
        if len(header) < 8:
            return
        length = struct.unpack(f"{order}I", header[4:])[0]
        yield header[:4], position + 8, length
        position += 8 + length + length % 2


def _wave64(stream: BinaryIO) -> Iterator[tuple[int, int]]:
    """Yield (position, bytes) of the samples of a Sony Wave64 file; lengths count their own 24 bytes."""
    position = 40
    for _ in range(_MAX_CHUNKS):
        header = _at(stream, position, 24)
        if len(header) < 24:
            return
        length = struct.unpack("<Q", header[16:])[0]
        if header[:8] == _W64_DATA:
            yield position + 24, max(0, length - 24)
            return
        position += max(24, (length + 7) // 8 * 8)


def _caf(stream: BinaryIO) -> Iterator[tuple[int, int]]:
    """Yield (position, bytes) of the samples of a Core Audio file; -1 leaves the length open."""
    position = 8
    for _ in range(_MAX_CHUNKS):
        header = _at(stream, position, 12)
        if len(header) < 12:
            return
        length = struct.unpack(">q", header[4:])[0]
        if header[:4] == b"data" or length < 0:
            if length >= 0:
                yield position + 12, length
            return
        position += 12 + length


def _mp4(stream: BinaryIO) -> Iterator[tuple[int, int]]:
    """Yield (position, bytes) of the media of an MP4 or QuickTime file; a length of 0 is open."""
    position = 0
    for _ in range(_MAX_CHUNKS):
        header = _at(stream, position, 16).ljust(16, b"\0")
        length = struct.unpack(">I", header[:4])[0]
        start = position + 8
        if length == 1:
            length, start = struct.unpack(">Q", header[8:16])[0], position + 16
        if header[4:8] == b"mdat" and length:
            yield start, max(0, length - (start - position))
            return
        if length < 8:
            return
        position += length


def _matroska(stream: BinaryIO) -> Iterator[tuple[int, int]]:
    """Yield (position, bytes) of the one segment of a Matroska file; all ones leave the length open."""
    stream.seek(0)
    head = stream.read(128)
    header, position = _variable(head, 4)
    segment = position + header
    if head[segment : segment + 4] == b"\x18S\x80g":
        length, start = _variable(head, segment + 4)
        if length != (1 << 7 * (start - segment - 4)) - 1:
            yield start, length


def _variable(head: bytes, position: int) -> tuple[int, int]:
    """Return (number, position behind it) of an EBML length: leading zeros say how many bytes it has."""
    width = 9 - head[position].bit_length() if position < len(head) else 9
    value = int.from_bytes(head[position : position + width], "big")
    return value & ((1 << 7 * width) - 1), position + width


def _mp3(stream: BinaryIO, head: bytes) -> Iterator[tuple[int, int]]:
    """Yield (position, bytes) of an MP3 whose first frame is a Xing or Info header that counts bytes."""
    position = 0
    if head[:3] == b"ID3":
        # Four bytes of seven bits each.
        position = 10 + sum(
            (byte & 0x7F) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=False)
        )
    frame = _at(stream, position, 200)
    for mark in (b"Xing", b"Info"):
        at = frame.find(mark)
        if at > 0 and len(frame) >= at + 16:
            flags, *counts = struct.unpack(">III", frame[at + 4 : at + 16])
            if flags & 2:
                yield position, counts[1] if flags & 1 else counts[0]
            return


def _ogg_share(stream: BinaryIO, size: int) -> float | None:
    """Return 1 when the last page of an Ogg file is not marked as the end; how much is missing is unknown."""
    stream.seek(max(0, size - _OGG_TAIL), os.SEEK_SET)
    tail = stream.read(_OGG_TAIL)
    last = tail.rfind(b"OggS")
    while last >= 0:
        page = tail[last:]
        # A page header is 27 bytes and one byte per segment; the mark may also occur by chance inside a page.
        if len(page) >= 27 and page[4] == 0:
            count = page[26]
            whole = len(page) >= 27 + count and len(page) >= 27 + count + sum(page[27 : 27 + count])
            return None if whole and page[5] & 4 else 1.0
        last = tail.rfind(b"OggS", 0, last)
    return 1.0
