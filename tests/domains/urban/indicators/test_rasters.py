"""Zonal statistics against sums over pixels, in several coordinate systems, with holes and far away."""

from __future__ import annotations

import numpy as np
import pytest
from verticlip.core.errors import ConfigError, InputError
from verticlip.domains.urban.geometry.schemes import scheme_tiles
from verticlip.domains.urban.geometry.tiles import Tiles
from verticlip.domains.urban.indicators import rasters
from verticlip.domains.urban.indicators.rasters import STATS, zonal_statistics
from verticlip.domains.urban.loaders.raster import Raster

rasterio = pytest.importorskip("rasterio")
shapely = pytest.importorskip("shapely")


WEST, NORTH, PIXEL, COLUMNS, ROWS = 400_000.0, 4_400_000.0, 100.0, 80, 60


@pytest.fixture
def people() -> np.ndarray:
    rng = np.random.default_rng(0)
    values = rng.gamma(2, 50, (ROWS, COLUMNS)).astype(np.float32)
    values[:10, :12] = -1
    values[rng.random(values.shape) < 0.03] = -1
    return values


def write(path, values, *, crs="EPSG:32650", nodata=-1, transform=None, **tags):
    shape = (1, *values.shape) if values.ndim == 2 else values.shape
    place = transform or rasterio.transform.from_origin(WEST, NORTH, PIXEL, PIXEL)
    with rasterio.open(
        path, "w", driver="GTiff", count=shape[0], height=shape[1], width=shape[2], dtype=values.dtype,
        crs=crs, nodata=nodata, transform=place,
    ) as target:  # fmt: skip
        target.write(values.reshape(shape))
        if tags:
            target.scales, target.offsets = tags["scales"], tags["offsets"]
    return path


def opened(path, **options) -> Raster:
    return Raster.open(path, scaling="none", unscale=True, **options)


def scattered(count=60, seed=1) -> Tiles:
    """Squares of 30 m to 1500 m on and around the raster."""
    rng = np.random.default_rng(seed)
    corner = np.stack([rng.uniform(399_000, 408_500, count), rng.uniform(4_393_000, 4_400_500, count)], 1)
    bounds = np.concatenate([corner, corner + rng.uniform(30, 1500, (count, 1))], axis=1)
    return Tiles(tuple(f"t{index}" for index in range(count)), bounds, "EPSG:32650")


def by_hand(values: np.ndarray, bounds) -> tuple[np.ndarray, np.ndarray]:
    """Return the covered share of every pixel, and the share where it is valid."""
    west, south, east, north = bounds
    left, top = WEST + PIXEL * np.arange(COLUMNS), NORTH - PIXEL * np.arange(ROWS)
    across = np.clip((np.minimum(east, left + PIXEL) - np.maximum(west, left)) / PIXEL, 0, 1)
    down = np.clip((np.minimum(north, top) - np.maximum(south, top - PIXEL)) / PIXEL, 0, 1)
    share = np.outer(down, across)
    return share, share * (values >= 0)


@pytest.mark.parametrize("stat", ["area_weighted", "sum"])
def test_shares_weigh_pixels(stat, people, tmp_path):
    raster, tiles = opened(write(tmp_path / "p.tif", people)), scattered()
    found = zonal_statistics(raster, tiles, stat=stat, min_valid=0.0)
    for value, valid, bounds in zip(found.values, found.valid, tiles.bounds, strict=True):
        _, weights = by_hand(people, bounds)
        area = (bounds[2] - bounds[0]) * (bounds[3] - bounds[1]) / PIXEL**2
        assert valid == pytest.approx(weights.sum() / area, abs=1e-9)
        if weights.sum() == 0:
            assert np.isnan(value)
            continue
        total = (weights * people).sum()
        assert value == pytest.approx(total if stat == "sum" else total / weights.sum(), rel=1e-6)


def test_plain_means_and_points(people, tmp_path):
    raster, tiles = opened(write(tmp_path / "p.tif", people)), scattered()
    means = zonal_statistics(raster, tiles, stat="mean", min_valid=0.0).values
    points = zonal_statistics(raster, tiles, stat="point").values
    x = WEST + PIXEL * (np.arange(COLUMNS) + 0.5)
    y = NORTH - PIXEL * (np.arange(ROWS) + 0.5)
    for mean, point, (west, south, east, north) in zip(means, points, tiles.bounds, strict=True):
        column, row = int(((west + east) / 2 - WEST) // PIXEL), int((NORTH - (south + north) / 2) // PIXEL)
        on = 0 <= column < COLUMNS and 0 <= row < ROWS
        under = people[row, column] if on and people[row, column] >= 0 else np.nan
        assert point == pytest.approx(under, nan_ok=True)
        inside = people[np.ix_((y >= south) & (y <= north), (x >= west) & (x <= east))]
        if (inside >= 0).any():
            assert mean == pytest.approx(inside[inside >= 0].mean(), rel=1e-6)
        else:
            assert mean == pytest.approx(under, nan_ok=True)


@pytest.mark.parametrize("stat", STATS)
def test_small_reads_give_what_large_ones_give(stat, people, tmp_path, monkeypatch):
    raster, tiles = opened(write(tmp_path / "p.tif", people)), scattered()
    whole = zonal_statistics(raster, tiles, stat=stat)
    monkeypatch.setattr(rasters, "_CELLS_AT_ONCE", 40)
    monkeypatch.setattr(rasters, "_PIXELS_AT_ONCE", 300)
    monkeypatch.setattr(rasters, "_TILES_AT_ONCE", 7)
    parts = zonal_statistics(raster, tiles, stat=stat)
    assert np.allclose(whole.values, parts.values, rtol=1e-9, equal_nan=True)
    assert np.allclose(whole.valid, parts.valid, atol=1e-9)


def test_no_read_is_larger_than_its_bound(people, tmp_path, monkeypatch):
    raster = opened(write(tmp_path / "p.tif", people))
    monkeypatch.setattr(rasters, "_PIXELS_AT_ONCE", 400)
    sizes = []
    plain = raster.raw
    monkeypatch.setattr(raster, "raw", lambda window: sizes.append(window[2] * window[3]) or plain(window))
    small = scattered()
    small = small.take(small.bounds[:, 2] - small.bounds[:, 0] < 900)
    zonal_statistics(raster, small)
    assert max(sizes) <= 400


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:3857"])
def test_tiles_of_another_system_keep_the_total(crs, tmp_path):
    values = np.random.default_rng(0).gamma(2, 50, (ROWS, COLUMNS)).astype(np.float32)
    raster = opened(write(tmp_path / "p.tif", values, nodata=None))
    whole = Tiles(("all",), np.array([[401_000.0, 4_395_000.0, 406_000.0, 4_399_000.0]]), "EPSG:32650")
    west, south, east, north = whole.footprints(crs)[0].bounds
    steps = 9
    x, y = np.linspace(west, east, steps + 1), np.linspace(south, north, steps + 1)
    bounds = np.array([(x[i], y[j], x[i + 1], y[j + 1]) for i in range(steps) for j in range(steps)])
    tiles = Tiles(tuple(map(str, range(len(bounds)))), bounds, crs)
    parts = zonal_statistics(raster, tiles, stat="sum")
    # The same ground in one piece: its outline in the raster's own system.
    outline = shapely.union_all(tiles.footprints("EPSG:32650"))
    columns, rows = np.meshgrid(np.arange(COLUMNS), np.arange(ROWS))
    left, top = WEST + PIXEL * columns, NORTH - PIXEL * rows
    share = shapely.area(shapely.intersection(shapely.box(left, top - PIXEL, left + PIXEL, top), outline))
    assert parts.values.sum() == pytest.approx((share / PIXEL**2 * values).sum(), rel=1e-6)
    assert np.allclose(parts.valid, 1)


def test_tiles_in_a_shifted_datum_are_sampled_at_their_true_places(tmp_path):
    zxy = np.array([[16, 12659, 4738], [16, 12660, 4738]])
    tiles = scheme_tiles(zxy, "baidu")
    lon, lat = tiles.centers("EPSG:4326").mean(axis=0)
    steps = np.arange(400)
    # The value of a pixel is its longitude, in millidegrees from the middle.
    values = np.tile((steps - 199.5).astype(np.float32) / 10, (400, 1))
    place = rasterio.transform.from_origin(lon - 0.02, lat + 0.02, 1e-4, 1e-4)
    raster = opened(write(tmp_path / "lon.tif", values, crs="EPSG:4326", nodata=None, transform=place))
    found = zonal_statistics(raster, tiles).values
    truth = [shape.centroid.x for shape in tiles.footprints("EPSG:4326")]
    assert np.allclose(lon + found / 1000, truth, atol=2e-5)


@pytest.mark.parametrize("stat", STATS)
def test_tiles_on_the_antimeridian_have_ground_on_both_sides(stat, tmp_path):
    # A raster around the Earth; 36 pixels of ten degrees are too coarse, so a band of 0.01 degrees.
    step, columns = 0.05, 7200
    values = np.zeros((40, columns), dtype=np.float32)
    values[:, :100], values[:, -100:] = 3, 1
    place = rasterio.transform.from_origin(-180, -16, step, step)
    path = write(tmp_path / "p.tif", values, crs="EPSG:4326", nodata=None, transform=place)
    middle = 814_000.0  # of UTM zone 60: 178.9 degrees east and on
    bounds = np.array(
        [[middle + dx, 8_080_000, middle + dx + 20_000, 8_100_000] for dx in range(-60_000, 60_000, 20_000)]
    )
    tiles = Tiles(tuple(f"t{row}" for row in range(len(bounds))), bounds, "EPSG:32760")
    shapes = tiles.footprints("EPSG:4326")
    parts = shapely.get_num_geometries(shapes)
    assert parts.max() == 2
    found = zonal_statistics(opened(path), tiles, stat=stat)
    assert np.allclose(found.valid, 1, atol=1e-6)
    east = np.array([shapely.intersection(shape, shapely.box(-180, -90, -170, 0)).area for shape in shapes])
    area = shapely.area(shapes)
    if stat == "sum":
        assert found.values == pytest.approx((area + 2 * east) / step**2, rel=1e-4)
    elif stat == "area_weighted":
        assert found.values == pytest.approx(1 + 2 * east / area, rel=1e-4)
    elif stat == "mean":
        assert found.values == pytest.approx(1 + 2 * east / area, abs=0.3)
    else:
        assert found.values.tolist() == [3 if lon < 0 else 1 for lon in tiles.centers("EPSG:4326")[:, 0]]


def test_scale_and_offset_tags_are_applied(people, tmp_path):
    tenths = np.where(people < 0, -1, people * 10).astype(np.int16)
    path = write(tmp_path / "p.tif", tenths, scales=(0.1,), offsets=(5.0,))
    plain = opened(write(tmp_path / "q.tif", tenths))
    tagged = zonal_statistics(opened(path), scattered()).values
    assert np.allclose(tagged, zonal_statistics(plain, scattered()).values * 0.1 + 5, equal_nan=True)


def test_too_little_that_is_valid(people, tmp_path):
    raster = opened(write(tmp_path / "p.tif", people))
    # Six of the tile's ten columns of pixels are missing.
    tile = Tiles(("corner",), np.array([[WEST + 600, NORTH - 500, WEST + 1600, NORTH - 100]]), "EPSG:32650")
    found = zonal_statistics(raster, tile, min_valid=0.2)
    assert found.valid[0] == pytest.approx(0.4)
    assert np.isfinite(found.values[0])
    assert np.isnan(zonal_statistics(raster, tile).values[0])


def test_not_a_number_is_missing(tmp_path):
    values = np.array([[1, np.nan], [3, 5]], dtype=np.float32)
    raster = opened(write(tmp_path / "p.tif", values, nodata=None))
    tile = Tiles(("all",), np.array([[WEST, NORTH - 200, WEST + 200, NORTH]]), "EPSG:32650")
    assert zonal_statistics(raster, tile).values[0] == pytest.approx(3)
    assert zonal_statistics(raster, tile).valid[0] == pytest.approx(0.75)


def test_messages(people, tmp_path):
    raster = opened(write(tmp_path / "p.tif", people))
    with pytest.raises(ConfigError, match="Unknown statistic 'avg'"):
        zonal_statistics(raster, scattered(), stat="avg")
    with pytest.raises(ConfigError, match="min_valid must lie between 0 and 1, got 2"):
        zonal_statistics(raster, scattered(), min_valid=2)
    far = Tiles(("far",), np.array([[0.0, 0.0, 1.0, 1.0]]), "EPSG:32650")
    for stat in STATS:
        with pytest.raises(InputError, match="p.tif does not reach any of the 1 tiles"):
            zonal_statistics(raster, far, stat=stat)
    bare = opened(write(tmp_path / "bare.tif", people, crs=None), crs="")
    with pytest.raises(InputError, match="bare.tif does not say where it lies"):
        zonal_statistics(bare, scattered())
    two = opened(write(tmp_path / "two.tif", np.stack([people, people])))
    with pytest.raises(InputError, match="two.tif has 2 bands.*an indicator is one"):
        zonal_statistics(two, scattered())
    empty = scattered().take(np.zeros(60, dtype=bool))
    assert zonal_statistics(raster, empty).values.shape == (0,)
