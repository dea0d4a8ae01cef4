"""GeoTIFFs of tile values: the georeference is checked with rasterio and pyproj, to the pixel."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from urban import make_scenes as scenes
from verticlip.core.errors import ConfigError, DataError, InputError, LimitError
from verticlip.domains.urban.geometry.grids import raster_grid
from verticlip.domains.urban.geometry.tiles import Tiles
from verticlip.domains.urban.outputs.lattice import lattice_of
from verticlip.domains.urban.outputs.maps import origin_tags, write_class_map, write_map

rasterio = pytest.importorskip("rasterio")

grid, UTM, TRANSFORM = scenes.grid, scenes.UTM, scenes.TRANSFORM


def at_centers(path: Path, tiles: Tiles) -> np.ndarray:
    """Values of the map at the middle of each tile, found by rasterio from coordinates alone."""
    with rasterio.open(path) as source:
        return np.array([value[0] for value in source.sample(tiles.centers(source.crs.to_string()).tolist())])


def test_a_pixel_is_the_footprint_of_a_tile(tmp_path: Path) -> None:
    tiles = grid(256, 192, size=32)
    values = np.arange(48.0)
    values[5] = np.nan
    write_map(tmp_path / "a.tif", {"people": values, "co2": -values}, tiles,
              tags={"model_id": "m", "people": {"target": "log1p"}}, units={"people": "people per tile"})  # fmt: skip
    with rasterio.open(tmp_path / "a.tif") as source:
        assert source.crs.to_epsg() == 32618
        assert tuple(source.transform)[:6] == (320.0, 0.0, 500_000.0, 0.0, -320.0, 4_500_000.0)
        assert (source.width, source.height, source.count) == (8, 6, 2)
        assert source.dtypes == ("float32", "float32")
        assert np.isnan(source.nodata)
        assert source.descriptions == ("people", "co2")
        assert source.units[0] == "people per tile"
        assert source.tags()["model_id"] == "m"
        assert source.tags()["tile_size"] == "32 x 32 px"
        assert source.tags()["stride"] == "32 x 32 px"
        assert source.tags(1)["target"] == "log1p"
        assert source.tags(1)["units"] == "people per tile"
        assert source.block_shapes[0] == (256, 256)
        for tile in (0, 7, 20, 47):
            row, column = divmod(tile, 8)
            west, north = source.xy(row, column, offset="ul")
            east, south = source.xy(row, column, offset="lr")
            window = west, south, east, north
            assert np.allclose(window, tiles.bounds[tile], atol=1e-6, rtol=0)
        assert np.array_equal(source.read(1).ravel(), values.astype(np.float32), equal_nan=True)
    assert np.array_equal(at_centers(tmp_path / "a.tif", tiles), values.astype(np.float32), equal_nan=True)
    assert [path.name for path in tmp_path.iterdir()] == ["a.tif"]


@pytest.mark.parametrize("stride", [8, 16, 24, 32])
def test_overlap(tmp_path: Path, stride: int) -> None:
    tiles = raster_grid(260, 200, TRANSFORM, UTM, size=32, stride=stride, edge="drop")
    values = np.random.default_rng(0).random(len(tiles)).astype(np.float32)
    write_map(tmp_path / "a.tif", {"v": values}, tiles)
    with rasterio.open(tmp_path / "a.tif") as source:
        assert source.res == (10.0 * stride, 10.0 * stride)
        assert source.width * source.height == len(tiles)
        assert source.tags()["stride"] == f"{stride} x {stride} px"
    assert np.array_equal(at_centers(tmp_path / "a.tif", tiles), values)


@pytest.mark.parametrize(("width", "stride"), [(256, 32), (260, 16), (250, 32), (275, 16), (290, 48)])
def test_any_tiles_lie_where_they_are(tmp_path: Path, width: int, stride: int) -> None:
    """Some tiles of whole and of shifted grids: a map has every value at the middle of its tile."""
    tiles = raster_grid(width, 200, TRANSFORM, UTM, size=32, stride=stride, edge="shift")
    rng = np.random.default_rng(width)
    for count in [*rng.integers(1, len(tiles), 12).tolist(), 2, len(tiles)]:
        some = tiles.take(rng.permutation(len(tiles))[:count])
        values = rng.permutation(count).astype(np.float32)
        write_map(tmp_path / "a.tif", {"v": values}, some)
        lattice = lattice_of(some)
        if lattice is not None:
            a, _, c, _, e, f = lattice.transform
            x, y = c + a * (lattice.columns + 0.5), f + e * (lattice.rows + 0.5)
            assert np.allclose(np.stack([x, y], 1), some.centers(), rtol=0, atol=1e-6)
            assert max(lattice.stride) <= 320 + 1e-9, "no pixel is larger than a tile"
        # A tile that was moved by less than a pixel of the map shares it with its neighbor.
        near = np.abs(some.centers()[:, None] - some.centers()[None]).max(axis=2)
        alone = (near <= 80).sum(axis=1) == 1
        assert alone.mean() > 0.7 or count < 4
        assert np.array_equal(at_centers(tmp_path / "a.tif", some)[alone], values[alone])
        with rasterio.open(tmp_path / "a.tif") as source:
            west, south, east, north = some.extent
            assert source.bounds.left >= west - 1e-6
            assert source.bounds.top <= north + 1e-6
            assert source.bounds.right <= east + 80
            assert source.bounds.bottom >= south - 80


def test_two_far_tiles_are_two_squares(tmp_path: Path) -> None:
    tiles = raster_grid(1024, 1024, TRANSFORM, UTM, size=128).take([0, 63])
    assert lattice_of(tiles.take([0, 1]).take([0])).stride == (1280.0, 1280.0)
    write_map(tmp_path / "a.tif", {"v": [1.0, 2.0]}, tiles)
    with rasterio.open(tmp_path / "a.tif") as source:
        assert np.allclose(source.bounds, tiles.extent)
        assert source.res[0] <= 1280
        seen = source.read(1)
        for value in (1, 2):
            assert (seen == value).sum() * source.res[0] * source.res[1] == pytest.approx(1280**2)


def test_of_tiles_that_overlap_the_nearest_is_seen(tmp_path: Path) -> None:
    tiles = raster_grid(104, 32, TRANSFORM, UTM, size=32, edge="shift")
    write_map(tmp_path / "a.tif", {"v": [0.0, 1.0, 2.0, 3.0]}, tiles)
    with rasterio.open(tmp_path / "a.tif") as source:
        assert source.read(1)[0].tolist() == [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 3, 3]
        assert source.tags()["pixel"] == "80 units of the CRS; of the tiles over it the nearest"


def test_missing_tiles_and_any_order(tmp_path: Path) -> None:
    tiles = grid()
    chosen = np.random.default_rng(1).permutation(48)[:17]
    write_map(tmp_path / "a.tif", {"v": chosen.astype(float)}, tiles.take(chosen))
    assert np.array_equal(at_centers(tmp_path / "a.tif", tiles.take(chosen)), chosen)
    with rasterio.open(tmp_path / "a.tif") as source:
        assert np.isfinite(source.read(1)).sum() == 17
    single = tiles.take([9])
    write_map(tmp_path / "b.tif", {"v": [4]}, single)
    with rasterio.open(tmp_path / "b.tif") as source:
        assert np.allclose(source.bounds, single.bounds[0])


def test_degrees_and_web_mercator(tmp_path: Path) -> None:
    degrees = raster_grid(100, 80, (0.1, 0, -180, 0, -0.1, 90), "EPSG:4326", size=10)
    write_map(tmp_path / "a.tif", {"v": np.arange(80.0)}, degrees)
    with rasterio.open(tmp_path / "a.tif") as source:
        assert np.allclose(tuple(source.transform)[:6], (1, 0, -180, 0, -1, 90), atol=1e-12)
    assert np.array_equal(at_centers(tmp_path / "a.tif", degrees), np.arange(80.0))
    side = 2 * 20037508.342789244 / 2**16
    x, y = (axis.ravel() for axis in np.meshgrid(np.arange(53957, 53960), np.arange(24832, 24834)))
    west, north = -20037508.342789244 + x * side, 20037508.342789244 - y * side
    tiles = Tiles(tuple(map(str, range(6))), np.stack([west, north - side, west + side, north], 1), "EPSG:3857",
                  zxy=np.stack([np.full(6, 16), x, y], 1), scheme="webmercator")  # fmt: skip
    write_map(tmp_path / "b.tif", {"v": np.arange(6.0)}, tiles, cog=True)
    with rasterio.open(tmp_path / "b.tif") as source:
        assert (source.width, source.height) == (3, 2)
        assert abs(source.transform.c - 12956993.538676798) < 1e-6
        assert abs(source.transform.f - 4852834.05176927) < 1e-6
        assert source.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert source.tags()["stride"].endswith("units of the CRS")
        assert source.descriptions == ("v",)
        assert np.isnan(source.nodata)
        assert np.array_equal(source.read(1).ravel(), np.arange(6.0))


def test_tiles_without_a_grid_are_drawn_at_a_resolution(tmp_path: Path) -> None:
    bounds = np.array([[500_000, 4_499_000, 501_000, 4_500_000], [500_500, 4_499_000, 501_500, 4_500_000],
                       [503_130, 4_497_770, 504_130, 4_498_770]], float)  # fmt: skip
    tiles = Tiles(("a", "b", "c"), bounds, UTM)
    write_map(tmp_path / "a.tif", {"v": [1.0, 3.0, 7.0]}, tiles, resolution=100)
    with rasterio.open(tmp_path / "a.tif") as source:
        assert source.res == (100.0, 100.0)
        assert (source.bounds.left, source.bounds.top) == (500_000, 4_500_000)
        for (x, y), expected in {(500_250, 4_499_500): 1, (500_750, 4_499_500): 2, (501_250, 4_499_500): 3,
                                 (503_600, 4_498_300): 7, (502_500, 4_499_500): np.nan}.items():  # fmt: skip
            assert np.allclose(next(source.sample([(x, y)])), [expected], rtol=1e-6, equal_nan=True)
        # Near the edge of the second tile, the first counts more.
        first, second = (math.sin(math.pi * share) ** 2 for share in (0.55, 0.05))
        expected = (first + 3 * second) / (first + second)
        assert next(source.sample([(500_550, 4_499_500)])) == pytest.approx([expected], rel=1e-5)
    write_map(tmp_path / "b.tif", {"v": [1.0, 3.0, 7.0]}, tiles)
    with rasterio.open(tmp_path / "b.tif") as source:
        assert source.res == (250.0, 250.0)


def test_a_map_of_classes(tmp_path: Path) -> None:
    tiles = grid()
    classes = np.arange(48) % 3 - (np.arange(48) == 7)
    classes[4] = -1
    write_class_map(tmp_path / "a.tif", classes, ["water", "wood & co", "town"], tiles)
    with rasterio.open(tmp_path / "a.tif") as source:
        assert source.dtypes == ("uint8",)
        assert source.nodata == 255
        read = source.read(1).ravel()
        assert read[4] == 255
        assert np.array_equal(np.delete(read, 4), np.delete(classes, 4))
        assert source.tags(1)["class_2"] == "town"
        assert source.colormap(1)[0] == (11, 79, 158, 255), "water is blue"
    assert "<Category>wood &amp; co</Category>" in (tmp_path / "a.tif.aux.xml").read_text()
    write_class_map(tmp_path / "b.tif", classes, ["water", "wood", "town"], tiles, cog=True, resolution=100)
    with rasterio.open(tmp_path / "b.tif") as source:
        assert source.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert source.colormap(1)[1][:3] == (0, 87, 63)
        assert set(np.unique(source.read(1))) <= {0, 1, 2, 255}
    with pytest.raises(DataError, match="Classes are whole numbers from -1 to 1"):
        write_class_map(tmp_path / "c.tif", classes, ["a", "b"], tiles)
    with pytest.raises(DataError, match="Classes are whole numbers"):
        write_class_map(tmp_path / "c.tif", classes.astype(float), ["a", "b", "c"], tiles)
    with pytest.raises(ConfigError, match="1 to 255 classes, got 0"):
        write_class_map(tmp_path / "c.tif", classes, [], tiles)


def test_an_older_map_leaves_nothing_behind(tmp_path: Path) -> None:
    for ending in ("", ".aux.xml", ".ovr"):
        (tmp_path / f"a.tif{ending}").write_text("old")
    write_map(tmp_path / "a.tif", {"v": np.zeros(48)}, grid())
    assert [path.name for path in tmp_path.iterdir()] == ["a.tif"]


def test_bad_maps_leave_nothing(tmp_path: Path) -> None:
    out = tmp_path / "a.tif"
    with pytest.raises(
        DataError, match=r"'v': a map needs one number for each of 48 tiles, got float64 \[3\]"
    ):
        write_map(out, {"v": np.zeros(3)}, grid())
    with pytest.raises(DataError, match="nothing to map"):
        write_map(out, {}, grid())
    with pytest.raises(DataError, match="'v': a map needs one number .* got <U1"):
        write_map(out, {"v": np.array(["a"] * 48)}, grid())
    with pytest.raises(DataError, match=r"over 3\.4e38"):
        write_map(out, {"v": np.full(48, 1e39)}, grid())
    with pytest.raises(ConfigError, match="A band of a map needs a name"):
        write_map(out, {" ": np.zeros(48)}, grid())
    with pytest.raises(ConfigError, match=r"no band 'w' to describe; the map has: v"):
        write_map(out, {"v": np.zeros(48)}, grid(), units={"w": "m"})
    with pytest.raises(ConfigError, match="above 0, got -1"):
        write_map(out, {"v": np.zeros(48)}, grid(), resolution=-1)
    with pytest.raises(LimitError, match=r"the limit is .* Give a coarser resolution"):
        write_map(out, {"v": np.zeros(48)}, grid(), resolution=0.01)
    nowhere = Tiles(("a",), np.array([[0.0, 0.0, 1.0, 1.0]]), "")
    with pytest.raises(InputError, match="no coordinate system"):
        write_map(out, {"v": [1.0]}, nowhere)
    assert not list(tmp_path.iterdir())


def test_random_windows_are_no_grid() -> None:
    rng = np.random.default_rng(0)
    windows = np.column_stack([rng.integers(0, 900, 40), rng.integers(0, 900, 40), np.full((40, 2), 64)])
    from verticlip.domains.urban.geometry.grids import window_bounds

    tiles = Tiles(tuple(map(str, range(40))), window_bounds(windows, TRANSFORM), UTM, windows=windows)
    assert lattice_of(tiles) is None
    assert lattice_of(tiles.take([])) is None


def test_tags_of_a_table() -> None:
    from verticlip.domains.urban.outputs.geoparquet import EmbeddingTable

    meta = {"model_id": "mine", "revision": "r", "version": "1", "scaling": {"divide": 255}}
    table = EmbeddingTable.from_tiles(grid(), np.zeros((48, 2)), source="s.tif", meta=meta)
    assert origin_tags(table) == {
        "model_id": "mine", "revision": "r", "package_version": "1", "source": "s.tif", "scaling": '{"divide": 255}',
    }  # fmt: skip
