"""Errors in three units, and the reference's five numbers."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics
from verticlip.core.errors import InputError
from verticlip.domains.urban.indicators.metrics import r2_difference, reference_metrics, unit_reports


def pair(rows=200, seed=0):
    rng = np.random.default_rng(seed)
    actual = rng.normal(5, 2, rows)
    return actual, actual + rng.normal(0, 1, rows)


def test_the_five_numbers_are_those_of_scikit_learn():
    actual, predicted = pair()
    found = reference_metrics(actual, predicted)
    assert found["r2"] == pytest.approx(sklearn_metrics.r2_score(actual, predicted))
    assert found["mse"] == pytest.approx(sklearn_metrics.mean_squared_error(actual, predicted))
    assert found["rmse"] == pytest.approx(found["mse"] ** 0.5)
    assert found["mae"] == pytest.approx(sklearn_metrics.mean_absolute_error(actual, predicted))
    assert found["mape"] == pytest.approx(sklearn_metrics.mean_absolute_percentage_error(actual, predicted))
    assert reference_metrics([2, 2], [2, 2])["r2"] == 1
    assert reference_metrics([2, 2], [2, 3])["r2"] == 0
    with pytest.raises(InputError, match="N of 2 or more"):
        reference_metrics([1.0], [1.0])


def test_three_units():
    actual, predicted = pair()
    found = unit_reports(predicted, actual, "log", resamples=50)
    assert found.log is not None
    assert found.log.rmse.value == pytest.approx(np.sqrt(((predicted - actual) ** 2).mean()))
    assert found.z.rmse.value == pytest.approx(found.log.rmse.value / actual.std())
    assert found.z.r2.value == pytest.approx(found.log.r2.value)
    assert found.original.mae.value == pytest.approx(np.abs(np.exp(predicted) - np.exp(actual)).mean())
    assert unit_reports(predicted, actual, "standardize", resamples=0).log is None
    assert unit_reports(predicted, actual, "none", resamples=0).to_dict()["log"] is None
    with pytest.raises(InputError, match="All 3 targets are equal"):
        unit_reports(np.zeros(3), np.ones(3), "none")


def test_blocks_widen_intervals_and_differences_are_paired():
    rng = np.random.default_rng(1)
    block = np.repeat(np.arange(20), 10)
    actual = rng.normal(size=200)
    good = actual + 0.1 * rng.normal(size=200)
    bad = actual + rng.normal(size=20)[block]
    rows = unit_reports(bad, actual, "none", resamples=300).z.mae
    blocks = unit_reports(bad, actual, "none", groups=block, resamples=300).z.mae
    assert blocks.n == 20
    assert blocks.high - blocks.low > 1.5 * (rows.high - rows.low)
    gap = r2_difference(good, bad, actual, groups=block, resamples=300)
    expected = sklearn_metrics.r2_score(actual, good) - sklearn_metrics.r2_score(actual, bad)
    assert gap.value == pytest.approx(expected)
    assert 0 < gap.low < gap.value < gap.high
