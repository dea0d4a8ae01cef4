"""Both sides of the raster rows read the same tiles, and the checks can fail."""

from __future__ import annotations

from functools import partial

import pytest
import torch

pytest.importorskip("rasterio", reason="the urban extra is not installed")

from verticlip.benchmarks import rasters
from verticlip.core.errors import VerticlipError
from verticlip.domains.urban.geometry.samplers import BlockOrderSampler, RandomSampler

SIDE = 600


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    return rasters.write_scene(tmp_path_factory.mktemp("scene") / "scene.tif", SIDE, noise=False)


def test_the_scene_is_stored_as_the_rows_say(scene) -> None:
    import rasterio

    with rasterio.open(scene) as file:
        assert (file.width, file.height, file.count, file.dtypes[0]) == (SIDE, SIDE, 4, "uint16")
        assert file.block_shapes[0] == (512, 512)
        assert file.interleaving.name.lower() == "pixel"
        assert file.compression.name.lower() == "deflate"
        assert file.read().min() > 0


def test_windows_cover_the_scene_and_lie_inside() -> None:
    grid = rasters.grid_windows(SIDE)
    assert len(grid) == 9
    assert grid[-1] == (SIDE - 224, SIDE - 224, 224, 224)
    drawn = rasters.draw_windows(SIDE, 50)
    assert drawn == rasters.draw_windows(SIDE, 50)
    assert all(0 <= column <= SIDE - 224 and 0 <= row <= SIDE - 224 for column, row, _, _ in drawn)


def test_tiles_are_those_of_rasterio_and_another_scaling_is_noticed(scene, monkeypatch) -> None:
    windows = rasters.draw_windows(SIDE, 4)
    assert rasters.check(scene, windows) == {"share_equal": 1.0}
    rasters.ours(scene, windows)
    rasters.by_rasterio(scene, windows)
    monkeypatch.setattr(rasters, "WHITE", 9_999.0)
    with pytest.raises(VerticlipError, match="share_equal is 0"):
        rasters.check(scene, windows)


def test_tiles_as_the_scene_opens_are_those_made_by_hand(scene) -> None:
    windows = rasters.draw_windows(SIDE, 4)
    raster, scaling = rasters.stretched(scene)
    assert (scaling["mode"], scaling["clip"]) == ("stretch", True)
    assert rasters.check_stretched(scene, windows, raster, scaling) == {"share_equal": 1.0}
    rasters.ours_stretched(scene, windows, scaling)
    image, _ = rasters.stretched_by_rasterio(scene, windows, scaling)
    assert 0 <= float(image.min()) < float(image.max()) <= 1
    with pytest.raises(VerticlipError, match="share_equal is 0"):
        rasters.check_stretched(scene, windows, raster, {**scaling, "subtract": [0.0] * 3})


@pytest.mark.parametrize("sampler", [RandomSampler, BlockOrderSampler])
def test_batches_of_samplers_are_read(scene, sampler) -> None:
    rasters.cached(partial(rasters.ours_in_batches, scene, partial(sampler, size=224, count=6)), 24)


@pytest.mark.slow
def test_torchgeo_reads_the_same_bands(scene) -> None:
    pytest.importorskip("torchgeo")
    rasters.by_torchgeo(scene, 3)
    rasters.by_torchgeo(scene, None)


def test_rows_of_memory_and_files_are_complete(scene) -> None:
    row = rasters.files_left_open(scene, SIDE, 30)
    assert row["passed"]
    assert row["ratio"] == 1
    torch.manual_seed(0)
    assert rasters.growth_mib(str(scene), SIDE, 10) < rasters.MEMORY_CACHE_MB
