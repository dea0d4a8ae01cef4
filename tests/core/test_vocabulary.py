"""Which words a tokenizer spells out, in long texts too."""

from __future__ import annotations

import re
import time
from types import SimpleNamespace

from verticlip.core.vocabulary import unfamiliar_words


def speller(known: set[str]) -> SimpleNamespace:
    """Return a model whose tokenizer holds some words and spells the others; markers stand at (0, 0)."""

    def offsets(text: str) -> list[tuple[int, int]]:
        found = [(0, 0)]
        for word in re.finditer(r"\S+", text):
            if word.group() in known:
                found.append(word.span())
            else:
                found += [(place, place + 1) for place in range(*word.span())]
        return [*found, (0, 0)]

    return SimpleNamespace(
        processor=SimpleNamespace(tokenizer_json="{}", clean_text=str.lower, token_offsets=offsets)
    )


def test_words_that_are_spelled_are_told_once_and_others_are_not() -> None:
    model = speller({"red", "dress"})
    assert unfamiliar_words(model, ["red logo dress", "logo on a red wörd 42"]) == ["logo", "wörd"]
    assert unfamiliar_words(model, ["", "red dress"]) == []


def test_thousands_of_words_cost_no_more_than_their_number() -> None:
    model = speller(set())
    start = time.process_time()
    assert unfamiliar_words(model, ["word " * 20_000]) == ["word"]
    assert time.process_time() - start < 5
