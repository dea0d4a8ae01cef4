"""The models of the room by name: what is packaged is what was released, what is fetched says how."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
import verticlip
from safetensors.torch import load_file
from typer.testing import CliRunner
from verticlip.core import registry
from verticlip.core.errors import ConfigError, WeightsError
from verticlip.core.files import read_json, sha256_of
from verticlip.domains.liveness.models.base import score_crops
from verticlip.domains.liveness.published import PUBLISHED

PACKAGED = "liveness/minifasnet-v2"


@pytest.fixture(scope="module")
def model():
    return verticlip.from_pretrained(PACKAGED)


@pytest.fixture
def case(small_golden):
    return small_golden / "clipc8" / "minifasnet"


def test_the_packaged_tensors_are_the_released_ones(root, case):
    released = load_file(case / "weights.safetensors")
    ours = load_file(root / "domains/liveness/weights/minifasnet-v2/model.safetensors")
    assert float(ours.pop("logit_scale")) > 0
    assert {name.replace("networks.0.", "module.") for name in ours} == set(released)
    for name, tensor in released.items():
        mine = ours[name.replace("module.", "networks.0.")]
        assert mine.dtype == tensor.dtype
        assert torch.equal(mine, tensor)


def test_the_packaged_model_gives_the_reference_logits(model, case):
    bgr = load_file(case / "inputs.safetensors")["image_bgr_0_255"]
    shown = [np.ascontiguousarray(one.flip(0).permute(1, 2, 0).to(torch.uint8).numpy()) for one in bgr]
    scores = score_crops(model, [shown])
    expected = load_file(case / "outputs.safetensors")["logits"]
    assert float((scores.logits - expected).abs().max()) < 1e-4
    assert scores.taxonomy.ids == ("attack_a", "live", "attack_b")
    assert scores.taxonomy.live == (1,)


def test_what_the_packaged_model_looks_at(model):
    (crop,) = model.network.crops
    assert (crop.scale, crop.size, crop.shift, crop.align) == (2.7, 80, True, False)
    assert model.config.licence == "Apache-2.0"


def test_the_packaged_folder(root):
    folder = root / "domains/liveness/weights/minifasnet-v2"
    card = (folder / "README.md").read_text()
    assert "\ntraining_data_terms: " in card
    for said in ("Copyright 2020 Minivision", "b6d5f04ad78778917853b25c778acef6d5626d15", "LICENSE.txt"):
        assert said in card
    assert "Copyright 2020 Minivision" in (folder / "LICENSE.txt").read_text()
    files = registry.model_spec(PACKAGED).weights.files
    assert {name: sha256_of(folder / name) for name in files} == files
    assert (folder / "model.safetensors").stat().st_size < 2_000_000
    assert read_json(folder / "config.json")["name"] == PACKAGED


def test_info_of_the_packaged_model():
    from verticlip.cli import app

    result = CliRunner().invoke(app, ["models", "info", PACKAGED])
    assert result.exit_code == 0
    assert "packaged" in result.output
    assert re.search(r"modalities +image\n", result.output)
    assert "Apache-2.0" in result.output


def test_every_model_says_what_it_is_for():
    for spec in PUBLISHED:
        assert spec.name.startswith("liveness/")
        assert "never the only reason to refuse a person" in spec.intended_use
        assert spec.extra == "liveness"
        if isinstance(spec.weights, registry.PublishedWeights):
            assert callable(registry.room("liveness").function("converters", spec.weights.converter))


def test_models_of_files_that_a_person_downloads():
    with pytest.raises(
        ConfigError, match=r"v2=2\.7_80x80_MiniFASNetV2\.pth --file v1se=4_0_0_80x80_MiniFASNetV1SE"
    ):
        verticlip.from_pretrained("liveness/minifasnet")


def test_the_two_released_files_convert_under_their_registered_name(tmp_path, case):
    from collections import OrderedDict

    from verticlip.domains.liveness.minifasnet.network import MiniFASNet, NetworkConfig
    from verticlip.hub.conversions import convert_files, roles

    spec = registry.model_spec("liveness/minifasnet")
    folder = tmp_path / "downloads"
    folder.mkdir()
    torch.save(load_file(case / "weights.safetensors"), folder / "2.7_80x80_MiniFASNetV2.pth")
    second = MiniFASNet(NetworkConfig(architecture="MiniFASNetV1SE")).state_dict()
    state = OrderedDict((f"module.{name}", value) for name, value in second.items())
    torch.save(state, folder / "4_0_0_80x80_MiniFASNetV1SE.pth")
    files = roles(spec, [str(folder)])
    assert set(files) == {"v2", "v1se"}
    with pytest.raises(WeightsError, match="the published 2.7_80x80_MiniFASNetV2.pth has a5eb02e1"):
        convert_files(spec, files, tmp_path / "model")
    convert_files(spec, files, tmp_path / "model", any_file=True)
    model = verticlip.from_pretrained(tmp_path / "model")
    assert [crop.scale for crop in model.network.crops] == [2.7, 4.0]
    noise = np.random.default_rng(0).integers(0, 256, (80, 80, 3), dtype=np.uint8)
    scores = score_crops(model, [[noise], [noise]])
    assert scores.logits.shape == (1, 3)
    assert float(scores.probabilities.sum()) == pytest.approx(1)
