"""Words of labelled tables: what is understood, and what no hint may suggest."""

from __future__ import annotations

import pytest
from verticlip.core.errors import DataError
from verticlip.domains.liveness.protocols.words import label_of, refuse_spellings, species_of, split_of


@pytest.mark.parametrize(
    ("word", "label"),
    [("live", "live"), ("Bona Fide", "live"), ("1", "live"), ("Spoof", "attack"), ("0", "attack")],
)
def test_words_of_labels(word: str, label: str) -> None:
    assert label_of("row 2", word) == label


@pytest.mark.parametrize("word", ["-1", "+1", "2", "replay", "unreal", "non-live", "nonreal", ""])
def test_no_hint_at_the_other_class(word: str) -> None:
    with pytest.raises(DataError, match="row 2: label") as caught:
        label_of("row 2", word)
    assert "Did you mean" not in str(caught.value)


def test_a_slip_gets_a_hint() -> None:
    with pytest.raises(DataError, match="Did you mean 'genuine'"):
        label_of("row 2", "genuin")
    with pytest.raises(DataError, match="Did you mean 'train'"):
        split_of("row 2", "trian")


def test_spellings_of_one_species_are_not_counted_apart() -> None:
    refuse_spellings("a.csv", ["print", "bona_fide", "print", "print_cut", "display"])
    with pytest.raises(
        DataError, match="a.csv: the species 'print_cut' and 'Print cut' would be counted apart"
    ):
        refuse_spellings("a.csv", ["print_cut", "bona_fide", "Print cut"])


def test_species_contradicting_a_label() -> None:
    assert species_of("row 2", "Bona-Fide", "live") == "bona_fide"
    with pytest.raises(DataError, match="label attack with species 'live'"):
        species_of("row 2", "live", "attack")
