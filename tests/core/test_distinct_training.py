"""Recipes with ``data.distinct_captions``, ``data.mixgen`` and a model chosen by its loss."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from verticlip.core.checkpoint import read_weights
from verticlip.core.errors import ConfigError, DataError
from verticlip.core.recipe import Recipe, load_recipe
from verticlip.core.train import train
from verticlip.core.training_data import prepare_data

COLORS = {"red": (220, 40, 40), "green": (40, 200, 60), "blue": (50, 70, 230), "yellow": (230, 220, 40)}
RECIPE = """
name: repeats
seed: 1
model:
  name: test/repeats
  licence: Apache-2.0
  description: For tests.
  embed_dim: 16
  towers:
    image: {backend: timm, architecture: resnet10t, options: {channels: [8, 8, 16, 16], stem_width: 8}}
    text: {backend: bert, vocab_size: 99, width: 16, layers: 1, heads: 2, mlp_width: 32, max_positions: 32}
image: {size: 16, resize: squash}
text: {context_length: 24}
tokenizer: {vocab_size: 200}
data:
  distinct_captions: true
  sources:
    - {name: tiles, reader: jsonl, path: pairs.jsonl, captions: text, columns: {path: image, text: caption}}
  validation: {fraction: 0.25}
objective: {name: infonce, options: {positives: pairs, chunk: null}}
optim: {lr: 0.02, warmup_steps: 2}
batch_size: 4
epochs: 2
checkpoint_steps: 1
evaluation: {every_epochs: 1, recall_at: [1, 3]}
"""


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """32 pictures of four colors; captions of a color are shared, and each has one of its own."""
    made = tmp_path_factory.mktemp("repeats")
    rng = np.random.default_rng(0)
    rows = []
    for number in range(32):
        color = list(COLORS)[number % 4]
        picture = np.clip(np.array(COLORS[color]) + rng.integers(-20, 20, (20, 20, 3)), 0, 255)
        Image.fromarray(picture.astype(np.uint8)).save(made / f"{number}.png")
        rows.append({"image": f"{number}.png", "caption": [f"a {color} field", f"{color} tile {number}"]})
    (made / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (made / "recipe.yaml").write_text(RECIPE)
    return made


def data_of(folder: Path, *overrides: str):
    loaded = load_recipe(folder / "recipe.yaml")
    return prepare_data(type(loaded)(loaded.recipe.with_(overrides), loaded.prompts), folder)


def tokens(batch) -> list[tuple[int, ...]]:
    return [tuple(row) for row in batch.inputs["text"]["input_ids"].tolist()]


def test_batches_of_a_run_have_no_caption_twice(folder):
    found = [tokens(batch) for _ in range(4) for batch in data_of(folder).loader]
    assert len(found) == 24
    assert all(len(set(rows)) == 4 for rows in found)
    # As they come, they do.
    plain = data_of(folder, "data.distinct_captions=false").loader
    assert any(len(set(tokens(batch))) < 4 for _ in range(4) for batch in plain)
    # What is judged does not change.
    valid = [tokens(batch) for batch in data_of(folder).loss_batches()]
    assert valid == [
        tokens(batch) for batch in data_of(folder, "data.distinct_captions=false").loss_batches()
    ]


def test_rows_that_repeat_too_much_are_told_before_anything_is_trained(folder, tmp_path):
    rows = [{"image": f"{number}.png", "caption": "a field"} for number in range(32)]
    (folder / "same.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = (
        "{name: t, reader: jsonl, path: same.jsonl, captions: text, columns: {path: image, text: caption}}"
    )
    with pytest.raises(DataError, match="24 rows have nothing but the same few texts, such as 'a field'"):
        train(folder / "recipe.yaml", folder, tmp_path / "run", overrides=[f"data.sources=[{source}]"])
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("stop_after", [3, 7])
def test_an_interrupted_run_ends_in_the_same_weights(folder, tmp_path, monkeypatch, stop_after):
    from verticlip.core.objectives.pairwise import InfoNCE

    changes = ["data.mixgen=0.25", "text.overlong=truncate"]
    whole = train(folder / "recipe.yaml", folder, tmp_path / "whole", overrides=changes)
    original, calls = InfoNCE.forward, []

    def failing(self, outputs, batch):
        calls.extend([1] * self.training)
        if len(calls) > stop_after:
            raise KeyboardInterrupt
        return original(self, outputs, batch)

    monkeypatch.setattr(InfoNCE, "forward", failing)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        train(folder / "recipe.yaml", folder, tmp_path / "broken", overrides=changes)
    monkeypatch.setattr(InfoNCE, "forward", original)
    again = train(folder / "recipe.yaml", folder, tmp_path / "broken", overrides=changes)
    assert again.resumed_from == stop_after
    ours, theirs = (read_weights(result.model / "model.safetensors") for result in (whole, again))
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())


def test_mixed_rows_have_two_captions_in_training_only(folder):
    data = data_of(folder, "data.mixgen=0.5")
    longest = [max(map(sum, batch.inputs["text"]["attention_mask"].tolist())) for batch in data.loader]
    # [CLS] a red field [SEP] has five tokens; two of them and their ends have eight at least.
    assert min(longest) >= 8
    assert all(batch.inputs["text"]["input_ids"].shape[1] <= 8 for batch in data.loss_batches())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            ["data.mixgen=0.25", "text.context_length=9"],
            "data.mixgen joins two captions of up to [5-9] tokens",
        ),
        (["data.mixgen=0.25", "objective.options.positives=labels"], "data.mixgen makes rows of two classes"),
        (["data.mixgen=0.6"], "less than or equal to 0.5"),
    ],
)
def test_messages(folder, changes, message):
    with pytest.raises(ConfigError, match=message):
        data_of(folder, *changes)


@pytest.mark.parametrize("setting", ["data.distinct_captions=true", "data.mixgen=0.2"])
def test_captions_of_classes_are_refused(shapes, setting):
    loaded = load_recipe(shapes / "recipe.yaml")
    with pytest.raises(ConfigError, match="is for samples with captions of their own, and this run has none"):
        prepare_data(type(loaded)(loaded.recipe.with_([setting]), loaded.prompts), shapes)


def test_the_model_with_the_lowest_loss_is_kept(folder, tmp_path):
    changes = ["evaluation.select=loss", "evaluation.loss_part=contrastive", "epochs=4"]
    result = train(folder / "recipe.yaml", folder, tmp_path / "run", overrides=changes)
    rows = [json.loads(line) for line in (result.folder / "metrics.jsonl").read_text().splitlines()]
    assert result.metrics["validation"]["loss"] == pytest.approx(
        min(row["valid_loss"] for row in rows), abs=1e-6
    )


def test_messages_about_the_loss(folder, tmp_path):
    with pytest.raises(
        ConfigError, match=r"loss_part 'contrast' is no part .* has .*contrastive. Did you mean"
    ):
        train(
            folder / "recipe.yaml",
            folder,
            tmp_path / "run",
            overrides=["evaluation.loss_part=contrast", "epochs=1"],
        )
    raw = load_recipe(folder / "recipe.yaml").recipe.model_dump(mode="json")
    raw |= {"task": "separate", "domain": "audio", "evaluation": {"loss_part": "mask"}}
    raw["model"]["domain"] = "audio"
    with pytest.raises(ValueError, match="loss_part is for runs without a task, got task 'separate'"):
        Recipe.model_validate(raw)


def test_averages_keep_infinities_as_they_are():
    from verticlip.core.trainee import _averaged

    network = torch.nn.Linear(2, 2)
    network.register_buffer("mask", torch.full((2, 2), float("-inf")).triu(1), persistent=False)
    average = _averaged(network, 0.9)
    for _ in range(4):
        with torch.no_grad():
            network.weight += 1.0
        average.update_parameters(network)
    assert torch.equal(average.module.mask, network.mask)
    assert torch.isfinite(average.module.weight).all()
    assert (average.module.weight < network.weight).all()
