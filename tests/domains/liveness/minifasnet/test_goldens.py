"""The stored reference case: logits of the released weights, and the crop that they are for."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from liveness.minifasnet.make_networks import pictures, random_network
from safetensors.torch import load_file, save_file
from verticlip.core import verify
from verticlip.core.errors import ConfigError
from verticlip.domains.liveness.faces.crop import CropConfig, crop_box, expand_box
from verticlip.domains.liveness.faces.detect import Face
from verticlip.domains.liveness.minifasnet.network import NetworkConfig


@pytest.fixture
def case(small_golden):
    return small_golden / "clipc8" / "minifasnet"


def test_every_output_is_within_its_tolerance(case):
    report = verify.replay("clipc8", case)
    assert report.passed, report
    assert {check.status for check in report.checks} == {"ok"}


def test_the_crop_rule(case):
    config = json.loads((case / "config.json").read_text())
    crop = config["crop"]
    height, width = crop["image_height"], crop["image_width"]
    settings = CropConfig(scale=config["crop_scale"], size=config["input_height"], shift=True)
    for (x, y, w, h), expected in zip(crop["face_boxes_xywh"], crop["expected_xyxy_inclusive"], strict=True):
        box = (x, y, x + w, y + h)
        assert expand_box(box, config["crop_scale"], height, width) == tuple(expected)
        x1, y1, x2, y2 = expected
        assert crop_box(Face(box), settings, height, width) == (x1, y1, x2 + 1, y2 + 1)


@pytest.mark.parametrize(
    ("architecture", "size"),
    [("MiniFASNetV1SE", (80, 80)), ("MiniFASNetV1", (96, 64)), ("MiniFASNetV2SE", (70, 80))],
)
def test_cases_of_other_architectures_and_sizes(tmp_path, architecture, size):
    network = random_network(
        NetworkConfig(architecture=architecture, height=size[0], width=size[1], classes=4)
    )
    batch = pictures(2, *size).float()
    with torch.inference_mode():
        logits = network(batch)
    state = {f"module.{name}": value for name, value in network.state_dict().items()}
    save_file(state, tmp_path / "weights.safetensors")
    save_file({"image_bgr_0_255": batch}, tmp_path / "inputs.safetensors")
    save_file(
        {"logits": logits.contiguous(), "probabilities": logits.softmax(1)}, tmp_path / "outputs.safetensors"
    )
    config = {"case": "minifasnet_b", "architecture": architecture}
    (tmp_path / "config.json").write_text(json.dumps(config))
    report = verify.replay("clipc8", tmp_path)
    assert [check.error for check in report.checks] == [0.0, 0.0]


def test_a_case_that_contradicts_itself(case, tmp_path):
    folder = tmp_path / "minifasnet"
    shutil.copytree(case, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "architecture": "MiniFASNetV1"}))
    with pytest.raises(ConfigError, match="is of MiniFASNetV1, its weights are of MiniFASNetV2"):
        verify.replay("clipc8", folder)


def test_swapped_colors_would_be_noticed(case):
    from verticlip.domains.liveness.minifasnet.goldens import replay_minifasnet

    inputs = load_file(case / "inputs.safetensors")
    expected = load_file(case / "outputs.safetensors")["logits"]
    swapped = {"image_bgr_0_255": inputs["image_bgr_0_255"].flip(1)}
    assert float((replay_minifasnet({}, swapped, case)["logits"] - expected).abs().max()) > 0.01
