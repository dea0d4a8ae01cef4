"""Waveforms to the log-frequency magnitudes CLIPSep looks at, and masks back to linear frequency.

Reference: Dong et al. 2023, CLIPSep (ICLR, arXiv 2212.07065); the frequency axis is that of Zhao et al.
2018, The Sound of Pixels (arXiv 1804.03160).
"""

from __future__ import annotations

import functools
import math
from typing import Literal

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn import functional as F

from ....core.config import Config
from ....core.errors import InputError
from ....core.spectrogram import hann

_FAINTEST = 1e-4
"""Root mean square of magnitudes at about half a step of 16 bits."""
_BASE = 21.0
"""How many times denser the lowest row is than the highest: 4.8 Hz against 94 Hz at 16 kHz."""


class Spectra(Config):
    """The Fourier transform in front of a separator and its frequency axis.

    Shapes: ``F = n_fft / 2 + 1`` linear bins, ``H`` rows of the network, ``T = 1 + samples // hop_length``
    frames. With ``log_frequency`` H is ``rows``, log-spaced from 0 Hz to half the sampling rate; without
    it H is ``n_fft / 2``: the highest bin is left out, because H has to halve many times.
    """

    n_fft: int = Field(default=1024, ge=4, le=65_536, multiple_of=2)
    hop_length: int = Field(default=256, ge=1)
    win_length: int = Field(default=1024, ge=2)
    """Samples of the periodic Hann window, in the middle of ``n_fft``."""
    log_frequency: bool = True
    rows: int = Field(default=256, ge=2, le=4096)
    """Rows of the log-frequency axis; not used without it."""
    epsilon: float = Field(default=1e-10, gt=0.0)
    """Added to magnitudes before the logarithm. At the published 1e-10 exact silence becomes a picture of
    rounding noise; around 1e-4, hidden under 16 bits, it stays flat."""
    level: Literal["as_is", "window"] = "as_is"
    """``window`` divides the magnitudes that one call of the network sees by their root mean square before
    ``epsilon`` is added: then the masks of a quiet recording are those of a loud one."""

    @model_validator(mode="after")
    def _overlaps(self) -> Spectra:
        if self.win_length > self.n_fft:
            raise ValueError(f"win_length {self.win_length} is over n_fft {self.n_fft}")
        if self.hop_length > self.win_length // 2:
            raise ValueError(
                f"hop_length {self.hop_length} is over half of win_length {self.win_length}: "
                "the waveform could not be put together again"
            )
        return self

    @property
    def bins(self) -> int:
        """Linear frequencies F."""
        return self.n_fft // 2 + 1

    @property
    def height(self) -> int:
        """Rows H that the network sees."""
        return self.rows if self.log_frequency else self.n_fft // 2

    def frames(self, samples: int) -> int:
        """Return the frames T of a waveform."""
        return 1 + samples // self.hop_length

    def stft(self, waves: Tensor, *, centered: bool = True) -> Tensor:
        """Return complex64 [..., F, T] of waveforms float32 [..., samples].

        Computed in float64, as librosa does. In float32 the rounding of a loud frame fills its silent bins,
        and the logarithm shows that to the network.

        Args:
            centered: whether frame t is about sample ``t * hop_length``, with zeros beyond the edges; else it
                begins there, and only frames that are full count.
        """
        # Apple's devices have no float64.
        dtype = torch.float32 if waves.device.type == "mps" else torch.float64
        window = torch.hann_window(self.win_length, dtype=dtype, device=waves.device)
        flat = waves.reshape(-1, waves.shape[-1])
        # Buffers of larger batches leave the cache of a CPU: 16 at once took three times as long.
        parts = flat.split(1) if flat.device.type == "cpu" else (flat,)
        spectrum = torch.cat(
            [
                torch.stft(
                    part.to(dtype),
                    self.n_fft,
                    hop_length=self.hop_length,
                    win_length=self.win_length,
                    window=window,
                    center=centered,
                    pad_mode="constant",
                    return_complex=True,
                ).to(torch.complex64)
                for part in parts
            ]
        )
        return spectrum.reshape(*waves.shape[:-1], *spectrum.shape[1:])

    def istft(self, spectrum: Tensor, length: int | None = None) -> Tensor:
        """Return waveforms float32 [..., length] of spectra complex64 [..., F, T].

        Args:
            length: samples of the waveform that was transformed; None gives whole hops,
                ``hop_length * (T - 1)``.
        """
        waves = torch.istft(
            spectrum.reshape(-1, *spectrum.shape[-2:]),
            self.n_fft,
            hop_length=self.hop_length,
            win_length=self.win_length,
            window=hann(self.win_length, spectrum.device),
            center=True,
            length=length,
        )
        return waves.reshape(*spectrum.shape[:-2], waves.shape[-1])

    def mix(self, waves: Tensor) -> tuple[Tensor, Tensor]:
        """Return magnitudes of a mixture [B, 1, F, T] and of its N sources [B, N, F, T].

        Args:
            waves: the sources as they lie in the mixture, float32 [B, N, samples]; their sum is the mixture.
        """
        spectra = self.stft(waves)
        return spectra.sum(dim=1, keepdim=True).abs(), spectra.abs()

    def warp(self, magnitude: Tensor) -> Tensor:
        """Return magnitudes [B, N, H, T] on the network's rows from linear ones [B, N, F, T].

        Raises:
            InputError: another number of bins.
        """
        self._check(magnitude, self.bins, "magnitudes")
        if not self.log_frequency:
            return magnitude[..., : self.height, :]
        return _resample(magnitude, _log_rows(self.rows))

    def unwarp(self, mask: Tensor) -> Tensor:
        """Return masks [B, N, F, T] on linear frequencies from those on the network's rows [B, N, H, T].

        Raises:
            InputError: another number of rows.
        """
        self._check(mask, self.height, "masks")
        if not self.log_frequency:
            return torch.cat([mask, mask[..., -1:, :]], dim=-2)
        return _resample(mask, _linear_rows(self.bins))

    def gather(self, values: Tensor) -> Tensor:
        """Return what each row of a mask decides about, [B, N, H, T], of values of linear bins [B, N, F, T].

        The transpose of :meth:`unwarp`: ``(unwarp(mask) * values).sum() == (mask * gather(values)).sum()``.
        """
        self._check(values, self.bins, "values")
        rows = torch.eye(self.height, device=values.device)[None, None]
        return self.unwarp(rows)[0, 0].T @ values

    def log_magnitude(self, magnitude: Tensor) -> tuple[Tensor, Tensor]:
        """Return warped magnitudes and their natural logarithm, both [B, N, H, T], the network's input.

        Args:
            magnitude: linear, float32 [B, N, F, T].
        """
        if self.level == "window":
            magnitude = magnitude / self._level(magnitude)
        warped = self.warp(magnitude + self.epsilon)
        return warped, warped.log().detach()

    @staticmethod
    def _level(magnitude: Tensor) -> Tensor:
        """Return the root mean square [B, N, 1, 1]; not so small that it would make sound of rounding."""
        return magnitude.square().mean(dim=(-2, -1), keepdim=True).sqrt().clamp(min=_FAINTEST)

    @property
    def silence(self) -> float:
        """The network's input where there is no sound at all."""
        return math.log(self.epsilon)

    def _check(self, values: Tensor, rows: int, what: str) -> None:
        if values.ndim != 4 or values.shape[2] != rows:
            raise InputError(f"{what} must be [B, N, {rows}, T], got {list(values.shape)}.")


@functools.lru_cache(maxsize=32)
def _log_rows(rows: int) -> np.ndarray:
    """Return where each log-spaced row lies on the linear axis, both from -1 (0 Hz) to 1."""
    return (np.power(_BASE, (np.linspace(-1, 1, rows) + 1) / 2) - 11) / 10


@functools.lru_cache(maxsize=32)
def _linear_rows(bins: int) -> np.ndarray:
    """Return where each linear bin lies on the log-spaced axis: the inverse of :func:`_log_rows`."""
    return np.log(np.linspace(-1, 1, bins) * 10 + 11) / np.log(_BASE) * 2 - 1


def _resample(values: Tensor, where: np.ndarray) -> Tensor:
    """Interpolate [B, N, rows, T] at ``where`` along its rows.

    The bilinear sampler of the published model, along frames as well: there it reads a frame at its own
    place up to rounding, and next to digital silence that rounding is part of the published numbers.
    """
    frames = np.linspace(-1, 1, values.shape[-1])
    grid = np.empty((len(where), len(frames), 2), dtype=np.float32)
    grid[..., 0], grid[..., 1] = frames[None, :], where[:, None]
    points = torch.from_numpy(grid).to(values.device).expand(len(values), -1, -1, -1)
    return F.grid_sample(values.float(), points, mode="bilinear", padding_mode="zeros", align_corners=True)
