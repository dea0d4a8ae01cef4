"""Exact bounds of counted rates."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta, binom
from verticlip.core.errors import InputError
from verticlip.core.metrics import lower_bound, upper_bound

COUNTS = [(0, 1), (0, 300), (1, 20), (7, 90), (89, 90), (90, 90)]


@pytest.mark.parametrize(("count", "n"), COUNTS)
def test_bounds_are_those_of_clopper_and_pearson(count, n):
    upper = beta.ppf(0.95, count + 1, n - count) if count < n else 1.0
    lower = beta.ppf(0.05, count, n - count + 1) if count else 0.0
    assert upper_bound(count, n) == pytest.approx(upper, abs=1e-12)
    assert lower_bound(count, n) == pytest.approx(lower, abs=1e-12)


def test_bounds_without_an_exception():
    assert upper_bound(0, 300) == pytest.approx(1 - 0.05 ** (1 / 300), abs=1e-15)
    assert lower_bound(299, 299) == pytest.approx(0.05 ** (1 / 299), abs=1e-15)
    assert lower_bound(90, 100, 0.975) == pytest.approx(0.8238, abs=1e-4)
    assert (lower_bound(0, 0), upper_bound(0, 0)) == (0.0, 1.0)


@given(st.integers(1, 60), st.floats(0.01, 0.99), st.floats(0.5, 0.99))
@settings(max_examples=50, deadline=None)
def test_one_side_is_the_other_of_the_complement(n, rate, confidence):
    count = int(rate * n)
    assert lower_bound(count, n, confidence) == pytest.approx(1 - upper_bound(n - count, n, confidence))
    # However the draw falls, the bound is above the rate as often as it says.
    held = sum(binom.pmf(k, n, rate) for k in range(n + 1) if upper_bound(k, n, confidence) >= rate)
    assert held >= confidence - 1e-9


@pytest.mark.parametrize("bound", [upper_bound, lower_bound])
def test_what_is_no_count(bound):
    for count, n in [(3, 2), (-1, 5)]:
        with pytest.raises(InputError, match=f"{count} of {n} were counted; expected 0 <= count <= n"):
            bound(count, n)
    for confidence in (0.0, 1.0):
        with pytest.raises(InputError, match="A confidence lies between 0 and 1"):
            bound(1, 2, confidence)
