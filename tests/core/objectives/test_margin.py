"""Margin softmax: against the formulas, its edges, and together with contrast."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F
from verticlip.core.errors import ConfigError, InputError
from verticlip.core.objectives.base import build_objective
from verticlip.core.objectives.margin import AlignedRetrieval, MarginSoftmax
from verticlip.core.types import Batch, Outputs


def ready(objective, width=6, classes=4, seed=0):
    torch.manual_seed(seed)
    objective.prepare(width, [f"c{index}" for index in range(classes)])
    return objective


def given_batch(rows=5, width=6, classes=4, seed=1, **more):
    generator = torch.Generator().manual_seed(seed)
    image = F.normalize(torch.randn(rows, width, generator=generator), dim=-1).requires_grad_()
    text = F.normalize(torch.randn(rows, width, generator=generator), dim=-1)
    labels = torch.randint(classes, (rows,), generator=generator)
    outputs = Outputs({"image": image, "text": text}, torch.tensor(10.0), None, {})
    return outputs, Batch({}, labels, tuple("abcdefghijkl"[:rows]), {})


@pytest.mark.parametrize("kind", ["cosine", "angle"])
@pytest.mark.parametrize("margin", [0.0, 0.3])
def test_it_is_the_formula(kind, margin):
    objective = ready(MarginSoftmax(scale=7.0, margin=margin, kind=kind))
    outputs, batch = given_batch()
    images = outputs.embeddings["image"].detach().double().numpy()
    rows = objective.directions.detach().double().numpy()
    cosines = images @ (rows / np.linalg.norm(rows, axis=1, keepdims=True)).T
    total = 0.0
    for cosine, label in zip(cosines, batch.labels.tolist(), strict=True):
        own = cosine[label] - margin if kind == "cosine" else math.cos(math.acos(cosine[label]) + margin)
        logits = 7.0 * np.where(np.arange(4) == label, own, cosine)
        total += np.log(np.exp(logits).sum()) - logits[label]
    assert float(objective(outputs, batch)["loss"].detach()) == pytest.approx(total / 5, rel=1e-5)


@given(st.floats(-1, 1), st.floats(0.01, 0.9))
def test_the_margin_in_angles_never_rewards_turning_away(cosine, margin):
    objective = MarginSoftmax(scale=1.0, margin=margin, kind="angle")
    objective.directions = torch.nn.Parameter(torch.eye(2, dtype=torch.float64))
    labels = torch.tensor([0, 0])
    # Two embeddings, the first a little closer to the class: its own logit is higher.
    closer = min(1.0, cosine + 1e-3)
    rows = torch.tensor(
        [[one, math.sqrt(max(0.0, 1 - one**2))] for one in (closer, cosine)], dtype=torch.float64
    )
    own = objective.logits(rows, labels)[:, 0].detach()
    assert own[0] >= own[1] - 1e-9
    assert own[1] <= cosine + 1e-6


def test_a_margin_asks_for_more_and_its_gradient_is_finite_at_the_ends():
    plain, hard = ready(MarginSoftmax(margin=0.0)), ready(MarginSoftmax(margin=0.4))
    outputs, batch = given_batch()
    assert hard(outputs, batch)["loss"] > plain(outputs, batch)["loss"]
    ends = ready(MarginSoftmax(kind="angle"), classes=2, width=2)
    ends.directions = torch.nn.Parameter(torch.eye(2))
    image = torch.tensor([[1.0, 0.0], [-1.0, 0.0]], requires_grad=True)
    loss = ends(
        Outputs({"image": image}, torch.tensor(1.0), None, {}),
        Batch({}, torch.tensor([0, 0]), ("a", "b"), {}),
    )
    loss["loss"].backward()
    assert torch.isfinite(image.grad).all()
    assert torch.isfinite(ends.directions.grad).all()


def test_it_learns_to_separate():
    objective = ready(MarginSoftmax(scale=16.0, margin=0.2), classes=3)
    outputs, batch = given_batch(rows=9, classes=3)
    raw = torch.nn.Parameter(outputs.embeddings["image"].detach().clone())
    optimizer = torch.optim.Adam([raw, *objective.parameters()], lr=0.05)
    for _ in range(150):
        unit = F.normalize(raw, dim=-1)
        loss = objective(Outputs({"image": unit}, torch.tensor(1.0), None, {}), batch)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    cosines = (F.normalize(raw, dim=-1) @ F.normalize(raw, dim=-1).T).detach()
    same = batch.labels[:, None] == batch.labels[None]
    assert cosines[same].min() > cosines[~same].max() + 0.2


def test_both_parts_add_up_and_the_weight_counts():
    outputs, batch = given_batch()
    single, double = ready(AlignedRetrieval(weight=1.0)), ready(AlignedRetrieval(weight=2.0))
    with torch.no_grad():
        first, second = single(outputs, batch), double(outputs, batch)
    assert float(first["loss"]) == pytest.approx(float(first["margin"] + first["contrastive"]))
    assert second["margin"] == first["margin"]
    assert float(second["contrastive"]) == pytest.approx(2 * float(first["contrastive"]))


def test_what_cannot_be_is_refused():
    outputs, batch = given_batch()
    with pytest.raises(InputError, match=r"classes 0 to 1, and the batch has"):
        ready(MarginSoftmax(), classes=2)(outputs, Batch({}, torch.tensor([0, 1, 2, 0, 1]), batch.ids, {}))
    with pytest.raises(InputError, match=r"classes 0 to 3"):
        ready(MarginSoftmax())(outputs, Batch({}, torch.tensor([0, -1, 2, 0, 1]), batch.ids, {}))
    with pytest.raises(InputError, match=r"6 values and the classes 5"):
        ready(MarginSoftmax(), width=5)(outputs, batch)
    with pytest.raises(ConfigError, match=r"two or more"):
        MarginSoftmax().prepare(4, ["one"])
    for options, words in (
        ({"scale": 0}, "scale must be above 0"),
        ({"margin": 1.0}, "margin must be in"),
        ({"label_smoothing": 1.0}, "label_smoothing"),
    ):
        with pytest.raises(ConfigError, match=words):
            build_objective("margin_softmax", options)
    with pytest.raises(ConfigError, match=r"use margin_softmax"):
        build_objective("aligned_retrieval", {"weight": 0})
