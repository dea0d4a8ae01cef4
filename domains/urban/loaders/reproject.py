"""Windows of a raster in another coordinate system, warped when they are read.

One view is opened per coordinate system, pixel size and place of the grid, and reused for every tile that
lies on that grid: a view that is opened per tile costs more than the warping.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from ....core.errors import require
from .header import Header, Transform, open_dataset
from .options import RasterOptions
from .reading import Channels
from .views import band_view

Bounds = tuple[float, float, float, float]
"""(west, south, east, north)."""
_PLANE = "EPSG:3857"
"""Stands for a plane without a place; from it to itself nothing is projected."""
_NEAR_ONE = 0.95
_PHASES = 4096
"""Grids that differ by less than this part of a pixel share a view."""
_TOLERANCE = 0.005
"""Most that interpolated coordinates may be off, in pixels of the source; GDAL's own 0.125 shows."""
_WIDE_DEGREES, _WIDE_LATITUDE = 60.0, 85.0
"""Beyond, edges in another coordinate system no longer tell where a file lies: they run to infinity."""
_EVERYWHERE = (-math.inf, -math.inf, math.inf, math.inf)
_LONGEST, _CELL = 2**22, 2**16
"""Pixels of a grid that holds a whole file, at most; beyond, pixels of the cells that it is cut into."""


@dataclass(frozen=True)
class WarpGrid:
    """A grid of pixels in a target coordinate system that holds one file, or the part of it around a tile.

    Attributes:
        crs: of the target.
        transform: north up.
        width: columns.
        height: rows.
    """

    crs: str
    transform: Transform
    width: int
    height: int

    def window(self, bounds: Bounds) -> tuple[float, float, float, float]:
        """Return (column, row, width, height) of bounds, whole numbers where they are up to rounding."""
        a, _, c, _, e, f = self.transform
        west, south, east, north = bounds
        window = ((west - c) / a, (north - f) / e, (east - west) / a, (south - north) / e)
        rounded = tuple(round(value) for value in window)
        near = all(abs(value - whole) < 2 / _PHASES for value, whole in zip(window, rounded, strict=True))
        return rounded if near else window  # pyright: ignore[reportReturnType]


def warp_grid(extent: Bounds, *, crs: str, bounds: Bounds, size: tuple[int, int]) -> WarpGrid:
    """Return the grid on which a tile lies, extended to the whole of a file where that is not too large.

    Args:
        extent: of the file in ``crs``; may be infinite.
        crs: of the tile.
        bounds: of the tile.
        size: (rows, columns) of the tile.
    """
    west, south, east, north = bounds
    # Tiles of one grid differ in the last digits of their coordinates and shall share a view.
    x, y = (float(f"{value:.9g}") for value in ((east - west) / size[1], (north - south) / size[0]))
    phase_x = round((west / x) % 1 * _PHASES) % _PHASES / _PHASES
    phase_y = round((north / y) % 1 * _PHASES) % _PHASES / _PHASES
    left, width = _span((extent[0] / x - phase_x, extent[2] / x - phase_x), west / x - phase_x, size[1])
    # Rows count from north to south.
    top, height = _span((phase_y - extent[3] / y, phase_y - extent[1] / y), phase_y - north / y, size[0])
    return WarpGrid(crs, (x, 0.0, (left + phase_x) * x, 0.0, -y, (phase_y - top) * y), width, height)


def _span(extent: tuple[float, float], start: float, cells: int) -> tuple[int, int]:
    """Return the first line and the number of cells, along one axis, of a grid that holds a tile."""
    low, high = extent
    if high - low < _LONGEST:
        return math.floor(low) - 1, math.ceil(high - low) + 4
    first = (math.floor(start) // _CELL - 1) * _CELL
    return first, max(3 * _CELL, math.ceil(start) - first + cells + 1)


def share_ground(one: Bounds, other: Bounds) -> bool:
    """Return whether two rectangles overlap."""
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def in_pixels(channels: Channels) -> Channels:
    """Return the channels of a file placed in a plane of its own: x is the column, y minus the row."""
    header = replace(channels.header, crs=_PLANE, transform=(1.0, 0.0, 0.0, 0.0, -1.0, 0.0))
    return replace(channels, header=header)


def extents_in(header: Header, crs: str) -> tuple[Bounds, ...]:
    """Return the rectangles around a file in another coordinate system; none where it has no place there.

    A file across the antimeridian has two where coordinates are degrees: one may ask for its ground from
    either side. A file that spans a large part of the Earth has an infinite one.
    """
    own = bounds_of(header.transform, header.width, header.height)
    if crs == header.crs:
        return (own,)
    degrees = _degrees(header)
    if _is_wide(degrees):
        return (_EVERYWHERE,)
    found = _moved(own, header.crs, crs)
    sides = () if found is None else _both_sides(found)
    # In metres, what crosses the antimeridian lies on both ends of the world.
    torn = len(sides) == 1 and degrees is not None and degrees[0] > degrees[2]
    return (_EVERYWHERE,) if torn else sides


def _both_sides(bounds: Bounds) -> tuple[Bounds, ...]:
    """Return bounds whose west is beyond their east, across the antimeridian, as seen from either side."""
    west, south, east, north = bounds
    if west <= east:
        return (bounds,)
    return (west, south, east + 360.0, north), (west - 360.0, south, east, north)


def lies_on(header: Header, bounds: Bounds, crs: str) -> bool:
    """Return whether a rectangle of ``crs`` meets the ground of a file, or may do so."""
    moved = _moved(bounds, crs, header.crs)
    own = bounds_of(header.transform, header.width, header.height)
    return moved is None or any(share_ground(side, own) for side in _both_sides(moved))


def _moved(bounds: Bounds, source: str, target: str) -> Bounds | None:
    """Return the rectangle in ``target`` around one of ``source``, or None where there is none."""
    warp = require("rasterio.warp", extra="urban")
    found = warp.transform_bounds(source, target, *bounds, densify_pts=21)
    return found if all(math.isfinite(value) for value in found) else None


def _degrees(header: Header) -> Bounds | None:
    own = bounds_of(header.transform, header.width, header.height)
    return _moved(own, header.crs, "OGC:CRS84")


def _is_wide(degrees: Bounds | None) -> bool:
    if degrees is None:
        return True
    west, south, east, north = degrees
    across = east - west if east >= west else east - west + 360.0
    return across > _WIDE_DEGREES or max(-south, north) > _WIDE_LATITUDE


def bounds_of(transform: Transform, width: float, height: float) -> Bounds:
    """Return (west, south, east, north) of a grid that is not rotated."""
    a, _, c, _, e, f = transform
    xs, ys = sorted((c, c + a * width)), sorted((f, f + e * height))
    return xs[0], ys[0], xs[1], ys[1]


def open_warped(channels: Channels, grid: WarpGrid, *, resampling: str, options: RasterOptions) -> WarpedFile:
    """Return a file as seen on a grid of another coordinate system.

    Args:
        channels: of the file.
        grid: of the target.
        resampling: a word of :data:`.options.Resampling`.
        options: as the raster was opened.
    """
    from affine import Affine
    from rasterio.enums import Resampling
    from rasterio.vrt import WarpedVRT

    view = band_view(channels)
    header, rule = view.header, view.rule
    source = open_dataset(header.open_name, header.facts, options=options)
    settings: dict[str, Any] = {
        "crs": grid.crs,
        "src_crs": header.crs,
        "transform": Affine(*grid.transform),
        "width": grid.width,
        "height": grid.height,
        "resampling": Resampling[resampling],
        "tolerance": _TOLERANCE,
        **_scales(header, grid),
    }
    missing = _missing_number(view)
    if missing is not None:
        settings |= {"src_nodata": missing, "nodata": missing}
    elif not rule.alpha:
        # Without it, what lies outside of the file would be zeros that count as pixels.
        settings["add_alpha"] = True
        view = replace(view, rule=replace(rule, alpha=len(view.indexes) + 1, dataset_mask=False))
    try:
        return WarpedFile(source, WarpedVRT(source, **settings), view)
    except BaseException:
        source.close()
        raise


def _scales(header: Header, grid: WarpGrid) -> dict[str, float]:
    """Return how many pixels of the grid one of the file gives, along each axis, at the file's center.

    Left to itself the warper measures that anew for every piece it works on, and pieces differ.
    """
    if grid.crs == header.crs or _is_wide(_degrees(header)):
        return {}
    warp = require("rasterio.warp", extra="urban")
    a, _, c, _, e, f = header.transform
    column, row = header.width / 2, header.height / 2
    xs = [c + a * (column + step) for step in (-0.5, 0.5, 0.0, 0.0)]
    ys = [f + e * (row + step) for step in (0.0, 0.0, -0.5, 0.5)]
    x, y = warp.transform(header.crs, grid.crs, xs, ys)[:2]
    if not all(map(math.isfinite, (*x, *y))):
        return {}
    across = math.hypot(x[1] - x[0], x[3] - x[2]) / grid.transform[0]
    down = math.hypot(y[1] - y[0], y[3] - y[2]) / -grid.transform[4]
    return {
        name: 1.0 if value > _NEAR_ONE else value for name, value in (("XSCALE", across), ("YSCALE", down))
    }


def _missing_number(channels: Channels) -> float | None:
    """Return the one number that marks missing pixels on the way through the warper, or None."""
    rule = channels.rule
    if rule.alpha or rule.dataset_mask:
        return None
    numbers = {float(number) for band in rule.missing for number in band}  # pyright: ignore[reportArgumentType]
    if len(numbers) == 1:
        return numbers.pop()
    return math.nan if rule.nan and not numbers else None


class WarpedFile:
    """An open warped view together with the file it reads, and what is read of it."""

    def __init__(self, source: Any, view: Any, channels: Channels) -> None:
        self._source, self.dataset, self.channels = source, view, channels

    def close(self) -> None:
        """Close the view, then the file."""
        self.dataset.close()
        self._source.close()
