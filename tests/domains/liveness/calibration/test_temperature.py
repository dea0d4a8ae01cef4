"""A temperature fits probabilities to frequencies, keeps every order, and is stored apart."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from verticlip.core.errors import ConfigError, DataError, InputError
from verticlip.domains.liveness.calibration.fingerprint import Fingerprint
from verticlip.domains.liveness.calibration.temperature import (
    Temperature,
    fit_temperature,
    negative_log_likelihood,
    soften,
)
from verticlip.domains.liveness.calibration.threshold import probability_of

PRINT = Fingerprint(
    weights="sha256:1", taxonomy="t", crops="c", processing="p", aggregator="mean", detector="none"
)


def overconfident(count: int = 400, *, truth: float = 3.0) -> tuple[list[float], list[bool]]:
    """Return margins that are ``truth`` times too large for how often they are right."""
    rng = np.random.default_rng(0)
    honest = rng.normal(0, 2, count)
    live = rng.random(count) < 1 / (1 + np.exp(-honest))
    return (honest * truth).tolist(), live.tolist()


def test_the_optimum_is_that_of_a_general_minimizer():
    margins, live = overconfident()
    found = fit_temperature(margins, live)
    oracle = minimize_scalar(
        lambda log: negative_log_likelihood(margins, live, float(np.exp(log))),
        bounds=(-5, 5), method="bounded", options={"xatol": 1e-10},
    )  # fmt: skip
    assert found == pytest.approx(float(np.exp(oracle.x)), rel=1e-5)
    assert found == pytest.approx(3.0, rel=0.2)
    assert negative_log_likelihood(margins, live, found) < negative_log_likelihood(margins, live)


def test_likelihood_of_extreme_margins_is_finite():
    assert negative_log_likelihood([1e4, -1e4], [False, False]) == pytest.approx(5e3)
    assert soften(-1e4, 1.0) == 0.0
    assert soften(1e4, 2.0) == 1.0


def test_a_temperature_keeps_every_order():
    margins = [-40.0, -3.0, 0.0, 1e-3, 50.0]
    for temperature in (0.3, 1.0, 7.0):
        softened = [soften(margin, temperature) for margin in margins]
        assert softened == sorted(softened)
    assert soften(2.5, 1.0) == probability_of(2.5)


@pytest.mark.parametrize(
    ("margins", "live", "message"),
    [
        ([2.0, -2.0], [True, True], "the set has one of the two"),
        ([2.0, -2.0], [False, True], "labels are reversed"),
        ([2.0, 1.0, -2.0], [True, True, False], "without end"),
    ],
)
def test_sets_that_no_temperature_fits(margins, live, message):
    with pytest.raises(DataError, match=message):
        fit_temperature(margins, live)


def test_bad_arguments():
    with pytest.raises(InputError, match="1 margins for 2 labels"):
        fit_temperature([1.0], [True, False])
    with pytest.raises(InputError, match="Margin 1 is not a finite number"):
        fit_temperature([1.0, float("nan")], [True, False])


def test_kept_as_a_file_of_its_own(tmp_path):
    made = Temperature(value=1.5, nll_before=0.5, nll_after=0.4, dataset="own", fingerprint=PRINT)
    path = made.save(tmp_path / "temperature.json")
    assert Temperature.load(path, PRINT) == made
    with pytest.raises(ConfigError, match=r"fitted for another detector.*face detector \(yunet:1 here"):
        Temperature.load(path, PRINT.model_copy(update={"detector": "yunet:1"}))
    raw = json.loads(path.read_text())
    path.write_text(json.dumps({**raw, "value": 1.0}, indent=2, sort_keys=True) + "\n")
    with pytest.raises(ConfigError, match="changed after it was written"):
        Temperature.load(path, PRINT)
