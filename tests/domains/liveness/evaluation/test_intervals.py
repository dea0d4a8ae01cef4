"""Bootstrap over subjects."""

from __future__ import annotations

from dataclasses import replace

import pytest
from liveness.evaluation import make_scores
from verticlip.domains.liveness.evaluation.intervals import bootstrap_intervals
from verticlip.domains.liveness.metrics.iso import iso_report


def drawn(rows, **options):
    return bootstrap_intervals(rows, [row.score for row in rows], 0.5, **options)


def test_values_are_those_of_the_report():
    rows = make_scores.population("test", 6)
    found = drawn(rows, resamples=100).estimates
    report = iso_report([row.score for row in rows], [row.species for row in rows], 0.5)
    for name in ("apcer_max", "acer_max", "acer_pooled"):
        assert found[name].value == pytest.approx(getattr(report, name))
    for name in ("bpcer", "bpnrr", "apcer_pooled", "apnrr_pooled"):
        assert found[name].value == pytest.approx(getattr(report, name).value)
    for name, rate in report.apcer.items():
        assert found[f"apcer.{name}"].value == pytest.approx(rate.value)
    assert all(one.low <= one.value <= one.high for one in found.values())
    assert "auc" in found
    assert "hter" in found


def test_whole_subjects_are_drawn():
    # Everything of one subject is alike, so what counts is the number of subjects, not of videos.
    rows = [
        make_scores.presentation(f"{s}-{n}", 0.9 if s else 0.1, "bona_fide", subject=str(s))
        for s in range(4)
        for n in range(50)
    ]
    by_subject, by_video = drawn(rows), drawn([replace(row, subject="") for row in rows])
    assert (by_subject.unit, by_subject.units) == ("subjects", 4)
    assert (by_video.unit, by_video.units) == ("presentations", 200)
    width = [one.estimates["bpcer"].high - one.estimates["bpcer"].low for one in (by_subject, by_video)]
    assert width[0] > 4 * width[1]
    assert "4 subjects are few: these intervals are rough" in by_subject.says
    assert "presentations are drawn" in by_video.says


def test_one_subject_without_a_name_is_enough_to_draw_presentations():
    rows = make_scores.population("test", 3)
    found = drawn([replace(rows[0], subject=""), *rows[1:]], resamples=10)
    assert (found.unit, found.units) == ("presentations", len(rows))
    assert found.estimates["auc"].n == sum(row.score is not None for row in rows)
    assert drawn(rows, resamples=10).estimates["auc"].n == 3


def test_subjects_of_two_sets_are_two_people():
    rows = [replace(row, subject="1") for row in make_scores.population("test", 4)]
    assert drawn(rows, resamples=10).units == 2


def test_equal_seeds_give_equal_intervals():
    rows = make_scores.population("test", 5)
    assert drawn(rows, seed=3).to_dict() == drawn(rows, seed=3).to_dict()
    assert drawn(rows, seed=3).to_dict() != drawn(rows, seed=4).to_dict()


def test_no_resamples():
    found = drawn(make_scores.population("test", 3), resamples=0)
    assert found.says == "No intervals were drawn."
    assert found.to_dict()["metrics"]["bpcer"]["low"] is None
