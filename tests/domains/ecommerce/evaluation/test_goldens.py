"""The stored cases of composed queries and of retrieval metrics."""

from __future__ import annotations

import json
import shutil

import pytest
from verticlip.core.errors import VerticlipError
from verticlip.core.verify import replay
from verticlip.domains.ecommerce.evaluation.goldens import case_metrics


@pytest.mark.parametrize("case", ["pdv", "retrieval_metrics"])
def test_the_case_is_replayed(small_golden, case):
    report = replay("ecommerce", small_golden / "ecommerce" / case)
    assert report.passed
    assert all(check.status == "ok" for check in report.checks)


def test_every_metric_of_the_case_is_met(small_golden):
    config = json.loads((small_golden / "ecommerce" / "retrieval_metrics" / "config.json").read_text())
    measured = case_metrics(config)
    assert set(config["expected"]) == set(measured)
    for name, expected in config["expected"].items():
        assert measured[name] == pytest.approx(expected, abs=1e-9), name


def test_a_metric_that_differs_is_named(small_golden, tmp_path):
    shutil.copytree(small_golden / "ecommerce" / "retrieval_metrics", tmp_path / "case")
    path = tmp_path / "case" / "config.json"
    config = json.loads(path.read_text())
    for name, value in (("MAP@10", config["expected"]["MAP@10"] + 1e-6), ("Novelty@3", 0.5)):
        path.chmod(0o644)
        path.write_text(json.dumps({**config, "expected": {name: value}}))
        with pytest.raises(VerticlipError, match=name):
            replay("ecommerce", tmp_path / "case")
