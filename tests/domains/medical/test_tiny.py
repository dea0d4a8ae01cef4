"""The weights that ship: whole, small, and as good on validation images as their card says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import verticlip
from verticlip.core.checkpoint import read_weights
from verticlip.core.metrics import accuracy, auc
from verticlip.domains.medical import readers

BLOOD = {"RBC": "red blood cell", "WBC": "white blood cell", "Platelets": "platelet"}


@pytest.fixture(scope="module")
def model():
    return verticlip.from_pretrained("medical/tiny")


@pytest.fixture(scope="module")
def folder(root) -> Path:
    return root / "domains" / "medical" / "weights" / "tiny"


def test_weights_are_small_and_half_precision(folder):
    assert (folder / "model.safetensors").stat().st_size <= 12 * 1024**2
    kinds = {str(tensor.dtype) for tensor in read_weights(folder / "model.safetensors").values()}
    assert kinds <= {"torch.float16", "torch.int64"}


def test_metrics_meet_what_the_recipe_was_made_for(folder):
    sources = json.loads((folder / "metrics.json").read_text())["validation"]["sources"]
    assert sources["brain_mri"]["accuracy"]["value"] >= 0.72
    assert sources["chest_xray"]["auc"]["value"] >= 0.93
    assert sources["blood_cells"]["accuracy"]["value"] >= 0.97


def test_the_weights_are_those_of_the_recipe_in_the_repository(folder):
    from verticlip.core.config import read_config
    from verticlip.core.recipe import Recipe, load_recipe

    recipe = load_recipe("medical/tiny").recipe
    assert json.loads((folder / "metrics.json").read_text())["recipe"] == recipe.digest
    assert read_config(Recipe, folder / "recipe.yaml").digest == recipe.digest


def test_labels_as_people_write_them_mean_the_classes(model):
    usual = model.prompts_for(["glioma", "no tumor", "red blood cell", "pneumonia"])
    folders = model.prompts_for(["glioma_tumor", "no_tumor", "RBC", "Pneumonia"])
    for one, other in zip(usual.class_names, folders.class_names, strict=True):
        assert usual.texts(one) == folders.texts(other)


def classify(model, records: list[dict], labels: list[str]) -> list:
    items = [model.load(record["path"], **record["locator"]) for record in records]
    return model.classify(items, labels, batch_size=32)


@pytest.mark.data
def test_blood_cells_within_and_across_modalities(model, data_dir):
    found = readers.read_voc_boxes(data_dir / "medical" / "bccd" / "val", min_side=8)
    records = [record for label in BLOOD for record in [r for r in found if r["label"] == label][:40]]
    truth = [list(BLOOD).index(record["label"]) for record in records]
    for labels in (list(BLOOD), list(model.prompts.class_names)):
        answers = classify(model, records, labels)
        wanted = [list(BLOOD)[t] if labels == list(BLOOD) else list(BLOOD.values())[t] for t in truth]
        hits = [int(answer.label == word) for answer, word in zip(answers, wanted, strict=True)]
        assert sum(hits) / len(hits) >= 0.97


@pytest.mark.data
def test_chest_x_rays_are_ranked(model, data_dir):
    found = readers.read_medmnist_npz(
        data_dir / "medical" / "chest_xray_28" / "train_val.npz", labels=["normal", "pneumonia"]
    )
    records = [record for record in found if record["split"] == "val"]
    answers = classify(model, records, ["normal", "pneumonia"])
    scores = [[answer.scores["normal"], answer.scores["pneumonia"]] for answer in answers]
    targets = [int(record["label"] == "pneumonia") for record in records]
    assert auc(scores, targets).value >= 0.93
    assert accuracy([int(row[1] > row[0]) for row in scores], targets).value >= 0.75


@pytest.mark.data
def test_kinds_of_image_are_told_apart(model, data_dir):
    chest = readers.read_medmnist_npz(
        data_dir / "medical" / "chest_xray_28" / "train_val.npz", labels=["normal", "pneumonia"]
    )
    blood = readers.read_voc_boxes(data_dir / "medical" / "bccd" / "val", min_side=30)
    brain = sorted((data_dir / "medical" / "brain_mri" / "train" / "no_tumor").iterdir())[:20]
    labels = ["brain MRI", "chest X-ray", "blood smear"]
    images = [Path(path) for path in brain]
    assert all(answer.label == "brain MRI" for answer in model.classify(images, labels))
    assert all(answer.label == "chest X-ray" for answer in classify(model, chest[-20:], labels))
    assert all(answer.label == "blood smear" for answer in classify(model, blood[:20], labels))
