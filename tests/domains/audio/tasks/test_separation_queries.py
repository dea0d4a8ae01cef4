"""What a separator may be asked: words, vectors, twice the same, and what is no query."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from verticlip.core.errors import InputError
from verticlip.domains.audio.tasks.separation import separate
from verticlip.domains.audio.tasks.separation_queries import Questions, as_queries

sys.path.insert(0, str(Path(__file__).parents[1] / "clipsep"))

import make_separator


@pytest.fixture(scope="module")
def model():
    return make_separator.model()


def test_what_is_asked_twice_is_taken_out_once(model):
    wave = make_separator.wave("low") + make_separator.wave("hiss")
    once = separate(model, wave, ["low", "hiss"], array_rate=make_separator.RATE)
    # "low tone" is another word for the class "low".
    twice = separate(model, wave, ["low", "hiss", "LOW", "low tone"], array_rate=make_separator.RATE)
    assert torch.equal(twice.targets[0], twice.targets[2])
    assert torch.equal(twice.targets[0], twice.targets[3])
    torch.testing.assert_close(twice.residual, once.residual, atol=1e-6, rtol=0)
    torch.testing.assert_close(once.targets.sum(dim=0) + once.residual, torch.from_numpy(wave)[None])


def test_labels_by_number_are_told_apart():
    asked = Questions(("a", "b", "a again"), (None, None, None), torch.tensor([2, 0, 2]), False, 0.5)
    rest = asked.rest(torch.full((1, 4), 10.0), torch.ones(3, 1, 4))
    assert torch.equal(rest, torch.full((1, 4), 8.0))


def test_what_is_no_query_is_named(model):
    for query, words in (
        (None, "Query 2 is of type 'NoneType'"),
        (3, "Query 2 is of type 'int'"),
        ("  ", "Query 2 is empty"),
        ("x" * 5000, "Query 2 has 5,000 characters"),
    ):
        with pytest.raises(InputError, match=words):
            as_queries(["low", query])
    for value in (float("nan"), float("inf"), 0.0):
        with pytest.raises(InputError, match="NaN or infinite values, or only zeros"):
            Questions.of(model, torch.full((8,), value))
