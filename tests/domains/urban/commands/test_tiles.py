"""``verticlip urban tiles``, as a user types it."""

from __future__ import annotations

import json

import numpy as np
import pytest
from verticlip.domains.urban.geometry.tiles import Tiles

rasterio = pytest.importorskip("rasterio")
geopandas = pytest.importorskip("geopandas")
shapely = pytest.importorskip("shapely")

TRANSFORM = (10.0, 0.0, 500_000.0, 0.0, -10.0, 4_500_000.0)


@pytest.fixture
def scene(tmp_path):
    values = np.random.default_rng(0).integers(1, 250, (3, 130, 200)).astype(np.uint8)
    with rasterio.open(
        tmp_path / "scene.tif", "w", driver="GTiff", width=200, height=130, count=3, dtype="uint8",
        crs="EPSG:32650", transform=rasterio.Affine(*TRANSFORM),
    ) as file:  # fmt: skip
        file.write(values)
    return tmp_path / "scene.tif"


@pytest.fixture
def districts(tmp_path):
    shapes = [
        shapely.box(500_000, 4_499_360, 500_640, 4_500_000),
        shapely.box(900_000, 4_499_000, 901_000, 4_500_000),
    ]
    table = geopandas.GeoDataFrame({"name": ["Harbor", "Far away"]}, geometry=shapes, crs="EPSG:32650")
    table.to_crs("EPSG:4326").to_file(tmp_path / "districts.geojson", driver="GeoJSON", engine="pyogrio")
    return tmp_path / "districts.geojson"


@pytest.mark.parametrize("suffix", [".geojson", ".parquet", ".gpkg"])
def test_a_scene_becomes_a_table(run, scene, tmp_path, suffix):
    out = tmp_path / f"tiles{suffix}"
    status, stdout, stderr = run("urban", "tiles", scene, "--size", 64, "--edge", "drop", "--out", out)
    assert status == 0
    assert stdout.split() == ["tiles", "crs", "6", "EPSG:32650"]
    assert f"wrote {out}: 6 tiles" in stderr
    tiles = Tiles.from_file(out)
    assert tiles.ids[0] == "scene_0_0"
    assert len(tiles) == 6


def test_regions_get_their_tiles_and_those_elsewhere_are_named(run, scene, districts, tmp_path):
    status, stdout, stderr = run(
        "urban", "tiles", scene, "--regions", districts, "--rule", "centroid", "--out", tmp_path / "t.gpkg"
    )
    assert status == 0
    assert [line.split() for line in stdout.splitlines()] == [
        ["region", "tiles"],
        ["Harbor", "1"],
        ["Far", "away", "0"],
    ]
    assert "1 region ('Far away') of 2 lie outside" in stderr
    assert Tiles.from_file(tmp_path / "t.gpkg").regions == (("Harbor",),)


def test_json_says_the_same_to_a_program(run, scene, districts, tmp_path):
    out = tmp_path / "t.geojson"
    status, stdout, _ = run("urban", "tiles", scene, "--regions", districts, "--out", out, "--json")
    told = json.loads(stdout)
    assert status == 0
    assert told["tiles"] == len(Tiles.from_file(out))
    assert told["regions_without_tiles"] == ["Far away"]
    assert told["crs"] == "EPSG:32650"
    assert 0 < told["mean_coverage"] <= 1


def test_tiles_of_a_web_map_need_no_scene(run, districts, tmp_path):
    out = tmp_path / "t.parquet"
    arguments = ("urban", "tiles", "--scheme", "baidu", "--zoom", 14, "--regions", districts, "--out", out)
    status, stdout, _ = run(*arguments, "--json")
    assert status == 0
    assert json.loads(stdout)["datum"] == "BD-09"
    assert {name for names in Tiles.from_file(out).regions for name in names} == {"Harbor", "Far away"}


def test_pictures_of_the_tiles(run, scene, tmp_path):
    folder = tmp_path / "pictures"
    status, stdout, stderr = run(
        "urban", "tiles", scene, "--size", 100, "--out", tmp_path / "t.geojson", "--pictures", folder
    )
    assert status == 0
    assert "wrote 4 pictures" in stderr
    with rasterio.open(scene) as source, rasterio.open(folder / "scene_30_100.png") as found:
        assert np.array_equal(found.read(), source.read(window=((30, 130), (100, 200))))
        assert found.bounds == source.window_bounds(rasterio.windows.Window(100, 30, 100, 100))
    status, stdout, _ = run(
        "urban", "tiles", scene, "--scheme", "webmercator", "--zoom", 14, "--out", tmp_path / "t.geojson",
        "--pictures", folder, "--min-valid", 0.1, "--json",
    )  # fmt: skip
    pictures = json.loads(stdout)["pictures"]
    assert status == 0
    assert pictures["written"] > 0
    assert pictures["written"] + pictures["skipped"] == json.loads(stdout)["tiles"]


@pytest.mark.data
def test_damaged_parts_leave_with_partial_success(run, tmp_path, data_dir):
    scene = data_dir / "urban" / "geotiff" / "corrupt.tif"
    status, _, stderr = run(
        "urban", "tiles", scene, "--size", 256, "--out", tmp_path / "t.geojson", "--pictures", tmp_path / "p"
    )
    assert status == 3
    assert "corrupt_512_512: " in stderr
    assert "4 cannot be read" in stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("SCENE", "--out", "t.txt"), "tiles are written as .geojson, .parquet, .gpkg"),
        (("SCENE", "--zoom", 3), "--zoom and --datum are for tile schemes"),
        (("SCENE", "--rule", "centroid"), "name --regions FILE"),
        (("SCENE", "--scheme", "webmercator"), "needs a zoom level, for example zoom=16"),
        (("SCENE", "--scheme", "tms", "--zoom", 9, "--stride", 4), "--stride is for --scheme raster"),
        (("SCENE", "--edge", "cut"), "edge 'cut' is none of shift, pad, drop"),
        ((), "Name a scene to cut, or a tile scheme: --scheme webmercator --zoom 16 --regions FILE"),
        (("--scheme", "tms", "--zoom", 9), "Say where: name a scene, or --regions FILE"),
        (
            ("--scheme", "tms", "--zoom", 9, "--pictures", "p"),
            "--pictures writes pictures of a scene; name one",
        ),
        (("absent.tif",), "absent.tif"),
        (("SCENE", "--regions", "absent.gpkg"), "absent.gpkg: no such file"),
        (
            ("SCENE", "--regions", "REGIONS", "--region-id", "nam"),
            "no column 'nam'; it has: name. Did you mean 'name'",
        ),
    ],
)
def test_what_cannot_be_is_said_and_writes_nothing(
    run, scene, districts, tmp_path, monkeypatch, arguments, message
):
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    words = {"SCENE": scene, "REGIONS": districts}
    status, stdout, stderr = run("urban", "tiles", *(words.get(word, word) for word in arguments))
    assert status == 1
    assert stdout == ""
    assert message in stderr
    assert sorted(tmp_path.iterdir()) == before


def test_a_cut_off_scene_is_refused_before_any_of_it_is_read(run, scene, tmp_path):
    cut = tmp_path / "cut.tif"
    cut.write_bytes(scene.read_bytes()[:-100])
    status, _, stderr = run("urban", "tiles", cut, "--verify", "--out", tmp_path / "t.geojson")
    assert status != 0
    assert "cut.tif: the file is cut off" in stderr
    assert not (tmp_path / "t.geojson").exists()
