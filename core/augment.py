"""Random changes of training images, on whole batches and from one generator.

Every draw comes from the generator that is passed in, so a resumed run repeats them exactly.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from .config import AugmentConfig

_LUMA = (0.299, 0.587, 0.114)


def augment(images: Tensor, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    """Return randomly changed copies of ``images``.

    Args:
        images: float32 [B, C, H, W] in [0, 1].
        config: ranges and probabilities.
        generator: the only source of randomness (CPU).

    Returns:
        float32 [B, C, H, W] in [0, 1].
    """
    images = _geometry(images, config, generator)
    images = _photometry(images, config, generator)
    if config.blur:
        images = _blur(images, config.blur, generator)
    if config.noise:
        level = _uniform(len(images), 0.0, config.noise, generator)
        images = images + level * torch.randn(images.shape, generator=generator)
    if config.erase:
        images = _erase(images, config.erase, generator)
    return images.clamp_(0.0, 1.0)


def _uniform(count: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    """Return float32 [count, 1, 1, 1] between ``low`` and ``high``."""
    return torch.empty(count, 1, 1, 1).uniform_(low, high, generator=generator)


def _chosen(count: int, probability: float, generator: torch.Generator) -> Tensor:
    """Return bool [count, 1, 1, 1], True with ``probability``."""
    return torch.rand(count, 1, 1, 1, generator=generator) < probability


def _geometry(images: Tensor, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    """One affine resampling for flip, zoom, aspect, rotation, shear and shift."""
    count = len(images)
    draw = lambda low, high: _uniform(count, low, high, generator).view(count)  # noqa: E731
    zoom = draw(*config.scale)
    stretch = torch.exp(draw(-1.0, 1.0) * math.log1p(config.aspect))
    angle = draw(-config.rotate_deg, config.rotate_deg) * math.pi / 180
    shear = torch.tan(draw(-config.shear_deg, config.shear_deg) * math.pi / 180)
    shift_x, shift_y = draw(-config.translate, config.translate) * 2, draw(-config.translate, config.translate) * 2
    mirror_x = 1 - 2 * _chosen(count, config.flip_horizontal, generator).view(count).float()
    mirror_y = 1 - 2 * _chosen(count, config.flip_vertical, generator).view(count).float()
    cos, sin = torch.cos(angle), torch.sin(angle)
    width, height = zoom * stretch * mirror_x, zoom / stretch * mirror_y
    rows = (
        torch.stack([cos * width, (shear * cos - sin) * height, shift_x], dim=1),
        torch.stack([sin * width, (shear * sin + cos) * height, shift_y], dim=1),
    )
    grid = F.affine_grid(torch.stack(rows, dim=1), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def _photometry(images: Tensor, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    """Gamma, contrast about the image mean, brightness and saturation, in that order."""
    count = len(images)
    if config.gamma:
        exponent = torch.exp(_uniform(count, -1.0, 1.0, generator) * math.log1p(config.gamma))
        images = images.clamp(0.0, 1.0).pow(exponent)
    if config.contrast:
        factor = 1 + _uniform(count, -config.contrast, config.contrast, generator)
        mean = images.mean(dim=(1, 2, 3), keepdim=True)
        images = mean + factor * (images - mean)
    if config.brightness:
        images = images + _uniform(count, -config.brightness, config.brightness, generator)
    if config.saturation and images.shape[1] == 3:
        weights = torch.tensor(_LUMA).view(1, 3, 1, 1)
        grey = (images * weights).sum(dim=1, keepdim=True)
        factor = 1 + _uniform(count, -config.saturation, config.saturation, generator)
        images = grey + factor * (images - grey)
    return images


def _blur(images: Tensor, probability: float, generator: torch.Generator) -> Tensor:
    """Down and up again by a random factor up to 4: the blur of low-resolution scans."""
    factor = float(torch.empty(()).uniform_(1.5, 4.0, generator=generator))
    chosen = _chosen(len(images), probability, generator)
    size = (images.shape[2], images.shape[3])
    small = (max(1, round(size[0] / factor)), max(1, round(size[1] / factor)))
    soft = F.interpolate(images, small, mode="bilinear", antialias=True, align_corners=False)
    soft = F.interpolate(soft, size, mode="bilinear", align_corners=False)
    return torch.where(chosen, soft, images)


def _erase(images: Tensor, probability: float, generator: torch.Generator) -> Tensor:
    """Fill one rectangle of up to a third of each side with the image mean."""
    count, _, height, width = images.shape
    chosen = _chosen(count, probability, generator)
    centre_y, centre_x = (_uniform(count, 0.0, 1.0, generator) for _ in range(2))
    half_y, half_x = (_uniform(count, 0.05, 1 / 6, generator) for _ in range(2))
    rows = (torch.arange(height).view(1, 1, -1, 1) + 0.5) / height
    columns = (torch.arange(width).view(1, 1, 1, -1) + 0.5) / width
    inside = ((rows - centre_y).abs() < half_y) & ((columns - centre_x).abs() < half_x)
    return torch.where(chosen & inside, images.mean(dim=(2, 3), keepdim=True), images)
