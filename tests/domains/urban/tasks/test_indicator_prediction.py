"""From embeddings and a table to files: what is in them, and that they lie where they should."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from verticlip.core.errors import ConfigError, InputError
from verticlip.domains.urban.geometry.grids import raster_grid
from verticlip.domains.urban.geometry.regions import Regions
from verticlip.domains.urban.indicators.prediction import PredictionSettings
from verticlip.domains.urban.indicators.regression import IndicatorRegressor
from verticlip.domains.urban.indicators.table import IndicatorTable
from verticlip.domains.urban.outputs.embedding_table import EmbeddingTable
from verticlip.domains.urban.outputs.geoparquet import read_embeddings, write_embeddings
from verticlip.domains.urban.tasks import indicator_prediction
from verticlip.domains.urban.tasks.indicator_prediction import RegionPlan, binding_of, predict_indicators

rasterio = pytest.importorskip("rasterio")
shapely = pytest.importorskip("shapely")
geopandas = pytest.importorskip("geopandas")


UTM = "EPSG:32650"
TRANSFORM = (10.0, 0.0, 500_000.0, 0.0, -10.0, 4_400_000.0)
SETTINGS = PredictionSettings(block_m=1500.0, resamples=20)


@pytest.fixture(scope="module")
def city() -> tuple[EmbeddingTable, IndicatorTable]:
    """15 x 15 tiles of 320 m, two indicators that embeddings know of, half of one labelled."""
    tiles = raster_grid(480, 480, TRANSFORM, UTM, size=32, name="s")
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(len(tiles), 6)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    meta = {"model_id": "urban/tiny", "revision": "r1", "processor": "p1"}
    people, height = np.exp(2 * vectors[:, 0] + 5), 20 + 5 * vectors[:, 1]
    people[::2] = np.nan
    table = IndicatorTable(
        tiles.ids, {"population": people, "mean height (m)/2": height}, {"population": "persons"}
    )
    return EmbeddingTable.from_tiles(tiles, vectors, source="scene.tif", meta=meta), table


@pytest.fixture(scope="module")
def run(city, tmp_path_factory):
    embeddings, table = city
    out = tmp_path_factory.mktemp("predicted")
    corner = (500_000, 4_395_200)
    shapes = [
        shapely.box(corner[0], corner[1], corner[0] + 2400, corner[1] + 4800),
        shapely.box(corner[0] + 2400, corner[1], corner[0] + 4800, corner[1] + 4800),
        shapely.box(corner[0] + 90_000, corner[1], corner[0] + 91_000, corner[1] + 900),
    ]
    regions = Regions.from_geometries(shapes, UTM, ids=["west", "east", "away"], attributes={"kind": "abc"})
    plan = RegionPlan(regions, {"population": "sum"})
    report = predict_indicators(embeddings, table, out, settings=SETTINGS, regions=plan)
    return report, out


def test_everything_that_is_named_is_there(run):
    report, out = run
    assert set(report.files) == {
        "predictions.parquet", "predictions.gpkg", "predictions.csv", "indicators.tif", "regions.gpkg",
        "population.png", "population_regions.png", "regressors/population",
        "mean_height_m_2.png", "mean_height_m_2_regions.png", "regressors/mean_height_m_2", "report.json",
    }  # fmt: skip
    for name in report.files:
        assert (out / name).exists(), name
    assert {path.name for path in out.iterdir()} == {name.split("/")[0] for name in report.files}
    stored = json.loads((out / "report.json").read_text())
    assert stored["indicators"]["population"]["labelled_tiles"] == 112
    assert stored["indicators"]["population"]["validation"]["spatial"]["metrics"]["z"]["r2"]["value"] > 0.8
    assert stored["regions"] == {"count": 3, "without_value": 1}
    assert any("1 of 3 regions share no ground" in note for note in stored["notes"])
    assert any("it has seen the pictures" in note for note in stored["notes"])


def test_the_map_has_every_prediction_in_its_place(run, city):
    report, out = run
    embeddings, _ = city
    with rasterio.open(out / "indicators.tif") as target:
        assert target.descriptions == ("population", "mean height (m)/2")
        assert target.units[0] == "persons"
        assert target.tags(1)["target_transform"] == "log1p"
        assert target.tags()["model_id"] == "urban/tiny"
        assert np.isnan(target.nodata)
        assert target.crs.to_epsg() == 32650
        for band, name in enumerate(report.indicators, 1):
            points = embeddings.tiles().centers()
            sampled = np.array([value[0] for value in target.sample(points, indexes=band)])
            assert np.allclose(sampled, report.indicators[name].values, rtol=1e-6)


def test_tables_hold_what_was_known_and_what_was_predicted(run, city):
    report, out = run
    embeddings, table = city
    found = read_embeddings(out / "predictions.parquet")
    one = report.indicators["population"]
    assert np.allclose(found.columns["population_predicted"], one.values)
    assert np.allclose(found.columns["population"], table.column("population"), equal_nan=True)
    assert np.array_equal(found.vectors, embeddings.vectors)
    layer = geopandas.read_file(out / "predictions.gpkg")
    assert layer.crs.to_epsg() == 32650
    assert layer["population_predicted"].to_numpy() == pytest.approx(one.values)
    assert layer["population"].isna().sum() == 113
    with (out / "predictions.csv").open(encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert len(rows) == 225
    assert rows[0]["population"] == ""
    assert float(rows[1]["population_high"]) == pytest.approx(one.high[1])
    assert {row["population_far"] for row in rows} <= {"0", "1"}


def test_regions(run):
    report, out = run
    layer = geopandas.read_file(out / "regions.gpkg").set_index("region")
    people = report.indicators["population"].values.reshape(15, 15)
    west = people[:, :7].sum() + people[:, 7].sum() / 2
    assert layer.loc["west", "population_sum"] == pytest.approx(west, rel=1e-3)
    assert layer.loc["west", "population_sum"] + layer.loc["east", "population_sum"] == pytest.approx(
        people.sum(), rel=1e-6
    )
    heights = report.indicators["mean height (m)/2"].values.reshape(15, 15)
    mean = (heights[:, 8:].sum() + heights[:, 7].sum() / 2) / (15 * 7.5)
    assert layer.loc["east", "mean height (m)/2_mean"] == pytest.approx(mean, rel=1e-3)
    assert np.isnan(layer.loc["away", "population_sum"])
    assert layer["population_covered"].tolist() == pytest.approx([1, 1, 0], abs=1e-3)
    assert layer["kind"].tolist() == ["a", "b", "c"]


def test_a_stored_regressor_serves_the_same_model_only(run, city):
    report, out = run
    embeddings, _ = city
    again = IndicatorRegressor.load(out / "regressors" / "population")
    predicted = again.predict(embeddings.vectors, binding=binding_of(embeddings))
    assert np.allclose(predicted, report.indicators["population"].values, rtol=1e-5)
    other = EmbeddingTable.from_tiles(
        embeddings.tiles(), embeddings.vectors, meta={**embeddings.meta, "revision": "r2"}
    )
    with pytest.raises(InputError, match="revision 'r2'"):
        again.predict(other.vectors, binding=binding_of(other))


def test_equal_runs_give_equal_numbers(run, city, tmp_path):
    report, out = run
    embeddings, table = city
    path = tmp_path / "scene.parquet"
    write_embeddings(path, embeddings)
    again = predict_indicators(path, table, tmp_path / "out", targets=["population"], settings=SETTINGS)
    assert list(again.indicators) == ["population"]
    assert np.array_equal(again.indicators["population"].values, report.indicators["population"].values)
    first, second = (out / "population.png").read_bytes(), (tmp_path / "out" / "population.png").read_bytes()
    assert first == second
    assert again.empty_regions == 0


def test_the_papers_recipe_drops_zeros(city, tmp_path):
    embeddings, table = city
    height = table.column("mean height (m)/2").copy()
    height[:9] = 0
    zeros = IndicatorTable(table.tile_ids, {"height": height})
    from verticlip.domains.urban.indicators.mlp import MLPSettings

    quick = PredictionSettings(
        recipe="urbanclip", block_m=1500.0, resamples=0, mlp=MLPSettings(hidden=4, epochs=2)
    )
    report = predict_indicators(embeddings, zeros, tmp_path, settings=quick)
    assert report.indicators["height"].labelled == 216
    assert any("9 tiles with a zero in a target were left out" in note for note in report.notes)


@pytest.mark.parametrize(
    ("names", "column"),
    [(["x"], "x"), (["Lon"], "Lon"), (["geometry"], "geometry"), (["gdp", "GDP"], "GDP"),
     (["gdp", "gdp_low"], "gdp_low"), (["gdp_far", "gdp"], "gdp_far")],
)  # fmt: skip
def test_names_that_the_files_need_are_refused_before_any_work(names, column, city, tmp_path, monkeypatch):
    embeddings, _ = city
    monkeypatch.setattr(indicator_prediction, "predict_indicator", None)
    table = IndicatorTable(embeddings.ids, {name: np.ones(225) for name in names})
    with pytest.raises(InputError, match=f"the files a column '{column}', and they have one already"):
        predict_indicators(embeddings, table, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_columns_of_regions_keep_out_of_the_way_and_amounts_are_not_averaged_in_silence(city, tmp_path):
    embeddings, table = city
    shape = shapely.box(500_000, 4_395_200, 504_800, 4_400_000)
    regions = Regions.from_geometries(
        [shape], UTM, ids=["all"], attributes={"Population_mean": [3], "k": [1]}
    )
    settings = PredictionSettings(block_m=1500.0, resamples=0)
    report = predict_indicators(
        embeddings, table, tmp_path, targets=["population"], settings=settings, regions=RegionPlan(regions)
    )
    layer = geopandas.read_file(tmp_path / "regions.gpkg")
    assert layer.columns.tolist() == ["region", "k", "population_mean", "population_covered", "geometry"]
    mean = np.nanmean(report.indicators["population"].values)
    assert layer["population_mean"][0] == pytest.approx(mean, rel=1e-3)
    assert any(
        "population is counted in 'persons', an amount: by region it is averaged" in one
        for one in report.notes
    )


@pytest.mark.parametrize(("stride", "block_m"), [(16, 480.0), (8, None)])
def test_tiles_that_overlap_are_kept_apart(stride, block_m, tmp_path):
    tiles = raster_grid(256, 256, TRANSFORM, UTM, size=32, stride=stride, name="s")
    vectors = np.random.default_rng(0).normal(size=(len(tiles), 4)).astype(np.float32)
    embeddings = EmbeddingTable.from_tiles(tiles, vectors)
    table = IndicatorTable(tiles.ids, {"gdp": np.exp(vectors[:, 0])})
    settings = PredictionSettings(block_m=block_m, folds=3, resamples=0)
    report = predict_indicators(embeddings, table, tmp_path, settings=settings)
    spatial = report.indicators["gdp"].report.spatial
    assert any("gdp: Tiles overlap: no tile trained where" in note for note in report.notes)
    tested, train = spatial.folds.test_rows(0), spatial.folds.train_rows(0)
    apart = np.abs(tiles.bounds[tested][:, None, :2] - tiles.bounds[train][None, :, :2]).max(axis=-1)
    assert apart.min() >= 320
    assert len(train) > len(tiles) / 5


def test_labelled_tiles_outside_of_all_regions_are_said(city, tmp_path):
    embeddings, table = city
    edges = 500_000 + 960 * np.arange(5)
    shapes = [shapely.box(west, 4_395_200, west + 960, 4_400_000) for west in edges[:4]]
    plan = RegionPlan(Regions.from_geometries(shapes, UTM))
    settings = PredictionSettings(split="region", folds=4, resamples=0)
    report = predict_indicators(
        embeddings, table, tmp_path, targets=["mean height (m)/2"], settings=settings, regions=plan
    )
    assert report.indicators["mean height (m)/2"].labelled == 180
    assert any("45 labelled tiles lie in no region and were not learned from" in one for one in report.notes)


def test_what_cannot_be_predicted_leaves_no_files(city, tmp_path):
    embeddings, table = city
    out = tmp_path / "out"
    with pytest.raises(InputError, match="No indicator 'gdp'; the table has: population"):
        predict_indicators(embeddings, table, out, targets=["gdp"])
    with pytest.raises(ConfigError, match="asked for twice"):
        predict_indicators(embeddings, table, out, targets=["population"] * 2, settings=SETTINGS)
    with pytest.raises(InputError, match="holds none of the 225 tiles"):
        predict_indicators(embeddings, IndicatorTable(("x",), {"gdp": np.ones(1)}), out)
    with pytest.raises(ConfigError, match="no columns"):
        predict_indicators(embeddings, IndicatorTable(embeddings.ids, {}), out)
    plan = RegionPlan(Regions.from_geometries([shapely.box(0, 0, 1, 1)], UTM), "total")
    with pytest.raises(ConfigError, match="Unknown aggregate 'total'"):
        predict_indicators(embeddings, table, out, regions=plan)
    assert not out.exists()
