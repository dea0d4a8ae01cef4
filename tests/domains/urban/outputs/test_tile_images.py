"""Pictures of tiles: right pixels at the right place, read back by another program."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from verticlip.core.errors import ConfigError
from verticlip.domains.urban.geometry.covering import TileGrid
from verticlip.domains.urban.geometry.grids import raster_grid
from verticlip.domains.urban.loaders.raster import Raster
from verticlip.domains.urban.outputs.tile_images import write_tile_images

rasterio = pytest.importorskip("rasterio")

TRANSFORM = (10.0, 0.0, 500_000.0, 0.0, -10.0, 4_500_000.0)


@pytest.fixture
def scene(tmp_path):
    def write(count=3, dtype="uint8", nodata=0, hole=100):
        values = np.random.default_rng(0).integers(1, 250, (count, 128, 192)).astype(dtype)
        values[:, :, :hole] = 0
        with rasterio.open(
            tmp_path / "scene.tif", "w", driver="GTiff", width=192, height=128, count=count, dtype=dtype,
            crs="EPSG:32650", transform=rasterio.Affine(*TRANSFORM), nodata=nodata,
        ) as file:  # fmt: skip
            file.write(values)
        return tmp_path / "scene.tif"

    return write


def places(raster, **options):
    return TileGrid("raster", tile_px=64, **options).over(raster)


def test_pngs_hold_the_pixels_and_their_place(scene, tmp_path):
    raster = Raster.open(scene())
    done = write_tile_images(raster, places(raster), tmp_path / "out", min_valid=0.3)
    # Columns 0 to 99 are missing: the first of three tiles wholly, the second to 36 of 64.
    assert (done.written, done.skipped, done.failed) == (4, 2, ())
    with rasterio.open(raster_path := tmp_path / "scene.tif") as source:
        for name, column in (("scene_64_64.png", 64), ("scene_64_128.png", 128)):
            with rasterio.open(tmp_path / "out" / name) as found:
                assert found.crs == source.crs
                assert tuple(found.transform)[:6] == pytest.approx(
                    (10, 0, 500_000 + 10 * column, 0, -10, 4_499_360)
                )
                expected = source.read(window=((64, 128), (column, column + 64)))
                seen = np.ones((64, 64), bool) if found.count == 3 else found.read(4) == 255
                assert found.count == (4 if column == 64 else 3)
                assert np.array_equal(seen, expected[0] > 0)
                assert np.array_equal(found.read()[:3][:, seen], expected[:, seen])
    assert raster_path.exists()


def test_geotiffs_hold_the_numbers_as_stored(scene, tmp_path):
    raster = Raster.open(scene(count=5, dtype="uint16"), bands=[1, 2, 3, 4, 5])
    done = write_tile_images(raster, places(raster), tmp_path / "out", image_format="tif", min_valid=0)
    assert (done.written, done.skipped) == (4, 2)
    with (
        rasterio.open(tmp_path / "scene.tif") as source,
        rasterio.open(tmp_path / "out" / "scene_0_64.tif") as found,
    ):
        assert found.dtypes == ("uint16",) * 5
        assert found.nodata == 0
        assert found.bounds == source.window_bounds(rasterio.windows.Window(64, 0, 64, 64))
        assert np.array_equal(found.read(), source.read(window=((0, 64), (64, 128))))


def test_what_sticks_out_is_masked_where_there_is_no_nodata(scene, tmp_path):
    raster = Raster.open(scene(nodata=None, hole=0))
    tiles = raster_grid(192, 128, TRANSFORM, "EPSG:32650", size=100, edge="pad", name="t")
    write_tile_images(raster, tiles, tmp_path / "out", image_format="tif", min_valid=0)
    with rasterio.open(tmp_path / "out" / "t_100_100.tif") as found:
        valid = found.dataset_mask() == 255
        assert valid[:28, :92].all()
        assert not valid[28:].any()
        assert not valid[:, 92:].any()
    assert sorted(path.suffix for path in (tmp_path / "out").iterdir()) == [".tif"] * 4


def test_tiles_of_a_scheme_are_resampled(scene, tmp_path):
    raster = Raster.open(scene(hole=0))
    tiles = TileGrid("webmercator", zoom=15).over(raster)
    write_tile_images(raster, tiles, tmp_path / "out", size=(32, 32), min_valid=0)
    for tile in tiles:
        with rasterio.open(tmp_path / "out" / f"{tile.id}.png") as found:
            assert found.crs.to_epsg() == 3857
            assert found.bounds == pytest.approx(tile.bounds)
            assert found.shape == (32, 32)


def test_names_that_no_file_can_have(scene, tmp_path):
    raster = Raster.open(scene(hole=0))
    tiles = raster_grid(192, 128, TRANSFORM, "EPSG:32650", size=96, edge="drop", name="a/b: c")
    write_tile_images(raster, tiles, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").glob("*.png")) == [
        "a_b_c_0_0.png",
        "a_b_c_0_96.png",
    ]


@pytest.mark.data
def test_damaged_tiles_are_counted_and_the_others_written(tmp_path, data_dir):
    raster = Raster.open(Path(data_dir) / "urban" / "geotiff" / "corrupt.tif")
    steps: list[tuple[int, int]] = []
    done = write_tile_images(
        raster,
        TileGrid("raster", tile_px=256).over(raster),
        tmp_path / "out",
        progress=lambda *step: steps.append(step),
    )
    assert done.written == 12
    assert len(done.failed) == 4
    assert "cannot be read" in done.failed[0].error
    assert steps[-1] == (16, 16)


@pytest.mark.parametrize(
    ("bands", "options", "message"),
    [
        (None, {"image_format": "jpg"}, "Pictures are png or tif, not 'jpg'"),
        (None, {"image_format": "tif", "size": (8, 8)}, "GeoTIFFs hold the scene's own pixels"),
        ([1, 2], {}, "read with 2 bands; a picture has 1 or 3"),
    ],
)
def test_what_cannot_be_written(scene, tmp_path, bands, options, message):
    raster = Raster.open(scene(), bands=bands)
    with pytest.raises(ConfigError, match=message):
        write_tile_images(raster, places(raster), tmp_path / "out", **options)
