"""Image-text retrieval with several matches on both sides."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from verticlip.core.errors import InputError
from verticlip.core.metrics.matched import Matches, matched_report, random_hit_recall
from verticlip.core.metrics.ranking import image_text_ranks


def unit(rows: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(rows, 6, generator=generator), dim=1)


def test_equal_texts_and_images_are_one():
    texts = [["a cat", "one  cat"], ["a dog"], [" a cat", "a cat"], ["a bird"]]
    matches = Matches.merged(["p", "q", "r", "p"], texts)
    assert matches.texts == ("a cat", "one  cat", "a dog", "a bird")
    assert matches.image_rows.tolist() == [0, 1, 2]
    assert matches.links.tolist() == [[0, 0], [0, 1], [0, 3], [1, 2], [2, 0]]
    separate = Matches.separate(texts)
    assert separate.texts == ("a cat", "one  cat", "a dog", " a cat", "a cat", "a bird")
    assert separate.links.tolist() == [[0, 0], [0, 1], [1, 2], [2, 3], [2, 4], [3, 5]]


def test_ranks_are_those_of_the_best_match_in_both_directions():
    images, texts = unit(5, 0), unit(4, 1)
    links = np.array([[0, 0], [1, 0], [1, 2], [2, 1], [3, 3], [4, 3], [4, 1]])
    report = matched_report(images, texts, links, ks=(1, 2))
    cosines = (images @ texts.T).numpy()

    def rank(scores: np.ndarray, right: list[int]) -> int:
        return min(int((scores > scores[one]).sum()) for one in right)

    by_image = [rank(cosines[i], [t for n, t in links if n == i]) for i in range(5)]
    by_text = [rank(cosines[:, t], [n for n, m in links if m == t]) for t in range(4)]
    for way, ranks in ((report.image_to_text, by_image), (report.text_to_image, by_text)):
        for k in (1, 2):
            assert way.recall[k].value == pytest.approx(np.mean([r < k for r in ranks]))
        assert way.median_rank.value == pytest.approx(np.median(ranks) + 1)
    recalls = [way.recall[k].value for way in (report.image_to_text, report.text_to_image) for k in (1, 2)]
    assert report.score.value == pytest.approx(np.mean(recalls))
    assert report.score.low <= report.score.value <= report.score.high


def test_separate_rows_rank_as_plain_image_text_retrieval():
    images, texts = unit(6, 2), unit(12, 3)
    matches = Matches.separate([[f"{row}", f"{row}b"] for row in range(6)])
    report = matched_report(images, texts, matches.links, ks=(1, 3))
    image_ranks, text_ranks = image_text_ranks(images, texts, torch.arange(6).repeat_interleave(2))
    assert report.image_to_text.recall[3].value == pytest.approx((image_ranks < 3).mean())
    assert report.text_to_image.recall[1].value == pytest.approx((text_ranks < 1).mean())
    assert report.text_to_image.recall[1].n == 6, "texts of one image are not independent"


@pytest.mark.parametrize(("own", "k"), [(1, 1), (1, 3), (2, 2), (3, 3), (4, 2)])
def test_chance_is_that_of_all_orders(own: int, k: int):
    orders = list(itertools.permutations(range(5)))
    hits = sum(any(one < own for one in order[:k]) for order in orders) / len(orders)
    assert random_hit_recall([own, own], 5, k) == pytest.approx(hits)


def test_chance_of_a_whole_gallery_is_one_and_counts_mix():
    assert random_hit_recall([1], 4, 4) == random_hit_recall([1], 4, 9) == 1
    assert random_hit_recall([1, 3], 4, 1) == pytest.approx((1 / 4 + 3 / 4) / 2)


def test_a_model_that_knows_nothing_scores_chance():
    links = np.array([[i, i % 4] for i in range(40)])
    reports = [matched_report(unit(40, s), unit(4, 900 + s), links, resamples=0) for s in range(200)]
    assert np.mean([report.score.value for report in reports]) == pytest.approx(reports[0].chance, abs=0.02)


def test_depths_at_which_every_order_succeeds_are_left_out():
    links = np.array([[i, i % 4] for i in range(40)])
    report = matched_report(unit(40, 0), unit(4, 1), links, ks=(1, 3, 4, 30, 31))
    assert list(report.image_to_text.recall) == [1, 3]
    assert list(report.text_to_image.recall) == [1, 3, 4, 30]
    assert report.chances["image_to_text"] == {1: 0.25, 3: 0.75}
    saved = report.to_dict()
    assert saved["score_interval"]["n"] == 40
    assert set(saved["chances"]["text_to_image"]) == {"recall@1", "recall@3", "recall@4", "recall@30"}
    one = matched_report(unit(3, 0), unit(1, 1), np.array([[0, 0], [1, 0], [2, 0]]), ks=(5, 10))
    assert (one.score.value, one.chance) == (1, 1)
    plain = report.to_dict(details=False)
    assert isinstance(plain["image_to_text"]["recall@1"], float)
    assert "score_interval" not in plain


@pytest.mark.parametrize(
    ("links", "ks", "message"),
    [
        ([[0, 0], [1, 0]], (1,), "Text 1 has no match"),
        ([[0, 0], [0, 1]], (1,), "Image 1 has no match"),
        ([[0, 0], [1, 1]], (0, 1), "depths of 1 or more"),
        ([[0, 0], [1, 1]], (), "depths of 1 or more"),
    ],
)
def test_bad_input_is_named(links, ks, message):
    with pytest.raises(InputError, match=message):
        matched_report(unit(2, 0), unit(2, 1), np.array(links), ks=ks)
