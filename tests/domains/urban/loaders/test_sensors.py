"""The table of sensors is complete and says what the agencies say."""

from __future__ import annotations

import pickle

import pytest
from verticlip.core.errors import ConfigError
from verticlip.domains.urban.loaders.sensors import SENSORS, find_sensor, plain_name


def test_every_sensor_is_usable() -> None:
    for name, sensor in SENSORS.items():
        assert find_sensor(name) is sensor
        assert pickle.loads(pickle.dumps(sensor)) is sensor
        assert all(sensor.band(shown) is not None for shown in sensor.display)
        names = [band.name for band in sensor.bands]
        assert len(set(names)) == len(names)
        assert all((band.mean is None) == (band.std is None) for band in sensor.bands)
        assert all(band.std is None or band.std > 0 for band in sensor.bands)
        if sensor.white is not None:
            assert sensor.white > sensor.black


def test_short_names_and_mistakes() -> None:
    assert find_sensor("Sentinel-2").name == "sentinel-2-l2a"
    assert find_sensor("landsat").name == "landsat-c2l2-sr"
    with pytest.raises(
        ConfigError, match="Unknown sensor 'sentinel2'; known: rgb8, .*Did you mean 'sentinel-2'"
    ):
        find_sensor("sentinel2")


@pytest.mark.parametrize(
    ("sensor", "band", "mean", "std"),
    [
        ("sentinel-2-l2a", "B8A", 2785, 1648),
        ("sentinel-2-l2a", "red", 1552, 1888),
        ("landsat-c2l2-sr", "nir08", 17801, 8277),
        ("landsat-c2l1", "blue", 11083, 5468),
        ("naip", "nir", 139.04, 49.86),
        ("linz", "green", 99.46, 36.96),
        ("sentinel-1-rtc", "vh", -18.673, 8.017),
        ("modis", "b7", 1051, 1396),
        ("eurosat", "B8A", 2594.141, 1231.586),
        ("eurosat", "B12", 1118.924, 761.303),
        ("ssl4eo-s12-s2-l1c", "B8A", 2581.0, 1345.9),
        ("ssl4eo-s12-s2-l1c", "B12", 1537.4, 1142.9),
        ("ssl4eo-s12-s1", "vv", -12.59, 5.26),
        ("resisc45", "green", 97.112, 47.237),
        ("patternnet", "blue", 81.23, 45.43),
        ("rs5m", "red", 0.406 * 255, 0.188 * 255),
        ("rs5m-web", "blue", 0.441 * 255, 0.213 * 255),
        ("rs5m-rs3", "green", 0.356 * 255, 0.147 * 255),
    ],
)
def test_published_statistics(sensor, band, mean, std) -> None:
    found = find_sensor(sensor).band(band)
    assert (found.mean, found.std) == pytest.approx((mean, std))


def test_names_are_compared_without_case_and_zeros() -> None:
    assert plain_name("B04") == plain_name("b4") == plain_name("B 04")
    assert plain_name("B10") == "b10"
    assert plain_name("SR_B4") == "b4"
    assert plain_name("Near Infrared") == "nearinfrared"
    assert plain_name("") == ""
