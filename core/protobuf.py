"""Protocol buffers read as data, without a schema: numbers of fields and what is in them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

_MOST_FIELDS = 1_000_000


def fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """Yield (field number, value) of a protocol buffer message: an int, or bytes for everything else.

    Raises:
        ValueError: no such message, one that ends too early, or with over a million fields.

    Reference:
        Protocol Buffers documentation, Encoding.
    """
    place = 0
    for _ in range(_MOST_FIELDS):
        if place >= len(message):
            return
        key, place = _varint(message, place)
        number, wire = key >> 3, key & 7
        if not number:
            raise ValueError("its content is no protocol buffer")
        if wire == 0:
            value, place = _varint(message, place)
            yield number, value
            continue
        if wire == 2:
            length, place = _varint(message, place)
        elif wire in (1, 5):
            length = 8 if wire == 1 else 4
        else:
            raise ValueError("its content is no protocol buffer")
        if place + length > len(message):
            raise ValueError("it ends too early; the download or copy was cut off")
        yield number, message[place : place + length]
        place += length
    raise ValueError("its content is no protocol buffer")


def _varint(message: bytes, place: int) -> tuple[int, int]:
    """Return (number, position behind it): seven bits a byte, the highest bit says whether more follow."""
    value = 0
    for index in range(10):
        if place + index >= len(message):
            raise ValueError("it ends too early; the download or copy was cut off")
        byte = message[place + index]
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return value, place + index + 1
    raise ValueError("its content is no protocol buffer")
