"""FLIP's losses against a computation row by row."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F
from verticlip.core.errors import ConfigError, InputError
from verticlip.core.objectives.base import build_objective
from verticlip.core.types import Batch, Outputs
from verticlip.domains.liveness.objectives.category import CategoryCrossEntropy
from verticlip.domains.liveness.objectives.flip import (
    FlipClassification,
    FlipMCLLoss,
    mean_of_rows,
    simclr_logits,
)


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def extras(count=3):
    return {
        "category_logits": draw(count, 2),
        "text_embeddings": draw(7, 5, seed=1),
        "view_1_embeddings": draw(count, 5, seed=2),
        "view_2_embeddings": draw(count, 5, seed=3),
        "view_1_projections": draw(count, 4, seed=4),
        "view_2_projections": draw(count, 4, seed=5),
    }


def batch():
    views = {
        "prompt_view_1": torch.tensor([[0, 0], [4, 5], [1, -1]]),
        "prompt_view_2": torch.tensor([[1, 2, 3], [6, -1, -1], [0, 2, -1]]),
    }
    return Batch({}, torch.tensor([0, 1, 0]), extras=views)


def test_names_in_recipes():
    assert isinstance(build_objective("flip_v", {}, domain="liveness"), FlipClassification)
    loss = build_objective("flip_mcl", {"temperature": 0.2, "simclr_weight": 0.5}, domain="liveness")
    assert isinstance(loss, FlipMCLLoss)
    assert loss.temperature == 0.2
    with pytest.raises(ConfigError, match="temperature must be positive, got 0"):
        FlipMCLLoss(0)
    with pytest.raises(ConfigError, match="simclr_weight must be 0 or more, got -1"):
        FlipMCLLoss(simclr_weight=-1)


def test_flip_v_is_plain_cross_entropy():
    outputs = Outputs({}, torch.tensor(1.0), extras=extras())
    first, second = (one(outputs, batch())["loss"] for one in (FlipClassification(), CategoryCrossEntropy()))
    assert torch.equal(first, second)


def test_partners_stand_first_and_others_in_order():
    first, second = draw(3, 4), draw(3, 4, seed=1)
    logits = simclr_logits(first, second, temperature=0.5)
    both = F.normalize(torch.cat([first, second]), dim=1)
    for row in range(6):
        others = [column for column in range(6) if column not in (row, (row + 3) % 6)]
        expected = [float(both[row] @ both[column]) / 0.5 for column in ((row + 3) % 6, *others)]
        assert logits[row].tolist() == pytest.approx(expected, abs=1e-5)
    assert simclr_logits(first[:1], second[:1]).shape == (2, 1)


def test_means_of_rows():
    vectors = draw(4, 3)
    rows = torch.tensor([[0, 0, 1], [3, -1, -1]])
    found = mean_of_rows(vectors, rows)
    assert torch.allclose(found[0], (2 * vectors[0] + vectors[1]) / 3)
    assert torch.allclose(found[1], vectors[3])
    with pytest.raises(InputError, match="View of texts 1 is empty"):
        mean_of_rows(vectors, torch.tensor([[0], [-1]]))
    for wrong in ([[4]], [[-2]], [0]):
        with pytest.raises(InputError, match=r"indices \[B, n\] of 4 texts"):
            mean_of_rows(vectors, torch.tensor(wrong))


def test_every_part_row_by_row():
    found, given = extras(), batch()
    loss = FlipMCLLoss(0.3, classification_weight=2.0, consistency_weight=0.5)
    parts = loss(Outputs({}, torch.tensor(1.0), extras=found), given)
    expected = {"classification": 0.0, "simclr": 0.0, "consistency": 0.0}
    both = F.normalize(torch.cat([found["view_1_projections"], found["view_2_projections"]]), dim=1)
    for row, label in enumerate(given.labels.tolist()):
        expected["classification"] -= 2.0 * float(found["category_logits"][row].log_softmax(0)[label]) / 3
        cosines = []
        for view in ("1", "2"):
            drawn = [index for index in given.extras[f"prompt_view_{view}"][row].tolist() if index >= 0]
            text = found["text_embeddings"][drawn].mean(0)
            cosines.append(float(F.cosine_similarity(found[f"view_{view}_embeddings"][row], text, dim=0)))
        expected["consistency"] += 0.5 * (cosines[0] - cosines[1]) ** 2 / 3
    for row in range(6):
        total = sum(math.exp(float(both[row] @ both[other]) / 0.3) for other in range(6) if other != row)
        expected["simclr"] -= math.log(math.exp(float(both[row] @ both[(row + 3) % 6]) / 0.3) / total) / 6
    for name, value in expected.items():
        assert float(parts[name]) == pytest.approx(value, rel=1e-5)
    assert float(parts["loss"]) == pytest.approx(sum(expected.values()), rel=1e-5)


def test_what_is_missing_is_named():
    outputs = Outputs({}, torch.tensor(1.0), extras=extras())
    with pytest.raises(InputError, match=r"batch.extras\['prompt_view_1'\]"):
        FlipMCLLoss()(outputs, Batch({}, torch.tensor([0, 1, 0])))
    without = {name: one for name, one in extras().items() if name != "view_2_projections"}
    with pytest.raises(InputError, match=r"outputs.extras\['view_2_projections'\]"):
        FlipMCLLoss()(Outputs({}, torch.tensor(1.0), extras=without), batch())
