"""Where a recording or film comes from, a path, bytes or a file object, and what its first bytes say."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from .errors import InputError
from .limits import Limits

ByteSource = str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO
"""A path, the bytes of a file, or a file opened in binary mode."""

_BLOCK = 1 << 20
_HEAD = 4096

_COMPRESSED = (
    (0, b"\x1aE\xdf\xa3", "matroska", "Matroska or WebM"),
    (0, b"0&\xb2u\x8ef\xcf\x11", "asf", "WMA or WMV"),
    (0, b"FLV\x01", "flv", "Flash video"),
    (0, b"#!AMR", "amr", "AMR"),
    (0, b"wvpk", "wv", "WavPack"),
    (0, b"MAC ", "ape", "Monkey's Audio"),
    (0, b"\x0b\x77", "ac3", "AC-3"),
    (0, b"\x00\x00\x01\xba", "mpeg", "MPEG program stream"),
    (4, b"ftyp", "mov", "MP4, M4A or QuickTime"),
    (4, b"moov", "mov", "QuickTime"),
    (4, b"mdat", "mov", "QuickTime"),
    (8, b"AVI ", "avi", "AVI"),
)
"""(position, mark, demuxer, words) of what the audio library leaves to PyAV."""

_OTHER = (
    (b"\x89PNG", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"GIF8", "a GIF picture"),
    (b"BM", "a BMP picture"),
    (b"II*\0", "a TIFF picture"),
    (b"MM\0*", "a TIFF picture"),
    (b"%PDF", "a PDF document"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "a gzip file"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"\x93NUMPY", "a NumPy array; load it and pass the array with array_rate"),
    (b"\x7fELF", "a program"),
    (b"MThd", "a MIDI score, which holds notes and no sound"),
    (b"version https://git-lfs", "a Git LFS pointer; fetch the file itself with `git lfs pull`"),
)


@dataclass(frozen=True)
class Source:
    """An input that can be opened; :func:`open_source` makes it.

    Attributes:
        name: for messages.
        size: bytes.
        path: of a file on disk, else None.
        stream: what holds the bytes where there is no path; it stays open.
    """

    name: str
    size: int
    path: Path | None = None
    stream: BinaryIO | None = None

    @contextlib.contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """Yield the bytes from their beginning."""
        if self.path is None:
            stream = cast("BinaryIO", self.stream)
            stream.seek(0)
            yield stream
        else:
            try:
                stream = self.path.open("rb")
            except OSError as error:
                raise InputError(f"{self.name}: cannot be opened ({error.strerror}).") from error
            with stream:
                yield stream

    def head(self) -> bytes:
        """Return the first bytes."""
        with self.open() as stream:
            return stream.read(_HEAD)


def open_source(given: ByteSource, *, limits: Limits, show_paths: bool, what: str = "recording") -> Source:
    """Return a source after checking that it exists, is not empty and not over ``limits.file_bytes``.

    Args:
        given: a path, the bytes of a file, or a file opened in binary mode.
        what: it should be, for messages.

    Raises:
        InputError: missing, a folder or device, empty, or of another type.
        LimitError: too large.
    """
    if isinstance(given, (bytes, bytearray, memoryview)):
        source = Source(f"{what} in memory", len(given), stream=io.BytesIO(bytes(given)))
    elif isinstance(given, (str, os.PathLike)):
        source = _from_path(Path(given), show_paths=show_paths, what=what)
    elif hasattr(given, "read"):
        source = _from_stream(given, limits, show_paths=show_paths, what=what)
    else:
        raise InputError(
            f"A {what} is a path, bytes, a file opened in binary mode or an array, "
            f"not {type(given).__name__!r}."
        )
    limits.check("file_bytes", source.size, what=f"{source.name}: bytes")
    if not source.size:
        raise InputError(f"{source.name}: the file is empty (0 bytes). Copy or download it again.")
    return source


def _from_path(path: Path, *, show_paths: bool, what: str) -> Source:
    name = str(path) if show_paths else path.name
    try:
        if path.is_file():
            return Source(name, path.stat().st_size, path=path)
        is_folder, exists = path.is_dir(), path.exists()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{name[:200]}: cannot be opened ({reason}).") from error
    if is_folder:
        raise InputError(f"{name}: is a folder. Give one {what}.")
    if exists:
        raise InputError(f"{name}: is not a regular file; copy its content to one.")
    raise InputError(f"{name}: no such file. Check the path of the {what}.")


def _from_stream(given: BinaryIO, limits: Limits, *, show_paths: bool, what: str) -> Source:
    label = getattr(given, "name", None)
    name = f"{what} in memory"
    if isinstance(label, str) and label:
        name = label if show_paths else Path(label).name
    if isinstance(given, io.TextIOBase):
        raise InputError(f"{name}: opened as text. Open it in binary mode: open(path, 'rb').")
    if not (hasattr(given, "seekable") and given.seekable()):
        # One byte over the ceiling is enough to refuse it.
        held = io.BytesIO()
        while held.tell() <= limits.file_bytes and (block := given.read(_BLOCK)):
            held.write(block)
        return Source(name, held.tell(), stream=held)
    size = given.seek(0, os.SEEK_END)
    return Source(name, size, stream=given)


def compressed_kind(head: bytes) -> tuple[str, str] | None:
    """Return (demuxer, words) of a container that needs PyAV, by its first bytes, or None."""
    for position, mark, demuxer, words in _COMPRESSED:
        if head[position : position + len(mark)] == mark:
            return demuxer, words
    # ADTS has 12 bits of sync and two layer bits of zero; with other layer bits it is MPEG layer I to III.
    if len(head) > 7 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0:
        return "aac", "AAC"
    if len(head) > 376 and head[0] == head[188] == head[376] == 0x47:
        return "mpegts", "MPEG transport stream"
    return None


def describe(head: bytes) -> str:
    """Return what content looks like that is no recording, in words."""
    for mark, words in _OTHER:
        if head.startswith(mark):
            return words
    text = head.lstrip()[:200].lower()
    if text.startswith((b"<!doctype html", b"<html")):
        return "a web page; the download link may need a login"
    if head.count(0) == len(head):
        return "zeros; the copy or download did not finish"
    try:
        head[:1000].decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < min(len(head), 1000) - 4:
            return (
                "unknown binary data; if it is raw PCM, read it with numpy and pass the array with array_rate"
            )
    return "text"
