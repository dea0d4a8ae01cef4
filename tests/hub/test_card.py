from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import verticlip
from huggingface_hub import ModelCard
from make_card_folder import make_card_folder
from verticlip.core import registry
from verticlip.core.errors import ConfigError
from verticlip.hub import card_facts
from verticlip.hub.card import check_card, render_card

SECTIONS = {"Intended use", "Use", "Limits", "Files", "Licence", "Citation"}
TRAINED = {"Data", "Results on validation", "Training"}
CONVERTED = {"Origin", "Results"}
PACKAGED = [
    registry.room(spec.domain).folder / spec.weights.packaged
    for spec in registry.models().values()
    if isinstance(spec.weights, registry.WeightsRef) and spec.weights.packaged
]


@pytest.fixture(scope="module")
def trained(shapes, tmp_path_factory):
    """The model folder of a short run with everything a card needs."""
    overrides = [
        "epochs=2",
        "evaluation.min_above_chance=0",
        "model.licence=MIT",
        "model.description=Two shapes, for tests.",
        "language=[en]",
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
    assert f"| parameters | {metrics['run']['parameters']:,} |" in card
    counts = metrics["source_splits"]["shapes"]
    digest = metrics["source_files"]["shapes"]["sha256"][:16]
    row = f"not recorded | `{digest}`, 48 files | {counts['train']} | {counts['val']} |"
    assert row in card
    assert f"| date | {metrics['run']['date']} |" in card
    assert f"torch {metrics['run']['versions']['torch']}" in card
    assert "| energy | " in card
    assert check_card(card, trained) == []


def test_a_run_records_what_it_ran_with_and_nothing_of_the_machine(trained):
    metrics = json.loads((trained / "metrics.json").read_text())
    run = metrics["run"]
    assert set(run["versions"]) >= {"python", "system", "torch", "verticlip", "lightning"}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", run["date"])
    assert metrics["language"] == ["en"]
    assert "/" not in json.dumps({**run, "versions": {**run["versions"]}})


def test_a_trained_folder_loads_and_answers(trained, shapes):
    model = verticlip.from_pretrained(trained)
    answers = model.classify(sorted((shapes / "photos" / "circle").glob("*.png"))[:3])
    assert set(answers[0].scores) == {"circle", "square"}
    assert answers[0].revision.startswith("sha256:")


@pytest.mark.parametrize("word", ["licence", "description"])
def test_a_card_without_licence_or_description_is_refused(model_folder, tmp_path, word):
    folder = make_card_folder(model_folder, tmp_path / "m", config={word: " "})
    with pytest.raises(ConfigError, match=f"has no {word}; a card needs one"):
        render_card(folder)


def test_a_folder_that_does_not_say_where_its_weights_come_from_gives_no_card(model_folder):
    with pytest.raises(ConfigError, match="neither metrics.json nor conversion.json"):
        render_card(model_folder)


def test_what_was_measured_later_stands_in_the_card_in_its_order_with_its_notes(model_folder, tmp_path):
    summary = {"AUC": 0.9, "accuracy upside down": 0.5, "zeta": {"value": 0.25, "low": 0.2, "high": None}}
    further = {
        "summary": summary,
        "order": ["zeta", "accuracy upside down"],
        "notes": "Circles\nonly **look** like `that`.",
    }
    plain = make_card_folder(model_folder, tmp_path / "m")
    assert "Circles only" not in render_card(plain)
    card = render_card(make_card_folder(model_folder, plain, metrics={"further": further}))
    rows = "| zeta | 0.250 |\n| accuracy upside down | 0.500 |\n| AUC | 0.900 |"
    assert f"{rows}\n\nCircles only **look** like `that`.\n\n## Limits" in card


def test_figures_measured_later_keep_their_order(model_folder, tmp_path):
    from verticlip.benchmarks.figures import keep_figures

    folder = make_card_folder(model_folder, tmp_path / "m")
    keep_figures({"summary": {"zeta": 0.25, "AUC": 0.5}}, None, folder)
    assert "| zeta | 0.250 |\n| AUC | 0.500 |" in (folder / "README.md").read_text()
    assert check_card((folder / "README.md").read_text(), folder) == []


def test_sources_stand_in_the_order_of_the_recipe_with_baseline_and_chance(model_folder, tmp_path):
    sources = [
        {"name": name, "path": name, "origin": f"Set {name}", "licence": "MIT", "revision": f"v{name}"}
        for name in ("b", "a")
    ]
    folder = make_card_folder(model_folder, tmp_path / "m", recipe={"data": {"sources": sources}})
    card = render_card(folder)
    rows = [line for line in card.splitlines() if line.startswith(("| a |", "| b |"))]
    assert [row[2] for row in rows] == ["b", "a", "b", "a"]
    assert rows[0] == "| b | Set b | MIT | vb | `abababababababab`, 130 files | 90 | 40 |"
    assert rows[2].endswith("| 0.500 | 0.500 | 40 |")


@pytest.mark.parametrize("folder", PACKAGED, ids=lambda folder: "/".join(folder.parts[-3::2]))
def test_cards_of_packaged_models_are_those_that_their_records_give(folder):
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert text == render_card(folder), "write it again: verticlip hub card FOLDER"
    assert check_card(text, folder) == []
    titles = re.findall(r"(?m)^## (.+)$", text)
    kind = CONVERTED if (folder / "conversion.json").is_file() else TRAINED
    assert set(titles) >= SECTIONS | kind
    data = ModelCard(text).data
    assert data.library_name == "verticlip"
    assert data.license
    # Every table row has as many cells as its head, and none is empty.
    for rows in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        cells = [re.split(r"(?<!\\)\|", row)[1:-1] for row in rows.splitlines()]
        assert len({len(row) for row in cells}) == 1, rows
        assert all(one.strip() for row in cells for one in row), rows


def test_a_domain_says_in_its_own_words_what_its_samples_are(model_folder, tmp_path, monkeypatch):
    folder = make_card_folder(
        model_folder, tmp_path / "m", config={"domain": "urban"}, recipe={"domain": "urban"}
    )
    assert 'classify(["tile.tif"]' in render_card(folder)
    assert "cut from the same satellite scenes" in render_card(folder)
    other = replace(registry.room("urban"), card_words={"file": "plan.tif"})
    monkeypatch.setattr(card_facts, "room", {"urban": other}.__getitem__)
    assert 'classify(["plan.tif"]' in render_card(folder)


def test_commands_are_shown_only_while_they_are_plain_words(model_folder, tmp_path):
    folder = make_card_folder(
        model_folder, tmp_path / "m", metrics={"command": "verticlip audio separate mix.wav --model MODEL"}
    )
    assert "verticlip audio separate mix.wav --model ORG/NAME\n```" in render_card(folder)
    for command in ("rm -rf ~", "verticlip x; rm -rf ~", "verticlip $(id)", "verticlip x\n```\n# owned"):
        make_card_folder(model_folder, folder, metrics={"command": command})
        card = render_card(folder)
        assert "rm -rf" not in card
        assert "$(" not in card
        assert "# owned" not in card


def test_limits_that_the_records_hold_are_listed(model_folder, tmp_path):
    folder = make_card_folder(
        model_folder,
        tmp_path / "m",
        recipe={"limits": ["It has never seen a triangle."], "intended_use": "shapes on plain paper"},
        metrics={
            "notes": ["Few of the circles are large."],
            "equal_captions": {"shapes": {"in_training": 1200, "validation": 4000}},
        },
    )
    card = render_card(folder)
    limits = card.split("## Limits\n\n")[1].split("\n\n## ")[0].splitlines()
    assert "- It has never seen a triangle." in limits
    assert "- Few of the circles are large." in limits
    assert any(line.startswith("- 1,200 of 4,000 validation captions of shapes") for line in limits)
    assert "## Intended use\n\nShapes on plain paper.\n" in card


def test_the_packaged_folders_are_all_there():
    assert {Path(folder).name for folder in PACKAGED} >= {"tiny", "tiny-tagger", "minifasnet-v2"}


def test_published_copies_need_no_head_folder_for_the_same_card(model_folder, tmp_path):
    recipe = {"objective": {"name": "cross_entropy"}}
    folder = make_card_folder(model_folder, tmp_path / "m", recipe=recipe)
    (folder / "head").mkdir()
    card = render_card(folder)
    assert 'head="FOLDER/head"' in card
    assert "The trained classification head, among all 2 classes." in card
    shutil.rmtree(folder / "head")
    assert render_card(folder) == card
