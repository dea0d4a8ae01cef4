"""The outlier stress changes what it says, and the fast path stands it."""

from __future__ import annotations

import copy

import pytest
import torch
from verticlip.benchmarks.stress import agreement, with_outliers
from verticlip.core.config import VisionTransformerTower
from verticlip.core.inference import prepare
from verticlip.core.transformer import VisionTransformer

CONFIG = VisionTransformerTower(
    backend="vit", image_size=32, patch_size=8, width=64, layers=4, heads=4, mlp_width=256, output_dim=32
)


def make_tower() -> VisionTransformer:
    torch.manual_seed(0)
    return VisionTransformer(CONFIG).eval()


def test_six_channels_of_every_block_norm_grow_and_nothing_else() -> None:
    tower = make_tower()
    stressed = with_outliers(tower)
    before, after = dict(tower.named_parameters()), dict(stressed.named_parameters())
    for name, value in before.items():
        ratio = after[name] / value
        if ".ln_1.weight" in name or ".ln_2.weight" in name:
            assert sorted(ratio.tolist())[-7:] == [1.0] + [20.0] * 6
        else:
            assert torch.equal(after[name], value), name
    again = dict(with_outliers(tower).named_parameters())
    assert all(torch.equal(value, again[name]) for name, value in after.items())


def test_bfloat16_beats_plain_half_weights_and_stands_the_stress() -> None:
    torch.manual_seed(0)
    # Wide enough that six channels are few, as in the towers this is for.
    config = CONFIG.model_copy(update={"width": 384, "heads": 6, "mlp_width": 1536})
    tower = VisionTransformer(config).eval()
    inputs = {"pixels": torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))}
    with torch.inference_mode():
        expected = tower(inputs).pooled
        fast = agreement(prepare(tower, "bfloat16")(inputs).pooled, expected)
        plain = agreement(copy.deepcopy(tower).bfloat16()(inputs).pooled, expected)
        stressed = with_outliers(tower)
        under_stress = agreement(prepare(stressed, "bfloat16")(inputs).pooled, stressed(inputs).pooled)
    assert 1 - fast["min_cosine"] < 0.5 * (1 - plain["min_cosine"])
    assert fast["min_cosine"] > 0.9999
    assert under_stress["min_cosine"] > 0.995


def test_agreement_takes_the_worst_row_and_the_centred_view() -> None:
    expected = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    assert agreement(expected, expected)["min_cosine"] == pytest.approx(1.0)
    got = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    assert agreement(got, expected)["min_cosine"] == pytest.approx(0.0)
    # A large common part hides a swap of the rows from the plain cosine only.
    common = torch.tensor([100.0, 100.0])
    swapped = agreement(expected.flip(0) + common, expected + common)
    assert swapped["min_cosine"] > 0.999
    assert swapped["min_centred_cosine"] == pytest.approx(-1.0)
