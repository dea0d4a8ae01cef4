"""Masks for recordings of any length: windows of the network's size, cross-faded, on one grid of frames.

The Fourier transform runs over the whole recording as one; only the masks are made window by window. Frame t
of a window has the weight of a triangle over it, and where windows overlap, the mask is the weighted mean of
theirs. So the waveform has no borders, and a recording gives the same bits however it is fed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ....core.errors import ConfigError, InputError
from ....core.spectrogram import hann
from .model import ClipSep
from .spectra import Spectra

WINDOWS_AT_ONCE = 2
"""Fixed, because the last bits of a convolution depend on the size of its batch. On a CPU more are no faster
and take 35 MB each."""
_BLOCK = 1 << 20

Masks = Callable[[Tensor], Tensor]
"""From magnitudes float32 [B, 1, F, T] of windows to masks float32 [B, Q, F, T] on linear frequencies."""


def query_masks(network: ClipSep, queries: Tensor | None, *, hard: bool = False) -> Masks:
    """Return how windows become masks: one pass of the U-Net for all queries.

    Args:
        network: in evaluation mode.
        queries: float [Q, D] or int64 [Q], or None for the kind ``pit``.
        hard: cut masks at 0.5 to 0 or 1, after they are on linear frequencies.
    """
    queries = None if queries is None else queries.to(network.device)

    def masks(magnitude: Tensor) -> Tensor:
        frames, window = magnitude.shape[-1], network.options.frames
        if frames < window:
            # Silence at the end of a short recording is nothing that training shows; its repetition is.
            magnitude = magnitude.repeat(1, 1, 1, -(-window // frames))[..., :window]
        _, log_magnitude = network.spectra.log_magnitude(magnitude.to(network.device))
        linear = network.spectra.unwarp(network.masks(log_magnitude, queries)).cpu()
        linear = linear[..., :frames]
        return (linear > 0.5).float() if hard else linear

    return masks


def separate_wave(
    network: ClipSep, wave: Tensor, queries: Tensor | None, *, hard: bool = False, overlap: float = 0.5
) -> Tensor:
    """Return what answers each query, float32 [Q, C, T], of a recording float32 [C, T] at the network's rate.

    Args:
        network, queries, hard: see :func:`query_masks`. overlap: see :class:`MaskStream`.
    """
    stream = MaskStream(
        network.spectra,
        query_masks(network, queries, hard=hard),
        queries=2 if queries is None else len(queries),
        frames=network.options.frames,
        overlap=overlap,
        channels=len(wave),
    )
    parts = [stream.push(block) for block in wave.split(_BLOCK, dim=-1)]
    return torch.cat([*parts, stream.finish()], dim=-1)


def _magnitude(spectrum: Tensor) -> Tensor:
    """Return the magnitude [F, T] of channels [C, F, T]: the root of their mean power.

    In the mean of their samples, channels of opposite sign would cancel.
    """
    return spectrum[0].abs() if len(spectrum) == 1 else spectrum.abs().square().mean(dim=0).sqrt()


@dataclass(frozen=True)
class _Pending:
    """What windows that were worked off already say about frames that are not finished.

    Attributes:
        masks: sum of weighted masks [Q, F, frames]. weights: sum of weights [frames].
        samples: sum of windowed samples [Q * C, samples]. envelope: sum of squared windows [samples].
    """

    masks: Tensor
    weights: Tensor
    samples: Tensor
    envelope: Tensor


class MaskStream:
    """Takes samples in, gives masked samples out, with bounded memory.

    Args:
        spectra: the transform.
        masks: see :data:`Masks`; called with up to :data:`WINDOWS_AT_ONCE` windows of one length.
        queries: Q of the masks.
        frames: T of a window.
        overlap: share of a window that the next one covers too, in [0, 0.5].
        channels: C of the samples; masks are made from their mean power and applied to each.

    Raises:
        ConfigError: ``overlap`` is out of range.

    Example::

        stream = MaskStream(network.spectra, query_masks(network, queries), queries=2, frames=256)
        out = torch.cat([*(stream.push(block) for block in blocks), stream.finish()], dim=-1)
    """

    def __init__(
        self,
        spectra: Spectra,
        masks: Masks,
        *,
        queries: int,
        frames: int,
        overlap: float = 0.5,
        channels: int = 1,
    ) -> None:
        if not 0 <= overlap <= 0.5:
            raise ConfigError(f"overlap is 0 to 0.5 of a window, got {overlap:g}.")
        self._spectra, self._masks = spectra, masks
        self._queries, self._frames, self._channels = queries, frames, channels
        self._step = max(1, round(frames * (1 - overlap)))
        self._half = spectra.n_fft // 2
        margin = spectra.n_fft - spectra.win_length
        self._window = F.pad(
            hann(spectra.win_length, torch.device("cpu")), (margin // 2, margin - margin // 2)
        )
        # Frames are centred: the first one begins half a transform before the first sample.
        self._held = torch.zeros(channels, self._half)
        self._first = self._taken = self._given = 0
        self._pending: _Pending | None = None

    def push(self, samples: Tensor) -> Tensor:
        """Return what is ready, float32 [Q, C, n], after further samples float32 [C, m]; n may be 0.

        Raises:
            InputError: another number of channels.
        """
        if samples.ndim != 2 or len(samples) != self._channels:
            raise InputError(f"Expected samples [{self._channels}, T], got {list(samples.shape)}.")
        self._taken += samples.shape[-1]
        # Transforms run on the CPU, which has float64 wherever the network may be.
        self._held = torch.cat([self._held, samples.to(self._held)], dim=-1)
        hop, out = self._spectra.hop_length, []
        # A frame after the group exists, so the group is not the last, and its own samples are all here.
        while self._taken >= max(self._reach * hop, (self._reach - 1) * hop + self._half):
            out.append(self._work_off(WINDOWS_AT_ONCE))
        return torch.cat(out, dim=-1) if out else self._nothing()

    def finish(self) -> Tensor:
        """Return the rest, float32 [Q, C, n]: altogether as many samples as went in."""
        if not self._taken:
            return self._nothing()
        self._held = F.pad(self._held, (0, self._half))
        total, out = self._spectra.frames(self._taken), []
        while total > self._reach:
            out.append(self._work_off(WINDOWS_AT_ONCE))
        left = total - self._first
        windows = 1 + max(0, -(-(left - self._frames) // self._step))
        out.append(self._work_off(windows, last=left))
        return torch.cat(out, dim=-1)

    @property
    def _reach(self) -> int:
        """Frame after the next full group of windows."""
        return self._first + (WINDOWS_AT_ONCE - 1) * self._step + self._frames

    def _nothing(self) -> Tensor:
        return torch.zeros(self._queries, self._channels, 0)

    def _work_off(self, windows: int, *, last: int | None = None) -> Tensor:
        """Return the samples that a group of windows finishes; ``last``: how many frames are left in all."""
        hop = self._spectra.hop_length
        count = (windows - 1) * self._step + self._frames if last is None else last
        spectrum = self._spectrum(count)
        masks, weights = self._weighted(_magnitude(spectrum), windows)
        done = count if last is not None else windows * self._step
        mask = masks[..., :done] / weights[:done]
        masked = mask[:, None] * spectrum[None, ..., :done]
        samples, envelope = self._overlapped(masked.flatten(0, 1))
        ready = samples.shape[-1] if last is not None else done * hop
        wave = (samples[:, :ready] / envelope[:ready].clamp(min=1e-11)).view(len(mask), self._channels, -1)
        # The first half transform lies before the recording, and the end of the last frame behind it.
        start = self._half if self._first == 0 else 0
        wave = wave[..., start:][..., : self._taken - self._given]
        self._pending = _Pending(
            masks[..., done:].clone(),
            weights[done:].clone(),
            samples[:, done * hop :].clone(),
            envelope[done * hop :].clone(),
        )
        self._first += done
        self._given += wave.shape[-1]
        self._held = self._held[:, done * hop :].clone()
        return wave

    def _spectrum(self, frames: int) -> Tensor:
        """Return complex64 [C, F, frames] of the held samples."""
        spectra = self._spectra
        needed = (frames - 1) * spectra.hop_length + spectra.n_fft
        held = F.pad(self._held[:, :needed], (0, max(0, needed - self._held.shape[-1])))
        return spectra.stft(held, centered=False)

    def _weighted(self, magnitude: Tensor, windows: int) -> tuple[Tensor, Tensor]:
        """Return sums of weighted masks [Q, F, frames] and of weights [frames] of magnitudes [F, frames]."""
        count = magnitude.shape[-1]
        starts = [number * self._step for number in range(windows)]
        if windows > 1:
            # The last window reaches back rather than past the end.
            starts[-1] = min(starts[-1], count - self._frames)
        length = min(self._frames, count)
        views = torch.stack([magnitude[:, start : start + length] for start in starts])[:, None]
        found = self._masks(views)
        rise = torch.arange(1, length + 1, dtype=torch.float32)
        triangle = torch.minimum(rise, rise.flip(0))
        masks = torch.zeros(*found.shape[1:3], count)
        weights = torch.zeros(count)
        if self._pending is not None:
            old = min(self._pending.weights.shape[0], count)
            masks[..., :old] = self._pending.masks[..., :old]
            weights[:old] = self._pending.weights[:old]
        for start, mask in zip(starts, found, strict=True):
            masks[..., start : start + length] += triangle * mask
            weights[start : start + length] += triangle
        return masks, weights

    def _overlapped(self, spectra: Tensor) -> tuple[Tensor, Tensor]:
        """Return overlapping windowed samples [N, n] and squared windows [n], with what was pending."""
        hop, size = self._spectra.hop_length, self._spectra.n_fft
        frames = spectra.shape[-1]
        length = (frames - 1) * hop + size
        parts = torch.fft.irfft(spectra, n=size, dim=-2) * self._window[:, None]
        squares = self._window.square()[None, :, None].expand(1, -1, frames)
        samples, envelope = (
            F.fold(part, (1, length), (1, size), stride=(1, hop))[:, 0, 0] for part in (parts, squares)
        )
        if self._pending is not None:
            old = min(self._pending.samples.shape[-1], length)
            samples[:, :old] += self._pending.samples[:, :old]
            envelope[:, :old] += self._pending.envelope[:old]
        return samples, envelope[0]
