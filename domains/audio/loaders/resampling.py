"""Rate conversion: soxr for files, a windowed sinc in torch for batches on a device and for parity.

``soxr_hq`` is the default: faster than every other good method and free of audible aliasing. ``kaiser64`` is
the clean one that runs on any device and has gradients. ``torchaudio`` is the short filter that library
converts with by default; it lets tones just above the new limit through at -11 dB and exists only for
checkpoints whose authors used it.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ....core.errors import ConfigError, InputError, nearest, require


@dataclass(frozen=True)
class SincFilter:
    """A windowed sinc.

    Attributes:
        width: zero crossings on each side. rolloff: cutoff as a share of the lower half rate.
        beta: of the Kaiser window; None is a Hann window.
    """

    width: int
    rolloff: float
    beta: float | None


SOXR = {"soxr_hq": "HQ", "soxr_vhq": "VHQ", "soxr_mq": "MQ"}
SINC = {
    "kaiser64": SincFilter(64, 0.9475937167399596, 14.769656459379492),
    "torchaudio": SincFilter(6, 0.99, None),
}
METHODS = (*SOXR, *SINC)
_MAX_TAPS = 1 << 24
_CHUNK = 32_768
"""Input samples a sinc converts at once; always the same, so that blocks do not matter."""


def check_method(method: str) -> str:
    """Return ``method`` or raise ConfigError naming the known ones."""
    if method not in METHODS:
        raise ConfigError(
            f"Unknown resampling {method!r}; known: {', '.join(METHODS)}.{nearest(method, METHODS)}"
        )
    return method


def converted_length(samples: int, *, from_rate: int, to_rate: int, method: str = "soxr_hq") -> int:
    """Return how many samples a conversion gives: rounded to the nearest by soxr, upwards by the sincs."""
    if method in SINC:
        return -(-samples * to_rate // from_rate)
    return (2 * samples * to_rate + from_rate) // (2 * from_rate)


def resample(waves: Tensor, *, from_rate: int, to_rate: int, method: str = "kaiser64") -> Tensor:
    """Return waveforms at another rate, float32 [..., T'], ``T' = converted_length(T, ...)``.

    The sinc methods run on the device of ``waves`` and have gradients; soxr runs on the CPU and has none.

    Args:
        waves: float32 [..., T].
        from_rate, to_rate: Hz.
        method: one of :data:`METHODS`.

    Raises:
        ConfigError: unknown method. InputError: soxr asked for gradients, or a ratio with too many phases.

    Reference: Smith, Digital Audio Resampling, https://ccrma.stanford.edu/~jos/resample/ (sinc methods).
    """
    check_method(method)
    if from_rate == to_rate:
        return waves
    flat = waves.reshape(-1, waves.shape[-1])
    if method in SOXR:
        if waves.requires_grad:
            raise InputError(f"{method!r} has no gradient. Use method='kaiser64'.")
        soxr = require("soxr", extra="audio")
        rows = [
            soxr.resample(row, from_rate, to_rate, quality=SOXR[method]) for row in flat.float().cpu().numpy()
        ]
        made = torch.from_numpy(np.stack(rows)).to(waves.device)
    else:
        kernel, width, down = _kernel(from_rate, to_rate, SINC[method])
        made = _convolve(F.pad(flat, (width, width + down)), kernel.to(flat), down)
        count = converted_length(flat.shape[-1], from_rate=from_rate, to_rate=to_rate, method=method)
        made = made[:, :count]
    return made.reshape(*waves.shape[:-1], made.shape[-1])


def _convolve(padded: Tensor, kernel: Tensor, down: int) -> Tensor:
    """Return [B, steps * up] of padded waveforms [B, T]: one output channel per phase, interleaved."""
    phases = F.conv1d(padded[:, None], kernel[:, None], stride=down)
    return phases.transpose(1, 2).reshape(len(padded), -1)


# Cached tensors are made outside of inference mode: made within, they could never take part in training.
@functools.lru_cache(maxsize=16)
@torch.inference_mode(False)
def _kernel(from_rate: int, to_rate: int, sinc: SincFilter) -> tuple[Tensor, int, int]:
    """Return (filters float32 [up, taps], samples they reach to the left, down)."""
    common = math.gcd(from_rate, to_rate)
    up, down = to_rate // common, from_rate // common
    cutoff = min(up, down) * sinc.rolloff
    width = math.ceil(sinc.width * down / cutoff)
    taps = 2 * width + down
    if up * taps > _MAX_TAPS:
        raise InputError(
            f"{from_rate} to {to_rate} Hz needs {up} filters of {taps} taps, because the rates share no "
            "large divisor. Use resample='soxr_hq'."
        )
    # Time of each tap before each phase, in zero crossings of the sinc.
    taps_at = torch.arange(-width, width + down, dtype=torch.float64) / down
    phases = torch.arange(0, -up, -1, dtype=torch.float64)[:, None] / up
    time = ((phases + taps_at) * cutoff).clamp(-sinc.width, sinc.width)
    if sinc.beta is None:
        window = torch.cos(time * math.pi / sinc.width / 2) ** 2
    else:
        beta = torch.tensor(sinc.beta, dtype=torch.float64)
        window = torch.i0(beta * torch.sqrt(1 - (time / sinc.width) ** 2)) / torch.i0(beta)
    return (torch.sinc(time) * window * (cutoff / down)).float(), width, down


class Converter:
    """Conversion block by block; the joined result is the same bit for bit, whatever the blocks.

    Args:
        from_rate, to_rate: Hz. channels: C. method: one of :data:`METHODS`.
    """

    def __init__(self, from_rate: int, to_rate: int, *, channels: int, method: str) -> None:
        check_method(method)
        self.rates = (from_rate, to_rate)
        self._method = method
        self._soxr: Any = None
        self._taken = self._given = 0
        if from_rate == to_rate:
            return
        if method in SOXR:
            soxr = require("soxr", extra="audio")
            self._soxr = soxr.ResampleStream(
                from_rate, to_rate, channels, dtype="float32", quality=SOXR[method]
            )
        else:
            self._kernel, self._width, self._down = _kernel(from_rate, to_rate, SINC[method])
            self._step = max(1, _CHUNK // self._down) * self._down
            self._held = np.zeros((self._width, channels), np.float32)

    def push(self, block: np.ndarray, *, last: bool = False) -> np.ndarray:
        """Return what can be said after another block: float32 [m, C] of [n, C]; the rest with ``last``."""
        if self.rates[0] == self.rates[1]:
            return block
        if self._soxr is not None:
            return self._soxr.resample_chunk(np.ascontiguousarray(block), last=last)
        return self._push_sinc(block, last)

    def _push_sinc(self, block: np.ndarray, last: bool) -> np.ndarray:
        self._taken += len(block)
        reach = 2 * self._width + self._down
        held = np.concatenate([self._held, block])
        if last:
            # Whole steps of silence behind the end: every piece has the same size, so the same arithmetic.
            held = np.concatenate([held, np.zeros((reach + self._step, held.shape[1]), np.float32)])
        made = []
        while len(held) >= self._step + reach - self._down:
            piece = torch.from_numpy(np.ascontiguousarray(held[: self._step + reach - self._down].T))
            made.append(_convolve(piece, self._kernel, self._down).T.numpy())
            held = held[self._step :]
        self._held = held
        joined = np.concatenate(made) if made else np.zeros((0, held.shape[1]), np.float32)
        if last:
            before, after = self.rates
            wanted = converted_length(self._taken, from_rate=before, to_rate=after, method=self._method)
            joined = joined[: wanted - self._given]
        self._given += len(joined)
        return joined
