"""The stored reference cases of the regressor and of the indicator table."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file
from verticlip.core import verify
from verticlip.domains.urban.indicators import goldens


@pytest.mark.parametrize("case", sorted(goldens.CASES))
def test_every_output_is_within_its_tolerance(case, small_golden):
    pytest.importorskip("pyproj")
    folder = small_golden / "urbanclip" / f"{case}_a"
    config = json.loads((folder / "config.json").read_text())
    inputs, expected = load_file(folder / "inputs.safetensors"), load_file(folder / "outputs.safetensors")
    got = goldens.CASES[case]({**config, "case": case}, inputs, folder)
    assert set(got) == set(expected)
    for name, value in expected.items():
        assert got[name].shape == value.shape, name
        error = verify.largest_error(torch.as_tensor(got[name]), value)
        assert error <= goldens.tolerance(case, name, value), name


def test_tolerances_are_those_of_the_readme():
    ten = torch.tensor([10.0], dtype=torch.float64)
    assert goldens.tolerance("indicator_table", "kept_rows", ten) == 0
    assert goldens.tolerance("indicator_table", "z.gdp", ten) == pytest.approx(1e-8)
    assert goldens.tolerance("mlp_probe", "val_metrics.r2", ten) == pytest.approx(1e-4)
    assert goldens.tolerance("mlp_probe", "after_step.predict.bias", ten) == 1e-6
    assert goldens.tolerance("mlp_probe", "predictions", ten) == 1e-5
