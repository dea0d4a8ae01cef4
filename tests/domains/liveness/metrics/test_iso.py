"""Error rates in the words of ISO/IEC 30107-3."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from liveness.metrics import pad_oracle
from scipy.stats import beta
from verticlip.core.errors import InputError
from verticlip.domains.liveness.metrics.iso import Rate, bpcer_at_apcer, iso_report, upper_bound

KINDS = ["bona_fide", "print", "display", "mask"]
rows_of = st.lists(
    st.tuples(st.one_of(st.none(), st.integers(0, 8).map(lambda n: n / 8)), st.sampled_from(KINDS)),
    min_size=1,
    max_size=40,
)
judged = rows_of.map(lambda rows: [*rows, (0.5, "bona_fide"), (None, "print"), (0.25, "display")])


def columns(rows):
    return [score for score, _ in rows], [name for _, name in rows]


@given(judged, st.floats(-0.2, 1.2))
def test_as_counted_one_by_one(rows, threshold):
    found, expected = iso_report(*columns(rows), threshold), pad_oracle.iso(*columns(rows), threshold)
    assert {name: rate.value for name, rate in found.apcer.items()} == expected["apcer"]
    assert {name: rate.value for name, rate in found.apnrr.items()} == expected["apnrr"]
    assert (found.bpcer.value, found.bpnrr.value) == (expected["bpcer"], expected["bpnrr"])
    assert (found.apcer_max, found.apcer_pooled.value) == (expected["apcer_max"], expected["apcer_pooled"])
    assert (found.acer_max, found.acer_pooled) == (expected["acer_max"], expected["acer_pooled"])


@given(judged, st.floats(0, 1), st.floats(0, 1))
def test_a_higher_threshold_never_accepts_more(rows, one, other):
    low, high = (iso_report(*columns(rows), threshold) for threshold in sorted((one, other)))
    assert all(low.apcer[name].errors >= high.apcer[name].errors for name in low.apcer)
    assert low.apcer_max >= high.apcer_max
    assert low.bpcer.errors <= high.bpcer.errors
    assert (low.apnrr, low.bpnrr) == (high.apnrr, high.bpnrr)


@given(judged)
def test_the_extreme_thresholds(rows):
    none, everything = iso_report(*columns(rows), math.inf), iso_report(*columns(rows), -math.inf)
    assert none.apcer_max == 0
    assert everything.bpcer.value == 0
    # What is not accepted and not refused got no response: the rates add up to one.
    assert none.bpcer.errors + none.bpnrr.errors == none.bpcer.n
    for name in everything.apcer:
        assert everything.apcer[name].errors + everything.apnrr[name].errors == everything.apcer[name].n


@given(judged, st.randoms(use_true_random=False), st.floats(0, 1))
def test_the_order_of_presentations_does_not_matter(rows, random, threshold):
    shuffled = random.sample(rows, len(rows))
    assert (
        iso_report(*columns(rows), threshold).to_dict() == iso_report(*columns(shuffled), threshold).to_dict()
    )
    points = [bpcer_at_apcer(*columns(one)) for one in (rows, shuffled)]
    assert points[0] == points[1]


@given(judged, st.floats(0, 1))
def test_rates_of_one_species_add_up_to_at_most_one(rows, threshold):
    report = iso_report(*columns(rows), threshold)
    assert all(report.apcer[name].value + report.apnrr[name].value <= 1 for name in report.apcer)
    assert report.bpcer.value + report.bpnrr.value <= 1
    assert report.apcer_pooled.value <= report.apcer_max


@given(judged)
def test_operating_points(rows):
    for point, found in bpcer_at_apcer(*columns(rows), points=(1, 2, 10, 100)).items():
        expected = pad_oracle.bpcer_at(*columns(rows), point)
        assert (found.threshold, found.apcer_max, found.bpcer.value) == tuple(expected.values())


@pytest.mark.parametrize(("errors", "n"), [(0, 1), (0, 300), (1, 20), (7, 90), (89, 90), (90, 90)])
def test_bounds_are_those_of_clopper_and_pearson(errors, n):
    rate = Rate(errors, n)
    expected = beta.ppf(0.95, errors + 1, n - errors) if errors < n else 1.0
    assert rate.upper == pytest.approx(expected, abs=1e-12)
    low, high = rate.interval
    assert low == pytest.approx(beta.ppf(0.025, errors, n - errors + 1) if errors else 0.0, abs=1e-12)
    assert high == pytest.approx(beta.ppf(0.975, errors + 1, n - errors) if errors < n else 1.0, abs=1e-12)


def test_the_bound_of_the_maximum_is_that_of_the_species_with_most_room():
    scores = [0.9] * 2 + [0.1] * 98 + [0.1] * 3 + [0.9]
    species = ["print"] * 100 + ["mask"] * 3 + ["bona_fide"]
    found = iso_report(scores, species, 0.5)
    assert (found.worst_species, found.apcer_max) == ("print", 0.02)
    assert (found.bounding_species, found.apcer_max_upper) == ("mask", found.apcer["mask"].upper)
    assert found.to_dict()["apcer_max_upper_95"] == pytest.approx(1 - 0.05 ** (1 / 3))
    nobody = iso_report([0.9], ["bona_fide"], 0.5)
    assert (nobody.bounding_species, nobody.apcer_max_upper) == (None, None)


@pytest.mark.parametrize("rates", [(0.1, 0.1, 0.1), (0.02, 0.4), (0.5, 0.0, 0.0)])
def test_the_bound_of_the_maximum_holds_as_often_as_it_says(rates):
    sizes, rng = (100, 3, 20)[: len(rates)], np.random.default_rng(0)
    drawn = rng.binomial(sizes, rates, (4000, len(rates)))
    bounds = [[upper_bound(errors, n) for errors in range(n + 1)] for n in sizes]
    held = [max(bounds[g][errors] for g, errors in enumerate(row)) >= max(rates) for row in drawn]
    assert np.mean(held) >= 0.95


def test_the_bound_without_an_error():
    assert Rate(0, 100).upper == pytest.approx(1 - 0.05 ** (1 / 100), abs=1e-15)
    assert round(100 * Rate(0, 100).upper, 2) == 2.95
    assert round(100 * Rate(0, 300).upper, 2) == 0.99
    assert (Rate(0, 0).value, Rate(0, 0).upper, Rate(0, 0).interval) == (None, 1.0, (0.0, 1.0))
    with pytest.raises(InputError, match="3 of 2 were counted"):
        upper_bound(3, 2)


def test_the_worst_species_is_the_headline():
    report = iso_report([0.9, 0.9, 0.1, 0.9, 0.1], ["bona_fide", "print", "print", "mask", "mask"], 0.5)
    assert (report.worst_species, report.apcer_max) == ("mask", 0.5)
    report = iso_report([0.9, 0.9, 0.9, 0.1], ["print", "mask", "mask", "print"], 0.5)
    assert (report.worst_species, report.apcer_max, report.bpcer.value, report.acer_max) == (
        "mask",
        1,
        None,
        None,
    )


def test_one_class_only():
    live = iso_report([0.9, None], ["bona_fide", "bona_fide"], 0.5)
    assert (live.apcer_max, live.worst_species, live.apcer_pooled.value, live.acer_pooled) == (None,) * 4
    assert (live.bpcer.value, live.bpnrr.value) == (0.0, 0.5)
    assert bpcer_at_apcer([0.9], ["bona_fide"]) == {} == bpcer_at_apcer([0.9], ["print"])
    assert live.to_dict()["apcer"] == {}


def test_only_non_responses():
    report = iso_report([None, None], ["bona_fide", "print"], 0.5)
    assert (report.bpcer.value, report.apcer_max, report.bpnrr.value) == (0, 0, 1)
    assert bpcer_at_apcer([None, None], ["bona_fide", "print"])[10].threshold == math.inf


def test_infinite_thresholds_are_words_in_json():
    assert iso_report([0.5], ["print"], math.inf).to_dict()["threshold"] == "Infinity"
    assert bpcer_at_apcer([1.0, 1.0], ["print", "bona_fide"])[100].to_dict()["threshold"] == "Infinity"


@pytest.mark.parametrize(
    ("scores", "species", "message"),
    [
        ([0.1], [], "1 scores for 0 species"),
        ([], [], "no presentations"),
        ([math.nan], ["print"], "Presentation 0: the score is nan"),
        ([0.1, math.inf], ["print", "print"], "Presentation 1: the score is inf"),
        ([0.1], [""], "species is ''"),
        ([0.1], ["live"], "species 'live' would count as an attack; a live one is 'bona_fide'"),
    ],
)
def test_bad_input(scores, species, message):
    with pytest.raises(InputError, match=message):
        iso_report(scores, species, 0.5)


def test_bad_thresholds_and_points():
    with pytest.raises(InputError, match="The threshold is not a number"):
        iso_report([0.1], ["print"], math.nan)
    with pytest.raises(InputError, match="points are 1 or more"):
        bpcer_at_apcer([0.1], ["print"], points=[0])
