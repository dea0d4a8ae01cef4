"""A waveform for a mel spectrogram without a trained vocoder: magnitudes first, then phases that agree."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from ....core.audio_config import MelProcessing
from ....core.errors import InputError
from ....core.spectrogram import hann, mel_filters

_MAGNITUDE_STEPS = 30
_TINY = 1e-10
_AT_FLOOR = 0.1
"""Mel values up to this much (in ln) above the floor are silence."""


def magnitudes(log_mel: Tensor, mel: MelProcessing, sampling_rate: int) -> Tensor:
    """Return non-negative magnitudes float32 [B, n_fft / 2 + 1, T] whose mel spectrogram is ``log_mel``.

    Least squares by multiplicative updates from the clipped pseudo-inverse.

    Args:
        log_mel: natural logarithm of mel magnitudes, float32 [B, n_mels, T].
        mel: settings it was made with. sampling_rate: Hz.

    Reference: Lee and Seung, "Algorithms for Non-negative Matrix Factorization", 2001.
    """
    values = log_mel.exp()
    values = values.masked_fill(log_mel <= math.log(mel.floor) + _AT_FLOOR, 0.0)
    filters = mel_filters(mel, sampling_rate).to(log_mel.device)  # pyright: ignore[reportArgumentType]
    found = (torch.linalg.pinv(filters.double()).float() @ values).clamp(min=1e-8)
    back = filters.T @ values
    for _ in range(_MAGNITUDE_STEPS):
        found = found * back / (filters.T @ (filters @ found)).clamp(min=_TINY)
    return found


def griffin_lim(
    log_mel: Tensor,
    mel: MelProcessing,
    sampling_rate: int,
    *,
    generators: list[torch.Generator],
    iterations: int = 48,
    momentum: float = 0.99,
) -> Tensor:
    """Return waveforms float32 [B, T * hop_length] for mel spectrograms, the same for equal generators.

    Args:
        log_mel: natural logarithm of mel magnitudes, float32 [B, n_mels, T].
        mel: settings it was made with; padding ``half_reflect`` and power 1. sampling_rate: Hz.
        generators: one per row, on the CPU; they draw the phases that the search begins with.
        iterations: rounds between spectrogram and waveform.
        momentum: how far each round goes beyond the last, in [0, 1).

    Raises:
        InputError: another shape, another number of generators, or values that are not finite.

    Reference: Griffin and Lim, "Signal Estimation from Modified Short-Time Fourier Transform", 1984;
    Perraudin et al., "A Fast Griffin-Lim Algorithm", 2013.
    """
    if log_mel.ndim != 3 or log_mel.shape[1] != mel.n_mels or not log_mel.shape[2]:
        raise InputError(f"Expected a log-mel [B, {mel.n_mels}, frames], got {list(log_mel.shape)}.")
    if len(generators) != len(log_mel):
        raise InputError(f"{len(log_mel)} spectrograms need as many generators, got {len(generators)}.")
    if not torch.isfinite(log_mel).all():
        raise InputError("The log-mel has NaN or infinite values; silence is ln(floor).")
    size = magnitudes(log_mel, mel, sampling_rate)
    turns = torch.stack([torch.rand(size.shape[1:], generator=one) for one in generators]).to(size.device)
    phases = torch.polar(torch.ones_like(turns), 2 * math.pi * turns)
    frame = _Frames(mel, size.shape[2], size.device)
    before = torch.zeros_like(phases)
    for _ in range(iterations):
        found = frame.analyze(frame.synthesize(size * phases))
        pushed = found - momentum / (1 + momentum) * before
        before = found
        phases = pushed / pushed.abs().clamp(min=_TINY)
    edge = (mel.n_fft - mel.hop_length) // 2
    wave = frame.synthesize(size * phases)
    return wave[:, edge : edge + size.shape[2] * mel.hop_length]


class _Frames:
    """Spectrum and waveform of a fixed number of frames, the padding at both ends included."""

    def __init__(self, mel: MelProcessing, count: int, device: torch.device) -> None:
        self.size, self.hop, self.count = mel.n_fft, mel.hop_length, count
        length = mel.win_length or mel.n_fft
        left = (mel.n_fft - length) // 2
        window = hann(length, device)
        self.window = F.pad(window, (left, mel.n_fft - length - left))
        self.samples = (count - 1) * self.hop + self.size
        squares = self.window.square()[None, :, None].expand(1, -1, count)
        # The first and last samples are under the foot of one window only.
        self.overlap = self._add(squares).clamp(min=1e-3)

    def _add(self, frames: Tensor) -> Tensor:
        """Return [B, samples] of overlapping frames [B, n_fft, T]."""
        return F.fold(frames, (1, self.samples), (1, self.size), stride=(1, self.hop))[:, 0, 0]

    def synthesize(self, spectrum: Tensor) -> Tensor:
        """Return waveforms [B, samples] of complex [B, n_fft / 2 + 1, T], by least squares."""
        frames = torch.fft.irfft(spectrum, n=self.size, dim=1) * self.window[None, :, None]
        return self._add(frames) / self.overlap

    def analyze(self, waves: Tensor) -> Tensor:
        """Return complex [B, n_fft / 2 + 1, T] of waveforms [B, samples]."""
        frames = waves.unfold(1, self.size, self.hop) * self.window
        return torch.fft.rfft(frames, dim=2).transpose(1, 2)
