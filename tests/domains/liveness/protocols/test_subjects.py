"""Nobody stands on both sides of a split."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from verticlip.core.errors import DataError
from verticlip.domains.liveness.protocols.entry import Entry, Split
from verticlip.domains.liveness.protocols.subjects import FEW_SHOT, check_disjoint, subject_notes


def entry(name: str, subject: str | None, split: Split, dataset: str = "x") -> Entry:
    return Entry(Path(f"{dataset}-{name}.avi"), name, "live", subject=subject, split=split, dataset=dataset)


def test_disjoint_splits_pass() -> None:
    check_disjoint([entry("a", "1", "train"), entry("b", "1", "train"), entry("c", "2", "test")])
    check_disjoint([])


def test_subject_one_of_two_data_sets_is_two_people() -> None:
    check_disjoint([entry("a", "1", "train", "x"), entry("a", "1", "test", "y")])


def test_a_shared_subject_is_named() -> None:
    entries = [entry("a", "1", "test"), entry("b", "1", "train"), entry("c", "2", "dev")]
    with pytest.raises(DataError, match=r"1 subjects stand in more than one split: x/1 \(train and test\)"):
        check_disjoint(entries)


def test_many_are_counted() -> None:
    entries = [entry(f"{split}{n}", str(n), split) for n in range(8) for split in ("train", "test")]  # type: ignore[arg-type]
    with pytest.raises(DataError, match="8 subjects.* and 3 more. Move each person"):
        check_disjoint(entries)


def test_unknown_subjects_are_not_compared_but_said() -> None:
    entries = [entry("a", None, "train"), entry("b", None, "test")]
    check_disjoint(entries)
    assert "2 of 2 presentations have no subject" in subject_notes(entries)[0]
    assert subject_notes([entry("a", "1", "train")]) == ()


def test_a_video_in_two_splits_is_refused() -> None:
    one = entry("a", None, "train")
    with pytest.raises(DataError, match="1 videos stand in more than one split: x/a"):
        check_disjoint([one, replace(one, split="dev")])


def test_what_is_counted_stands_once() -> None:
    one = entry("a", "1", "test")
    with pytest.raises(DataError, match="1 presentations stand twice where they are counted"):
        check_disjoint([one, one])
    check_disjoint([replace(one, split="train")] * 4)


def test_one_file_under_two_names_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.avi").touch()
    (tmp_path / "b.avi").symlink_to(tmp_path / "a.avi")
    entries = [
        Entry(tmp_path / "a.avi", "a", "live", subject="1", split="train"),
        Entry(tmp_path / "b.avi", "b", "live", subject="2", split="test"),
    ]
    with pytest.raises(
        DataError, match=r"b.avi is a file of two presentations: .*a \(train\) and .*b \(test\)"
    ):
        check_disjoint(entries)


def test_equal_bytes_are_found_when_asked(tmp_path: Path) -> None:
    for name, text in (("a", "same"), ("b", "same"), ("c", "diff")):
        (tmp_path / name).write_text(text)
    splits: dict[str, Split] = {"a": "train", "b": "test", "c": "test"}
    entries = [Entry(tmp_path / name, name, "live", split=split) for name, split in splits.items()]
    check_disjoint(entries)
    with pytest.raises(DataError, match="a of .*/a .train. and b of .*/b .test. hold the same bytes"):
        check_disjoint(entries, by_content=True)
    check_disjoint([entries[0], entries[2]], by_content=True)


def test_few_shots_are_allowed_by_name() -> None:
    shot = replace(entry("s", "1", "train"), groups={FEW_SHOT: "target"})
    entries = [shot, entry("t", "1", "test")]
    with pytest.raises(DataError, match=r"are allowed by the option few_shot \(few_shot=True\)"):
        check_disjoint(entries)
    check_disjoint(entries, few_shot=True)
    # Only what trains is a shot, and only people who are tested may be shown by one.
    marked = [replace(entries[1], groups={FEW_SHOT: "target"}), entry("u", "1", "train")]
    with pytest.raises(DataError, match=r"x/1 \(train and test\)\. Move each person into one split\.$"):
        check_disjoint(marked, few_shot=True)
    with pytest.raises(DataError, match=r"x/1 \(train and dev\)"):
        check_disjoint([shot, entry("d", "1", "dev")], few_shot=True)


def test_a_person_is_one_under_every_name_of_the_data_set() -> None:
    with pytest.raises(DataError, match=r"oulu-npu/1 \(train and test\)"):
        check_disjoint([entry("a", "1", "train", "oulu"), entry("b", "1", "test", "OULU-NPU")])
