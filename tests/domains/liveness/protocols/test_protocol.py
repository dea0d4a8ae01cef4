"""Development sets that are held out of training, and counts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from verticlip.core.errors import ConfigError, DataError
from verticlip.domains.liveness.protocols.entry import Entry
from verticlip.domains.liveness.protocols.protocol import Protocol, hold_out_dev
from verticlip.domains.liveness.protocols.subjects import FEW_SHOT, check_disjoint


def made(subjects: int = 10) -> Protocol:
    entries = [
        Entry(
            Path(f"{dataset}{subject}{label}"), f"{subject}{label}", label,
            "bona_fide" if label == "live" else "print", str(subject),
            "test" if subject >= subjects else "train", dataset,
        )
        for dataset in ("x", "y")
        for subject in range(subjects + 2)
        for label in ("live", "attack")
    ]  # fmt: skip
    return Protocol("made", tuple(entries), "test_eer", ("a note",), "its own")


def test_whole_subjects_of_every_data_set_are_held_out() -> None:
    held = hold_out_dev(made(), 0.2)
    assert held.rule == "dev_eer"
    assert held.name == "made, dev share 0.2"
    assert held.counts() == {
        "train": {"bona_fide": 16, "print": 16},
        "dev": {"bona_fide": 4, "print": 4},
        "test": {"bona_fide": 4, "print": 4},
    }
    assert {entry.dataset for entry in held.of("dev")} == {"x", "y"}
    check_disjoint(held.entries)
    assert held == hold_out_dev(made(), 0.2)
    assert held.note[0] == "a note"
    assert "4 training subjects (20% of each data set)" in held.note[1]
    assert held.oracle_habit == "its own"


def test_people_of_shots_are_never_held_out() -> None:
    one, shot = made(), {FEW_SHOT: "target"}
    shots = [
        Entry(
            Path(f"{name}-shot"),
            f"{name} (shot)",
            "live",
            subject="10",
            split="train",
            dataset="x",
            groups=shot,
        )
        for name in "ab"
    ]
    # A set of which there is nothing but shots needs no second person.
    shots.append(replace(shots[0], dataset="z", path=Path("z")))
    held = hold_out_dev(replace(one, entries=(*one.entries, *shots)), 0.9)
    assert [entry for entry in held.entries if entry.groups] == shots
    assert held.of("dev") == hold_out_dev(one, 0.9).of("dev")
    check_disjoint(held.entries, few_shot=True)


def test_a_little_is_one_subject_and_a_lot_leaves_one() -> None:
    assert len({entry.subject_id for entry in hold_out_dev(made(3), 0.01).of("dev")}) == 2
    assert len({entry.subject_id for entry in hold_out_dev(made(3), 0.99).of("train")}) == 2


def test_what_cannot_be_held_out() -> None:
    for share in (0.0, 1.0, -1.0, float("nan")):
        with pytest.raises(ConfigError, match="must lie between 0 and 1"):
            hold_out_dev(made(), share)
    with pytest.raises(DataError, match="x has one training subject"):
        hold_out_dev(made(1), 0.5)
    with pytest.raises(DataError, match="has a development set of its own"):
        hold_out_dev(hold_out_dev(made(), 0.5), 0.5)


def test_repeats_count_once() -> None:
    one = made()
    again = Protocol("again", one.entries + one.of("train"), "test_eer")
    assert again.counts() == one.counts()
