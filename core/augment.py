"""Random changes of training images, on whole batches and from one generator.

Every draw comes from the generator that is passed in, so a resumed run repeats them exactly.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from .config import AugmentConfig
from .jpeg import jpeg_like

_LEVELS = 256


def augment(images: Tensor, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    """Return randomly changed copies of ``images``.

    Args:
        images: float32 [B, C, H, W] in [0, 1].
        config: ranges and probabilities.
        generator: the only source of randomness (CPU).

    Returns:
        float32 [B, C, H, W] in [0, 1].
    """
    draw = _Draw(len(images), generator)
    channels = images.shape[1]
    if channels == 3 and torch.equal(images, images[:, :1].expand_as(images)):
        # Grey in three equal channels: change one and repeat it, which also keeps noise grey.
        images = images[:, :1]
    if config.histogram or config.tone_curve:
        images = _tones(images, config, draw)
    images = _geometry(images, config, draw)
    images = _photometry(images, config, draw)
    if config.invert:
        images = torch.where(
            draw.chosen(config.invert), images.amax((1, 2, 3), keepdim=True) - images, images
        )
    if config.blur:
        images = _on_some(images, draw.chosen(config.blur), _binomial_blur)
    if config.low_resolution:
        factor = float(torch.empty(()).uniform_(0.35, 0.8, generator=generator))
        images = _on_some(images, draw.chosen(config.low_resolution), lambda some: _coarsen(some, factor))
    if config.noise:
        level = draw.uniform(0.0, config.noise) * draw.chosen(0.3)
        images = images + level * torch.randn(images.shape, generator=generator)
    if config.erase:
        images = _erase(images, config.erase, draw)
    if config.jpeg:
        low, high = config.jpeg_quality
        quality = draw.uniform(low, high).round()
        rows = draw.chosen(config.jpeg).flatten().nonzero()[:, 0]
        if len(rows):
            images = images.clamp(0.0, 1.0).index_copy(
                0, rows, jpeg_like(images[rows].clamp(0.0, 1.0), quality.flatten()[rows])
            )
    return images.clamp(0.0, 1.0).expand(-1, channels, -1, -1)


def _on_some(images: Tensor, chosen: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
    """Return ``images`` with ``change`` applied to the rows where ``chosen`` [B, 1, 1, 1] is True."""
    rows = chosen.flatten().nonzero()[:, 0]
    return images.index_copy(0, rows, change(images[rows])) if len(rows) else images


class _Draw:
    """Random numbers for each image of a batch, shaped to multiply images."""

    def __init__(self, count: int, generator: torch.Generator) -> None:
        self.count, self.generator = count, generator

    def uniform(self, low: float, high: float, *, channels: int = 1) -> Tensor:
        """Return float32 [B, channels, 1, 1] between ``low`` and ``high``."""
        return torch.empty(self.count, channels, 1, 1).uniform_(low, high, generator=self.generator)

    def symmetric_gain(self, size: float, *, channels: int = 1) -> Tensor:
        """Return ``exp`` of a uniform draw in [-size, size]: as likely a gain as its inverse."""
        return self.uniform(-size, size, channels=channels).exp()

    def chosen(self, probability: float) -> Tensor:
        """Return bool [B, 1, 1, 1], True with ``probability``."""
        return torch.rand(self.count, 1, 1, 1, generator=self.generator) < probability


def _tones(images: Tensor, config: AugmentConfig, draw: _Draw) -> Tensor:
    """Histogram transfer inside the batch and random tone curves, as one table look-up per image.

    Scanners and exports differ most in grey values; with a foreign distribution, shape has to decide.
    """
    if images.shape[1] == 3:
        is_grey = ((images[:, :1] - images).abs().amax((1, 2, 3)) < 1e-3).view(-1, 1)
    else:
        is_grey = torch.ones(draw.count, 1, dtype=torch.bool)
    levels = (images[:, :1] * (_LEVELS - 1)).round().long().view(draw.count, -1)
    identity = torch.linspace(0, 1, _LEVELS).expand(draw.count, _LEVELS)
    counts = torch.zeros(draw.count, _LEVELS).scatter_add_(1, levels, torch.ones(levels.shape))
    cumulative = counts.cumsum(1) / counts.sum(1, keepdim=True)
    donor = cumulative[torch.randint(draw.count, (draw.count,), generator=draw.generator)]
    matched = torch.searchsorted(donor.contiguous(), cumulative.clamp(max=1 - 1e-6)).clamp(max=_LEVELS - 1)
    strength = draw.uniform(0.3, 1.0).view(-1, 1) * draw.chosen(config.histogram).view(-1, 1)
    table = identity + strength * (matched / (_LEVELS - 1) - identity)
    curve = _tone_curve(draw, config.tone_strength)
    curved = torch.gather(curve, 1, (table * (_LEVELS - 1)).round().long())
    table = torch.where(draw.chosen(config.tone_curve).view(-1, 1), curved, table)
    table = torch.where(is_grey, table, identity)
    all_levels = (images * (_LEVELS - 1)).round().long()
    changed = torch.gather(table, 1, all_levels.view(draw.count, -1)).view(images.shape)
    return torch.where(is_grey.view(-1, 1, 1, 1), changed, images)


def _tone_curve(draw: _Draw, strength: float, *, knots: int = 5) -> Tensor:
    """Return tables [B, 256] of piecewise linear curves around the identity, black staying dark.

    Each image draws its own strength up to ``strength``; from about 0.5 a curve may fall as well as
    rise, as between MR sequences.
    """
    base = torch.linspace(0, 1, knots).expand(draw.count, knots)
    own = draw.uniform(0.0, strength).view(-1, 1)
    jitter = own * (torch.rand(draw.count, knots, generator=draw.generator) * 2 - 1)
    points = (base + jitter * (base * 0.7 + 0.3)).clamp(0, 1)
    points = torch.cat([points[:, :1] * 0.3, points[:, 1:]], dim=1)
    return F.interpolate(points[:, None], size=_LEVELS, mode="linear", align_corners=True)[:, 0]


def _geometry(images: Tensor, config: AugmentConfig, draw: _Draw) -> Tensor:
    """One affine resampling for content box, zoom, aspect, rotation, shift and flips."""
    flat = draw.count
    angle = draw.uniform(-config.rotate_deg, config.rotate_deg).view(flat) * math.pi / 180
    zoom = draw.uniform(*(math.log(bound) for bound in config.zoom)).exp().view(flat)
    stretch = draw.symmetric_gain(config.aspect / 2).view(flat)
    shift_x, shift_y = (
        draw.uniform(-2 * config.translate, 2 * config.translate).view(flat) for _ in range(2)
    )
    if config.warp < 1:
        warped = draw.chosen(config.warp).view(flat)
        quarters = torch.randint(4, (flat,), generator=draw.generator) * (math.pi / 2)
        angle = torch.where(warped, angle, quarters if config.rotate_deg >= 90 else 0.0)
        zoom, stretch = torch.where(warped, zoom, 1.0), torch.where(warped, stretch, 1.0)
        shift_x, shift_y = torch.where(warped, shift_x, 0.0), torch.where(warped, shift_y, 0.0)
    mirror_x = 1 - 2 * draw.chosen(config.flip_horizontal).view(flat).float()
    mirror_y = 1 - 2 * draw.chosen(config.flip_vertical).view(flat).float()
    center_x, center_y, half_x, half_y = _window(images, config, draw)
    across, down = mirror_x / (zoom * stretch), mirror_y * stretch / zoom
    cos, sin = torch.cos(angle), torch.sin(angle)
    rows = (
        torch.stack([half_x * cos * across, -half_x * sin * down, center_x + half_x * shift_x], dim=1),
        torch.stack([half_y * sin * across, half_y * cos * down, center_y + half_y * shift_y], dim=1),
    )
    grid = F.affine_grid(torch.stack(rows, dim=1), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode=config.border, align_corners=False)


def _window(images: Tensor, config: AugmentConfig, draw: _Draw) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return centre and half size [B] each, in [-1, 1] coordinates, of the part to look at."""
    if config.content_box is None:
        zeros, ones = torch.zeros(draw.count), torch.ones(draw.count)
        return zeros, zeros, ones, ones
    amount = draw.uniform(*config.content_box).view(draw.count)
    bright = images.amax(1) > 0.06
    result = []
    for axis in (1, 2):
        seen = bright.any(dim=axis).float()
        size = seen.shape[1]
        first = seen.argmax(1) / size
        last = 1 - seen.flip(1).argmax(1) / size
        first, last = amount * first, 1 - amount * (1 - last)
        result.append((first + last - 1, (last - first).clamp(min=0.2)))
    (center_x, half_x), (center_y, half_y) = result
    return center_x, center_y, half_x, half_y


def _photometry(images: Tensor, config: AugmentConfig, draw: _Draw) -> Tensor:
    """Gamma, contrast about the image mean, brightness, then each channel's own gain."""
    chosen = draw.chosen(config.photometric)
    changed = images.clamp(1e-4, 1.0).pow(draw.symmetric_gain(config.gamma))
    mean = changed.mean(dim=(1, 2, 3), keepdim=True)
    changed = (changed - mean) * draw.symmetric_gain(config.contrast) + mean
    changed = changed * draw.symmetric_gain(config.brightness)
    images = torch.where(chosen, changed, images)
    if config.channel_gain:
        images = images * draw.symmetric_gain(config.channel_gain, channels=images.shape[1])
    return images.clamp(0.0, 1.0)


def _binomial_blur(images: Tensor) -> Tensor:
    """Return the images under a 5 x 5 binomial kernel."""
    channels = images.shape[1]
    row = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16
    kernel = torch.outer(row, row).expand(channels, 1, 5, 5)
    return F.conv2d(F.pad(images, (2, 2, 2, 2), mode="replicate"), kernel, groups=channels)


def _coarsen(images: Tensor, factor: float) -> Tensor:
    """Down to ``factor`` of the side and up again: a scan of lower resolution."""
    size = (images.shape[2], images.shape[3])
    small = (max(1, round(size[0] * factor)), max(1, round(size[1] * factor)))
    coarse = F.interpolate(images, small, mode="bilinear", antialias=True, align_corners=False)
    return F.interpolate(coarse, size, mode="bilinear", align_corners=False)


def _erase(images: Tensor, probability: float, draw: _Draw) -> Tensor:
    """Fill one rectangle with one random grey."""
    height, width = images.shape[2:]
    center_y, center_x = draw.uniform(0.0, 1.0), draw.uniform(0.0, 1.0)
    half_y, half_x = draw.uniform(0.05, 0.15), draw.uniform(0.05, 0.15)
    rows = (torch.arange(height).view(1, 1, -1, 1) + 0.5) / height
    columns = (torch.arange(width).view(1, 1, 1, -1) + 0.5) / width
    inside = ((rows - center_y).abs() < half_y) & ((columns - center_x).abs() < half_x)
    return torch.where(inside & draw.chosen(probability), draw.uniform(0.0, 0.5), images)
