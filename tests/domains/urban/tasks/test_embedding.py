"""Embedding a scene: every tile once, whatever happens in between."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pyarrow import parquet
from urban import make_scenes as scenes
from verticlip.api import from_pretrained
from verticlip.core.config import ModelConfig
from verticlip.core.errors import ConfigError, DataError, InputError
from verticlip.domains.urban.geometry.covering import TileGrid
from verticlip.domains.urban.geometry.grids import raster_grid
from verticlip.domains.urban.geometry.tiles import Tiles
from verticlip.domains.urban.loaders.records import TileImage
from verticlip.domains.urban.outputs.geoparquet import read_embeddings, write_embeddings
from verticlip.domains.urban.tasks.embedding import embed_tiles, reading_order
from verticlip.domains.urban.tasks.tile_inputs import tile_tensor
from verticlip.domains.urban.tile_settings import tile_settings

FakeScene, grid = scenes.FakeScene, scenes.grid


@pytest.fixture(scope="module")
def model(model_folder: Path):
    return from_pretrained(model_folder)


def test_vectors_are_those_of_the_model(model, tmp_path: Path) -> None:
    scene, tiles = FakeScene(), grid()
    steps: list[tuple[int, int]] = []
    report = embed_tiles(model, scene, tiles, tmp_path / "a.parquet", batch_size=5, part_size=20,
                         progress=lambda *step: steps.append(step))  # fmt: skip
    assert (report.embedded, report.failed, report.skipped, report.failures) == (48, 0, 0, None)
    assert steps == [(20, 48), (40, 48), (48, 48)]
    table = read_embeddings(report.out)
    assert table.ids == tiles.ids
    pictures = [scene.read_tile(tile).image for tile in tiles]
    alone = model.embed(pictures, modality="image").vectors.numpy()
    assert np.abs(table.vectors - alone).max() < 1e-5
    assert table.meta["model_id"] == Path(model.id).name != model.id
    assert str(Path(model.id).parent) not in str(table.meta), "where a model lies is in no file"
    assert (table.meta["revision"], table.meta["processor"]) == (model.revision, model.processor.fingerprint)
    assert (table.meta["dim"], table.meta["normalized"], table.meta["dtype"]) == (12, True, "float32")
    assert table.meta["scaling"] == {"kind": "test", "divide": 1.0}
    assert table.source == "scene.tif"
    assert np.array_equal(table.tiles().bounds, tiles.bounds)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.parquet"]


def test_order_of_the_tiles_does_not_matter(model, tmp_path: Path) -> None:
    tiles = grid()
    shuffled = tiles.take(np.random.default_rng(0).permutation(len(tiles)))
    assert reading_order(shuffled).tolist() == np.argsort(np.random.default_rng(0).permutation(48)).tolist()
    first = embed_tiles(model, FakeScene(), tiles, tmp_path / "a.parquet")
    second = embed_tiles(model, FakeScene(), shuffled, tmp_path / "b.parquet")
    assert first.out.read_bytes() == second.out.read_bytes()


def test_empty_and_broken_tiles_are_counted_with_reasons(model, tmp_path: Path) -> None:
    scene = FakeScene()
    scene.mask[:32, :32] = False
    scene.mask[:32, 32:50] = False
    scene.broken = {"scene_64_64"}
    report = embed_tiles(model, scene, grid(288, 192), tmp_path / "a.parquet")
    assert (report.embedded, report.skipped, report.failed) == (54 - 6 - 2 - 1, 8, 1)
    assert report.failures is not None
    lines = [json.loads(line) for line in report.failures.read_text().splitlines()]
    by_id = {line["id"]: line for line in lines}
    assert by_id["scene_0_0"]["reason"] == "0.0% of its pixels are valid; at least 50% are needed"
    assert by_id["scene_0_32"]["reason"] == "43.8% of its pixels are valid; at least 50% are needed"
    assert by_id["scene_0_256"] == {
        "id": "scene_0_256",
        "reason": "lies outside of the scene",
        "skipped": True,
    }
    assert by_id["scene_64_64"] == {
        "id": "scene_64_64", "reason": "scene.tif: tile scene_64_64 cannot be decoded.",
    }  # fmt: skip
    again = embed_tiles(model, scene, grid(288, 192), tmp_path / "a.parquet")
    assert (again.embedded, again.skipped, again.failed, again.resumed) == (45, 8, 1, 1)
    table = read_embeddings(report.out)
    assert not set(by_id) & set(table.ids)


def test_a_scene_of_nothing_gives_an_empty_table(model, tmp_path: Path) -> None:
    scene = FakeScene()
    scene.mask[:] = False
    report = embed_tiles(model, scene, grid(), tmp_path / "a.parquet", min_valid=0.0)
    assert (report.embedded, report.skipped) == (0, 48)
    assert len(read_embeddings(report.out)) == 0


def test_half_precision_and_size(model, tmp_path: Path) -> None:
    seen: list[object] = []

    class Sized(FakeScene):
        def read_tile(self, tile, *, size=None) -> TileImage:
            seen.append(size)
            return super().read_tile(tile)

    embed_tiles(model, Sized(), grid(), tmp_path / "a.parquet", dtype="float16", size=8)
    assert set(seen) == {(8, 8)}
    schema = parquet.read_schema(tmp_path / "a.parquet")
    assert "halffloat" in str(schema.field("embedding").type)
    seen.clear()
    scene = Sized()
    scene.overviews = (2, 4)
    embed_tiles(model, scene, grid(size=64), tmp_path / "b.parquet")
    assert set(seen) == {(16, 16)}, "read through overviews at what the model sees"
    seen.clear()
    embed_tiles(model, Sized(), grid(size=64), tmp_path / "c.parquet")
    assert set(seen) == {None}


def test_another_run_is_not_continued(model, tmp_path: Path) -> None:
    out = tmp_path / "a.parquet"
    embed_tiles(model, FakeScene(), grid(), out)
    with pytest.raises(
        ConfigError, match=r"a\.parquet exists and has scene 'scene\.tif seed 0'; this run has "
    ):
        embed_tiles(model, FakeScene(seed=1), grid(), out)
    with pytest.raises(ConfigError, match="has tiles"):
        embed_tiles(model, FakeScene(), grid(size=64), out)
    with pytest.raises(ConfigError, match="has min_valid '0.5'; this run has '0.9'"):
        embed_tiles(model, FakeScene(), grid(), out, min_valid=0.9)
    other = from_pretrained(model.id)
    other.variant = "changed"
    with pytest.raises(ConfigError, match="has revision"):
        embed_tiles(other, FakeScene(), grid(), out)
    scene = FakeScene()
    scene.scaling = {"kind": "other"}
    with pytest.raises(ConfigError, match="has scaling"):
        embed_tiles(model, scene, grid(), out)
    write_embeddings(out, read_embeddings(out).take([1, 2]))
    with pytest.raises(ConfigError, match="exists and has scene None"):
        embed_tiles(model, FakeScene(), grid(), out)
    (tmp_path / "mine.parquet").write_text("mine")
    with pytest.raises(ConfigError, match="exists and is no result of this program"):
        embed_tiles(model, FakeScene(), grid(), tmp_path / "mine.parquet")


def test_bad_arguments(model, tmp_path: Path) -> None:
    out = tmp_path / "a.parquet"
    with pytest.raises(DataError, match="the list of tiles is empty"):
        embed_tiles(model, FakeScene(), grid().take([]), out)
    with pytest.raises(ConfigError, match=r"min_valid is a share from 0 to 1, got 50"):
        embed_tiles(model, FakeScene(), grid(), out, min_valid=50)
    with pytest.raises(ConfigError, match="float32 or float16, got 'int8'"):
        embed_tiles(model, FakeScene(), grid(), out, dtype="int8")
    with pytest.raises(ConfigError, match="size counts pixels and starts at 1, got 0"):
        embed_tiles(model, FakeScene(), grid(), out, size=0)
    nowhere = Tiles(("a",), np.array([[0.0, 0.0, 1.0, 1.0]]), "", windows=np.array([[0, 0, 8, 8]]))
    with pytest.raises(InputError, match="no coordinate system"):
        embed_tiles(model, FakeScene(), nowhere, out)
    assert not list(tmp_path.iterdir())


def test_bands_are_counted_before_anything_is_read(model, tmp_path: Path) -> None:
    scene = FakeScene()
    scene.bands = ("1", "2")
    with pytest.raises(InputError, match=r"scene.tif: 2 bands \(1, 2\) would be shown.* takes 3.*--bands"):
        embed_tiles(model, scene, grid(), tmp_path / "a.parquet")
    assert not scene.reads
    assert not list(tmp_path.iterdir())


def test_invalid_pixels_become_the_mean(model) -> None:
    image, mask = torch.rand(3, 16, 16), torch.ones(16, 16, dtype=torch.bool)
    mask[:, :8] = False
    shown = model.processor.finish_images(
        tile_tensor(model, TileImage(image, mask, scenes.TRANSFORM, "", "t"))[None]
    )
    assert shown["pixels"][0, :, :, :8].abs().max() < 1e-5
    assert shown["pixels"][0, :, :, 8:].abs().max() > 0.1
    grey = TileImage(image[:1], mask, scenes.TRANSFORM, "", "t")
    assert tile_tensor(model, grey).shape == (3, 16, 16)


def test_tiles_no_model_can_see(model) -> None:
    mask = torch.ones(16, 16, dtype=torch.bool)
    with pytest.raises(InputError, match=r"tile 't' has 4 bands; .* takes 3\. Open the scene with bands="):
        tile_tensor(model, TileImage(torch.rand(4, 16, 16), mask, scenes.TRANSFORM, "", "t"))
    with pytest.raises(InputError, match="tile 't': values from .* where a picture has 0 to 1"):
        tile_tensor(model, TileImage(1000 * torch.rand(3, 16, 16), mask, scenes.TRANSFORM, "", "t"))
    with pytest.raises(InputError, match="tile 't' has no valid pixel"):
        tile_tensor(model, TileImage(torch.rand(3, 16, 16), ~mask, scenes.TRANSFORM, "", "t"))


def test_settings_of_a_model(model) -> None:
    assert tile_settings(model.config).tile_px is None
    options = {"tile_px": 64, "resolution_m": 10, "sensor": "sentinel-2-rgb8", "other": 1}
    config = ModelConfig.model_validate({**model.config.model_dump(), "options": options})
    found = tile_settings(config)
    assert (found.tile_px, found.resolution_m, found.sensor) == (64, 10.0, "sentinel-2-rgb8")
    bad = ModelConfig.model_validate({**model.config.model_dump(), "options": {"tile_px": 0}})
    with pytest.raises(ConfigError, match=r"options: tile_px: .*got 0"):
        tile_settings(bad)


SCRIPT = """
import importlib.util, sys, time
import torch
from verticlip.api import from_pretrained
from verticlip.domains.urban.tasks import embedding
torch.set_num_threads(1)
spec = importlib.util.spec_from_file_location("make_scenes", sys.argv[1])
scenes = importlib.util.module_from_spec(spec)
spec.loader.exec_module(scenes)
def cheap(model, modality, inputs):
    time.sleep(0.02)
    return inputs["pixels"].flatten(1)[:, ::64].contiguous()
embedding.encode_inputs = cheap
scene = scenes.FakeScene(800, 800)
scene.mask[:100, :100] = False
embedding.embed_tiles(
    from_pretrained(sys.argv[2]), scene, scenes.grid(800, 800, size=8), sys.argv[3], part_size=1000, batch_size=250
)
"""


@pytest.mark.slow
def test_ten_thousand_tiles_survive_kill_9(model, tmp_path: Path, monkeypatch) -> None:
    """Killed in the middle of a part and started again: each tile once, and the bytes of an undisturbed run."""
    helper = Path(__file__).parents[1] / "make_scenes.py"
    out = tmp_path / "a.parquet"
    command = [sys.executable, "-c", SCRIPT, str(helper), model.id, str(out)]
    running = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})
    deadline = time.monotonic() + 60
    while not (tmp_path / "a.parquet.parts" / "part-000003.parquet").exists():
        assert time.monotonic() < deadline
        assert running.poll() is None
        time.sleep(0.01)
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    assert not out.exists()
    scene = FakeScene(800, 800)
    scene.mask[:100, :100] = False
    tiles = grid(800, 800, size=8)
    monkeypatch.setattr(
        "verticlip.domains.urban.tasks.embedding.encode_inputs",
        lambda model, modality, inputs: inputs["pixels"].flatten(1)[:, ::64].contiguous(),
    )
    report = embed_tiles(model, scene, tiles, out, part_size=1000, batch_size=250)
    assert 4 <= report.resumed < 10
    assert report.embedded + report.skipped == len(tiles) == 10_000
    whole = embed_tiles(model, scene, tiles, tmp_path / "whole.parquet", part_size=1000, batch_size=250)
    assert out.read_bytes() == whole.out.read_bytes()
    assert report.failures.read_bytes() == whole.failures.read_bytes()
    left_out = [json.loads(line)["id"] for line in report.failures.read_text().splitlines()]
    assert sorted([*read_embeddings(out).ids, *left_out]) == sorted(tiles.ids)
    assert not (tmp_path / "a.parquet.parts").exists()


REAL = """
import sys, time
import torch
from verticlip.api import from_pretrained
from verticlip.domains.urban.geometry.covering import TileGrid
from verticlip.domains.urban.loaders.raster import Raster
from verticlip.domains.urban.tasks.embedding import embed_tiles
torch.set_num_threads(1)
raster = Raster.open(sys.argv[1])
embed_tiles(
    from_pretrained(sys.argv[2]), raster, TileGrid("raster", tile_px=16).over(raster), sys.argv[3],
    part_size=50, batch_size=8, progress=lambda done, total: time.sleep(0.05),
)
"""


@pytest.fixture(scope="module")
def city(tmp_path_factory):
    """A GeoTIFF of 500 tiles, two of them without data."""
    pytest.importorskip("rasterio")
    from verticlip.domains.urban.loaders.raster import Raster

    pixels = np.random.default_rng(0).integers(1, 255, (3, 320, 400)).astype(np.uint8)
    pixels[:, :16, :32] = 0
    path = scenes.write_raster(tmp_path_factory.mktemp("city") / "city.tif", pixels, nodata=0)
    return path, Raster.open(path), grid(400, 320, size=16)


@pytest.mark.slow
def test_five_hundred_tiles_of_a_file_survive_kill_9(model, city, tmp_path: Path) -> None:
    path, raster, _ = city
    out = tmp_path / "a.parquet"
    command = [sys.executable, "-c", REAL, str(path), model.id, str(out)]
    running = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})
    deadline = time.monotonic() + 60
    while not (tmp_path / "a.parquet.parts" / "part-000002.parquet").exists():
        assert time.monotonic() < deadline
        assert running.poll() is None
        time.sleep(0.01)
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    assert not out.exists()
    tiles = TileGrid("raster", tile_px=16).over(raster)
    report = embed_tiles(model, raster, tiles, out, part_size=50, batch_size=8)
    assert 3 <= report.resumed < 10
    assert (report.embedded, report.skipped, report.failed) == (498, 2, 0)
    whole = embed_tiles(model, raster, tiles, tmp_path / "whole.parquet", part_size=50, batch_size=8)
    assert out.read_bytes() == whole.out.read_bytes()
    assert report.failures.read_bytes() == whole.failures.read_bytes()
    assert not (tmp_path / "a.parquet.parts").exists()


@pytest.mark.parametrize(("batch_size", "workers", "part_size"), [(1, 1, 500), (7, 4, 64), (64, 2, 33)])
def test_batches_and_threads_change_nothing(city, model, tmp_path, batch_size, workers, part_size) -> None:
    _, raster, tiles = city
    some = tiles.take(np.arange(0, 500, 5))
    usual = read_embeddings(embed_tiles(model, raster, some, tmp_path / "a.parquet").out)
    other = read_embeddings(
        embed_tiles(
            model, raster, some, tmp_path / "b.parquet", batch_size=batch_size, workers=workers,
            part_size=part_size,
        ).out
    )  # fmt: skip
    assert other.ids == usual.ids
    assert np.abs(other.vectors - usual.vectors).max() < 1e-6
    assert np.array_equal(other.valid_fraction, usual.valid_fraction)


@pytest.mark.parametrize("changed", [{"nodata": 34}, {"bands": [3, 2, 1]}, {"scaling": "none"}])
def test_what_a_scene_is_read_with_belongs_to_a_run(city, model, tmp_path, changed) -> None:
    from verticlip.domains.urban.loaders.raster import Raster

    path, raster, tiles = city
    embed_tiles(model, raster, tiles.take(range(20)), tmp_path / "a.parquet")
    with pytest.raises(ConfigError, match=r"a\.parquet exists and has "):
        embed_tiles(model, Raster.open(path, **changed), tiles.take(range(20)), tmp_path / "a.parquet")


def test_windows_of_another_raster_are_refused_at_once(model, city, tmp_path: Path) -> None:
    _, raster, tiles = city
    elsewhere = raster_grid(400, 320, (10.0, 0.0, 510_000.0, 0.0, -10.0, 4_500_000.0), scenes.UTM, size=16)
    for wrong in (elsewhere, replace(tiles, crs="EPSG:32617")):
        with pytest.raises(
            InputError, match=r"'\w*0_0' is a window of another raster than city\.tif: it lies"
        ):
            embed_tiles(model, raster, wrong, tmp_path / "a.parquet")
    assert not list(tmp_path.iterdir())


def test_a_file_and_its_tile_are_one_picture(model, tmp_path: Path) -> None:
    """Missing pixels are shown alike, whether a patch is embedded as a tile or as a file."""
    pytest.importorskip("rasterio")
    from verticlip.domains.urban.loaders.image import load_image
    from verticlip.domains.urban.loaders.raster import Raster

    pixels = np.random.default_rng(1).integers(100, 255, (3, 64, 64)).astype(np.uint8)
    pixels[:, :, 40:] = 0
    raster = Raster.open(scenes.write_raster(tmp_path / "patch.tif", pixels, nodata=0))
    tiles = TileGrid("raster", tile_px=64).over(raster)
    as_tile = read_embeddings(embed_tiles(model, raster, tiles, tmp_path / "a.parquet").out).vectors
    sample = load_image(tmp_path / "patch.tif")
    assert sample.valid is not None
    assert bool(sample.value[:, ~sample.valid].min() > 0.3)
    as_file = model.embed([sample], modality="image").vectors.numpy()
    assert np.abs(as_tile - as_file).max() < 1e-6
    fitted = tile_tensor(model, raster.read_tile(tiles[0]))
    shown = model.processor.finish_images(fitted[None])["pixels"]
    assert float(shown[0, :, :, -1].abs().max()) < 1e-6
