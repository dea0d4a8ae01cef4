"""``verticlip urban caption`` as users run it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from urban.captions import make_captioners, make_coca

pytest.importorskip("rasterio", reason="the urban extra is not installed")


@pytest.fixture(scope="module")
def scene(tmp_path_factory) -> Path:
    """A scene of 96 x 64 pixels whose right third has no data."""
    import rasterio
    from rasterio.transform import from_origin

    path = tmp_path_factory.mktemp("scene") / "scene.tif"
    pixels = np.random.default_rng(0).integers(1, 200, (3, 64, 96), np.uint8)
    pixels[:, :, 64:] = 0
    with rasterio.open(
        path, "w", driver="GTiff", width=96, height=64, count=3, dtype="uint8", nodata=0, crs="EPSG:32618",
        transform=from_origin(500_000, 4_500_000, 10, 10),
    ) as file:  # fmt: skip
        file.write(pixels)
    return path


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    for name, value in (("Forest/1.jpg", 40), ("SeaLake/1.jpg", 90)):
        path = tmp_path / "pictures" / name
        path.parent.mkdir(parents=True)
        Image.fromarray(np.full((64, 64, 3), (value, value + 20, value), np.uint8)).save(path)
    return tmp_path / "pictures"


def test_a_scene_without_a_model(run, scene, tmp_path):
    out = tmp_path / "captions.json"
    status, printed, said = run("urban", "caption", scene, "--out", out, "--size", 32, "--report")
    assert status == 0
    entries = json.loads(out.read_text())
    assert {entry["image"] for entry in entries} == {
        f"scene_{row}_{column}" for row in (0, 32) for column in (0, 32)
    }
    assert f"0 failed, 2 left out; reasons in {out}.failed.jsonl" in said
    first, _ = map(json.loads, out.with_name("captions.json.failed.jsonl").read_text().splitlines())
    assert first["reason"] == "0% of the pixels are valid, 50% are asked for."
    assert f"wrote {out}" in said
    lines = {line[:12].strip(): line for line in printed.splitlines()}
    assert lines["skipped"].split() == ["skipped", "2"]
    assert "captions per tile" in printed
    status, printed, _ = run("urban", "caption", scene, "--out", out, "--size", 32, "--json")
    assert json.loads(printed)["corpus"]["tiles"] == 4


def test_pictures_with_labels_and_a_filter(run, pictures, tmp_path):
    (tmp_path / "rules.yaml").write_text("caption_keywords: [sea, lake, water]\n")
    out = tmp_path / "captions.json"
    status, printed, _ = run(
        "urban",
        "caption",
        pictures,
        "--out",
        out,
        "--filter",
        tmp_path / "rules.yaml",
        "--seed",
        3,
        "--report",
    )
    assert status == 0
    assert {entry["image"] for entry in json.loads(out.read_text())} >= {"Forest/1.jpg"}
    assert "left out by caption_keywords" in printed
    assert (tmp_path / "captions.unfiltered.json").is_file()
    assert not any("lake" in entry["caption"] for entry in json.loads(out.read_text()))


def test_models_of_both_kinds(run, scene, tmp_path):
    coca = make_coca.coca(tmp_path / "coca")
    blip = make_captioners.blip(tmp_path / "blip")
    arguments = (
        "urban",
        "caption",
        scene,
        "--max-tokens",
        8,
        "--method",
        "greedy",
        "--prompt",
        "a satellite image",
    )
    for name, folder in (("a", coca), ("b", blip)):
        out = tmp_path / f"{name}.json"
        status, _, said = run(*arguments, "--captioner", folder, "--out", out, "--size", 32)
        assert status == 0, said
        entries = json.loads(out.read_text())
        assert len({entry["image"] for entry in entries}) == 4
        assert all(entry["caption"].startswith("a satellite image") for entry in entries)
    # The model's own tiles have 16 pixels.
    status, _, said = run(
        *arguments, "--captioner", coca, "--out", tmp_path / "c.json", "--pictures", tmp_path / "t"
    )
    assert status == 0, said
    assert len(list((tmp_path / "t").glob("*.png"))) == 16


def test_caption_files_become_flat_and_filtered(run, tmp_path):
    entries = [
        {"caption": "An ocean with ocean waves.", "image": "a.jpg"},
        {"caption": "A park.", "image": "b.jpg"},
        {"caption": "A park.", "image": "b.jpg"},
    ]
    source = tmp_path / "toolkit.json"
    source.write_text(json.dumps([entries]))
    out = tmp_path / "flat.json"
    status, printed, _ = run("urban", "caption", source, "--out", out, "--filter", "urbanclip", "--report")
    assert status == 0
    assert json.loads(out.read_text()) == [{"caption": "A park.", "image": "b.jpg"}]
    assert "read: layout" in printed
    assert "wrapped" in printed
    assert json.loads((tmp_path / "flat.report.json").read_text())["source"]["repeats"] == 1
    status, _, said = run("urban", "caption", source, "--out", source)
    assert status == 1
    assert "would be written over themselves" in said


def test_a_filter_with_a_model(run, model_folder, pictures, tmp_path):
    (tmp_path / "rules.yaml").write_text("min_similarity: -1\n")
    source = tmp_path / "captions.json"
    source.write_text(
        '[{"image": "Forest/1.jpg", "caption": "a dog"}, {"image": "gone.jpg", "caption": "a cat"}]'
    )
    arguments = (
        "urban",
        "caption",
        source,
        "--out",
        tmp_path / "out.json",
        "--filter",
        tmp_path / "rules.yaml",
    )
    status, _, said = run(*arguments)
    assert status == 1
    assert "min_similarity -1 needs a model" in said
    status, _, said = run(*arguments, "--filter-model", model_folder, "--pictures", pictures)
    assert status == 0, said
    assert [entry["image"] for entry in json.loads((tmp_path / "out.json").read_text())] == ["Forest/1.jpg"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--out", "captions.txt"], "name a file that ends in .json"),
        (["--out", "a.json", "--method", "greedy"], "--captioner facts has no model that writes"),
        (["--out", "a.json", "--captioner", "org/name"], "pinned to a commit"),
        (["--out", "a.json", "--captioner", "fact"], "no captioner of this name. Did you mean 'facts'?"),
        (
            ["--out", "a.json", "--captioner", "urban/coca-vit"],
            "No model called 'urban/coca-vit'. Did you mean",
        ),
        (
            ["--out", "a.json", "--captioner", "org/name", "--land-use", "x"],
            "--land-use is for --captioner facts",
        ),
        (["--out", "a.json", "--filter-model", "x"], "name a filter, too"),
        (
            ["--out", "a.json", "--filter", "urban"],
            "No caption filter called 'urban'. Did you mean 'urbanclip'?",
        ),
        (["--out", "a.json", "--tiles", "t.geojson", "--size", "64"], "leave --size and --stride out"),
    ],
)
def test_messages(run, scene, tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    status, _, said = run("urban", "caption", scene, *options)
    assert status == 1
    assert message in said
    assert list(tmp_path.iterdir()) == []


def test_folders_take_no_options_of_scenes(run, pictures, tmp_path):
    status, _, said = run("urban", "caption", pictures, "--out", tmp_path / "a.json", "--size", 64)
    assert status == 1
    assert "--size is for a scene; SOURCE is a folder of pictures" in said
