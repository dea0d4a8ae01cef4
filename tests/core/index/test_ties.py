"""Answers of other back ends end where ours would."""

from __future__ import annotations

import numpy as np
from verticlip.core.index.ties import settled


def test_ids_decide_between_equal_scores() -> None:
    scores = np.array([0.5, 0.9, 0.5, 0.5], np.float32)
    hits = settled(["d", "z", "b", "c"], scores, scores, 3, complete=True)
    assert hits is not None
    assert hits.ids == ("z", "b", "c")
    assert hits.scores.tolist() == [np.float32(0.9), 0.5, 0.5]


def test_rows_as_good_as_the_last_may_be_missing() -> None:
    scores = np.array([0.9, 0.5, 0.5], np.float32)
    assert settled(["a", "b", "c"], scores, scores, 2, complete=False) is None
    # The worst of what came is clearly below the last answer: nothing as good was left out.
    hits = settled(["a", "b", "c"], scores, scores, 1, complete=False)
    assert hits is not None
    assert hits.ids == ("a",)


def test_scores_of_the_back_end_may_be_off_by_a_little() -> None:
    scores, coarse = np.array([0.9, 0.5], np.float32), np.array([0.9, 0.500001], np.float32)
    assert settled(["a", "b"], scores, coarse, 2, complete=False) is None
