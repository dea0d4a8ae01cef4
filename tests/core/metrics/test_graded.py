"""Graded retrieval metrics: by hand, against trec_eval, and on bad input."""

from __future__ import annotations

import numpy as np
import pytest
from verticlip.core.errors import InputError
from verticlip.core.metrics.graded import GradedRankings, graded_report, rank_documents


def two_queries():
    ranked = {"q1": ["a", "x", "b"], "q2": ["y", "c"]}
    judged = {"q1": {"a": 1, "b": 3, "d": 2, "x": 0}, "q2": {"c": 2}}
    return GradedRankings.from_lists(ranked, judged)


def test_metrics_by_hand():
    one = two_queries()
    assert one.grades.tolist() == [[1, 0, 3], [0, 2, 0]]
    assert one.counts.tolist() == [3, 1]
    assert one.recall_at(3).tolist() == pytest.approx([2 / 3, 1])
    assert one.precision_at(2).tolist() == [0.5, 0.5]
    assert one.precision_at(10).tolist() == pytest.approx([0.2, 0.1]), "a short list is no excuse"
    assert one.hit_recall_at(1).tolist() == [1, 0]
    assert one.reciprocal_rank().tolist() == [1, 0.5]
    assert one.reciprocal_rank(1).tolist() == [1, 0]
    assert one.average_precision(3).tolist() == pytest.approx([(1 + 2 / 3) / 3, 0.5])
    ideal = 3 + 2 / np.log2(3) + 1 / 2
    assert one.ndcg(3).tolist() == pytest.approx([(1 + 3 / 2) / ideal, 1 / np.log2(3)])
    assert one.ndcg(1).tolist() == pytest.approx([1 / 3, 0])
    # (2^g - 1) / 2^best: 1/8 and 7/8 for q1, 3/4 for q2.
    err = [1 / 8 + (7 / 8) * (7 / 8) / 3, (3 / 4) / 2]
    assert one.expected_reciprocal_rank().tolist() == pytest.approx(err)
    rbp = [0.1 * (1 / 3 + 0.81 * 1), 0.1 * 0.9]
    assert one.rank_biased_precision().tolist() == pytest.approx(rbp)


def test_grades_up_to_a_hundred_stay_finite():
    rankings = GradedRankings.from_lists({"q": ["a", "b"]}, {"q": {"a": 90, "b": 100}})
    # Ten grades below the best one: a chance of 0.001 to stop.
    assert rankings.expected_reciprocal_rank()[0] == pytest.approx(0.001 + 0.999 / 2, abs=1e-4)
    high = GradedRankings.from_lists({"q": ["a"]}, {"q": {"a": 1000}})
    assert high.expected_reciprocal_rank()[0] == pytest.approx(1.0)


def test_a_query_that_found_nothing_counts():
    rankings = GradedRankings.from_lists({"q1": ["a"]}, {"q1": {"a": 1}, "q2": {"b": 1}})
    assert graded_report(rankings, ks=(1,)).mrr.value == 0.5
    assert len(GradedRankings.from_lists({}, {"q": {"b": 1}})) == 1


def test_documents_of_equal_score_stand_by_id():
    assert rank_documents({"b": 0.5, "c": 0.7, "a": 0.5}) == ["c", "a", "b"]
    assert rank_documents({"b": 0.5, "c": 0.7, "a": 0.5}, 2) == ["c", "a"]
    with pytest.raises(InputError, match="score of document 'b' is not a number"):
        rank_documents({"b": float("nan")})


def test_trec_eval_counts_the_same():
    trec = pytest.importorskip("pytrec_eval")
    random = np.random.default_rng(0)
    documents = [f"d{number}" for number in range(40)]
    judged, scores = {}, {}
    for number in range(30):
        chosen = random.choice(documents, random.integers(1, 12), replace=False)
        judged[f"q{number}"] = {str(name): int(random.integers(0, 5)) for name in chosen}
        judged[f"q{number}"][str(chosen[0])] = 3
        found = random.choice(documents, random.integers(1, 25), replace=False)
        scores[f"q{number}"] = {str(name): float(random.normal()) for name in found}
    measures = {"map_cut.1,5,10", "ndcg_cut.1,5,10", "recall.1,5,10", "P.1,5,10", "recip_rank"}
    theirs = trec.RelevanceEvaluator(judged, measures).evaluate(scores)
    ours = GradedRankings.from_lists(
        {query: rank_documents(found) for query, found in scores.items()}, judged
    )
    for place, query in enumerate(judged):
        for k in (1, 5, 10):
            got = {
                f"map_cut_{k}": ours.average_precision(k),
                f"ndcg_cut_{k}": ours.ndcg(k),
                f"recall_{k}": ours.recall_at(k),
                f"P_{k}": ours.precision_at(k),
                "recip_rank": ours.reciprocal_rank(),
            }
            for name, values in got.items():
                assert values[place] == pytest.approx(theirs[query][name], abs=1e-12), (query, name)


def test_the_report_has_every_metric_with_its_interval():
    report = graded_report(two_queries(), ks=(1, 3))
    found = report.to_dict()
    assert found["average_recall"]["value"] == pytest.approx((1 / 6 + 5 / 6) / 2)
    assert found["precision@3"]["value"] == pytest.approx(0.5)
    assert found["queries"] == 2
    assert found["depth"] == 3
    assert found["mrr"]["low"] <= 0.75 <= found["mrr"]["high"]


def test_averages_are_of_the_depths_that_leaderboards_publish_whatever_else_is_measured():
    report = graded_report(two_queries(), ks=(1, 2, 3, 10))
    assert report.average_recall.value == pytest.approx(
        (report.recall[1].value + report.recall[10].value) / 2
    )
    assert report.average_precision.value == pytest.approx(
        (report.precision[1].value + report.precision[10].value) / 2
    )


def test_bad_input_is_named():
    with pytest.raises(InputError, match="no queries to evaluate"):
        GradedRankings.from_lists({}, {})
    with pytest.raises(InputError, match="Query 'q' has no right answer"):
        GradedRankings.from_lists({"q": ["a"]}, {"q": {"a": 0}})
    with pytest.raises(InputError, match="document 'a' has grade -1; grades are 0 or more"):
        GradedRankings.from_lists({"q": ["a"]}, {"q": {"a": -1, "b": 1}})
    with pytest.raises(InputError, match="Query 'q' lists a document twice"):
        GradedRankings.from_lists({"q": ["a", "a"]}, {"q": {"a": 1}})
    with pytest.raises(InputError, match="Query 'p' has a list and no judgements"):
        GradedRankings.from_lists({"p": ["a"]}, {"q": {"a": 1}})
    with pytest.raises(InputError, match=r"ks must be depths of 1 or more, got \[0\]"):
        graded_report(two_queries(), ks=[0])
    with pytest.raises(InputError, match=r"persistence must be from 0 to below 1, got 1\.0"):
        two_queries().rank_biased_precision(1.0)
