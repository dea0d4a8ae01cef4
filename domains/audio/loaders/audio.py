"""``load_audio``: one recording from a path, bytes, a file object or an array, identified by content."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import math
import numbers
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from ....core.errors import ConfigError, InputError, nearest
from ....core.limits import DEFAULT, Limits
from ....core.media_source import ByteSource, open_source
from ....core.types import Sample
from ....core.waves import channel_mean
from .arrays import ArrayDecoder, array_of
from .loudness import check_normalize, set_level
from .reading import BLOCK, RATES, AudioInfo, Broken, Decoder, open_recording
from .resampling import Converter, check_method, converted_length

AudioSource = ByteSource | np.ndarray | Tensor | Mapping[str, Any] | Sample
"""A file in any form; an array [T] or [C, T]; a sample; or a hub row, ``{"array", "sampling_rate"}`` or
``{"bytes", "path"}``."""

_log = logging.getLogger(__name__)
_MARGIN = 400
"""Samples of the lower rate that a crop is converted with on each side, so that it equals the same stretch of
the whole recording; soxr HQ reaches less than half as far."""
_KINDS: Mapping[str, tuple[type, str]] = {
    "mono": (bool, "true or false"),
    "channel": (numbers.Integral, "a whole number"),
    **dict.fromkeys(("rate", "array_rate", "start_s", "duration_s"), (numbers.Real, "a number")),
    **dict.fromkeys(("resample", "normalize", "on_truncated"), (str, "a word")),
}
"""{option: (type, in words)}: a command line may bring anything."""


@dataclass(frozen=True)
class AudioOptions:
    """How a recording becomes samples.

    Attributes:
        rate: Hz to convert to; None keeps the file's.
        mono: average the channels, before the rate conversion; False keeps all of them.
        channel: take this one (from 0) instead of the average.
        start_s: where to begin. duration_s: how much to take; None is to the end, and a recording that ends
            earlier gives what there is.
        resample: ``soxr_hq``, ``soxr_vhq``, ``soxr_mq``, ``kaiser64`` or ``torchaudio``; see
            :mod:`.resampling`.
        normalize: None, ``peak``, ``rms`` or ``lufs``; see :mod:`.loudness`.
        on_truncated: ``error`` refuses a file that was cut off; ``warn`` takes what is there, logs it and
            says so in ``meta``.
        array_rate: Hz of a plain array, which cannot say it itself.
    """

    rate: int | None = None
    mono: bool = True
    channel: int | None = None
    start_s: float = 0.0
    duration_s: float | None = None
    resample: str = "soxr_hq"
    normalize: Literal["peak", "rms", "lufs"] | None = None
    on_truncated: Literal["error", "warn"] = "error"
    array_rate: int | None = None

    def __post_init__(self) -> None:
        self._check_types()
        check_method(self.resample)
        check_normalize(self.normalize)
        for name in ("rate", "array_rate"):
            value = getattr(self, name)
            if value is not None and not (RATES[0] <= value <= RATES[1] and value == int(value)):
                raise ConfigError(f"{name} is {RATES[0]} to {RATES[1]:,} Hz, got {value!r}.")
        if not (math.isfinite(self.start_s) and self.start_s >= 0):
            raise ConfigError(f"start_s is 0 or more seconds, got {self.start_s!r}.")
        if self.duration_s is not None and not (math.isfinite(self.duration_s) and self.duration_s > 0):
            raise ConfigError(f"duration_s is more than 0 seconds, got {self.duration_s!r}.")
        if self.channel is not None and self.channel < 0:
            raise ConfigError(f"channel counts from 0, got {self.channel!r}.")
        if self.on_truncated not in ("error", "warn"):
            raise ConfigError(f"on_truncated is 'error' or 'warn', got {self.on_truncated!r}.")

    def _check_types(self) -> None:
        """Raise ``ConfigError`` for a value of another type, as a command line may bring."""
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            kinds, words = _KINDS[field.name]
            is_flag = isinstance(value, bool) and kinds is not bool
            if is_flag or not (isinstance(value, kinds) or (value is None and field.default is None)):
                raise ConfigError(f"{field.name} is {words}, got {value!r}.")

    def with_(self, **changes: Any) -> AudioOptions:
        """Return a copy with some options changed; unknown names raise ``ConfigError``."""
        known = [field.name for field in dataclasses.fields(self)]
        for name in changes:
            if name not in known:
                raise ConfigError(
                    f"Unknown audio option {name!r}; known: {', '.join(known)}.{nearest(name, known)}"
                )
        return dataclasses.replace(self, **changes)


def load_audio(
    source: AudioSource,
    options: AudioOptions | None = None,
    *,
    limits: Limits = DEFAULT,
    show_paths: bool = False,
    **changes: Any,
) -> Sample:
    """Return one recording, or a crop of it: float32 [C, T], in [-1, 1] unless the file exceeds that.

    The same file gives the same bits every time. Only the crop is read, and it equals the same stretch of
    the whole recording to float32 rounding.

    Example::

        clip = load_audio("street.flac", rate=16_000, start_s=30, duration_s=4.1)
        stereo = load_audio(uploaded_bytes, mono=False, normalize="peak")

    Args:
        source: WAV, FLAC, Ogg, MP3, AIFF, CAF, W64, AU (libsndfile) or MP4, M4A, WebM, WMA, AAC (PyAV, the
            ``video`` extra), told apart by content; an array; or a row of a hub data set.
        options: see :class:`AudioOptions`; its fields may also be given by keyword.
        limits: ceilings on file size, seconds and decoded bytes, checked before decoding.
        show_paths: let error messages name the whole path instead of the file name.

    Returns:
        Sample with ``meta``: sampling_rate, file_rate, channels (of the file), duration_s (of the value),
        container, subtype, start_s, peak (largest magnitude of the value) and, where they apply, gain_db and
        truncated. A sample that was given keeps its id and what else its ``meta`` said.

    Raises:
        InputError: missing, empty, damaged or cut off, no recording, NaN or infinite samples, or a crop that
            begins after the end.
        LimitError: over a ceiling. ConfigError: unknown or impossible options.
        DependencyError: soundfile, soxr or PyAV is needed and not installed.
    """
    options = (options or AudioOptions()).with_(**changes)
    with opened(source, options, limits=limits, show_paths=show_paths) as recording:
        waves = torch.from_numpy(_joined(recording))
        name, info, rate = recording.name, recording.info, recording.rate
    file = {
        "file_rate": info.rate,
        "channels": info.channels,
        "container": info.container,
        "subtype": info.subtype,
        "start_s": options.start_s,
    }
    if isinstance(source, Sample):
        # What it says about its own file holds on.
        name, began = source.id or name, source.meta.get("start_s", 0.0)
        began = began if isinstance(began, numbers.Real) else 0.0
        file = {**file, **source.meta, "start_s": began + options.start_s}
    meta: dict[str, Any] = {**file, "sampling_rate": rate, "duration_s": waves.shape[-1] / rate}
    if options.normalize is not None:
        waves, meta["gain_db"] = set_level(waves, rate, normalize=options.normalize)
    meta["peak"] = max(abs(float(bound)) for bound in torch.aminmax(waves))
    if recording.is_truncated:
        meta["truncated"] = True
    return Sample(waves, "audio", meta, id=name)


def _joined(recording: Recording) -> np.ndarray:
    """Return float32 [C, T] of all blocks, held once: hours fit where two copies would not."""
    out = np.empty((recording.channels, max(1, recording.expected)), np.float32)
    filled = 0
    for block in recording.blocks():
        end = filled + len(block)
        if end > out.shape[1]:
            # The header promised less, or nothing.
            more = np.empty((recording.channels, max(len(block), out.shape[1] // 2)), np.float32)
            out = np.concatenate([out, more], axis=1)
        out[:, filled:end] = block.T
        filled = end
    return out if filled == out.shape[1] else out[:, :filled].copy()


def read_audio(source: AudioSource, options: AudioOptions | None = None, **changes: Any) -> Tensor:
    """Return only the samples of :func:`load_audio`, float32 [C, T]; the same arguments."""
    return load_audio(source, options, **changes).value


def probe_audio(source: ByteSource, *, limits: Limits = DEFAULT, show_paths: bool = False) -> AudioInfo:
    """Return what the header of a recording says; nothing is decoded.

    Raises:
        InputError, LimitError, DependencyError: as :func:`load_audio`, for what a header can tell; a file
            that was cut off is not refused here.
    """
    opening = open_source(source, limits=limits, show_paths=show_paths)
    with open_recording(opening, limits=limits) as decoder:
        return decoder.info


@contextlib.contextmanager
def opened(
    source: AudioSource, options: AudioOptions, *, limits: Limits, show_paths: bool, streams: bool = False
) -> Iterator[Recording]:
    """Yield an open recording whose :meth:`Recording.blocks` gives the samples asked for.

    Args:
        streams: whether the blocks are let go one by one, so that ``limits.decoded_bytes`` bounds none of it.
    """
    if streams:
        limits = limits.with_(decoded_bytes=1 << 62)
    array = array_of(source, options.array_rate, limits=limits)
    if array is not None:
        yield Recording(ArrayDecoder(*array), options, limits, "array")
        return
    if isinstance(source, Mapping):
        source = source["bytes"] if source.get("bytes") is not None else source["path"]
    if options.array_rate is not None:
        raise ConfigError("array_rate is for arrays; a file says its own rate. Use rate= to convert.")
    opening = open_source(source, limits=limits, show_paths=show_paths)  # type: ignore[arg-type]
    with open_recording(opening, limits=limits) as decoder:
        yield Recording(decoder, options, limits, opening.name)


class Recording:
    """One pass over an open recording: crop, channels, rate.

    Attributes:
        info: of the file. rate: Hz of the blocks. channels: of the blocks. name: for messages.
        expected: samples of all blocks, as far as the header tells.
        is_truncated: set once :meth:`blocks` has met a cut.
    """

    def __init__(self, decoder: Decoder, options: AudioOptions, limits: Limits, name: str) -> None:
        self.info, self.name = decoder.info, name
        self.rate = int(options.rate or self.info.rate)
        self.channels = 1 if options.mono or options.channel is not None else self.info.channels
        self.is_truncated = False
        self._decoder, self._options, self._limits = decoder, options, limits
        self.first = self._read = 0
        if options.channel is not None and options.channel >= self.info.channels:
            raise InputError(
                f"{name}: channel {options.channel} was asked for; the recording has {self.info.channels}, "
                "counted from 0."
            )
        if decoder.missing is not None:
            self._truncated(decoder.missing)
        self._plan()

    def _plan(self) -> None:
        """Set what to read and which part of the converted samples to keep."""
        start_s, duration_s = self._options.start_s, self._options.duration_s
        known, rates = self.info.frames, (self.info.rate, self.rate)
        if self._decoder.slack is not None and start_s >= self.info.duration_s:
            raise InputError(
                f"{self.name}: start_s {start_s:g} is at or after the end; the recording has "
                f"{self.info.duration_s:.6g} s."
            )
        begin = round(start_s * self.rate)
        self.count = None if duration_s is None else max(1, round(duration_s * self.rate))
        self.first, self._skip = begin, 0
        self._stop: int | None = None
        if rates[0] != rates[1]:
            # Whole periods of both rates, so that the samples of the crop fall on those of the whole.
            common = math.gcd(*rates)
            up, down = rates[1] // common, rates[0] // common
            periods = max(0, begin // up - -(-_MARGIN * max(1, up // down) // up))
            self.first, self._skip = periods * down, begin - periods * up
        if self.count is not None:
            margin = 0 if rates[0] == rates[1] else _MARGIN * max(1, rates[0] // rates[1])
            self._stop = -(-(begin + self.count) * rates[0] // rates[1]) + margin
        last = min(self._stop or known, known) if known else self._stop or 0
        samples = converted_length(
            max(0, last - self.first), from_rate=rates[0], to_rate=rates[1], method=self._options.resample
        )
        samples = samples if self.count is None else min(samples, self.count)
        self.expected = samples
        self._limits.check("decoded_bytes", 4 * samples * self.channels, what=f"{self.name}: decoded bytes")

    def blocks(self) -> Iterator[np.ndarray]:
        """Yield float32 [n, C] at ``rate``, each of at least one sample.

        Raises:
            InputError: cut off, damaged, not finite, or nothing there.
        """
        converter = Converter(
            self.info.rate, self.rate, channels=self.channels, method=self._options.resample
        )
        skip, left, given = self._skip, self.count, 0
        for block, last in self._raw():
            made = converter.push(block, last=last)
            if skip:
                skip, made = max(0, skip - len(made)), made[skip:]
            if left is not None:
                made = made[:left]
                left -= len(made)
            given += len(made)
            self._limits.check("decoded_bytes", 4 * given * self.channels, what=f"{self.name}: decoded bytes")
            if len(made):
                yield made
        if not given:
            raise InputError(
                f"{self.name}: no samples from {self._options.start_s:g} s on; the recording has "
                f"{(self.first + self._read) / self.info.rate:.6g} s at {self.info.rate} Hz."
            )

    def _raw(self) -> Iterator[tuple[np.ndarray, bool]]:
        """Yield (channels as asked for, whether it was the last block)."""
        held = None
        for block in self._decoded():
            if held is not None:
                yield held, False
            held = self._channels(block)
        if held is None:
            return
        # A recording shorter than one sample at the new rate is one sample long, in silence.
        short = -(-self.info.rate // self.rate) - self._read if not self.first else 0
        if short > 0:
            held = np.concatenate([held, np.zeros((short, held.shape[1]), np.float32)])
        yield held, True

    def _decoded(self) -> Iterator[np.ndarray]:
        """Yield checked float32 [n, channels of the file] from ``first`` to the stop."""
        try:
            self._decoder.seek(self.first)
            while self._stop is None or self.first + self._read < self._stop:
                ahead = BLOCK if self._stop is None else min(BLOCK, self._stop - self.first - self._read)
                block = self._decoder.read(ahead)
                if not len(block):
                    break
                self._check_finite(block)
                self._read += len(block)
                seconds = (self.first + self._read) / self.info.rate
                self._limits.check("seconds", seconds, what=f"{self.name}: seconds")
                yield block
        except Broken as error:
            self._truncated(None, str(error))
            return
        slack, reached = self._decoder.slack, self.first + self._read
        expected = self.info.frames if self._stop is None else min(self._stop, self.info.frames)
        if slack is not None and reached + slack < expected:
            self._truncated(1.0 - reached / self.info.frames)

    def _channels(self, block: np.ndarray) -> np.ndarray:
        if self._options.channel is not None:
            return block[:, self._options.channel : self._options.channel + 1]
        if self._options.mono and block.shape[1] > 1:
            return channel_mean(torch.from_numpy(block).T).numpy()[:, None]
        return block

    def _check_finite(self, block: np.ndarray) -> None:
        finite = np.isfinite(block)
        if not finite.all():
            bad = ~finite.all(axis=1)
            at = (self.first + self._read + int(bad.argmax())) / self.info.rate
            raise InputError(
                f"{self.name}: samples are NaN or infinite, the first at {at:.6g} s. Repair the recording, "
                "for example with numpy.nan_to_num, or cut that stretch out."
            )

    def _truncated(self, share: float | None, words: str = "") -> None:
        """Raise, or log and remember, that the file ends before its sound does."""
        at = f"{(self.first + self._read) / self.info.rate:.6g} s"
        if share is None:
            what = f"decoding stops after {at} of {self.info.duration_s:.6g} s ({words.strip('. ')})"
        elif share >= 1.0:
            what = "the end of the sound is missing"
        else:
            what = f"{100 * share:.3g} % of the sound that its header announces is missing"
        if self._options.on_truncated == "error":
            raise InputError(
                f"{self.name}: the file is damaged or cut off: {what}. Copy or download it again, or pass "
                "on_truncated='warn' to take what is there."
            )
        self.is_truncated = True
        _log.warning("%s: the file is damaged or cut off: %s; what is there is used.", self.name, what)
