"""``verticlip urban predict`` as a user runs it."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from verticlip.domains.urban.geometry.grids import raster_grid
from verticlip.domains.urban.outputs.embedding_table import EmbeddingTable
from verticlip.domains.urban.outputs.geoparquet import write_embeddings

rasterio = pytest.importorskip("rasterio")
geopandas = pytest.importorskip("geopandas")
shapely = pytest.importorskip("shapely")

TRANSFORM = (10.0, 0.0, 500_000.0, 0.0, -10.0, 4_400_000.0)


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """A folder with embeddings of 15 x 15 tiles, a table, a raster and regions."""
    folder = tmp_path_factory.mktemp("scene")
    tiles = raster_grid(480, 480, TRANSFORM, "EPSG:32650", size=32, name="s")
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(len(tiles), 6)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    write_embeddings(
        folder / "scene.parquet", EmbeddingTable.from_tiles(tiles, vectors, meta={"model_id": "urban/tiny"})
    )
    lines = [f"{name},{np.exp(2 * vector[0] + 3)}" for name, vector in zip(tiles.ids, vectors, strict=True)]
    (folder / "gdp.csv").write_text("\n".join(["tile_id,gdp (million)", *lines[:180]]))
    people = np.kron(np.exp(2 * vectors[:, 1] + 1).reshape(15, 15), np.ones((4, 4))).astype(np.float32)
    with rasterio.open(
        folder / "pop.tif", "w", driver="GTiff", count=1, height=60, width=60, dtype="float32",
        crs="EPSG:32650", transform=rasterio.transform.from_origin(500_000, 4_400_000, 80, 80),
    ) as target:  # fmt: skip
        target.write(people, 1)
    shapes = [shapely.box(500_000, 4_395_200, 502_400, 4_400_000), shapely.box(0, 0, 1, 1)]
    geopandas.GeoDataFrame({"name": ["west", "away"]}, geometry=shapes, crs="EPSG:32650").to_file(
        folder / "regions.gpkg"
    )
    return folder


def test_a_table_and_a_raster_become_maps(run, scene, tmp_path):
    out = tmp_path / "out"
    status, printed, talk = run(
        "urban", "predict", scene / "scene.parquet", "--out", out, "--indicators", scene / "gdp.csv",
        "--raster", f"population={scene / 'pop.tif'}", "--stat", "sum", "--unit", "population=persons",
        "--block-m", 1500, "--regions", scene / "regions.gpkg", "--region-id", "name",
        "--aggregate", "population=sum",
    )  # fmt: skip
    assert status == 0, talk
    lines = printed.splitlines()
    assert lines[0].split() == [
        "indicator",
        "model",
        "split",
        "R2",
        "(95",
        "%",
        "interval)",
        "RMSE",
        "MAE",
        "unit",
    ]
    assert [line.split()[:3] for line in lines[1:3]] == [
        ["gdp", "ridge", "random"],
        ["gdp", "ridge", "block"],
    ]
    assert any(line.startswith("population") and line.endswith("persons") for line in lines)
    assert "What counts is the split by block" in talk
    assert "1 of 2 regions share no ground with a tile" in talk
    assert "45 of 225 tiles have no row" in talk
    stored = json.loads((out / "report.json").read_text())
    assert stored["indicators"]["population"]["labelled_tiles"] == 225
    layer = geopandas.read_file(out / "regions.gpkg").set_index("region")
    assert layer.loc["west", "population_sum"] > 0
    assert "gdp_mean" in layer.columns


def test_json(run, scene, tmp_path):
    status, printed, _ = run(
        "urban", "predict", scene / "scene.parquet", "--out", tmp_path, "--indicators", scene / "gdp.csv",
        "--head", "knn", "--split", "random", "--json",
    )  # fmt: skip
    assert status == 0
    found = json.loads(printed)
    assert found["indicators"]["gdp"]["head"] == "knn"
    assert found["folder"] == str(tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "--indicators TABLE.csv, or --raster population=FILE.tif"),
        (["--raster", "pop.tif"], "--raster 'pop.tif' is not NAME=VALUE"),
        (["--indicators", "{gdp}", "--head", "rigde"], "Unknown head 'rigde'"),
        (["--indicators", "{gdp}", "--split", "blocks"], "Unknown split 'blocks'"),
        (["--indicators", "{gdp}", "--aggregate", "sum"], "name the regions, too: --regions FILE"),
        (["--indicators", "{gdp}", "--lat-lon", "lat"], "name two columns"),
        (["--indicators", "{gdp}", "--target", "gpd"], "No indicator 'gpd'.*Did you mean 'gdp'"),
        (["--indicators", "{gdp}", "--unit", "people=x"], "No indicator 'people'"),
        (["--indicators", "gone.csv"], "gone.csv: no such file"),
        (["--raster", "p={pop}", "--stat", "sum", "--stat", "mean"], "both meant for all"),
        (["--raster", "p={pop}", "--stat", "q=sum"], "there is no --raster q=FILE"),
        (["--indicators", "{gdp}", "--stat", "sum"], "--stat and --band are of rasters"),
        (["--raster", "p={pop}", "--id-column", "tile"], "--id-column and --lat-lon are of a CSV"),
        (["--raster", "p={pop}", "--raster", "p={pop}"], "'p' is given twice"),
        (["--indicators", "{gdp}", "--split", "region"], "split by region needs regions"),
    ],
)
def test_wrong_usage_is_said_and_writes_nothing(options, message, run, scene, tmp_path):
    out = tmp_path / "out"
    words = [word.format(gdp=scene / "gdp.csv", pop=scene / "pop.tif") for word in options]
    found, printed, talk = run("urban", "predict", scene / "scene.parquet", "--out", out, *words)
    assert re.search(message, talk), talk
    assert found == 1, talk
    assert not printed
    assert not out.exists()
    assert "Traceback" not in talk
