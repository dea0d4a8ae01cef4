"""``verticlip urban embed`` and what takes its table, as a user types it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pyarrow import parquet
from verticlip.domains.urban.outputs.geoparquet import read_embeddings, write_embeddings

rasterio = pytest.importorskip("rasterio")
pytest.importorskip("geopandas")


def write_scene(path: Path, *, pixel: float = 10.0, dtype: str = "uint8") -> Path:
    high = 250 if dtype == "uint8" else 3000
    values = np.random.default_rng(0).integers(1, high, (3, 130, 200)).astype(dtype)
    with rasterio.open(
        path, "w", driver="GTiff", width=200, height=130, count=3, dtype=dtype, crs="EPSG:32650",
        transform=rasterio.Affine(pixel, 0, 500_000, 0, -pixel, 4_500_000),
    ) as file:  # fmt: skip
        file.write(values)
    return path


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    return write_scene(tmp_path / "scene.tif")


def test_a_scene_becomes_a_table_that_names_no_folder(run, scene, model_folder, tmp_path) -> None:
    out = tmp_path / "a.parquet"
    status, stdout, stderr = run("urban", "embed", scene, "--out", out, "--model", model_folder, "--size", 64)
    assert status == 0, stderr
    assert stdout.strip() == str(out)
    assert "12 of 12 tiles embedded" in stderr
    said = str(parquet.read_schema(out).metadata)
    assert Path(model_folder).name in said
    assert str(Path(model_folder).parent) not in said


def test_a_file_does_not_choose_what_is_downloaded(run, scene, tmp_path) -> None:
    out = tmp_path / "a.parquet"
    assert run("urban", "embed", scene, "--out", out)[0] == 0
    table = read_embeddings(out)
    assert run("urban", "search", out, "houses", "-k", 1)[0] == 0, "the model of the table is one of ours"
    for name in ("someone/payload", "my_model"):
        table.meta["model_id"] = name
        write_embeddings(tmp_path / "b.parquet", table)
        for command in (("search", tmp_path / "b.parquet", "houses"),
                        ("classify", tmp_path / "b.parquet", "--out", tmp_path / "maps")):  # fmt: skip
            status, _, stderr = run("urban", *command)
            assert status == 1
            assert f"made with {name!r}, which is no model of this program" in stderr.replace("\n", " ")
            assert "--model" in stderr
    assert run("urban", "search", tmp_path / "b.parquet", "houses", "--model", "urban/tiny")[0] == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--scheme", "tms"), "--scheme: for a folder of tiles, and SCENE is a raster. Leave it out."),
        (("--datum", "GCJ-02"), "--datum: for a folder of tiles"),
        (("--tiles", "t.gpkg", "--edge", "pad", "--size", 8),
         "--size, --edge: --tiles says which tiles. Leave them out."),
    ],
)  # fmt: skip
def test_options_that_nothing_looks_at_are_refused(run, scene, tmp_path, options, message) -> None:
    status, _, stderr = run("urban", "embed", scene, "--out", tmp_path / "a.parquet", *options)
    assert status == 1
    assert message in stderr
    assert not (tmp_path / "a.parquet").exists()


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--bands", "1,2,3"),
        ("--sensor", "sentinel-2-l2a"),
        ("--nodata", 0),
        ("--crs", "EPSG:4326"),
        ("--edge", "pad"),
    ],
)
def test_a_folder_of_tiles_is_read_as_it_is(run, tmp_path, option, value) -> None:
    (tmp_path / "tiles").mkdir()
    status, _, stderr = run(
        "urban", "embed", tmp_path / "tiles", "--out", tmp_path / "a.parquet", option, value
    )
    assert status == 1
    assert f"{option}: the pictures of" in stderr


def test_ground_that_the_model_does_not_know_is_told(run, tmp_path) -> None:
    fine = write_scene(tmp_path / "fine.tif", pixel=1.5)
    tiles = tmp_path / "tiles.gpkg"
    assert run("urban", "tiles", fine, "--out", tiles)[0] == 0
    for options in (("--tiles", tiles), ("--size", 64)):
        status, _, stderr = run("urban", "embed", fine, "--out", tmp_path / f"{options[0]}.parquet", *options)
        assert status == 0
        assert (
            "note: a tile of 64 pixels of fine.tif covers 96 m; urban/tiny was trained on 640 m, which are "
            "426 pixels here" in stderr
        )
    plain = write_scene(tmp_path / "plain.tif")
    assert "note:" not in run("urban", "embed", plain, "--out", tmp_path / "c.parquet")[2]


def test_numbers_of_no_known_sensor_are_told(run, tmp_path) -> None:
    scene = write_scene(tmp_path / "l2a.tif", dtype="uint16")
    status, _, stderr = run("urban", "embed", scene, "--out", tmp_path / "a.parquet")
    assert status == 0
    assert "no sensor of l2a.tif is known, so its numbers were stretched" in stderr
    assert "trained on sentinel-2-rgb8. Name the sensor with sensor= (--sensor)" in stderr


def test_sentinel_2_numbers_are_corrected_as_the_user_says(run, tmp_path, model_folder) -> None:
    scene = write_scene(tmp_path / "l2a.tif", dtype="uint16")
    common = ("urban", "embed", scene, "--model", model_folder, "--size", 64, "--sensor", "sentinel-2-l2a")
    bands = ("--bands", "1,2,3")
    status, _, stderr = run(*common, *bands, "--out", tmp_path / "a.parquet")
    assert (status, "--s2-offset" in stderr) == (1, True)
    for word, name in (("-1000", "new"), ("0", "old")):
        status, _, stderr = run(*common, *bands, "--out", tmp_path / f"{name}.parquet", "--s2-offset", word)
        assert status == 0, stderr
    new, old = (read_embeddings(tmp_path / f"{name}.parquet").vectors for name in ("new", "old"))
    assert np.abs(new - old).max() > 1e-3
    status, _, stderr = run(*common, *bands, "--out", tmp_path / "b.parquet", "--s2-offset", "5")
    assert (status, "give one of auto, 0, -1000" in stderr) == (1, True)
