"""The Baidu tile scheme: corners, its polynomials both ways, tiles of points."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import load_file
from verticlip.core.errors import InputError
from verticlip.domains.urban.geometry import baidu


def test_corners_equal_the_recorded_ones(small_golden):
    folder = small_golden / "urbanclip" / "indicator_table_a"
    x, y = load_file(folder / "inputs.safetensors")["bd_tile_xy_z16"].T
    recorded = load_file(folder / "outputs.safetensors")["bd_tile_latlon_lower_left"]
    lon, lat = baidu.tile_corner(x, y, 16)
    assert np.allclose(lat, recorded[:, 0], rtol=0, atol=1e-13)
    assert np.allclose(lon, recorded[:, 1], rtol=0, atol=1e-13)


def test_degrees_and_units_are_inverse_in_every_band_and_quarter():
    random = np.random.default_rng(0)
    lon, lat = random.uniform(-180, 180, 20_000), random.uniform(-74.9, 74.9, 20_000)
    x, y = baidu.degrees_to_meters(lon, lat)
    assert np.allclose(baidu.meters_to_degrees(x, y), (lon, lat), rtol=0, atol=1e-10)
    far = random.uniform(75.02, 84.9, 1000)
    x, y = baidu.degrees_to_meters(lon[:1000], far)
    assert np.allclose(baidu.meters_to_degrees(x, y)[1], far, rtol=0, atol=1e-10)


def test_both_hemispheres_mirror():
    x, y = baidu.degrees_to_meters([20.0, -20.0], [40.0, -40.0])
    assert x[0] == -x[1]
    assert y[0] == -y[1]


@pytest.mark.parametrize(
    ("name", "south", "north", "west", "east", "columns", "rows"),
    [
        ("Beijing", 39.7555, 40.1536, 116.0392, 116.7914, (12614, 12695), (4690, 4745)),
        ("Shanghai", 30.975, 31.5149, 121.1016, 121.8044, (13165, 13240), (3522, 3590)),
        ("Guangzhou", 22.9391, 23.3967, 113.1016, 113.6777, (12295, 12357), (2546, 2599)),
        ("Shenzhen", 22.4486, 22.8456, 113.7516, 114.6166, (12366, 12459), (2489, 2534)),
    ],
)
def test_the_cities_of_the_paper_have_their_published_tiles(name, south, north, west, east, columns, rows):
    # A box ends within its last tile, or where that tile begins.
    x, y = baidu.tile_of(np.array([west, east]), np.array([south, north]), 16)
    assert abs(x - columns).max() <= 1, name
    assert abs(y - rows).max() <= 1, name
    lon, lat = baidu.tile_corner(columns[0] + 0.5, rows[0] + 0.5, 16)
    assert baidu.tile_of(lon, lat, 16) == (columns[0], rows[0])


def test_tiles_double_with_each_zoom():
    assert [baidu.tile_side(zoom) for zoom in (16, 18, 19)] == [1024.0, 256.0, 128.0]


def test_what_the_scheme_does_not_have_is_refused():
    with pytest.raises(InputError, match="Zoom 2 is not a zoom level of the Baidu scheme; use 3 to 21"):
        baidu.tile_corner(1, 1, 2)
    with pytest.raises(InputError, match="Latitude 86 has no place in the Baidu scheme"):
        baidu.degrees_to_meters(10.0, 86.0)
    with pytest.raises(InputError, match="Latitude nan"):
        baidu.degrees_to_meters(10.0, np.nan)
