"""The stored reference cases of CLIPSep, replayed."""

from __future__ import annotations

import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from verticlip.core import verify
from verticlip.domains.audio.clipsep import goldens

CASES = ("bss_eval", "clipsep_late", "clipsep_late_three_sources", "clipsep_nit", "inference", "variants")


@pytest.mark.parametrize("case", CASES)
def test_every_output_is_within_its_tolerance(small_golden, case):
    report = verify.replay("clipsep", small_golden / "clipsep" / case)
    assert report.passed, [check for check in report.checks if check.status != "ok"]
    assert {check.status for check in report.checks} == {"ok"}


@pytest.mark.data
@pytest.mark.parametrize("case", [case for case in goldens.CASES if case != goldens.ANY_CASE])
def test_the_larger_cases_as_well(golden_dir, case):
    report = verify.replay("clipsep", golden_dir / "clipsep" / case)
    assert {check.status for check in report.checks} == {"ok"}, report


def test_waveforms_are_judged_by_their_energy():
    wave = torch.sin(torch.arange(1000.0))
    flipped = wave.clone()
    flipped[3] += 0.3
    error = goldens.error("inference", "target.hard.wav", flipped, wave)
    assert error == pytest.approx(float(0.3 / wave.norm()), rel=1e-4)
    assert goldens.tolerance("inference", "target.hard.wav", wave) == pytest.approx(0.01778, rel=1e-3)
    assert goldens.tolerance("inference", "target.soft.wav", wave) == pytest.approx(1e-3)
    assert goldens.error("inference", "mask_warped.target", flipped, wave) is None


def test_another_waveform_does_not_pass(small_golden, tmp_path):
    folder = tmp_path / "inference"
    shutil.copytree(small_golden / "clipsep" / "inference", folder)
    stored = load_file(folder / "outputs.safetensors")
    stored["target.soft.wav"] = stored["target.soft.wav"] * 1.002
    save_file(stored, folder / "outputs.safetensors")
    report = verify.replay("clipsep", folder)
    assert [check.name for check in report.checks if check.status == "over"] == ["target.soft.wav"]


def test_cases_of_other_names_are_told_by_what_they_hold(small_golden, tmp_path):
    for case in CASES:
        folder = tmp_path / f"other-{case[::-1]}"
        shutil.copytree(small_golden / "clipsep" / case, folder)
        assert verify.replay("clipsep", folder).passed, case
