"""One score from many."""

from __future__ import annotations

import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st
from verticlip.core.errors import ConfigError, InputError
from verticlip.domains.liveness.frames.combine import AGGREGATORS, combine


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value)) if value >= 0 else math.exp(value) / (1 + math.exp(value))


MARGINS = [2.0, -1.0, 0.5, 4.0, -3.0]
P = [sigmoid(margin) for margin in MARGINS]
USABLE = [True] * 5


def score(margins, usable, **settings) -> float:
    """Return P(live) of what is combined."""
    found = combine(margins, usable, **settings)
    assert found is not None
    return sigmoid(found)


def test_the_four_ways() -> None:
    assert score(MARGINS, USABLE) == pytest.approx(statistics.mean(P))
    assert score(MARGINS, USABLE, aggregator="mean_logit") == pytest.approx(sigmoid(0.5))
    assert score(MARGINS, USABLE, aggregator="median") == pytest.approx(sigmoid(0.5))
    assert score(MARGINS, USABLE, aggregator="min_k", k=2) == pytest.approx((sigmoid(-3) + sigmoid(-1)) / 2)
    assert score(MARGINS, USABLE, aggregator="min_k", k=99) == pytest.approx(statistics.mean(P))
    assert score(MARGINS[:4], USABLE[:4], aggregator="median") == pytest.approx(statistics.median(P[:4]))


def test_frames_that_cannot_be_used_are_left_out() -> None:
    usable = [True, False, True, False, False]
    assert score(MARGINS, usable) == pytest.approx((P[0] + P[2]) / 2)
    assert combine([math.nan, 2.0], [False, True]) == pytest.approx(2.0)


def test_too_few_frames_are_no_answer() -> None:
    usable = [True, False, True, False, False]
    assert combine(MARGINS, usable, min_frames=2) is not None
    assert combine(MARGINS, usable, min_frames=3) is None
    assert combine([], []) is None


@given(margins=st.lists(st.floats(-20, 20), min_size=1, max_size=9))
def test_margins_are_the_log_odds_of_the_mean(margins) -> None:
    usable = [True] * len(margins)
    p = [sigmoid(margin) for margin in margins]
    assert score(margins, usable) == pytest.approx(statistics.fmean(p), rel=1e-9, abs=1e-12)
    for aggregator in AGGREGATORS:
        margin = combine(margins, usable, aggregator=aggregator)
        assert margin is not None
        assert min(margins) - 1e-9 <= margin <= max(margins) + 1e-9


@pytest.mark.parametrize("aggregator", AGGREGATORS)
def test_margins_stay_apart_where_probabilities_are_one(aggregator) -> None:
    usable = [True, True]
    near = combine([60.0, 60.0], usable, aggregator=aggregator)
    far = combine([90.0, 90.0], usable, aggregator=aggregator)
    assert (near, far) == (pytest.approx(60), pytest.approx(90))
    assert combine([-800.0, -800.0], usable, aggregator=aggregator) == pytest.approx(-800)


def test_what_cannot_be_combined() -> None:
    with pytest.raises(ConfigError, match="Unknown aggregator 'meen'; known: mean, .*Did you mean 'mean'"):
        combine(MARGINS, USABLE, aggregator="meen")
    with pytest.raises(ConfigError, match="at least 1, got 0 and 2"):
        combine(MARGINS, USABLE, min_frames=0)
    with pytest.raises(InputError, match="lengths differ"):
        combine(MARGINS, USABLE[:2])
    with pytest.raises(InputError, match="Frame 1: the log-odds are nan"):
        combine([0.0, math.nan], [True, True])
