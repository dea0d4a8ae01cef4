"""Captions that say what is true of a garment, in words of shops."""

from __future__ import annotations

import pytest
from verticlip.core.errors import InputError
from verticlip.domains.ecommerce.facts import COLORS, FACTS, Facts
from verticlip.domains.ecommerce.wording import (
    FAMILIES,
    NOUNS,
    TERMS,
    UNCOUNTED,
    WORDS,
    bits_of,
    captions_of,
    claims_held,
)


def facts(*colors: str, lightness: float = 50.0, detail: float = 5.0, direction: float = 0.1) -> Facts:
    shares = {color: (1 / len(colors) if color in colors else 0.0) for color in COLORS}
    return Facts(shares, lightness, detail, direction, found=0.8)


def test_every_term_has_words_and_a_bit_of_its_own():
    assert set(WORDS) == set(FACTS)
    assert len(set(TERMS)) == len(TERMS) <= 62
    assert bits_of(frozenset(TERMS)) == 2 ** len(TERMS) - 1
    assert set().union(*(members for members, _, _ in FAMILIES.values())) <= set(NOUNS)


@pytest.mark.parametrize("kind", [*NOUNS, None])
def test_captions_claim_only_what_holds_and_say_it(kind):
    of = facts("red", "white", lightness=70.0, detail=20.0, direction=0.9)
    holds, may = claims_held(kind, of)
    captions = captions_of(kind, of, count=40, seed=1)
    assert len({caption.text for caption in captions}) == len(captions) == 40
    for caption in captions:
        assert caption.claims <= (holds if kind else may)
        for word in caption.claims & set(FACTS):
            assert any(adjective in caption.text for adjective in WORDS[word])
        if caption.claims & set(NOUNS):
            assert any(noun in caption.text for noun in NOUNS[str(kind)])


def test_captions_are_the_same_for_the_same_arguments_and_others_for_another_seed():
    first, again = (captions_of("skirt", facts("blue"), seed=3) for _ in range(2))
    assert first == again
    assert first != captions_of("skirt", facts("blue"), seed=4)


def test_some_captions_leave_the_kind_open_and_some_name_the_family():
    captions = captions_of("pants", facts("green"), count=60)
    without = [caption for caption in captions if not caption.claims & {*NOUNS, *FAMILIES}]
    assert 10 <= len(without) <= 30
    assert any("bottoms" in caption.claims for caption in captions)


def test_navy_is_said_as_dark_blue_too():
    said = " | ".join(one.text for one in captions_of("dress", facts("navy", lightness=20.0), count=60))
    assert "navy" in said
    assert "dark blue" in said


def test_colors_are_joined_and_articles_agree():
    texts = [one.text for one in captions_of("shorts", facts("orange", "white"), count=60)]
    assert any("orange and white" in text or "white and orange" in text for text in texts)
    for text in texts:
        assert " a o" not in f" {text}"
        assert not any(text.endswith(f"a {noun}") for noun in UNCOUNTED)
        assert "  " not in text


def test_a_top_may_be_a_jacket_and_is_no_hat():
    holds, may = claims_held("outwear", facts("gray"))
    assert "top" in may - holds
    assert "top" in claims_held("shirt", facts("gray"))[0]
    assert "top" not in claims_held("hat", facts("gray"))[1]
    assert set(NOUNS) <= claims_held(None, facts("gray"))[1]


def test_wrong_arguments_are_said():
    with pytest.raises(InputError, match="'tshirt' is no kind of garment here.*Did you mean 't-shirt'"):
        captions_of("tshirt", facts("red"))
    with pytest.raises(InputError, match="count is 0; ask for at least one"):
        captions_of("dress", facts("red"), count=0)
    with pytest.raises(InputError, match="'reed' is nothing a caption can claim.*'red'"):
        bits_of(frozenset({"reed"}))
