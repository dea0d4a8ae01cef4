"""The tiled computation equals the plain one, in less memory."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from verticlip.core.errors import ConfigError, InputError, VerticlipError
from verticlip.core.objectives.streaming import Pairing, logit_statistics, sigmoid_sum

SETTINGS = settings(max_examples=25, deadline=None, derandomize=True)


def make(rows, columns, *, width=6, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return tuple(
        F.normalize(torch.randn(n, width, generator=generator, dtype=dtype), dim=1).requires_grad_()
        for n in (rows, columns)
    )


def scalar(value, dtype=torch.float64):
    return torch.tensor(value, dtype=dtype, requires_grad=True)


def labelled(rows, columns, offset, positives, *, classes=3, seed=1):
    labels = torch.randint(classes, (columns,), generator=torch.Generator().manual_seed(seed))
    row_labels = labels[:rows] if offset is None else labels[offset : offset + rows]
    return Pairing(offset, positives, row_labels, labels)


def weighted(statistics):
    """Return a scalar that depends on every statistic with a weight of its own."""
    total = 0.0
    for number, tensor in enumerate(statistics):
        if tensor is not None:
            weights = torch.linspace(0.5 + number, 1.5 - number, len(tensor), dtype=tensor.dtype)
            total = total + (weights * tensor).sum()
    return total


@SETTINGS
@given(
    rows=st.integers(1, 9),
    extra=st.integers(0, 7),
    offset=st.integers(0, 7),
    chunk=st.integers(1, 20),
    columns=st.booleans(),
    positives=st.sampled_from(["pairs", "labels", "masked"]),
)
def test_statistics_do_not_depend_on_the_tile_side(rows, extra, offset, chunk, columns, positives):
    extra = 0 if columns else extra
    query, keys = make(rows, rows + extra)
    scale = scalar(20.0)
    pairing = labelled(rows, rows + extra, min(offset, extra), positives)
    results = []
    for side in (None, chunk):
        stats = logit_statistics(query, keys, scale=scale, pairing=pairing, columns=columns, chunk=side)
        results.append((stats, torch.autograd.grad(weighted(stats), [query, keys, scale])))
    (plain, plain_gradients), (tiled, tiled_gradients) = results
    for got, expected in zip((*tiled, *tiled_gradients), (*plain, *plain_gradients), strict=True):
        if expected is None:
            assert got is None
        else:
            torch.testing.assert_close(got, expected, rtol=1e-11, atol=1e-12)


@SETTINGS
@given(
    rows=st.integers(1, 8),
    columns=st.integers(8, 13),
    offset=st.sampled_from([None, 0, 3]),
    chunk=st.integers(1, 20),
    positives=st.sampled_from(["pairs", "labels", "masked"]),
)
def test_sigmoid_sum_does_not_depend_on_the_tile_side(rows, columns, offset, chunk, positives):
    query, keys = make(rows, columns + 3)
    scale, bias = scalar(10.0), scalar(-3.0)
    pairing = labelled(rows, columns + 3, offset, positives)
    results = []
    for side in (None, chunk):
        total = sigmoid_sum(query, keys, scale=scale, bias=bias, pairing=pairing, chunk=side)
        results.append((total, *torch.autograd.grad(3 * total, [query, keys, scale, bias])))
    for got, expected in zip(*results, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("scale", [1e-3, 100.0, 5000.0])
def test_any_scale_is_safe_in_float32(scale):
    query, keys = make(7, 7, dtype=torch.float32)
    stats = logit_statistics(
        query, keys, scale=scalar(scale, torch.float32), pairing=Pairing(), columns=True, chunk=2
    )
    exact = (scale * query.double() @ keys.double().T).logsumexp(1)
    got = (stats.row_loss + stats.partner).double()
    torch.testing.assert_close(got, exact, rtol=2e-6, atol=2e-6)
    for gradient in torch.autograd.grad(weighted(stats), [query, keys]):
        assert gradient.isfinite().all()


def test_gradient_survives_convergence():
    """Near convergence softmax minus one loses its digits in float32; the tiled gradient keeps them."""
    query = torch.eye(4, 8).requires_grad_()
    keys = torch.eye(4, 8).requires_grad_()

    def gradient(dtype, chunk):
        q, k = (tensor.detach().to(dtype).requires_grad_() for tensor in (query, keys))
        stats = logit_statistics(
            q, k, scale=torch.tensor(25.0, dtype=dtype), pairing=Pairing(), columns=True, chunk=chunk
        )
        return torch.autograd.grad(stats.row_loss.mean() + stats.column_loss.mean(), q)[0].double()

    exact = gradient(torch.float64, None)
    assert 0 < float(exact.abs().max()) < 1e-8
    torch.testing.assert_close(gradient(torch.float32, 2), exact, rtol=1e-4, atol=0)


@pytest.mark.parametrize("wanted", [(0,), (1,), (2,), (1, 2), (0, 2)])
@pytest.mark.parametrize("kind", ["statistics", "sigmoid"])
def test_only_what_needs_a_gradient_gets_one(wanted, kind):
    tensors = [*make(6, 6), scalar(5.0)]
    gradients = []
    for chunk in (None, 4):
        query, keys, scale = (
            tensor.detach().requires_grad_(number in wanted) for number, tensor in enumerate(tensors)
        )
        if kind == "statistics":
            value = weighted(
                logit_statistics(query, keys, scale=scale, pairing=Pairing(), columns=True, chunk=chunk)
            )
        else:
            value = sigmoid_sum(query, keys, scale=scale, bias=None, pairing=Pairing(), chunk=chunk)
        value.backward()
        gradients.append([query.grad, keys.grad, scale.grad])
    for number, (plain, tiled) in enumerate(zip(*gradients, strict=True)):
        if number in wanted:
            torch.testing.assert_close(tiled, plain, rtol=1e-11, atol=1e-12)
        else:
            assert tiled is None


def test_autograd_agrees_with_finite_differences():
    query, keys = make(4, 6)
    pairing = labelled(4, 6, 1, "masked")

    def statistics(query, keys, scale):
        square = logit_statistics(query, keys[:4], scale=scale, pairing=Pairing(), columns=True, chunk=3)
        rows = logit_statistics(query, keys, scale=scale, pairing=pairing, columns=False, chunk=3)
        return weighted(square) + weighted(rows)

    def sigmoid(query, keys, scale):
        return sigmoid_sum(query, keys, scale=scale, bias=scale - 5, pairing=pairing, chunk=3)

    for function in (statistics, sigmoid):
        assert torch.autograd.gradcheck(function, (query, keys, scalar(4.0)))


class LargestTensor(TorchDispatchMode):
    """Remembers the number of entries of the largest tensor that any operation returns."""

    largest = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        sizes = [leaf.numel() for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)]
        self.largest = max(self.largest, *sizes, 0) if sizes else self.largest
        return result


@pytest.mark.parametrize("kind", ["statistics", "sigmoid"])
def test_the_logit_matrix_never_exists(kind):
    size, width = 1024, 8
    largest = {}
    for chunk in (None, 64):
        query, keys = make(size, size, width=width, dtype=torch.float32)
        scale = scalar(10.0, torch.float32)
        with LargestTensor() as mode:
            if kind == "statistics":
                value = weighted(
                    logit_statistics(query, keys, scale=scale, pairing=Pairing(), columns=True, chunk=chunk)
                )
            else:
                value = sigmoid_sum(query, keys, scale=scale, bias=None, pairing=Pairing(), chunk=chunk)
            value.backward()
        largest[chunk] = mode.largest
    assert largest[None] == size * size
    assert largest[64] == size * width


@pytest.mark.parametrize("kind", ["statistics", "sigmoid"])
def test_second_derivative_is_refused(kind):
    query, keys = make(3, 3)
    common = {"scale": scalar(2.0), "pairing": Pairing(), "chunk": 2}
    if kind == "statistics":
        value = weighted(logit_statistics(query, keys, columns=True, **common))
    else:
        value = sigmoid_sum(query, keys, bias=None, **common)
    with pytest.raises(VerticlipError, match=r"no second derivative.*chunk=None"):
        torch.autograd.grad(value, query, create_graph=True)


@pytest.mark.parametrize("kind", ["statistics", "sigmoid"])
def test_autocast_around_forward_and_backward_changes_nothing(kind):
    results = []
    for enabled in (False, True):
        query, keys = make(8, 8, dtype=torch.float32)
        scale = scalar(100.0, torch.float32)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            if kind == "statistics":
                value = weighted(
                    logit_statistics(query, keys, scale=scale, pairing=Pairing(), columns=True, chunk=4)
                )
            else:
                value = sigmoid_sum(query, keys, scale=scale, bias=None, pairing=Pairing(), chunk=4)
            value.backward()
        results.append((value, query.grad, keys.grad, scale.grad))
    for got, expected in zip(*results, strict=True):
        assert torch.equal(got, expected)


def test_sigmoid_without_gradients_keeps_no_graph():
    query, keys = make(3, 3)
    with torch.no_grad():
        value = sigmoid_sum(query, keys, scale=scalar(2.0), bias=None, pairing=Pairing(), chunk=2)
    assert not value.requires_grad


def run(pairing=Pairing(), *, shapes=((3, 4), (3, 4)), chunk=2):
    query, keys = (torch.ones(shape) for shape in shapes)
    return logit_statistics(query, keys, scale=torch.tensor(1.0), pairing=pairing, columns=True, chunk=chunk)


@pytest.mark.parametrize("chunk", [2, None])
@pytest.mark.parametrize("shapes", [((3, 4), (3, 5)), ((3,), (3, 4)), ((0, 4), (3, 4))])
def test_wrong_shapes_are_refused(shapes, chunk):
    with pytest.raises(InputError, match=r"must be \[R, D\] and \[C, D\]"):
        run(shapes=shapes, chunk=chunk)


def test_a_tile_side_below_one_is_refused():
    with pytest.raises(ConfigError, match=r"chunk must be a tile side of at least 1.*got 0"):
        run(chunk=0)


@pytest.mark.parametrize("offset", [1, -1])
def test_partners_outside_the_columns_are_refused(offset):
    with pytest.raises(InputError, match=f"start at column {offset} need at least"):
        run(Pairing(offset))


def test_the_column_direction_needs_a_square():
    with pytest.raises(InputError, match="as many rows as columns; got 3 and 4"):
        run(shapes=((3, 4), (4, 4)))


def test_statistics_need_partners():
    with pytest.raises(InputError, match="partner among the columns"):
        run(Pairing(None))


def test_missing_and_misshapen_labels_are_refused():
    with pytest.raises(InputError, match="needs the label of every row and column"):
        run(Pairing(0, "labels"))
    with pytest.raises(InputError, match=r"got \[2\] and \[3\]"):
        run(Pairing(0, "masked", torch.zeros(2), torch.zeros(3)))
