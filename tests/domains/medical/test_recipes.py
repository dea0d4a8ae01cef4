"""The recipes of the room: everything they name exists, and those of two stages fit together."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import verticlip
from verticlip.core import registry
from verticlip.core.errors import ConfigError, WeightsError
from verticlip.core.model import build_model
from verticlip.core.objectives.base import build_objective
from verticlip.core.recipe import load_recipe
from verticlip.core.train import train

RECIPES = tuple(registry.room("medical").recipes)


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("name", RECIPES)
def test_everything_a_recipe_names_exists(name):
    loaded = load_recipe(name)
    recipe, room = loaded.recipe, registry.room("medical")
    assert recipe.name == name
    assert recipe.summary
    for source in recipe.data.sources:
        if source.reader not in {"folder", "csv", "jsonl"}:
            assert callable(room.function("readers", source.reader))
    if recipe.data.collate:
        assert callable(room.function("collates", recipe.data.collate))
    if recipe.kind == "train":
        objective = build_objective(recipe.objective.name, recipe.objective.options, domain="medical")
        assert not objective.needs.batch_extras or recipe.data.collate
    if recipe.model is not None:
        model = build_model(recipe.model)
        assert model.config.licence
        assert "Not a medical device" in model.config.description
    if recipe.start is not None and recipe.start.model.startswith("medical/"):
        assert recipe.start.model in registry.models()


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_says_where_its_choices_come_from(name):
    text = load_recipe(name).recipe and registry.recipes()[name].path.read_text()
    comments = [line for line in text.splitlines() if line.startswith("#")]
    assert comments
    assert name == "medical/tiny" or any("Ours:" in line for line in comments)


@pytest.mark.parametrize("name", ["medical/unimed-pretrain", "medical/biovil"])
def test_chests_are_not_mirrored(name):
    recipe = load_recipe(name).recipe
    chests = [source for source in recipe.data.sources if source.name == "chest_xray"]
    assert chests
    for source in chests:
        assert (source.augment or recipe.augment).flip_horizontal == 0
    if recipe.augment.flip_horizontal:
        others = recipe.augment.model_copy(update={"flip_horizontal": 0.0})
        assert all(source.augment == others for source in chests), "the rest is the others'"


def test_pieces_of_a_batch_are_refused_before_any_data_is_read(tmp_path):
    with pytest.raises(ConfigError, match=r"reads mlm_logits, .* beside its embeddings.* micro_batch out"):
        train("medical/biovil", tmp_path / "nowhere", tmp_path / "out", overrides=["micro_batch=4"])
    assert not (tmp_path / "out").exists()


def small(*more: str) -> list[str]:
    return [
        "epochs=1",
        "evaluation.min_above_chance=0",
        "image.size=32",
        "model.towers.image.options.img_size=32",
        *more,
    ]


def part_of(data: Path, folder: Path) -> Path:
    """Link the figures and a few images of each labelled set into one folder."""
    (folder / "bccd").mkdir(parents=True)
    (folder / "concept_pairs").symlink_to(data / "concept_pairs")
    for path in sorted(data.glob("brain_mri/train/*")):
        target = folder / "brain_mri" / "train" / path.name
        target.mkdir(parents=True)
        for image in sorted(path.iterdir())[::40]:
            (target / image.name).symlink_to(image)
    for split in ("train", "val"):
        (folder / "bccd" / split).mkdir()
        for path in sorted(data.glob(f"bccd/{split}/*"))[:12]:
            (folder / "bccd" / split / path.name).symlink_to(path)
    with np.load(data / "chest_xray_28" / "train_val.npz") as whole:
        few = {name: whole[name][:: len(whole[name]) // 40] for name in whole.files}
    (folder / "chest_xray_28").mkdir()
    np.savez(folder / "chest_xray_28" / "train_val.npz", **few)
    return folder


@pytest.mark.data
def test_concepts_in_two_stages(data_dir, tmp_path):
    """Both stages on a part of the data, a few steps each: it runs, and stage two starts from stage one."""
    data = part_of(data_dir / "medical", tmp_path / "data")
    first = verticlip.train("medical/conceptclip-stage1", data, tmp_path / "1", overrides=small())
    again = [f"start.model={first.model}", "epochs=2"]
    second = verticlip.train("medical/conceptclip-stage2", data, tmp_path / "2", overrides=small(*again))
    assert second.metrics["start"]["id"] == "medical/conceptclip-small-stage1"
    assert {name.partition(".")[0] for name in second.metrics["start"]["new"]} == {
        "image_proj", "text_proj", "concept_logit_scale", "concept_logit_bias",
    }  # fmt: skip
    rows = [json.loads(line) for line in (second.folder / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["train_loss"] < rows[1]["train_loss"]
    assert second.metrics["captions"]["overlong"] > 0
    spans = second.metrics["extras"]
    assert 0 < spans["kept"] == spans["concepts"] - sum(spans["dropped"].values())
    assert second.metrics["source_splits"]["figures"] == {"train": 56, "val": 14}
    assert set(second.metrics["equal_captions"]) == {"figures"}, "captions made from labels repeat"
    assert set(second.metrics["validation"]["sources"]) == {
        "figures",
        "brain_mri",
        "chest_xray",
        "blood_cells",
    }
    assert second.metrics["validation"]["sources"]["brain_mri"]["texts"] == 40
    model = verticlip.from_pretrained(second.model)
    assert model.network.concept_logit_scale is not None


def test_the_second_stage_says_what_another_start_lacks(tmp_path, model_folder):
    folder = reports(tmp_path / "concept_pairs")
    rows = [json.loads(line) for line in (folder / "reports.jsonl").read_text().splitlines()]
    lines = [{"image": row["image"], "caption": row["report"], "umls_meta_info": [[0, 8]]} for row in rows]
    (folder / "pretraining_meta_file_sample.jsonl").write_text("\n".join(map(json.dumps, lines)))
    source = "{name: f, reader: concept_jsonl, path: concept_pairs/pretraining_meta_file_sample.jsonl, captions: text}"
    changes = [f"start.model={model_folder}", f"data.sources=[{source}]", "data.validation={fraction: 0.25}"]
    changes += ["batch_size=8"]
    with pytest.raises(WeightsError, match=r"random does not fit the recipe's model: it .* \d+ tensors"):
        verticlip.train("medical/conceptclip-stage2", tmp_path, tmp_path / "x", overrides=changes)


OWN_REPORTS = "data.sources=[{name: reports, reader: report_jsonl, path: reports.jsonl, captions: text}]"


def reports(folder: Path, count: int = 24) -> Path:
    """Write drawn squares and circles with made-up reports, every fourth without an impression."""
    from PIL import Image

    (folder / "images").mkdir(parents=True)
    lines = []
    for number in range(count):
        bright = number % 2
        picture = np.full((40, 40), 60 + 120 * bright, np.uint8)
        picture[number : number + 8, 5 : 20 + number % 3] = 250
        Image.fromarray(picture).save(folder / "images" / f"{number}.png")
        finding = (
            "Opacity in the left base. Heart is large." if bright else "Lungs are clear. Heart is normal."
        )
        impression = "" if number % 4 == 3 else f" IMPRESSION: {'Pneumonia' if bright else 'Normal'}."
        report = f"FINDINGS: {finding}{impression}"
        lines.append(json.dumps({"image": f"images/{number}.png", "report": report, "patient": str(number)}))
    (folder / "reports.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def test_reports_with_masked_words_and_sections(tmp_path):
    folder = reports(tmp_path / "data")
    changes = [
        OWN_REPORTS,
        "evaluation.min_above_chance=0",
        "batch_size=8",
        "epochs=6",
        "optim.warmup_steps=2",
        "data.validation.fraction=0.25",
        "image.size=32",
        "image.short_side=34",
    ]
    result = verticlip.train("medical/biovil", folder, tmp_path / "out", overrides=changes)
    rows = [json.loads(line) for line in (result.folder / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["train_loss"] < rows[1]["train_loss"]
    assert "image_to_text" in result.metrics["validation"]["sources"]["reports"]
    model = verticlip.from_pretrained(result.model)
    images = model.embed([folder / "images" / "0.png"], modality="image")
    assert model.similarity(images, model.embed(["Lungs are clear."])).shape == (1, 1)


def test_reports_are_prepared_as_for_the_published_weights():
    from verticlip.domains.medical.biovil.convert import _processor

    recipe = load_recipe("medical/biovil").recipe
    assert recipe.model is not None
    settings = SimpleNamespace(crop=64, short_side=68, grid=(2, 2), overlong="truncate")
    published = _processor(recipe.model, settings)
    assert (recipe.image, recipe.text) == (published.image, published.text)


def test_two_studies_are_compared_in_training(tmp_path):
    folder = reports(tmp_path / "data")
    lines = [json.loads(line) for line in (folder / "reports.jsonl").read_text().splitlines()]
    lines = [{**line, "patient": str(number // 3)} for number, line in enumerate(lines)]
    (folder / "reports.jsonl").write_text("\n".join(map(json.dumps, lines)))
    temporal = "{dim: 16, grid: [2, 2], heads: 2, blocks: 1, mlp_width: 32}"
    changes = [OWN_REPORTS, "batch_size=8", "epochs=2", "data.validation.fraction=0.25"]
    changes += ["data.previous_share=0.7", "evaluation.min_above_chance=0"]
    changes += [f"model.options={{masked_words: true, temporal: {temporal}}}"]
    result = verticlip.train("medical/biovil", folder, tmp_path / "out", overrides=changes)
    fresh = build_model(verticlip.from_pretrained(result.model).config)
    weights = verticlip.from_pretrained(result.model).network.state_dict()
    moved = {name for name, value in fresh.state_dict().items() if not torch.equal(value, weights[name])}
    assert {"towers.image.temporal.type_embed", "towers.image.temporal.missing_previous"} <= moved


@pytest.mark.data
def test_low_rank_and_classifier_recipes_on_a_few_images(data_dir, tmp_path):
    from verticlip.core.checkpoint import read_weights

    for folder in sorted((data_dir / "medical" / "brain_mri" / "train").iterdir()):
        target = tmp_path / "data" / "brain_mri" / "train" / folder.name
        target.mkdir(parents=True)
        for path in sorted(folder.iterdir())[::15]:
            shutil.copy(path, target)
    tuned = verticlip.train("medical/finetune", tmp_path / "data", tmp_path / "a", overrides=["epochs=1"])
    assert tuned.metrics["validation"]["score"] > 0.6
    start = registry.room("medical").folder / "weights" / "tiny" / "model.safetensors"
    before, after = read_weights(start), read_weights(tuned.model / "model.safetensors")
    assert all(torch.equal(before[name].float(), after[name]) for name in before if ".text." in name), (
        "frozen"
    )
    adapted = verticlip.train(
        "medical/lora",
        data_dir / "medical",
        tmp_path / "b",
        overrides=["epochs=2", "evaluation.every_epochs=2"],
    )
    assert adapted.metrics["run"]["trainable"] < adapted.metrics["run"]["parameters"] / 5
    assert (adapted.model / "prompts.yaml").is_file(), "the start's classes stay with the model"
    assert (
        verticlip.from_pretrained(adapted.model).classify([next((tmp_path / "data").rglob("*.jpg"))])[0].label
    )
