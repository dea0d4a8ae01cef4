"""The stored cases of the references, through the code that users run."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from verticlip.core.errors import InputError
from verticlip.core.verify import replay
from verticlip.domains.audio.clipsonic import goldens

CASES = (
    "bigvgan",
    "bigvgan_first_version",
    "diffusion_prior",
    "diffusion_prior_tokens",
    "diffusion_prior_velocity",
    "diffusion_prior_v0_15",
    "diffusion_prior_v0_17",
    "diffusion_prior_v1_1",
)


@pytest.mark.parametrize("case", CASES)
def test_a_case_agrees_with_the_reference(small_golden, case):
    report = replay("clipsonic", small_golden / "clipsonic" / case)
    assert report.passed, [check for check in report.checks if check.status != "ok"]


@pytest.mark.parametrize("case", ["bigvgan", "diffusion_prior_v1_1"])
def test_a_case_of_another_name_is_told_by_its_settings(small_golden, tmp_path, case):
    folder = shutil.copytree(small_golden / "clipsonic" / case, tmp_path / "other")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "case": "other"}))
    assert replay("clipsonic", folder).passed


def test_settings_of_no_case_are_refused(small_golden, tmp_path):
    folder = shutil.copytree(small_golden / "clipsonic" / "diffusion_prior", tmp_path / "other")
    (folder / "config.json").write_text('{"case": "other"}')
    with pytest.raises(InputError, match="none of upsample_rates, ddim_steps"):
        replay("clipsonic", folder)


def test_tolerances():
    assert goldens.tolerance("bigvgan", "generated", torch.tensor([0.5, -0.8])) == pytest.approx(8e-5)
    assert goldens.tolerance("bigvgan", "generated", torch.zeros(3)) == 1e-5
    assert goldens.tolerance("diffusion_prior", "ddim_eta0_final", torch.ones(1)) == pytest.approx(1e-3)
    assert goldens.tolerance("diffusion_prior", "ddim_times", torch.ones(1)) == 0.0
