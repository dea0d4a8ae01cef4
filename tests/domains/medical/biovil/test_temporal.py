"""Positions, blocks and the missing previous image, against their formulas written out."""

from __future__ import annotations

import math

import pytest
import torch
from pydantic import ValidationError
from torch.nn import functional as F
from verticlip.domains.medical.biovil.temporal import TemporalEncoder, TemporalOptions, sine_positions


def encoder(**changes):
    torch.manual_seed(0)
    options = TemporalOptions(
        **{"dim": 16, "grid": (2, 3), "heads": 4, "blocks": 2, "mlp_width": 8, **changes}
    )
    model = TemporalEncoder(8, options).eval()
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.5)
    return model


def test_positions_are_sines_of_row_and_column():
    codes = sine_positions((3, 5), 8)
    assert codes.shape == (1, 15, 8)
    for row in range(3):
        for column in range(5):
            y, x = ((row + 1) / (3 + 1e-6) * 2 * math.pi, (column + 1) / (5 + 1e-6) * 2 * math.pi)
            for angle, start in ((y, 0), (x, 4)):
                for k in range(4):
                    wave = 10_000 ** (2 * (k // 2) / 4)
                    expected = math.sin(angle / wave) if k % 2 == 0 else math.cos(angle / wave)
                    assert abs(float(codes[0, row * 5 + column, start + k]) - expected) < 1e-6


def test_a_block_adds_the_codes_to_queries_keys_and_values():
    model = encoder()
    block = model.first_block()
    states, codes = torch.randn(2, 12, 16), torch.randn(1, 12, 16)
    seen = F.layer_norm(states, (16,), block.norm1.weight, block.norm1.bias, 1e-6) + codes
    heads = []
    for head in range(4):
        rows = slice(4 * head, 4 * head + 4)
        q, k, v = (
            seen @ linear.weight[rows].T
            for linear in (block.attn.proj_q, block.attn.proj_k, block.attn.proj_v)
        )
        weights = (q @ k.transpose(1, 2) / 2).softmax(dim=-1)
        assert torch.allclose(weights, block.attention_weights(states, codes)[:, head], atol=1e-6)
        heads.append(weights @ v)
    hidden = states + block.attn.proj(torch.cat(heads, dim=-1))
    expected = hidden + block.mlp.fc2(F.gelu(block.mlp.fc1(block.norm2(hidden))))
    assert torch.allclose(block(states, codes), expected, atol=1e-5)


def test_the_difference_reads_the_current_half_of_the_tokens():
    model = encoder(blocks=1)
    current, previous = torch.randn(1, 8, 2, 3), torch.randn(1, 8, 2, 3)
    patches = model(current, previous)
    assert patches.shape == (1, 32, 2, 3)
    static = model.reduce(current)
    assert torch.equal(patches[:, :16], static)
    states, codes = model.tokens(static, model.reduce(previous))
    positions = sine_positions((2, 3), 16)
    assert torch.allclose(codes[:, :6], positions + model.type_embed[0])
    assert torch.allclose(codes[:, 6:], positions + model.type_embed[1])
    expected = model.norm(model.first_block()(states, codes))[:, :6]
    assert torch.allclose(patches[0, 16:, 1, 2], expected[0, 5], atol=1e-6)


def test_a_missing_image_is_one_learnt_vector():
    model = encoder()
    patches = model(torch.randn(2, 8, 4, 5), None)
    assert torch.equal(patches[:, 16:], model.missing_previous.expand(2, -1, 4, 5))


def test_dropout_and_drop_path_act_in_training_only():
    model = encoder()
    current, previous = torch.randn(2, 8, 2, 3), torch.randn(2, 8, 2, 3)
    assert torch.equal(model(current, previous), model(current, previous))
    model.train()
    assert not torch.equal(model(current, previous), model(current, previous))


def test_drop_path_keeps_or_scales_whole_samples():
    block = encoder(drop_path=0.5).train().first_block()
    torch.manual_seed(1)
    kept = block._drop(torch.ones(200, 3, 4))
    assert set(kept.unique().tolist()) == {0.0, 2.0}
    assert bool((kept == kept[:, :1, :1]).all())


def test_sizes_out_of_range_are_refused():
    with pytest.raises(ValidationError, match="dim"):
        TemporalOptions(dim=10)
