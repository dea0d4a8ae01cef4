"""Replays of the stored reference results of the core objectives."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file
from verticlip.core import goldens
from verticlip.core.errors import VerticlipError

SINGLE_PROCESS = sorted(case for case in goldens.CASES if "multiprocess" not in case)
SEVERAL_PROCESSES = sorted(case for case in goldens.CASES if "multiprocess" in case)


def _read(folder, case):
    config = json.loads((folder / "core" / case / "config.json").read_text())
    return config, load_file(folder / "core" / case / "inputs.safetensors")


def _compare(folder, case):
    config, inputs = _read(folder, case)
    got = goldens.CASES[case](config, inputs, folder / "core" / case)
    expected = load_file(folder / "core" / case / "outputs.safetensors")
    left_out = set(goldens.NOT_REPLAYED.get(case, {}))
    assert left_out <= set(expected)
    for name in set(expected) - left_out:
        assert got[name].shape == expected[name].shape, name
        difference = float((got[name].double() - expected[name].double()).abs().max())
        assert difference <= goldens.tolerance(case, name, expected[name]), name


@pytest.mark.parametrize("case", SINGLE_PROCESS)
def test_case_matches_reference(small_golden, case):
    _compare(small_golden, case)


@pytest.mark.slow
@pytest.mark.parametrize("case", SEVERAL_PROCESSES)
def test_case_over_several_processes_matches_reference(small_golden, case):
    _compare(small_golden, case)


def test_rectangular_rows_with_an_offset():
    generator = torch.Generator().manual_seed(3)
    query, keys = (torch.randn(n, 4, generator=generator, dtype=torch.float64) for n in (5, 11))
    config = {
        "case": "formula.streaming_infonce",
        "logit_scale": 7.0,
        "label_offset": 4,
        "symmetric": False,
        "chunk_sizes_to_test": [1, 2, 4, 100],
    }
    got = goldens.streaming_infonce(config, {"query": query, "keys": keys}, None)
    logits = 7.0 * query @ keys.T
    expected = torch.nn.functional.cross_entropy(logits, torch.arange(5) + 4)
    torch.testing.assert_close(got["loss"], expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(got["row_lse"], logits.logsumexp(1), rtol=1e-12, atol=0)
    assert "col_lse" not in got


def test_tolerance_is_relative_to_the_largest_value_unless_zero_is_expected():
    expected = torch.tensor([0.5, -2.0])
    assert goldens.tolerance("open_clip.clip_loss", "loss", expected) == pytest.approx(2e-5)
    assert goldens.tolerance("formula.cwcl", "loss", expected.double()) == pytest.approx(2e-12)
    assert goldens.tolerance("open_clip.clip_loss_bias", "grad.logit_bias", expected) == 1e-6


def test_paths_that_disagree_are_reported(small_golden, monkeypatch):
    config, inputs = _read(small_golden, "open_clip.clip_loss")

    class Wrong(goldens.InfoNCE):
        def compute(self, outputs, batch):
            parts = super().compute(outputs, batch)
            return {name: part * (1.01 if self.chunk == 3 else 1.0) for name, part in parts.items()}

    monkeypatch.setattr(goldens, "InfoNCE", Wrong)
    with pytest.raises(VerticlipError, match="loss with chunk=3 differs from chunk=None"):
        goldens.clip_loss(config, inputs, None)
