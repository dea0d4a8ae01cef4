"""The order in which windows are read: complete, fair, and the same for the same numbers."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from verticlip.core.errors import ConfigError, InputError
from verticlip.domains.urban.geometry.covering import TileGrid
from verticlip.domains.urban.geometry.regions import Regions, RegionWarning
from verticlip.domains.urban.geometry.samplers import (
    BlockOrderSampler,
    GridSampler,
    RandomSampler,
    RegionSampler,
    Shard,
    TileListSampler,
    mixed,
    redrawn,
)

shapely = pytest.importorskip("shapely")


def scene(name="a.tif", width=400, height=300, block=(64, 64)):
    transform = (10.0, 0.0, 500_000.0, 0.0, -10.0, 4_500_000.0)
    bounds = (500_000.0, 4_500_000.0 - 10 * height, 500_000.0 + 10 * width, 4_500_000.0)
    return SimpleNamespace(
        name=name,
        width=width,
        height=height,
        crs="EPSG:32650",
        transform=transform,
        bounds=bounds,
        block=block,
    )


def windows(sampler):
    return [(place.raster, *place.tile.window) for place in sampler]


SAMPLERS = {
    "grid": lambda shard: GridSampler([scene(), scene("b.tif")], size=64, shard=shard),
    "shuffled": lambda shard: TileListSampler(
        [TileGrid("raster", tile_px=64).over(scene())], shuffle=True, shard=shard
    ),
    "random": lambda shard: RandomSampler([scene(), scene("b.tif")], size=64, count=101, shard=shard),
    "blocks": lambda shard: BlockOrderSampler(
        [scene(), scene("b.tif")], size=64, count=101, buffer=7, shard=shard
    ),
}


@pytest.mark.parametrize("kind", SAMPLERS)
@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_ranks_share_the_work_without_gap_or_repetition(kind, world_size):
    parts = [SAMPLERS[kind](Shard(seed=5, rank=rank, world_size=world_size)) for rank in range(world_size)]
    whole = SAMPLERS[kind](Shard(seed=5))
    assert [len(windows(part)) for part in parts] == [len(part) for part in parts]
    found = Counter(window for part in parts for window in windows(part))
    assert found == Counter(windows(whole))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize("kind", SAMPLERS)
def test_even_ranks_have_equally_many(kind):
    parts = [SAMPLERS[kind](Shard(rank=rank, world_size=3, even=True)) for rank in range(3)]
    total = len(SAMPLERS[kind](Shard()))
    assert [len(windows(part)) for part in parts] == [total // 3] * 3
    everything = [place.draw or place.tile.id + str(place.raster) for part in parts for place in part]
    assert len(set(everything)) == len(everything)


@pytest.mark.parametrize("kind", ["shuffled", "random", "blocks"])
def test_epochs_and_seeds_change_the_order_and_nothing_else_does(kind):
    sampler = SAMPLERS[kind](Shard(seed=1))
    first = windows(sampler)
    assert windows(sampler) == first
    assert windows(SAMPLERS[kind](Shard(seed=1))) == first
    sampler.set_epoch(1)
    assert windows(sampler) != first
    sampler.set_epoch(0)
    assert windows(sampler) == first
    assert windows(SAMPLERS[kind](Shard(seed=2))) != first


def test_a_grid_is_read_row_by_row():
    places = list(GridSampler([scene(), scene("b.tif", 128, 128)], size=100, edge="drop"))
    assert [place.tile.window[:2] for place in places[:5]] == [(0, 0), (100, 0), (200, 0), (300, 0), (0, 100)]
    assert len(places) == 13


def test_a_grid_of_two_scenes_counts_both():
    places = list(GridSampler([scene(), scene("b.tif", 128, 64)], size=64, edge="pad"))
    assert [place.raster for place in places] == [0] * 35 + [1] * 2
    assert [place.tile.id for place in places[-2:]] == ["b_0_0", "b_0_64"]


def test_random_windows_lie_inside_and_are_spread_evenly():
    sampler = RandomSampler(scene(), size=64, count=20_000)
    corners = np.array([place.tile.window[:2] for place in sampler])
    assert corners.min(0).tolist() == [0, 0]
    assert corners.max(0).tolist() == [400 - 64, 300 - 64]
    counts, _, _ = np.histogram2d(corners[:, 0], corners[:, 1], bins=(4, 4), range=((0, 337), (0, 237)))
    expected = len(corners) / 16
    assert (abs(counts - expected) < 5 * np.sqrt(expected)).all()


def test_larger_scenes_are_drawn_more_often():
    sampler = RandomSampler([scene("a.tif", 400, 300), scene("b.tif", 200, 200)], size=64, count=8000)
    share = np.mean([place.raster == 0 for place in sampler])
    assert share == pytest.approx(120 / 160, abs=0.02)


def test_block_order_has_the_windows_of_random_order():
    shard = Shard(seed=3)
    random = RandomSampler(scene(), size=64, count=500, shard=shard)
    blocks = BlockOrderSampler(scene(), size=64, count=500, buffer=16, shard=shard)
    assert sorted(windows(random)) == sorted(windows(blocks))
    assert windows(random) != windows(blocks)


def test_block_order_finishes_a_row_of_blocks_before_the_next():
    sampler = BlockOrderSampler(scene(height=1000), size=64, count=600, buffer=0)
    bands = [place.tile.window[1] // 64 for place in sampler]
    changes = sum(one != other for one, other in pairwise(bands))
    assert changes == len(set(bands)) - 1
    columns = [place.tile.window[0] for place in sampler][:30]
    assert columns != sorted(columns)


def test_the_buffer_mixes_neighbors_and_loses_nothing():
    random = np.random.default_rng(0)
    order = np.arange(200)
    found = list(mixed(order, 10, random))
    assert sorted(found) == order.tolist()
    assert found != order.tolist()
    # An item waits for its turn as long as chance will have it, but none comes more than a buffer early.
    assert all(value - place <= 10 for place, value in enumerate(found))
    assert list(mixed(order, 0, random)) == order.tolist()


def test_regions_choose_windows_and_know_their_share():
    area = Regions.from_geometries(
        [shapely.box(500_000, 4_499_360, 500_960, 4_500_000)], "EPSG:32650", ids=["r"]
    )
    sampler = RegionSampler(scene(), area, grid=TileGrid("raster", tile_px=64), shuffle=False)
    assert [(place.tile.id, place.tile.regions, place.tile.coverage) for place in sampler] == [
        ("a_0_0", ("r",), 1.0),
        ("a_0_64", ("r",), 0.5),
    ]
    strict = RegionSampler(scene(), area, grid=TileGrid("raster", tile_px=64), rule="fraction", fraction=0.9)
    assert len(strict) == 1


def test_regions_may_lie_on_some_scenes_only():
    far = scene("far.tif")
    far.transform = (10.0, 0.0, 900_000.0, 0.0, -10.0, 4_500_000.0)
    here, nowhere = shapely.box(500_000, 4_499_360, 500_640, 4_500_000), shapely.box(0, 0, 9, 9)
    grid = TileGrid("raster", tile_px=64)
    with pytest.warns(RegionWarning, match=r"1 region \('2'\) of 2 got no tile of 2 rasters"):
        sampler = RegionSampler(
            [far, scene()], Regions.from_geometries([here, nowhere], "EPSG:32650"), grid=grid
        )
    assert [(place.raster, place.tile.id) for place in sampler] == [(1, "a_0_0")]
    with pytest.raises(InputError, match=r"1 region \('1'\): none lies on the raster or tiles"):
        RegionSampler([far, scene()], Regions.from_geometries([nowhere], "EPSG:32650"), grid=grid)
    with pytest.raises(InputError, match="None of 70 tiles is in 1 region .* by rule='centroid'"):
        dot = shapely.box(500_010, 4_499_980, 500_020, 4_499_990)
        RegionSampler(
            [far, scene()], Regions.from_geometries([dot], "EPSG:32650"), grid=grid, rule="centroid"
        )


def test_another_window_in_place_of_one():
    place = next(iter(RandomSampler(scene(), size=64, count=3)))
    other = redrawn(place, scene(), 1)
    assert other.tile.window != place.tile.window
    assert redrawn(place, scene(), 1) == other
    assert redrawn(place, scene(), 2) != other
    block = next(iter(BlockOrderSampler(scene(), size=64, count=3)))
    for attempt in range(50):
        window = redrawn(block, scene(), attempt).tile.window
        assert window[1] // 64 == block.tile.window[1] // 64
        assert window[1] + 64 <= 300
    fixed = next(iter(GridSampler(scene(), size=64)))
    with pytest.raises(InputError, match="'a_0_0' is no random window"):
        redrawn(fixed, scene(), 1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: RandomSampler(scene(), size=0, count=5),
            "size=0 pixels and count=5 windows both start at 1",
        ),
        (lambda: RandomSampler([], size=5, count=5), "There are no rasters"),
        (lambda: BlockOrderSampler(scene(), size=5, count=5, buffer=-1), "buffer=-1"),
        (lambda: Shard(rank=2, world_size=2), "rank=2, world_size=2"),
        (lambda: GridSampler(scene(), size=5).set_epoch(-1), "epoch=-1"),
    ],
)
def test_settings_that_cannot_be(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


def test_scenes_smaller_than_a_window_are_named():
    with pytest.raises(InputError, match="b.tif: 50 x 50 pixels hold no window of 64"):
        RandomSampler([scene(), scene("b.tif", 50, 50)], size=64, count=1)
