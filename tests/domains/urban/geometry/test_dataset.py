"""Tiles for torch: right pixels, from forked and spawned workers alike."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader
from verticlip.core.errors import ConfigError, DataError, InputError
from verticlip.domains.urban.geometry.covering import TileGrid
from verticlip.domains.urban.geometry.dataset import (
    LaneBatches,
    TileDataset,
    collate_tiles,
    tile_loader,
    valid_tiles,
)
from verticlip.domains.urban.geometry.grids import raster_grid
from verticlip.domains.urban.geometry.samplers import BlockOrderSampler, GridSampler, RandomSampler, Shard
from verticlip.domains.urban.loaders.raster import Raster


def check(batch, raster):
    """Compare the pixels of a batch with what the scene has there."""
    for image, transform in zip(batch.images, batch.transforms, strict=True):
        column, row = (
            round((float(transform[2]) - 500_000) / 10),
            round((4_500_000 - float(transform[5])) / 10),
        )
        values = (image * 255).round()
        height, width = values.shape[1:]
        expected = torch.arange(column, column + width) % 250 + 1
        valid = torch.arange(column, column + width) < raster.width
        assert torch.equal(values[0, 0][valid], expected[valid].float())
        rows = torch.arange(row, row + height)
        assert torch.equal(
            values[1, :, 0][rows < raster.height], (rows % 250 + 1)[rows < raster.height].float()
        )


@pytest.mark.parametrize(
    ("workers", "start"), [(0, None), (2, "fork"), pytest.param(1, "spawn", marks=pytest.mark.slow)]
)
def test_every_tile_once_with_its_pixels(write_scene, workers, start):
    raster = Raster.open(write_scene())
    # Something is open here before workers start: they must not read through it.
    raster.read((0, 0, 8, 8))
    dataset = TileDataset(raster, GridSampler(raster, size=64))
    loader = tile_loader(dataset, batch_size=4, workers=workers, start=start)
    ids: list[str] = []
    for batch in loader:
        check(batch, raster)
        assert batch.valid_fraction.tolist() == [1.0] * len(batch)
        ids += batch.ids
    assert len(loader) == 5
    assert sorted(ids) == sorted(place.tile.id for place in dataset.sampler)


def test_workers_follow_the_epoch(write_scene):
    raster = Raster.open(write_scene())
    dataset = TileDataset(raster, RandomSampler(raster, size=32, count=12, shard=Shard(seed=4)))
    loader = tile_loader(dataset, batch_size=4, workers=1, start="fork")
    epochs = []
    for epoch in (0, 1):
        dataset.sampler.set_epoch(epoch)
        epochs.append([name for batch in loader for name in batch.ids])
        assert epochs[-1] == [place.tile.id for place in dataset.sampler]
    assert epochs[0] != epochs[1]


def test_a_table_of_tiles_by_position(write_scene):
    raster = Raster.open(write_scene())
    tiles = TileGrid("raster", tile_px=64, edge="pad").over(raster)
    dataset = TileDataset(raster, tiles)
    assert len(dataset) == 20
    last = dataset[19]
    assert last.tile_id == "scene_192_256"
    assert last.image.shape == (3, 64, 64)
    assert last.valid_fraction == pytest.approx(44 * 8 / 64**2)
    assert sum(len(batch) for batch in DataLoader(dataset, batch_size=8, collate_fn=collate_tiles)) == 20


def test_tiles_may_be_brought_to_one_size_and_changed(write_scene):
    raster = Raster.open(write_scene())
    dataset = TileDataset(
        raster, GridSampler(raster, size=100), size=(64, 64), transform=lambda tile: tile.image.mean()
    )
    found = dataset[next(iter(dataset.sampler))]
    assert found.ndim == 0
    assert TileDataset(raster, GridSampler(raster, size=100), size=(64, 64))[
        next(iter(dataset.sampler))
    ].image.shape[1:] == (64, 64)


@pytest.mark.parametrize("kind", [RandomSampler, BlockOrderSampler])
def test_windows_without_data_are_drawn_anew(write_scene, kind):
    raster = Raster.open(write_scene(hole=200))
    sampler = kind(raster, size=32, count=40)
    first = TileDataset(raster, sampler)
    empty = sum(first[place].valid_fraction < 0.5 for place in sampler)
    assert empty > 10
    dataset = TileDataset(raster, sampler, min_valid=0.5)
    images = [dataset[place] for place in sampler]
    assert all(image.valid_fraction >= 0.5 for image in images)
    assert [image.tile_id for image in images] == [dataset[place].tile_id for place in sampler]


def test_a_scene_without_data_ends_the_search(write_scene):
    raster = Raster.open(write_scene(hole=300))
    dataset = TileDataset(raster, RandomSampler(raster, size=32, count=1), min_valid=0.1, tries=5)
    with pytest.raises(DataError, match="scene.tif: 5 random windows had less than 10% valid pixels each"):
        dataset[next(iter(dataset.sampler))]


def test_fixed_tiles_are_never_replaced(write_scene):
    raster = Raster.open(write_scene(hole=300))
    dataset = TileDataset(raster, GridSampler(raster, size=64), min_valid=0.5)
    assert dataset[next(iter(dataset.sampler))].valid_fraction == 0


def test_tiles_without_data_can_be_left_out_before(write_scene):
    raster = Raster.open(write_scene(hole=150))
    wide = raster_grid(400, 200, raster.transform, raster.crs, size=50, edge="drop", name="w")
    kept = valid_tiles(raster, wide, min_valid=0.5)
    assert len(kept) == 12
    assert kept.windows[:, 0].max() == 100
    assert len(valid_tiles(raster, wide, min_valid=0.0)) == 24


@pytest.mark.parametrize("kind", [RandomSampler, BlockOrderSampler])
def test_gaps_between_files_hold_nothing(write_scene, kind):
    import rasterio

    paths = [write_scene("a.tif", 64, 64), write_scene("b.tif", 64, 64)]
    with rasterio.open(paths[1], "r+") as file:
        file.transform = rasterio.Affine(10, 0, 500_000 + 1920, 0, -10, 4_500_000 - 1920)
    raster = Raster.open(paths)
    assert (raster.width, raster.height) == (256, 256)
    dataset = TileDataset(raster, kind(raster, size=32, count=20), min_valid=0.5, tries=400)
    assert all(dataset[place].valid_fraction >= 0.5 for place in dataset.sampler)
    fixed = TileDataset(raster, raster_grid(256, 256, raster.transform, raster.crs, size=64))
    assert [tile.valid_fraction for tile in map(fixed.__getitem__, range(16))] == [1.0] + [0.0] * 14 + [1.0]


@pytest.mark.parametrize("workers", [0, 3])
def test_places_are_made_batch_by_batch(write_scene, monkeypatch, workers):
    from verticlip.domains.urban.geometry import samplers

    raster = Raster.open(write_scene())
    made = []
    original = samplers.window_tile
    monkeypatch.setattr(samplers, "window_tile", lambda *given: made.append(given[1]) or original(*given))
    sampler = BlockOrderSampler(raster, size=32, count=1000, buffer=16)
    batches = LaneBatches(sampler, batch_size=10, workers=workers)
    first = next(iter(batches))
    assert len(first) == len(made) == 10
    assert first == list(sampler)[:10]
    ordered = list(LaneBatches(sampler, batch_size=10, workers=1))
    assert {place.tile for batch in batches for place in batch} == {
        place.tile for batch in ordered for place in batch
    }
    assert [place for batch in ordered for place in batch] == list(sampler)


def test_several_scenes(write_scene):
    rasters = [Raster.open(write_scene("a.tif")), Raster.open(write_scene("b.tif", 128, 128))]
    dataset = TileDataset(rasters, GridSampler(rasters, size=64))
    ids = [name for batch in tile_loader(dataset, batch_size=8) for name in batch.ids]
    assert ids[0] == "a_0_0"
    assert ids[-1] == "b_64_64"
    assert len(ids) == 24


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("workers", [1, 2, 3, 7])
def test_every_worker_gets_a_stretch_of_its_own(write_scene, workers, drop_last):
    raster = Raster.open(write_scene())
    sampler = GridSampler(raster, size=32)
    batches = list(LaneBatches(sampler, batch_size=4, workers=workers, drop_last=drop_last))
    order = {place.tile.id: number for number, place in enumerate(sampler)}
    seen = sorted(order[place.tile.id] for batch in batches for place in batch)
    assert seen == list(range(len(seen)))
    assert len(seen) == len(sampler) - (len(sampler) % 4 if drop_last else 0)
    assert len(batches) == len(LaneBatches(sampler, batch_size=4, workers=workers, drop_last=drop_last))
    for worker in range(workers):
        lane = [order[place.tile.id] for batch in batches[worker::workers] for place in batch]
        assert np.array_equal(np.diff(lane), np.ones(max(len(lane) - 1, 0)))


def test_tiles_of_different_sizes_are_no_batch(write_scene):
    raster = Raster.open(write_scene())
    with pytest.raises(InputError, match=r"'a' and 'b' are \(3, 8, 8\) and \(3, 8, 9\).*Give size="):
        collate_tiles([raster.read((0, 0, 8, 8), tile_id="a"), raster.read((0, 0, 9, 8), tile_id="b")])


def test_what_cannot_be(write_scene):
    raster = Raster.open(write_scene())
    sampler = RandomSampler(raster, size=32, count=1)
    with pytest.raises(ConfigError, match="min_valid=2"):
        TileDataset(raster, sampler, min_valid=2)
    with pytest.raises(ConfigError, match="batch_size=0"):
        tile_loader(TileDataset(raster, sampler), batch_size=0)
    with pytest.raises(InputError, match=r"use tile_loader\(dataset\)"):
        TileDataset(raster, sampler)[0]
