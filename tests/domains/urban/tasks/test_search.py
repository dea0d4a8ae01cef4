"""Search and class maps: ranks are exact, options do what they say, files open."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from urban import make_scenes as scenes
from verticlip.api import from_pretrained
from verticlip.core.errors import ConfigError, DataError, InputError
from verticlip.core.heads.zero_shot import class_embeddings
from verticlip.core.inputs import encode_texts
from verticlip.domains.urban.geometry.regions import Regions
from verticlip.domains.urban.loaders.records import TileImage
from verticlip.domains.urban.outputs.geoparquet import EmbeddingTable, read_embeddings
from verticlip.domains.urban.tasks.class_map import classify_tiles
from verticlip.domains.urban.tasks.embedding import embed_tiles
from verticlip.domains.urban.tasks.search import Like, TextQuery, search_tiles

pyproj = pytest.importorskip("pyproj")
shapely = pytest.importorskip("shapely")
FakeScene, grid, UTM = scenes.FakeScene, scenes.grid, scenes.UTM


class Scene(FakeScene):
    """A scene that can also be a background."""

    def read_bounds(self, bounds, crs, *, size) -> TileImage:
        return TileImage(
            torch.full((3, *size), 0.5), torch.ones(size, dtype=torch.bool), (1, 0, 0, 0, -1, 0), crs, ""
        )


@pytest.fixture(scope="module")
def model(model_folder: Path):
    return from_pretrained(model_folder)


@pytest.fixture(scope="module")
def table(model, tmp_path_factory) -> EmbeddingTable:
    out = tmp_path_factory.mktemp("table") / "a.parquet"
    embed_tiles(model, Scene(), grid(), out)
    return read_embeddings(out)


def test_words_are_put_into_the_sentences_of_the_model(model, table) -> None:
    found = search_tiles(model, table, ["red", "a green square"], 5)
    assert found.queries == ("red", "a green square")
    for query, hits in zip(found.queries, found.hits, strict=True):
        vector = class_embeddings(model.prompts_for([query]), lambda some: encode_texts(model, some))[0]
        scores = table.vectors @ vector.numpy()
        order = np.argsort(-scores, kind="stable")[:5]
        assert [hit.row for hit in hits] == order.tolist()
        assert [hit.rank for hit in hits] == [1, 2, 3, 4, 5]
        assert np.allclose([hit.score for hit in hits], scores[order], atol=1e-6)
    plain = search_tiles(model, table, TextQuery("red", ("{}",)), 5).hits[0]
    alone = table.vectors @ encode_texts(model, ["red"])[0].numpy()
    assert plain[0].row == int(alone.argmax())


def test_hits_say_where_they_are(model, table) -> None:
    hit = search_tiles(model, table, "red", 1).hits[0][0]
    tile = grid()[grid().ids.index(hit.tile_id)]
    assert hit.bounds == tile.bounds
    west, south, east, north = tile.bounds
    lon, lat = pyproj.Transformer.from_crs(UTM, 4326, always_xy=True).transform(
        (west + east) / 2, (south + north) / 2
    )
    assert (hit.lon, hit.lat) == pytest.approx((lon, lat), abs=1e-9)
    assert shapely.from_wkb(hit.geometry).contains(shapely.Point(lon, lat))
    assert set(hit.to_dict()) == {"query", "rank", "tile_id", "score", "lon", "lat", "bounds", "crs"}


def test_more_like_a_tile_or_a_picture(model, table) -> None:
    name = table.ids[11]
    likeness = table.vectors @ table.vectors[11]
    found = search_tiles(model, table, Like(name), 6).hits[0]
    assert name not in [hit.tile_id for hit in found]
    assert [hit.row for hit in found] == [row for row in np.argsort(-likeness, kind="stable") if row != 11][
        :6
    ]
    tile = Scene().read_tile(grid()[11])
    assert search_tiles(model, table, tile, 1).hits[0][0].tile_id == name
    with pytest.raises(InputError, match="no tile called 'scene_9_9'"):
        search_tiles(model, table, Like("scene_9_9"))


def test_a_picture_file(model, table, tmp_path: Path) -> None:
    from PIL import Image

    pixels = Scene().read_tile(grid()[11]).image.permute(1, 2, 0).numpy()
    Image.fromarray((255 * pixels).round().astype(np.uint8)).save(tmp_path / "like.png")
    found = search_tiles(model, table, tmp_path / "like.png", 1)
    assert found.hits[0][0].tile_id == table.ids[11]
    assert found.queries == ("like like.png",)


def test_hits_lie_apart(model, table) -> None:
    near = search_tiles(model, table, "red", 48).hits[0]
    hits = search_tiles(model, table, "red", 48, apart_m=700).hits[0]
    geod = pyproj.Geod(ellps="WGS84")
    for first in hits:
        for second in hits:
            if first is not second:
                assert geod.inv(first.lon, first.lat, second.lon, second.lat)[2] >= 700
    kept: list = []
    for hit in near:
        if all(geod.inv(hit.lon, hit.lat, one.lon, one.lat)[2] >= 700 for one in kept):
            kept.append(hit)
    assert [hit.tile_id for hit in hits] == [hit.tile_id for hit in kept]
    few = search_tiles(model, table, "red", 3, apart_m=700).hits[0]
    assert [hit.tile_id for hit in few] == [hit.tile_id for hit in kept[:3]]


def test_least_score_and_region(model, table) -> None:
    every = search_tiles(model, table, "red", 48).hits[0]
    limit = every[9].score
    assert len(search_tiles(model, table, "red", 48, min_score=limit).hits[0]) == 10
    assert search_tiles(model, table, "red", 48, min_score=1.1).all() == []
    west, south, east, north = grid().bounds[9]
    # A point inside of one tile, in the coordinates of the tiles and in degrees.
    spot = shapely.Point((west + east) / 2, (south + north) / 2).buffer(20)
    regions = Regions(("r",), np.array([spot]), UTM)
    assert [hit.tile_id for hit in search_tiles(model, table, "red", 5, region=regions).hits[0]] == [
        table.ids[9]
    ]
    shape = regions.to_crs("EPSG:4326").geometries[0]
    assert search_tiles(model, table, "red", 5, region=shape).hits[0][0].row == 9
    with pytest.raises(InputError, match="No tile lies in the region .*longitude, then latitude"):
        search_tiles(model, table, "red", region=shapely.box(40, -75, 41, -74))
    with pytest.raises(InputError, match="empty or crosses itself"):
        search_tiles(model, table, "red", region=shapely.Polygon([(0, 0), (1, 1), (1, 0), (0, 1)]))


def test_other_models_and_options_are_refused(model, table) -> None:
    other = from_pretrained(model.id)
    other.variant = "changed"
    with pytest.raises(
        ConfigError, match="embeddings were made with .* and this is .* embed the scene again"
    ):
        search_tiles(other, table, "red")
    with pytest.raises(ConfigError, match="embeddings were made with"):
        classify_tiles(other, table)
    with pytest.raises(InputError, match="list of queries is empty"):
        search_tiles(model, table, [])
    with pytest.raises(InputError, match="The query '  ' is empty"):
        search_tiles(model, table, "  ")
    with pytest.raises(ConfigError, match="min_score is a cosine"):
        search_tiles(model, table, "forest", min_score=float("nan"))
    with pytest.raises(ConfigError, match="k is at least 1, got 0"):
        search_tiles(model, table, "red", 0)
    with pytest.raises(ConfigError, match="apart_m is a distance in metres of at least 0, got -1"):
        search_tiles(model, table, "red", apart_m=-1)
    with pytest.raises(InputError, match="empty"):
        search_tiles(model, table, " ")


def test_files_of_a_search(model, table, tmp_path: Path) -> None:
    geopandas = pytest.importorskip("geopandas")
    found = search_tiles(model, table, ["red", "blue square"], 4)
    layer = geopandas.read_file(found.save(tmp_path / "hits.geojson"))
    assert list(layer["tile_id"]) == [hit.tile_id for hit in found.all()]
    assert list(layer["rank"]) == [1, 2, 3, 4] * 2
    assert layer.geometry.iloc[0].centroid.x == pytest.approx(found.hits[0][0].lon, abs=1e-6)
    assert len(geopandas.read_file(found.save(tmp_path / "hits.gpkg"))) == 8
    with found.save(tmp_path / "hits.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert rows[5]["query"] == "blue square"
    assert float(rows[0]["score"]) == pytest.approx(found.hits[0][0].score, abs=1e-6)
    assert float(rows[0]["west"]) == found.hits[0][0].bounds[0]
    found.save_map(tmp_path / "map.png", Scene())
    found.save_thumbnails(tmp_path / "small.png", Scene())
    assert len(list(tmp_path.iterdir())) == 5
    with pytest.raises(ConfigError, match=r"hits\.txt: a layer ends in"):
        found.save(tmp_path / "hits.txt")
    nothing = search_tiles(model, table, "red", min_score=2)
    with pytest.raises(DataError, match="no hits to write"):
        nothing.save(tmp_path / "none.gpkg")
    nothing.save_map(tmp_path / "none.png")


def test_half_precision_ranks_by_cosine(model, table) -> None:
    from dataclasses import replace

    rounded = replace(table, vectors=(0.999 * table.vectors).astype(np.float16).astype(np.float32),
                      meta={**table.meta, "dtype": "float16"})  # fmt: skip
    exact = [hit.score for hit in search_tiles(model, table, "red", 5).hits[0]]
    assert [hit.score for hit in search_tiles(model, rounded, "red", 5).hits[0]] == pytest.approx(
        exact, abs=1e-3
    )


def test_classes_are_those_of_the_model(model, table) -> None:
    found = classify_tiles(model, table)
    assert found.class_names == ("red square", "blue square")
    pictures = [Scene().read_tile(tile).image for tile in grid()]
    alone = model.classify(pictures, batch_size=48)
    assert np.abs(found.probabilities - [[*one.scores.values()] for one in alone]).max() < 1e-4
    assert found.labels == [one.label for one in alone]
    assert sum(found.counts().values()) == 48
    unsure = classify_tiles(model, table, ["red", "green", "blue"], min_probability=0.99)
    assert None in unsure.labels
    assert (unsure.classes == -1).sum() == 48 - sum(unsure.counts().values())
    with pytest.raises(InputError, match="single label|one label"):
        classify_tiles(model, table, ["red"])
    with pytest.raises(ConfigError, match="from 0 to 1, got 3"):
        classify_tiles(model, table, min_probability=3)


def test_files_of_a_class_map(model, table, tmp_path: Path) -> None:
    rasterio, geopandas = pytest.importorskip("rasterio"), pytest.importorskip("geopandas")
    found = classify_tiles(model, table, ["red", "green", "blue"], min_probability=0.4)
    files = found.save(tmp_path, name="use", background=Scene())
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "use.gpkg", "use.png", "use.tif", "use.tif.aux.xml", "use_probabilities.tif",
    ]  # fmt: skip
    with rasterio.open(files["classes"]) as source:
        read = source.read(1).ravel()
        assert np.array_equal(np.where(read == 255, -1, read.astype(int)), found.classes)
        assert source.tags()["revision"] == model.revision
        assert source.tags(1)["class_1"] == "green"
    with rasterio.open(files["probabilities"]) as source:
        assert source.descriptions == ("red", "green", "blue")
        assert np.allclose(source.read().reshape(3, -1).T, found.probabilities)
    layer = geopandas.read_file(files["layer"])
    assert [label if isinstance(label, str) else None for label in layer["label"]] == found.labels
    assert {"probability", "p_red"} <= set(layer.columns)


@pytest.fixture(scope="module")
def scene_file(tmp_path_factory) -> Path:
    pytest.importorskip("rasterio")
    pixels = (255 * Scene().pixels.numpy()).astype(np.uint8)
    return scenes.write_raster(tmp_path_factory.mktemp("scene") / "city.tif", pixels)


def test_from_scene_to_maps_on_the_command_line(run, model_folder, scene_file, tmp_path: Path) -> None:
    out = tmp_path / "city.parquet"
    status, printed, told = run(
        "urban", "embed", scene_file, "--model", model_folder, "--out", out, "--size", 32
    )
    assert (status, printed) == (0, f"{out}\n")
    assert "48 of 48 tiles embedded" in told
    table = read_embeddings(out)
    assert table.source == "city.tif"
    assert table.ids[:2] == ("city_0_0", "city_0_32")
    status, printed, _ = run(
        "urban", "embed", scene_file, "--model", model_folder, "--out", out, "--size", 32, "--json"
    )
    assert json.loads(printed)["resumed_parts"] == 1
    status, printed, told = run(
        "urban", "search", out, "red square", "blue", "-k", 2, "--out", tmp_path / "hits.gpkg",
        "--map", tmp_path / "hits.png", "--thumbnails", tmp_path / "small.png", "--scene", scene_file,
        "--model", model_folder,
    )  # fmt: skip
    assert status == 0
    assert [line.split()[:2] for line in printed.splitlines()[1:3]] == [["red", "square"]] * 2
    assert "wrote" in told
    assert {"hits.gpkg", "hits.png", "small.png"} <= {path.name for path in tmp_path.iterdir()}
    status, printed, _ = run(
        "urban", "search", out, "--like", "city_64_32", "-k", 1, "--json", "--model", model_folder
    )
    assert json.loads(printed)["query"] == "like city_64_32"
    status, printed, told = run(
        "urban", "classify", out, "--labels", "red,blue", "--out", tmp_path / "use", "--model", model_folder
    )
    assert status == 0
    assert printed.splitlines()[0].split() == ["class", "tiles", "share"]
    assert {path.suffix for path in (tmp_path / "use").iterdir()} == {".gpkg", ".png", ".tif", ".xml"}


def test_slips_on_the_command_line(run, model_folder, scene_file, tmp_path: Path) -> None:
    out = tmp_path / "city.parquet"
    for arguments, message in (
        (
            ("embed", scene_file, "--model", model_folder, "--out", "city.txt"),
            "--out city.txt: name a file that ends in",
        ),
        (
            ("embed", scene_file, "--model", model_folder, "--out", out, "--tiles", "t.gpkg", "--size", 3),
            "--size: --tiles says which tiles. Leave it out",
        ),
        (
            ("embed", scene_file, "--model", model_folder, "--out", out, "--repair"),
            "name the regions, too: --regions FILE",
        ),
        (("embed", "nowhere.tif", "--model", model_folder, "--out", out), "nowhere.tif"),
    ):
        status, printed, told = run("urban", *arguments)
        assert (status, printed) == (1, "")
        assert message in told
    assert not out.exists()
    run("urban", "embed", scene_file, "--model", model_folder, "--out", out, "--size", 64)
    for arguments, message in (
        ((out,), "Say what to look for"),
        ((out, "red", "--thumbnails", "a.png"), "name it with --scene FILE"),
        ((out, "red", "--out", "hits.xyz"), "name a file that ends in .geojson or .gpkg"),
        ((out, "red", "--like", "city_0_1"), "no tile called 'city_0_1' in this table. Did you"),
        ((scene_file, "red"), "cannot be read as Parquet"),
    ):
        status, _, told = run("urban", "search", *arguments, "--model", model_folder)
        assert status == 1
        assert message in told
    status, printed, told = run(
        "urban",
        "search",
        out,
        "red",
        "--min-score",
        2,
        "--out",
        tmp_path / "no.gpkg",
        "--model",
        model_folder,
    )
    assert status == 0
    assert "no tile scores that high" in told
    assert not (tmp_path / "no.gpkg").exists()
    status, _, told = run(
        "urban", "classify", out, "--labels", "red", "--out", tmp_path / "use", "--model", model_folder
    )
    assert status == 1


def test_a_folder_of_map_tiles(run, model_folder, tmp_path: Path) -> None:
    from PIL import Image

    folder = tmp_path / "tiles"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for x in range(3):
        picture = rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(picture).save(folder / f"16_{53957 + x}_24832_s.png")
    out = tmp_path / "tiles.parquet"
    status, _, told = run("urban", "embed", folder, "--model", model_folder, "--out", out)
    assert status == 0, told
    table = read_embeddings(out)
    assert table.zxy.tolist() == [[16, 53957 + x, 24832] for x in range(3)]
    lon, lat = table.centers()[0]
    assert (lon, lat) == pytest.approx((116.3974, 39.9093), abs=3e-3)
    status, _, told = run("urban", "embed", folder, "--model", model_folder, "--out", out, "--size", 8)
    assert f"--size: the pictures of {folder} are the tiles, as they are. Leave it out." in told


def test_regions_choose_tiles(run, model_folder, scene_file, tmp_path: Path) -> None:
    tile = grid()[9]
    west, south, east, north = tile.bounds
    inner = shapely.box(west + 5, south + 5, east - 5, north - 5)
    shape = Regions(("r",), np.array([inner]), UTM).to_crs("EPSG:4326").geometries[0]
    feature = {
        "type": "Feature",
        "properties": {"id": "r"},
        "geometry": json.loads(shapely.to_geojson(shape)),
    }
    (tmp_path / "r.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    out = tmp_path / "a.parquet"
    status, _, told = run("urban", "embed", scene_file, "--model", model_folder, "--out", out, "--size", 32,
                          "--regions", tmp_path / "r.geojson")  # fmt: skip
    assert status == 0, told
    table = read_embeddings(out)
    assert table.regions == (("r",),)
    assert table.windows.tolist() == [list(tile.window)]
    assert table.coverage[0] == pytest.approx((310 / 320) ** 2, rel=1e-3)


def test_a_tile_covers_the_ground_that_the_model_knows(model) -> None:
    from dataclasses import dataclass
    from types import SimpleNamespace

    from verticlip.domains.urban.tasks.scene_tiles import window_size

    @dataclass
    class Shape:
        pixel_size_m: float
        name: str = "city.tif"
        crs: str = UTM

    options = {"tile_px": 64, "resolution_m": 10}
    handle = SimpleNamespace(
        id="m", processor=model.processor, config=SimpleNamespace(name="m", options=options)
    )
    finer = window_size(handle, Shape(0.5))
    assert (finer.pixels, finer.read_px, finer.note) == (1280, 64, "")
    assert window_size(handle, Shape(10.2)).pixels == 64
    coarse = window_size(handle, Shape(300.0))
    assert (coarse.pixels, coarse.read_px) == (64, None)
    assert coarse.note.startswith("the pixels of city.tif are 300 m wide; m was trained on 10 m")
    assert window_size(handle, Shape(0.5), 100).pixels == 100
    assert window_size(model, Shape(0.5)).pixels == 16
