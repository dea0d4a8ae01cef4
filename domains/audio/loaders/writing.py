"""Writing recordings: whole or in blocks, through a temporary name, with clipping counted."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ....core.errors import ConfigError, InputError, nearest, require
from ....core.files import atomic_path
from .reading import RATES

_FORMATS = {".wav": "WAV", ".flac": "FLAC", ".ogg": "OGG", ".w64": "W64", ".aiff": "AIFF", ".aif": "AIFF"}
_SUBTYPES = {
    "WAV": ("PCM_16", "PCM_24", "PCM_32", "FLOAT"),
    "FLAC": ("PCM_16", "PCM_24"),
    "OGG": ("VORBIS", "OPUS"),
    "W64": ("PCM_16", "PCM_24", "PCM_32", "FLOAT"),
    "AIFF": ("PCM_16", "PCM_24", "PCM_32", "FLOAT"),
}
"""The first of each is the default."""
_BYTES = {"PCM_16": 2, "PCM_24": 3, "PCM_32": 4, "FLOAT": 4}
_WAV_CEILING = 2**32 - 2**16
"""Bytes of samples that the 32-bit lengths of WAV and AIFF can announce, with room for the header."""
_CHUNK = 1 << 20
_SYSTEM = 2
"""The library's number for an error of the operating system."""


@dataclass(frozen=True)
class Written:
    """What was written.

    Attributes:
        path: the file. frames: samples per channel. rate: Hz. channels: C. subtype: coding of the samples.
        clipped: samples that were outside of [-1, 1] and were cut to it; always 0 for ``FLOAT``.
    """

    path: Path
    frames: int
    rate: int
    channels: int
    subtype: str
    clipped: int


def write_audio(
    path: str | os.PathLike[str], values: Tensor | np.ndarray, rate: int, *, subtype: str | None = None
) -> Written:
    """Write a recording; the file appears whole or not at all.

    16-bit samples that were read come back bit for bit.

    Args:
        path: its suffix decides: ``.wav`` (RF64 inside when it is over 4 GB), ``.flac``, ``.ogg``, ``.w64``,
            ``.aiff``.
        values: float [T] or [C, T] in [-1, 1]; what is outside is cut to it and counted.
        rate: Hz.
        subtype: ``PCM_16`` (default for WAV, FLAC, W64, AIFF), ``PCM_24``, ``PCM_32``, ``FLOAT``; ``VORBIS``
            (default for Ogg), ``OPUS``.

    Raises:
        InputError: no samples, not finite, another shape, or more than the format takes.
        ConfigError: unknown suffix, or a subtype that the format lacks.
    """
    rows = _rows(values)
    with AudioWriter(path, rate, channels=rows.shape[0], subtype=subtype, frames=rows.shape[1]) as writer:
        for start in range(0, rows.shape[1], _CHUNK):
            writer.write(rows[:, start : start + _CHUNK])
    return writer.written


class AudioWriter:
    """A recording written in blocks, for results that are never in memory at once.

    Use as a context manager. Leaving it with an error leaves no file, or the older one of that name.

    Example::

        with AudioWriter("voice.wav", 16_000) as writer:
            for block in blocks:
                writer.write(block)
        writer.written.clipped

    Args:
        path: as for :func:`write_audio`.
        rate: Hz. channels: C. subtype: as for :func:`write_audio`.
        frames: samples per channel that will come, as far as known, for example
            :attr:`.reading.AudioInfo.frames` of what is converted; a WAV over 4 GB has to be announced.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        rate: int,
        *,
        channels: int = 1,
        subtype: str | None = None,
        frames: int | None = None,
    ) -> None:
        self.path = Path(path)
        self.rate, self.channels = _checked_rate(rate), channels
        self.format, self.subtype = _coding(self.path, subtype)
        if channels < 1:
            raise InputError(f"{self.path.name}: {channels} channels; expected 1 or more.")
        self.frames = self.clipped = 0
        self._ceiling = _WAV_CEILING if self.format in ("WAV", "AIFF") else None
        if self.format == "WAV" and self._bytes(frames or 0) > _WAV_CEILING:
            self.format, self._ceiling = "RF64", None
        self._sound: Any = None
        self._temporary, self._error = self.path, Exception
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> AudioWriter:
        soundfile = require("soundfile", extra="audio")
        with contextlib.ExitStack() as stack:
            temporary = stack.enter_context(atomic_path(self.path))
            try:
                # A name that is not UTF-8 cannot be told to the library as text.
                name = temporary if os.name == "nt" else os.fsencode(temporary)
                sound = soundfile.SoundFile(
                    name, "w", self.rate, self.channels, self.subtype, format=self.format
                )
            except soundfile.LibsndfileError as error:
                if error.code == _SYSTEM:
                    raise self._refused(temporary) from error
                raise InputError(
                    f"{self.path.name}: {self.format} {self.subtype} does not take {self.channels} channels "
                    f"at {self.rate} Hz ({str(error.error_string).rstrip('.')})."
                ) from error
            self._temporary, self._error = temporary, soundfile.LibsndfileError
            self._sound = sound
            stack.callback(self._close)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: Any) -> None:
        if error[0] is None and not self.frames:
            empty = InputError(f"{self.path.name}: nothing was written to it.")
            self._stack.__exit__(type(empty), empty, None)
            raise empty
        self._stack.__exit__(*error)

    def write(self, values: Tensor | np.ndarray) -> None:
        """Append float [T] or [C, T].

        Raises:
            InputError: not finite, another number of channels, or over what the format can announce.
            OSError: the system refused, because the disk is full for example; its number is that of the
                system and its file name :attr:`path`.
        """
        rows = _rows(values, empty=True)
        if rows.shape[0] != self.channels:
            raise InputError(
                f"{self.path.name}: a block of {rows.shape[0]} channels, the file has {self.channels}."
            )
        if not np.isfinite(rows).all():
            raise InputError(
                f"{self.path.name}: samples to write are NaN or infinite, in the block after "
                f"{self.frames / self.rate:.6g} s."
            )
        if self._ceiling is not None and self._bytes(self.frames + rows.shape[1]) > self._ceiling:
            raise InputError(
                f"{self.path.name}: over the 4 GB that {self.format} can announce. Pass frames= to the "
                "writer, which then writes RF64 for a .wav, or write .flac or .w64."
            )
        with self._refusals():
            self._sound.write(self._coded(rows))
        self.frames += rows.shape[1]

    def _close(self) -> None:
        # Closing writes what is left.
        with self._refusals():
            self._sound.close()

    @contextlib.contextmanager
    def _refusals(self) -> Iterator[None]:
        """Say what the system refused to the library, which keeps the reason to itself."""
        try:
            yield
        except (self._error, AssertionError) as error:
            raise self._refused(self._temporary) from error

    def _refused(self, temporary: Path) -> OSError:
        """Return what the system says when it is asked to write once more."""
        try:
            with temporary.open("ab") as again:
                again.write(bytes(1 << 16))
                again.flush()
                os.fsync(again.fileno())
        except OSError as refused:
            return OSError(refused.errno, refused.strerror, str(self.path))
        return OSError(errno.EIO, os.strerror(errno.EIO), str(self.path))

    @property
    def written(self) -> Written:
        """What was written so far, and after leaving the context what the file holds."""
        return Written(self.path, self.frames, self.rate, self.channels, self.subtype, self.clipped)

    def _bytes(self, frames: int) -> int:
        return frames * self.channels * _BYTES.get(self.subtype, 0)

    def _coded(self, rows: np.ndarray) -> np.ndarray:
        """Return [n, C] in the type of the file; rounding is done here, so that it is the same everywhere."""
        if self.subtype == "FLOAT":
            return np.ascontiguousarray(rows.T, dtype=np.float32)
        self.clipped += int(np.count_nonzero(np.abs(rows) > 1.0))
        bits = {"PCM_16": 16, "PCM_24": 24, "PCM_32": 32}.get(self.subtype)
        if bits is None:
            return np.ascontiguousarray(rows.T, dtype=np.float32).clip(-1.0, 1.0)
        full = 2 ** (bits - 1)
        steps = np.rint(rows.T.astype(np.float64) * full).clip(-full, full - 1)
        if bits == 16:
            return np.ascontiguousarray(steps, dtype=np.int16)
        # The library takes 24 bits as the upper ones of 32.
        return np.ascontiguousarray(steps.astype(np.int64) << (32 - bits)).astype(np.int32)


def _rows(values: Tensor | np.ndarray, *, empty: bool = False) -> np.ndarray:
    """Return float [C, T] of [T] or [C, T]."""
    given = values.detach().cpu() if isinstance(values, Tensor) else values
    array = given.float().numpy() if isinstance(given, torch.Tensor) else np.asarray(given)
    if array.dtype.kind != "f" or array.ndim not in (1, 2) or not (array.size or empty):
        raise InputError(
            f"A recording to write is float [samples] or [channels, samples] with samples in it, "
            f"got {array.dtype} {list(array.shape)}."
        )
    return np.atleast_2d(array)


def _checked_rate(rate: int) -> int:
    if not (isinstance(rate, (int, np.integer)) and RATES[0] <= rate <= RATES[1]):
        raise InputError(f"A sampling rate is a whole number of {RATES[0]} to {RATES[1]:,} Hz, got {rate!r}.")
    return int(rate)


def _coding(path: Path, subtype: str | None) -> tuple[str, str]:
    """Return (format, subtype) for a path."""
    form = _FORMATS.get(path.suffix.lower())
    if form is None:
        raise ConfigError(
            f"{path.name}: unknown suffix {path.suffix!r} for a recording; known: {', '.join(_FORMATS)}."
            f"{nearest(path.suffix, _FORMATS)}"
        )
    known = _SUBTYPES[form]
    if subtype is not None and subtype not in known:
        raise ConfigError(
            f"{path.name}: {form} is not written as {subtype!r}; known: {', '.join(known)}."
            f"{nearest(subtype, known)}"
        )
    return form, subtype or known[0]
