"""Captions that a model chooses for images: against a plain computation, saved, read by a recipe's reader."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image
from verticlip import from_pretrained
from verticlip.core.data import Manifest
from verticlip.core.errors import ConfigError, DataError
from verticlip.core.pseudo_captions import choose_captions, read_pool

POOL = ["a red dress", "blue shoes", "a green hat", "black pants", "a red  dress", " "]


@pytest.fixture(scope="module")
def model(model_folder):
    return from_pretrained(str(model_folder), device="cpu")


@pytest.fixture
def photos(tmp_path):
    generator = np.random.default_rng(0)
    for split, label, count in (("train", "dress", 3), ("train", "hat", 2), ("val", "hat", 1)):
        folder = tmp_path / "photos" / split / label
        folder.mkdir(parents=True)
        for number in range(count):
            pixels = generator.integers(0, 255, (24, 24, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}.png")
    return tmp_path / "photos"


def test_the_closest_texts_are_chosen(model, photos):
    manifest = Manifest.from_folder(photos)
    found = choose_captions(model, manifest, POOL, threshold=-1.0, at_most=2)
    texts = ["a red dress", "blue shoes", "a green hat", "black pants"]
    images = model.embed([manifest.file_of(record) for record in manifest]).vectors.double()
    cosines = (images @ model.embed(texts).vectors.double().T).numpy()
    for record, row in zip(manifest, cosines, strict=True):
        assert found.captions[record.id] == tuple(texts[place] for place in np.argsort(-row)[:2])
    assert found.best == pytest.approx(tuple(np.quantile(cosines.max(axis=1), [0.25, 0.5, 0.75])), abs=1e-5)
    middle = float(np.median(cosines.max(axis=1)))
    half = choose_captions(model, manifest, POOL, threshold=middle, at_most=1)
    assert (len(half.captions), half.without) == (3, 3)


def test_a_row_is_saved_per_caption(model, photos, tmp_path):
    (photos / "train" / "hat" / "broken.png").write_bytes(b"no picture")
    found = choose_captions(model, Manifest.from_folder(photos, check=None), POOL, threshold=-1.0, at_most=2)
    assert list(found.failures) == ["train/hat/broken.png"]
    rows = [
        json.loads(line)
        for line in found.save(tmp_path / "pairs.jsonl", root="photos").read_text().splitlines()
    ]
    assert len(rows) == 12
    assert {row["path"] for row in rows} >= {"photos/train/dress/0.png", "photos/val/hat/0.png"}
    assert {(row["label"], row["split"]) for row in rows} == {
        ("dress", "train"),
        ("hat", "train"),
        ("hat", "val"),
    }
    assert found.to_dict()["captions"] == 12


def test_what_cannot_be_is_refused(model, photos, tmp_path):
    manifest = Manifest.from_folder(photos)
    with pytest.raises(
        DataError, match=r"No text of the pool has a cosine of 1.0 or more .* Lower the threshold"
    ):
        choose_captions(model, manifest, POOL, threshold=1.0)
    with pytest.raises(DataError, match="The pool of captions is empty"):
        choose_captions(model, manifest, [" "])
    for wrong in ({"threshold": 2.0}, {"at_most": 0}, {"threshold": float("nan")}):
        with pytest.raises(ConfigError, match="threshold is a cosine"):
            choose_captions(model, manifest, POOL, **wrong)
    (tmp_path / "empty.txt").write_text("\n\n")
    with pytest.raises(DataError, match="no captions; one per line"):
        read_pool(tmp_path / "empty.txt")
    with pytest.raises(DataError, match=r"gone\.txt: no such file"):
        read_pool(tmp_path / "gone.txt")


def test_the_command_writes_pairs(run, model_folder, photos, tmp_path):
    (tmp_path / "pool.txt").write_text("\n".join(POOL), encoding="utf-8")
    arguments = ("train", "caption", photos, "--model", model_folder, "--captions", tmp_path / "pool.txt")
    status, out, err = run(*arguments, "--out", tmp_path / "pairs.jsonl", "--threshold", "-1", "--json")
    assert status == 0, err
    assert json.loads(out)["with_captions"] == 6
    assert len((tmp_path / "pairs.jsonl").read_text().splitlines()) == 6 * 4
    status, _, err = run(*arguments, "--out", tmp_path / "none.jsonl", "--threshold", "1")
    assert status == 1
    assert "Lower the threshold" in err
    assert not (tmp_path / "none.jsonl").exists()
