"""From tiles to the raster whose pixels they are."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..geometry.tiles import Tiles

_FINEST = 16
"""Tiles that overlap by more than this part of their side are no map of tiles any more."""


@dataclass(frozen=True, eq=False)
class Lattice:
    """A north-up raster with one pixel per tile.

    A pixel is the footprint of its tile. Where tiles overlap it is smaller, as wide as the step from one tile
    to the next, and has its middle in the middle of the tile.

    Attributes:
        transform: (a, b, c, d, e, f) of the raster. width, height: of the raster.
        rows, columns: int64 [N], the pixel of each tile.
        stride: (x, y) from one tile to the next, and side: (x, y) of a tile, in units of the tiles' system.
    """

    transform: tuple[float, float, float, float, float, float]
    width: int
    height: int
    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    stride: tuple[float, float]
    side: tuple[float, float]

    def spread(self, values: NDArray[np.floating], fill: float = math.nan) -> NDArray[np.floating]:
        """Return [height, width] with the value of each tile, and ``fill`` where there is none."""
        image = np.full((self.height, self.width), fill, values.dtype)
        image[self.rows, self.columns] = values
        return image


def lattice_of(tiles: Tiles) -> Lattice | None:
    """Return the raster of regularly spaced tiles of one size, or None.

    Some tiles may be missing. The last row and column may be moved inside, as at the edge of a scene: such a
    tile keeps its place in the order.
    """
    if not len(tiles):
        return None
    bounds = np.asarray(tiles.bounds, np.float64)
    sides = bounds[:, 2:] - bounds[:, :2]
    side = sides.mean(axis=0)
    if not (side > 0).all() or (np.abs(sides - side) > 1e-6 * side).any():
        return None
    axes = []
    for axis in range(2):
        # Columns count from the west, rows from the north.
        offsets = bounds[:, 0] - bounds[:, 0].min() if axis == 0 else bounds[:, 3].max() - bounds[:, 3]
        found = _steps(offsets / side[axis])
        if found is None:
            return None
        axes.append(found)
    (columns, step_x), (rows, step_y) = axes
    width, height = int(columns.max()) + 1, int(rows.max()) + 1
    if len(np.unique(rows * width + columns)) != len(tiles):
        return None
    stride = step_x * float(side[0]), step_y * float(side[1])
    west = float(bounds[:, 0].min()) + (float(side[0]) - stride[0]) / 2
    north = float(bounds[:, 3].max()) - (float(side[1]) - stride[1]) / 2
    transform = (stride[0], 0.0, west, 0.0, -stride[1], north)
    return Lattice(transform, width, height, rows, columns, stride, (float(side[0]), float(side[1])))


def _steps(offsets: NDArray[np.float64]) -> tuple[NDArray[np.int64], float] | None:
    """Return the place of each tile along one axis and the step between places, or None if there is none.

    Args:
        offsets: float [N] from the first tile, in sides of a tile.
    """
    places = np.unique(np.round(offsets, 6))
    if len(places) == 1:
        return np.zeros(len(offsets), np.int64), 1.0
    inner = places[:-1]
    if len(inner) > 1:
        step = _step(inner)
        # At the edge of a scene, the last tile is less than a step away from the one before.
        if step is not None and places[-1] - inner[-1] < step * (1 + 1e-3):
            # Rounding up gives a tile that was moved inside the place it would have had.
            return np.ceil(offsets / step - 1e-3).astype(np.int64), step
    step = _step(places)
    return None if step is None else (np.round(offsets / step).astype(np.int64), step)


def _step(places: NDArray[np.float64]) -> float | None:
    """Return the length of which all of some ascending places are multiples, or None."""
    smallest = float(np.diff(places).min())
    if smallest > 1 and np.abs(places - np.round(places)).max() < 1e-3:
        return 1.0  # tiles side by side, of which some are missing
    for divisor in (1, 2, 3, 4):
        step = smallest / divisor
        counts = places / step
        if step * _FINEST >= 1 and np.abs(counts - np.round(counts)).max() < 1e-3:
            return float(places[-1] / np.round(counts[-1]))
    return None
