"""What marks missing pixels, and which mark wins."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("rasterio", reason="the urban extra is not installed")

from verticlip.domains.urban.loaders.raster import Raster


def valid(path, **options):
    raster = Raster.open(path, **options)
    return raster.raw((0, 0, raster.width, raster.height))[1]


def pixels():
    values = np.full((3, 8, 10), 9, np.uint16)
    values[0, 0] = 0
    values[:, 1] = 0
    return values


def test_any_or_all_bands(write_raster) -> None:
    path = write_raster(pixels(), nodata=0)
    assert valid(path).all(axis=1).tolist() == [False, False, *[True] * 6]
    assert valid(path, invalid="all").all(axis=1).tolist() == [True, False, *[True] * 6]
    assert valid(path, bands=[2]).all(axis=1).tolist() == [True, False, *[True] * 6]


def test_a_number_of_the_user_counts_as_well(write_raster) -> None:
    values = pixels()
    values[:, 5] = 77
    assert valid(write_raster(values), nodata=77).all(axis=1).tolist() == [True] * 5 + [False, True, True]
    assert valid(write_raster(values, nodata=0), nodata=77).all(axis=1).sum() == 5
    assert valid(write_raster(values), nodata=-9999).all()
    assert valid(write_raster(values), nodata=0.5).all()


def test_nothing_declared_is_all_valid(write_raster) -> None:
    assert valid(write_raster(pixels())).all()


def test_nan_is_missing(write_raster) -> None:
    values = pixels().astype(np.float32)
    values[1, 3] = np.nan
    for settings in ({}, {"nodata": float("nan")}):
        path = write_raster(values, **settings)
        assert valid(path).all(axis=1).tolist() == [True] * 3 + [False] + [True] * 4
        tile = Raster.open(path, scaling="none").read((0, 0, 10, 8))
        assert bool(tile.image.isfinite().all())


def test_infinite_numbers_are_missing(write_raster) -> None:
    values = pixels().astype(np.float32) / 9
    values[0, 2], values[2, 5] = np.inf, -np.inf
    raster = Raster.open(write_raster(values))
    tile = raster.read((0, 0, 10, 8))
    assert tile.mask.all(dim=1).tolist() == [True, True, False, True, True, False, True, True]
    assert np.isfinite(raster.scaling["divide"]).all()
    assert 0 <= tile.image.min() <= tile.image.max() <= 1


def test_a_float_number_is_compared_as_stored(write_raster) -> None:
    values = pixels().astype(np.float32)
    values[:, 2] = np.float32(-3.4028234663852886e38)
    values[:, 4] = np.float32(0.1)
    assert valid(write_raster(values, nodata=-3.4028234663852886e38)).all(axis=1).sum() == 7
    assert valid(write_raster(values), nodata=0.1).all(axis=1).sum() == 7


def test_alpha_wins_over_the_number(write_raster) -> None:
    values = np.concatenate([pixels(), np.full((1, 8, 10), 255, np.uint16)]).astype(np.uint8)
    values[3, 6:] = 0
    path = write_raster(values, colors=("red", "green", "blue", "alpha"), nodata=0)
    assert valid(path).all(axis=1).tolist() == [True] * 6 + [False] * 2
    assert valid(path, bands=["alpha"]).all(axis=1).sum() == 6


def test_the_mask_of_the_data_set_wins_over_the_number(write_raster) -> None:
    mask = np.full((8, 10), 255, np.uint8)
    mask[:, 7:] = 0
    path = write_raster(pixels().astype(np.uint8), mask=mask)
    assert valid(path).all(axis=0).tolist() == [True] * 7 + [False] * 3
    assert Raster.open(path).read((5, 0, 10, 8), size=(8, 10)).mask.sum() == 16


def test_masks_of_a_stack_are_joined(write_raster) -> None:
    first, second = np.full((1, 4, 4), 5, np.uint8), np.full((1, 4, 4), 5, np.uint8)
    first[0, 0], second[0, :, 0] = 0, 0
    files = {"a": write_raster(first, "a.tif", nodata=0), "b": write_raster(second, "b.tif", nodata=0)}
    assert valid(files).sum() == 9
    assert valid(files, invalid="all").sum() == 15


def test_the_sensor_says_what_is_missing_where_the_file_does_not(write_raster) -> None:
    path = write_raster(pixels(), names=("B04", "B03", "B02"))
    assert valid(path, sensor="sentinel-2-l2a", s2_offset=0).all(axis=1).sum() == 6


@pytest.mark.parametrize("number", [float("inf"), float("-inf")])
def test_a_number_no_pixel_can_have_marks_none(write_raster, number) -> None:
    assert valid(write_raster(pixels()), nodata=number).all()


@pytest.mark.parametrize("scaling", ["auto", "none"])
def test_bands_without_a_number_become_zero_in_valid_pixels(write_raster, scaling) -> None:
    values = np.linspace(5, 9, 300, dtype=np.float32).reshape(3, 10, 10)
    values[0, 2], values[1, 3], values[:, 4] = np.nan, -9999, np.nan
    raster = Raster.open(write_raster(values, nodata=-9999), invalid="all", scaling=scaling)
    tile = raster.read((0, 0, 10, 10))
    assert tile.mask.numpy().all(axis=1).tolist() == [row != 4 for row in range(10)]
    assert (tile.image[0, 2] == 0).all()
    assert (tile.image[1, 3] == 0).all()
    assert bool(tile.image.isfinite().all())
    if scaling == "auto":
        # Percentiles are those of the numbers there are.
        assert min(raster.profile.subtract) > 4
        assert float(tile.image[2].max()) == 1
