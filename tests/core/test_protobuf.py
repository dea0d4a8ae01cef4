from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from verticlip.core.protobuf import fields


def number(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])


def field(name: int, value: int | bytes) -> bytes:
    if isinstance(value, int):
        return number(name << 3) + number(value)
    return number(name << 3 | 2) + number(len(value)) + value


VALUES = st.one_of(st.integers(0, 2**63 - 1), st.binary(max_size=300))


@given(st.lists(st.tuples(st.integers(1, 2**20), VALUES), max_size=20))
def test_what_was_written_is_read(written) -> None:
    message = b"".join(field(name, value) for name, value in written)
    assert list(fields(message)) == written


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(message) -> None:
    found = []
    with contextlib.suppress(ValueError):
        found.extend(fields(message))
    assert all(name for name, _ in found)


def test_numbers_of_fixed_width_are_bytes() -> None:
    assert list(fields(b"\x0d\x00\x00\x80\x3f\x11" + bytes(8))) == [(1, b"\x00\x00\x80\x3f"), (2, bytes(8))]


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (b"\x0a\x05abc", "ends too early"),
        (b"\x08\xff", "ends too early"),
        (b"\x08" + b"\xff" * 11, "no protocol buffer"),
        (b"\x0b", "no protocol buffer"),
        (b"\x00\x00", "no protocol buffer"),
    ],
)
def test_what_is_no_message_is_refused(message: bytes, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        list(fields(message))
