"""The loss unit against loops in NumPy, and where its gradient goes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from verticlip.core.errors import ConfigError, InputError
from verticlip.core.objectives.base import build_objective
from verticlip.core.types import Batch, Outputs
from verticlip.domains.ecommerce.objectives.esspr import (
    Margins,
    SameStyle,
    TermWeights,
    locality,
    ranking_hinge,
)

NAMES = ("left", "left_text", "left_image", "right", "changed")


def views(count: int, dim: int = 6, seed: int = 0) -> dict[str, Tensor]:
    rng = np.random.default_rng(seed)
    base = rng.normal(size=(count, dim))
    return {name: torch.tensor(base + 0.7 * rng.normal(size=(count, dim))) for name in NAMES}


def outputs(given: dict[str, Tensor]) -> Outputs:
    return Outputs(given, torch.tensor(10.0, dtype=torch.float64))


def batch(**extras: object) -> Batch:
    return Batch({}, extras={name: torch.as_tensor(value) for name, value in extras.items()})


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


def oracle(given, margins, weights, top_k, groups=None, has_text=None):
    """The formulas of the specification, entry by entry."""
    v = {name: tensor.numpy() for name, tensor in given.items()}
    count = len(v["left"])
    groups = groups if groups is not None else [-1] * count

    def apart(i, j):
        return i != j and not (groups[i] == groups[j] and groups[i] >= 0)

    def hinge(queries, keys, margin):
        rows = []
        for i in range(count):
            own = cosine(queries[i], keys[i])
            terms = [
                max(0.0, cosine(queries[i], keys[j]) - own + margin) for j in range(count) if apart(i, j)
            ]
            rows.append(sum(terms) / count)
        return np.array(rows)

    text_rows = np.array(has_text if has_text is not None else [True] * count)
    total = weights.ppm_image_text * hinge(v["left"], v["right"], margins.ppm).mean()
    total += weights.ppm_text * hinge(v["left_text"], v["right"], margins.ppm)[text_rows].mean()
    total += weights.ppm_image * hinge(v["left_image"], v["right"], margins.ppm).mean()
    distinct = hinge(v["changed"], v["left"], margins.self_distinctiveness).mean()
    total += weights.self_distinctiveness * distinct
    rows = []
    for i in range(count):
        scores = [cosine(v["left"][i], v["right"][j]) for j in range(count)]
        nearest = sorted(range(count), key=lambda j: (-scores[j], j))[:top_k]
        moved = [cosine(v["changed"][i], v["right"][j]) for j in nearest]
        terms = [
            max(0.0, (scores[j] - m) ** 2 - margins.locality) for j, m in zip(nearest, moved, strict=True)
        ]
        rows.append(sum(terms) / top_k)
    return total + weights.locality_consistency * np.mean(rows)


@pytest.mark.parametrize(("count", "top_k", "seed"), [(12, 10, 0), (5, 3, 1), (2, 1, 2), (7, 7, 3)])
def test_loss_is_that_of_the_formulas(count, top_k, seed):
    given = views(count, seed=seed)
    margins = Margins(ppm=0.4, self_distinctiveness=0.15, locality=0.003)
    weights = TermWeights(ppm_image_text=0.9, ppm_text=0.4, locality_consistency=0.7)
    parts = SameStyle(margins, weights, top_k=top_k)(outputs(given), batch())
    assert float(parts["loss"]) == pytest.approx(oracle(given, margins, weights, top_k), abs=1e-12)
    assert set(parts) == {"loss", *TermWeights.model_fields}
    assert float(sum(value for name, value in parts.items() if name != "loss")) == pytest.approx(
        float(parts["loss"])
    )


def test_worked_by_hand():
    wanted = np.array([[0.8, 0.7], [0.1, 0.9]])
    second = np.array([0.3, np.sqrt(1 - 0.09)])
    plane = np.stack([wanted[:, 0], (wanted[:, 1] - 0.3 * wanted[:, 0]) / second[1]], axis=1)
    queries = np.concatenate([plane, np.sqrt(1 - (plane**2).sum(axis=1, keepdims=True))], axis=1)
    keys = np.array([[1.0, 0, 0], [*second, 0]])
    found = ranking_hinge(torch.tensor(queries), torch.tensor(keys), margin=0.3)
    np.testing.assert_allclose(found.similarity.numpy(), wanted, atol=1e-12)
    np.testing.assert_allclose(found.rows.numpy(), [0.1, 0.0], atol=1e-12)


def test_the_order_of_pairs_does_not_matter():
    given, order = views(11), torch.randperm(11, generator=torch.Generator().manual_seed(0))
    objective = SameStyle()
    whole = objective(outputs(given), batch(group=[0, 0, 1, -1, -1, 2, 3, 2, 4, 5, 6]))
    mixed = objective(
        outputs({name: rows[order] for name, rows in given.items()}),
        batch(group=torch.tensor([0, 0, 1, -1, -1, 2, 3, 2, 4, 5, 6])[order]),
    )
    for name, value in whole.items():
        assert float(mixed[name]) == pytest.approx(float(value), abs=1e-12)


def test_length_of_vectors_does_not_matter():
    given = views(10)
    longer = {name: rows * 7.5 for name, rows in given.items()}
    objective = SameStyle()
    assert float(objective(outputs(longer), batch())["loss"]) == pytest.approx(
        float(objective(outputs(given), batch())["loss"]), abs=1e-12
    )


def test_products_of_one_group_are_no_negatives():
    given, margins, weights = views(6), Margins(), TermWeights()
    groups = [0, 1, 0, -1, -1, 1]
    found = SameStyle(top_k=4)(outputs(given), batch(group=groups))["loss"]
    assert float(found) == pytest.approx(oracle(given, margins, weights, 4, groups), abs=1e-12)
    assert float(found) < oracle(given, margins, weights, 4)
    alone = SameStyle(margins, TermWeights(locality_consistency=0, self_distinctiveness=0))
    assert float(alone(outputs(given), batch(group=[3] * 6))["loss"]) == 0


def test_a_row_without_text_is_left_out_of_the_text_term():
    given = views(5)
    has_text = [True, False, True, True, False]
    expected = oracle(given, Margins(), TermWeights(), 2, has_text=has_text)
    given["left_text"][1] = given["left_text"][4] = 0.0
    leaves = {name: rows.clone().requires_grad_() for name, rows in given.items()}
    found = SameStyle(top_k=2)(outputs(leaves), batch(has_text=has_text))["loss"]
    assert float(found.detach()) == pytest.approx(expected, abs=1e-12)
    found.backward()
    assert leaves["left_text"].grad[[1, 4]].abs().max() == 0


def test_gradient_flows_through_both_sides_of_locality_but_not_through_the_choice():
    given = {name: rows.requires_grad_() for name, rows in views(6).items()}
    found = locality(given["left"], given["changed"], given["right"], margin=0.0, top_k=3)
    found.rows.sum().backward()
    for name in ("left", "changed", "right"):
        assert given[name].grad.abs().max() > 0
    assert torch.autograd.gradcheck(
        lambda a, x, r: locality(a, x, r, margin=0.001, top_k=3).rows,
        tuple(given[name].detach().requires_grad_() for name in ("left", "changed", "right")),
    )
    assert torch.autograd.gradcheck(
        lambda a, r: ranking_hinge(a, r, margin=0.3).rows,
        tuple(given[name].detach().requires_grad_() for name in ("left", "right")),
    )


def test_equal_neighbors_are_taken_in_column_order():
    left = torch.eye(3, dtype=torch.float64)[:1].expand(4, 3).clone()
    right = torch.tensor([[1.0, 1, 0], [0, 0, 1], [1, 1, 0], [1, 1, 0]], dtype=torch.float64)
    found = locality(left, left, right, margin=0, top_k=2)
    assert found.neighbors.tolist() == [[0, 2]] * 4


def test_zero_vectors_and_a_batch_of_one_are_finite():
    given = {name: torch.zeros(10, 4, requires_grad=True) for name in NAMES}
    loss = SameStyle()(outputs(given), batch())["loss"]
    loss.backward()
    assert torch.isfinite(loss)
    assert all(torch.isfinite(rows.grad).all() for rows in given.values() if rows.grad is not None)
    parts = SameStyle(top_k=1)(outputs(views(1)), batch())
    assert float(parts["ppm_image_text"]) == 0
    assert torch.isfinite(parts["loss"])


def test_half_precision_embeddings_are_computed_in_full():
    given = {name: rows.to(torch.bfloat16) for name, rows in views(10).items()}
    assert SameStyle()(Outputs(given, torch.ones(())), batch())["loss"].dtype == torch.float32


def test_what_a_batch_needs():
    small = SameStyle(weights=TermWeights(self_distinctiveness=0, locality_consistency=0))
    assert small.sides == ("", "right_")
    assert small.smallest_batch == 1
    assert "changed" not in small.views
    whole = SameStyle()
    assert whole.sides == ("", "right_", "changed_")
    assert whole.smallest_batch == 10
    with pytest.raises(InputError, match="the 10 nearest products and the batch has 4"):
        whole(outputs(views(4)), batch())
    given = views(10)
    del given["changed"]
    with pytest.raises(InputError, match=r"reads outputs.embeddings\['changed'\], which has left"):
        whole(outputs(given), batch())
    with pytest.raises(InputError, match=r"must be one integer for each of the 10 rows"):
        whole(outputs(views(10)), batch(group=[0.5] * 10))
    uneven = views(10)
    uneven["right"] = uneven["right"][:9]
    with pytest.raises(InputError, match=r"got left \[10, 6\] and right \[9, 6\]"):
        whole(outputs(uneven), batch())


def test_it_is_built_from_a_recipe():
    options = {"margins": {"ppm": 0.25}, "weights": {"ppm_text": 0}, "top_k": 3}
    built = build_objective("esspr", options, domain="ecommerce")
    assert isinstance(built, SameStyle)
    assert built.margins == Margins(ppm=0.25)
    assert "ppm_text" not in built.terms
    with pytest.raises(ConfigError, match="top_k must be at least 1 neighbor, got 0"):
        build_objective("esspr", {"top_k": 0}, domain="ecommerce")
    with pytest.raises(ConfigError, match="nothing to learn"):
        build_objective("esspr", {"weights": dict.fromkeys(TermWeights.model_fields, 0)}, domain="ecommerce")
    with pytest.raises(ConfigError, match="margins"):
        build_objective("esspr", {"margins": {"pmm": 0.25}}, domain="ecommerce")
