"""Windows of a raster are those of rasterio, to the pixel; what sticks out is padded, never moved."""

from __future__ import annotations

import pickle
import warnings

import numpy as np
import pytest
import torch

pytest.importorskip("rasterio", reason="the urban extra is not installed")

import rasterio
import rasterio.windows
from rasterio.enums import Resampling
from verticlip.core.errors import ConfigError, InputError, LimitError
from verticlip.core.limits import DEFAULT, Limits
from verticlip.domains.urban.geometry.covering import TileGrid
from verticlip.domains.urban.geometry.projection import crs_name, same_crs
from verticlip.domains.urban.geometry.tiles import Tile, Tiles
from verticlip.domains.urban.loaders.errors import MissingCRSError, RasterReadError, TileOutsideBounds
from verticlip.domains.urban.loaders.raster import Raster


def by_rasterio(path, window, bands=(1, 2, 3)):
    with rasterio.open(path) as file:
        return file.read(list(bands), window=rasterio.windows.Window(*window))


def test_metadata_are_those_of_the_file(write_raster, noise) -> None:
    path = write_raster(noise(), tiled=True, blockxsize=32, blockysize=16, nodata=0)
    raster = Raster.open(path)
    with rasterio.open(path) as file:
        assert raster.bounds == pytest.approx(tuple(file.bounds), abs=0)
        assert raster.transform == tuple(file.transform)[:6]
        assert raster.resolution == file.res
    assert (raster.width, raster.height, raster.dtype, raster.crs) == (128, 96, "uint8", "EPSG:32618")
    assert (raster.name, raster.block, raster.nodata) == ("scene.tif", (16, 32), 0)
    assert raster.bands == ("red", "green", "blue")
    assert raster.pixel_size_m == pytest.approx(10 / 0.9996, rel=1e-4)
    assert "128 x 96" in repr(raster)
    assert str(path.parent) not in repr(raster)


@pytest.mark.parametrize("window", [(0, 0, 128, 96), (17, 5, 40, 31), (127, 95, 1, 1), (64, 32, 64, 64)])
def test_a_window_inside_is_read_as_stored(write_raster, noise, window) -> None:
    path = write_raster(noise(), tiled=True, blockxsize=32, blockysize=32)
    raster = Raster.open(path)
    values, valid = raster.raw(window)
    np.testing.assert_array_equal(values, by_rasterio(path, window))
    assert values.dtype == np.uint8
    assert valid.all()
    tile = raster.read(window, tile_id="a")
    expected = torch.from_numpy(by_rasterio(path, window).astype(np.float32) / np.float32(255))
    torch.testing.assert_close(tile.image, expected, rtol=0, atol=0)
    with rasterio.open(path) as file:
        transform = rasterio.windows.transform(rasterio.windows.Window(*window), file.transform)
        bounds = rasterio.windows.bounds(rasterio.windows.Window(*window), file.transform)
    assert tile.transform == pytest.approx(tuple(transform)[:6], abs=1e-9)
    assert tile.bounds == pytest.approx(bounds, abs=1e-9)
    assert (tile.tile_id, tile.crs, tile.valid_fraction) == ("a", "EPSG:32618", 1.0)


@pytest.mark.parametrize(
    "window", [(-10, -7, 40, 30), (100, 80, 50, 40), (-5, 90, 200, 20), (-3, -4, 200, 200)]
)
def test_a_window_that_sticks_out_keeps_its_size_and_place(write_raster, noise, window) -> None:
    pixels = noise()
    raster = Raster.open(write_raster(pixels))
    column, row, width, height = window
    expected = np.zeros((3, height, width), np.uint8)
    inside = np.zeros((height, width), bool)
    for y in range(height):
        for x in range(width):
            if 0 <= row + y < 96 and 0 <= column + x < 128:
                expected[:, y, x], inside[y, x] = pixels[:, row + y, column + x], True
    values, valid = raster.raw(window)
    np.testing.assert_array_equal(values, expected)
    np.testing.assert_array_equal(valid, inside)
    tile = raster.read(window)
    assert tile.transform[2] == 500_000 + 10 * column
    assert tile.transform[5] == 4_500_000 - 10 * row
    assert (tile.image[:, ~tile.mask] == 0).all()


@pytest.mark.parametrize("window", [(128, 0, 10, 10), (-10, 0, 10, 10), (0, 96, 5, 5), (5000, 5000, 8, 8)])
def test_a_window_outside_is_an_error(write_raster, noise, window) -> None:
    raster = Raster.open(write_raster(noise()))
    with pytest.raises(
        TileOutsideBounds, match=r"scene.tif: the window .* lies outside of the raster \(128 x 96"
    ):
        raster.read(window)


def test_windows_must_be_whole_and_hold_pixels(write_raster, noise) -> None:
    raster = Raster.open(write_raster(noise()))
    with pytest.raises(InputError, match="whole pixels"):
        raster.read((0.5, 0, 10, 10))
    with pytest.raises(InputError, match="holds no pixel"):
        raster.read((0, 0, 0, 10))
    with pytest.raises(InputError, match="at least one pixel"):
        raster.read((0, 0, 8, 8), size=(0, 4))


def test_smaller_output_is_that_of_rasterio(write_raster, noise) -> None:
    path = write_raster(noise(), overviews=(2, 4))
    raster = Raster.open(path)
    assert raster.overviews == (2, 4)
    tile = raster.read((16, 8, 96, 80), size=(20, 24))
    with rasterio.open(path) as file:
        window = rasterio.windows.Window(16, 8, 96, 80)
        expected = file.read(window=window, out_shape=(3, 20, 24), resampling=Resampling.bilinear)
    np.testing.assert_array_equal((tile.image.numpy() * 255).round(), expected)
    assert tile.transform[0] == 40
    assert tile.transform[4] == -40


def test_a_smaller_output_that_sticks_out_keeps_its_grid(write_raster) -> None:
    ramp = np.broadcast_to(np.arange(128, dtype=np.float32), (1, 96, 128)).copy()
    raster = Raster.open(write_raster(ramp, overviews=(2,)), scaling="none")
    # Cells of 4 pixels whose edges do not meet the raster's: 126 of 128 columns lie in whole cells.
    tile = raster.read((-6, 0, 160, 96), size=(24, 40))
    centers = -6 + 4 * np.arange(40) + 1.5
    inside = tile.mask[5].numpy()
    np.testing.assert_array_equal(inside, (centers + 0.5 >= 0) & (centers + 0.5 < 128))
    whole = inside & (centers >= 1.5) & (centers <= 125.5)
    np.testing.assert_allclose(tile.image[0, 5].numpy()[whole], centers[whole], atol=0.6)
    # Interior cells are exact: 2 pixels of the copy of half size, each of the mean of two columns.
    np.testing.assert_allclose(tile.image[0, 5].numpy()[3:30], centers[3:30], atol=1e-3)


def test_pictures_of_far_too_many_pixels_are_refused(write_raster, noise) -> None:
    plain = Raster.open(write_raster(noise(1, 64, 64)), limits=DEFAULT.with_(pixels=200))
    with pytest.raises(LimitError, match=r"scene.tif: 4,096 pixels would be decoded .* 4 x 4.*gdaladdo"):
        plain.read((0, 0, 64, 64), size=(4, 4))
    helped = write_raster(noise(1, 64, 64), "b.tif", overviews=(2, 4))
    assert Raster.open(helped, limits=DEFAULT.with_(pixels=200)).read((0, 0, 64, 64), size=(4, 4))


def test_reading_far_without_overviews_warns_once(write_raster, noise) -> None:
    raster = Raster.open(write_raster(noise()))
    with pytest.warns(UserWarning, match="scene.tif has no overviews.*gdaladdo"):
        raster.read((0, 0, 128, 96), size=(24, 32))
    other = Raster.open(write_raster(noise(), "b.tif"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        raster.read((0, 0, 128, 96), size=(24, 32))
        other.read((0, 0, 128, 96), size=(80, 100))


def test_any_number_type_is_read(write_raster, noise) -> None:
    for dtype in ("uint16", "int16", "uint32", "int32", "float32", "float64", "int8"):
        pixels = noise(2, 20, 30, dtype) if dtype != "int8" else noise(2, 20, 30).astype("int8")
        raster = Raster.open(write_raster(pixels, f"{dtype}.tif"), scaling="none")
        np.testing.assert_array_equal(raster.raw((0, 0, 30, 20))[0], pixels)
        np.testing.assert_array_equal(raster.read((0, 0, 30, 20)).image.numpy(), pixels.astype(np.float32))


def test_a_tile_is_read_by_its_window_or_its_bounds(write_raster, noise) -> None:
    path = write_raster(noise())
    raster = Raster.open(path)
    window = (20, 10, 32, 32)
    bounds = (500_200.0, 4_499_580.0, 500_520.0, 4_499_900.0)
    by_window = raster.read_tile(Tile("a", bounds, "EPSG:32618", window))
    by_bounds = raster.read_tile(Tile("a", bounds, "EPSG:32618"), size=(32, 32))
    torch.testing.assert_close(by_window.image, by_bounds.image, rtol=0, atol=0)
    assert by_window.tile_id == "a"
    assert by_window.bounds == pytest.approx(bounds)
    assert raster.read_tile(Tile("b", bounds, "EPSG:32618")).image.shape == (3, 256, 256)
    for stranger in (
        Tile("c", bounds, "EPSG:3857", window),
        Tile("c", bounds, "", window),
        Tile("c", bounds, "EPSG:32618", (21, 10, 32, 32)),
    ):
        with pytest.raises(InputError, match=r"'c' is a window of another raster than scene.tif: .*urban"):
            raster.read_tile(stranger)


def test_pickling_carries_no_open_file_and_the_same_scaling(write_raster, noise) -> None:
    raster = Raster.open(write_raster(noise(4, dtype="uint16")))
    first = raster.read((0, 0, 64, 64))
    copied = pickle.loads(pickle.dumps(raster))
    assert len(pickle.dumps(raster)) < 20_000
    torch.testing.assert_close(copied.read((0, 0, 64, 64)).image, first.image, rtol=0, atol=0)
    assert copied.scaling == raster.scaling
    assert copied.fingerprint == raster.fingerprint


def test_the_fingerprint_follows_files_and_bands(write_raster, noise) -> None:
    path = write_raster(noise())
    before = Raster.open(path).fingerprint
    assert Raster.open(path).fingerprint == before
    assert Raster.open(path, bands=[2]).fingerprint != before
    write_raster(noise(seed=1), width=128)
    assert Raster.open(path).fingerprint != before
    assert len(before) == 32


def test_the_fingerprint_follows_what_counts_as_missing(write_raster, noise) -> None:
    path = write_raster(noise(), nodata=0)
    seen = {Raster.open(path, **options).fingerprint for options in ({}, {"nodata": 34}, {"invalid": "all"})}
    write_raster(noise(1), "scene.tif.msk", crs=None)
    seen.add(Raster.open(path).fingerprint)
    seen.add(Raster.open(path, sidecars=False).fingerprint)
    assert len(seen) == 4
    assert Raster.open(path, sidecars=False).fingerprint == Raster.open(path, sidecars=False).fingerprint


def test_a_cut_off_file_fails_where_pixels_are_missing(write_raster, noise) -> None:
    path = write_raster(noise(3, 256, 256), tiled=True, blockxsize=64, blockysize=64)
    path.write_bytes(path.read_bytes()[:-5000])
    raster = Raster.open(path)
    assert raster.read((0, 0, 64, 64)).valid_fraction == 1
    with pytest.raises(
        RasterReadError, match=r"scene.tif: the window \(192, 192, 64, 64\) cannot be read"
    ) as caught:
        raster.read((192, 192, 64, 64))
    assert str(path.parent) not in str(caught.value)


def test_the_size_of_one_read_is_limited(write_raster, noise) -> None:
    raster = Raster.open(write_raster(noise()), limits=Limits(pixels=5000))
    with pytest.raises(LimitError, match="scene.tif: pixels of one read 12,288 is over the limit"):
        raster.read((0, 0, 128, 96))
    assert raster.read((0, 0, 64, 64)).image.shape == (3, 64, 64)


def test_unknown_options_are_named(write_raster, noise) -> None:
    path = write_raster(noise())
    with pytest.raises(ConfigError, match="Unknown option 'band'.*Did you mean 'bands'"):
        Raster.open(path, band=[1])
    with pytest.raises(ConfigError, match="on_error is 'ignore'"):
        Raster.open(path, on_error="ignore")
    with pytest.raises(ConfigError, match="cache_mb is 0"):
        Raster.open(path, cache_mb=0)


def test_palettes_become_colors(tmp_path) -> None:
    from PIL import Image

    picture = Image.new("P", (32, 16))
    picture.putpalette([255, 0, 0, 0, 255, 0, 10, 20, 30])
    picture.putdata([index % 3 for index in range(32 * 16)])
    picture.save(tmp_path / "p.png", transparency=2)
    raster = Raster.open(tmp_path / "p.png")
    values, valid = raster.raw((0, 0, 3, 1))
    assert values[:, 0].T.tolist() == [[255, 0, 0], [0, 255, 0], [10, 20, 30]]
    assert valid[0].tolist() == [True, True, False]
    assert raster.bands == ("red", "green", "blue")
    assert raster.crs == ""


def test_palettes_keep_to_masks_and_to_their_end(tmp_path) -> None:
    numbers = np.array([[0, 1, 2, 3, 300]], np.uint16)
    colors = {index: (10 * index, 20, 30, 255) for index in range(4)}
    profile = {"driver": "GTiff", "width": 5, "height": 1, "count": 1, "dtype": "uint16"}
    for name, mask in (("a.tif", None), ("b.tif", np.array([[255, 255, 0, 255, 255]], np.uint8))):
        with (
            rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
            rasterio.open(tmp_path / name, "w", photometric="palette", **profile) as file,
        ):
            file.write(numbers, 1)
            file.write_colormap(1, colors)
            if mask is not None:
                file.write_mask(mask)
    values, valid = Raster.open(tmp_path / "a.tif", nodata=1).raw((0, 0, 5, 1))
    assert values[0, 0, :4].tolist() == [0, 10, 20, 30]
    assert valid[0, :4].tolist() == [True, False, True, True]
    assert Raster.open(tmp_path / "b.tif").raw((0, 0, 5, 1))[1][0, :4].tolist() == [True, True, False, True]


def test_south_up_files_are_read(write_raster, noise) -> None:
    pixels = noise()
    path = write_raster(pixels, transform=rasterio.Affine(10, 0, 500_000, 0, 10, 4_500_000))
    raster = Raster.open(path)
    assert raster.bounds == (500_000, 4_500_000, 501_280, 4_500_960)
    np.testing.assert_array_equal(raster.raw((3, 4, 10, 10))[0], pixels[:, 4:14, 3:13])
    tile = raster.read_bounds((500_100, 4_500_100, 500_300, 4_500_300), "EPSG:32618", size=(20, 20))
    np.testing.assert_array_equal((tile.image * 255).round().numpy(), pixels[:, 10:30, 10:30][:, ::-1])
    window = raster.read((10, 10, 20, 20))
    torch.testing.assert_close(window.image, tile.image, rtol=0, atol=0)
    assert window.transform == pytest.approx(tile.transform)
    assert raster.read((-5, -7, 10, 10)).mask.numpy()[:3, 5:].all()


def test_a_cloud_optimized_file_is_read_like_any_other(write_raster, noise, tmp_path) -> None:
    import rasterio.shutil

    pixels = noise(3, 300, 400)
    settings = {"driver": "COG", "blocksize": 128, "compress": "deflate", "overview_resampling": "average"}
    rasterio.shutil.copy(write_raster(pixels), tmp_path / "cog.tif", **settings)
    raster = Raster.open(tmp_path / "cog.tif")
    assert raster.overviews
    assert raster.block == (128, 128)
    np.testing.assert_array_equal(raster.raw((50, 60, 200, 200))[0], pixels[:, 60:260, 50:250])


def test_jpeg_2000_is_read_where_gdal_can(write_raster, noise, tmp_path) -> None:
    import rasterio.shutil
    from rasterio.drivers import raster_driver_extensions

    if raster_driver_extensions().get("jp2") is None:
        pytest.skip("this GDAL has no JPEG 2000 driver")
    pixels = noise(3, 96, 128, "uint16")
    settings = {"driver": "JP2OpenJPEG", "QUALITY": 100, "REVERSIBLE": "YES", "YCBCR420": "NO"}
    rasterio.shutil.copy(write_raster(pixels), tmp_path / "a.jp2", **settings)
    raster = Raster.open(tmp_path / "a.jp2")
    assert (raster.crs, raster.bounds) == ("EPSG:32618", (500_000, 4_499_040, 501_280, 4_500_000))
    np.testing.assert_array_equal(raster.raw((5, 6, 50, 40))[0], pixels[:, 6:46, 5:55])


def test_a_world_file_places_a_picture(tmp_path, noise) -> None:
    from PIL import Image

    Image.fromarray(np.moveaxis(noise(3, 20, 30), 0, -1)).save(tmp_path / "a.png")
    (tmp_path / "a.pgw").write_text("2.0\n0\n0\n-2.0\n1001\n4999\n")
    with pytest.raises(MissingCRSError, match="a.png: has a place but no coordinate system"):
        Raster.open(tmp_path / "a.png")
    raster = Raster.open(tmp_path / "a.png", crs="EPSG:3857")
    assert raster.bounds == (1000, 4960, 1060, 5000)
    assert raster.read_bounds((1000, 4960, 1060, 5000), "EPSG:3857", size=(20, 30)).valid_fraction == 1


def test_tiles_may_write_the_crs_in_full(write_raster, noise) -> None:
    raster = Raster.open(write_raster(noise()))
    bounds = (500_000.0, 4_499_920.0, 500_080.0, 4_500_000.0)
    tile = Tile("a", bounds, rasterio.CRS.from_epsg(32618).to_wkt(), (0, 0, 8, 8))
    assert raster.read_tile(tile).crs == "EPSG:32618"


@pytest.mark.parametrize(
    "crs", ["ESRI:54009", "IGNF:LAMB93", "OGC:CRS84", "+proj=laea +lat_0=52 +lon_0=10 +datum=WGS84"]
)
def test_any_crs_is_called_alike_by_rasters_and_tiles(write_raster, noise, tmp_path, crs) -> None:
    transform = rasterio.transform.from_origin(10, 50, 0.1, 0.1) if "84" in crs[:9] else None
    path = write_raster(noise(), crs=crs, **({"transform": transform} if transform else {}))
    raster = Raster.open(path)
    assert raster.crs == crs_name(raster.crs)
    assert same_crs(raster.crs, crs)
    cut = TileGrid("raster", tile_px=64).over(raster)
    cut.to_file(tmp_path / "tiles.parquet")
    for tiles in (cut, Tiles.from_file(tmp_path / "tiles.parquet")):
        assert raster.read_tile(tiles[0]).valid_fraction == 1
        by_bounds = raster.read_bounds(tiles[0].bounds, tiles.crs, size=(64, 64))
        torch.testing.assert_close(by_bounds.image, raster.read_tile(tiles[0]).image, rtol=0, atol=0)


@pytest.mark.data
@pytest.mark.parametrize("name", ["RGB.byte.tif", "alpha.tif", "shade.tif", "world.rgb.tif"])
def test_real_files_are_read_as_rasterio_does(data_dir, name) -> None:
    path = data_dir / "urban" / "geotiff" / name
    raster = Raster.open(path)
    window = (101, 53, 250, 180)
    values, valid = raster.raw(window)
    np.testing.assert_array_equal(values, by_rasterio(path, window, range(1, len(raster.bands) + 1)))
    with rasterio.open(path) as file:
        masks = file.read_masks(
            list(range(1, len(raster.bands) + 1)), window=rasterio.windows.Window(*window)
        )
        assert raster.bounds == pytest.approx(tuple(file.bounds))
    np.testing.assert_array_equal(valid, (masks != 0).all(axis=0))


@pytest.mark.data
def test_the_real_damaged_file(data_dir) -> None:
    path = data_dir / "urban" / "geotiff" / "corrupt.tif"
    raster = Raster.open(path)
    assert raster.read((0, 0, 512, 512)).valid_fraction == 1
    with pytest.raises(RasterReadError, match="corrupt.tif: the window .* damaged or cut off"):
        raster.read((700, 600, 100, 100))
    with pytest.raises(RasterReadError, match="cut off: 1 of its 20 blocks"):
        Raster.open(path, verify=True)


def test_the_name_of_a_raster_is_that_of_its_file_wherever_it_lies(write_raster, noise) -> None:
    path = write_raster(noise())
    for show_paths in (False, True):
        assert Raster.open(path, show_paths=show_paths).name == "scene.tif"
