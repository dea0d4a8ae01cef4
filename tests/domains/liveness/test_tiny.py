"""The weights that ship: whole, small, telling simulated recapture as their card says."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import verticlip
from verticlip.benchmarks.liveness_tiny import CHANGES, UNTRAINED, make_part, margins_of
from verticlip.core.checkpoint import read_weights
from verticlip.core.recipe import load_recipe
from verticlip.domains.liveness.calibration.threshold import load_thresholds
from verticlip.domains.liveness.detector import LivenessDetector
from verticlip.domains.liveness.metrics.iso import iso_report
from verticlip.domains.liveness.metrics.literature import auc, live_labels
from verticlip.domains.liveness.models.base import liveness_network
from verticlip.domains.liveness.simulate.dataset import Plan
from verticlip.domains.liveness.taxonomy import load_taxonomy

pytest.importorskip("cv2", reason="the liveness extra is not installed")


@pytest.fixture(scope="module")
def model():
    torch.set_num_threads(1)
    return verticlip.from_pretrained("liveness/tiny")


@pytest.fixture(scope="module")
def folder(root) -> Path:
    return root / "domains" / "liveness" / "weights" / "tiny"


@pytest.fixture(scope="module")
def metrics(folder):
    return json.loads((folder / "metrics.json").read_text())


@pytest.fixture(scope="module")
def part(data_dir, tmp_path_factory):
    """Attacks with parameters of the test part on a quarter of the validation photos of two kinds."""
    photos = tmp_path_factory.mktemp("photos")
    for kind in ("hat", "skirt", "shorts"):
        for file in sorted((data_dir / "ecommerce/clothing/validation" / kind).iterdir())[:12]:
            (photos / f"{kind}-{file.name}").write_bytes(file.read_bytes())
    return make_part(photos, Plan(part="test", seed=77, bona_fide=2, attacks=3, leave_out=UNTRAINED))


def test_weights_are_small_and_half_precision(folder):
    assert sum(file.stat().st_size for file in folder.iterdir()) <= 12 * 1024**2
    found = {str(tensor.dtype) for tensor in read_weights(folder / "model.safetensors").values()}
    assert found <= {"torch.float16", "torch.int64"}


def test_the_taxonomy_and_the_whole_picture_lie_with_the_weights(model):
    network = liveness_network(model)
    assert network.taxonomy.ids == load_taxonomy("default").ids
    assert [crop.scale for crop in network.crops] == [None]


def test_the_weights_are_those_of_the_recipe_in_the_repository(metrics):
    assert metrics["recipe"] == load_recipe("liveness/tiny").recipe.digest


def test_the_card_says_what_the_figures_are_no_evidence_of(folder):
    card = (folder / "README.md").read_text()
    assert "training_data_terms" in card
    flat = card.replace("\n", " ")
    for said in (
        "simulated recapture",
        "no evidence of face liveness performance",
        "no biometric data",
        "photos of clothes",
        "CC0-1.0",
        "maximum APCER",
        "BPCER",
    ):
        assert said in flat, said


def test_recorded_figures_are_what_the_weights_are_for(metrics):
    test = metrics["further"]["model"]["test"]
    assert test["auc"] >= AUC
    assert max(rate["rate"] for rate in test["apcer"].values()) <= MAX_APCER
    assert test["bpcer"]["rate"] <= BPCER
    assert test["auc"] > metrics["further"]["pixel statistics"]["test"]["auc"] + 0.1
    for rate in (*test["apcer"].values(), test["bpcer"]):
        assert rate["n"] >= 300
        assert rate["rate"] <= rate["upper_95"]


AUC, MAX_APCER, BPCER = 0.95, 0.25, 0.1


def test_stored_thresholds_are_those_of_these_weights(folder):
    detector = LivenessDetector.from_pretrained("liveness/tiny", threshold="dev_eer")
    assert detector.threshold is not None
    assert detector.threshold.rule == "dev_eer"
    assert {one.mode for one in load_thresholds(folder / "threshold.json")} >= {"secure", "balanced"}


@pytest.mark.data
def test_attacks_of_unseen_parameters_are_told_on_unseen_photos(model, part):
    margins = margins_of(model, part.pictures)
    assert auc(margins, live_labels(part.species)) >= AUC - 0.03
    balanced = LivenessDetector(model, threshold="balanced").threshold
    assert balanced is not None
    report = iso_report(margins, part.species, balanced.margin)
    assert report.bpcer.value <= 0.25
    assert report.apcer_pooled.value <= 0.2


@pytest.mark.data
@pytest.mark.parametrize("name", list(CHANGES))
def test_another_encoding_does_not_change_what_is_told(model, part, name):
    margins = margins_of(model, [CHANGES[name](picture) for picture in part.pictures])
    assert auc(margins, live_labels(part.species)) >= AUC - 0.07


@pytest.mark.data
def test_the_simulated_camera_alone_is_no_attack(model, part):
    margins = np.array(margins_of(model, part.pictures))
    live = live_labels(part.species)
    kinds = np.array([entry.groups["category"] for entry in part.entries])
    for kind in sorted(set(kinds[~live])):
        assert np.median(margins[live]) > np.median(margins[kinds == kind])
