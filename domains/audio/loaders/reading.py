"""Recordings as blocks of samples, decoded by libsndfile where it can and by PyAV where it cannot."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, Protocol

import numpy as np

from ....core.errors import InputError, require
from ....core.limits import Limits
from ....core.media_source import Source, compressed_kind, describe
from ....core.truncation import missing_share

RATES = (10, 1_000_000)
"""Hz; anything else in a header is damage, not sound."""
BLOCK = 16_384
"""Frames decoded at once; damage costs the block it is in."""
_MP3_EXACT_S = 600.0
"""MP3 crops that begin before are reached by decoding: exact to the bit, some 5000 times faster than real
time, and without the complaints that the decoder prints where a jump cuts its bit reservoir."""
_MP3_SLACK = 3 * 1152
"""Frames by which the length in an MP3 header may be off in a whole file."""


@dataclass(frozen=True)
class AudioInfo:
    """What the header of a recording says.

    Attributes:
        rate: Hz.
        channels: number of channels.
        frames: samples per channel; 0 where the header does not say.
        duration_s: ``frames / rate``.
        container: ``WAV``, ``FLAC``, ``MP3``, ``MP4, M4A or QuickTime`` ..., by content, not by suffix.
        subtype: coding of the samples: ``PCM_16``, ``FLOAT``, ``VORBIS``, ``aac`` ...
    """

    rate: int
    channels: int
    frames: int
    duration_s: float
    container: str
    subtype: str


class Decoder(Protocol):
    """An open recording.

    Attributes:
        info: what the header says.
        slack: frames by which ``info.frames`` may be off in a whole file; None when it is only a guess.
        missing: share of the announced sound that the file lacks, 1 when unknown; None when it is whole or
            when only reading to the end can tell.
    """

    info: AudioInfo
    slack: int | None
    missing: float | None

    def seek(self, frame: int) -> None:
        """Let the next read start at ``frame``."""
        ...

    def read(self, frames: int) -> np.ndarray:
        """Return float32 [n, C], fewer than ``frames`` at the end and none after it.

        Raises:
            Broken: the coded data are damaged here.
        """
        ...


class Broken(Exception):
    """Decoding stopped at damaged data; whoever reads says where and decides."""


@contextlib.contextmanager
def open_recording(source: Source, *, limits: Limits) -> Iterator[Decoder]:
    """Yield the decoder of a recording, found by content.

    Raises:
        InputError: no recording, no sound in it, or a header that cannot be true.
        LimitError: longer than ``limits.seconds``.
        DependencyError: a container that needs PyAV, which is not installed.
    """
    with source.open() as stream:
        head = stream.read(4096)
        demuxer = compressed_kind(head)
        missing = missing_share(stream, source.size)
        if demuxer is None:
            sound = _open_sound(stream, source)
            if sound is not None:
                with sound:
                    decoder = _SoundDecoder(sound, missing)
                    _check(decoder.info, source.name, limits)
                    if not decoder.info.frames and decoder.slack is not None:
                        raise InputError(
                            f"{source.name}: the {decoder.info.container} file holds no samples (0.0 s). "
                            "Record it again."
                        )
                    yield decoder
                return
            # A WAV may hold a coding that libsndfile does not know.
            if not (head[:4] in (b"RIFF", b"RF64") and head[8:12] == b"WAVE"):
                raise InputError(_not_a_recording(source, head))
            demuxer = ("wav", "WAV")
        from ....core.containers import open_container
        from .compressed import CompressedDecoder

        instead = "or convert the file to WAV, FLAC or MP3"
        with open_container(stream, demuxer, source.name, instead=instead) as container:
            decoder = CompressedDecoder(container, demuxer[1], source.name, missing)
            _check(decoder.info, source.name, limits)
            yield decoder


def _check(info: AudioInfo, name: str, limits: Limits) -> None:
    """Raise for a header that no recording has."""
    if not RATES[0] <= info.rate <= RATES[1]:
        raise InputError(
            f"{name}: the header says a sampling rate of {info.rate:,} Hz; expected {RATES[0]} to "
            f"{RATES[1]:,}. The header is damaged: save the recording again."
        )
    limits.check("seconds", info.duration_s, what=f"{name}: seconds")


def _not_a_recording(source: Source, head: bytes) -> str:
    content = describe(head)
    if head[:4] in (b"fLaC", b"OggS", b"FORM", b"caff", b".snd") or head[:3] == b"ID3":
        return f"{source.name}: the header is damaged or cut off. Copy or download the recording again."
    return (
        f"{source.name}: not a recording; the content looks like {content}. Readable: WAV, FLAC, Ogg, MP3, "
        "AIFF, CAF, W64, AU and, with PyAV, MP4, M4A, WebM, WMA and AAC."
    )


def _open_sound(stream: BinaryIO, source: Source) -> Any:
    """Return an open ``soundfile.SoundFile``, or None when libsndfile does not know the content."""
    soundfile = require("soundfile", extra="audio")
    stream.seek(0)
    given: Any = stream
    if source.path is not None:
        # libsndfile reads a descriptor itself; through a Python object every read is a call back. It also
        # never sees the name, so that a suffix (.raw!) cannot mislead it.
        given = stream.fileno()
        os.lseek(given, 0, os.SEEK_SET)
    else:
        given = _Clamped(stream)
    try:
        return _forward_class()(given, closefd=False)
    except soundfile.LibsndfileError as error:
        text = str(getattr(error, "error_string", error))
        if "SF_INFO" in text or "Channel count" in text:
            text = "a sampling rate or number of channels that cannot be"
        if "not recognised" in text or "nimplemented" in text or "nsupported" in text:
            return None
        raise InputError(
            f"{source.name}: the header is damaged ({text.strip('. ')}). Copy or save the recording again."
        ) from error


@functools.lru_cache(maxsize=1)
def _forward_class() -> Any:
    """Return ``soundfile.SoundFile`` for reading on and on.

    The original seeks to where it is after every read. MP3 then loses its bit reservoir between blocks: the
    decoder complains on standard error, and samples differ in the last bit.
    """
    soundfile = require("soundfile", extra="audio")

    class Forward(soundfile.SoundFile):
        def seekable(self) -> bool:
            return False

    return Forward


class _Clamped:
    """A stream that stays at its beginning when libsndfile, misled by a damaged header, seeks before it."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.read, self.tell = stream.read, stream.tell

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence == os.SEEK_CUR:
            offset, whence = offset + self._stream.tell(), os.SEEK_SET
        return self._stream.seek(max(0, offset) if whence == os.SEEK_SET else offset, whence)


class _SoundDecoder:
    """libsndfile behind :class:`Decoder`."""

    def __init__(self, sound: Any, missing: float | None) -> None:
        self._sound, self._at = sound, 0
        self._error = require("soundfile", extra="audio").LibsndfileError
        self.missing = missing
        # libsndfile answers 2**63 - 1 when it cannot tell.
        is_known = missing is None and 0 <= sound.frames < 2**62
        frames = int(sound.frames) if 0 <= sound.frames < 2**62 else 0
        rate = int(sound.samplerate)
        self.info = AudioInfo(
            rate, int(sound.channels), frames, frames / max(rate, 1), str(sound.format), str(sound.subtype)
        )
        self.slack: int | None = None
        if is_known:
            self.slack = _MP3_SLACK if self.info.subtype.startswith("MPEG") else 0

    def seek(self, frame: int) -> None:
        if self.info.subtype.startswith("MPEG") and frame <= _MP3_EXACT_S * self.info.rate:
            while (ahead := frame - self._at) > 0 and len(self.read(min(BLOCK, ahead))):
                pass
            return
        if frame == self._at:
            return
        try:
            self._at = self._sound.seek(frame)
        except self._error as error:
            raise Broken(str(error)) from error

    def read(self, frames: int) -> np.ndarray:
        try:
            block = self._sound.read(frames, dtype="float32", always_2d=True)
        except self._error as error:
            raise Broken(str(error)) from error
        self._at += len(block)
        return block
