"""Films as training items without files in between: a few frames and the sound around them."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import Dataset

from ....core.errors import ConfigError, DataError, InputError
from ....core.limits import DEFAULT, Limits
from ....core.video import probe_video
from .audio import load_audio, probe_audio
from .video import extract_frames


@dataclass(frozen=True)
class ClipSampling:
    """Which part of a film an item is.

    Attributes:
        frames: per item, odd; the middle one is at the centre of the sound.
        stride: from one to the next, in frames at ``fps``. fps: frames per second of film.
        size: side of the square frames. rate: Hz.
        samples: of sound, odd; 65 535 at 16 kHz are 4.096 s and give CLIPSep 256 spectrogram frames.
        margin: frames that a random centre keeps from both ends; None is 3 seconds' worth.
    """

    frames: int = 3
    stride: int = 1
    fps: float = 1.0
    size: int = 224
    rate: int = 16_000
    samples: int = 65_535
    margin: int | None = None

    def __post_init__(self) -> None:
        if self.frames < 1 or self.frames % 2 == 0 or self.samples < 3 or self.samples % 2 == 0:
            raise ConfigError(
                f"frames and samples are odd, to have a middle; got {self.frames} and {self.samples}."
            )
        if not (self.fps > 0 and self.stride > 0 and self.size > 0 and self.rate > 0):
            raise ConfigError(f"fps, stride, size and rate are over 0; got {self}.")


@dataclass(frozen=True)
class VideoClip:
    """One item.

    Attributes:
        frames: uint8 [N, 3, size, size], in order of time. sound: float32 [T] at the sampling's rate.
        center: number of the middle frame, from 1. label, id: of the film.
    """

    frames: Tensor
    sound: Tensor
    center: int
    label: str
    id: str


class VideoAudioDataset(Dataset[VideoClip]):
    """Films with labels; item i is the middle of film i, :meth:`draw` a random part of it.

    Args:
        films: (file, label).
        sampling: see :class:`ClipSampling`.
        limits: ceilings of each film.

    Raises:
        DataError: no films.

    Reference: Dong et al. 2023, CLIPSep, section 4: 3 frames and 4.1 s of sound.
    """

    def __init__(
        self,
        films: Sequence[tuple[str | os.PathLike[str], str]],
        sampling: ClipSampling | None = None,
        *,
        limits: Limits = DEFAULT,
    ) -> None:
        if not films:
            raise DataError("There are no films.")
        self.films = [(os.fspath(path), label) for path, label in films]
        self.sampling = sampling or ClipSampling()
        self.limits = limits

    def __len__(self) -> int:
        return len(self.films)

    def __getitem__(self, index: int) -> VideoClip:
        return self.clip(index, None)

    def draw(self, index: int, generator: torch.Generator) -> VideoClip:
        """Return a random part of film ``index``; a film too short for the margin gives its middle."""
        return self.clip(index, generator)

    def clip(self, index: int, generator: torch.Generator | None) -> VideoClip:
        """Return the part of a film around its middle or, with a generator, around a random frame.

        Raises:
            InputError: the film has no picture or no sound, or is damaged there.
        """
        path, label = self.films[index]
        sampling = self.sampling
        duration_s = probe_video(path, limits=self.limits).duration_s
        count = max(1, math.floor(duration_s * sampling.fps + 0.5))
        margin = math.ceil(3 * sampling.fps) if sampling.margin is None else sampling.margin
        center = max(1, count // 2)
        if generator is not None and count >= 2 * margin + 1:
            center = int(torch.randint(margin + 1, count - margin + 1, (1,), generator=generator))
        half = sampling.frames // 2
        steps = [center + sampling.stride * offset for offset in range(-half, half + 1)]
        times = [(min(max(step, 1), count) - 0.5) / sampling.fps for step in steps]
        times = [min(time, duration_s) for time in times]
        frames = extract_frames(path, times=times, size=sampling.size, limits=self.limits).pixels
        return VideoClip(frames, self._sound(path, center), center, label, os.path.basename(path))

    def _sound(self, path: str, center: int) -> Tensor:
        """Return float32 [samples] around the middle frame; zeros where the film has not begun or is over."""
        sampling, half = self.sampling, self.sampling.samples // 2
        middle = int((center - 0.5) / sampling.fps * sampling.rate)
        info = probe_audio(path, limits=self.limits)
        if round(info.duration_s * sampling.rate) < sampling.samples:
            wave = load_audio(path, rate=sampling.rate, limits=self.limits).value[0]
            return window_around(wave, middle, samples=sampling.samples)
        start = max(0, middle - half)
        wave = load_audio(
            path,
            rate=sampling.rate,
            start_s=start / sampling.rate,
            duration_s=(middle + half - start) / sampling.rate,
            limits=self.limits,
        ).value[0]
        out = wave.new_zeros(sampling.samples)
        left = start - (middle - half)
        out[left : left + len(wave)] = wave
        return out


def window_around(wave: Tensor, center: int, *, samples: int) -> Tensor:
    """Return float32 [samples] of a recording [T] around a sample, zeros outside of it.

    A recording shorter than the window is repeated first. As in the reference, the window reaches
    ``samples // 2`` to each side without the last sample, which stays 0.

    Raises:
        InputError: the recording is empty.
    """
    if not len(wave):
        raise InputError("A recording without samples has no window.")
    if len(wave) < samples:
        wave = wave.repeat(-(-samples // len(wave)))
    half = samples // 2
    first, end = center - half, center + half
    out = wave.new_zeros(samples)
    part = wave[max(0, first) : max(0, min(end, len(wave)))]
    left = max(0, -first)
    out[left : left + len(part)] = part
    return out
