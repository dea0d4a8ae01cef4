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


def test_resamples_without_a_species_say_nothing_of_the_maximum():
    # One subject of three showed masks, and all of them passed; prints never do.
    rows = [
        *(
            make_scores.presentation(f"p{s}-{n}", 0.1, "print", subject=str(s))
            for s in range(3)
            for n in range(4)
        ),
        *(make_scores.presentation(f"m{n}", 0.9, "mask", subject="0") for n in range(4)),
        *(make_scores.presentation(f"b{s}", 0.9, "bona_fide", subject=str(s)) for s in range(3)),
    ]
    found = drawn(rows)
    # The subject is missing from (2/3)^3 of the resamples, and there the maximum would be that of prints: 0.
    assert found.without_species / found.resamples == pytest.approx(8 / 27, abs=0.05)
    assert found.estimates["apcer_max"].low == 1.0
    assert f"missing from {found.without_species / 1000:.1%} of the resamples" in found.says
    assert found.to_dict()["without_species"] == found.without_species
    assert drawn(make_scores.population("test", 6)).without_species == 0


def test_an_interval_without_width_is_none():
    rows = [make_scores.presentation(str(n), 0.9, "bona_fide", subject=str(n)) for n in range(30)]
    rows += [
        make_scores.presentation(f"a{n}", 0.1 + 0.5 * (n < 5), "print", subject=str(n)) for n in range(30)
    ]
    found = drawn(rows, resamples=100)
    assert (found.interval("bpcer"), found.interval("absent")) == (None, None)
    assert found.estimates["acer_max"].low < found.estimates["acer_max"].high
    assert (found.interval("acer_max"), found.interval("acer_pooled"), found.interval("hter")) == (None,) * 3
    low, high = found.interval("apcer_max")
    assert 0 < low < 5 / 30 < high
    metrics = found.to_dict()["metrics"]
    assert (metrics["bpcer"]["value"], metrics["bpcer"]["low"], metrics["bpcer"]["high"]) == (0.0, None, None)
    assert metrics["apcer_max"]["high"] == high
    assert "read the exact one" in found.says


def test_no_resamples():
    found = drawn(make_scores.population("test", 3), resamples=0)
    assert found.says == "No intervals were drawn."
    assert found.to_dict()["metrics"]["bpcer"]["low"] is None
