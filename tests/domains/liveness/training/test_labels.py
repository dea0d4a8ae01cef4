from __future__ import annotations

import pytest
from verticlip.core.errors import ConfigError, DataError
from verticlip.domains.liveness.taxonomy import load_taxonomy
from verticlip.domains.liveness.training.labels import UNKNOWN, category_of

DEFAULT, BINARY = load_taxonomy("default"), load_taxonomy("binary")


@pytest.mark.parametrize(
    ("label", "live", "expected"),
    [
        ("bona_fide", True, "live"),
        ("live", True, "live"),
        ("print", False, "print_photo"),
        ("display", False, "screen_replay"),
        ("screen_replay", False, "screen_replay"),
        ("mask", False, "mask_paper_or_3d"),
    ],
)
def test_categories_by_id_or_species(label, live, expected):
    assert DEFAULT.ids[category_of(label, DEFAULT, live=live, where="x")] == expected


def test_the_only_category_of_a_side_takes_everything():
    assert category_of("whatever", BINARY, live=False, where="x") == 0
    assert category_of("anybody", BINARY, live=True, where="x") == 1


def test_what_only_says_attack_has_no_category():
    for word in ("unspecified", "attack", "spoof"):
        assert category_of(word, DEFAULT, live=False, where="x") == UNKNOWN
    twice = DEFAULT.model_copy(
        update={
            "categories": (
                *DEFAULT.categories,
                DEFAULT.category("print_photo").model_copy(update={"id": "other_print"}),
            )
        }
    )
    assert category_of("print", twice, live=False, where="x") == UNKNOWN


def test_contradictions_and_unknown_words():
    with pytest.raises(
        DataError, match="a/1: category 'live' is live in taxonomy 'default', and the label says attack"
    ):
        category_of("live", DEFAULT, live=False, where="a/1")
    with pytest.raises(
        ConfigError, match=r"'dispaly' is neither .* Did you mean 'display'.*labels: \{dispaly: CATEGORY\}"
    ):
        category_of("dispaly", DEFAULT, live=False, where="a/1")
