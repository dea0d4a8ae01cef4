"""Tiles of web maps, against the published vector, pyproj and morecantile."""

from __future__ import annotations

import numpy as np
import pytest
from verticlip.core.errors import InputError
from verticlip.domains.urban.geometry import webmercator

RANDOM = np.random.default_rng(0)
LON, LAT = RANDOM.uniform(-180, 180, 5000), RANDOM.uniform(-85, 85, 5000)


def test_the_published_vector():
    x, y = webmercator.tile_of(116.3974, 39.9093, 16)
    assert (x, y) == (53957, 24832)
    bounds = (12956993.538676798, 4852222.555542989, 12957605.03490308, 4852834.05176927)
    assert webmercator.tile_bounds(x, y, 16) == pytest.approx(bounds, abs=1e-8)
    assert webmercator.quadkey(53957, 24832, 16) == "1321001211000101"


@pytest.mark.parametrize("zoom", [0, 1, 7, 16, 22])
def test_every_point_lies_in_its_tile(zoom):
    bounds = webmercator.tile_bounds(*webmercator.tile_of(LON, LAT, zoom), zoom)
    west, south = webmercator.meters_to_lonlat(bounds[:, 0], bounds[:, 1])
    east, north = webmercator.meters_to_lonlat(bounds[:, 2], bounds[:, 3])
    assert ((west <= LON + 1e-9) & (east + 1e-9 >= LON)).all()
    assert ((south <= LAT + 1e-9) & (north + 1e-9 >= LAT)).all()


def test_degrees_equal_those_of_pyproj():
    pyproj = pytest.importorskip("pyproj")
    expected = pyproj.Transformer.from_crs("EPSG:4326", "EPSG:3857", always_xy=True).transform(LON, LAT)
    assert np.allclose(webmercator.meters_to_lonlat(*expected), (LON, LAT), rtol=0, atol=1e-11)


def test_tiles_equal_those_of_morecantile():
    morecantile = pytest.importorskip("morecantile")
    matrices = morecantile.tms.get("WebMercatorQuad")
    for zoom in (3, 11, 18):
        x, y = webmercator.tile_of(LON[:300], LAT[:300], zoom)
        for number in range(300):
            tile = matrices.tile(LON[number], LAT[number], zoom)
            assert (tile.x, tile.y) == (x[number], y[number])
            expected = matrices.xy_bounds(tile)
            assert webmercator.tile_bounds(x[number], y[number], zoom) == pytest.approx(
                tuple(expected), abs=1e-6
            )
            assert webmercator.quadkey(tile.x, tile.y, zoom) == matrices.quadkey(tile)


def test_tms_counts_rows_from_the_south():
    assert webmercator.flip_y(24832, 16) == 65535 - 24832
    assert np.array_equal(webmercator.flip_y(webmercator.flip_y([0, 5, 7], 3), 3), [0, 5, 7])


def test_points_beyond_the_square_fall_on_its_edge():
    assert [int(index) for index in webmercator.tile_of(180.0, -89.0, 3)] == [7, 7]
    assert [int(index) for index in webmercator.tile_of(-180.0, 89.0, 3)] == [0, 0]


def test_what_is_no_tile_is_refused():
    with pytest.raises(InputError, match="Zoom 31 is not a zoom level"):
        webmercator.tile_of(0, 0, 31)
    with pytest.raises(InputError, match="no tile x=8, y=0 at zoom 3: both go from 0 to 7"):
        webmercator.quadkey(8, 0, 3)
