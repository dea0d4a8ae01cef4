"""Noise schedule of the diffusion prior: adding noise, taking it off, and steps of the samplers.

Reference: Ho et al., "Denoising Diffusion Probabilistic Models", 2020; Nichol and Dhariwal, "Improved
Denoising Diffusion Probabilistic Models", 2021 (the cosine schedule); lucidrains/DALLE2-pytorch,
``NoiseScheduler``.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Schedule = Literal["cosine", "linear", "quadratic", "sigmoid", "jsd"]
_LARGEST_BETA = 0.999
_SMALLEST_VARIANCE = 1e-20


def betas(schedule: Schedule, steps: int) -> Tensor:
    """Return how much variance each of ``steps`` steps adds, float64 [steps]."""
    if schedule == "cosine":
        time = torch.linspace(0, steps, steps + 1, dtype=torch.float64) / steps
        kept = torch.cos((time + 0.008) / 1.008 * math.pi * 0.5).square()
        kept = kept / kept[0]
        return (1 - kept[1:] / kept[:-1]).clamp(0, _LARGEST_BETA)
    if schedule == "jsd":
        return 1 / torch.linspace(steps, 1, steps, dtype=torch.float64)
    # The usual ends, 0.0001 and 0.02 for 1,000 steps, whatever the number of steps.
    low, high = 0.1 / steps, 20 / steps
    if schedule == "linear":
        return torch.linspace(low, high, steps, dtype=torch.float64)
    if schedule == "quadratic":
        return torch.linspace(low**0.5, high**0.5, steps, dtype=torch.float64).square()
    return torch.sigmoid(torch.linspace(-6, 6, steps, dtype=torch.float64)) * (high - low) + low


@dataclass(frozen=True)
class NoiseSchedule:
    """Coefficients of every step t, float32 [steps], on the CPU.

    Attributes:
        signal, noise: a sample at t is ``signal[t] * x0 + noise[t] * e``.
        inverse_signal, inverse_ratio: ``x0 = inverse_signal[t] * x_t - inverse_ratio[t] * e``.
        kept_before: squared signal before t; 1 for the first.
        mean_x0, mean_xt, log_variance: the posterior of x_{t-1} given x_t and x0.
    """

    signal: Tensor
    noise: Tensor
    inverse_signal: Tensor
    inverse_ratio: Tensor
    kept_before: Tensor
    mean_x0: Tensor
    mean_xt: Tensor
    log_variance: Tensor

    def noised(self, x0: Tensor, times: Tensor, noise: Tensor) -> Tensor:
        """Return ``x0`` [B, D] with noise [B, D] of step ``times`` int64 [B]."""
        return _at(self.signal, times, x0) * x0 + _at(self.noise, times, x0) * noise

    def velocity(self, x0: Tensor, times: Tensor, noise: Tensor) -> Tensor:
        """Return v = signal * noise - noise level * x0, [B, D]."""
        return _at(self.signal, times, x0) * noise - _at(self.noise, times, x0) * x0

    def x0_of_velocity(self, noisy: Tensor, times: Tensor, velocity: Tensor) -> Tensor:
        """Return the clean [B, D] that ``velocity`` implies."""
        return _at(self.signal, times, noisy) * noisy - _at(self.noise, times, noisy) * velocity

    def x0_of_noise(self, noisy: Tensor, times: Tensor, noise: Tensor) -> Tensor:
        """Return the clean [B, D] that ``noise`` implies."""
        ratio = _at(self.inverse_ratio, times, noisy)
        return _at(self.inverse_signal, times, noisy) * noisy - ratio * noise

    def noise_of_x0(self, noisy: Tensor, times: Tensor, x0: Tensor) -> Tensor:
        """Return the noise [B, D] that a clean ``x0`` implies."""
        ratio = _at(self.inverse_ratio, times, noisy)
        return (_at(self.inverse_signal, times, noisy) * noisy - x0) / ratio

    def posterior(self, x0: Tensor, noisy: Tensor, times: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean [B, D] and clipped log variance [B, 1] one step before ``times``."""
        mean = _at(self.mean_x0, times, noisy) * x0 + _at(self.mean_xt, times, noisy) * noisy
        return mean, _at(self.log_variance, times, noisy)


@functools.lru_cache(maxsize=16)
def noise_schedule(schedule: Schedule, steps: int) -> NoiseSchedule:
    """Return the coefficients of ``steps`` steps; made in float64, kept in float32."""
    # Called under inference mode first, the cached tensors could never take part in training.
    with torch.inference_mode(False):
        beta = betas(schedule, steps)
        kept = torch.cumprod(1 - beta, dim=0)
        before = torch.cat([torch.ones(1, dtype=torch.float64), kept[:-1]])
        variance = beta * (1 - before) / (1 - kept)
        return NoiseSchedule(
            signal=kept.sqrt().float(),
            noise=(1 - kept).sqrt().float(),
            inverse_signal=(1 / kept).sqrt().float(),
            inverse_ratio=(1 / kept - 1).sqrt().float(),
            kept_before=before.float(),
            mean_x0=(beta * before.sqrt() / (1 - kept)).float(),
            mean_xt=((1 - before) * (1 - beta).sqrt() / (1 - kept)).float(),
            log_variance=variance.clamp(min=_SMALLEST_VARIANCE).log().float(),
        )


def ddim_times(steps: int, total: int, *, grid: Literal["from_zero", "from_minus_one"]) -> list[int]:
    """Return the time steps that a sampler of ``steps`` steps visits, falling.

    Args:
        steps: network calls.
        total: steps of the schedule.
        grid: ``from_zero``, which goes to step 0 in ``steps`` pairs (first releases of the reference), or
            ``from_minus_one``, whose last entry -1 stands for the clean sample (its newest).
    """
    # In float32 and cut off, not rounded, as the reference does: the grids differ by single steps else.
    if grid == "from_zero":
        points = torch.linspace(0.0, total, steps + 2)[:-1]
    else:
        points = torch.linspace(-1.0, total, steps + 1)[:-1]
    return points.int().tolist()[::-1]


def _at(table: Tensor, times: Tensor, like: Tensor) -> Tensor:
    return table.to(like.device)[times].unsqueeze(-1)
