"""Uploads the way the client does them by default: chunks in xorbs, and shards that say how files are made of them.

Only what an upload needs. Files are put together at once and kept like any LFS object, and downloads are
plain HTTP: no answer names Xet. Formats as of hf_xet 1.8; all numbers are little endian.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterator

from .store import Refused

_HEADER = struct.Struct("<B3sB3s")
_TAG = b"HFRepoMetaData"
_END = b"\xff" * 32
_VERIFIED, _WITH_SHA256 = 1 << 31, 1 << 30


def name_of(digest: bytes) -> str:
    """Return the text of a hash: its four numbers, each as 16 hexadecimal digits."""
    return "".join(f"{number:016x}" for number in struct.unpack("<4Q", digest))


def chunks(xorb: bytes) -> list[bytes]:
    """Return the chunks of a xorb, decompressed.

    Raises:
        Refused: it is damaged.
    """
    found, place = [], 0
    while place + _HEADER.size <= len(xorb) and xorb[place] == 0:
        _, packed, scheme, size = _HEADER.unpack_from(xorb, place)
        place += _HEADER.size
        end = place + int.from_bytes(packed, "little")
        try:
            content = _unpacked(xorb[place:end], scheme)
        except (IndexError, struct.error, ValueError) as error:
            raise Refused(400, f"Damaged xorb: {error}") from None
        if len(content) != int.from_bytes(size, "little"):
            raise Refused(400, "Damaged xorb: a chunk has another size")
        found.append(content)
        place = end
    # What may follow the chunks is a table of them.
    if not found or not (place == len(xorb) or xorb.startswith(b"XETBLOB", place)):
        raise Refused(400, "Damaged xorb: no chunks, or something else after them")
    return found


def _unpacked(content: bytes, scheme: int) -> bytes:
    if scheme == 0:
        return content
    if scheme not in (1, 2):
        raise ValueError(f"compressed by scheme {scheme}")
    content = lz4_frame(content)
    if scheme == 1:
        return content
    # Every fourth byte stands together: floats compress better so.
    result, place = bytearray(len(content)), 0
    for first in range(4):
        count = len(result[first::4])
        result[first::4] = content[place : place + count]
        place += count
    return bytes(result)


def lz4_frame(content: bytes) -> bytes:
    """Return what an LZ4 frame holds; checksums are not looked at."""
    magic, flags = struct.unpack_from("<IB", content)
    if magic != 0x184D2204:
        raise ValueError("no LZ4 frame")
    place = 7 + (8 if flags & 8 else 0) + (4 if flags & 1 else 0)
    result = bytearray()
    while size := struct.unpack_from("<I", content, place)[0]:
        place += 4
        plain, size = size >> 31, size & 0x7FFFFFFF
        block = content[place : place + size]
        if plain:
            result += block
        else:
            _lz4_block(block, result)
        place += size + (4 if flags & 16 else 0)
    return bytes(result)


def _lz4_block(block: bytes, result: bytearray) -> None:
    place = 0
    while place < len(block):
        token = block[place]
        count, place = _lz4_length(block, place + 1, token >> 4)
        result += block[place : place + count]
        place += count
        if place >= len(block):
            return
        back = block[place] | block[place + 1] << 8
        count, place = _lz4_length(block, place + 2, token & 15)
        count += 4
        if not 0 < back <= len(result):
            raise ValueError("an LZ4 match before the beginning")
        # A match may reach into what it makes itself.
        known = result[len(result) - back :][:count]
        result += (known * (count // len(known) + 1))[:count]


def _lz4_length(block: bytes, place: int, count: int) -> tuple[int, int]:
    if count == 15:
        more = 255
        while more == 255:
            more = block[place]
            count, place = count + more, place + 1
    return count, place


def files(shard: bytes) -> Iterator[tuple[str, list[tuple[str, int, int]]]]:
    """Yield (SHA-256 or "", [(xorb, first chunk, end chunk)]) for every file of a shard.

    Raises:
        Refused: it is damaged.
    """
    if not shard.startswith(_TAG):
        raise Refused(400, "Damaged shard: not one at all")
    place = 48
    try:
        while shard[place : place + 32] != _END:
            flags, count = struct.unpack_from("<II", shard, place + 32)
            place += 48
            parts = []
            for entry in range(place, place + 48 * count, 48):
                first, end = struct.unpack_from("<II", shard, entry + 40)
                parts.append((name_of(shard[entry : entry + 32]), first, end))
            place += 48 * count * (2 if flags & _VERIFIED else 1)
            sha256 = ""
            if flags & _WITH_SHA256:
                sha256 = name_of(shard[place : place + 32])
                place += 48
            yield sha256, parts
    except struct.error:
        raise Refused(400, "Damaged shard: it ends too early") from None


def assembled(shard: bytes, xorb_of: Callable[[str], bytes | None]) -> Iterator[bytes]:
    """Yield the contents of the files of a shard.

    Args:
        shard: as it was uploaded.
        xorb_of: returns a xorb by its name, or None.

    Raises:
        Refused: the shard is damaged, a xorb is not here, or a file is not what it is called.
    """
    known: dict[str, list[bytes]] = {}
    for sha256, parts in files(shard):
        content = bytearray()
        for name, first, end in parts:
            if name not in known:
                packed = xorb_of(name)
                known[name] = [] if packed is None else chunks(packed)
            if not 0 <= first < end <= len(known[name]):
                raise Refused(400, "Damaged shard: it names chunks that are not here")
            content += b"".join(known[name][first:end])
        if sha256 and hashlib.sha256(content).hexdigest() != sha256:
            raise Refused(400, "A file of the shard is not what it is called")
        yield bytes(content)
