"""From tiles to the raster they are drawn in."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ....core.errors import ConfigError, LimitError
from ....core.limits import DEFAULT
from ..geometry.tiles import Tiles
from .blending import RowBlender, blend_window

_FINEST = 16
"""Tiles that overlap by more than this part of their side are no map of tiles any more."""

Transform = tuple[float, float, float, float, float, float]


@dataclass(frozen=True, eq=False)
class Lattice:
    """A north-up raster with one pixel per tile; the middle of a pixel is the middle of its tile.

    A pixel is the footprint of its tile. Where tiles overlap it is smaller, as wide as the step from one tile
    to the next.

    Attributes:
        transform: (a, b, c, d, e, f) of the raster. width, height: of the raster.
        rows, columns: int64 [N], the pixel of each tile.
        stride: (x, y) from one tile to the next, and side: (x, y) of a tile, in units of the tiles' system.
    """

    transform: Transform
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

    Some tiles may be missing. Tiles with gaps between them, or of which the last row was moved inside at the
    edge of a scene, have no such raster: a pixel would claim ground that its tile did not see.
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
        step = _step(np.unique(np.round(offsets / side[axis], 6)))
        if step is None:
            return None
        axes.append((np.round(offsets / side[axis] / step).astype(np.int64), step))
    (columns, step_x), (rows, step_y) = axes
    width, height = int(columns.max()) + 1, int(rows.max()) + 1
    if len(np.unique(rows * width + columns)) != len(tiles):
        return None
    stride = step_x * float(side[0]), step_y * float(side[1])
    west = float(bounds[:, 0].min()) + (float(side[0]) - stride[0]) / 2
    north = float(bounds[:, 3].max()) - (float(side[1]) - stride[1]) / 2
    transform = (stride[0], 0.0, west, 0.0, -stride[1], north)
    return Lattice(transform, width, height, rows, columns, stride, (float(side[0]), float(side[1])))


def _step(places: NDArray[np.float64]) -> float | None:
    """Return the step from one place to the next, in sides of a tile, or None where there is no single one.

    Args:
        places: of tiles along one axis from the first one, ascending, in sides of a tile.
    """
    steps = np.diff(places)
    if np.abs(places - np.round(places)).max() < 1e-3:
        return 1.0  # side by side, and some may be missing
    # Tiles that overlap follow each other closely: across a gap they would be narrower than what they saw.
    even = np.abs(steps - steps[0]).max() < 1e-3 and 1 / _FINEST - 1e-6 <= steps[0] < 1
    return float(places[-1] / len(steps)) if even else None


@dataclass(frozen=True, eq=False)
class TileRaster:
    """The raster that tiles are drawn in.

    Attributes:
        transform, width, height: of the raster.
        tiles: N.
        lattice: with one pixel per tile; None where tiles are drawn into finer pixels.
        mean: finer pixels get the mean of the tiles over them, which count less towards their edges, and not
            the value of the tile whose middle is nearest.
    """

    transform: Transform
    width: int
    height: int
    tiles: Tiles
    lattice: Lattice | None
    mean: bool = False

    @property
    def block(self) -> int:
        """Side of a block of the file in pixels, and rows that are drawn at a time."""
        return 512 if max(self.width, self.height) > 2048 else 256

    def describe(self) -> dict[str, str]:
        """Return what a pixel is, as tags."""
        windows = self.tiles.windows
        size: dict[str, str] = {}
        scale = None
        if windows is not None and len(np.unique(windows[:, 2:], axis=0)) == 1:
            columns, rows = windows[0, 2:].tolist()
            size, scale = {"tile_size": f"{columns} x {rows} px"}, (columns, rows)
        if self.lattice is None:
            of = "mean of the tiles over it" if self.mean else "of the tiles over it the nearest"
            return {**size, "pixel": f"{self.transform[0]:.10g} units of the CRS; {of}"}
        step, side = self.lattice.stride, self.lattice.side
        if scale is not None:
            step = tuple(round(one / whole * px) for one, whole, px in zip(step, side, scale, strict=True))
            size["stride"] = f"{step[0]} x {step[1]} px"
        else:
            size["stride"] = f"{step[0]:.10g} x {step[1]:.10g} units of the CRS"
        return {**size, "pixel": "footprint of a tile, or of the step between tiles that overlap"}

    def strips(self, bands: NDArray[np.float32]) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Yield (first row, float32 [bands, rows, width]) from north to south, a block of rows at a time.

        Args:
            bands: float32 [bands, N]; NaN has no colour, and is what pixels without a tile get.
        """
        if self.mean:
            yield from self._means(bands)
            return
        image = self.image(bands)
        for row in range(0, self.height, self.block):
            yield row, image[:, row : row + self.block]

    def image(self, bands: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return float32 [bands, height, width], each pixel with the value of one tile."""
        if self.lattice is not None:
            return np.stack([self.lattice.spread(values) for values in bands])
        image = np.full((len(bands), self.height, self.width), np.nan, np.float32)
        away = np.full((self.height, self.width), np.inf, np.float32)
        centers, sides = self.tiles.centers(), self.tiles.bounds[:, 2:] - self.tiles.bounds[:, :2]
        across, _, west, _, down, north = self.transform
        for tile, (left, top, right, bottom) in enumerate(self._boxes().clip(0).tolist()):
            x = np.abs(west + (np.arange(left, min(right, self.width)) + 0.5) * across - centers[tile, 0])
            y = np.abs(north + (np.arange(top, min(bottom, self.height)) + 0.5) * down - centers[tile, 1])
            here = np.hypot((y / sides[tile, 1])[:, None], (x / sides[tile, 0])[None]).astype(np.float32)
            where = slice(top, bottom), slice(left, right)
            nearer = here < away[where]
            away[where][nearer] = here[nearer]
            image[(slice(None), *where)][:, nearer] = bands[:, tile, None]
        return image

    def _means(self, bands: NDArray[np.float32]) -> Iterator[tuple[int, NDArray[np.float32]]]:
        ready: list[tuple[int, NDArray[np.float32]]] = []
        blender = RowBlender(
            lambda row, rows: ready.append((row, rows)),
            width=self.width,
            height=self.height,
            bands=len(bands),
            block_rows=self.block,
        )
        boxes = self._boxes()
        windows: dict[tuple[int, int], NDArray[np.float32]] = {}
        for tile in np.argsort(boxes[:, 1], kind="stable").tolist():
            left, top, right, bottom = boxes[tile].tolist()
            shape = bottom - top, right - left
            if shape not in windows:
                windows[shape] = blend_window(*shape)
            patch = np.broadcast_to(bands[:, tile, None, None], (len(bands), *shape))
            blender.add(patch, top, left, weights=windows[shape])
            yield from ready
            ready.clear()
        blender.close()
        yield from ready

    def _boxes(self) -> NDArray[np.int64]:
        """Return (left, top, right, bottom) int64 [N, 4]: pixels whose middle a tile covers, one at least."""
        pixel, _, west, _, down, north = self.transform
        bounds = self.tiles.bounds
        edges = np.stack(
            [
                (bounds[:, 0] - west) / pixel,
                (bounds[:, 3] - north) / down,
                (bounds[:, 2] - west) / pixel,
                (bounds[:, 1] - north) / down,
            ],
            axis=1,
        )
        boxes = np.ceil(edges - 0.5 - 1e-6).astype(np.int64)
        thin = boxes[:, 2:] <= boxes[:, :2]
        boxes[:, 2:] = np.where(thin, boxes[:, :2] + 1, boxes[:, 2:])
        return boxes


def raster_of(tiles: Tiles, resolution: float | None = None, *, bands: int = 1) -> TileRaster:
    """Return the raster that tiles are drawn in.

    Args:
        tiles: at least one.
        resolution: side of a pixel; None takes tiles as pixels, or a quarter of their side where they are not
            regularly spaced.
        bands: that it shall hold.

    Raises:
        InputError: the tiles have no coordinate system.
        ConfigError: an impossible resolution.
        LimitError: too large a raster.
    """
    tiles.take([0]).footprints()
    lattice = lattice_of(tiles) if resolution is None else None
    if lattice is not None:
        found = TileRaster(lattice.transform, lattice.width, lattice.height, tiles, lattice)
    else:
        bounds = np.asarray(tiles.bounds, np.float64)
        pixel = resolution
        if pixel is None:
            pixel = float(np.median(bounds[:, 2:] - bounds[:, :2])) / 4
        if not (math.isfinite(pixel) and pixel > 0):
            raise ConfigError(f"The resolution of a map is a length above 0, got {resolution}.")
        west, south, east, north = tiles.extent
        width, height = (max(1, math.ceil(span / pixel - 1e-6)) for span in (east - west, north - south))
        transform = (pixel, 0.0, west, 0.0, -pixel, north)
        found = TileRaster(transform, width, height, tiles, None, mean=resolution is not None)
    size = 4 * found.width * found.height * bands
    if size > DEFAULT.decoded_bytes:
        raise LimitError(
            f"A map of {found.width:,} x {found.height:,} pixels and {bands} bands takes {size:,} bytes; the "
            f"limit is {DEFAULT.decoded_bytes:,}. Give a coarser resolution, or map fewer tiles."
        )
    return found
