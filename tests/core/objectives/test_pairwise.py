"""Properties of the two-tower objectives."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F
from verticlip.core.errors import ConfigError, InputError
from verticlip.core.objectives.pairwise import CWCL, InfoNCE, Sigmoid
from verticlip.core.types import Batch, Outputs

SETTINGS = settings(max_examples=20, deadline=None, derandomize=True)
CHUNKS = [None, 3, 512]
SYMMETRIC = [InfoNCE, Sigmoid]


def features(size, *, width=8, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, size, width, generator=generator, dtype=dtype)


def run(objective, pair, *, scale=10.0, bias=None, labels=None, names=("image", "text")):
    """Return (loss, gradients of both un-normalized features)."""
    leaves = [tensor.detach().clone().requires_grad_() for tensor in pair]
    unit = [F.normalize(leaf, dim=1) for leaf in leaves]
    outputs = Outputs(
        dict(zip(names, unit, strict=True)),
        torch.tensor(scale, dtype=torch.float64),
        None if bias is None else torch.tensor(bias, dtype=torch.float64),
    )
    labels = None if labels is None else torch.tensor(labels)
    parts = objective(outputs, Batch({}, labels=labels))
    loss = parts.pop("loss")
    torch.testing.assert_close(sum(parts.values()), loss)
    loss.backward()
    return loss.detach(), [leaf.grad for leaf in leaves]


@SETTINGS
@given(
    size=st.integers(1, 12),
    chunk=st.sampled_from(CHUNKS),
    cls=st.sampled_from([*SYMMETRIC, CWCL]),
    data=st.data(),
)
def test_joint_permutation_changes_nothing(size, chunk, cls, data):
    order = data.draw(st.permutations(range(size)))
    pair = features(size)
    loss, gradients = run(cls(chunk=chunk), pair)
    permuted, permuted_gradients = run(cls(chunk=chunk), pair[:, order])
    torch.testing.assert_close(permuted, loss)
    for got, expected in zip(permuted_gradients, gradients, strict=True):
        torch.testing.assert_close(got, expected[order])


@pytest.mark.parametrize("chunk", CHUNKS)
@pytest.mark.parametrize("cls", SYMMETRIC)
@pytest.mark.parametrize("positives", ["pairs", "labels", "masked"])
def test_swapping_the_modalities_changes_nothing(cls, positives, chunk):
    pair, labels = features(7), [0, 1, 2, 0, 1, 2, 0]
    loss, (of_first, of_second) = run(cls(chunk=chunk, positives=positives), pair, labels=labels)
    swapped, (of_second_too, of_first_too) = run(
        cls(chunk=chunk, positives=positives), pair.flip(0), labels=labels
    )
    torch.testing.assert_close(swapped, loss)
    torch.testing.assert_close(of_first_too, of_first)
    torch.testing.assert_close(of_second_too, of_second)


@pytest.mark.parametrize("chunk", CHUNKS)
@pytest.mark.parametrize("cls", [InfoNCE, Sigmoid, CWCL])
def test_gradient_is_orthogonal_to_the_features(cls, chunk):
    pair = features(6)
    for leaf, gradient in zip(pair, run(cls(chunk=chunk), pair)[1], strict=True):
        assert float(gradient.abs().max()) > 1e-3
        assert float((leaf * gradient).sum(1).abs().max()) < 1e-12


@pytest.mark.parametrize("chunk", CHUNKS)
def test_identical_embeddings_give_log_b(chunk):
    same = torch.ones(2, 9, 4, dtype=torch.float64)
    assert float(run(InfoNCE(chunk=chunk), same)[0]) == pytest.approx(math.log(9), abs=1e-12)


@pytest.mark.parametrize("chunk", CHUNKS)
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_a_batch_of_one_gives_zero(chunk, smoothing):
    loss, gradients = run(InfoNCE(smoothing, chunk=chunk), features(1))
    assert float(loss) == pytest.approx(0.0, abs=1e-12)
    assert all(float(gradient.abs().max()) < 1e-12 for gradient in gradients)


@pytest.mark.parametrize("chunk", CHUNKS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("cls", [InfoNCE, Sigmoid, CWCL])
def test_half_precision_is_finite_at_scale_100(cls, dtype, chunk):
    leaves = [F.normalize(tensor, dim=1).to(dtype).requires_grad_() for tensor in features(16)]
    scale = torch.tensor(100.0, dtype=dtype, requires_grad=True)
    loss = cls(chunk=chunk)(Outputs({"image": leaves[0], "text": leaves[1]}, scale), Batch({}))["loss"]
    loss.backward()
    assert loss.dtype == torch.float32
    for leaf in (*leaves, scale):
        assert leaf.grad.dtype == dtype
        assert leaf.grad.isfinite().all()
        assert float(leaf.grad.abs().max()) > 0


def test_logits_are_not_rounded_under_autocast():
    pair = [F.normalize(tensor, dim=1) for tensor in features(8, dtype=torch.float32)]
    outputs = Outputs({"image": pair[0], "text": pair[1]}, torch.tensor(100.0))
    for chunk in CHUNKS:
        plain = InfoNCE(chunk=chunk)(outputs, Batch({}))["loss"]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(InfoNCE(chunk=chunk)(outputs, Batch({}))["loss"], plain)


def test_label_smoothing_equals_two_smoothed_cross_entropies():
    pair = F.normalize(features(7), dim=2)
    logits = 10 * pair[0] @ pair[1].T
    target = torch.arange(7)
    expected = (
        F.cross_entropy(logits, target, label_smoothing=0.2)
        + F.cross_entropy(logits.T, target, label_smoothing=0.2)
    ) / 2
    for chunk in CHUNKS:
        torch.testing.assert_close(run(InfoNCE(0.2, chunk=chunk), pair)[0], expected)


@SETTINGS
@given(
    labels=st.lists(st.integers(-2, 3), min_size=1, max_size=10),
    smoothing=st.sampled_from([0.0, 0.25]),
    chunk=st.sampled_from(CHUNKS),
)
def test_label_positives_share_the_target_evenly(labels, smoothing, chunk):
    pair = features(len(labels))
    got, gradients = run(InfoNCE(smoothing, chunk=chunk, positives="labels"), pair, labels=labels)
    leaves = [tensor.clone().requires_grad_() for tensor in pair]
    first, second = (F.normalize(leaf, dim=1) for leaf in leaves)
    same = (torch.tensor(labels)[:, None] == torch.tensor(labels)).double()
    target = (1 - smoothing) * same / same.sum(1, keepdim=True) + smoothing / len(labels)
    logits = 10 * first @ second.T
    expected = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
    torch.testing.assert_close(got, expected.detach())
    for gradient, wanted in zip(gradients, torch.autograd.grad(expected, leaves), strict=True):
        torch.testing.assert_close(gradient, wanted, atol=1e-10, rtol=1e-7)


@pytest.mark.parametrize("chunk", CHUNKS)
@pytest.mark.parametrize("cls", SYMMETRIC)
@pytest.mark.parametrize("positives", ["labels", "masked"])
def test_labels_that_are_all_different_are_plain_pairs(cls, positives, chunk):
    pair = features(6)
    got = run(cls(chunk=chunk, positives=positives), pair, labels=[5, 1, 4, 2, 3, 0])
    expected = run(cls(chunk=chunk), pair)
    torch.testing.assert_close(got[0], expected[0])
    torch.testing.assert_close(got[1], expected[1])


@pytest.mark.parametrize("chunk", CHUNKS)
@pytest.mark.parametrize("cls", SYMMETRIC)
def test_masked_copies_do_not_repel_each_other(cls, chunk):
    """With rows 0 and 1 alike, the loss does not depend on the cross terms (0, 1) and (1, 0)."""
    first, second = F.normalize(features(4), dim=2)
    labels = torch.tensor([0, 0, 1, 2])
    # In one-hot coordinates every logit is an entry of `second` of its own.
    first, table = torch.eye(4, dtype=torch.float64), second[:, :4].clone().requires_grad_()
    outputs = Outputs({"image": first, "text": table}, torch.tensor(3.0, dtype=torch.float64))
    cls(chunk=chunk, positives="masked")(outputs, Batch({}, labels=labels))["loss"].backward()
    assert table.grad[0, 1] == table.grad[1, 0] == 0
    assert int((table.grad == 0).sum()) == 2


@pytest.mark.parametrize("chunk", CHUNKS)
def test_sigmoid_label_positives_are_ones(chunk):
    pair, labels = features(5), torch.tensor([0, 1, 0, 2, 1])
    unit = F.normalize(pair, dim=2)
    logits = 10 * unit[0] @ unit[1].T - 4
    same = (labels[:, None] == labels).double()
    expected = F.binary_cross_entropy_with_logits(logits, same, reduction="sum") / 5
    got = run(Sigmoid(chunk=chunk, positives="labels"), pair, bias=-4.0, labels=labels.tolist())[0]
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("chunk", CHUNKS)
def test_sigmoid_when_every_logit_is_the_bias(chunk):
    zero = torch.zeros(6, 4, dtype=torch.float64)
    bias = torch.tensor(-10.0, dtype=torch.float64)
    outputs = Outputs({"image": zero, "text": zero}, torch.tensor(10.0, dtype=torch.float64), bias)
    expected = 5 * math.log1p(math.exp(-10)) + math.log1p(math.exp(10))
    got = Sigmoid(chunk=chunk)(outputs, Batch({}))["loss"]
    assert float(got) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("cls", [InfoNCE, CWCL])
def test_a_bias_cancels_and_still_gets_a_gradient(cls):
    unit = F.normalize(features(5), dim=2)
    bias = torch.tensor(-7.0, dtype=torch.float64, requires_grad=True)
    scale = torch.tensor(10.0, dtype=torch.float64)
    embeddings = {"image": unit[0], "text": unit[1]}
    loss = cls()(Outputs(embeddings, scale, bias), Batch({}))["loss"]
    loss.backward()
    torch.testing.assert_close(loss.detach(), cls()(Outputs(embeddings, scale), Batch({}))["loss"])
    assert bias.grad == 0


def test_cwcl_with_orthogonal_opposites_is_twice_info_nce():
    """``w`` is the identity when frozen rows point away from each other: two rows, opposite."""
    row = F.normalize(torch.randn(4, generator=torch.Generator().manual_seed(0), dtype=torch.float64), dim=0)
    frozen = torch.stack([row, -row])
    trained = features(2, width=4)[1]
    loss = run(CWCL(), (frozen, trained))[0]
    torch.testing.assert_close(loss, 2 * run(InfoNCE(), (frozen, trained))[0])


@pytest.mark.parametrize("cls", [InfoNCE, Sigmoid, CWCL])
def test_modalities_are_an_option(cls):
    pair = features(5)
    got = run(cls(modalities=("audio", "text")), pair, names=("audio", "text"))
    expected = run(cls(), pair)
    torch.testing.assert_close(got[0], expected[0])


@pytest.mark.parametrize("cls", [InfoNCE, Sigmoid, CWCL])
def test_wrong_embeddings_are_refused(cls):
    scale = torch.tensor(1.0)
    with pytest.raises(InputError, match=r"reads outputs.embeddings\['text'\], which has image"):
        cls()(Outputs({"image": torch.ones(2, 3)}, scale), Batch({}))
    for text in (torch.ones(3, 3), torch.ones(2, 4)):
        with pytest.raises(InputError, match=r"both be \[B, D\] with B >= 1; got image \[2, 3\] and text"):
            cls()(Outputs({"image": torch.ones(2, 3), "text": text}, scale), Batch({}))
    with pytest.raises(InputError, match=r"with B >= 1; got image \[0, 3\]"):
        cls()(Outputs({"image": torch.ones(0, 3), "text": torch.ones(0, 3)}, scale), Batch({}))


@pytest.mark.parametrize("cls", SYMMETRIC)
def test_label_positives_need_labels(cls):
    unit = torch.ones(2, 3)
    with pytest.raises(InputError, match=r"reads batch.labels, which is None"):
        cls(positives="labels")(Outputs({"image": unit, "text": unit}, torch.tensor(1.0)), Batch({}))


@pytest.mark.parametrize("value", [-0.1, 1.0])
def test_label_smoothing_out_of_range_is_refused(value):
    with pytest.raises(ConfigError, match=r"label_smoothing must be in \[0, 1\)"):
        InfoNCE(value)


def test_label_smoothing_with_masked_columns_is_refused():
    with pytest.raises(ConfigError, match="choose one of the two"):
        InfoNCE(0.1, positives="masked")


def test_local_loss_without_gathered_gradients_is_refused():
    with pytest.raises(ConfigError, match="local_loss=True needs gather_with_grad=True"):
        InfoNCE(gather_with_grad=False)


@pytest.mark.parametrize("cls", [InfoNCE, Sigmoid, CWCL])
def test_a_tile_side_below_one_is_refused(cls):
    with pytest.raises(ConfigError, match="at least 1, or None"):
        cls(chunk=0)
