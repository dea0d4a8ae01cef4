"""Numbers of a file become what models were trained on, by rules that are written down."""

from __future__ import annotations

import json

import numpy as np
import pytest

pytest.importorskip("rasterio", reason="the urban extra is not installed")

from verticlip.core.errors import ConfigError
from verticlip.domains.urban.loaders.errors import ScalingError
from verticlip.domains.urban.loaders.raster import Raster
from verticlip.domains.urban.loaders.reading import Pixels
from verticlip.domains.urban.loaders.scaling import Scaler, ScalingProfile, stretch_profile

S2 = {"names": ("B04", "B03", "B02")}


def read(path, **options):
    raster = Raster.open(path, **options)
    return raster.read((0, 0, raster.width, raster.height)).image.numpy(), raster


def steps(*numbers, count=3, dtype="uint16"):
    return np.broadcast_to(np.array(numbers, dtype)[None, None], (count, 4, len(numbers))).copy()


def test_eight_bits_are_divided_by_255(write_raster) -> None:
    image, raster = read(write_raster(steps(0, 51, 255, dtype="uint8")))
    np.testing.assert_array_equal(image[0, 0], np.float32([0, 0.2, 1]))
    assert raster.scaling["mode"] == "8bit"


@pytest.mark.parametrize(
    ("tags", "name", "offset"),
    [
        ({"PROCESSING_BASELINE": "04.00"}, "a.tif", -1000),
        ({"PROCESSING_BASELINE": "05.10"}, "b.tif", -1000),
        ({"PROCESSING_BASELINE": "03.01"}, "c.tif", 0),
        ({}, "S2A_MSIL2A_20220301T101031_N0400_R022_T32TQM.SAFE/B04.tif", -1000),
        ({}, "S2B_MSIL2A_20200301T101031_N0214_R022_T32TQM.SAFE/B04.tif", 0),
    ],
)
def test_sentinel_2_by_processing_baseline(write_raster, tags, name, offset) -> None:
    path = write_raster(steps(1, 1000, 3000, 5000, 9000), name, tags=tags, **S2)
    image, raster = read(path, sensor="sentinel-2-l2a")
    expected = np.clip(2.5 * (np.float32([1, 1000, 3000, 5000, 9000]) + offset) / 10000, 0, 1)
    np.testing.assert_allclose(image[0, 0], expected, atol=1e-6)
    assert raster.scaling["s2_offset"] == offset


def test_sentinel_2_without_a_baseline_must_be_told(write_raster) -> None:
    path = write_raster(steps(1000, 3000), **S2)
    with pytest.raises(
        ScalingError, match=r"scene.tif: nothing says which processing baseline.*s2_offset=-1000.*s2_offset=0"
    ):
        Raster.open(path, sensor="sentinel-2-l2a")
    for offset in (0, -1000):
        image, _ = read(path, sensor="sentinel-2-l2a", s2_offset=offset)
        np.testing.assert_allclose(
            image[0, 0], 2.5 * np.float32([1000 + offset, 3000 + offset]) / 10000, atol=1e-6
        )
    with pytest.raises(ConfigError, match="s2_offset is 1000"):
        Raster.open(path, sensor="sentinel-2-l2a", s2_offset=1000)


def test_landsat_reflectance(write_raster) -> None:
    path = write_raster(steps(7273, 12000, 18000, 43636), names=("SR_B4", "SR_B3", "SR_B2"))
    image, _ = read(path, sensor="landsat-c2l2-sr")
    expected = np.clip((np.array([7273, 12000, 18000, 43636]) * 2.75e-5 - 0.2) / 0.3, 0, 1)
    np.testing.assert_allclose(image[0, 0], expected, atol=1e-5)
    brighter, _ = read(path, sensor="landsat-c2l2-sr", gain=2.0)
    np.testing.assert_allclose(brighter[0, 0], np.clip(2 * expected, 0, 1)[: len(expected)], atol=0.5)
    assert brighter[0, 0, 1] == pytest.approx(2 * image[0, 0, 1], abs=1e-5)


def test_tags_of_the_file_replace_the_sensor_and_are_never_added(write_raster) -> None:
    import rasterio

    path = write_raster(steps(2000, 4000), **S2)
    with rasterio.open(path, "r+") as file:
        file.scales, file.offsets = (0.0001,) * 3, (-0.1,) * 3
    image, raster = read(path, sensor="sentinel-2-l2a", unscale=True)
    np.testing.assert_allclose(image[0, 0], [0.25, 0.75], atol=1e-6)
    assert raster.scaling["s2_offset"] is None
    physical, _ = read(path, scaling="none", unscale=True)
    np.testing.assert_allclose(physical[0, 0], [0.1, 0.3], atol=1e-6)
    plain, _ = read(path, scaling="none")
    np.testing.assert_array_equal(plain[0, 0], [2000, 4000])


def test_statistics_are_z_scores_by_band_name(write_raster) -> None:
    path = write_raster(steps(1552, 3440), **S2)
    image, _ = read(path, sensor="sentinel-2-l2a", scaling="statistics", s2_offset=0)
    np.testing.assert_allclose(image[0, 0], [0, 1], atol=1e-6)
    np.testing.assert_allclose(image[2, 0], (np.array([1552, 3440]) - 1105) / 1809, atol=1e-6)
    shifted, _ = read(path, sensor="sentinel-2-l2a", scaling="statistics", s2_offset=-1000)
    np.testing.assert_allclose(shifted[0, 0], (np.array([552, 2440]) - 1552) / 1888, atol=1e-6)
    with pytest.raises(ConfigError, match="pass sensor"):
        Raster.open(path, scaling="statistics")
    with pytest.raises(
        ScalingError, match="rgb8 has no published statistics for band 'red'; it has them for: none"
    ):
        Raster.open(write_raster(steps(1, 2, dtype="uint8"), "b.tif"), sensor="rgb8", scaling="statistics")
    assert read(write_raster(steps(1, 2, dtype="uint8"), "c.tif"), sensor="resisc45", scaling="statistics")[
        1
    ].scaling["subtract"] == [93.894, 97.112, 87.568]


def test_radar_is_spread_over_its_usual_range(write_raster) -> None:
    values = steps(-12.113, -12.113 + 2 * 8.314, -60, count=2, dtype="float32")
    image, raster = read(write_raster(values, names=("VV", "VH")), sensor="sentinel-1-rtc")
    np.testing.assert_allclose(image[0, 0], [0.5, 1.0, 0.0], atol=1e-6)
    assert raster.scaling["mode"] == "range"


def test_a_type_that_is_not_the_sensors(write_raster) -> None:
    path = write_raster(steps(1, 2, dtype="uint8"))
    with pytest.raises(
        ScalingError, match=r"holds uint8; files of sentinel-2-l2a hold uint16 or int16.*sensor='rgb8'"
    ):
        Raster.open(path, sensor="sentinel-2-l2a", s2_offset=0)
    assert Raster.open(path, sensor="sentinel-2-rgb8").scaling["mode"] == "8bit"


def test_other_numbers_are_stretched_once_per_raster(write_raster) -> None:
    rng = np.random.default_rng(0)
    values = (rng.normal(3000, 400, (2, 200, 300)) + np.array([0, 900])[:, None, None]).astype("uint16")
    values[:, :20] = 0
    path = write_raster(values, nodata=0)
    raster = Raster.open(path)
    low, high = np.percentile(values[0, 20:], [2, 98])
    assert raster.scaling["subtract"][0] == pytest.approx(low)
    assert raster.scaling["divide"][0] == pytest.approx(high - low)
    dark, light = raster.read((0, 30, 50, 50)).image, raster.read((200, 100, 50, 50)).image
    assert dark.mean() == pytest.approx(0.5, abs=0.05)
    assert light.mean() == pytest.approx(0.5, abs=0.05)


def test_a_large_raster_is_sampled_not_read(write_raster, monkeypatch) -> None:
    from verticlip.domains.urban.loaders import sampling

    monkeypatch.setattr(sampling, "_SIDE", 64)
    monkeypatch.setattr(sampling, "_WINDOW", 8)
    ramp = np.broadcast_to(np.arange(512, dtype="uint16"), (1, 400, 512)).copy()
    seen = []
    original = sampling.LayoutReader.window
    monkeypatch.setattr(
        sampling.LayoutReader,
        "window",
        lambda self, *given, **more: seen.append(given[0]) or original(self, *given, **more),
    )
    profile = Raster.open(write_raster(ramp)).profile
    assert len(seen) == 64
    assert sum(window[2] * window[3] for window in seen) == 64 * 64
    assert profile.subtract[0] < 20
    assert profile.subtract[0] + profile.divide[0] > 490
    seen.clear()
    Raster.open(write_raster(ramp, "o.tif", overviews=(2, 4, 8))).profile  # noqa: B018
    assert len(seen) == 1


def test_a_profile_is_kept_and_given_back(write_raster) -> None:
    rng = np.random.default_rng(0)
    first = Raster.open(write_raster(rng.integers(100, 900, (3, 64, 64)).astype("uint16")))
    stored = json.loads(json.dumps(first.scaling))
    other = write_raster(rng.integers(100, 4000, (3, 64, 64)).astype("uint16"), "b.tif")
    again = Raster.open(other, scaling=stored)
    assert again.scaling == first.scaling
    assert again.read((0, 0, 64, 64)).image.mean() > Raster.open(other).read((0, 0, 64, 64)).image.mean()
    with pytest.raises(ConfigError, match="for the bands 1, 2, 3; the raster is read in 1, 2"):
        Raster.open(other, scaling=stored, bands=[1, 2])
    for damage in (
        {"divide": [0, 1, 1]},
        {"divide": [1, 1]},
        {"mode": "magic"},
        {"more": 1},
        {"subtract": ["a", 1, 1]},
    ):
        with pytest.raises(ConfigError, match="stored scaling cannot be used"):
            Raster.open(other, scaling={**stored, **damage})


def test_a_raster_of_one_value_or_none_is_no_error(write_raster) -> None:
    flat, _ = read(write_raster(np.full((1, 16, 16), 500, "uint16")))
    assert (flat == 0).all()
    empty, _ = read(write_raster(np.zeros((1, 16, 16), "uint16"), "b.tif", nodata=0))
    assert (empty == 0).all()
    assert stretch_profile(np.zeros((2, 0)), ("a", "b")).divide == (1.0, 1.0)


def test_scaling_words_are_checked(write_raster) -> None:
    with pytest.raises(ConfigError, match="scaling is 'minmax'; known: 'auto', 'none', 'statistics'"):
        Raster.open(write_raster(steps(1, 2)), scaling="minmax")


def test_large_numbers_keep_their_differences() -> None:
    profile = ScalingProfile(mode="none", bands=("a",), subtract=(16_777_216.0,), divide=(1.0,), clip=False)
    values = np.array([[[16_777_217, 16_777_219]]], np.int32)
    pixels = Pixels(values, np.ones((1, 2), bool))
    assert Scaler(profile, "int32")(pixels).ravel().tolist() == [1.0, 3.0]


def test_scaling_does_not_change_what_was_read() -> None:
    profile = ScalingProfile(mode="8bit", bands=("a",), subtract=(0.0,), divide=(2.0,), clip=True)
    values = np.ones((1, 2, 2), np.float32)
    Scaler(profile, "float32")(Pixels(values, np.ones((2, 2), bool)))
    assert (values == 1).all()
