from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference
from torch.nn import functional as F
from verticlip.core.errors import InputError
from verticlip.core.metrics import Positives, QueryMetrics, image_text_report, retrieval_report


def unit(rows: int, seed: int = 0) -> torch.Tensor:
    return F.normalize(torch.randn(rows, 6, generator=torch.Generator().manual_seed(seed)), dim=-1)


@given(st.integers(0, 10_000), st.integers(2, 12))
@settings(max_examples=60, deadline=None)
def test_average_precision_and_ndcg_equal_scikit_learn(seed: int, k: int):
    generator = np.random.default_rng(seed)
    relevant = generator.random((5, 12)) < 0.3
    relevant[:, 0] |= ~relevant.any(axis=1)
    scores = generator.normal(size=(5, 12))
    order = np.argsort(-scores, axis=1)
    ranks = np.argsort(order, axis=1)
    positives = Positives.from_lists([np.flatnonzero(row).tolist() for row in relevant])
    metrics = QueryMetrics.from_ranks(ranks[relevant], positives)
    for query in range(5):
        expected = reference.average_precision_score(relevant[query], scores[query])
        assert metrics.average_precision()[query] == pytest.approx(expected)
        expected = reference.ndcg_score(relevant[query : query + 1], scores[query : query + 1], k=k)
        assert metrics.ndcg(k)[query] == pytest.approx(expected)
        hits = relevant[query][order[query][:k]].sum()
        assert metrics.recall_at(k)[query] == hits / relevant[query].sum()
        assert metrics.precision_at(k)[query] == hits / k
        assert metrics.hit_recall_at(k)[query] == (hits > 0)
        first = 1 + np.flatnonzero(relevant[query][order[query]])[0]
        assert metrics.reciprocal_rank()[query] == 1 / first
        assert metrics.reciprocal_rank(k)[query] == (1 / first if first <= k else 0)


def test_two_meanings_of_recall_are_told_apart():
    # One query, two positives at ranks 0 and 3.
    metrics = QueryMetrics.from_ranks(np.array([3, 0]), Positives.from_lists([[5, 9]]))
    assert metrics.hit_recall_at(1)[0] == 1.0
    assert metrics.recall_at(1)[0] == 0.5
    assert metrics.average_precision()[0] == pytest.approx((1 / 1 + 2 / 4) / 2)
    assert metrics.average_precision(3)[0] == pytest.approx(1 / 2)


def test_report_of_a_class_retrieval():
    points, labels = unit(40), [index % 4 for index in range(40)]
    positives = Positives.from_groups(labels, labels, same=True)
    report = retrieval_report(points, points, positives, ks=(1, 3), exclude=torch.arange(40), seed=2)
    scores = (points @ points.T).numpy()
    expected, best = [], []
    for query in range(40):
        others = [item for item in range(40) if item != query]
        relevant = np.array([labels[item] == labels[query] for item in others])
        expected.append(reference.average_precision_score(relevant, scores[query, others]))
        best.append(1 + np.flatnonzero(relevant[np.argsort(-scores[query, others])])[0])
    assert report.mean_average_precision.value == pytest.approx(np.mean(expected), abs=1e-6)
    assert report.hit_recall[1].value == pytest.approx(report.recall[1].value * 9)
    assert report.mean_rank.value == pytest.approx(np.mean(best))
    assert report.median_rank.value == np.median(best)
    assert report.mrr.value == pytest.approx(np.mean(1 / np.array(best)))
    plain = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert plain["recall@3"]["value"] == report.recall[3].value
    assert plain["mrr"]["n"] == 40
    assert (plain["queries"], plain["gallery"], plain["seed"]) == (40, 40, 2)


def test_query_groups_widen_the_interval():
    points = unit(30)
    queries = points.repeat_interleave(5, dim=0)
    positives = Positives.from_lists([[(index // 5 + 1) % 30] for index in range(150)])
    rows = retrieval_report(queries, points, positives)
    grouped = retrieval_report(queries, points, positives, groups=[index // 5 for index in range(150)])
    assert grouped.mean_rank.high - grouped.mean_rank.low > 1.5 * (rows.mean_rank.high - rows.mean_rank.low)


def test_image_text_report():
    images = unit(10)
    owner = torch.arange(10).repeat_interleave(2)
    texts = F.normalize(images[owner] + 0.4 * unit(20, seed=1), dim=-1)
    report = image_text_report(images, texts, owner, ks=(1, 5))
    order = np.argsort(-(texts @ images.T).numpy(), axis=1)
    expected = (order[:, 0] == owner.numpy()).mean()
    assert report.text_to_image.recall[1].value == pytest.approx(expected)
    assert report.text_to_image.recall[1].n == 10
    sides = (report.image_to_text, report.text_to_image)
    total = sum(100 * estimate.value for side in sides for estimate in side.recall.values())
    assert report.rsum == pytest.approx(total)
    plain = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert plain["image_to_text"]["recall@5"]["value"] == report.image_to_text.recall[5].value


@pytest.mark.parametrize("ks", [(), (0, 1)])
def test_depths_are_checked(ks: tuple[int, ...]):
    points = unit(3)
    with pytest.raises(InputError, match="ks must be depths of 1 or more"):
        retrieval_report(points, points, Positives.from_lists([[0], [1], [2]]), ks=ks)
    with pytest.raises(InputError, match="ks must be depths of 1 or more"):
        image_text_report(points, points, torch.arange(3), ks=ks)
