"""Warped tiles are those of rasterio's own warper, and nothing outside of a file counts as data."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("rasterio", reason="the urban extra is not installed")

import rasterio
from rasterio.warp import reproject, transform_bounds
from verticlip.core.errors import ConfigError, InputError
from verticlip.domains.urban.loaders import reader as module
from verticlip.domains.urban.loaders.errors import TileOutsideBounds
from verticlip.domains.urban.loaders.raster import Raster

MERCATOR = "EPSG:3857"


def smooth(count=3, height=160, width=200, dtype="uint16"):
    rows, columns = np.mgrid[:height, :width]
    bands = [
        2000 + 900 * np.sin(columns / 17 + band) + 700 * np.cos(rows / 13 - band) for band in range(count)
    ]
    return np.stack(bands).astype(dtype)


def by_warper(path, bounds, crs, size, resampling="bilinear", **settings):
    """Return what ``rasterio.warp.reproject`` makes of a file."""
    transform = rasterio.transform.from_bounds(*bounds, size[1], size[0])
    with rasterio.open(path) as file:
        result = np.zeros((file.count, *size), np.float32)
        reproject(
            rasterio.band(file, list(range(1, file.count + 1))),
            result,
            dst_transform=transform,
            dst_crs=crs,
            resampling=rasterio.enums.Resampling[resampling],
            tolerance=1e-3,
            **settings,
        )
    return result


def middle(raster, crs, share=0.25):
    west, south, east, north = transform_bounds(raster.crs, crs, *raster.bounds)
    x, y = (east - west) * share, (north - south) * share
    return west + x, south + y, east - x, north - y


@pytest.mark.parametrize("crs", [MERCATOR, "EPSG:4326", "EPSG:32617"])
def test_values_are_those_of_the_warper(write_raster, crs) -> None:
    path = write_raster(smooth(dtype="float32"))
    raster = Raster.open(path, scaling="none")
    bounds = middle(raster, crs)
    tile = raster.read_bounds(bounds, crs, size=(90, 110), tile_id="t")
    np.testing.assert_allclose(tile.image.numpy(), by_warper(path, bounds, crs, (90, 110)), atol=1.0)
    assert tile.valid_fraction == 1.0
    assert tile.crs == crs
    assert tile.tile_id == "t"
    assert tile.bounds == pytest.approx(bounds, rel=1e-12)


def test_a_point_on_the_ground_stays_where_it_is(write_raster) -> None:
    pixels = np.zeros((1, 200, 200), np.uint8)
    pixels[0, 120, 71] = 255
    raster = Raster.open(write_raster(pixels))
    with rasterio.open(write_raster(pixels, "b.tif")) as file:
        x, y = file.xy(120, 71)
    longitude, latitude = (values[0] for values in rasterio.warp.transform(raster.crs, "EPSG:4326", [x], [y]))
    west, south, east, north = middle(raster, "EPSG:4326", 0.1)
    tile = raster.read_bounds((west, south, east, north), "EPSG:4326", size=(400, 400))
    weight = tile.image[0].numpy()
    rows, columns = np.mgrid[:400, :400] + 0.5
    found_x = west + (weight * columns).sum() / weight.sum() * (east - west) / 400
    found_y = north - (weight * rows).sum() / weight.sum() * (north - south) / 400
    assert abs(found_x - longitude) < 0.02 * (east - west) / 200
    assert abs(found_y - latitude) < 0.02 * (north - south) / 200


def test_a_grid_of_tiles_is_one_picture_in_pieces(write_raster) -> None:
    raster = Raster.open(write_raster(smooth()), scaling="none")
    west, south, east, north = middle(raster, MERCATOR)
    whole = raster.read_bounds((west, south, east, north), MERCATOR, size=(96, 96)).image
    x, y = (east - west) / 3, (north - south) / 3
    for row in range(3):
        for column in range(3):
            bounds = (west + column * x, north - (row + 1) * y, west + (column + 1) * x, north - row * y)
            part = raster.read_bounds(bounds, MERCATOR, size=(32, 32)).image
            expected = whole[:, row * 32 : row * 32 + 32, column * 32 : column * 32 + 32]
            np.testing.assert_allclose(part.numpy(), expected.numpy(), atol=1)


def test_one_view_serves_a_grid_of_tiles(write_raster, monkeypatch) -> None:
    opened = []
    original = module.open_warped
    monkeypatch.setattr(
        module, "open_warped", lambda *given, **more: opened.append(1) or original(*given, **more)
    )
    raster = Raster.open(write_raster(smooth()))
    west, south, east, _north = middle(raster, MERCATOR)
    step = (east - west) / 7
    for number in range(7):
        bounds = (west + number * step, south, west + (number + 1) * step, south + step)
        raster.read_bounds(bounds, MERCATOR, size=(32, 32))
    assert len(opened) == 1
    raster.read_bounds((west, south, west + step, south + step), MERCATOR, size=(16, 16))
    assert len(opened) == 2


def test_outside_is_not_valid_without_a_declared_number(write_raster) -> None:
    raster = Raster.open(write_raster(smooth()))
    west, south, east, north = transform_bounds(raster.crs, MERCATOR, *raster.bounds)
    x = east - west
    tile = raster.read_bounds((west - x, south, east, north), MERCATOR, size=(64, 128))
    assert not tile.mask[:, :60].any()
    assert tile.mask[:, 70:].float().mean() > 0.95
    assert (tile.image[:, ~tile.mask] == 0).all()


def test_missing_pixels_do_not_bleed(write_raster) -> None:
    pixels = np.full((1, 120, 120), 1000, np.uint16)
    pixels[:, 40:80, 40:80] = 0
    for settings, options in (({"nodata": 0}, {}), ({}, {"nodata": 0})):
        raster = Raster.open(write_raster(pixels, **settings), scaling="none", **options)
        warped = raster.read_bounds(middle(raster, MERCATOR, 0.1), MERCATOR, size=(150, 150))
        smaller = raster.read((0, 0, 120, 120), size=(50, 50))
        shifted = raster.read_bounds((500_003, 4_499_000, 501_003, 4_500_000), raster.crs, size=(100, 100))
        for tile in (warped, smaller, shifted):
            assert set(np.unique(tile.image[:, tile.mask].numpy())) == {1000}
            assert 0.05 < 1 - tile.valid_fraction < 0.25


def test_nan_does_not_bleed(write_raster) -> None:
    pixels = np.full((2, 120, 120), 5.0, np.float32)
    pixels[0, 40:80, 40:80] = np.nan
    raster = Raster.open(write_raster(pixels), scaling="none")
    tile = raster.read_bounds(middle(raster, MERCATOR, 0.1), MERCATOR, size=(150, 150))
    assert 0.05 < 1 - tile.valid_fraction < 0.25
    np.testing.assert_allclose(tile.image[:, tile.mask].numpy(), 5.0)


def test_a_band_marked_as_alpha_but_asked_for_is_data(write_raster, noise) -> None:
    pixels = noise(4, 100, 100)
    pixels[3, :50] = 0
    path = write_raster(pixels, colors=("red", "green", "blue", "alpha"))
    for options in ({"bands": [1, 2, 3, 4]}, {"sensor": "naip"}, {"sensor": "naip", "bands": ["nir", "red"]}):
        raster = Raster.open(path, **options)
        assert raster.read((0, 0, 100, 100)).valid_fraction == 1
        assert raster.read((0, 0, 100, 100), size=(60, 60)).image[0, :25].max() >= 0
        red = raster.bands.index("red")
        assert raster.read((0, 0, 100, 100), size=(60, 60)).image[red, :25].max() > 0.2
        assert (
            raster.read_bounds(middle(raster, MERCATOR), MERCATOR, size=(64, 64)).image[red, :25].max() > 0.2
        )
    assert Raster.open(path).read((0, 0, 100, 100)).valid_fraction == 0.5


def test_alpha_and_mask_reach_the_warped_tile(write_raster, noise) -> None:
    rgb = noise(3, 120, 120)
    alpha = np.full((1, 120, 120), 255, np.uint8)
    alpha[:, :, :60] = 0
    by_alpha = write_raster(np.concatenate([rgb, alpha]), "a.tif", colors=("red", "green", "blue", "alpha"))
    by_mask = write_raster(rgb, "m.tif", mask=alpha[0])
    for path in (by_alpha, by_mask):
        raster = Raster.open(path)
        assert raster.bands == ("red", "green", "blue")
        tile = raster.read_bounds(middle(raster, MERCATOR, 0.1), MERCATOR, size=(100, 100))
        assert tile.image.shape[0] == 3
        assert not tile.mask[:, :45].any()
        assert tile.mask[5:-5, 55:].all()


def test_the_same_crs_reads_pixels_as_stored_and_between(write_raster) -> None:
    ramp = np.broadcast_to(np.arange(100, dtype=np.float32), (1, 100, 100)).copy()
    raster = Raster.open(write_raster(ramp), scaling="none")
    tile = raster.read_bounds((500_200, 4_499_500, 500_400, 4_499_700), raster.crs, size=(20, 20))
    np.testing.assert_array_equal(tile.image[0, 0].numpy(), np.arange(20, 40))
    halfway = raster.read_bounds((500_205, 4_499_500, 500_405, 4_499_700), raster.crs, size=(20, 20))
    np.testing.assert_allclose(halfway.image[0, 0].numpy(), np.arange(20, 40) + 0.5, atol=1e-4)
    finer = raster.read_bounds((500_200, 4_499_500, 500_400, 4_499_700), raster.crs, size=(40, 40))
    np.testing.assert_allclose(
        finer.image[0, 0].numpy()[2:-2], (20 + np.arange(40) / 2 - 0.25)[2:-2], atol=1e-4
    )


def test_coarser_tiles_average_by_area(write_raster) -> None:
    pixels = np.kron(np.arange(16, dtype=np.float32).reshape(4, 4), np.ones((25, 25), np.float32))[None]
    raster = Raster.open(write_raster(pixels, overviews=(2, 4)), scaling="none")
    tile = raster.read((0, 0, 100, 100), size=(4, 4), resampling="average")
    np.testing.assert_allclose(tile.image[0].numpy(), np.arange(16).reshape(4, 4), atol=0.6)


def test_the_poles_are_cut_before_mercator(write_raster, noise) -> None:
    path = write_raster(
        noise(1, 90, 180), crs="EPSG:4326", transform=rasterio.transform.from_origin(-180, 90, 2, 2)
    )
    raster = Raster.open(path)
    half = 20037508.342789244
    tile = raster.read_bounds((-half, -half, half, half), MERCATOR, size=(128, 128))
    assert tile.valid_fraction > 0.98
    polar = write_raster(
        noise(1, 2, 180), "p.tif", crs="EPSG:4326", transform=rasterio.transform.from_origin(-180, 90, 2, 2)
    )
    with pytest.raises(TileOutsideBounds):
        Raster.open(polar).read_bounds((-half, -half, half, half), MERCATOR, size=(16, 16))


def test_tiles_elsewhere_and_bounds_the_wrong_way_round(write_raster) -> None:
    raster = Raster.open(write_raster(smooth()))
    with pytest.raises(
        TileOutsideBounds,
        match=r"the rectangle \(0, 0, 1000, 1000\) in EPSG:3857 lies outside of .* in EPSG:32618",
    ):
        raster.read_bounds((0, 0, 1000, 1000), MERCATOR, size=(8, 8))
    with pytest.raises(InputError, match="west < east, south < north"):
        raster.read_bounds((10, 0, 5, 10), MERCATOR, size=(8, 8))
    with pytest.raises(ConfigError, match="resampling is 'bicubic'.*Did you mean 'cubic'"):
        raster.read_bounds((0, 0, 1000, 1000), MERCATOR, size=(8, 8), resampling="bicubic")
    with pytest.raises(InputError, match="west < east"):
        raster.read_bounds((0, 0, float("nan"), 10), MERCATOR, size=(8, 8))
    west, south, _, _ = middle(raster, MERCATOR)
    # A grid that would hold the whole raster in pixels of 0.2 micrometres.
    tiny = raster.read_bounds((west, south, west + 1e-5, south + 1e-5), MERCATOR, size=(64, 64))
    assert tiny.valid_fraction == 1
    assert float((tiny.image.amax((1, 2)) - tiny.image.amin((1, 2))).max()) < 1e-3


def expected(path, bounds, crs, size):
    found = np.full((1, size, size), np.nan, np.float32)
    with rasterio.open(path) as file:
        transform = rasterio.transform.from_bounds(*bounds, size, size)
        reproject(
            rasterio.band(file, 1), found[0], dst_crs=crs, dst_transform=transform, dst_nodata=np.nan,
            resampling=rasterio.enums.Resampling.bilinear, tolerance=0,
        )  # fmt: skip
    return found


HALF = 20037508.342789244


@pytest.mark.parametrize(
    ("bounds", "crs"),
    [
        ((179.9, 45.2, 180.0, 45.3), "EPSG:4326"),
        ((-180.0, 45.2, -179.9, 45.3), "EPSG:4326"),
        ((179.95, 45.2, 180.05, 45.3), "EPSG:4326"),
        ((-180.05, 45.2, -179.95, 45.3), "EPSG:4326"),
        ((HALF - 10_000, 5_650_000, HALF, 5_660_000), MERCATOR),
        ((-HALF, 5_650_000, -HALF + 10_000, 5_660_000), MERCATOR),
    ],
)
def test_a_scene_across_the_antimeridian_is_met_from_both_sides(write_raster, bounds, crs) -> None:
    path = write_raster(
        smooth(1, 500, 800, "float32"), origin=(700_000, 5_050_000), pixel=100.0, crs="EPSG:32660"
    )
    raster = Raster.open(path, scaling="none")
    tile = raster.read_bounds(bounds, crs, size=(32, 32))
    assert tile.valid_fraction == 1
    np.testing.assert_allclose(tile.image.numpy(), expected(path, bounds, crs, 32), atol=10)
    for elsewhere in ((0, 45, 1, 46), (178, 45.2, 178.1, 45.3)):
        with pytest.raises(TileOutsideBounds):
            raster.read_bounds(elsewhere, "EPSG:4326", size=(4, 4))


@pytest.mark.parametrize(
    ("bounds", "crs"),
    [
        ((-3e6, -3e6, -2e6, -2e6), "EPSG:3413"),
        ((600_000, 4_400_000, 900_000, 4_700_000), "EPSG:32618"),
        ((1_000_000, 5_000_000, 1_100_000, 5_100_000), MERCATOR),
    ],
)
def test_a_raster_of_the_whole_earth_is_read_anywhere(write_raster, bounds, crs) -> None:
    path = write_raster(
        smooth(1, 360, 720, "float32"), crs="EPSG:4326",
        transform=rasterio.transform.from_origin(-180, 90, 0.5, 0.5),
    )  # fmt: skip
    tile = Raster.open(path, scaling="none").read_bounds(bounds, crs, size=(32, 32))
    assert tile.valid_fraction == 1
    np.testing.assert_allclose(tile.image.numpy(), expected(path, bounds, crs, 32), atol=10)


def test_the_pole_in_the_middle(write_raster) -> None:
    path = write_raster(smooth(1, 60, 60, "float32"), crs="EPSG:3413", origin=(-3e6, 3e6), pixel=1e5)
    raster = Raster.open(path, scaling="none")
    assert raster.read_bounds((170, 80, 180, 85), "EPSG:4326", size=(16, 16)).valid_fraction == 1
    with pytest.raises(TileOutsideBounds):
        raster.read_bounds((-10, 20, 0, 30), "EPSG:4326", size=(16, 16))


def test_longitude_comes_first(write_raster, noise) -> None:
    path = write_raster(
        noise(1, 50, 50), crs="EPSG:4326", transform=rasterio.transform.from_origin(116, 40, 0.01, 0.01)
    )
    raster = Raster.open(path)
    assert raster.bounds == pytest.approx((116, 39.5, 116.5, 40))
    tile = raster.read_bounds((116.1, 39.6, 116.2, 39.7), "EPSG:4326", size=(10, 10))
    np.testing.assert_array_equal(tile.image, raster.read((10, 30, 10, 10)).image)
    assert raster.pixel_size_m == pytest.approx(973, abs=5)


@pytest.mark.parametrize(
    ("crs", "origin", "pixel"), [("EPSG:32650", (4e5, 4.4e6), 10.0), (MERCATOR, (1.3e7, 4.85e6), 4.0)]
)
def test_ground_size_is_that_of_pyproj(write_raster, noise, crs, origin, pixel) -> None:
    pyproj = pytest.importorskip("pyproj")
    raster = Raster.open(write_raster(noise(1, 40, 40), crs=crs, origin=origin, pixel=pixel))
    x, y = origin[0] + 20 * pixel, origin[1] - 20 * pixel
    to_degrees = pyproj.Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
    west, east = to_degrees.transform(x - pixel / 2, y), to_degrees.transform(x + pixel / 2, y)
    assert raster.pixel_size_m == pytest.approx(pyproj.Geod(ellps="WGS84").inv(*west, *east)[2], rel=5e-3)
