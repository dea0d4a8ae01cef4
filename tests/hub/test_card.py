from __future__ import annotations

import json
import re
import shutil

import pytest
import verticlip
from verticlip.core.errors import ConfigError
from verticlip.hub.card import render_card


@pytest.fixture(scope="module")
def trained(shapes, tmp_path_factory):
    """The model folder of a short run with everything a card needs."""
    overrides = [
        "epochs=2",
        "evaluation.min_above_chance=0",
        "model.licence=MIT",
        "model.description=Two shapes, for tests.",
    ]
    out = tmp_path_factory.mktemp("runs") / "card"
    return verticlip.train(shapes / "recipe.yaml", shapes, out, overrides=overrides).model


def test_training_writes_a_card_with_the_recorded_numbers(trained):
    card = (trained / "README.md").read_text()
    metrics = json.loads((trained / "metrics.json").read_text())
    accuracy = metrics["validation"]["sources"]["shapes"]["accuracy"]
    assert f"{accuracy['value']:.3f} ({accuracy['low']:.3f} to {accuracy['high']:.3f})" in card
    assert "license: mit" in card
    assert f"digest `{metrics['recipe']}`" in card
    assert f"{metrics['run']['parameters']:,} parameters" in card
    counts = metrics["source_splits"]["shapes"]
    assert f"| shapes | - | - | {counts['train']} | {counts['val']} |" in card
    assert not re.search(r"\{\w+\}", card), "a placeholder was left"


def test_a_trained_folder_loads_and_answers(trained, shapes):
    model = verticlip.from_pretrained(trained)
    answers = model.classify(sorted((shapes / "photos" / "circle").glob("*.png"))[:3])
    assert set(answers[0].scores) == {"circle", "square"}
    assert answers[0].revision.startswith("sha256:")


@pytest.mark.parametrize("word", ["licence", "description"])
def test_a_card_without_licence_or_description_is_refused(trained, tmp_path, word):
    folder = shutil.copytree(trained, tmp_path / "m")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, word: ""}))
    with pytest.raises(ConfigError, match=f"has no {word}; a card needs one"):
        render_card(folder)


def test_what_was_measured_later_stands_in_the_card_with_its_notes(trained, tmp_path):
    folder = shutil.copytree(trained, tmp_path / "m")
    metrics = json.loads((folder / "metrics.json").read_text())
    further = {"summary": {"accuracy upside down": 0.5}, "notes": "Circles only look like that."}
    (folder / "metrics.json").write_text(json.dumps({**metrics, "further": further}))
    card = render_card(folder)
    assert "| accuracy upside down | 0.500 |\n\nCircles only look like that.\n\n## Training" in card
    assert "Circles only" not in render_card(trained)


def test_cards_of_packaged_models_show_their_stored_metrics():
    from verticlip.core import registry

    for spec in registry.models().values():
        if isinstance(spec.weights, registry.WeightsRef) and spec.weights.packaged:
            folder = registry.room(spec.domain).folder / spec.weights.packaged
            if not (folder / "metrics.json").is_file():
                continue  # somebody else's weights: the card was written by hand
            assert (folder / "README.md").read_text() == render_card(folder)


def test_a_domain_says_in_its_own_words_what_its_samples_are(trained, tmp_path, monkeypatch):
    from dataclasses import replace

    from verticlip.core import registry
    from verticlip.hub import card

    folder = shutil.copytree(trained, tmp_path / "m")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "domain": "urban"}))
    assert 'classify(["tile.tif"]' in render_card(folder)
    assert "cut from the same satellite scenes" in render_card(folder)
    other = replace(registry.room("urban"), card_words={"file": "plan.tif"})
    monkeypatch.setattr(card, "room", {"urban": other}.__getitem__)
    assert 'classify(["plan.tif"]' in render_card(folder)
