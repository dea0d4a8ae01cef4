from __future__ import annotations

import itertools

import pytest
import torch
from verticlip.core.errors import DataError
from verticlip.domains.ecommerce.training.judging import chance_mrr, judge_pairs
from verticlip.domains.ecommerce.training.stock import TrainingPair


class Model:
    """Embeds a product as the vectors it is given, by view."""

    training, device = False, torch.device("cpu")

    def __init__(self, vectors):
        self.vectors = vectors

    def modules(self):
        return []

    def train(self, mode=True):
        return self

    eval = train

    def encode_views(self, inputs, present):
        rows = inputs["image"]["rows"]
        return {view: each[rows] for view, each in self.vectors.items()}


class Stock:
    def __init__(self, names, has_image=None, has_text=None):
        self.names = list(names)
        self.flags = has_image or [True] * len(names), has_text or [True] * len(names)

    def _rows(self, names):
        return torch.tensor([self.names.index(name) for name in names])

    def images(self, names):
        return self._rows(names), torch.tensor(self.flags[0])[self._rows(names)]

    def texts(self, names):
        return list(names), torch.tensor(self.flags[1])[self._rows(names)]


class Processor:
    def finish_images(self, rows):
        return {"rows": rows}

    def __call__(self, modality, texts):
        return {"input_ids": torch.zeros(len(texts), 1)}


NAMES = ["a1", "b1", "c1", "a2", "b2", "c2"]
PAIRS = [TrainingPair("a1", "a2", 1, 0), TrainingPair("b1", "b2", 1, 1), TrainingPair("c1", "c2", 1, 2)]


def vectors():
    eye = torch.eye(3)
    crossed = torch.cat([eye[[1, 2, 0]], eye])
    return {"image": torch.cat([eye, eye]), "text": crossed, "product": torch.cat([eye, eye])}


def judged(stock=None, pairs=PAIRS, **more):
    return judge_pairs(Model(vectors()), stock or Stock(NAMES), pairs, Processor(), **more)


def test_every_direction_has_its_own_numbers():
    report = judged()
    assert set(report["directions"]) == {"i-i", "i-t", "i-m", "t-t", "t-m", "m-m"}
    assert report["directions"]["m-m"] == {
        "mrr": 1.0, "hit_recall@1": 1.0, "hit_recall@5": 1.0, "hit_recall@10": 1.0, "hit_recall@20": 1.0,
        "queries": 3,
    }  # fmt: skip
    wrong = report["directions"]["t-t"]
    # The right one shares second place with another; equal scores rank by candidate.
    assert wrong["hit_recall@1"] == 0
    assert wrong["mrr"] == pytest.approx((1 / 2 + 1 / 2 + 1 / 3) / 3, abs=0.1)
    values = [one["mrr"] for one in report["directions"].values()]
    assert report["score"] == pytest.approx(sum(values) / 6)
    assert report["chance"] == pytest.approx((1 + 1 / 2 + 1 / 3) / 3)
    assert (report["queries"], report["candidates"]) == (3, 3)


def test_products_without_a_side_are_not_asked_nor_offered():
    report = judged(Stock(NAMES, has_image=[False, True, True, True, True, False]))
    assert report["directions"]["i-i"]["queries"] == 1
    assert report["directions"]["i-m"]["queries"] == 2
    assert report["directions"]["t-t"]["queries"] == 3
    blind = judged(Stock(NAMES, has_image=[False] * 6))
    assert set(blind["directions"]) == {"t-t", "t-m", "m-m"}


def test_a_query_is_no_answer_to_itself_and_its_group_is():
    pairs = [*PAIRS, TrainingPair("a2", "a1", 1, 0)]
    report = judged(pairs=pairs)
    assert (report["queries"], report["candidates"]) == (4, 4)
    assert report["directions"]["i-i"]["mrr"] == pytest.approx(1.0)


def test_intervals_when_asked():
    details = judged(details=True)["directions"]["i-i"]
    assert details["mrr"]["value"] == 1.0
    assert details["hit_recall@1"]["low"] <= details["hit_recall@1"]["high"]


def test_too_few_candidates():
    with pytest.raises(DataError, match="has 1 right products; telling them apart needs at least two"):
        judged(pairs=PAIRS[:1])


@pytest.mark.parametrize(("candidates", "positives"), [(1, 1), (4, 1), (5, 2), (6, 6), (6, 5)])
def test_chance_is_exact(candidates, positives):
    found = [1 / (min(places) + 1) for places in itertools.combinations(range(candidates), positives)]
    assert chance_mrr(candidates, positives) == pytest.approx(sum(found) / len(found))
