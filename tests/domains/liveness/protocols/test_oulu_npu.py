"""OULU-NPU: counts of every protocol and fold, from file names alone."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from make_trees import oulu_names, touch
from verticlip.core.errors import ConfigError, DataError
from verticlip.domains.liveness.protocols.oulu_npu import (
    COUNTS,
    oulu_entries,
    read_oulu_npu,
    video_entries,
)
from verticlip.domains.liveness.protocols.subjects import check_disjoint

RUNS = [(1, None), (2, None), *((protocol, fold) for protocol in (3, 4) for fold in range(1, 7))]
NAMES = oulu_names()

# Live and attack videos of train, dev and test as published.
PUBLISHED = {
    1: (240, 960, 180, 720, 120, 480),
    2: (360, 720, 270, 540, 360, 720),
    3: (300, 1200, 225, 900, 60, 240),
    4: (200, 400, 150, 300, 20, 40),
}


def test_the_data_set_has_4950_videos() -> None:
    assert len(NAMES) == 4950
    entries, unknown = video_entries(NAMES)
    assert len(entries) == 4950
    assert not unknown


@pytest.mark.parametrize(("protocol", "fold"), RUNS)
def test_counts_are_the_published_ones(protocol: int, fold: int | None) -> None:
    entries, _ = oulu_entries(NAMES, protocol=protocol, fold=fold)
    counts = Counter((entry.split, entry.label) for entry in entries)
    found = tuple(counts[split, label] for split in ("train", "dev", "test") for label in ("live", "attack"))
    assert found == PUBLISHED[protocol]
    assert tuple(number for pair in COUNTS[protocol].values() for number in pair) == found
    species = Counter(entry.species for entry in entries if entry.split == "test")
    assert species["print"] == species["display"] == found[5] / 2
    check_disjoint(entries)


def test_users_sessions_phones_and_files_are_apart() -> None:
    entries, _ = oulu_entries(NAMES, protocol=4, fold=2)
    test = [entry for entry in entries if entry.split == "test"]
    learned = [entry for entry in entries if entry.split != "test"]
    assert {entry.groups["phone"] for entry in test} == {"2"}
    assert {entry.groups["phone"] for entry in learned} == {"1", "3", "4", "5", "6"}
    assert {entry.groups["session"] for entry in test} == {"3"}
    assert {entry.groups["session"] for entry in learned} == {"1", "2"}
    assert {entry.groups["instrument"] for entry in test} == {"none", "printer_2", "display_2"}
    assert {entry.groups["instrument"] for entry in learned} == {"none", "printer_1", "display_1"}
    users = {split: {int(e.subject or 0) for e in entries if e.split == split} for split in ("train", "dev")}
    assert users == {"train": set(range(1, 21)), "dev": set(range(21, 36))}


def test_what_a_name_says() -> None:
    entries, unknown = video_entries(
        ["Train_files/6_2_07_4.avi", "readme.mp4", "7_1_01_1.avi", "1_1_56_1.avi"]
    )
    (one,) = entries
    assert (one.id, one.label, one.species, one.subject) == ("oulu-npu/6_2_07_4", "attack", "display", "07")
    assert one.groups == {"phone": "6", "session": "2", "instrument": "display_1"}
    assert unknown == ["readme.mp4", "7_1_01_1.avi", "1_1_56_1.avi"]


def test_a_folder_that_is_not_complete_is_refused_or_noted(tmp_path: Path) -> None:
    touch(tmp_path, [*oulu_names([1, 21, 36]), "Train_files/extra.avi"])
    with pytest.raises(
        DataError, match="train has 12 live and 48 attacks, published are 240 and 960.*partial"
    ):
        read_oulu_npu(tmp_path, protocol=1)
    read = read_oulu_npu(tmp_path, protocol=3, fold=6, partial=True)
    assert (read.name, read.rule, read.oracle_habit) == ("oulu-npu protocol 3 fold 6", "dev_eer", None)
    assert any("Incomplete: test has 3 live and 12 attacks" in note for note in read.note)
    assert any(
        "1 files have other names and were left out, first Train_files/extra.avi" in n for n in read.note
    )
    assert any("That fold k leaves out phone k is unverified" in note for note in read.note)
    assert read.counts()["test"] == {"bona_fide": 3, "display": 6, "print": 6}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"protocol": 5}, "protocol 5: OULU-NPU has protocols 1, 2, 3 and 4"),
        ({"protocol": 3}, "has folds 1 to 6; none was given. Run all six"),
        ({"protocol": 4, "fold": 7}, "has folds 1 to 6; got 7"),
        ({"protocol": 1, "fold": 1}, "Protocol 1 of OULU-NPU has no folds"),
    ],
)
def test_protocols_and_folds(tmp_path: Path, options: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_oulu_npu(tmp_path, **options)


def test_another_folder_is_told_apart(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder. Expected the folder of OULU-NPU"):
        read_oulu_npu(tmp_path / "none", protocol=1)
    touch(tmp_path, ["photos/a.jpg", "notes.txt"])
    with pytest.raises(DataError, match=r"no \.avi, .*Found: notes.txt, photos/"):
        read_oulu_npu(tmp_path, protocol=1)
    touch(tmp_path, ["photos/a.avi"])
    with pytest.raises(DataError, match="no file name is one of Phone_Session_User_File.*photos/a.avi"):
        read_oulu_npu(tmp_path, protocol=1)
    touch(tmp_path, ["1_1_01_1.avi", "copy/1_1_01_1.avi"])
    with pytest.raises(DataError, match="Video 1_1_01_1 stands twice"):
        read_oulu_npu(tmp_path, protocol=1)


def lists(folder: Path, text: str, name: str = "Train") -> None:
    place = folder / "Protocols" / "Protocol_2"
    place.mkdir(parents=True, exist_ok=True)
    (place / f"{name}.txt").write_text(text)


def test_the_lists_are_compared(tmp_path: Path) -> None:
    names = oulu_names([1])
    touch(tmp_path, names)
    entries, _ = oulu_entries(names, protocol=2)
    label = {"bona_fide": "+1", "print": "-1", "display": "-2"}
    right = [f"{label[entry.species]},{entry.video_id}" for entry in entries]
    lists(tmp_path, "\n".join(right))
    note = read_oulu_npu(tmp_path, protocol=2, partial=True).note
    assert not any("compared" in text for text in note)
    assert any("No list of dev" in text for text in note)

    lists(tmp_path, "\n".join(right).replace("-1,", "-2,"))
    with pytest.raises(DataError, match="Train.txt: .* has label -2, but its name says print"):
        read_oulu_npu(tmp_path, protocol=2, partial=True)
    assert read_oulu_npu(tmp_path, protocol=2, partial=True, cross_check=False)

    lists(tmp_path, "\n".join(right[1:]))
    with pytest.raises(DataError, match=r"Train.txt lacks 1 videos of the protocol's rules"):
        read_oulu_npu(tmp_path, protocol=2, partial=True)

    lists(tmp_path, "1_1_01_1 real\n")
    note = read_oulu_npu(tmp_path, protocol=2, partial=True).note
    assert any("not in the expected syntax label,name (unverified) and was not compared" in n for n in note)
