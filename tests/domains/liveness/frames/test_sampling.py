"""Which frames are chosen."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from verticlip.core.errors import LimitError
from verticlip.domains.liveness.frames.sampling import Sampling

FLIP = Sampling(kind="flip_mcio")


def test_flips_two_frames() -> None:
    assert FLIP.indices(250) == (6, 131)
    assert FLIP.indices(101) == (6, 56)
    assert FLIP.indices(13) == (6, 12)
    assert FLIP.asked == 2


@pytest.mark.parametrize(("total", "expected"), [(12, (6, 11)), (8, (6, 7)), (7, (6,)), (3, (2,)), (1, (0,))])
def test_flip_on_films_that_are_too_short(total, expected) -> None:
    assert FLIP.indices(total) == expected


def test_equidistant_frames_stand_in_the_middle_of_their_part() -> None:
    assert Sampling(count=5).indices(100) == (10, 30, 50, 70, 90)
    assert Sampling(count=1).indices(9) == (4,)
    assert Sampling(count=4).indices(4) == (0, 1, 2, 3)
    assert Sampling(count=9).indices(3) == (0, 1, 2), "no more than there are"
    assert Sampling(count=10).indices(0) == ()


@given(st.integers(1, 400), st.integers(1, 3000))
def test_equidistant_frames_are_evenly_spread(count, total) -> None:
    found = Sampling(count=count, max_frames=400).indices(total)
    assert len(found) == min(count, total)
    assert list(found) == sorted(set(found))
    assert found[0] >= 0
    assert found[-1] < total
    steps = {after - before for before, after in itertools.pairwise(found)}
    assert not steps or max(steps) - min(steps) <= 1
    assert abs(found[0] - (total - 1 - found[-1])) <= 1, "as far from the beginning as from the end"


def test_all_frames_have_a_ceiling() -> None:
    every = Sampling(kind="all", max_frames=30)
    assert every.indices(30) == tuple(range(30))
    assert every.asked is None
    with pytest.raises(LimitError, match=r"a.mp4: 31 frames to look at, over max_frames 30.*equidistant"):
        every.indices(31, what="a.mp4")
    with pytest.raises(LimitError, match="over max_frames 3"):
        Sampling(count=4, max_frames=3).indices(100)


def test_settings() -> None:
    for options, words in [
        ({"kind": "some"}, "'equidistant', 'every', 'flip_mcio' or 'all'"),
        ({"count": 0}, "greater than or equal to 1"),
        ({"kind": "every", "seconds": 0}, "greater than or equal to 0.001"),
    ]:
        with pytest.raises(ValidationError, match=words):
            Sampling(**options)
