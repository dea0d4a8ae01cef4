"""The worked example: a made-up town, the real scene, and what the command prints."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import verticlip
from verticlip.core.errors import ConfigError

rasterio = pytest.importorskip("rasterio")
geopandas = pytest.importorskip("geopandas")

from verticlip.domains.urban.tasks.example import run_example  # noqa: E402


@pytest.fixture(scope="module")
def model():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield verticlip.from_pretrained("urban/tiny")
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def made(model, tmp_path_factory):
    out = tmp_path_factory.mktemp("town") / "example"
    said: list[str] = []
    return run_example(model, out, scene_px=384, tell=said.append), said


def test_a_town_is_made_up_and_mapped(made):
    report, said = made
    assert report.tiles == 11 * 11
    assert sum(report.land_use.values()) == report.tiles
    assert {"sea or lake", "residential"} <= set(report.land_use)
    assert report.notes == ()
    assert said == ["121 of 121 tiles embedded"]
    for name in report.files.values():
        assert (report.folder / name).stat().st_size, name
    assert json.loads((report.folder / "example.json").read_text()) == report.to_dict()


def test_what_is_mapped_lies_where_the_scene_lies(made):
    report, _ = made
    folder = report.folder
    with rasterio.open(folder / "scene/scene.tif") as scene:
        bounds, crs = scene.bounds, scene.crs
    with rasterio.open(folder / report.files["population, GeoTIFF"]) as found:
        assert (found.crs, found.res) == (crs, (320.0, 320.0))
        assert (found.bounds.left, found.bounds.top) == (bounds.left + 160, bounds.top - 160)
    with rasterio.open(folder / "scene/cover.tif") as file:
        cover = file.read(1)
    # Nearly all of what is called sea is sea.
    with rasterio.open(folder / report.files["land use, GeoTIFF"]) as found:
        names = [found.tags(1)[f"class_{place}"] for place in range(10)]
        rows, columns = np.nonzero(found.read(1) == names.index("sea or lake"))
    water = [
        (cover[32 * row : 32 * row + 64, 32 * column : 32 * column + 64] <= 1).mean()
        for row, column in zip(rows, columns, strict=True)
    ]
    assert np.mean(water) > 0.85
    districts = geopandas.read_file(folder / report.files["population, districts"])
    assert len(districts) == 6
    places = geopandas.read_file(folder / "places.geojson").to_crs(crs)
    assert places.within(geopandas.GeoSeries.from_wkt([_box(bounds)], crs=crs).iloc[0].buffer(1)).all()


def _box(bounds) -> str:
    left, bottom, right, top = bounds
    ring = ((left, bottom), (right, bottom), (right, top), (left, top), (left, bottom))
    return f"POLYGON (({', '.join(f'{x} {y}' for x, y in ring)}))"


def test_started_again_it_goes_on_with_what_is_there(model, made):
    report, _ = made
    table = report.folder / "tiles.parquet"
    before = table.stat().st_mtime_ns
    again = run_example(model, report.folder, scene_px=384)
    assert table.stat().st_mtime_ns == before
    assert again.to_dict() == report.to_dict()
    with pytest.raises(ConfigError, match=r"tiles\.parquet"):
        run_example(model, report.folder, scene_px=320)


def test_no_file_says_where_this_machine_keeps_it(made):
    report, _ = made
    for path in report.folder.rglob("*"):
        assert not path.is_file() or str(report.folder).encode() not in path.read_bytes(), path.name


def test_an_absent_scene_is_told_of(model, tmp_path):
    said: list[str] = []
    report = run_example(model, tmp_path / "out", data=tmp_path, scene_px=256, tell=said.append)
    assert said[0] == "no urban/geotiff/RGB.byte.tif in the data folder; a scene is made up"
    assert report.scene == "scene.tif"


@pytest.mark.data
def test_the_real_scene_by_command(run, data_dir, tmp_path):
    torch.set_num_threads(1)
    out = tmp_path / "example"
    status, stdout, stderr = run("urban", "example", "--data", data_dir, "--out", out, "--json")
    assert status == 0
    told = json.loads(stdout)
    assert (told["scene"], told["indicator"]) == ("RGB.byte.tif", "brightness")
    assert "300 m wide; urban/tiny was trained on 10 m, so what it says here is a guess" in stderr
    assert told["notes"][0] in stderr
    assert set(told["hits"]) == {"blue water", "pale and bright", "speckled"}
    # Neighbors help: the split at random flatters.
    assert told["r2_at_random"] > told["r2_on_unseen_ground"] > 0.4
    with rasterio.open(data_dir / "urban/geotiff/RGB.byte.tif") as scene:
        crs = scene.crs
    with rasterio.open(out / told["files"]["brightness, GeoTIFF"]) as found:
        assert found.crs == crs
    status, stdout, stderr = run("urban", "example", "--data", data_dir, "--out", out)
    assert status == 0
    assert stdout.splitlines()[0].split() == ["what", "file"]
    assert str(out / "places.png") in stdout
    assert "brightness: R2 0." in stderr
    assert " beside neighbors of the same ground" in stderr
