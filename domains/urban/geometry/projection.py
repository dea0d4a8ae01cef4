"""Coordinate systems: naming them, moving points and polygons from one to another."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ....core.errors import InputError, require
from ..loaders.errors import MissingCRSError
from .antimeridian import cut_at_antimeridian
from .china import DATUMS, from_wgs84, to_wgs84

if TYPE_CHECKING:
    from pyproj import CRS

Geometries = NDArray[np.object_]
"""Shapely polygons."""

WGS84, WEB_MERCATOR = "EPSG:4326", "EPSG:3857"
_SEGMENT_DEGREES, _SEGMENT_METERS = 0.02, 2000.0
"""Longest edge left straight when polygons move: about 0.1 m off the curved one at middle latitudes."""
_MOST_VERTICES = 2_000_000


def crs_name(crs: Any) -> str:
    """Return "EPSG:32618" for what has an authority code, else WKT; "GCJ-02" and "BD-09" pass.

    Raises:
        InputError: not a coordinate system.
    """
    if is_shifted(crs):
        return str(crs)
    return _name_of(crs) if isinstance(crs, str) else _named(parse_crs(crs))


@functools.lru_cache(maxsize=256)
def _name_of(crs: str) -> str:
    # Looked up in a data base, and asked for by every file of a mosaic.
    return _named(parse_crs(crs))


def _named(parsed: CRS) -> str:
    code = parsed.to_authority(min_confidence=100)
    return ":".join(code) if code else parsed.to_wkt()


def is_shifted(crs: Any) -> bool:
    """Return whether a name is "GCJ-02" or "BD-09", which other libraries do not know."""
    return isinstance(crs, str) and crs in DATUMS[1:]


def parse_crs(crs: Any) -> CRS:
    """Return the pyproj object of a code, WKT, PROJJSON or object of another library.

    Raises:
        MissingCRSError: none was given.
        InputError: not a coordinate system.
    """
    pyproj = require("pyproj", extra="urban")
    if crs is None or crs == "":
        raise MissingCRSError("There is no coordinate system. Say which it is, for example crs='EPSG:32618'.")
    try:
        return pyproj.CRS.from_user_input(crs)
    except pyproj.exceptions.CRSError as error:
        word = str(crs)
        raise InputError(
            f"{word if len(word) < 80 else word[:77] + '...'!r} is not a known coordinate system. Give a "
            "code such as 'EPSG:4326' (longitude, latitude), 'EPSG:32650' (UTM), 'GCJ-02' or 'BD-09'."
        ) from error


def same_crs(one: Any, other: Any) -> bool:
    """Return whether two names mean one coordinate system; the order of axes is always x, y here."""
    if one == other:
        return True
    if is_shifted(one) or is_shifted(other):
        return False
    if isinstance(one, str) and isinstance(other, str):
        return _same(one, other)
    return parse_crs(one).equals(parse_crs(other), ignore_axis_order=True)


@functools.lru_cache(maxsize=256)
def _same(one: str, other: str) -> bool:
    return parse_crs(one).equals(parse_crs(other), ignore_axis_order=True)


def is_geographic(crs: Any) -> bool:
    """Return whether coordinates are degrees of longitude and latitude."""
    return is_shifted(crs) or parse_crs(crs).is_geographic


def transform_points(
    x: ArrayLike, y: ArrayLike, source: Any, target: Any
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return points of ``source`` in ``target``, x (or longitude) first; infinite where there is no answer.

    Both may be any coordinate system, "GCJ-02" and "BD-09" included.
    """
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if is_shifted(source):
        x, y = to_wgs84(x, y, source)
        source = WGS84
    shifted = target if is_shifted(target) else None
    if shifted:
        target = WGS84
    if not same_crs(source, target):
        pyproj = require("pyproj", extra="urban")
        mover = pyproj.Transformer.from_crs(parse_crs(source), parse_crs(target), always_xy=True)
        x, y = (np.asarray(axis, dtype=np.float64) for axis in mover.transform(x, y))
    return from_wgs84(x, y, shifted) if shifted else (x, y)


def reproject(geometries: Geometries, source: Any, target: Any) -> Geometries:
    """Return polygons of ``source`` in ``target``.

    Long edges are divided first, because what is straight in one system is curved in the other. A polygon
    with points that ``target`` cannot show becomes an empty one; one that crosses the antimeridian comes in
    parts where ``target`` counts in degrees.
    """
    if same_crs(source, target) or not len(geometries):
        return geometries
    shapely = require("shapely", extra="urban")
    divided = shapely.segmentize(geometries, _segment(geometries, source))
    points = shapely.get_coordinates(divided)
    x, y = transform_points(points[:, 0], points[:, 1], source, target)
    lost = ~(np.isfinite(x) & np.isfinite(y))
    if lost.any():
        owner = np.repeat(np.arange(len(divided)), shapely.get_num_coordinates(divided))
        gone = np.unique(owner[lost])
        keep = ~np.isin(owner, gone)
        divided = divided.copy()
        divided[gone] = shapely.Polygon()
        x, y = x[keep], y[keep]
    moved = shapely.set_coordinates(divided, np.stack([x, y], 1))
    return cut_at_antimeridian(moved) if is_geographic(target) else moved


def _segment(geometries: Geometries, crs: Any) -> float:
    """Return the longest edge to leave whole, in units of ``crs``; longer where there would be too many."""
    shapely = require("shapely", extra="urban")
    length = _SEGMENT_DEGREES if is_geographic(crs) else _SEGMENT_METERS / meters_per_unit(crs)
    perimeter = float(np.nansum(shapely.length(geometries)))
    return max(length, perimeter / _MOST_VERTICES)


def meters_per_unit(crs: Any) -> float:
    """Return metres per unit of a projected coordinate system (0.3048 for feet)."""
    axes = parse_crs(crs).axis_info
    return float(axes[0].unit_conversion_factor) if axes else 1.0


def transform_bounds(
    bounds: tuple[float, float, float, float], source: Any, target: Any
) -> tuple[float, float, float, float]:
    """Return the rectangle in ``target`` around a rectangle of ``source``, its edges followed in 21 steps.

    Raises:
        InputError: ``target`` cannot show any of it.
    """
    if same_crs(source, target):
        return bounds
    west, south, east, north = bounds
    u, v = np.linspace(west, east, 23), np.linspace(south, north, 23)
    grid_x, grid_y = np.meshgrid(u, v)
    x, y = transform_points(grid_x.ravel(), grid_y.ravel(), source, target)
    seen = np.isfinite(x) & np.isfinite(y)
    if not seen.any():
        raise InputError(
            f"The rectangle {tuple(round(edge, 6) for edge in bounds)} of {crs_name(source)[:40]} has no "
            f"place in {crs_name(target)[:40]}. Check which coordinate system the numbers are in."
        )
    x, y = x[seen], y[seen]
    return float(x.min()), float(y.min()), float(x.max()), float(y.max())
