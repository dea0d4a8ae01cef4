"""Tiles of schemes: their true places, whatever they are counted in."""

from __future__ import annotations

import numpy as np
import pytest
from verticlip.core.errors import ConfigError
from verticlip.domains.urban.geometry import baidu, china, webmercator
from verticlip.domains.urban.geometry.schemes import check_scheme, scheme_tiles, tile_range

shapely = pytest.importorskip("shapely")

PALACE = (116.3972, 39.9163)
"""A place in Beijing, WGS-84."""


def test_xyz_tiles_are_squares_of_web_mercator():
    tiles = scheme_tiles(np.array([[16, 53957, 24832], [3, 0, 0]]), "webmercator")
    assert tiles.ids == ("16_53957_24832", "3_0_0")
    assert tiles.crs == "EPSG:3857"
    assert tiles.bounds[0] == pytest.approx(webmercator.tile_bounds(53957, 24832, 16), abs=1e-9)
    assert tiles.bounds[1] == pytest.approx(webmercator.tile_bounds(0, 0, 3), abs=1e-9)


def test_tms_tiles_are_the_same_squares_counted_from_the_south():
    south = scheme_tiles(np.array([[16, 53957, 65535 - 24832]]), "tms")
    north = scheme_tiles(np.array([[16, 53957, 24832]]), "webmercator")
    assert np.array_equal(south.bounds, north.bounds)


@pytest.mark.parametrize(
    ("scheme", "datum"), [("baidu", None), ("baidu", "GCJ-02"), ("webmercator", "GCJ-02")]
)
def test_a_place_lies_in_the_true_outline_of_its_tile(scheme, datum):
    zoom = 16
    counted = china.from_wgs84(*PALACE, check_scheme(scheme, datum))
    x, y = (baidu if scheme == "baidu" else webmercator).tile_of(*counted, zoom)
    around = np.array([[zoom, x + dx, y + dy] for dx in (-1, 0, 1) for dy in (-1, 0, 1)])
    tiles = scheme_tiles(around, scheme, datum)
    inside = shapely.contains(tiles.footprints(), shapely.Point(PALACE))
    assert inside.tolist() == [False] * 4 + [True] + [False] * 4
    # Neighbors meet without gap or overlap, although each is bent.
    outlines = tiles.footprints("EPSG:3857")
    whole = shapely.union_all(outlines, grid_size=1e-3)
    assert shapely.area(outlines).sum() == pytest.approx(shapely.area(whole), rel=1e-6)
    assert shapely.covers(shapely.box(*tiles.bounds.T).tolist(), outlines).all()


def test_a_baidu_tile_is_not_where_its_raw_degrees_are():
    tiles = scheme_tiles(np.array([[16, 12659, 4738]]), "baidu")
    lon, lat = tiles.centers("EPSG:4326")[0]
    raw_lon, raw_lat = baidu.tile_corner(12659.5, 4738.5, 16)
    assert 0.01 < raw_lon - lon < 0.016
    assert 0.005 < raw_lat - lat < 0.01
    assert np.allclose(china.wgs84_to_bd09(lon, lat), (raw_lon, raw_lat), rtol=0, atol=2e-5)


def test_every_tile_of_a_rectangle_is_in_its_range():
    west, south, east, north = 116.2, 39.8, 116.5, 40.0
    for scheme, datum in (("webmercator", "EPSG:4326"), ("tms", "EPSG:4326"), ("baidu", "BD-09")):
        x0, y0, x1, y1 = tile_range((west, south, east, north), 14, scheme, datum)
        grid = np.array([[14, x, y] for x in range(x0, x1 + 1) for y in range(y0, y1 + 1)])
        outlines = scheme_tiles(grid, scheme, datum).footprints()
        assert (
            shapely.union_all(outlines, grid_size=1e-9)
            .buffer(1e-6)
            .covers(shapely.box(west, south, east, north))
        )


def test_the_whole_world_is_every_tile_of_a_zoom():
    assert tile_range((-180, -90, 180, 90), 3, "webmercator", "EPSG:4326") == (0, 0, 7, 7)
    assert tile_range((-180, -90, 180, 90), 3, "tms", "EPSG:4326") == (0, 0, 7, 7)


def test_unknown_words_are_refused():
    with pytest.raises(
        ConfigError, match="'badu' is no tile scheme; known: webmercator, tms, baidu. Did you mean"
    ):
        check_scheme("badu", None)
    with pytest.raises(ConfigError, match="'GCJ02' is nothing .* Did you mean 'GCJ-02'"):
        check_scheme("baidu", "GCJ02")
