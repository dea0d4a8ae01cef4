"""Published figures, and a report beside them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from liveness.evaluation import make_scores
from verticlip.core.errors import ConfigError
from verticlip.domains.liveness.evaluation.published_results import (
    DIRECTIONS,
    PUBLISHED_RESULTS,
    PublishedResult,
    beside,
)
from verticlip.domains.liveness.evaluation.report import EvaluationSettings, evaluate


def table(protocol, metric="hter"):
    found = {}
    for one in PUBLISHED_RESULTS:
        if (one.protocol, one.metric) == (protocol, metric):
            found.setdefault(one.method, {})[one.direction] = one
    return found


@pytest.mark.parametrize(("protocol", "directions"), [("flip-1", 4), ("flip-2", 3), ("flip-3", 12)])
def test_averages_are_those_of_their_rows(protocol, directions):
    for method, row in table(protocol).items():
        values = [one.value for name, one in row.items() if name != "average"]
        assert len(values) == directions, method
        average = row["average"]
        # Printed averages are rounded; three do not belong to their rows and say so.
        if not average.note:
            assert sum(values) / directions == pytest.approx(average.value, abs=0.06), method
        else:
            assert average.note == f"printed; the mean of the row is {sum(values) / directions:.2f}"


def test_every_figure_is_an_oracle_one():
    assert all(one.oracle_threshold for one in PUBLISHED_RESULTS)
    assert all(0 <= one.value <= 100 for one in PUBLISHED_RESULTS)
    assert len(PUBLISHED_RESULTS) == 9 * 13 - 3 * 4 + 6 * 10 + 4 * 13
    assert PublishedResult("FLIP-MCL", "flip-1", "ICM->O", "hter", 2.31) in PUBLISHED_RESULTS
    assert "2309.16649" in PUBLISHED_RESULTS[0].to_dict()["source"]


def test_two_ways_of_thresholding_have_two_columns():
    dev, test = make_scores.population("dev", 4, seed=1), make_scores.population("test", 4, seed=2)
    report = evaluate([*dev, *test], settings=EvaluationSettings(resamples=0, system="mine"))
    *theirs, own = beside(report, "OCI->M")
    assert all(one.hter_dev is None and one.hter_oracle is not None for one in theirs)
    assert own.method == "mine"
    assert own.hter_dev == pytest.approx(100 * report.pooled.hter)
    assert own.hter_oracle == pytest.approx(100 * report.oracle.scan_eer)
    oracle = evaluate(test, "test_eer", settings=EvaluationSettings(resamples=0))
    assert beside(oracle, "OCI-M")[-1].hter_dev is None
    assert beside(oracle, "OCI-M")[-1].method == "this report"
    assert len(beside(report, "average")) == 9 + 6 + 4 + 1


@pytest.mark.parametrize(
    ("dataset", "direction", "target"),
    [
        ("msu", "OCI->M", ""),
        ("MSU-MFSD", "OCI-M", ""),
        ("casia-fasd", "OMI->C", ""),
        ("cefa", "SW->C", ""),
        ("made-up", "OCI->M", "judged on made-up; the target of OCI->M is msu-mfsd"),
        ("casia", "SW->C", "judged on casia; the target of SW->C is casia-cefa"),
        ("", "CW->S", "judged on a set without a name; the target of CW->S is casia-surf"),
        ("msu", "average", "the average is over several targets"),
    ],
)
def test_a_report_of_another_set_says_so(dataset, direction, target):
    rows = [replace(row, dataset=dataset) for row in make_scores.population("test", 1)]
    *theirs, own = beside(evaluate(rows, 0.5, settings=EvaluationSettings(resamples=0)), direction)
    assert (own.note.startswith(target), bool(own.note)) == (True, bool(target))
    assert not any(one.note for one in theirs)


def test_unknown_directions():
    rows = make_scores.population("test", 1)
    report = evaluate(rows, 0.5, settings=EvaluationSettings(resamples=0))
    with pytest.raises(ConfigError, match=r"No published result for 'OCI->N'. Did you mean 'OCI->M'\?"):
        beside(report, "OCI->N")
    assert "ICM->O" in DIRECTIONS
