"""Tables of tiles come back from files exactly as they were, and open in other programs."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from verticlip.core.errors import ConfigError, InputError
from verticlip.domains.urban.geometry.covering import TileGrid, cover
from verticlip.domains.urban.geometry.grids import raster_grid
from verticlip.domains.urban.geometry.regions import Regions
from verticlip.domains.urban.geometry.tiles import Tiles

geopandas, shapely = pytest.importorskip("geopandas"), pytest.importorskip("shapely")

# Of a real scene: none of these numbers is round.
TRANSFORM = (300.0379266750948, 0.0, 101985.0, 0.0, -300.041782729805, 2826915.0)
AREA = Regions.from_geometries(
    [shapely.box(116.39, 39.90, 116.42, 39.92)], "EPSG:4326", ids=['ü "quoted", x']
)


def grid():
    return raster_grid(130, 64, TRANSFORM, "EPSG:32618", size=64, edge="pad", name="scene")


def covered():
    west, south, _, north = grid().extent
    return cover(
        grid(), Regions.from_geometries([shapely.box(west, south, west + 9000, north)], "EPSG:32618")
    )


TABLES = {
    "windows": grid,
    "covered": covered,
    "webmercator": lambda: TileGrid("webmercator", zoom=15).cover(AREA),
    "baidu": lambda: TileGrid("baidu", zoom=16).cover(AREA),
    "own system": lambda: raster_grid(64, 64, TRANSFORM, "+proj=laea +lat_0=40 +lon_0=20 +type=crs", size=32),
}


@pytest.mark.parametrize("suffix", [".geojson", ".parquet", ".gpkg"])
@pytest.mark.parametrize("kind", TABLES)
def test_a_table_comes_back_exactly(tmp_path, suffix, kind):
    tiles = TABLES[kind]()
    path = tmp_path / f"tiles{suffix}"
    tiles.to_file(path)
    again = Tiles.from_file(path)
    for field in dataclasses.fields(tiles):
        before, after = getattr(tiles, field.name), getattr(again, field.name)
        if isinstance(before, np.ndarray):
            assert after.dtype == before.dtype
            assert np.array_equal(before, after), field.name
        else:
            assert before == after, field.name
    assert [path.name for path in tmp_path.iterdir()] == [f"tiles{suffix}"]


@pytest.mark.parametrize(("suffix", "crs"), [(".geojson", 4326), (".parquet", 4326), (".gpkg", 32618)])
def test_outlines_are_where_other_programs_look(tmp_path, suffix, crs):
    path = tmp_path / f"tiles{suffix}"
    grid().to_file(path)
    table = geopandas.read_parquet(path) if suffix == ".parquet" else geopandas.read_file(path)
    assert table.crs.to_epsg() == crs
    back = table.geometry.to_crs("EPSG:32618")
    assert np.allclose(back.bounds.to_numpy(), grid().bounds, rtol=0, atol=0.05)


def test_writing_replaces_and_leaves_nothing_half_written(tmp_path):
    path = tmp_path / "tiles.geojson"
    path.write_text("old")
    grid().to_file(path)
    assert len(Tiles.from_file(path)) == 3
    before = path.read_bytes()
    with pytest.raises(InputError, match="no tiles to write"):
        grid().take([]).to_file(path)
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


def test_names_of_files():
    with pytest.raises(
        ConfigError, match="tiles.gjson: tiles are written as .geojson, .parquet, .gpkg. Did you mean"
    ):
        grid().to_file("tiles.gjson")


def edited(tmp_path, change):
    """Return a file of tiles after a change of its table."""
    path = tmp_path / "tiles.geojson"
    grid().to_file(path)
    table = change(geopandas.read_file(path))
    table.to_file(path, driver="GeoJSON", engine="pyogrio")
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop(columns="tile_id"), "this is no table of tiles: there is no column 'tile_id'"),
        (lambda t: t.assign(x_max=t["x_min"]), "x_min and y_min must be below"),
        (lambda t: t.assign(x_max="wide"), "must be numbers in every row"),
        (lambda t: t.assign(tile_id="same"), "the name 'same' stands twice"),
        (lambda t: t.assign(scheme=["raster", "tms", "raster"]), "every row needs the same 'scheme'"),
        (lambda t: t.assign(scheme="mercator"), "'mercator' is no tile scheme"),
        (lambda t: t.assign(crs="EPSG:99"), "'EPSG:99' is not a known coordinate system"),
        (lambda t: t.assign(window_row=0.5), "must be whole numbers"),
        (lambda t: t.drop(columns="window_row"), "only window_column, window_width, window_height are there"),
        (lambda t: t.assign(regions="north"), "regions must be a list of ids"),
    ],
)
def test_tables_that_were_changed_are_refused(tmp_path, change, message):
    with pytest.raises(InputError, match=message):
        Tiles.from_file(edited(tmp_path, change))
