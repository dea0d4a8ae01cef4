"""Windows of a raster in another coordinate system, warped when they are read.

One view is opened per coordinate system, pixel size and place of the grid, and reused for every tile that
lies on that grid: a view that is opened per tile costs more than the warping.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from ....core.errors import require
from .errors import GeoreferenceError
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
MERCATOR_LATITUDE = 85.06
"""Web Mercator ends here; beyond, coordinates run to infinity."""


@dataclass(frozen=True)
class WarpGrid:
    """A grid of pixels in a target coordinate system that holds one file.

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


def warp_grid(
    channels: Channels, extent: Bounds, *, crs: str, bounds: Bounds, size: tuple[int, int]
) -> WarpGrid:
    """Return the grid on which a tile lies, extended to the whole of a file.

    Args:
        channels: of the file.
        extent: of the file in ``crs``.
        crs: of the tile.
        bounds: of the tile.
        size: (rows, columns) of the tile.

    Raises:
        GeoreferenceError: the grid has too many pixels to be addressed.
    """
    west, south, east, north = bounds
    # Tiles of one grid differ in the last digits of their coordinates and shall share a view.
    x, y = (float(f"{value:.9g}") for value in ((east - west) / size[1], (north - south) / size[0]))
    phase_x = round((west / x) % 1 * _PHASES) % _PHASES / _PHASES
    phase_y = round((north / y) % 1 * _PHASES) % _PHASES / _PHASES
    left = math.floor(extent[0] / x - phase_x) - 1
    top = math.ceil(extent[3] / y - phase_y) + 1
    width = math.ceil((extent[2] - extent[0]) / x) + 4
    height = math.ceil((extent[3] - extent[1]) / y) + 4
    if max(width, height) >= 2**31:
        raise GeoreferenceError(
            f"{channels.header.label}: at {x:.3g} x {y:.3g} units of {crs} per pixel it would have "
            f"{width:,} x {height:,} pixels. Ask for larger tiles or fewer pixels each."
        )
    return WarpGrid(crs, (x, 0.0, (left + phase_x) * x, 0.0, -y, (top + phase_y) * y), width, height)


def share_ground(one: Bounds, other: Bounds) -> bool:
    """Return whether two rectangles overlap."""
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def in_pixels(channels: Channels) -> Channels:
    """Return the channels of a file placed in a plane of its own: x is the column, y minus the row."""
    header = replace(channels.header, crs=_PLANE, transform=(1.0, 0.0, 0.0, 0.0, -1.0, 0.0))
    return replace(channels, header=header)


def extent_in(header: Header, crs: str) -> Bounds | None:
    """Return the bounds of a file in another coordinate system, or None when it has none there."""
    warp = require("rasterio.warp", extra="urban")
    from rasterio.crs import CRS

    west, south, east, north = bounds_of(header.transform, header.width, header.height)
    target = CRS.from_user_input(crs)
    if CRS.from_user_input(header.crs).is_geographic and "mercator" in target.to_wkt().lower():
        south, north = max(south, -MERCATOR_LATITUDE), min(north, MERCATOR_LATITUDE)
        if south >= north:
            return None
    found = warp.transform_bounds(header.crs, crs, west, south, east, north, densify_pts=21)
    return found if all(math.isfinite(value) for value in found) else None


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
