"""One score from many."""

from __future__ import annotations

import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st
from verticlip.core.errors import ConfigError, InputError
from verticlip.domains.liveness.frames.combine import AGGREGATORS, combine, combine_margins


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value)) if value >= 0 else math.exp(value) / (1 + math.exp(value))


MARGINS = [2.0, -1.0, 0.5, 4.0, -3.0]
P = [sigmoid(margin) for margin in MARGINS]
USABLE = [True] * 5


def test_the_four_ways() -> None:
    assert combine(MARGINS, P, USABLE) == pytest.approx(statistics.mean(P))
    assert combine(MARGINS, P, USABLE, aggregator="mean_logit") == pytest.approx(sigmoid(0.5))
    assert combine(MARGINS, P, USABLE, aggregator="median") == pytest.approx(sigmoid(0.5))
    assert combine(MARGINS, P, USABLE, aggregator="min_k", k=2) == pytest.approx(
        (sigmoid(-3) + sigmoid(-1)) / 2
    )
    assert combine(MARGINS, P, USABLE, aggregator="min_k", k=99) == pytest.approx(statistics.mean(P))
    assert combine(MARGINS[:4], P[:4], USABLE[:4], aggregator="median") == pytest.approx(
        statistics.median(P[:4])
    )


def test_frames_that_cannot_be_used_are_left_out() -> None:
    usable = [True, False, True, False, False]
    assert combine(MARGINS, P, usable) == pytest.approx((P[0] + P[2]) / 2)
    assert combine([math.nan, 2.0], [math.nan, P[0]], [False, True]) == P[0]


def test_too_few_frames_are_no_answer() -> None:
    usable = [True, False, True, False, False]
    assert combine(MARGINS, P, usable, min_frames=2) is not None
    assert combine(MARGINS, P, usable, min_frames=3) is None
    assert combine([], [], []) is None
    assert combine_margins(MARGINS, usable, min_frames=3) is None


@pytest.mark.parametrize("aggregator", AGGREGATORS)
@given(margins=st.lists(st.floats(-20, 20), min_size=1, max_size=9))
def test_margins_are_the_log_odds_of_the_score(aggregator, margins) -> None:
    p = [sigmoid(margin) for margin in margins]
    usable = [True] * len(margins)
    score = combine(margins, p, usable, aggregator=aggregator)
    margin = combine_margins(margins, usable, aggregator=aggregator)
    assert score is not None
    assert margin is not None
    assert sigmoid(margin) == pytest.approx(score, rel=1e-9, abs=1e-12)
    assert min(margins) - 1e-9 <= margin <= max(margins) + 1e-9


@pytest.mark.parametrize("aggregator", AGGREGATORS)
def test_margins_stay_apart_where_probabilities_are_one(aggregator) -> None:
    usable = [True, True]
    near = combine_margins([60.0, 60.0], usable, aggregator=aggregator)
    far = combine_margins([90.0, 90.0], usable, aggregator=aggregator)
    assert (near, far) == (pytest.approx(60), pytest.approx(90))
    assert combine([60.0, 60.0], [1.0, 1.0], usable, aggregator=aggregator) == 1.0
    assert combine_margins([-800.0, -800.0], usable, aggregator=aggregator) == pytest.approx(-800)


def test_what_cannot_be_combined() -> None:
    with pytest.raises(ConfigError, match="Unknown aggregator 'meen'; known: mean, .*Did you mean 'mean'"):
        combine(MARGINS, P, USABLE, aggregator="meen")
    with pytest.raises(ConfigError, match="at least 1, got 0 and 2"):
        combine(MARGINS, P, USABLE, min_frames=0)
    with pytest.raises(InputError, match="lengths differ"):
        combine(MARGINS, P, USABLE[:2])
    with pytest.raises(InputError, match="Frame 1: the log-odds are nan"):
        combine([0.0, math.nan], [0.5, 0.5], [True, True])
    with pytest.raises(InputError, match=r"Frame 0: P\(live\) is 1.5, outside of"):
        combine([0.0], [1.5], [True])
