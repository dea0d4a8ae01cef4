"""Tile schemes by word: where their tiles lie, and which of them lie in a rectangle."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ....core.errors import ConfigError, nearest, require
from . import baidu, webmercator
from .china import DATUMS, Datum, from_wgs84
from .projection import WEB_MERCATOR, Geometries, transform_points
from .tiles import Tiles

SCHEMES = ("webmercator", "tms", "baidu")
"""XYZ (y from the north), TMS (y from the south), and Baidu's (y from the equator to the north)."""
_NEAR_ZOOM, _PARTS_NEAR, _PARTS_FAR = 15, 4, 8
"""Parts of an edge that a datum bends: within a tenth of a pixel (1/256 of the tile) of the curve."""
_AT_ONCE = 100_000


def check_scheme(scheme: str, datum: str | None) -> Datum:
    """Return the datum of a scheme; by default WGS-84, and BD-09 for Baidu's.

    Raises:
        ConfigError: an unknown scheme or datum.
    """
    if scheme not in SCHEMES:
        raise ConfigError(
            f"{scheme!r} is no tile scheme; known: {', '.join(SCHEMES)}.{nearest(scheme, SCHEMES)}"
        )
    if datum is None:
        return "BD-09" if scheme == "baidu" else "EPSG:4326"
    if datum not in DATUMS:
        raise ConfigError(
            f"{datum!r} is nothing that a tile scheme is counted in; known: {', '.join(DATUMS)}."
            f"{nearest(str(datum), DATUMS)}"
        )
    return cast("Datum", datum)


def scheme_tiles(zxy: NDArray[np.int64], scheme: str, datum: str | None = None) -> Tiles:
    """Return the tiles of int64 [N, 3] (zoom, x, y) with bounds in EPSG:3857.

    Bounds of tiles in GCJ-02 or BD-09 are the rectangles around their true places; ``footprints`` gives the
    places themselves, which are turned and bent by some tenths of a percent.

    Raises:
        ConfigError: an unknown scheme or datum.
        InputError: a zoom that the scheme does not have.
    """
    known = check_scheme(scheme, datum)
    if scheme != "baidu" and known == "EPSG:4326":
        bounds = np.zeros((len(zxy), 4))
        for zoom, rows in _by_zoom(zxy):
            x, y = zxy[rows, 1], zxy[rows, 2]
            bounds[rows] = webmercator.tile_bounds(
                x, webmercator.flip_y(y, zoom) if scheme == "tms" else y, zoom
            )
    else:
        shapely = require("shapely", extra="urban")
        parts = [zxy[start : start + _AT_ONCE] for start in range(0, len(zxy), _AT_ONCE)]
        bounds = np.concatenate(
            [np.zeros((0, 4))]
            + [shapely.bounds(true_footprints(part, scheme, known, WEB_MERCATOR)) for part in parts]
        )
    ids = tuple(f"{zoom}_{x}_{y}" for zoom, x, y in zxy.tolist())
    return Tiles(ids, bounds, WEB_MERCATOR, zxy=zxy.astype(np.int64), scheme=scheme, datum=known)


def true_footprints(zxy: NDArray[np.int64], scheme: str, datum: str, crs: Any) -> Geometries:
    """Return the polygons of tiles (zoom, x, y) in ``crs``, corrected for the datum they are counted in."""
    shapely = require("shapely", extra="urban")
    outlines = np.empty(len(zxy), dtype=object)
    for zoom, rows in _by_zoom(zxy):
        u, v = _around(_PARTS_NEAR if zoom >= _NEAR_ZOOM else _PARTS_FAR)
        for start in range(0, len(rows), _AT_ONCE):
            some = rows[start : start + _AT_ONCE]
            lon, lat = _degrees(zxy[some, 1, None] + u, zxy[some, 2, None], v, zoom, scheme)
            x, y = transform_points(lon, lat, datum, crs)
            outlines[some] = shapely.polygons(np.stack([x, y], -1))
    return outlines


def _around(parts: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the unit square's outline against the clock from its lower left corner, sides in ``parts``."""
    steps, zero, one = np.arange(parts) / parts, np.zeros(parts), np.ones(parts)
    return np.concatenate([steps, one, 1 - steps, zero]), np.concatenate([zero, steps, one, 1 - steps])


def _degrees(
    x: NDArray[Any], y: NDArray[Any], up: NDArray[Any], zoom: int, scheme: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return degrees, in the scheme's datum, of a point ``up`` of the way from a tile's lower edge."""
    if scheme == "baidu":
        return baidu.tile_corner(x, y + up, zoom)
    side = 2 * webmercator.HALF_M / (1 << zoom)
    north_rows = (1 << zoom) - 1 - y if scheme == "tms" else y
    return webmercator.meters_to_lonlat(
        -webmercator.HALF_M + x * side, webmercator.HALF_M - (north_rows + 1 - up) * side
    )


def tile_range(
    bounds: tuple[float, float, float, float], zoom: int, scheme: str, datum: Datum
) -> tuple[int, int, int, int]:
    """Return (first x, first y, last x, last y) of the tiles around a rectangle in WGS-84 degrees.

    A rectangle beyond the scheme gives the tiles at its edge; with a shifted datum there may be a row or
    column too many.
    """
    west, south, east, north = bounds
    u, v = np.linspace(west, east, 9), np.linspace(south, north, 9)
    grid_lon, grid_lat = np.meshgrid(u, v)
    lon, lat = from_wgs84(grid_lon.ravel(), grid_lat.ravel(), datum)
    if scheme == "baidu":
        x, y = baidu.tile_of(lon, np.clip(lat, -85.0, 85.0), zoom)
    else:
        x, y = webmercator.tile_of(lon, lat, zoom)
        y = webmercator.flip_y(y, zoom) if scheme == "tms" else y
    more = 0 if datum == "EPSG:4326" else 1
    last = None if scheme == "baidu" else (1 << zoom) - 1
    found = [int(x.min()) - more, int(y.min()) - more, int(x.max()) + more, int(y.max()) + more]
    if last is not None:
        found = [min(max(index, 0), last) for index in found]
    return found[0], found[1], found[2], found[3]


def _by_zoom(zxy: NDArray[np.int64]) -> list[tuple[int, NDArray[np.int64]]]:
    return [(int(zoom), np.flatnonzero(zxy[:, 0] == zoom)) for zoom in np.unique(zxy[:, 0])]
