from __future__ import annotations

import json
import struct

import pytest
import torch
from torch import nn
from verticlip.core.checkpoint import load_strict, read_weights, save_weights
from verticlip.core.errors import WeightsError


def test_round_trip_is_exact_and_half_is_widened(tmp_path):
    source, target = nn.Linear(3, 2), nn.Linear(3, 2)
    save_weights(source, tmp_path / "a.safetensors")
    load_strict(target, read_weights(tmp_path / "a.safetensors"), source="a")
    assert torch.equal(source.weight, target.weight)
    save_weights(source, tmp_path / "h.safetensors", dtype=torch.float16)
    load_strict(target, read_weights(tmp_path / "h.safetensors"), source="h")
    assert target.weight.dtype == torch.float32
    assert torch.equal(target.weight, source.weight.half().float())


def test_a_module_on_meta_is_filled_and_trainable(tmp_path):
    source = nn.Linear(3, 2)
    save_weights(source, tmp_path / "a.safetensors")
    with torch.device("meta"):
        target = nn.Linear(3, 2)
    load_strict(target, read_weights(tmp_path / "a.safetensors"), source="a")
    assert torch.equal(source.bias, target.bias)
    assert target.weight.requires_grad


def test_non_finite_weights_are_not_written(tmp_path):
    module = nn.Linear(3, 2)
    with torch.no_grad():
        module.weight[0, 0] = 1e38
    with pytest.raises(WeightsError, match="'weight' has non-finite values; nothing was written"):
        save_weights(module, tmp_path / "a.safetensors", dtype=torch.float16)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("bias"), "1 missing \\(bias\\)"),
        (lambda state: state.update(extra=torch.zeros(1)), "1 unexpected \\(extra\\)"),
        (lambda state: state.update(bias=torch.zeros(5)), "bias \\(5,\\) instead of \\(2,\\)"),
    ],
)
def test_strict_means_strict(change, message):
    module = nn.Linear(3, 2)
    before = module.weight.clone()
    state = {**nn.Linear(3, 2).state_dict()}
    change(state)
    with pytest.raises(WeightsError, match=message):
        load_strict(module, state, source="w")
    assert torch.equal(module.weight, before)


def test_damaged_files(tmp_path):
    path = tmp_path / "a.safetensors"
    with pytest.raises(WeightsError, match="no such file"):
        read_weights(path)
    save_weights(nn.Linear(3, 2), path)
    whole = path.read_bytes()
    for damaged in (b"", whole[:-3], whole + b"x", b"\xff" * 64):
        path.write_bytes(damaged)
        with pytest.raises(WeightsError, match="not a whole safetensors file"):
            read_weights(path)
    header = '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    path.write_bytes(struct.pack("<Q", len(header)) + header.encode() + b"\0" * 4)
    with pytest.raises(WeightsError, match="the key 'a' stands twice"):
        read_weights(path)
    header = json.dumps({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}})
    path.write_bytes(struct.pack("<Q", len(header)) + header.encode() + struct.pack("<f", float("nan")))
    with pytest.raises(WeightsError, match="'a' has NaN"):
        read_weights(path)
