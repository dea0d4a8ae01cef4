"""Recipes that train for image search: what they move, what they leave to the bit, and what they report."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import verticlip
from PIL import Image
from verticlip.core.checkpoint import read_weights
from verticlip.core.data import Manifest
from verticlip.core.pseudo_captions import choose_captions

pytest.importorskip("lightning")

KINDS = {"dress": (180, 30, 40), "pants": (30, 50, 130), "t-shirt": (240, 240, 235)}
QUICK = ["epochs=1", "batch_size=4", "precision=32-true", "optim.warmup_steps=0", "evaluation.every_epochs=1"]


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Four photos of three kinds to train on, two to judge by."""
    home = tmp_path_factory.mktemp("data")
    draw = np.random.default_rng(0)
    for split, count in (("train", 4), ("validation", 2)):
        for kind, color in KINDS.items():
            for number in range(count):
                path = home / "ecommerce/clothing" / split / kind / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                pixels = np.full((96, 80, 3), 200) + draw.integers(-15, 15, (96, 80, 3))
                pixels[15:-15, 20:-20] = np.clip(
                    np.array(color) + draw.integers(-15, 15, (66, 40, 3)), 0, 255
                )
                Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)
    return home


@pytest.fixture(scope="module")
def images_first(data, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "image-search"
    return verticlip.train("ecommerce/image-search", data, out, overrides=QUICK).folder


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return read_weights(folder / "model.safetensors")


def moved(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor], part: str) -> bool:
    names = [name for name in before if part in name]
    assert names
    return not all(torch.equal(before[name], after[name]) for name in names)


def sources(folder: Path) -> list[dict]:
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [row["sources"]["clothing"] for row in rows]


def test_stage_one_moves_images_and_reports_both_sides_before_and_after(images_first, root):
    before = weights(root / "domains/ecommerce/weights/tiny")
    after = weights(images_first / "model")
    assert moved(before, after, "image")
    assert not moved(before, after, "text")
    found = sources(images_first)
    assert len(found) == 2
    for report in found:
        assert 0 <= report["neighbors"]["map@10"] <= 1
        assert 0 <= report["accuracy"] <= 1


def test_stage_two_leaves_every_image_vector_as_it_is(images_first, data, tmp_path):
    start = f"start.model={images_first / 'model'}"
    result = verticlip.train(
        "ecommerce/image-search-words", data, tmp_path / "words", overrides=[*QUICK, start]
    )
    one, two = weights(images_first / "model"), weights(result.model)
    assert moved(one, two, "text")
    assert not moved(one, two, "image")
    photo = torch.rand(3, 120, 90, generator=torch.Generator().manual_seed(0))
    first, second = (
        verticlip.from_pretrained(folder).embed([photo], modality="image").vectors
        for folder in (images_first / "model", result.model)
    )
    assert torch.equal(first, second)
    report = sources(result.folder)
    assert report[0]["neighbors"]["map@10"] == report[-1]["neighbors"]["map@10"]


def test_captions_that_the_model_chose_train_in_one_stage(data, tmp_path):
    folder = data / "ecommerce/clothing"
    model = verticlip.from_pretrained("ecommerce/tiny")
    pool = ["a red dress", "blue trousers", "a white t-shirt", "a green hat", "black shoes"]
    chosen = choose_captions(model, Manifest.from_folder(folder, check=None), pool, threshold=-1, at_most=2)
    chosen.save(folder / "captions.jsonl")
    result = verticlip.train("ecommerce/image-search-captions", data, tmp_path / "out", overrides=QUICK)
    assert {"neighbors", "accuracy"} <= set(sources(result.folder)[-1])
    before = weights(Path(verticlip.__file__).parent / "domains/ecommerce/weights/tiny")
    after = weights(result.model)
    assert moved(before, after, "image")
    assert moved(before, after, "text")
