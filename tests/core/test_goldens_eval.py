from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from verticlip.core.goldens_eval import CASES, TOLERANCES


@pytest.mark.parametrize("case", sorted(CASES))
def test_replay_equals_the_golden_case(case: str, small_golden: Path):
    folder = small_golden / "core" / case
    inputs = load_file(folder / "inputs.safetensors")
    expected = load_file(folder / "outputs.safetensors")
    found = CASES[case](json.loads((folder / "config.json").read_text()), inputs, folder)
    assert set(found) == set(expected)
    relative, absolute = TOLERANCES[case]
    for name, value in expected.items():
        assert found[name].dtype == value.dtype, name
        largest = float(value.abs().max()) if value.numel() else 0.0
        torch.testing.assert_close(
            found[name],
            value,
            rtol=0,
            atol=relative * largest + absolute,
            msg=lambda m, name=name: f"{name}: {m}",
        )


def test_every_case_has_a_tolerance():
    assert set(TOLERANCES) == set(CASES)
