"""Containers of sound and pictures (MP4, Matroska, AVI ...), opened through PyAV (the FFmpeg libraries)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, BinaryIO

from .errors import DependencyError, InputError, require

ODD_ERRORS = (IndexError, ValueError, OverflowError)
"""What PyAV raises beside its own errors on damaged files: a packet of a track that is not there, a frame of
a size that cannot be."""


def require_av(name: str, words: str, *, extra: str = "video", instead: str = "") -> Any:
    """Return the ``av`` module.

    Args:
        name: of the file, for messages.
        words: what its container is called.
        extra: of verticlip, that brings PyAV to the caller's room.
        instead: what else the user may do, a clause without its full stop.

    Raises:
        DependencyError: not installed; the message names the file and its container.
    """
    try:
        return require("av", extra=extra)
    except DependencyError as error:
        raise DependencyError(
            f"{name}: {words} files are decoded by PyAV, which is not installed. "
            f'Run: pip install "verticlip[{extra}]"{f"; {instead}" if instead else ""}.'
        ) from error


@contextlib.contextmanager
def open_container(
    stream: BinaryIO, demuxer: tuple[str, str], name: str, *, extra: str = "video", instead: str = ""
) -> Iterator[Any]:
    """Yield an open ``av`` container.

    FFmpeg gets an open file and the demuxer by name, never a path to guess from: a playlist in disguise
    cannot make it open other files or addresses.

    Args:
        stream: the bytes, at any position.
        demuxer: (FFmpeg's name, words for messages) of :func:`.media_source.compressed_kind`.
        name: of the file, for messages.
        extra, instead: as :func:`require_av` takes them.

    Raises:
        InputError: damaged beyond opening. DependencyError: PyAV is not installed.
    """
    av = require_av(name, demuxer[1], extra=extra, instead=instead)
    stream.seek(0)
    try:
        container = av.open(stream, mode="r", format=demuxer[0], metadata_errors="replace")
    except (av.error.FFmpegError, *ODD_ERRORS) as error:
        raise InputError(
            f"{name}: the {demuxer[1]} file is damaged or cut off ({reason_of(error)}). "
            "Copy or download it again."
        ) from error
    try:
        yield container
    finally:
        container.close()


def reason_of(error: Exception) -> str:
    """Return FFmpeg's words without its number and file name."""
    return str(getattr(error, "strerror", None) or error).rstrip(".")
