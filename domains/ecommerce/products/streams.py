"""Bytes of plain and compressed files, with a ceiling on how far a small file may grow."""

from __future__ import annotations

import io
import zlib
from pathlib import Path
from typing import IO, Protocol, cast

from ....core.errors import DataError, LimitError, require
from ....core.limits import DEFAULT, Limits, MiB

_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_CHUNK = 512
"""Compressed bytes inflated at once: blocks of one byte repeated grow thirty-thousandfold."""


class _Inflater(Protocol):
    unused_data: bytes

    @property
    def eof(self) -> bool: ...

    def decompress(self, data: bytes) -> bytes: ...


def open_bytes(path: Path, *, limits: Limits = DEFAULT) -> io.BufferedReader:
    """Return the bytes of a file, inflated where it is gzip or Zstandard, whatever its name says.

    Raises:
        DataError: no such file, or, while reading, a damaged or unfinished stream.
        LimitError: the file is too large, or, while reading, grows too much.
    """
    if not path.is_file():
        raise DataError(f"{path}: {'is a folder' if path.is_dir() else 'no such file'}.")
    limits.check("file_bytes", path.stat().st_size, what=f"{path.name}: bytes")
    raw = path.open("rb")
    head = raw.read(4)
    raw.seek(0)
    if head.startswith(_GZIP) or head == _ZSTD:
        return io.BufferedReader(_Inflated(raw, head == _ZSTD, path.name, limits), 256 * 1024)
    return raw


class _Inflated(io.RawIOBase):
    """Inflated bytes of a stream that may have several members."""

    def __init__(self, raw: IO[bytes], is_zstd: bool, name: str, limits: Limits) -> None:
        self._raw, self._is_zstd, self._name, self._limits = raw, is_zstd, name, limits
        self._inflater = self._new()
        self._ready, self._place = b"", 0
        self._read, self._written = 0, 0
        self._is_inside = False

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self._raw.close()
        super().close()

    def readinto(self, buffer) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        while self._place >= len(self._ready):
            if not self._fill():
                return 0
        part = self._ready[self._place : self._place + len(buffer)]
        buffer[: len(part)] = part
        self._place += len(part)
        return len(part)

    def _new(self) -> _Inflater:
        if self._is_zstd:
            zstandard = require("zstandard", extra="ecommerce")
            return cast("_Inflater", zstandard.ZstdDecompressor(max_window_size=128 * MiB).decompressobj())
        return cast("_Inflater", zlib.decompressobj(wbits=31))

    def _fill(self) -> bool:
        """Inflate one more piece; False at the end of the file."""
        data = self._raw.read(_CHUNK)
        if not data:
            if self._is_inside:
                raise DataError(
                    f"{self._name}: the compressed file ends too early. Copy or download it again."
                )
            return False
        self._read += len(data)
        self._place, pieces = 0, []
        while data:
            try:
                pieces.append(self._inflater.decompress(data))
            except Exception as error:  # zlib.error, or one of the optional package
                if isinstance(error, MemoryError):
                    raise
                raise DataError(
                    f"{self._name}: the compressed file is damaged. Copy or download it again."
                ) from None
            self._is_inside = not self._inflater.eof
            data = self._inflater.unused_data if self._inflater.eof else b""
            if self._inflater.eof:
                self._inflater = self._new()
                if not self._is_zstd:
                    # Archives are padded with zeros, which are no further member.
                    data = data.lstrip(b"\0")
        self._ready = b"".join(pieces)
        self._written += len(self._ready)
        ceiling = max(16 * MiB, self._read * self._limits.inflate_ratio)
        if self._written > ceiling:
            raise LimitError(
                f"{self._name}: {self._read:,} compressed bytes grow to over {ceiling:,}, more than "
                f"{self._limits.inflate_ratio} times. If this file is trusted, unpack it first."
            )
        return True
