"""The recipes of stage B run whole: captions in, a model out that finds, describes and is described."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import verticlip
from PIL import Image
from urban.captions import make_coca
from verticlip.core.recipe import load_recipe
from verticlip.domains.urban.captions.coca_captioner import CoCaCaptioner
from verticlip.domains.urban.captions.fact_captioner import FactCaptioner, label_of_folder
from verticlip.domains.urban.tasks.captioning import caption_pictures

pytest.importorskip("rasterio", reason="the urban extra is not installed")


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """60 tiles of three looks with captions that say what is seen."""
    folder = tmp_path_factory.mktemp("stage_b")
    rng = np.random.default_rng(0)
    for number in range(60):
        name, color, noise = [
            ("Forest", (20, 60, 30), 4),
            ("Industrial", (170, 165, 160), 60),
            ("SeaLake", (10, 30, 90), 2),
        ][number % 3]
        picture = np.clip(np.array(color) + rng.integers(-noise, noise + 1, (64, 64, 1)), 0, 255)
        path = folder / "images" / name / f"{name}_{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture.astype(np.uint8)).save(path)
    caption_pictures(folder / "images", FactCaptioner(label_of=label_of_folder), folder / "captions.json")
    return folder


def test_the_small_recipe_learns_to_find_and_to_describe(data, tmp_path):
    pytest.importorskip("lightning", reason="the train extra is not installed")
    source = {
        "name": "tiles",
        "reader": "tile_captions",
        "path": "captions.json",
        "captions": "text",
        "options": {"images": "images", "parts": "75/25"},
    }
    tower = "model.towers.image.options"
    changes = [
        "epochs=14",
        "batch_size=12",
        "evaluation.every_epochs=14",
        f"data.sources={json.dumps([source])}",
    ]
    changes += [f"{tower}.patch_size=16", f"{tower}.layers=1", "optim.warmup_steps=4", "optim.ema_decay=0.9"]
    result = verticlip.train("urban/urbanclip-small", data, tmp_path / "run", overrides=changes)
    rows = [json.loads(line) for line in (result.folder / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["valid_loss"] < rows[0]["valid_loss"] - 1
    assert result.metrics["validation"]["score"] > result.metrics["validation"]["chance"] + 0.05
    assert (result.model / "README.md").is_file()
    model = verticlip.from_pretrained(result.model, device="cpu")
    sea, works = (sorted((data / "images" / name).iterdir())[0] for name in ("SeaLake", "Industrial"))
    found = [
        torch.from_numpy(np.asarray(Image.open(path)).copy()).permute(2, 0, 1) / 255 for path in (sea, works)
    ]
    texts = CoCaCaptioner(model, method="greedy").caption(found)
    assert texts[0] != texts[1]
    assert all(set(text.split()) & set(_words(data)) for text in texts)


def _words(data: Path) -> list[str]:
    entries = json.loads((data / "captions.json").read_text())
    return [word for entry in entries for word in entry["caption"].split()]


def test_the_published_recipe_runs_from_a_start_of_its_kind(data, tmp_path):
    pytest.importorskip("lightning", reason="the train extra is not installed")
    start = make_coca.coca(tmp_path / "start", bpe=True)
    changes = [f"start={start}", "epochs=2", "batch_size=6", "text.context_length=12"]
    result = verticlip.train("urban/urbanclip", data, tmp_path / "run", overrides=changes)
    recipe = load_recipe(result.model / "recipe.yaml").recipe
    assert recipe.start is not None
    assert recipe.start.model == "test/coca"
    assert result.metrics["start"]["new"] == []
    rows = [json.loads(line) for line in (result.folder / "metrics.jsonl").read_text().splitlines()]
    assert len(rows) == 3
    # The contrastive part alone, which training adds the caption part to, and the model where it is lowest.
    assert all(row["valid_loss"] < row["train_loss"] for row in rows[1:])
    assert result.metrics["validation"]["loss"] == pytest.approx(
        min(row["valid_loss"] for row in rows), abs=1e-5
    )
    assert result.metrics["source_splits"]["tiles"] == {"train": 48, "val": 6, "test": 6}


def test_the_published_recipe_says_what_was_published():
    recipe = load_recipe("urban/urbanclip").recipe
    optim = recipe.optim
    assert (optim.name, optim.lr, optim.weight_decay, optim.decay) == ("adamw", 3e-5, 0.01, "all")
    assert (optim.betas, optim.eps, optim.schedule, optim.clip_norm) == ((0.9, 0.999), 1e-8, "constant", None)
    assert (recipe.batch_size, recipe.epochs, recipe.seed, recipe.precision) == (128, 100, 132, "32-true")
    assert recipe.objective.options == {"clip_weight": 1.0, "caption_weight": 1.0}
    assert (recipe.evaluation.select, recipe.evaluation.loss_part) == ("loss", "contrastive")
    assert recipe.augment == type(recipe.augment)()
    assert not recipe.data.distinct_captions
    assert recipe.start is not None
    assert recipe.start.model in verticlip.core.registry.models()
