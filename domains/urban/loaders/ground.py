"""Sizes on the ground."""

from __future__ import annotations

import math

from ..geometry.projection import transform_points
from .header import Transform

_SEMI_MAJOR_M = 6378137.0
_FLATTENING = 1 / 298.257223563


def ground_size(crs: str, transform: Transform, *, column: float, row: float) -> float:
    """Return the ground size in metres of a pixel: the square root of its area; NaN where there is none.

    Args:
        crs: authority code or WKT.
        transform: of the grid.
        column: of the pixel's center.
        row: of the pixel's center.
    """
    a, b, c, d, e, f = transform
    offsets = ((-0.5, 0.0), (0.5, 0.0), (0.0, -0.5), (0.0, 0.5))
    xs = [a * (column + x) + b * (row + y) + c for x, y in offsets]
    ys = [d * (column + x) + e * (row + y) + f for x, y in offsets]
    longitudes, latitudes = (axis.tolist() for axis in transform_points(xs, ys, crs, "EPSG:4326"))
    if not all(map(math.isfinite, (*longitudes, *latitudes))):
        return math.nan
    across = ground_distance(longitudes[0], latitudes[0], longitudes[1], latitudes[1])
    down = ground_distance(longitudes[2], latitudes[2], longitudes[3], latitudes[3])
    return math.sqrt(across * down)


def ground_distance(
    longitude: float, latitude: float, other_longitude: float, other_latitude: float
) -> float:
    """Return metres between two near points on the WGS 84 ellipsoid, in degrees."""
    middle = math.radians((latitude + other_latitude) / 2)
    squared = _FLATTENING * (2 - _FLATTENING)
    factor = 1 - squared * math.sin(middle) ** 2
    meridian = _SEMI_MAJOR_M * (1 - squared) / factor**1.5
    parallel = _SEMI_MAJOR_M / math.sqrt(factor) * math.cos(middle)
    turn = (other_longitude - longitude + 180) % 360 - 180
    return math.hypot(math.radians(turn) * parallel, math.radians(other_latitude - latitude) * meridian)
