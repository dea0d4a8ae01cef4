"""``verticlip liveness folds``, as a user types it."""

from __future__ import annotations

import json

import pytest
from liveness.evaluation import make_scores
from verticlip.domains.liveness.evaluation.report import EvaluationSettings, evaluate


@pytest.fixture
def written(tmp_path):
    """Reports of three seeds."""
    for seed in range(3):
        rows = make_scores.population("test", 2, seed=seed)
        evaluate(rows, "test_eer", settings=EvaluationSettings(resamples=0)).write(tmp_path / str(seed))
    return [tmp_path / str(seed) for seed in range(3)]


def test_a_table_and_json(run, written):
    status, out, err = run("liveness", "folds", *written)
    assert status == 0
    assert "at threshold test_eer" in out
    assert "oracle thresholds" in out
    assert "optimistic" in err
    status, out, _ = run("liveness", "folds", *written, "--json")
    assert (status, json.loads(out)["auc"]["runs"]) == (0, 3)


def test_one_report_is_no_mean(run, written):
    status, _, err = run("liveness", "folds", written[0])
    assert status == 1
    assert "needs at least two reports" in err
