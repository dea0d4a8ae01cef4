"""Random changes of training pictures as two published recipes make them, on batches, from one generator.

Everything takes float32 [B, 3, H, W] in [0, 1], RGB, gives the same, and draws nothing but from the generator
it is handed (CPU). Jitter shares the order of its steps within a batch; all else is drawn per picture.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ....core.augment import augment
from ....core.config import AugmentConfig
from ....core.errors import ConfigError, nearest

Change = Callable[[Tensor, torch.Generator], Tensor]
_LUMA = (0.299, 0.587, 0.114)
_BLUR_TAPS = 6
"""Of the Gaussian on either side: three deviations of the widest."""


@dataclass(frozen=True)
class Changes:
    """What happens to a picture before it is normalized.

    Attributes:
        shared: comes first, and the further views of a picture start from its result.
        own: comes next, for the picture itself only.
    """

    shared: Change
    own: Change


def changes_of(name: str, config: AugmentConfig) -> Changes:
    """Return the changes a recipe names: ``recipe`` (its section ``augment``), ``flip`` or ``minifasnet``.

    Raises:
        ConfigError: no such changes, or a section ``augment`` beside those of a published recipe.
    """
    if name == "recipe":
        return Changes(_nothing, lambda pictures, generator: augment(pictures, config, generator))
    known = {"flip": Changes(flip_saturation, mirror), "minifasnet": Changes(_nothing, minifasnet_changes)}
    if name not in known:
        raise ConfigError(
            f"options.changes {name!r}: there are recipe, {', '.join(known)}."
            f"{nearest(name, ('recipe', *known))}"
        )
    if config != AugmentConfig():
        raise ConfigError(
            f"options.changes: {name} are changes of their own; leave augment out, or set changes: recipe."
        )
    return known[name]


def flip_saturation(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Return pictures of which every second has its HSV saturation multiplied by U(0.8, 1.2).

    Reference: the training code of arXiv 2309.16649; there before resizing, here after it.
    """
    factor = _uniform(len(pictures), 0.8, 1.2, generator)
    return torch.where(_chosen(len(pictures), 0.5, generator), saturated(pictures, factor), pictures)


def saturated(pictures: Tensor, factor: Tensor) -> Tensor:
    """Return pictures with HSV saturation multiplied by ``factor`` [B, 1, 1, 1] and cut off at 1."""
    value = pictures.amax(dim=1, keepdim=True)
    spread = value - pictures.amin(dim=1, keepdim=True)
    # Saturation is spread / value: at most 1, where the smallest channel reaches 0.
    most = torch.where(spread > 0, value / spread.clamp(min=1e-9), factor)
    return (value - (value - pictures) * torch.minimum(factor, most)).clamp(0.0, 1.0)


def mirror(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Return pictures of which every second is mirrored left to right."""
    return torch.where(_chosen(len(pictures), 0.5, generator), pictures.flip(3), pictures)


def simclr_view(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Return a view for contrastive learning without labels: crop, colors, grey, blur, mirror.

    A random crop of 8 to 100 % of the area; brightness, contrast and saturation by up to 40 % and hue by up
    to a tenth of the circle in 4 of 5; grey in 1 of 5; a Gaussian of 0.1 to 2 pixels in every second.

    Reference: Chen et al. 2020, SimCLR, appendix A; arXiv 2309.16649 and its code.
    """
    count = len(pictures)
    views = resized_crop(pictures, (0.08, 1.0), generator)
    jittered = color_jitter(views, (0.4, 0.4, 0.4, 0.1), generator)
    views = torch.where(_chosen(count, 0.8, generator), jittered, views)
    views = torch.where(_chosen(count, 0.2, generator), _grey(views).expand_as(views), views)
    blurred = gaussian_blur(views, _uniform(count, 0.1, 2.0, generator).flatten())
    views = torch.where(_chosen(count, 0.5, generator), blurred, views)
    return mirror(views, generator)


def minifasnet_changes(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Return pictures cropped a little, with other colors, turned by up to 10 degrees, and mirrored.

    Reference: minivision-ai/Silent-Face-Anti-Spoofing, ``src/data_io/dataset_loader.py``.
    """
    pictures = resized_crop(pictures, (0.9, 1.1), generator)
    pictures = color_jitter(pictures, (0.4, 0.4, 0.4, 0.1), generator)
    degrees = _uniform(len(pictures), -10.0, 10.0, generator).flatten()
    return mirror(rotated(pictures, degrees), generator)


def resized_crop(pictures: Tensor, area: tuple[float, float], generator: torch.Generator) -> Tensor:
    """Return random crops at the size of the pictures.

    Ten crops of a share of the area in ``area`` and of a ratio of the sides from 3/4 to 4/3 are drawn for
    each picture and the first that lies in it is taken; where none does, the whole picture.
    """
    count, _, height, width = pictures.shape
    tries = (count, 10)
    share = torch.empty(tries).uniform_(*area, generator=generator)
    ratio = torch.empty(tries).uniform_(math.log(3 / 4), math.log(4 / 3), generator=generator).exp()
    # Shares of each side, so that a square picture and its ratio come out as in pixels.
    ratio = ratio * height / width
    wide, high = (share * ratio).sqrt(), (share / ratio).sqrt()
    fits = (wide <= 1) & (high <= 1)
    first = fits.float().argmax(dim=1, keepdim=True)
    some = fits.any(dim=1)
    wide = torch.where(some, wide.gather(1, first)[:, 0], 1.0)
    high = torch.where(some, high.gather(1, first)[:, 0], 1.0)
    place = torch.rand((count, 2), generator=generator)
    left, top = place[:, 0] * (1 - wide), place[:, 1] * (1 - high)
    zero = torch.zeros(count)
    rows = (
        torch.stack([wide, zero, 2 * left + wide - 1], dim=1),
        torch.stack([zero, high, 2 * top + high - 1], dim=1),
    )
    return _sampled(pictures, torch.stack(rows, dim=1), "border")


def rotated(pictures: Tensor, degrees: Tensor) -> Tensor:
    """Return pictures turned about their center by ``degrees`` [B], black where nothing is."""
    angle = degrees * math.pi / 180
    height, width = pictures.shape[2:]
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    rows = (
        torch.stack([cos, -sin * height / width, zero], dim=1),
        torch.stack([sin * width / height, cos, zero], dim=1),
    )
    return _sampled(pictures, torch.stack(rows, dim=1), "zeros")


def _sampled(pictures: Tensor, matrices: Tensor, border: str) -> Tensor:
    grid = F.affine_grid(matrices, list(pictures.shape), align_corners=False)
    sampled = F.grid_sample(pictures, grid, mode="bilinear", padding_mode=border, align_corners=False)
    return sampled.clamp(0.0, 1.0)


def color_jitter(
    pictures: Tensor, strength: tuple[float, float, float, float], generator: torch.Generator
) -> Tensor:
    """Return pictures of other brightness, contrast, saturation and hue, in random order.

    Args:
        pictures: as the module says.
        strength: largest change of each: factors from ``1 - s`` to ``1 + s``; of hue in turns of the circle.
        generator: of all draws.
    """
    brightness, contrast, saturation, hue = strength
    count = len(pictures)
    factors = [_uniform(count, 1 - size, 1 + size, generator) for size in (brightness, contrast, saturation)]
    turn = _uniform(count, -hue, hue, generator)
    steps: list[Callable[[Tensor], Tensor]] = [
        lambda some: some * factors[0],
        lambda some: _blend(some, _grey(some).mean(dim=(2, 3), keepdim=True), factors[1]),
        lambda some: _blend(some, _grey(some), factors[2]),
        lambda some: hue_turned(some, turn),
    ]
    for place in torch.randperm(len(steps), generator=generator).tolist():
        pictures = steps[place](pictures).clamp(0.0, 1.0)
    return pictures


def hue_turned(pictures: Tensor, turn: Tensor) -> Tensor:
    """Return pictures whose HSV hue is turned by ``turn`` [B, 1, 1, 1] of the circle."""
    value, low = pictures.amax(dim=1, keepdim=True), pictures.amin(dim=1, keepdim=True)
    spread = value - low
    red, green, blue = pictures.split(1, dim=1)
    safe = torch.where(spread > 0, spread, 1.0)
    sixth = torch.where(
        value == red,
        ((green - blue) / safe) % 6,
        torch.where(value == green, (blue - red) / safe + 2, (red - green) / safe + 4),
    )
    sixth = sixth + 6 * turn
    channels = []
    for offset in (5.0, 3.0, 1.0):
        # Every channel is a trapezoid over the circle, at another place.
        around = (sixth + offset) % 6
        channels.append(value - spread * torch.minimum(around, 4 - around).clamp(0.0, 1.0))
    return torch.cat(channels, dim=1)


def gaussian_blur(pictures: Tensor, deviation: Tensor) -> Tensor:
    """Return pictures under a Gaussian of ``deviation`` [B] pixels, up to 2; edges are repeated."""
    count, channels, height, width = pictures.shape
    offsets = torch.arange(-_BLUR_TAPS, _BLUR_TAPS + 1)
    kernels = torch.exp(-0.5 * (offsets / deviation[:, None]) ** 2)
    kernels = (kernels / kernels.sum(dim=1, keepdim=True)).repeat_interleave(channels, dim=0)
    flat = pictures.reshape(1, count * channels, height, width)
    flat = F.pad(flat, (_BLUR_TAPS,) * 4, mode="replicate")
    flat = F.conv2d(flat, kernels[:, None, None, :], groups=count * channels)
    flat = F.conv2d(flat, kernels[:, None, :, None], groups=count * channels)
    return flat.reshape(pictures.shape)


def _grey(pictures: Tensor) -> Tensor:
    return (pictures * torch.tensor(_LUMA).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)


def _blend(pictures: Tensor, other: Tensor, share: Tensor) -> Tensor:
    return share * pictures + (1 - share) * other


def _nothing(pictures: Tensor, generator: torch.Generator) -> Tensor:
    return pictures


def _uniform(count: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    return torch.empty(count, 1, 1, 1).uniform_(low, high, generator=generator)


def _chosen(count: int, share: float, generator: torch.Generator) -> Tensor:
    return torch.rand(count, 1, 1, 1, generator=generator) < share
