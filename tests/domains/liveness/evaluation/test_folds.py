"""Mean and spread over folds."""

from __future__ import annotations

import json
import statistics

import pytest
from liveness.evaluation import make_scores
from verticlip.core.errors import ConfigError, DataError
from verticlip.domains.liveness.evaluation.folds import over_folds, read_report
from verticlip.domains.liveness.evaluation.report import EvaluationSettings, evaluate

QUICK = EvaluationSettings(resamples=0)


def reports(count=3, rule="dev_eer"):
    return [
        evaluate(
            make_scores.population("test", 3, seed=seed),
            rule,
            dev=make_scores.population("dev", 3, seed=seed + 10),
            settings=QUICK,
        )
        for seed in range(count)
    ]


def test_means_over_the_reports():
    runs = reports()
    found = over_folds([run.to_dict() for run in runs])
    for name, values in {
        "apcer_max": [run.iso.apcer_max for run in runs],
        "bpcer": [run.iso.bpcer.value for run in runs],
        "hter": [run.pooled.hter for run in runs],
        "apcer.mask": [run.iso.apcer["mask"].value for run in runs],
    }.items():
        one = found.at_threshold[name]
        assert (one.mean, one.deviation) == (statistics.fmean(values), statistics.stdev(values))
    assert found.auc.mean == statistics.fmean([run.auc for run in runs])
    assert "eer" in found.oracle
    assert "eer" not in found.at_threshold
    assert found.to_dict()["oracle"]["oracle_threshold"] is True
    json.dumps(found.to_dict(), allow_nan=False)


def test_a_figure_that_a_run_does_not_have():
    rows = make_scores.population("test", 2)
    live = evaluate([row for row in rows if row.is_live], 0.5, settings=QUICK)
    whole = evaluate(rows, 0.5, settings=QUICK)
    found = over_folds([live.to_dict(), whole.to_dict()])
    assert (found.at_threshold["bpcer"].runs, found.at_threshold["apcer_max"].runs) == (2, 1)
    assert found.at_threshold["apcer_max"].deviation == 0


def test_two_ways_of_thresholding_have_no_mean():
    mixed = [*reports(1), *reports(1, "test_eer")]
    with pytest.raises(
        DataError, match=r"in different ways .dev_eer, test_eer.; figures of two ways have no mean"
    ):
        over_folds([one.to_dict() for one in mixed])
    with pytest.raises(DataError, match="at least two reports, got 1"):
        over_folds([reports(1)[0].to_dict()])


def test_reports_are_read_by_folder_or_file(tmp_path):
    report = reports(1)[0]
    report.write(tmp_path / "run")
    assert read_report(tmp_path / "run") == read_report(tmp_path / "run" / "report.json")
    (tmp_path / "other.json").write_text("[]")
    with pytest.raises(DataError, match="other.json: not a report"):
        read_report(tmp_path / "other.json")
    with pytest.raises(ConfigError, match="no such file"):
        read_report(tmp_path / "absent.json")
