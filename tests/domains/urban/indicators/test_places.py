"""Meters, regions, colors, and what is unlike everything that was learned from."""

from __future__ import annotations

import numpy as np
import pytest
from verticlip.core.errors import ConfigError, InputError
from verticlip.domains.urban.geometry.grids import raster_grid
from verticlip.domains.urban.geometry.regions import Regions
from verticlip.domains.urban.geometry.tiles import Tiles
from verticlip.domains.urban.indicators import places
from verticlip.domains.urban.indicators.places import (
    SharedGround,
    local_meters,
    mean_colors,
    novelty,
    overlapping,
    own_shares,
)

rasterio = pytest.importorskip("rasterio")
shapely = pytest.importorskip("shapely")


UTM = "EPSG:32650"
TRANSFORM = (10.0, 0.0, 500_000.0, 0.0, -10.0, 4_400_000.0)


def grid(size=32, stride=None, crs=UTM) -> Tiles:
    """8 x 6 tiles of 320 m."""
    return raster_grid(256, 192, TRANSFORM, crs, size=size, stride=stride, name="s")


def squares(*boxes) -> Regions:
    """Regions of (west, south, east, north) in meters from the lower-left corner of the tiles."""
    shapes = [shapely.box(500_000 + w, 4_398_080 + s, 500_000 + e, 4_398_080 + n) for w, s, e, n in boxes]
    return Regions.from_geometries(shapes, UTM)


def test_meters_are_true_in_every_system():
    tiles = grid()
    utm = local_meters(tiles)
    distance = np.linalg.norm(utm - utm[0], axis=1)
    assert distance[1] == pytest.approx(320, rel=2e-3)
    mercator = Tiles(
        tiles.ids, np.array([shape.bounds for shape in tiles.footprints("EPSG:3857")]), "EPSG:3857"
    )
    # Web Mercator's own meters are 30 % longer here.
    assert np.allclose(local_meters(mercator), utm, atol=2)


def test_meters_are_true_across_the_antimeridian():
    bounds = np.array(
        [[179.97, -17, 179.98, -16.99], [179.99, -17, 180, -16.99], [-180, -17, -179.99, -16.99]]
    )
    found = local_meters(Tiles(("a", "b", "c"), bounds, "EPSG:4326"))
    steps = np.diff(found[:, 0])
    assert steps == pytest.approx([2 * 1064, 1064], rel=2e-3)
    assert np.abs(found).max() < 3000


def test_tiles_with_ground_in_common():
    assert len(overlapping(grid())) == 0
    assert len(overlapping(grid().take([]))) == 0
    found = overlapping(grid(stride=16))
    bounds = grid(stride=16).bounds
    apart = np.abs(bounds[:, None, :2] - bounds[None, :, :2]).max(axis=2)
    assert sorted(map(tuple, found.tolist())) == sorted(
        zip(*np.nonzero(np.triu(apart < 319, 1)), strict=True)
    )
    # The last column, pushed back onto the scene, overlaps the one before it.
    shifted = raster_grid(100, 32, TRANSFORM, UTM, size=32, name="s")
    assert overlapping(shifted).tolist() == [[2, 3]]


def test_shares_of_tiles_add_up_to_regions():
    tiles = grid()
    values = np.arange(len(tiles), dtype=float)
    # All of it; two and a half tiles of the lowest row; beyond; nothing.
    regions = squares((0, 0, 2560, 1920), (0, 0, 800, 320), (2400, 0, 2720, 320), (9000, 0, 9500, 500))
    ground = SharedGround.of(tiles, regions)
    lowest = values.reshape(6, 8)[5]
    total = ground.aggregate(values, "sum")
    assert np.allclose(total.values[:3], [values.sum(), lowest[0] + lowest[1] + lowest[2] / 2, lowest[7] / 2])
    mean = ground.aggregate(values, "mean")
    assert np.allclose(
        mean.values[:3], [values.mean(), (lowest[0] + lowest[1] + lowest[2] / 2) / 2.5, lowest[7]], rtol=1e-4
    )
    assert np.isnan(total.values[3])
    assert np.isnan(mean.values[3])
    assert np.allclose(total.covered, [1, 1, 0.5, 0], atol=1e-3)
    # Tiles without a value count for nothing and cover nothing.
    part = ground.aggregate(np.where(values == lowest[0], np.nan, values), "mean")
    assert part.values[1] == pytest.approx((lowest[1] + lowest[2] / 2) / 1.5, rel=1e-4)
    assert part.covered[1] == pytest.approx(0.6, rel=1e-3)


def test_ground_under_several_tiles_counts_once(monkeypatch):
    # Shifted at the edges (100 is no multiple of 32), and by half a tile.
    for tiles in (raster_grid(100, 100, TRANSFORM, UTM, size=32, name="s"), grid(stride=16)):
        west, south, east, north = tiles.extent
        middle = (west + east) / 2
        halves = [shapely.box(west, south, middle, north), shapely.box(middle, south, east, north)]
        ground = SharedGround.of(tiles, Regions.from_geometries(halves, UTM))
        # One person per pixel: as many people as pixels, wherever tiles overlap.
        people = ground.aggregate(np.full(len(tiles), 32.0 * 32), "sum")
        assert people.values.sum() == pytest.approx((east - west) * (north - south) / 100, rel=1e-3)
        assert people.values[0] == pytest.approx(people.values[1], rel=0.06)
        assert np.allclose(people.covered, 1, atol=0.06)
        assert ground.aggregate(np.ones(len(tiles)), "mean").values == pytest.approx([1, 1])
    with pytest.raises(ConfigError, match="Unknown aggregate 'total'; there are: mean, sum"):
        ground.aggregate(np.ones(len(tiles)), "total")
    assert own_shares(grid()).tolist() == [1.0] * 48
    assert own_shares(grid(stride=16)).min() == pytest.approx(0.25)
    monkeypatch.setattr(places, "_MOST_CELLS", 4)
    assert own_shares(grid()).tolist() == [1.0] * 48
    with pytest.raises(InputError, match="165 tiles overlap without any order"):
        own_shares(grid(stride=16))


def test_tiles_belong_to_the_region_they_share_most_ground_with():
    found = SharedGround.of(grid(), squares((0, 0, 1400, 1920), (1400, 0, 2000, 1920))).region_of_tiles()
    # Of the sixth column, from 1600 m to 1920 m, all is in the second; of the seventh, a quarter is.
    assert found.reshape(6, 8).tolist() == [[0, 0, 0, 0, 1, 1, 1, -1]] * 6


def test_of_regions_that_share_as_much_of_a_tile_the_first_has_it():
    for halves in ([0, 160, 320], [0, 480, 960]):
        west, middle, east = halves
        regions = squares((west, 0, middle, 1920), (middle, 0, east, 1920))
        found = SharedGround.of(grid(), regions).region_of_tiles().reshape(6, 8)
        assert (found[:, middle // 320] == 0).all()


def test_mean_colors(tmp_path):
    from verticlip.domains.urban.loaders.raster import Raster

    pixels = np.zeros((3, 192, 256), dtype=np.uint8)
    pixels[0, :, :128], pixels[1, :, 128:] = 255, 51
    with rasterio.open(
        tmp_path / "s.tif", "w", driver="GTiff", count=3, height=192, width=256, dtype="uint8", crs=UTM,
        transform=rasterio.Affine(*TRANSFORM),
    ) as target:  # fmt: skip
        target.write(pixels)
    raster = Raster.open(tmp_path / "s.tif")
    tiles = grid()
    shift = np.array([90_000, -90_000, 90_000, -90_000])
    away = Tiles(("away",), tiles.bounds[:1] + shift, UTM, np.array([[9000, 9000, 32, 32]]))
    both = Tiles(
        (*tiles.ids, "away"),
        np.concatenate([tiles.bounds, away.bounds]),
        UTM,
        np.concatenate([tiles.windows, away.windows]),
    )
    found = mean_colors(raster, both)
    assert np.allclose(found[0], [1, 0, 0], atol=1e-5)
    assert np.allclose(found[7], [0, 0.2, 0], atol=1e-5)
    assert np.allclose(found[-1], found[:-1].mean(axis=0))
    with pytest.raises(InputError, match="s.tif shows none of the 1 tiles"):
        mean_colors(raster, away)


def test_what_is_unlike_everything_stands_out(monkeypatch):
    rng = np.random.default_rng(0)
    vectors = rng.normal([5, 0, 0, 0], 1, (300, 4)).astype(np.float32)
    vectors[0] = [-5, 0, 0, 0]
    found = novelty(vectors, np.arange(50, 300))
    assert found[0] > 5
    assert (found[1:50] > 1).mean() < 0.15
    assert (found[50:] > 1).mean() <= 0.012
    # Of very many that were learned from, some are compared with.
    monkeypatch.setattr(places, "_MOST_REMEMBERED", 100)
    sampled = novelty(vectors, np.arange(50, 300))
    assert sampled[0] > 4
    assert np.corrcoef(sampled[50:], found[50:])[0, 1] > 0.9
    assert np.array_equal(sampled, novelty(vectors, np.arange(50, 300)))
    monkeypatch.undo()
    # A labelled tile does not vouch for itself.
    alone = novelty(vectors, np.arange(300))
    assert alone[0] > 1
    assert np.isfinite(novelty(np.ones((20, 3), np.float32), np.arange(20))).all()
