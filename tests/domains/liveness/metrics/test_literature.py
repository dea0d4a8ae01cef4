"""Pooled metrics of the literature."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from liveness.metrics import pad_oracle
from sklearn.metrics import roc_auc_score
from verticlip.core.errors import InputError
from verticlip.domains.liveness.metrics import literature

pairs_of = st.lists(
    st.tuples(st.integers(0, 10).map(lambda n: n / 10), st.booleans()), min_size=1, max_size=60
)
both = pairs_of.map(lambda pairs: [*pairs, (0.6, True), (0.4, False)])


def columns(pairs):
    return [score for score, _ in pairs], [label for _, label in pairs]


@given(pairs_of, st.integers(1, 40))
def test_the_scan(pairs, density):
    assert literature.grid_eer(*columns(pairs), density=density) == pad_oracle.scan(*columns(pairs), density)


@given(pairs_of)
def test_the_exact_equal_error_rate(pairs):
    scores, labels = columns(pairs)
    expected = pad_oracle.equal_error(scores, labels, [*sorted(set(scores)), math.inf])
    assert literature.exact_eer(scores, labels) == expected


@given(both, st.sampled_from([0.0, 0.01, 0.1, 0.3, 1.0]))
def test_the_point_of_the_roc_curve(pairs, fpr):
    assert literature.tpr_at_fpr(*columns(pairs), fpr) == pad_oracle.tpr_at(*columns(pairs), fpr)


@given(both)
def test_the_area(pairs):
    found = literature.auc(*columns(pairs))
    assert found == pytest.approx(pad_oracle.area(*columns(pairs)), abs=1e-12)
    assert found == pytest.approx(roc_auc_score(columns(pairs)[1], columns(pairs)[0]), abs=1e-12)


@given(pairs_of, st.floats(-0.5, 1.5))
def test_counts(pairs, threshold):
    found = literature.confusion(*columns(pairs), threshold)
    assert (found.tn, found.fn, found.fp, found.tp) == pad_oracle.counts(*columns(pairs), threshold)
    assert (found.far, found.frr) == pad_oracle.far_frr(*columns(pairs), threshold)
    assert literature.hter(*columns(pairs), threshold) == found.hter


@given(both, st.randoms(use_true_random=False))
def test_the_order_does_not_matter(pairs, random):
    shuffled = random.sample(pairs, len(pairs))
    for metric in (literature.grid_eer, literature.exact_eer, literature.tpr_at_fpr):
        assert metric(*columns(pairs)) == metric(*columns(shuffled))


@given(both, st.lists(st.booleans(), min_size=1, max_size=5))
def test_non_responses_take_no_part(pairs, silent):
    scores, labels = columns(pairs)
    more = [*scores, *(None for _ in silent)], [*labels, *silent]
    for metric in (literature.grid_eer, literature.exact_eer, literature.tpr_at_fpr, literature.auc):
        assert metric(*more) == metric(scores, labels)
    assert literature.confusion(*more, 0.5) == literature.confusion(scores, labels, 0.5)


@given(both)
def test_exact_rates_are_at_most_as_far_apart_as_scanned_ones(pairs):
    scores, labels = columns(pairs)
    gap = [
        abs(np.subtract(*pad_oracle.far_frr(scores, labels, found[1])))
        for found in (literature.exact_eer(scores, labels), literature.grid_eer(scores, labels))
    ]
    assert gap[0] <= gap[1]


def test_a_grid_is_too_coarse_for_saturated_scores():
    live, fake = 1 - np.array([1e-9, 2e-9, 3e-9]), 1 - np.array([4e-9, 5e-9, 6e-9])
    scores, labels = np.concatenate([live, fake]), [1, 1, 1, 0, 0, 0]
    assert literature.grid_eer(scores, labels)[0] == 0.5
    assert literature.exact_eer(scores, labels) == (0.0, live.min())


def test_ties_between_classes_drop_points_of_the_curve():
    # Four scores, one attack and one bona fide each: the points lie on a line and only its ends remain.
    scores, labels = [0.1, 0.1, 0.2, 0.2, 0.3, 0.3, 0.4, 0.4], [0, 1] * 4
    assert literature.tpr_at_fpr(scores, labels, 0.6) == 0.25
    assert literature.tpr_at_fpr(scores, labels, 0.1) == 0


def test_empty_classes():
    assert literature.auc([0.5], [1]) is None
    assert literature.auc([0.5], [0]) is None
    assert literature.tpr_at_fpr([0.5], [1]) == 0.0
    assert literature.tpr_at_fpr([0.5], [0]) is None
    assert literature.at_half([0.2], [0]) == literature.AtHalf(0.0, 1.0, 0.5, 1.0)
    # Of an empty class the rate is 1 at every threshold, so the other's rate is driven to 1.
    assert literature.grid_eer([0.2, 0.4], [0, 0])[0] == 1.0 == literature.exact_eer([0.2], [1])[0]


def test_half():
    found = literature.at_half([0.5, 0.49, 0.5, 0.1], [1, 1, 0, 0])
    assert found == literature.AtHalf(apcer=0.5, bpcer=0.5, acer=0.5, accuracy=0.5)


@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        ([0.1, 0.2], [1], r"scores \(2,\) and labels \(1,\)"),
        ([0.1], [2], "labels are 1"),
        ([None], [1], "None of 1 presentations got a response"),
        ([math.nan], [1], "not finite"),
    ],
)
def test_bad_input(scores, labels, message):
    with pytest.raises(InputError, match=message):
        literature.exact_eer(scores, labels)


def test_bad_options():
    with pytest.raises(InputError, match="density must be 1 or more"):
        literature.grid_eer([0.1], [1], density=0)
    with pytest.raises(InputError, match="fpr is a rate"):
        literature.tpr_at_fpr([0.1], [1], 1.5)
