"""Words that a tokenizer spells out are told; those it holds are not."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import verticlip
from verticlip.domains.audio.tasks.vocabulary import unfamiliar_words


@pytest.fixture(scope="module")
def model():
    return verticlip.from_pretrained("audio/tiny-tagger")


def test_words_of_the_captions_are_familiar(model):
    assert (
        unfamiliar_words(model, ["a dog is barking", "Rain on a tin roof.", "someone says seven", "7"]) == []
    )


def test_other_words_are_named_once_as_written(model):
    assert unfamiliar_words(model, ["a Violin playing", "another Violin", "rain and thunder"]) == [
        "Violin",
        "playing",
        "another",
        "thunder",
    ]


def test_nothing_is_said_of_tokenizers_that_do_not_tell():
    assert unfamiliar_words(SimpleNamespace(processor=SimpleNamespace(tokenizer_json=None)), ["xyzzy"]) == []
