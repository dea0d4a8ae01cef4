"""Tiles of web maps: XYZ, TMS and quadkeys on the web mercator square (EPSG:3857).

Every function is vectorized: numbers or arrays of one shape.

Reference: ``satellite_loading.md`` section 7.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ....core.errors import InputError

RADIUS_M = 6378137.0
HALF_M = 20037508.342789244
"""Half of the side of the square, pi * radius."""
LIMIT_DEGREES = 85.0511287798066
"""Latitude of the upper and lower edge."""
MAX_ZOOM = 30

Meters = NDArray[np.float64]


def meters_to_lonlat(x: ArrayLike, y: ArrayLike) -> tuple[Meters, Meters]:
    """Return degrees of EPSG:3857 metres."""
    lon = np.degrees(np.asarray(x, dtype=np.float64) / RADIUS_M)
    return lon, np.degrees(np.arctan(np.sinh(np.asarray(y, dtype=np.float64) / RADIUS_M)))


def tile_of(lon: ArrayLike, lat: ArrayLike, zoom: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return x and y (from the north) of the XYZ tile that holds each point.

    Example:
        >>> [int(index) for index in tile_of(116.3974, 39.9093, 16)]
        [53957, 24832]
    """
    n = _side(zoom)
    lon = np.asarray(lon, dtype=np.float64)
    sine = np.sin(np.radians(np.clip(np.asarray(lat, dtype=np.float64), -LIMIT_DEGREES, LIMIT_DEGREES)))
    x = np.floor((lon + 180.0) / 360.0 * n)
    y = np.floor((0.5 - np.log((1.0 + sine) / (1.0 - sine)) / (4.0 * np.pi)) * n)
    return np.clip(x, 0, n - 1).astype(np.int64), np.clip(y, 0, n - 1).astype(np.int64)


def tile_bounds(x: ArrayLike, y: ArrayLike, zoom: int) -> NDArray[np.float64]:
    """Return (west, south, east, north) of XYZ tiles as float64 [..., 4], in metres of EPSG:3857."""
    side = 2.0 * HALF_M / _side(zoom)
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    west, north = -HALF_M + x * side, HALF_M - y * side
    return np.stack([west, HALF_M - (y + 1.0) * side, -HALF_M + (x + 1.0) * side, north], axis=-1)


def flip_y(y: ArrayLike, zoom: int) -> NDArray[np.int64]:
    """Return TMS rows (from the south) of XYZ rows (from the north), and the other way around."""
    return _side(zoom) - 1 - np.asarray(y, dtype=np.int64)


def quadkey(x: int, y: int, zoom: int) -> str:
    """Return the quadkey of one XYZ tile: one digit 0 to 3 per zoom level."""
    n = _side(zoom)
    if not (0 <= x < n and 0 <= y < n):
        raise InputError(f"There is no tile x={x}, y={y} at zoom {zoom}: both go from 0 to {n - 1}.")
    return "".join(str((x >> bit & 1) + 2 * (y >> bit & 1)) for bit in range(zoom - 1, -1, -1))


def _side(zoom: int) -> int:
    """Return tiles per axis."""
    if not 0 <= zoom <= MAX_ZOOM:
        raise InputError(f"Zoom {zoom} is not a zoom level of a web map; use 0 to {MAX_ZOOM}.")
    return 1 << int(zoom)
