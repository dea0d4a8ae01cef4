"""Conversions between the coordinate systems of Chinese map services."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import load_file
from verticlip.domains.urban.geometry import china

CITIES = np.array([[116.404, 39.915], [121.4737, 31.2304], [113.2644, 23.1291], [114.0579, 22.5431]])


def test_the_published_vector_of_gcj02():
    lon, lat = china.wgs84_to_gcj02(116.404, 39.915)
    assert (float(lon), float(lat)) == pytest.approx((116.41024449916938, 39.91640428150164), abs=1e-13)


def test_gcj02_to_bd09_equals_the_reference(small_golden):
    folder = small_golden / "urbanclip" / "indicator_table_a"
    given, expected = load_file(folder / "inputs.safetensors"), load_file(folder / "outputs.safetensors")
    lon, lat = china.gcj02_to_bd09(given["gcj_lon"], given["gcj_lat"])
    assert np.allclose(lon, expected["bd_lon"], rtol=0, atol=1e-12)
    assert np.allclose(lat, expected["bd_lat"], rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("there", "back"),
    [
        (china.wgs84_to_gcj02, china.gcj02_to_wgs84),
        (china.gcj02_to_bd09, china.bd09_to_gcj02),
        (china.wgs84_to_bd09, china.bd09_to_wgs84),
    ],
)
def test_conversions_come_back_to_where_they_started(there, back):
    random = np.random.default_rng(0)
    lon, lat = random.uniform(74, 135, (50, 20)), random.uniform(3, 53, (50, 20))
    again = back(*there(lon, lat))
    assert again[0].shape == (50, 20)
    assert np.allclose(again, (lon, lat), rtol=0, atol=1e-12)


def test_the_published_inverse_of_bd09_is_off_by_a_millionth():
    lon, lat = china.gcj02_to_bd09(*CITIES.T)
    rough = np.abs(np.stack(china.bd09_to_gcj02(lon, lat, exact=False), 1) - CITIES).max()
    assert 1e-9 < rough < 5e-6


def test_beijing_lies_a_kilometre_northeast_in_bd09():
    lon, lat = china.wgs84_to_bd09(116.4, 39.95)
    east = (float(lon) - 116.4) * 111_320 * np.cos(np.radians(39.95))
    north = (float(lat) - 39.95) * 111_320
    assert 950 < east < 1200
    assert 700 < north < 900


def test_outside_of_china_nothing_moves():
    lon, lat = np.array([-0.1, 2.35, -74.0, 151.2, 100.0]), np.array([51.5, 48.9, 40.7, -33.9, 60.0])
    assert not china.in_china(lon, lat).any()
    for convert in (china.wgs84_to_gcj02, china.gcj02_to_wgs84):
        assert np.array_equal(convert(lon, lat), (lon, lat))


@pytest.mark.parametrize("datum", china.DATUMS)
def test_a_datum_by_word_is_the_conversion_of_that_name(datum):
    lon, lat = china.from_wgs84(*CITIES.T, datum)
    assert np.allclose(china.to_wgs84(lon, lat, datum), CITIES.T, rtol=0, atol=1e-12)
    moved = np.abs(np.stack([lon, lat], 1) - CITIES).max()
    assert moved == 0 if datum == "EPSG:4326" else 0.001 < moved < 0.02
