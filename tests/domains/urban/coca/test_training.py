"""Continued and new training through a recipe: captions and contrast, as UrbanCLIP's second stage."""

from __future__ import annotations

import json
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
import verticlip
from PIL import Image
from verticlip.core.checkpoint import read_weights
from verticlip.core.errors import InputError
from verticlip.core.start import Start
from verticlip.core.train import train
from verticlip.domains.urban.coca.decoding import describe
from verticlip.hub.loading import ResolvedModel, load_model

sys.path.insert(0, str(Path(__file__).parent))

import make_coca

COLORS = {"red": (220, 40, 40), "green": (40, 200, 60), "blue": (50, 70, 230)}
RECIPE = """
name: captions
domain: urban
seed: 3
model:
  name: test/captions
  domain: urban
  architecture: coca
  embed_dim: 32
  towers:
    image:
      backend: open_clip
      kind: vision
      output_dim: 32
      options: {image_size: 16, patch_size: 8, width: 32, layers: 1, head_width: 16, attentional_pool: true,
                attn_pooler_heads: 4, attn_pooler_queries: 5}
    text:
      backend: open_clip
      kind: text
      output_dim: 32
      options: {context_length: 14, vocab_size: 99, width: 32, heads: 4, layers: 1, embed_cls: true}
  options:
    decoder: {width: 32, heads: 4, layers: 1, context_length: 14}
    start_id: 2
    end_id: 3
    tile_px: 16
image: {size: 16, resize: squash}
text: {context_length: 14}
tokenizer: {vocab_size: 200}
data:
  collate: caption_tokens
  sources:
    - {name: fields, reader: jsonl, path: pairs.jsonl, captions: text, columns: {path: image, text: caption}}
  validation: {fraction: 0.25}
objective: {name: coca, options: {clip_weight: 1.0, caption_weight: 1.0}}
optim: {lr: 0.02, warmup_steps: 4}
batch_size: 9
epochs: 16
evaluation: {every_epochs: 8, recall_at: [1, 3]}
"""


@pytest.fixture(scope="module")
def fields(tmp_path_factory):
    """36 pictures: a coloured half at one of four sides, one caption each."""
    folder = tmp_path_factory.mktemp("fields")
    rng = np.random.default_rng(0)
    rows = []
    for number, (color, side) in enumerate(product(COLORS, ("left", "right", "top", "bottom") * 3)):
        picture = np.full((18, 18, 3), 10) + rng.integers(0, 12, (18, 18, 3))
        area = {"left": np.s_[:, :9], "right": np.s_[:, 9:], "top": np.s_[:9], "bottom": np.s_[9:]}[side]
        picture[area] = np.array(COLORS[color]) - rng.integers(0, 30, picture[area].shape)
        Image.fromarray(picture.astype(np.uint8)).save(folder / f"{number}.png")
        rows.append({"image": f"{number}.png", "caption": [f"a {color} field at the {side}"]})
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "recipe.yaml").write_text(RECIPE)
    return folder


@pytest.fixture(scope="module")
def finished(fields, tmp_path_factory):
    torch.set_num_threads(1)
    return train(fields / "recipe.yaml", fields, tmp_path_factory.mktemp("runs") / "a")


def test_a_model_learns_to_describe(fields, finished):
    rows = [json.loads(line) for line in (finished.folder / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["valid_loss"] < rows[0]["valid_loss"] - 1
    model = verticlip.from_pretrained(finished.model)
    assert model.config.towers["text"].options["vocab_size"] == model.network.vocab_size > 50
    red = np.full((18, 18, 3), 12, dtype=np.uint8)
    red[:, :9] = COLORS["red"]
    text = describe(model, Image.fromarray(red), method="greedy", length=12)[0]
    assert text.split()[:3] == ["a", "red", "field"]
    answers = model.classify(Image.fromarray(red), list(COLORS), templates=["a {} field at the left"])
    assert max(answers[0].scores, key=answers[0].scores.get) == "red"


def test_training_goes_on_from_a_model(fields, finished, tmp_path):
    raw = (fields / "recipe.yaml").read_text()
    head, tail = raw.split("model:\n")[0], raw[raw.index("image: {size") :]
    (fields / "more.yaml").write_text(
        f"{head}start: {{model: test}}\n{tail}".replace("tokenizer: {vocab_size: 200}\n", "")
    )
    network, processor, prompts = load_model(ResolvedModel(finished.model, "test"))
    start = Start(network, processor, prompts, "test/captions", "none")
    done = train(
        fields / "more.yaml",
        fields,
        tmp_path / "b",
        start=lambda _: start,
        overrides=("epochs=1", "optim.lr=1e-4"),
    )
    before, after = (read_weights(folder / "model.safetensors") for folder in (finished.model, done.model))
    assert before.keys() == after.keys()
    moved = [name for name in before if not torch.equal(before[name], after[name])]
    assert len(moved) > 0.9 * len(before)
    assert all((before[name] - after[name]).abs().max() < 1e-2 for name in before)


def test_forgotten_start_token(fields, tmp_path):
    with pytest.raises(InputError, match="Texts begin with token 2, and test/captions starts captions from"):
        train(
            fields / "recipe.yaml",
            fields,
            tmp_path / "c",
            overrides=("model.options.start_id=null", "epochs=1"),
        )


def test_low_rank_and_layer_decay(fields, tmp_path):
    overrides = ("epochs=1", "optim.layer_decay=0.5", "peft={policy: lora, rank: 2}")
    done = train(fields / "recipe.yaml", fields, tmp_path / "d", overrides=overrides)
    model = verticlip.from_pretrained(done.model)
    assert model.embed("a red field").vectors.shape == (1, 32)
    assert len(describe(model, torch.rand(2, 3, 16, 16), method="beam", length=8)) == 2


def test_half_precision():
    model = make_coca.word_model(seed=2)
    fast = verticlip.Model(model.network, model.processor, dtype="bfloat16")
    vectors = fast.embed(["a river", "trees"]).vectors
    assert (vectors * model.embed(["a river", "trees"]).vectors).sum(1).min() > 0.99
    for method in ("greedy", "top_p", "beam"):
        assert len(describe(fast, torch.rand(2, 3, 16, 16), method=method, length=9)) == 2
