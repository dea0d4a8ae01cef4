"""The noise schedule of training and what a network may be asked to say about noise."""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor

from .options import NoiseConfig

_OFFSET, _LARGEST_BETA = 0.008, 0.999


def signal_power(config: NoiseConfig) -> Tensor:
    """Return the share of the signal in the power of each step, float64 [steps] on the CPU, falling.

    ``x_t = sqrt(a_t) x_0 + sqrt(1 - a_t) noise`` with a_t of this table. The cosine schedule follows
    cos^2 of the time, each step losing at most 99.9 % of what is left.

    Reference: Nichol and Dhariwal, "Improved Denoising Diffusion Probabilistic Models", 2021, eq. 17;
    ``zero_terminal``: Lin et al., "Common Diffusion Noise Schedules and Sample Steps are Flawed", 2024,
    algorithm 1.
    """
    return _cosine(config.steps, config.zero_terminal)


@functools.lru_cache(maxsize=16)
def _cosine(steps: int, zero_terminal: bool) -> Tensor:
    # Called under inference mode first, the cached tensor could never take part in training.
    with torch.inference_mode(False):
        time = torch.arange(steps + 1, dtype=torch.float64) / steps
        curve = ((time + _OFFSET) / (1 + _OFFSET) * math.pi / 2).cos().square()
        kept = (curve[1:] / curve[:-1]).clamp(min=1 - _LARGEST_BETA).cumprod(0)
        if zero_terminal:
            roots = kept.sqrt()
            roots = (roots - roots[-1]) * (roots[0] / (roots[0] - roots[-1]))
            kept = roots.square()
    return kept


def levels(config: NoiseConfig, timesteps: Tensor) -> tuple[Tensor, Tensor]:
    """Return the factors of signal and noise at ``timesteps`` [B], float32 [B, 1, 1, 1] each."""
    power = signal_power(config).to(timesteps.device)[timesteps][:, None, None, None]
    return power.sqrt().float(), (1 - power).sqrt().float()


def add_noise(config: NoiseConfig, clean: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
    """Return x_t float32 [B, 1, F, T] of x_0 and noise of that shape, at int64 [B] steps."""
    signal, noisy = levels(config, timesteps)
    return signal * clean + noisy * noise


def wanted(config: NoiseConfig, clean: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
    """Return what the network shall predict, float32 [B, 1, F, T]: noise, x_0, or v.

    ``v = sqrt(a_t) noise - sqrt(1 - a_t) x_0``.

    Reference: Salimans and Ho, "Progressive Distillation for Fast Sampling of Diffusion Models", 2022.
    """
    if config.prediction == "epsilon":
        return noise
    if config.prediction == "x0":
        return clean
    signal, noisy = levels(config, timesteps)
    return signal * noise - noisy * clean


def clean_of(config: NoiseConfig, noisy: Tensor, prediction: Tensor, timesteps: Tensor) -> Tensor:
    """Return the x_0 float32 [B, 1, F, T] that a prediction stands for."""
    if config.prediction == "x0":
        return prediction
    signal, noise = levels(config, timesteps)
    if config.prediction == "epsilon":
        return (noisy - noise * prediction) / signal
    return signal * noisy - noise * prediction


def error_scale(config: NoiseConfig, timesteps: Tensor) -> tuple[Tensor, Tensor]:
    """Return (signal-to-noise ratio, squared error of a prediction over that of its x_0), float32 [B] each.

    The second is the ratio itself for noise, ratio + 1 for v, and 1 for x_0.
    """
    power = signal_power(config).to(timesteps.device)[timesteps]
    ratio = (power / (1 - power)).float()
    scale = {"epsilon": ratio, "v": ratio + 1, "x0": torch.ones_like(ratio)}[config.prediction]
    return ratio, scale
