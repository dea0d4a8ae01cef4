"""The stored cases of the reference, through the code that users run."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from verticlip.core.errors import InputError
from verticlip.core.verify import replay
from verticlip.domains.medical.biovil import goldens

CASES = ("image_encoder", "image_encoder_temporal", "text_encoder", "phrase_grounding", "preprocess")


@pytest.mark.parametrize("case", CASES)
def test_a_case_agrees_with_the_reference(small_golden, case):
    report = replay("biovil", small_golden / "biovil" / case)
    assert report.passed, [check for check in report.checks if check.status != "ok"]


def test_several_threads_agree_too(small_golden):
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        assert replay("biovil", small_golden / "biovil" / "text_encoder").passed
    finally:
        torch.set_num_threads(threads)


def test_other_tokens_are_an_error(small_golden, tmp_path):
    folder = tmp_path / "text_encoder_other"
    shutil.copytree(small_golden / "biovil" / "text_encoder", folder)
    config = json.loads((folder / "config.json").read_text())
    config["prompts"][0] = "lungs"
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="differs from the stored one"):
        replay("biovil", folder)


@pytest.mark.parametrize("case", CASES)
def test_a_case_of_another_name_is_told_by_its_settings(small_golden, tmp_path, case):
    folder = shutil.copytree(small_golden / "biovil" / case, tmp_path / "other")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "case": "other"}))
    assert replay("biovil", folder).passed


def test_settings_of_no_case_are_refused(small_golden, tmp_path):
    folder = shutil.copytree(small_golden / "biovil" / "preprocess", tmp_path / "other")
    (folder / "config.json").write_text('{"case": "other"}')
    with pytest.raises(InputError, match="none of items, vit, prompt, bert, resnet"):
        replay("biovil", folder)


@pytest.mark.parametrize("variant", [[True, False, False], [True, True, True]])
def test_other_dilations_are_refused(small_golden, tmp_path, variant):
    folder = shutil.copytree(small_golden / "biovil" / "image_encoder", tmp_path / "image_encoder")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "dilation_variant": variant}))
    with pytest.raises(InputError, match="only the last one or two stages"):
        replay("biovil", folder)


def test_tolerances():
    cosines = torch.tensor([0.5, -0.25])
    assert goldens.tolerance("text_encoder", "embeddings_normalised", cosines) == 5e-6
    assert goldens.tolerance("phrase_grounding", "global_score_single", cosines / 100) == 1e-6
    assert goldens.tolerance("image_encoder", "patch_embeddings", torch.tensor([30.0])) == pytest.approx(3e-3)
    assert goldens.tolerance("preprocess", "png16.uint8_L", torch.zeros(1)) == 0.0
    assert goldens.tolerance("preprocess", "png16.tensor_channel0", torch.zeros(1)) == 1e-6
