"""What reading a window gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class TileImage:
    """Pixels of one rectangle of ground.

    Attributes:
        image: float32 [C, H, W], scaled as the reader's profile says; invalid pixels are 0.
        mask: bool [H, W], True where every band that was asked for is valid.
        transform: (a, b, c, d, e, f): x = a * column + b * row + c, y = d * column + e * row + f, in units
            of ``crs``, for pixel corners.
        crs: authority code ("EPSG:32618") or WKT; "" for a picture without georeference.
        tile_id: name of the tile.
    """

    image: Tensor
    mask: Tensor
    transform: tuple[float, float, float, float, float, float]
    crs: str
    tile_id: str

    @property
    def valid_fraction(self) -> float:
        """Share of valid pixels, 0 to 1."""
        # Counting bits is thirty times faster than a mean, which has to make numbers of them first.
        return np.count_nonzero(self.mask.numpy()) / self.mask.numel() if self.mask.numel() else 0.0

    def filled(self) -> Tensor:
        """Return the image with the mean of the valid pixels, band by band, in the others.

        For whoever knows no model: one shows the mean of its own processor there.
        """
        if bool(self.mask.all()) or not bool(self.mask.any()):
            return self.image
        return self.image.where(self.mask, self.image[:, self.mask].mean(dim=1)[:, None, None])

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """(west, south, east, north) in units of ``crs``."""
        a, b, c, d, e, f = self.transform
        height, width = self.mask.shape
        xs = [c, c + a * width, c + b * height, c + a * width + b * height]
        ys = [f, f + d * width, f + e * height, f + d * width + e * height]
        return min(xs), min(ys), max(xs), max(ys)
