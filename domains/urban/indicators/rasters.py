"""Indicators of tiles from rasters: zonal statistics with exact shares of pixels, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ....core.errors import ConfigError, InputError, nearest, require
from ..geometry.tiles import Tiles
from ..loaders.errors import MissingCRSError
from .coverage import Rings, covered_shares, pixel_windows

if TYPE_CHECKING:
    from ..loaders.raster import Raster

Stat = Literal["area_weighted", "mean", "sum", "point"]
"""``area_weighted``: mean of the pixels under the tile, each with the share that the tile covers: densities,
rates, heights. ``sum``: pixels times shares, added up: people, tons, money. ``mean``: plain mean of pixels
whose center lies in the tile, or the one under its center where none does. ``point``: the pixel under the
center of the tile."""

STATS: tuple[Stat, ...] = get_args(Stat)

_TILES_AT_ONCE = 10_000
_CELLS_AT_ONCE = 400_000
_PIXELS_AT_ONCE = 4_000_000
"""What one step holds: outlines, pixels under tiles, pixels of the raster."""


@dataclass(frozen=True)
class Zonal:
    """Statistics of N tiles over one raster.

    Attributes:
        values: float64 [N], NaN where too little of a tile holds valid pixels.
        valid: float64 [N], share of each tile that does, 0 to 1.
    """

    values: NDArray[np.float64]
    valid: NDArray[np.float64]


def zonal_statistics(
    raster: Raster, tiles: Tiles, *, stat: Stat = "area_weighted", min_valid: float = 0.5
) -> Zonal:
    """Return a statistic of the pixels of a raster under each tile.

    Outlines of tiles are moved into the raster's coordinate system, never the other way: pixels are not
    resampled. Nodata, masked and not-a-number pixels count as missing. A sum over a tile that is partly
    missing is the sum of what is there.

    Args:
        raster: of one band, opened with ``scaling="none"``; with ``unscale=True`` its scale and offset tags
            are applied.
        tiles: in any coordinate system.
        stat: see :data:`Stat`.
        min_valid: share of a tile that must hold valid pixels.

    Raises:
        ConfigError: unknown statistic or a share outside of 0 to 1.
        InputError: the raster has several bands or no coordinate system, or lies elsewhere than every tile.
    """
    if stat not in STATS:
        raise ConfigError(
            f"Unknown statistic {stat!r}; there are: {', '.join(STATS)}.{nearest(str(stat), STATS)}"
        )
    if not 0 <= min_valid <= 1:
        raise ConfigError(f"min_valid must lie between 0 and 1, got {min_valid}.")
    if len(raster.bands) != 1:
        raise InputError(
            f"{raster.name} has {len(raster.bands)} bands ({', '.join(raster.bands[:6])}); an indicator is "
            "one. Say which: bands={'population': 1}, or --band population=1."
        )
    if not raster.crs:
        raise MissingCRSError(
            f"{raster.name} does not say where it lies, so nothing can be said of places. Georeference it "
            "first."
        )
    values, valid = np.full(len(tiles), np.nan), np.zeros(len(tiles))
    met = False
    for start in range(0, len(tiles), _TILES_AT_ONCE):
        rows = np.arange(start, min(start + _TILES_AT_ONCE, len(tiles)))
        outlines = _outlines(tiles.take(rows), raster)
        if stat == "point":
            found, share, touched = _points(raster, outlines.centers)
        else:
            found, share, touched = _shares(raster, outlines, stat)
        met |= touched
        valid[rows] = share
        values[rows] = np.where(share >= max(min_valid, 1e-9), found, np.nan)
    if len(tiles) and not met:
        raise InputError(
            f"{raster.name} does not reach any of the {len(tiles)} tiles: it covers "
            f"{tuple(round(edge, 4) for edge in raster.bounds)} of {raster.crs[:40]}. Is it of another area, "
            "or is its coordinate system wrong?"
        )
    return Zonal(values, valid)


@dataclass(frozen=True)
class _Outlines:
    """N tiles in pixels of a raster.

    Attributes:
        rings: outlines of P parts; a tile on the antimeridian has one on either side of it.
        tile: int64 [P], of each part.
        areas: float64 [N]. centers: float64 [N, 2] (column, row).
    """

    rings: Rings
    tile: NDArray[np.int64]
    areas: NDArray[np.float64]
    centers: NDArray[np.float64]


def _outlines(tiles: Tiles, raster: Raster) -> _Outlines:
    """Return tiles in pixels of the raster; centers that its coordinate system cannot show are NaN."""
    shapely = require("shapely", extra="urban")
    parts, tile = shapely.get_parts(tiles.footprints(raster.crs), return_index=True)
    points, owner = shapely.get_coordinates(shapely.get_exterior_ring(parts), return_index=True)
    centers = _pixels(tiles.centers(raster.crs), raster)
    pixels = _pixels(points, raster)
    same = owner[1:] == owner[:-1]
    # Around the first vertex, or the products of large numbers would swallow the area of a small tile.
    local = pixels - pixels[np.searchsorted(owner, owner)] if len(owner) else pixels
    cross = (local[:-1, 0] * local[1:, 1] - local[1:, 0] * local[:-1, 1])[same]
    of_parts = np.abs(np.bincount(owner[1:][same], cross, minlength=len(parts))) / 2
    areas: NDArray[np.float64] = np.bincount(tile, of_parts, minlength=len(tiles)).astype(np.float64)
    return _Outlines(Rings(pixels, owner.astype(np.int64)), tile.astype(np.int64), areas, centers)


def _pixels(points: NDArray[np.float64], raster: Raster) -> NDArray[np.float64]:
    """Return (column, row) of points (x, y) in the raster's coordinate system."""
    a, b, c, d, e, f = raster.transform
    x, y = points[:, 0] - c, points[:, 1] - f
    size = a * e - b * d
    return np.stack([(e * x - b * y) / size, (a * y - d * x) / size], axis=1)


def _points(
    raster: Raster, centers: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], bool]:
    """Return the pixel under each center, 1 where it is valid, and whether any center lies on the raster."""
    cells = np.floor(np.where(np.isfinite(centers), centers, -1.0))
    on = (cells >= 0).all(axis=1) & (cells < [raster.width, raster.height]).all(axis=1)
    rows = np.flatnonzero(on)
    windows = np.concatenate([cells[rows], np.ones((len(rows), 2))], axis=1).astype(np.int64)
    values, valid = np.full(len(centers), np.nan), np.zeros(len(centers))
    for part, numbers, mask in _read(raster, windows):
        values[rows[part]], valid[rows[part]] = numbers, mask
    return values, valid, bool(on.any())


def _shares(
    raster: Raster, outlines: _Outlines, stat: Stat
) -> tuple[NDArray[np.float64], NDArray[np.float64], bool]:
    """Return the statistic, the share of valid pixels, and whether any tile touches the raster."""
    count = len(outlines.areas)
    outer = pixel_windows(outlines.rings, len(outlines.tile), raster.width, raster.height)
    parts, windows = _strips(outer)
    # Weight and weighted value by covered share, then by centers inside.
    weight, total, inside, plain = np.zeros((4, count))
    for part, numbers, mask in _read(raster, windows):
        share = covered_shares(outlines.rings, parts[part], windows[part]) * mask
        outline = np.repeat(parts[part], windows[part, 2] * windows[part, 3])
        owner = outlines.tile[outline]
        numbers = np.where(mask, numbers, 0.0)
        weight += np.bincount(owner, share, minlength=count)
        total += np.bincount(owner, share * numbers, minlength=count)
        if stat == "mean":
            within = mask & _centers_inside(outlines.rings, outline, windows[part])
            inside += np.bincount(owner, within, minlength=count)
            plain += np.bincount(owner, within * numbers, minlength=count)
    with np.errstate(invalid="ignore", divide="ignore"):
        valid = np.where(outlines.areas > 0, np.minimum(weight / outlines.areas, 1.0), 0.0)
        if stat == "sum":
            found = total
        elif stat == "area_weighted":
            found = total / weight
        else:
            found = np.where(inside > 0, plain / inside, _points(raster, outlines.centers)[0])
    return found, valid, bool(len(parts))


def _strips(windows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return (part, window) of all windows with pixels, those of very many pixels cut into strips of rows."""
    parts, strips = [], []
    large = windows[:, 2] * windows[:, 3] > _CELLS_AT_ONCE
    small = np.flatnonzero(~large & (windows[:, 2] > 0))
    for part in np.flatnonzero(large).tolist():
        column, row, width, height = windows[part].tolist()
        step = max(1, _CELLS_AT_ONCE // width)
        for top in range(row, row + height, step):
            parts.append(part)
            strips.append((column, top, width, min(step, row + height - top)))
    if not parts:
        return small, windows[small]
    return np.concatenate([small, parts]), np.concatenate(
        [windows[small], np.asarray(strips, dtype=np.int64)]
    )


def _read(
    raster: Raster, windows: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.bool_]]]:
    """Yield (windows, numbers, which of these are valid) until all windows [P, 4] are read.

    Pixels stand one window after the other, by rows. Neighbouring windows share one read.
    """
    if not len(windows):
        return
    subtract, divide = raster.profile.subtract[0], raster.profile.divide[0]
    # Bands of rows as high as the highest window, from left to right: neighbors follow each other.
    band = (windows[:, 1] + windows[:, 3] // 2) // max(1, int(windows[:, 3].max()), raster.block[0])
    order = np.lexsort((windows[:, 0], band))
    for part in _groups(order, windows):
        chosen = windows[part]
        left, top = chosen[:, 0].min(), chosen[:, 1].min()
        right, bottom = (chosen[:, 0] + chosen[:, 2]).max(), (chosen[:, 1] + chosen[:, 3]).max()
        values, mask = raster.raw((int(left), int(top), int(right - left), int(bottom - top)))
        good = mask & np.isfinite(values[0])
        columns, rows = _cells(chosen)
        rows, columns = rows - top, columns - left
        numbers = values[0][rows, columns].astype(np.float64)
        # Scale and offset tags of the file: (number - subtract) / divide.
        yield part, (numbers - subtract) / divide, good[rows, columns]


def _groups(order: NDArray[np.int64], windows: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Yield runs of ``order`` whose windows are few pixels together and lie in a rectangle of few."""
    group: list[int] = []
    cells, box = 0, (0, 0, 0, 0)
    for index in order.tolist():
        column, row, width, height = windows[index].tolist()
        own = (column, row, column + width, row + height)
        joined = (min(box[0], own[0]), min(box[1], own[1]), max(box[2], own[2]), max(box[3], own[3]))
        pixels = (joined[2] - joined[0]) * (joined[3] - joined[1])
        if group and (pixels > _PIXELS_AT_ONCE or cells + width * height > _CELLS_AT_ONCE):
            yield np.asarray(group)
            group, cells, joined = [], 0, own
        group.append(index)
        cells, box = cells + width * height, joined if len(group) > 1 else own
    if group:
        yield np.asarray(group)


def _cells(windows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return column and row of every pixel of some windows, one window after the other, by rows."""
    counts = windows[:, 2] * windows[:, 3]
    index = np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)
    width = np.repeat(windows[:, 2], counts)
    return np.repeat(windows[:, 0], counts) + index % width, np.repeat(windows[:, 1], counts) + index // width


def _centers_inside(rings: Rings, part: NDArray[np.int64], windows: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which pixels have their center in the outline of their part."""
    shapely = require("shapely", extra="urban")
    parts = np.unique(part)
    kept = np.isin(rings.owner, parts)
    outlines = shapely.polygons(
        shapely.linearrings(rings.points[kept], indices=np.searchsorted(parts, rings.owner[kept]))
    )
    shapely.prepare(outlines)
    columns, rows = _cells(windows)
    return shapely.intersects_xy(outlines[np.searchsorted(parts, part)], columns + 0.5, rows + 0.5)
