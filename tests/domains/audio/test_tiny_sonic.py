"""The weights in the package: what they make is heard as what was asked for, and a seed repeats it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from verticlip import Model, from_pretrained
from verticlip.core.recipe import load_recipe
from verticlip.domains.audio.tasks.generation import generate

pytest.importorskip("diffusers", reason="the audio extra is not installed")

CLASSES = (
    "baby crying",
    "chainsaw",
    "clock ticking",
    "dog barking",
    "fire crackling",
    "helicopter",
    "person sneezing",
    "rain",
    "rooster crowing",
    "sea waves",
)


@pytest.fixture(scope="module")
def sonic() -> Model:
    return from_pretrained("audio/tiny-sonic")


def test_the_tagger_recognizes_most_of_what_it_makes(sonic: Model) -> None:
    made = generate(sonic, CLASSES, steps=15, seed=100)
    assert made.waves.shape == (10, 32_768)
    assert made.rate == 16_000
    tagger = from_pretrained("audio/tiny-tagger")
    heard = [one.label for one in tagger.classify(list(made.waves), CLASSES)]
    assert sum(label == asked for label, asked in zip(heard, CLASSES, strict=True)) >= 5
    assert all(meta["agreement"] > -1 for meta in made.metas)


def test_a_sentence_and_a_length_of_ones_own(sonic: Model) -> None:
    made = generate(sonic, "rain on a tin roof", seconds=3, steps=8, seed=1)
    assert made.waves.shape == (1, 48_000)
    again = generate(sonic, "rain on a tin roof", seconds=3, steps=8, seed=1)
    assert torch.equal(made.waves, again.waves)


def test_it_still_hears_and_reads_as_the_tagger_it_grew_from(sonic: Model) -> None:
    tagger = from_pretrained("audio/tiny-tagger")
    texts = ["a dog barks", "rain"]
    assert torch.allclose(sonic.embed(texts).vectors, tagger.embed(texts).vectors, atol=1e-3)


def test_words_it_never_read_are_named(sonic: Model) -> None:
    known, strange = generate(sonic, ["a dog barking", "a xylophone"], steps=4).metas
    assert "unfamiliar" not in known
    assert strange["unfamiliar"] == ["xylophone"]


def test_metrics_say_what_the_recipe_was_made_for(root: Path) -> None:
    folder = root / "domains" / "audio" / "weights" / "tiny-sonic"
    found = json.loads((folder / "metrics.json").read_text())
    assert found["validation"]["score"] >= 0.7
    assert found["recipe"] == load_recipe("audio/tiny-sonic").recipe.digest
    assert (folder / "model.safetensors").stat().st_size < 12e6
