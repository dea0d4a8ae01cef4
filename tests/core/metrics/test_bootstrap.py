from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from verticlip.core.errors import ConfigError, InputError
from verticlip.core.metrics import Bootstrap, Estimate


def test_interval_of_a_mean_matches_the_normal_approximation():
    values = np.random.default_rng(3).normal(5.0, 2.0, size=4000)
    found = Bootstrap(4000, seed=1).mean(values)
    half = 1.96 * values.std() / np.sqrt(4000)
    assert found.value == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - half, abs=0.15 * half)
    assert found.high == pytest.approx(values.mean() + half, abs=0.15 * half)
    assert found.n == 4000


def test_percentiles_equal_a_plain_loop_over_the_same_draws():
    values = np.random.default_rng(0).normal(size=37)
    drawn = np.random.default_rng(9).integers(37, size=(200, 37))
    expected = np.percentile(values[drawn].mean(axis=1), [2.5, 97.5])
    found = Bootstrap(37, seed=9, resamples=200).mean(values)
    np.testing.assert_allclose([found.low, found.high], expected, rtol=1e-12)


def test_median_equals_a_plain_loop_over_the_same_draws():
    values = np.random.default_rng(0).integers(0, 6, size=20)
    drawn = np.random.default_rng(4).integers(20, size=(300, 20))
    expected = np.percentile(np.median(values[drawn], axis=1), [2.5, 97.5])
    found = Bootstrap(20, seed=4, resamples=300).median(values)
    assert found.value == np.median(values)
    np.testing.assert_allclose([found.low, found.high], expected)


@given(st.lists(st.integers(-5, 5), min_size=1, max_size=30))
@settings(max_examples=50, deadline=None)
def test_median_of_any_list(values: list[int]):
    assert Bootstrap(len(values), resamples=0).median(values).value == np.median(values)


def test_groups_are_drawn_whole():
    # Ten identical rows per patient: by rows the interval would be about three times too narrow.
    values = np.repeat(np.random.default_rng(0).normal(size=30), 10)
    patients = np.repeat(np.arange(30), 10)
    by_rows = Bootstrap(300, seed=0).mean(values)
    by_patient = Bootstrap(300, groups=list(patients), seed=0).mean(values)
    assert by_patient.n == 30
    assert by_rows.n == 300
    ratio = (by_patient.high - by_patient.low) / (by_rows.high - by_rows.low)
    assert 2.5 < ratio < 4.0


def test_interval_does_not_depend_on_the_name_of_a_group():
    values = np.arange(8.0)
    first = Bootstrap(8, groups=["a", "a", "b", "b", "c", "c", "d", "d"]).mean(values)
    second = Bootstrap(8, groups=[10, 10, 20, 20, 30, 30, 40, 40]).mean(values)
    assert first == second


def test_seed_decides_and_block_size_does_not(monkeypatch: pytest.MonkeyPatch):
    values = np.random.default_rng(0).normal(size=50)
    whole = Bootstrap(50, seed=2).mean(values)
    assert Bootstrap(50, seed=2).mean(values) == whole
    assert Bootstrap(50, seed=3).mean(values) != whole
    monkeypatch.setattr("verticlip.core.metrics.bootstrap._BLOCK", 500)
    blocks = Bootstrap(50, seed=2).mean(values)
    assert (blocks.low, blocks.high) == pytest.approx((whole.low, whole.high))


@pytest.mark.parametrize("groups", [None, ["p", "p", "p"]])
def test_one_unit_or_no_resamples_leaves_the_interval_undefined(groups: list[str] | None):
    resamples = 0 if groups is None else 100
    found = Bootstrap(3, groups=groups, resamples=resamples).mean([1.0, 2.0, 3.0])
    assert found.value == 2.0
    assert np.isnan(found.low)
    assert found.to_dict() == {"value": 2.0, "low": None, "high": None, "n": 1 if groups else 3}


def test_resamples_without_the_metric_are_left_out():
    found = Bootstrap(4, resamples=50).estimate(lambda weights: np.where(weights[:, 0] > 0, 1.0, np.nan))
    assert (found.low, found.high) == (1.0, 1.0)
    nowhere = Bootstrap(4, resamples=50).estimate(lambda weights: np.full(len(weights), np.nan))
    assert np.isnan(nowhere.low)


def test_estimate_reads_well():
    assert str(Estimate(0.5, 0.25, 0.75, 12)) == "0.5000 (95 % CI 0.2500 to 0.7500, n=12)"
    assert str(Estimate(0.5, float("nan"), float("nan"), 1)) == "0.5000 (n=1)"


def test_a_thousand_resamples_of_a_thousand_rows_are_fast():
    values = np.random.default_rng(0).normal(size=1000)
    start = time.process_time()
    Bootstrap(1000).mean(values)
    assert time.process_time() - start < 1.0


def test_messages():
    with pytest.raises(InputError, match="no rows to evaluate"):
        Bootstrap(0)
    with pytest.raises(InputError, match="groups has 2 ids for 3 rows"):
        Bootstrap(3, groups=["a", "b"])
    with pytest.raises(ConfigError, match="resamples must be 0 or more, got -1"):
        Bootstrap(3, resamples=-1)
