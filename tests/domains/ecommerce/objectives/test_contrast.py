from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from verticlip.core.errors import ConfigError, InputError
from verticlip.core.objectives.base import build_objective
from verticlip.core.types import Batch, Outputs
from verticlip.domains.ecommerce.objectives.contrast import ProductInfoNCE

NAMES = ("left", "left_text", "left_image", "right")


def views(count: int, seed: int = 0) -> dict[str, Tensor]:
    rng = np.random.default_rng(seed)
    base = rng.normal(size=(count, 5))
    return {name: torch.tensor(base + rng.normal(size=(count, 5))) for name in NAMES}


def outputs(given: dict[str, Tensor], scale: float = 8.0) -> Outputs:
    return Outputs(given, torch.tensor(scale, dtype=torch.float64))


def batch(**extras: object) -> Batch:
    return Batch({}, extras={name: torch.as_tensor(value) for name, value in extras.items()})


def oracle(given, scale, names, groups=None, usable=None):
    v = {
        name: rows.numpy() / np.linalg.norm(rows.numpy(), axis=1, keepdims=True)
        for name, rows in given.items()
    }
    count = len(v["right"])
    groups = groups or [-1] * count
    total = 0.0
    for name in names:
        rows = [i for i in range(count) if (usable or {}).get(name, [True] * count)[i]]
        z = scale * v[name] @ v["right"].T
        losses = []
        for i in rows:

            def other(j, i=i):
                return j == i or not (groups[i] == groups[j] and groups[i] >= 0)

            row = np.log(sum(np.exp(z[i, j]) for j in range(count) if other(j))) - z[i, i]
            column = np.log(sum(np.exp(z[j, i]) for j in rows if other(j))) - z[i, i]
            losses.append((row + column) / 2)
        total += np.mean(losses) / len(names)
    return total


@pytest.mark.parametrize("count", [1, 2, 9])
def test_loss_is_that_of_the_formula(count):
    given = views(count)
    parts = ProductInfoNCE()(outputs(given), batch())
    assert float(parts["loss"]) == pytest.approx(oracle(given, 8.0, NAMES[:3]), abs=1e-12)
    assert set(parts) == {"loss", *NAMES[:3]}


def test_groups_and_missing_sides():
    given, groups = views(6), [0, 1, 0, -1, -1, 1]
    usable = {"left_text": [True, True, False, True, False, True]}
    expected = oracle(given, 8.0, NAMES[:3], groups, usable)
    given["left_text"][2] = torch.nan
    leaves = {name: rows.nan_to_num(0.0).requires_grad_() for name, rows in given.items()}
    loss = ProductInfoNCE()(outputs(leaves), batch(group=groups, has_text=usable["left_text"]))["loss"]
    assert float(loss.detach()) == pytest.approx(expected, abs=1e-12)
    loss.backward()
    assert all(torch.isfinite(rows.grad).all() for rows in leaves.values())
    assert leaves["left_text"].grad[2].abs().max() == 0


def test_a_view_that_no_row_has_counts_nothing():
    given = views(4)
    parts = ProductInfoNCE()(outputs(given), batch(has_image=[False] * 4))
    assert float(parts["left_image"]) == 0
    assert torch.isfinite(parts["loss"])


def test_one_view_and_symmetry_of_pairs():
    given, order = views(7), torch.tensor([3, 1, 0, 2, 6, 5, 4])
    objective = ProductInfoNCE(views=("left",))
    first = objective(outputs(given), batch())["loss"]
    mixed = objective(outputs({name: rows[order] for name, rows in given.items()}), batch())["loss"]
    swapped = objective(outputs({"left": given["right"], "right": given["left"]}), batch())["loss"]
    assert float(mixed) == pytest.approx(float(first), abs=1e-12)
    assert float(swapped) == pytest.approx(float(first), abs=1e-12)


def test_gradient_reaches_views_and_scale():
    given = {name: rows.requires_grad_() for name, rows in views(5).items()}
    scale = torch.tensor(8.0, dtype=torch.float64, requires_grad=True)
    ProductInfoNCE()(Outputs(given, scale), batch())["loss"].backward()
    assert all(rows.grad.abs().max() > 0 for rows in (*given.values(), scale))


def test_options_are_checked():
    built = build_objective("product_infonce", {"views": ["left", "left"]}, domain="ecommerce")
    assert isinstance(built, ProductInfoNCE)
    assert built.views == ("left",)
    with pytest.raises(ConfigError, match="views is empty"):
        build_objective("product_infonce", {"views": []}, domain="ecommerce")
    with pytest.raises(ConfigError, match="option views"):
        build_objective("product_infonce", {"views": ["right"]}, domain="ecommerce")
    with pytest.raises(InputError, match=r"reads outputs.embeddings\['left_text'\]"):
        ProductInfoNCE()(
            outputs({name: rows for name, rows in views(3).items() if name != "left_text"}), batch()
        )
