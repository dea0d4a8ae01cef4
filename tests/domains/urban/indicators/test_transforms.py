"""Targets go to the scale of the fit and come back exactly."""

from __future__ import annotations

import numpy as np
import pytest
from verticlip.core.errors import ConfigError, InputError
from verticlip.domains.urban.indicators.transforms import (
    TARGET_KINDS,
    TargetTransform,
    from_log,
    has_log,
    to_log,
)


@pytest.mark.parametrize("kind", TARGET_KINDS)
def test_there_and_back(kind):
    values = np.array([0.3, 2.0, 17.5, 1e6])
    fitted = TargetTransform.fit(values, kind)
    scores = fitted.forward(values)
    assert np.allclose(fitted.inverse(scores), values, rtol=1e-12)
    assert np.allclose(fitted.logs(scores), to_log(values, kind))
    if kind != "none":
        assert scores.mean() == pytest.approx(0, abs=1e-12)
        assert scores.std() == pytest.approx(1)
    assert TargetTransform.from_config(fitted.to_config()) == fitted


def test_units_between():
    assert to_log([np.e], "log") == pytest.approx(1)
    assert to_log([0.0], "log1p") == pytest.approx(0)
    assert from_log([-5.0], "log1p") == 0  # amounts do not go below zero
    assert [has_log(kind) for kind in TARGET_KINDS] == [True, True, False, False]


@pytest.mark.parametrize(
    ("values", "kind", "error", "message"),
    [
        ([1, 0], "log", InputError, "people: a log target needs values above 0, got 0; use log1p"),
        ([1, -2], "log1p", InputError, "0 or more, got -2; use standardize"),
        ([1, np.nan], "none", InputError, "value 1 is nan"),
        ([3, 3, 3], "log1p", InputError, "all 3 training values equal 3"),
        ([], "log1p", InputError, "no values"),
        ([1, 2], "logp1", ConfigError, "Unknown target transform 'logp1'.*Did you mean"),
    ],
)
def test_what_cannot_be_transformed(values, kind, error, message):
    with pytest.raises(error, match=message):
        TargetTransform.fit(values, kind, name="people")
