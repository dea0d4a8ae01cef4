"""Recordings as tensors: one channel, finite, cut into the windows a network sees."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from .errors import InputError
from .types import Sample

if TYPE_CHECKING:
    from .audio_config import AudioProcessing

MAX_CHANNELS = 64
_SCALES = {torch.int8: 2**7, torch.int16: 2**15, torch.int32: 2**31}


def to_channels(values: Any, *, name: str = "audio") -> Tensor:
    """Return samples held as numbers as float32 [C, T]; whether they are finite is not looked at.

    Args:
        values: array or tensor, [T] or [C, T]: floats in [-1, 1], integers of 8, 16 or 32 bits, or unsigned
            8 bits with silence at 128, as in WAV files.
        name: what messages call it.

    Raises:
        InputError: no samples, or another shape or type.
    """
    if isinstance(values, np.ndarray):
        values = _tensor_of(values, name)
    if not isinstance(values, Tensor):
        raise InputError(
            f"{name}: {type(values).__name__} is no recording. Pass a path, a sample or an array."
        )
    kind = str(values.dtype).removeprefix("torch.")
    if not values.is_floating_point() and values.dtype not in (*_SCALES, torch.uint8):
        raise InputError(
            f"{name}: an array of {kind}; expected floats in [-1, 1] or int16, int32, int8 or uint8 samples."
        )
    if values.ndim not in (1, 2):
        raise InputError(f"{name}: {kind} {list(values.shape)}; expected shape [T] or [C, T].")
    if values.ndim == 2 and values.shape[0] > MAX_CHANNELS:
        raise InputError(
            f"{name}: {values.shape[0]} channels of {values.shape[1]} samples; is it [T, C]? Transpose it."
        )
    if not values.numel():
        raise InputError(f"{name} has no samples.")
    if values.dtype == torch.uint8:
        values = (values.float() - 128.0) / 128.0
    elif values.dtype in _SCALES:
        # 32 bits are more than a float32 holds before it is scaled.
        wide = values.double() if values.dtype == torch.int32 else values.float()
        values = wide / _SCALES[values.dtype]
    return torch.atleast_2d(values.float())


def _tensor_of(values: np.ndarray, name: str) -> Tensor:
    # Byte order other than the machine's, and long doubles, are nothing that torch knows.
    if values.dtype.kind == "f" and values.dtype.itemsize > 8:
        values = values.astype(np.float64)
    values = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("="))
    if not values.flags.writeable:
        values = values.copy()
    try:
        return torch.from_numpy(values)
    except TypeError:
        raise InputError(
            f"{name}: an array of {values.dtype}; expected floats in [-1, 1] or int16, int32, int8 or uint8 "
            "samples."
        ) from None


def channel_mean(channels: Tensor) -> Tensor:
    """Return the mean float32 [T] over the channels of float32 [C, T].

    Channels are added one after another in float64: blocks of a recording give the bits of the whole.
    """
    if len(channels) == 1:
        return channels[0]
    total = channels[0].double()
    for channel in channels[1:]:
        total = total + channel
    return (total / len(channels)).float()


def to_wave(item: Any, sampling_rate: int, *, name: str = "audio") -> Tensor:
    """Return a recording as float32 [T], its channels averaged.

    Args:
        item: sample, array or tensor, as for :func:`to_channels`. A sample says its rate; an array is taken
            to be at ``sampling_rate``.
        sampling_rate: Hz that the result has to be at.
        name: what messages call it.

    Raises:
        InputError: no sound, another sampling rate, another shape or type, or values that are not finite.
    """
    if isinstance(item, Sample):
        if item.modality != "audio":
            raise InputError(f"{name}: a sample of {item.modality!r}; expected audio.")
        rate = item.meta.get("sampling_rate", sampling_rate)
        if rate != sampling_rate:
            raise InputError(
                f"{name} is at {rate} Hz and the model takes {sampling_rate} Hz. Load it with "
                f"rate={sampling_rate}, or pass the file itself."
            )
        item = item.value
    wave = channel_mean(to_channels(item, name=name))
    if not torch.isfinite(wave).all():
        raise InputError(f"{name} has samples that are not finite numbers. Repair or leave it out.")
    return wave


def window_starts(samples: int, config: AudioProcessing) -> list[int]:
    """Return where the windows of a recording begin; the last one ends with it and needs no padding."""
    last = samples - config.window_samples
    if last <= 0:
        return [0]
    starts = list(range(0, last, config.hop_samples))
    return [*starts, last]


def pad_wave(wave: Tensor, config: AudioProcessing) -> Tensor:
    """Return a recording [T] of at most one window as exactly one window, by the configured rule."""
    size = config.window_samples
    if config.padding == "repeat":
        wave = wave.repeat(size // len(wave))
    return torch.nn.functional.pad(wave, (0, size - len(wave)))


def cut_windows(wave: Tensor, config: AudioProcessing) -> Tensor:
    """Return the windows float32 [N, window] of a recording [T]."""
    if len(wave) <= config.window_samples:
        return pad_wave(wave, config)[None]
    return torch.stack(
        [wave[start : start + config.window_samples] for start in window_starts(len(wave), config)]
    )


def quantize(waves: Tensor) -> Tensor:
    """Return waves rounded to 16 bits and back, as LAION-CLAP stores its training data."""
    return (waves.clamp(-1.0, 1.0) * 32767.0).to(torch.int16).float() / 32767.0
