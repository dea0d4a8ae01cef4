"""Infinity in strict JSON."""

from __future__ import annotations

import json
import math

import pytest
from verticlip.core.errors import InputError
from verticlip.domains.liveness.metrics.numbers import json_number, read_number


@pytest.mark.parametrize("value", [0.1, -3, math.inf, -math.inf, 1e-300])
def test_there_and_back(value):
    written = json.dumps(json_number(value), allow_nan=False)
    assert read_number(json.loads(written), "threshold") == value


def test_what_is_no_number():
    assert json_number(math.nan) is None
    assert json_number(None) is None
    for value in ("NaN", "high", None, True):
        with pytest.raises(InputError, match="threshold is .* expected a number, Infinity"):
            read_number(value, "threshold")
