"""Many files are one raster: side by side, overlapping, or one per band."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("rasterio", reason="the urban extra is not installed")

from verticlip.core.errors import ConfigError, DataError
from verticlip.domains.urban.geometry.projection import transform_bounds
from verticlip.domains.urban.loaders import reader
from verticlip.domains.urban.loaders.errors import BandError, MosaicError, TileOutsideBounds
from verticlip.domains.urban.loaders.raster import Raster

WEST, NORTH = 500_000.0, 4_500_000.0


def quarters(write_raster, pixels, **settings):
    """Return four files that make up ``pixels``, in no order."""
    _, height, width = pixels.shape
    paths = []
    for top, left in ((height // 2, 0), (0, width // 2), (0, 0), (height // 2, width // 2)):
        part = pixels[:, top : top + height // 2, left : left + width // 2]
        origin = (WEST + 10 * left, NORTH - 10 * top)
        paths.append(write_raster(part, f"q{top}_{left}.tif", origin=origin, **settings))
    return paths


def test_side_by_side_is_one_raster(write_raster, noise) -> None:
    pixels = noise(3, 96, 128)
    whole = Raster.open(write_raster(pixels))
    raster = Raster.open(quarters(write_raster, pixels))
    assert (raster.width, raster.height, raster.transform) == (128, 96, whole.transform)
    assert raster.bounds == whole.bounds
    assert raster.name == "q48_0.tif and 3 more"
    for window in ((0, 0, 128, 96), (40, 30, 50, 40), (3, 3, 5, 5), (100, 80, 64, 64)):
        for mine, theirs in zip(raster.raw(window), whole.raw(window), strict=True):
            np.testing.assert_array_equal(mine, theirs)


def test_gaps_are_not_valid(write_raster, noise) -> None:
    paths = quarters(write_raster, noise(1, 40, 40))
    raster = Raster.open(paths[:2])
    values, valid = raster.raw((0, 0, 40, 40))
    assert valid.mean() == 0.5
    assert (values[:, ~valid] == 0).all()
    values, valid = raster.raw((0, 0, 10, 10))
    assert values.shape == (1, 10, 10)
    assert not valid.any()
    west, _, _, north = raster.bounds
    gap = raster.read_bounds((west, north - 100, west + 100, north), "EPSG:32618", size=(4, 4))
    assert gap.valid_fraction == 0
    lonlat = transform_bounds((west + 10, north - 90, west + 90, north - 10), "EPSG:32618", "EPSG:4326")
    assert raster.read_bounds(lonlat, "EPSG:4326", size=(4, 4)).valid_fraction == 0
    with pytest.raises(TileOutsideBounds):
        raster.raw((40, 0, 10, 10))
    with pytest.raises(TileOutsideBounds):
        raster.read_bounds((0, 0, 1, 1), "EPSG:4326", size=(4, 4))


def test_warped_tiles_open_the_files_they_meet_alone(write_raster, noise, monkeypatch) -> None:
    raster = Raster.open(quarters(write_raster, noise(1, 40, 40)))
    opened = []
    original = reader.open_warped
    monkeypatch.setattr(
        reader,
        "open_warped",
        lambda part, grid, **more: opened.append(part.header.label) or original(part, grid, **more),
    )
    west, south, _, _ = raster.bounds
    lonlat = transform_bounds((west + 10, south + 10, west + 90, south + 90), "EPSG:32618", "EPSG:4326")
    assert raster.read_bounds(lonlat, "EPSG:4326", size=(4, 4)).valid_fraction == 1
    assert len(opened) == 1


def test_the_first_valid_pixel_wins(write_raster) -> None:
    first, second = np.full((1, 20, 20), 10, np.uint8), np.full((1, 20, 20), 20, np.uint8)
    first[0, :, 10:] = 0
    paths = [write_raster(first, "a.tif", nodata=0), write_raster(second, "b.tif", nodata=0)]
    values, valid = Raster.open(paths).raw((0, 0, 20, 20))
    assert valid.all()
    assert (values[0, :, :10] == 10).all()
    assert (values[0, :, 10:] == 20).all()
    assert (Raster.open(paths[::-1]).raw((0, 0, 20, 20))[0] == 20).all()


def test_smaller_and_warped_tiles_run_over_seams(write_raster) -> None:
    rows, columns = np.mgrid[:96, :128]
    pixels = (1000 + 5 * columns + 3 * rows)[None].astype(np.uint16)
    whole = Raster.open(write_raster(pixels), scaling="none")
    raster = Raster.open(quarters(write_raster, pixels), scaling="none")
    for size in ((96, 128), (32, 44), (120, 150)):
        mine, theirs = raster.read((0, 0, 128, 96), size=size), whole.read((0, 0, 128, 96), size=size)
        assert mine.valid_fraction == 1
        np.testing.assert_allclose(mine.image.numpy(), theirs.image.numpy(), atol=12)
    bounds = (-8_244_000.0, 4_971_000.0)
    from rasterio.warp import transform_bounds

    west, south, east, north = transform_bounds(whole.crs, "EPSG:3857", *whole.bounds)
    bounds = (west + 300, south + 300, east - 300, north - 300)
    mine = raster.read_bounds(bounds, "EPSG:3857", size=(50, 60))
    theirs = whole.read_bounds(bounds, "EPSG:3857", size=(50, 60))
    assert mine.valid_fraction > 0.97
    both = mine.mask & theirs.mask
    np.testing.assert_allclose(mine.image[:, both].numpy(), theirs.image[:, both].numpy(), atol=6)


def test_files_that_do_not_fit_are_all_listed(write_raster, noise) -> None:
    good = quarters(write_raster, noise(1, 40, 40))
    bad = [
        write_raster(noise(1, 20, 20), "crs.tif", crs="EPSG:32619"),
        write_raster(noise(1, 20, 20, "uint16"), "dtype.tif"),
        write_raster(noise(2, 20, 20), "count.tif"),
        write_raster(noise(1, 20, 20), "pixel.tif", pixel=20.0),
        write_raster(noise(1, 20, 20), "shift.tif", origin=(WEST + 204, NORTH)),
    ]
    with pytest.raises(MosaicError) as caught:
        Raster.open([*bad, *good])
    words = str(caught.value)
    assert words.startswith(
        "5 of 9 files do not fit the others (q20_0.tif: EPSG:32618, uint8, 1 bands, 10 x 10"
    )
    for line in (
        "crs.tif: its CRS is EPSG:32619",
        "dtype.tif: it holds uint16",
        "count.tif: it has 2 bands",
        "pixel.tif: its pixels measure 20 x 20",
        "shift.tif: its grid is shifted by 0.40 pixels",
        "gdalwarp",
    ):
        assert line in words
    assert isinstance(caught.value, DataError)
    raster = Raster.open([*bad, *good], on_error="skip")
    assert len(raster.skipped) == 5
    assert raster.raw((0, 0, 40, 40))[1].all()


def test_long_lists_are_cut(write_raster, noise) -> None:
    good = [write_raster(noise(1, 8, 8), f"g{index}.tif") for index in range(14)]
    bad = [write_raster(noise(2, 8, 8), f"b{index:02}.tif") for index in range(13)]
    with pytest.raises(MosaicError, match=r"13 of 27 files(.|\n)*b09.tif(.|\n)*and 3 more"):
        Raster.open([*good, *bad])


def test_bands_are_found_by_name_in_every_file(write_raster, noise) -> None:
    left = write_raster(noise(2, 8, 8), "l.tif", names=("red", "nir"))
    values = noise(2, 8, 8, seed=1)
    right = write_raster(values, "r.tif", names=("nir", "red"), origin=(WEST + 80, NORTH))
    raster = Raster.open([left, right], bands=["nir"])
    np.testing.assert_array_equal(raster.raw((8, 0, 8, 8))[0], values[:1])
    other = write_raster(values, "o.tif", names=("blue", "red"), origin=(WEST + 160, NORTH))
    with pytest.raises(MosaicError, match="o.tif: there is no band 'nir'; it has: blue, red"):
        Raster.open([left, right, other], bands=["nir"])


def test_one_file_per_band(write_raster, noise) -> None:
    pixels = noise(3, 32, 40, "uint16")
    files = {
        name: write_raster(pixels[index : index + 1], f"{name}.tif")
        for index, name in enumerate(("B02", "B03", "B04"))
    }
    raster = Raster.open(files, scaling="none")
    assert raster.bands == ("B02", "B03", "B04")
    np.testing.assert_array_equal(raster.raw((4, 5, 20, 20))[0], pixels[:, 5:25, 4:24])
    chosen = Raster.open(files, sensor="sentinel-2-l2a", s2_offset=0)
    assert chosen.bands == ("B04", "B03", "B02")
    np.testing.assert_array_equal(chosen.raw((0, 0, 40, 32))[0], pixels[::-1])
    assert Raster.open(files, bands=["b4", "B02"]).bands == ("B04", "B02")
    assert Raster.open(files, bands="B03").raw((0, 0, 4, 4))[0].shape == (1, 4, 4)
    with pytest.raises(BandError, match="there is no band 'nir'; it has: B02, B03, B04"):
        Raster.open(files, bands=["nir"])


def test_bands_that_do_not_fit_are_listed(write_raster, noise) -> None:
    files = {
        "red": write_raster(noise(1, 32, 32), "r.tif"),
        "green": write_raster(noise(1, 16, 16), "g.tif", pixel=20.0),
        "blue": write_raster(noise(1, 32, 32), "b.tif", origin=(WEST + 100, NORTH)),
    }
    with pytest.raises(
        MosaicError, match=r"2 of 3(.|\n)*g.tif: its pixels measure 20 x 20\n  b.tif: it starts elsewhere"
    ):
        Raster.open(files)
    with pytest.raises(BandError, match="m.tif: holds 2 bands, and as the file of 'red'"):
        Raster.open({"red": write_raster(noise(2), "m.tif")})


def test_nothing_given_is_an_error() -> None:
    for empty in ([], {}):
        with pytest.raises(ConfigError, match="No files were given"):
            Raster.open(empty)


def test_a_mosaic_of_many_files_keeps_few_open(write_raster, noise) -> None:
    paths = [
        write_raster(noise(1, 8, 8, seed=index), f"{index:02}.tif", origin=(WEST + 80 * index, NORTH))
        for index in range(24)
    ]
    raster = Raster.open(paths)
    values, _ = raster.raw((0, 0, 192, 8))
    assert values.shape == (1, 8, 192)
    assert len(raster._reader._handles) <= 16
