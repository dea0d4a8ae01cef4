"""The stored reference cases of the loaders, replayed."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import load_file
from verticlip.core import verify
from verticlip.core.errors import InputError
from verticlip.domains.medical import goldens


@pytest.mark.parametrize("case", goldens.CASES)
def test_every_output_is_within_its_tolerance(small_golden, case):
    report = verify.replay("medical_loading", small_golden / "medical_loading" / case)
    assert report.passed, report
    assert {check.status for check in report.checks} == {"ok"}


def test_numbers_against_the_normal_flip_the_volume_and_its_affine(small_golden):
    folder = small_golden / "medical_loading" / "series_volume"
    config, inputs = (
        json.loads((folder / "config.json").read_text()),
        load_file(folder / "inputs.safetensors"),
    )
    ascending = goldens.replay_series_volume(config, inputs, folder)
    numbers = inputs["instance_number_in_file_order"]
    turned = {**inputs, "instance_number_in_file_order": numbers.max() + 1 - numbers}
    descending = goldens.replay_series_volume({**config, "normal_direction": "descending"}, turned, folder)
    assert np.array_equal(descending["volume_xyz"], ascending["volume_xyz"][..., ::-1])
    last = ascending["volume_xyz"].shape[2] - 1
    for index in ([0, 0, 0, 1], [3, 5, last, 1]):
        mirrored = [*index[:2], last - index[2], 1]
        assert np.allclose(descending["affine_lps"] @ index, ascending["affine_lps"] @ mirrored)


def test_a_signed_output_range():
    item = {"descriptor": [3, -1, 8], "center": 0, "width": 1, "bits_stored": 4, "pixel_representation": 1}
    stored = np.array([[-5, -1, 0, 1, 5]])
    outputs = goldens.replay_windowing(
        {"items": {"x": item}}, {"x.stored": stored, "x.table": np.array([7, 8, 9])}, None
    )
    assert outputs["x.prefer_lut"].tolist() == [[7, 7, 8, 9, 9]]
    assert outputs["x.prefer_window"].tolist() == [[-8, -8, 7, 7, 7]]


def test_unknown_items():
    with pytest.raises(InputError, match="of no known kind"):
        goldens.replay_windowing({"items": {"x": {}}}, {"x.stored": np.zeros((1, 1))}, None)
    assert goldens.tolerance("windowing", "something.else", None) == 0
