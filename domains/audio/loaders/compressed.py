"""Sound out of MP4, M4A, WebM, WMA and other containers, through PyAV (the FFmpeg libraries)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from ....core.containers import ODD_ERRORS, reason_of
from ....core.errors import InputError, require
from .reading import AudioInfo, Broken

_EXACT_S = 600.0
"""Crops that begin before are decoded from the start of the file. Later ones begin at an index entry, which
costs exactness: coded noise depends on what was decoded before, and Matroska rounds its times to 1 ms."""
_PREROLL_S = 0.5
"""Decoded and thrown away before such a crop: transform codecs need their previous frames."""
_SLACK_S = 0.5
"""By which the length in a header may be off in a whole file."""


class CompressedDecoder:
    """The first audio track of a container behind :class:`.reading.Decoder`."""

    def __init__(self, container: Any, words: str, name: str, missing: float | None) -> None:
        self.missing = missing
        if not container.streams.audio:
            kinds = sorted({stream.type for stream in container.streams})
            raise InputError(
                f"{name}: the {words} file has no audio track, only {', '.join(kinds) or 'empty tracks'}."
            )
        self._container, self._name = container, name
        self._track = track = container.streams.audio[0]
        if track.codec_context is None:
            raise InputError(
                f"{name}: the sound in the {words} file is coded in a way that FFmpeg does not know. "
                "Save it as WAV or FLAC."
            )
        self._frames: Iterator[np.ndarray] | None = None
        self._held: list[np.ndarray] = []
        self._skip = 0
        rate = int(track.rate or 0)
        duration_s = _seconds(track.duration, track.time_base)
        # Matroska tells only the length of the whole file, which the picture may exceed the sound in.
        is_promise = bool(duration_s) or not container.streams.video
        duration_s = duration_s or _seconds(container.duration, 1e-6)
        frames = round(duration_s * rate)
        self.info = AudioInfo(
            rate, int(track.channels or 0), frames, duration_s, words, str(track.codec.name)
        )
        is_promise = is_promise and bool(frames) and missing is None
        self.slack: int | None = round(_SLACK_S * rate) if is_promise else None
        # Containers may start their clock anywhere; MPEG streams usually do.
        self._origin_s = max(0.0, _seconds(track.start_time, track.time_base))

    def seek(self, frame: int) -> None:
        """Let the next read start at ``frame``; nothing is decoded before it is asked for."""
        self._frames, self._held, self._skip = None, [], frame

    def read(self, frames: int) -> np.ndarray:
        """Return float32 [n, C], fewer than ``frames`` at the end and none after it."""
        if self._frames is None:
            self._frames = self._from(self._skip)
        count = sum(map(len, self._held))
        while count < frames:
            block = next(self._frames, None)
            if block is None:
                break
            self._held.append(block)
            count += len(block)
        joined = np.concatenate(self._held) if self._held else np.zeros((0, self.info.channels), np.float32)
        self._held = [joined[frames:]] if len(joined) > frames else []
        return joined[:frames]

    def _from(self, start: int) -> Iterator[np.ndarray]:
        """Yield decoded float32 [n, C] from frame ``start`` on."""
        if start > _EXACT_S * self.info.rate:
            self._jump(start / self.info.rate - _PREROLL_S)
            blocks = self._decoded()
            position, block = next(blocks, (start + 1, None))
            if block is not None and position <= start:
                yield from _after(start - position, itertools.chain([(position, block)], blocks))
                return
            # No index that leads before it: decode all of it.
        self._jump(0.0)
        yield from _after(start, self._decoded())

    def _jump(self, seconds: float) -> None:
        av = require("av", extra="video")
        offset = int((seconds + self._origin_s) / self._track.time_base) if seconds else 0
        try:
            self._container.seek(offset, stream=self._track, backward=True)
        except av.error.FFmpegError as error:
            if seconds:
                raise Broken(reason_of(error)) from error
            # A stream without an index stands at its beginning already.

    def _decoded(self) -> Iterator[tuple[int, np.ndarray]]:
        """Yield (frame at which a block starts, float32 [n, C]); formats are turned to float32."""
        av = require("av", extra="video")
        convert = av.AudioResampler(format="fltp")
        try:
            for decoded in self._container.decode(self._track):
                seconds = _seconds(decoded.pts, decoded.time_base) - self._origin_s
                for part in convert.resample(decoded):
                    values = part.to_ndarray().T
                    if values.shape[1] != self.info.channels:
                        raise InputError(
                            f"{self._name}: the number of channels changes from {self.info.channels} to "
                            f"{values.shape[1]} inside the recording. Convert it to WAV first."
                        )
                    yield round(seconds * self.info.rate), values
        except InputError:
            raise
        except (av.error.FFmpegError, *ODD_ERRORS) as error:
            raise Broken(reason_of(error)) from error


def _after(skip: int, blocks: Iterator[tuple[int, np.ndarray]]) -> Iterator[np.ndarray]:
    """Yield the blocks without the first ``skip`` frames."""
    for _, block in blocks:
        if len(block) > skip:
            yield block[skip:]
        skip = max(0, skip - len(block))


def _seconds(ticks: int | None, unit: Any) -> float:
    return 0.0 if ticks is None or unit is None else float(ticks * unit)
