"""Recordings as tensors: one channel, finite, cut into the windows a network sees."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from .errors import InputError
from .types import Sample

if TYPE_CHECKING:
    from .config import AudioProcessing

_SCALES = {torch.int16: 2**15, torch.int32: 2**31}


def to_wave(item: Any, sampling_rate: int, *, name: str = "audio") -> Tensor:
    """Return a recording as float32 [T], its channels averaged.

    Args:
        item: sample, array or tensor, [T] or [C, T]: floats in [-1, 1], or integers of 16 or 32 bits.
            A sample says its rate; an array is taken to be at ``sampling_rate``.
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
    if isinstance(item, np.ndarray):
        item = torch.from_numpy(np.ascontiguousarray(item))
    if not isinstance(item, Tensor):
        raise InputError(f"{name}: {type(item).__name__} is no recording. Pass a path, a sample or an array.")
    if item.dtype in _SCALES:
        item = item.double() / _SCALES[item.dtype]
    if not item.is_floating_point() or item.ndim not in (1, 2):
        raise InputError(
            f"{name}: {str(item.dtype).removeprefix('torch.')} {list(item.shape)}; expected floats or 16-bit "
            "integers of shape [T] or [C, T]."
        )
    if item.ndim == 2 and item.shape[0] > 64:
        raise InputError(
            f"{name}: {item.shape[0]} channels of {item.shape[1]} samples; is it [T, C]? Transpose it."
        )
    if not item.numel():
        raise InputError(f"{name} has no samples.")
    wave = (item if item.ndim == 1 else item.double().mean(dim=0)).float()
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
