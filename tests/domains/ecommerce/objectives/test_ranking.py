from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from verticlip.core.errors import ConfigError, InputError
from verticlip.core.objectives.base import build_objective
from verticlip.core.types import Batch, Outputs
from verticlip.domains.ecommerce.encoders.fusing import FusionWeights
from verticlip.domains.ecommerce.objectives.ranking import RankingWeighted, score_weights

SCORES = [100.0, 60.0, 25.0, 1.0, 80.0]


def views(count: int = 5, seed: int = 0) -> dict[str, Tensor]:
    rng = np.random.default_rng(seed)
    return {
        name: torch.tensor(rng.normal(size=(count, 6)))
        for name in ("left", "field_image", "field_text", "right")
    }


def outputs(given: dict[str, Tensor]) -> Outputs:
    return Outputs(given, torch.tensor(5.0, dtype=torch.float64))


def batch(**extras: object) -> Batch:
    return Batch({}, extras={name: torch.as_tensor(value) for name, value in extras.items()})


def normal(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def oracle(given, weights, *, shares=(0.9, 0.1), queries=None, has_text=None, divide=False):
    image, text = normal(given["field_image"].numpy()), normal(given["field_text"].numpy())
    count = len(image)
    fields = np.array([shares if has_text is None or has_text[i] else (1.0, 0.0) for i in range(count)])
    documents = normal(fields[:, :1] * image + fields[:, 1:] * text)
    z = 5.0 * normal(given["left"].numpy()) @ documents.T
    queries = queries or list(range(count))
    losses = []
    for i in range(count):
        others = [j for j in range(count) if j == i or queries[j] != queries[i]]
        row = np.log(np.exp(z[i, others]).sum()) - z[i, i]
        column = np.log(np.exp(z[others, i]).sum()) - z[i, i]
        losses.append((row + column) / 2)
    total = (np.array(weights) * losses).sum()
    return total / sum(weights) if divide else total / count


@pytest.mark.parametrize(
    ("function", "weights"),
    [
        ("constant", [1] * 5),
        ("linear", [1.0, 0.6, 0.25, 0.01, 0.8]),
        ("inverse_rank", [1.0, 1 / 41, 1 / 76, 0.01, 1 / 21]),
    ],
)
@pytest.mark.parametrize("divide", [False, True])
def test_loss_is_that_of_the_formula(function, weights, divide):
    given = views()
    found = RankingWeighted(function, divide)(outputs(given), batch(scores=SCORES))["loss"]
    assert float(found) == pytest.approx(oracle(given, weights, divide=divide), abs=1e-12)


def test_other_documents_of_a_query_are_no_negatives():
    given, queries = views(), [4, 4, 7, 4, 9]
    found = RankingWeighted("constant")(outputs(given), batch(scores=SCORES, query=queries))["loss"]
    assert float(found) == pytest.approx(oracle(given, [1] * 5, queries=queries), abs=1e-12)


def test_a_missing_field_counts_nothing():
    given, has_text = views(), [True, False, True, False, True]
    shares = FusionWeights(image=0.5, text=0.5)
    expected = oracle(given, [1] * 5, shares=(0.5, 0.5), has_text=has_text)
    given["field_text"][1] = given["field_text"][3] = 0
    found = RankingWeighted("constant", fields=shares)(
        outputs(given), batch(scores=SCORES, field_has_text=has_text)
    )
    assert float(found["loss"]) == pytest.approx(expected, abs=1e-12)


def test_the_whole_product_as_document():
    given = views()
    objective = RankingWeighted("constant", document="product")
    assert objective.sides == ("", "right_")
    found = objective(outputs({name: given[name] for name in ("left", "right")}), batch(scores=SCORES))
    same = {"left": given["left"], "field_image": given["right"], "field_text": given["right"]}
    assert float(found["loss"]) == pytest.approx(oracle(same, [1] * 5), abs=1e-12)


def test_pairs_without_the_asking_view_do_not_count():
    given = {**views(), "left_text": views(seed=3)["left"]}
    has_text = [True, True, False, True, True]
    objective = RankingWeighted("linear", True, query="left_text")
    found = objective(outputs(given), batch(scores=SCORES, has_text=has_text))["loss"]
    nothing = objective(outputs(given), batch(scores=SCORES, has_text=[False] * 5))["loss"]
    assert torch.isfinite(found)
    assert float(found) > 0
    assert float(nothing) == 0


def test_bad_input_is_named():
    with pytest.raises(InputError, match="from 1 to 100, got 0.5"):
        score_weights(torch.tensor([3.0, 0.5]), "linear")
    with pytest.raises(InputError, match="got nan"):
        score_weights(torch.tensor([torch.nan]), "constant")
    with pytest.raises(InputError, match="Give each pair a weight"):
        RankingWeighted()(outputs(views()), batch())
    with pytest.raises(ConfigError, match="option weight"):
        build_objective("gcl", {"weight": "square"}, domain="ecommerce")
    built = build_objective("gcl", {"fields": {"image": 0.5, "text": 0.5}}, domain="ecommerce")
    assert isinstance(built, RankingWeighted)
    assert built.fields.text == 0.5
