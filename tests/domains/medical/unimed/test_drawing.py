from __future__ import annotations

from collections import Counter

import pytest
from verticlip.core.errors import DataError
from verticlip.domains.medical.unimed.drawing import candidates, draw, tags_in


def joined(tag: str, count: int, *, last: str = "") -> str:
    return "".join(f"caption {number}.{tag}" for number in range(count)) + last


@pytest.mark.parametrize(
    ("text", "count"),
    [
        (joined("_radimagenet_", 10), 10),
        (joined("_chexpert_", 10), 10),
        (joined("_chestxray8_", 12), 10),
        (joined("_all_retina_merged_", 10, last="one sentence._all_retina_merged_"), 10),
        (joined("_dr_", 20), 15),
        (joined("_chexpert_", 4), 4),
        ("a plain caption", 1),
    ],
)
def test_the_first_captions_of_a_class_are_drawn(text: str, count: int) -> None:
    found = candidates(text)
    assert len(found) == count
    assert "" not in found
    assert not any("sentence" in caption for caption in found)


def test_rules_for_texts_of_the_image_itself() -> None:
    assert candidates("the report._openi_" + joined("_openi_", 3)) == ["the report."]
    captions = joined("_mimiccxr_", 10, last="_mimiccxr_")
    assert candidates(captions + "the report") == ["the report"]
    assert candidates(captions + "noreportpresent") == [f"caption {number}." for number in range(10)]
    assert candidates("figure_medicat_nothingpresent") == ["figure"]
    assert candidates("figure_medicat_mention_medicat_another") == ["figure", "mention", "another"]


def test_reference_mode_keeps_its_defects() -> None:
    assert candidates(joined("_chexpert_", 2), reference=True) == ["caption 0.", "caption 1.", ""]
    few = joined("_mimiccxr_", 2, last="_mimiccxr_noreportpresent")
    assert candidates(few) == ["caption 0.", "caption 1."]
    assert candidates(few, reference=True) == ["caption 0.", "caption 1.", "", "noreportpresent"]


def test_a_text_without_captions_is_refused() -> None:
    with pytest.raises(DataError, match="A training text of 10 characters has no caption in it"):
        candidates("_chexpert_")


def test_drawing_is_uniform_and_follows_the_seed() -> None:
    captions = [str(number) for number in range(5)]
    assert draw(captions, "a") == draw(captions, "a")
    counts = Counter(draw(captions, f"{seed}|image") for seed in range(5000))
    assert min(counts.values()) > 900
    assert set(counts) == set(captions)


def test_captions_that_would_be_split_are_found() -> None:
    assert tags_in("seen on the_dr_scan") == ["_dr_"]
    assert tags_in("seen on the dr scan") == []


def test_the_first_tag_in_the_reference_order_is_taken() -> None:
    """A caption that has another data set's tag in it by accident."""
    assert candidates("report._openi_of _chestxray8_ kind._openi_") == ["report."]
    assert candidates("a _openi_ film._chexpert_b._chexpert_") == ["a _openi_ film.", "b."]
    assert candidates("a _dr_ slide_medicat_b") == ["a", "slide_medicat_b"]
