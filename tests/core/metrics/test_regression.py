from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn import metrics as reference
from verticlip.core.errors import InputError
from verticlip.core.metrics import regression_report


@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_values_and_intervals_equal_scikit_learn(offset: float):
    generator = np.random.default_rng(0)
    targets = generator.normal(size=50) + offset
    predictions = targets + 0.3 * generator.normal(size=50)
    report = regression_report(predictions, targets, seed=3, resamples=200)
    drawn = np.random.default_rng(3).integers(50, size=(200, 50))
    for estimate, metric in (
        (report.r2, reference.r2_score),
        (report.rmse, reference.root_mean_squared_error),
        (report.mae, reference.mean_absolute_error),
    ):
        assert estimate.value == pytest.approx(metric(targets, predictions), rel=1e-6)
        values = [metric(targets[d], predictions[d]) for d in drawn]
        np.testing.assert_allclose(
            [estimate.low, estimate.high], np.percentile(values, [2.5, 97.5]), rtol=1e-6
        )


def test_groups_and_json():
    report = regression_report([1.0, 2.0, 3.0, 5.0], [1.0, 2.0, 3.0, 4.0], groups=["a", "a", "b", "b"])
    assert report.mae.n == 2
    assert report.mae.value == 0.25
    plain = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert plain["rows"] == 4
    assert plain["rmse"]["value"] == 0.5


def test_messages():
    with pytest.raises(InputError, match=r"predictions \(1,\) and targets \(2,\)"):
        regression_report([1.0], [1.0, 2.0])
    with pytest.raises(InputError, match="targets: row 1 is nan"):
        regression_report([1.0, 2.0], [1.0, np.nan])
    with pytest.raises(InputError, match="All 2 targets equal 7"):
        regression_report([1.0, 2.0], [7.0, 7.0])
    with pytest.raises(InputError, match="no rows"):
        regression_report([], [])
