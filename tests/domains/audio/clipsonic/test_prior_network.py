"""The prior's network: what a token sees, padding, and conditions that are left out."""

from __future__ import annotations

import pytest
import torch
from verticlip.core.errors import InputError
from verticlip.domains.audio.clipsonic.prior_network import (
    CausalTransformer,
    Norm,
    PriorNetwork,
    PriorNetworkConfig,
    rotary_angles,
    rotate,
)

SMALL = {"dim": 16, "depth": 2, "heads": 2, "head_dim": 8, "mlp_width": 32, "text_length": 6}


def network(**changes):
    torch.manual_seed(0)
    return PriorNetwork(PriorNetworkConfig(**{**SMALL, **changes})).eval()


def question(batch=3, length=5):
    generator = torch.Generator().manual_seed(1)
    encodings = torch.randn(batch, length, 16, generator=generator)
    encodings[0, 3:] = 0
    text = torch.nn.functional.normalize(torch.randn(batch, 16, generator=generator), dim=-1)
    return torch.randn(batch, 16, generator=generator), torch.arange(batch), text, encodings


def ask(net, *, text, encodings, noisy, times, **more):
    with torch.inference_mode():
        return net(noisy, times, text_embed=text, text_encodings=encodings, **more)


def test_later_tokens_change_nothing_before_them():
    transformer = CausalTransformer(PriorNetworkConfig(**SMALL)).eval()
    tokens = torch.randn(1, 7, 16, generator=torch.Generator().manual_seed(2))
    changed = tokens.clone()
    changed[:, 4] = -changed[:, 4]
    with torch.inference_mode():
        before, after = transformer(tokens), transformer(changed)
    assert torch.allclose(before[:, :4], after[:, :4], atol=1e-6)
    assert (before[:, 4:] - after[:, 4:]).abs().amax(dim=(0, 2)).min() > 1e-3


@pytest.mark.parametrize("padding", ["mask", "table"])
def test_padding_is_no_text(padding):
    net = network(padding=padding, null_parameters=padding == "table")
    noisy, times, text, encodings = question()
    answer = ask(net, noisy=noisy, times=times, text=text, encodings=encodings)
    assert answer.shape == (3, 16)
    assert torch.isfinite(answer).all()
    if padding == "table":
        longer = torch.cat([encodings, torch.zeros(3, 1, 16)], dim=1)
        same = ask(net, noisy=noisy, times=times, text=text, encodings=longer)
        assert torch.equal(answer, same)
        cut = torch.cat([longer, torch.ones(3, 4, 16)], dim=1)
        assert torch.equal(answer, ask(net, noisy=noisy, times=times, text=text, encodings=cut))


def test_masked_padding_with_norms_that_divide_by_the_largest_stays_finite():
    net = network(
        padding="mask", null_parameters=False, stable_norms="all", attention="scaled_dot", bias_factor=1024
    )
    noisy, times, text, encodings = question()
    encodings[1] = 0
    assert torch.isfinite(ask(net, noisy=noisy, times=times, text=text, encodings=encodings)).all()


@pytest.mark.parametrize(("padding", "nulls"), [("mask", False), ("table", True), ("table", False)])
def test_a_text_that_is_left_out_does_not_matter(padding, nulls):
    net = network(padding=padding, null_parameters=nulls)
    noisy, times, text, encodings = question()
    given = {"noisy": noisy, "times": times}
    out = torch.tensor([True, False, True])
    first = ask(net, **given, text=text, encodings=encodings, drop_text=out)
    second = ask(net, **given, text=-text, encodings=-encodings, drop_text=out)
    same = (first - second).abs().amax(dim=1) < 1e-5
    assert same.tolist() == ([True, False, True] if net.config.can_drop_text else [False] * 3)


def test_an_image_that_is_left_out_does_not_matter():
    net = network(image_tokens=2)
    noisy, times, text, encodings = question()
    out = torch.ones(3, dtype=torch.bool)
    given = {"times": times, "text": text, "encodings": encodings, "drop_image": out}
    assert torch.allclose(ask(net, noisy=noisy, **given), ask(net, noisy=-noisy, **given))


def test_no_encodings_are_all_padding():
    net = network()
    noisy, times, text, _ = question()
    given = {"noisy": noisy, "times": times, "text": text}
    assert torch.equal(ask(net, **given, encodings=None), ask(net, **given, encodings=torch.zeros(3, 6, 16)))


def test_encodings_of_another_tower_are_refused():
    noisy, times, text, _ = question()
    with pytest.raises(InputError, match="have 12 values per token; this prior takes 16"):
        ask(network(), noisy=noisy, times=times, text=text, encodings=torch.zeros(3, 4, 12))


def test_rotation_keeps_lengths_and_the_rest_of_a_head():
    vectors = torch.randn(2, 5, 40, generator=torch.Generator().manual_seed(3))
    turned = rotate(vectors)
    assert torch.allclose(turned.norm(dim=-1), vectors.norm(dim=-1), atol=1e-5)
    assert torch.equal(turned[..., 32:], vectors[..., 32:])
    assert torch.equal(turned[:, 0], vectors[:, 0])
    rotary_angles.cache_clear()
    with torch.inference_mode():
        rotate(vectors)
    vectors.requires_grad_()
    rotate(vectors).sum().backward()


def test_a_stable_norm_turns_the_sign_of_what_is_negative_throughout():
    norm = Norm(4, stable=True)
    values = torch.tensor([[-4.0, -3.0, -2.0, -1.0]])
    assert torch.allclose(norm(values), -torch.nn.functional.layer_norm(values, (4,)), atol=1e-4)
