"""Outlines in degrees, cut where longitude jumps from 180 to -180, as GeoJSON (RFC 7946, 3.1.9) wants them.

Without the cut a tile of 600 m on the antimeridian, or around a pole, would span the whole Earth on a map,
and meet every region of its latitude.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ....core.errors import require

if TYPE_CHECKING:
    from .projection import Geometries

_NEAR = 1e-9
"""Degrees by which a point may miss the antimeridian and still lie on it."""


def cut_at_antimeridian(polygons: Geometries, *, jumps: bool = True) -> Geometries:
    """Return polygons in degrees with those that cross the antimeridian in parts on both sides of it.

    Args:
        polygons: longitudes may leave -180 to 180. Rings around a pole are closed over it.
        jumps: no edge is as long as 180 degrees of longitude, so one that seems to be is a short one across
            the antimeridian. False for rectangles, whose edges are as long as they seem.
    """
    shapely = require("shapely", extra="urban")
    bounds = shapely.bounds(polygons)
    crossing = (bounds[:, 0] < -180.0) | (bounds[:, 2] > 180.0)
    if jumps:
        crossing |= bounds[:, 2] - bounds[:, 0] > 180.0
    if not crossing.any():
        return polygons
    found = polygons.copy()
    for index in np.flatnonzero(crossing).tolist():
        parts = [_cut(part, jumps) for part in shapely.get_parts(polygons[index])]
        found[index] = shapely.orient_polygons(shapely.union_all(parts))
    return found


def _cut(polygon: Any, jumps: bool) -> Any:
    """Return one polygon, cut."""
    shapely = require("shapely", extra="urban")
    area = _filled(shapely.get_coordinates(polygon.exterior), jumps)
    holes = [_filled(shapely.get_coordinates(ring), jumps) for ring in polygon.interiors]
    return shapely.difference(area, shapely.union_all(holes)) if holes else area


def _filled(ring: NDArray[np.float64], jumps: bool) -> Any:
    """Return what a closed ring [N, 2] encloses, between -180 and 180."""
    shapely = require("shapely", extra="urban")
    longitude, latitude = ring[:, 0], ring[:, 1]
    if jumps:
        longitude = np.unwrap(longitude, period=360.0)
    for edge in (-180.0, 180.0):
        longitude = np.where(np.abs(longitude - edge) < _NEAR, edge, longitude)
    if abs(longitude[-1] - longitude[0]) > 180.0:
        # Once around the Earth: what is enclosed holds the nearer pole.
        pole = 90.0 if latitude.mean() > 0 else -90.0
        longitude = np.append(longitude, [longitude[-1], longitude[0], longitude[0]])
        latitude = np.append(latitude, [pole, pole, latitude[0]])
    shape = shapely.make_valid(shapely.Polygon(np.stack([longitude, latitude], 1)))
    west, _, east, _ = shape.bounds
    pieces = []
    for turn in range(int(np.floor((west + 180.0) / 360.0)), int(np.floor((east + 180.0) / 360.0)) + 1):
        piece = shapely.intersection(
            shape, shapely.box(360.0 * turn - 180.0, -90.0, 360.0 * turn + 180.0, 90.0)
        )
        moved = shapely.transform(piece, lambda points, by=turn: points - [360.0 * by, 0.0])
        pieces += [part for part in shapely.get_parts(moved) if part.geom_type.endswith("Polygon")]
    return shapely.union_all(pieces)
