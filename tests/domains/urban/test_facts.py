"""Facts of patches made for it, and captions that say what is true."""

from __future__ import annotations

import pytest
import torch
from verticlip.core.errors import InputError
from verticlip.domains.urban.facts import (
    FAMILIES,
    NOUNS,
    PLACES,
    TERMS,
    WORDS,
    bits_of,
    captions_of,
    claimed_captions,
    claims_held,
    fact_words,
    facts_of,
)


def plain(red: float, green: float, blue: float, *, side: int = 64) -> torch.Tensor:
    """Return a patch of one color."""
    return torch.tensor([red, green, blue]).view(3, 1, 1).expand(3, side, side).clone()


def checkered(low: float, high: float, *, cell: int, side: int = 64) -> torch.Tensor:
    """Return a gray patch of squares."""
    number = torch.arange(side) // cell
    return torch.where((number[:, None] + number) % 2 == 0, low, high).expand(3, side, side).clone()


@pytest.mark.parametrize(
    ("color", "words"),
    [
        ((0.12, 0.22, 0.20), {"dark", "green"}),
        ((0.15, 0.22, 0.33), {"dark", "blue"}),
        ((0.60, 0.50, 0.45), {"bright", "brown"}),
        ((0.34, 0.36, 0.40), {"gray"}),
    ],
)
def test_plain_colors_are_called_as_people_call_them(color, words):
    assert set(fact_words(facts_of(plain(*color)))) == words | {"smooth", "uniform"}


def test_fine_squares_are_busy_and_large_ones_patchy():
    fine, large = facts_of(checkered(0.3, 0.5, cell=1)), facts_of(checkered(0.2, 0.6, cell=16))
    assert "busy" in fine.holds
    assert "patchy" not in fine.holds
    assert {"patchy"} <= large.holds
    assert not {"uniform", "smooth"} & large.holds


def test_a_few_bright_roofs_are_spots():
    patch = plain(0.3, 0.33, 0.36)
    patch[:, 10:22, 10:22] = 0.95
    assert "spotted" in facts_of(patch).holds
    assert "spotted" not in facts_of(plain(0.9, 0.9, 0.9)).holds


def test_turning_and_mirroring_change_nothing():
    patch = torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(0))
    for other in (patch.rot90(1, (1, 2)), patch.flip(2)):
        assert facts_of(other).edges == pytest.approx(facts_of(patch).edges, abs=1e-6)
        assert facts_of(other).holds == facts_of(patch).holds


def test_a_larger_picture_of_the_same_ground_has_the_same_facts():
    patch = checkered(0.2, 0.6, cell=16)
    larger = patch.repeat_interleave(4, 1).repeat_interleave(4, 2)
    assert facts_of(larger) == facts_of(patch)


def test_words_of_one_group_exclude_each_other_and_what_may_hold_contains_what_holds():
    generator = torch.Generator().manual_seed(1)
    groups = (
        {"dark", "bright"},
        {"green", "brown", "blue", "gray"},
        {"smooth", "busy"},
        {"uniform", "patchy"},
    )
    for _ in range(200):
        color = torch.rand(3, 1, 1, generator=generator)
        noise = torch.rand(3, 16, 16, generator=generator) * torch.rand((), generator=generator)
        facts = facts_of((0.7 * color + 0.3 * noise).clamp(0, 1))
        assert all(len(facts.holds & group) <= 1 for group in groups)
        assert facts.holds <= facts.may_hold


@pytest.mark.parametrize("label", [None, *NOUNS])
def test_captions_claim_only_what_is_true_and_say_all_they_claim(label):
    facts = facts_of(plain(0.12, 0.22, 0.20))
    holds, _ = claims_held(label, facts)
    captions = claimed_captions(label, facts, count=30)
    assert len({caption.text for caption in captions}) == len(captions) >= 12
    for caption in captions:
        assert caption.claims <= holds
        for claim in caption.claims:
            known = NOUNS.get(claim) or WORDS.get(claim) or FAMILIES[claim][2]
            assert any(word in caption.text for word in known)
        if not caption.claims & (set(NOUNS) | set(FAMILIES)):
            assert any(place in caption.text for place in PLACES)


def test_captions_are_the_same_for_the_same_seed_and_differ_between_seeds():
    facts = facts_of(plain(0.12, 0.22, 0.20))
    assert captions_of("Forest", facts, seed=3) == captions_of("Forest", facts, seed=3)
    assert captions_of("Forest", facts, seed=3) != captions_of("Forest", facts, seed=4)
    assert any(text.split()[0] == "a" for text in captions_of("SeaLake", facts, count=40))


def test_a_patch_that_shows_nothing_special_still_has_a_caption():
    grayish = facts_of(
        torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(0)) * 0.02 + plain(0.3, 0.36, 0.38)
    )
    assert captions_of(None, grayish, count=1)


def test_water_claims_less_than_river():
    holds, may = claims_held("River", facts_of(plain(0.3, 0.3, 0.3)))
    assert {"River", "water"} <= holds
    assert "farming" in may - holds
    assert "SeaLake" not in may


def test_bits_tell_sets_of_claims_apart():
    assert bits_of(frozenset()) == 0
    assert bits_of(frozenset(TERMS)) == 2 ** len(TERMS) - 1
    assert bits_of(frozenset({"dark"})) & bits_of(frozenset({"dark", "Forest"})) == bits_of(
        frozenset({"dark"})
    )
    with pytest.raises(InputError, match="'darkish' is nothing a caption can claim.*dark"):
        bits_of(frozenset({"darkish"}))


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (torch.zeros(1, 64, 64), r"got torch.float32 \[1, 64, 64\]"),
        (torch.zeros(3, 1, 64), "at least 2 x 2"),
        (torch.zeros(3, 8, 8, dtype=torch.uint8), "got torch.uint8"),
        (torch.full((3, 8, 8), 200.0), r"got 200 to 200. Scale them first"),
        (torch.full((3, 8, 8), float("nan")), "got nan"),
    ],
)
def test_pictures_that_are_none_are_refused(image, message):
    with pytest.raises(InputError, match=message):
        facts_of(image)


def test_unknown_classes_and_counts_are_refused():
    facts = facts_of(plain(0.3, 0.3, 0.3))
    with pytest.raises(InputError, match="'Forrest' is no class of EuroSAT.*Did you mean 'Forest'"):
        captions_of("Forrest", facts)
    with pytest.raises(InputError, match="count is 0"):
        captions_of("Forest", facts, count=0)
