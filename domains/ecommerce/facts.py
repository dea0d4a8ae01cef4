"""What can be measured of a photo of one garment without a model: its colors and whether it has a pattern.

The garment is told from its background first: what looks like the rim of the photo counts little, and so
does what is far from the middle. Colors are then named pixel by pixel in CIELAB, and a pattern is told by how
much neighboring pixels differ inside the garment and whether they differ in one direction.

A photo is first averaged down to 96 pixels on its longer side, which the thresholds were chosen at by looking
at 500 photos of the clothing data set. Light is taken as it is: a white shirt under a lamp is beige.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ...core.errors import InputError

SIDE = 96
"""Pixels of the longer side at which measures are taken."""

COLORS = (
    "black", "white", "gray", "red", "pink", "orange", "yellow", "green", "blue", "navy", "purple",
    "brown", "beige",
)  # fmt: skip
"""Colors that a pixel can have, each exactly one. Navy also counts as blue."""

PATTERNS = ("plain", "striped", "patterned")
"""Patterns that a garment can have; between them it is left open."""

FACTS = (*COLORS, "multicolored", "dark", "light", *PATTERNS)
"""Every word that :class:`Facts` can hold."""

_MAIN, _SOME = 0.30, 0.12
_HELD = 0.25
_TO_XYZ = (
    (0.4124564, 0.3575761, 0.1804375),
    (0.2126729, 0.7151522, 0.0721750),
    (0.0193339, 0.1191920, 0.9503041),
)
_WHITE = (0.95047, 1.0, 1.08883)


@dataclass(frozen=True)
class Facts:
    """Measures of one photo and the words they amount to.

    Attributes:
        shares: {color: share of the garment}, adding up to 1. A color from 0.30 is true of the garment; from
            0.12 it may be. ``multicolored`` where none reaches 0.30, or none 0.50 and three reach 0.15, which
            washed denim in blue, navy and gray does too.
        lightness: mean L* of the garment, 0 (black) to 100 (white): ``dark`` below 35, ``light`` above 62.
        detail: mean change of color between pixels two apart inside the garment, in CIELAB units: ``plain``
            below 7.5, ``patterned`` above 17 where the changes have no common direction.
        direction: how far the changes have one direction, 0 (none) to 1 (all): ``striped`` from 0.72 with
            ``detail`` from 11. Pleats and quilting are stripes to this measure.
        found: how much of the middle of the photo differs from its rim, 0 to 1. Below 0.25 the garment
            cannot be told from the background: colors are those of the middle, and the pattern stays open.
    """

    shares: Mapping[str, float]
    lightness: float
    detail: float
    direction: float
    found: float

    @property
    def color(self) -> str:
        """The color with the largest share."""
        return max(COLORS, key=lambda name: self.shares[name])

    @property
    def pattern(self) -> str | None:
        """``plain``, ``striped`` or ``patterned``; None where the measures lie between them."""
        return next((word for word in PATTERNS if word in self.holds), None)

    @property
    def holds(self) -> frozenset[str]:
        """The words of :data:`FACTS` that are true of the garment."""
        return frozenset(word for word in FACTS if self._is(word, slack=False))

    @property
    def may_hold(self) -> frozenset[str]:
        """The words that are true or nearly so: no text with one of them is wrong."""
        return frozenset(word for word in FACTS if self._is(word, slack=True))

    def _is(self, word: str, *, slack: bool) -> bool:
        if word in COLORS:
            share = self.shares[word] + (self.shares["navy"] if word == "blue" else 0.0)
            return share >= (_SOME if slack else _MAIN)
        if word == "multicolored":
            ranked = sorted(self.shares.values(), reverse=True)
            if slack:
                return ranked[0] < 0.6
            return ranked[0] < _MAIN or (ranked[0] < 0.5 and ranked[2] >= 0.15)
        if word == "dark":
            return self.lightness < (42 if slack else 35)
        if word == "light":
            return self.lightness > (55 if slack else 62)
        return self._has_pattern(word, slack=slack)

    def _has_pattern(self, word: str, *, slack: bool) -> bool:
        if self.found < _HELD:
            return slack
        if word == "plain":
            return self.detail < (11 if slack else 7.5)
        if word == "striped":
            return self.detail >= (8 if slack else 11) and self.direction >= (0.5 if slack else 0.72)
        return self.detail > (11 if slack else 17) and (slack or self.direction < 0.6)


def facts_of(image: Tensor) -> Facts:
    """Return the measures of one photo.

    Args:
        image: float [3, H, W] in [0, 1] (sRGB, as stored in files), at least 8 x 8.

    Raises:
        InputError: another shape or type, values that are not finite or not in [0, 1].

    Example:
        >>> facts = facts_of(torch.tensor([0.8, 0.1, 0.1]).view(3, 1, 1).expand(3, 96, 72))
        >>> facts.color, facts.pattern
        ('red', None)
    """
    lab = to_lab(_small(image))
    center = _gaussian(lab, 0.45)
    garment = center * _unlike_rim(lab)
    found = float(garment.sum() / center.sum())
    if found < _HELD:
        garment = _gaussian(lab, 0.3)
    names = color_indices(lab).flatten()
    shares = torch.zeros(len(COLORS)).scatter_add_(0, names, garment.flatten()) / garment.sum()
    detail, direction = _texture(lab, garment, center)
    return Facts(
        shares=dict(zip(COLORS, shares.tolist(), strict=True)),
        lightness=float((lab[0] * garment).sum() / garment.sum()),
        detail=detail,
        direction=direction,
        found=found,
    )


def to_lab(image: Tensor) -> Tensor:
    """Return sRGB [3, ...] in [0, 1] as CIELAB [3, ...]: L* from 0 to 100, a*, b* (D65).

    Reference: IEC 61966-2-1 (sRGB); CIE 15:2004 (CIELAB).
    """
    linear = torch.where(image <= 0.04045, image / 12.92, ((image + 0.055) / 1.055) ** 2.4)
    matrix = torch.tensor(_TO_XYZ) / torch.tensor(_WHITE)[:, None]
    xyz = torch.tensordot(matrix, linear, dims=1)
    cubic = xyz > 216 / 24389
    x, y, z = torch.where(cubic, xyz.clamp(min=1e-8) ** (1 / 3), xyz * (24389 / 27 / 116) + 16 / 116)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def color_indices(lab: Tensor) -> Tensor:
    """Return for each pixel of CIELAB [3, ...] the place of its name in :data:`COLORS`, int64 [...]."""
    light, a, b = lab
    chroma = (a * a + b * b).sqrt()
    hue = torch.rad2deg(torch.atan2(b, a)) % 360
    found = torch.full(light.shape, COLORS.index("gray"))
    for name, where in _color_rules(light, chroma, hue):
        found[where] = COLORS.index(name)
    return found


def _color_rules(light: Tensor, chroma: Tensor, hue: Tensor) -> list[tuple[str, Tensor]]:
    """Return (color, where): a later rule overrules an earlier one, and gray is what none names."""
    vivid, faint = chroma >= 12, (chroma >= 8) & (chroma < 12)
    reddish = vivid & ((hue >= 345) | (hue < 40))
    orange = vivid & (hue >= 40) & (hue < 78)
    yellow = vivid & (hue >= 78) & (hue < 112)
    blue = vivid & (hue >= 208) & (hue < 305)
    purple = vivid & (hue >= 305) & (hue < 345)
    return [
        ("black", ~vivid & (light < 30)),
        ("white", ~vivid & (light >= 68)),
        ("red", reddish & (light < 58)),
        ("pink", reddish & (light >= 58)),
        ("pink", reddish & ((hue >= 345) | (hue < 20)) & (light >= 42) & (chroma >= 45)),
        ("pink", reddish & (hue >= 345) & (light >= 45)),
        ("brown", reddish & (chroma < 22) & (light < 50)),
        ("orange", orange),
        ("brown", orange & (light < 55)),
        ("red", orange & (hue < 52) & (light < 55) & (chroma >= 45)),
        ("beige", orange & (light >= 55) & (chroma < 35)),
        ("yellow", yellow),
        ("beige", yellow & (chroma < 38)),
        ("brown", yellow & (hue < 95) & (light < 52)),
        ("green", yellow & (hue >= 95) & (light < 52)),
        ("green", vivid & (hue >= 112) & (hue < 208)),
        ("blue", blue),
        # Washed denim, and dark blue that a camera makes nearly black.
        ("blue", faint & (hue >= 230) & (hue < 300) & (light >= 30) & (light < 66)),
        ("navy", blue & (hue >= 230) & (light < 30)),
        ("navy", (chroma >= 6) & (chroma < 12) & (hue >= 250) & (hue < 305) & (light > 12) & (light < 30)),
        ("purple", purple),
        ("pink", purple & (hue >= 325) & (light >= 60)),
        ("black", (light < 14) & (chroma < 20)),
        ("beige", faint & (hue > 60) & (hue < 110) & (light >= 60) & (light < 80)),
    ]


def _small(image: Tensor) -> Tensor:
    if image.ndim != 3 or image.shape[0] != 3 or min(image.shape[1:]) < 8 or not image.is_floating_point():
        raise InputError(
            f"Facts are measured of float [3, H, W] of at least 8 x 8 pixels, got {image.dtype} "
            f"{list(image.shape)}."
        )
    low, high = (float(bound) for bound in image.aminmax())
    if not (low >= -1e-3 and high <= 1 + 1e-3):
        raise InputError(
            f"Facts are measured of values in [0, 1], got {low:g} to {high:g}. Scale them first."
        )
    scale = SIDE / max(image.shape[1:])
    size = [max(8, round(side * scale)) for side in image.shape[1:]]
    pixels = F.interpolate(image.float()[None], size, mode="bilinear", antialias=True)
    return pixels[0].clamp(0, 1)


def _gaussian(lab: Tensor, width: float) -> Tensor:
    """Return weights [H, W], 1 in the middle; ``width`` in half sides."""
    down, across = (torch.linspace(1 / size - 1, 1 - 1 / size, size) for size in lab.shape[1:])
    return torch.exp(-(down[:, None] ** 2 + across[None] ** 2) / (2 * width**2))


def _unlike_rim(lab: Tensor) -> Tensor:
    """Return weights [H, W] from 0 to 1: how far a pixel differs from every common color of the rim."""
    height, width = lab.shape[1:]
    rim = torch.ones(height, width, dtype=torch.bool)
    # Portraits of garments reach nearer to the upper and lower edge than to the sides.
    rows, columns = max(1, round(0.06 * height)), max(1, round(0.08 * width))
    rim[rows : height - rows, columns : width - columns] = False
    pixels = lab[:, rim].T
    cells = (pixels / torch.tensor([16.0, 14.0, 14.0])).round().long()
    _, cell, count = cells.unique(dim=0, return_inverse=True, return_counts=True)
    sums = torch.zeros(len(count), 3).index_add_(0, cell, pixels)
    common = count >= 0.04 * len(pixels)
    colors = (sums / count[:, None])[common] if common.any() else pixels.mean(0, keepdim=True)
    # A shadow makes the background darker, not another color.
    scale = torch.tensor([0.6, 1.0, 1.0])
    flat = (lab.flatten(1).T * scale)[:, None]
    distance = (flat - (colors * scale)[None]).pow(2).sum(2).sqrt().amin(1).view(height, width)
    return _averaged(((distance - 8) / 8).clamp(0, 1), 5)


def _texture(lab: Tensor, garment: Tensor, center: Tensor) -> tuple[float, float]:
    """Return the mean change of color inside the garment and how far it has one direction."""
    # Away from the outline, which is no pattern of the garment.
    inside = (_averaged((garment > 0.15).float(), 7) > 0.98) & (center > 0.25)
    inside = inside[1:-1, 1:-1].float()
    if inside.sum() < 60:
        inside = (center[1:-1, 1:-1] > 0.6).float()
    across = (lab[:, :, 2:] - lab[:, :, :-2])[:, 1:-1]
    down = (lab[:, 2:] - lab[:, :-2])[:, :, 1:-1]
    xx, yy, xy = (across**2).sum(0), (down**2).sum(0), (across * down).sum(0)
    area = inside.sum().clamp(min=1)
    mean_xx, mean_yy, mean_xy = (float((one * inside).sum() / area) for one in (xx, yy, xy))
    detail = float(((xx + yy).sqrt() * inside).sum() / area)
    spread = ((mean_xx - mean_yy) ** 2 + 4 * mean_xy**2) ** 0.5
    return detail, spread / (mean_xx + mean_yy + 1e-6)


def _averaged(plane: Tensor, side: int) -> Tensor:
    """Return the mean [H, W] over ``side`` x ``side`` pixels around each."""
    pooled = F.avg_pool2d(plane[None, None], side, 1, side // 2, count_include_pad=False)
    return pooled[0, 0]
