"""Map layers: every format opens, keeps values and places, and appears whole or not at all."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from urban import make_scenes as scenes
from verticlip.core.errors import ConfigError, DataError, InputError
from verticlip.domains.urban.geometry.regions import Regions
from verticlip.domains.urban.geometry.tiles import Tiles
from verticlip.domains.urban.outputs.staging import staged
from verticlip.domains.urban.outputs.vector import write_layer

geopandas = pytest.importorskip("geopandas")
shapely = pytest.importorskip("shapely")
grid, UTM = scenes.grid, scenes.UTM


def columns() -> dict:
    people = np.arange(48.0)
    people[3] = np.nan
    return {"people": people, "share": np.full(48, 0.1, np.float32), "label": ["town"] * 47 + [None],
            "near": [("a", "b")] * 48}  # fmt: skip


@pytest.mark.parametrize("ending", [".gpkg", ".geojson", ".parquet"])
def test_layers_open_with_their_values(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a{ending}"
    tiles = grid()
    write_layer(path, tiles, columns())
    read = geopandas.read_parquet(path) if ending == ".parquet" else geopandas.read_file(path)
    assert list(read["tile_id"]) == list(tiles.ids)
    assert np.array_equal(read["people"].to_numpy(float), columns()["people"], equal_nan=True)
    assert read["share"].iloc[0] == 0.1, "not 0.10000000149"
    assert read["label"].iloc[0] == "town"
    assert read["label"].isna().sum() == 1
    assert read["near"].iloc[0] == "a; b"
    assert read.crs.to_epsg() == (4326 if ending == ".geojson" else 32618)
    if ending != ".geojson":
        assert np.allclose(read.bounds.to_numpy(), tiles.bounds, rtol=0, atol=1e-6)
    back = read.to_crs(UTM).bounds.to_numpy()
    assert np.abs(back - tiles.bounds).max() < 0.1
    assert [one.name for one in tmp_path.iterdir()] == [path.name]
    # Once more over itself.
    write_layer(path, tiles.take([1]), {"people": [2.0]})
    assert [one.name for one in tmp_path.iterdir()] == [path.name]


def test_geojson_follows_its_standard(tmp_path: Path) -> None:
    write_layer(tmp_path / "a.geojson", grid().take([3]), {"people": [np.nan]})
    read = json.loads((tmp_path / "a.geojson").read_text())
    assert "crs" not in read
    feature = read["features"][0]
    assert feature["properties"]["people"] is None
    lon, lat = feature["geometry"]["coordinates"][0][0]
    assert -75.1 < lon < -74.9
    assert 40 < lat < 41


def test_a_write_ahead_log_of_an_older_file_goes(tmp_path: Path) -> None:
    path = tmp_path / "a.gpkg"
    for ending in ("", "-wal", "-shm", "-journal"):
        (tmp_path / f"a.gpkg{ending}").write_bytes(b"old")
    write_layer(path, grid(), {"people": np.arange(48)}, layer="people")
    assert [one.name for one in tmp_path.iterdir()] == ["a.gpkg"]
    with sqlite3.connect(path) as database:
        assert database.execute("select table_name from gpkg_contents").fetchall() == [("people",)]
        assert database.execute("pragma integrity_check").fetchone() == ("ok",)


def test_regions_and_geometries(tmp_path: Path) -> None:
    box = shapely.box(12.0, 41.0, 12.5, 41.5)
    regions = Regions(("rome",), np.array([box]), "EPSG:4326")
    write_layer(tmp_path / "a.gpkg", regions, {"people": [3]})
    assert geopandas.read_file(tmp_path / "a.gpkg")["region"].tolist() == ["rome"]
    write_layer(tmp_path / "b.geojson", [box], {"ok": [True]}, crs="EPSG:4326")
    assert geopandas.read_file(tmp_path / "b.geojson").geometry.iloc[0].equals(box)


def test_bad_layers_leave_nothing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"a\.shp: a layer ends in \.gpkg, \.geojson, \.parquet, not \.shp"):
        write_layer(tmp_path / "a.shp", grid(), {})
    with pytest.raises(DataError, match="'people' has 2 values for 48 places"):
        write_layer(tmp_path / "a.gpkg", grid(), {"people": [1, 2]})
    with pytest.raises(ConfigError, match="cannot be called 'fid'"):
        write_layer(tmp_path / "a.gpkg", grid(), {"fid": np.zeros(48)})
    with pytest.raises(ConfigError, match="'Label' stands twice"):
        write_layer(tmp_path / "a.gpkg", grid(), {"label": np.zeros(48), "Label": np.zeros(48)})
    with pytest.raises(ConfigError, match="Geometries need crs="):
        write_layer(tmp_path / "a.gpkg", [shapely.box(0, 0, 1, 1)], {})
    with pytest.raises(DataError, match="list of places is empty"):
        write_layer(tmp_path / "a.gpkg", grid().take([]), {})
    with pytest.raises(InputError, match="no coordinate system"):
        write_layer(tmp_path / "a.gpkg", Tiles(("a",), np.array([[0.0, 0.0, 1.0, 1.0]]), ""), {})
    (tmp_path / "folder.gpkg").mkdir()
    with pytest.raises(ConfigError, match="is a folder"):
        write_layer(tmp_path / "folder.gpkg", grid(), {})
    assert [one.name for one in tmp_path.iterdir()] == ["folder.gpkg"]


def test_an_error_while_writing_keeps_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_text("old")
    with pytest.raises(ZeroDivisionError), staged(tmp_path / "a.tif") as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert [one.name for one in tmp_path.iterdir()] == ["a.tif"]
    assert (tmp_path / "a.tif").read_text() == "old"
