"""Short-time Fourier transforms and mel spectrograms, by config alone, on any device.

Batches are worked off a few recordings at a time on the CPU: the buffers of larger ones leave the cache,
and 16 recordings at once take about three times as long as one by one.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Hashable
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from .errors import InputError

if TYPE_CHECKING:
    from .audio_config import MelProcessing

_CPU_ROWS = 4


def hz_to_mel(hz: Tensor, *, scale: str = "slaney") -> Tensor:
    """Return mels float64 of frequencies in Hz.

    ``slaney``: linear below 1 kHz (200/3 Hz a mel), logarithmic above (27 mels for a factor of 6.4);
    ``htk``: 2595 log10(1 + f / 700).
    """
    hz = hz.double()
    if scale == "htk":
        return 2595.0 * torch.log10(1.0 + hz / 700.0)
    step = math.log(6.4) / 27.0
    return torch.where(hz < 1000.0, hz * 3.0 / 200.0, 15.0 + torch.log(hz.clamp(min=1e-10) / 1000.0) / step)


def mel_to_hz(mel: Tensor, *, scale: str = "slaney") -> Tensor:
    """Return frequencies in Hz float64 of mels; the inverse of :func:`hz_to_mel`."""
    mel = mel.double()
    if scale == "htk":
        return 700.0 * (10.0 ** (mel / 2595.0) - 1.0)
    step = math.log(6.4) / 27.0
    return torch.where(mel < 15.0, mel * 200.0 / 3.0, 1000.0 * torch.exp(step * (mel - 15.0)))


def mel_filters(config: MelProcessing, sampling_rate: int) -> Tensor:
    """Return triangular filters float32 [n_mels, n_fft / 2 + 1].

    Reference: Slaney, Auditory Toolbox (1998), as librosa builds them; made in float64.
    """
    # Frozen configs are hashable, which pydantic's declared types do not say.
    return _mel_filters(cast("Hashable", config), sampling_rate)


# Cached tensors are made outside of inference mode: made within, they could never take part in training.
@functools.lru_cache(maxsize=32)
@torch.inference_mode(False)
def _mel_filters(key: Hashable, sampling_rate: int) -> Tensor:
    config = cast("MelProcessing", key)
    # Not up to half the rate for an odd n_fft, whose last bin lies below it.
    bins = torch.arange(config.n_fft // 2 + 1, dtype=torch.float64) * (sampling_rate / config.n_fft)
    f_max = sampling_rate / 2 if config.f_max is None else config.f_max
    ends = hz_to_mel(torch.tensor([config.f_min, f_max]), scale=config.scale)
    mels = torch.linspace(float(ends[0]), float(ends[1]), config.n_mels + 2, dtype=torch.float64)
    corners = mel_to_hz(mels, scale=config.scale)
    widths = corners.diff()
    ramps = corners[:, None] - bins[None, :]
    filters = torch.minimum(-ramps[:-2] / widths[:-1, None], ramps[2:] / widths[1:, None]).clamp(min=0.0)
    if config.norm == "slaney":
        filters *= (2.0 / (corners[2:] - corners[:-2]))[:, None]
    return filters.float()


def log_mel(waves: Tensor, config: MelProcessing, sampling_rate: int) -> Tensor:
    """Return mel spectrograms float32 [..., frames, n_mels] of waveforms.

    Args:
        waves: float32 [..., T] in [-1, 1] at ``sampling_rate``.
        config: transform, filters and logarithm.
        sampling_rate: Hz.

    Raises:
        InputError: a recording is shorter than the padding needs.
    """
    flat = waves.reshape(-1, waves.shape[-1])
    rows = len(flat) if flat.is_cuda else _CPU_ROWS
    filters = mel_filters(config, sampling_rate).to(flat.device)
    parts = [_log(_magnitude(part, config) @ filters.T, config) for part in flat.split(rows)]
    mel = torch.cat(parts)
    return mel.reshape(*waves.shape[:-1], *mel.shape[1:])


def frames_of(samples: int, config: MelProcessing) -> int:
    """Return how many frames a waveform of ``samples`` has."""
    if config.padding == "half_reflect":
        return samples // config.hop_length
    return 1 + samples // config.hop_length


@functools.lru_cache(maxsize=32)
@torch.inference_mode(False)
def hann(length: int, device: torch.device) -> Tensor:
    """Return a periodic Hann window float32 [length]."""
    return torch.hann_window(length, periodic=True, device=device)


def _magnitude(waves: Tensor, config: MelProcessing) -> Tensor:
    """Return magnitudes to the configured power [B, frames, n_fft / 2 + 1] of waveforms [B, T]."""
    half = config.padding == "half_reflect"
    pad = (config.n_fft - config.hop_length) // 2 if half else config.n_fft // 2
    reflects = config.padding != "constant"
    if reflects and waves.shape[-1] <= pad:
        raise InputError(
            f"A recording of {waves.shape[-1]} samples is too short: reflecting needs more than {pad}. "
            "Pad it with silence."
        )
    padded = F.pad(waves[:, None], (pad, pad), mode="reflect" if reflects else "constant")[:, 0]
    spectrum = torch.stft(
        padded,
        config.n_fft,
        hop_length=config.hop_length,
        win_length=config.win_length or config.n_fft,
        window=hann(config.win_length or config.n_fft, waves.device),
        center=False,
        return_complex=True,
    ).transpose(1, 2)
    squared = torch.view_as_real(spectrum).square().sum(dim=-1)
    if config.magnitude_offset:
        squared = squared + config.magnitude_offset
    return squared if config.power == 2 else squared.sqrt()


def _log(mel: Tensor, config: MelProcessing) -> Tensor:
    if config.log == "none":
        return mel
    clamped = mel.clamp(min=config.floor)
    return 10.0 * clamped.log10() if config.log == "db" else clamped.log()
