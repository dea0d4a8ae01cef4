"""Naming coordinate systems and moving points and polygons between them."""

from __future__ import annotations

import numpy as np
import pytest
from verticlip.core.errors import InputError
from verticlip.domains.urban.geometry.projection import (
    crs_name,
    is_geographic,
    meters_per_unit,
    reproject,
    same_crs,
    transform_bounds,
    transform_points,
)
from verticlip.domains.urban.loaders.errors import MissingCRSError

pyproj, shapely = pytest.importorskip("pyproj"), pytest.importorskip("shapely")


def test_names():
    assert crs_name(pyproj.CRS(32650)) == "EPSG:32650"
    assert crs_name(pyproj.CRS(32650).to_wkt()) == "EPSG:32650"
    assert crs_name("GCJ-02") == "GCJ-02"
    assert crs_name("+proj=laea +lat_0=10 +lon_0=20").startswith("PROJCRS")
    assert same_crs("EPSG:4326", "OGC:CRS84")
    assert not same_crs("EPSG:4326", "BD-09")
    assert is_geographic("BD-09")
    assert not is_geographic("EPSG:3857")
    assert meters_per_unit("EPSG:2263") == pytest.approx(0.3048006)


@pytest.mark.parametrize(
    ("crs", "message"), [("EPSG:999999", "'EPSG:999999' is not a known"), ("x" * 200, "\\.\\.\\.'")]
)
def test_what_is_no_system_is_refused(crs, message):
    with pytest.raises(InputError, match=message):
        crs_name(crs)


def test_no_system_asks_for_one():
    with pytest.raises(MissingCRSError, match="Say which it is, for example crs='EPSG:32618'"):
        crs_name("")


def test_longitude_always_comes_first():
    x, y = transform_points(116.4, 39.9, "EPSG:4326", "EPSG:3857")
    assert float(x) == pytest.approx(12957588.7, abs=0.1)
    lat, lon = pyproj.Transformer.from_crs("EPSG:3857", "EPSG:4326").transform(x, y)
    assert (lon, lat) == pytest.approx((116.4, 39.9))


def test_shifted_systems_are_systems_like_others():
    x, y = transform_points(116.41024449916938, 39.91640428150164, "GCJ-02", "EPSG:4326")
    assert (float(x), float(y)) == pytest.approx((116.404, 39.915), abs=1e-10)
    x, y = transform_points(
        *transform_points(12957588.7, 4851421.0, "EPSG:3857", "BD-09"), "BD-09", "EPSG:3857"
    )
    assert (float(x), float(y)) == pytest.approx((12957588.7, 4851421.0), abs=1e-6)


def test_polygons_keep_their_area_on_the_ground():
    square = np.array([shapely.box(500_000, 4_400_000, 540_000, 4_440_000)])
    there = reproject(square, "EPSG:32650", "EPSG:4326")
    back = reproject(there, "EPSG:4326", "EPSG:32650")
    assert shapely.get_num_coordinates(there[0]) > 5
    assert back[0].symmetric_difference(square[0]).area < 1e-5 * square[0].area


def test_neighbors_still_share_their_border():
    pair = np.array([shapely.box(100, 30, 105, 40), shapely.box(105, 30, 110, 40)])
    moved = reproject(pair, "EPSG:4326", "EPSG:32650")
    assert moved[0].intersection(moved[1]).area == pytest.approx(0, abs=1.0)
    assert moved[0].union(moved[1]).geom_type == "Polygon"


def test_polygons_without_a_place_become_empty():
    # The equator at 27 degrees lies a quarter of the Earth from the zone's meridian.
    both = np.array([shapely.box(26, -1, 28, 1), shapely.box(116, 40, 117, 41)])
    moved = reproject(both, "EPSG:4326", "EPSG:32650")
    assert [shape.is_empty for shape in moved] == [True, False]


def test_bounds_hold_everything():
    bounds = (500_000.0, 8_000_000.0, 900_000.0, 8_400_000.0)
    west, south, east, north = transform_bounds(bounds, "EPSG:32650", "EPSG:4326")
    x, y = np.meshgrid(np.linspace(bounds[0], bounds[2], 200), np.linspace(bounds[1], bounds[3], 200))
    lon, lat = transform_points(x, y, "EPSG:32650", "EPSG:4326")
    assert west <= lon.min() + 1e-9
    assert lon.max() <= east + 1e-9
    assert south <= lat.min() + 1e-9
    assert lat.max() <= north + 1e-3
    with pytest.raises(InputError, match="has no place in EPSG:32650"):
        transform_bounds((27, 0, 27, 0), "EPSG:4326", "EPSG:32650")
