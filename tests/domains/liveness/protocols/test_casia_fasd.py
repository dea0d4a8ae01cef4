"""CASIA-FASD: what file stems stand for, and subjects that are numbered twice."""

from __future__ import annotations

from pathlib import Path

import pytest
from make_trees import casia_names, touch
from verticlip.core.errors import DataError
from verticlip.domains.liveness.protocols.casia_fasd import casia_entries, read_casia_fasd
from verticlip.domains.liveness.protocols.subjects import check_disjoint


def test_the_complete_data_set(tmp_path: Path) -> None:
    names = casia_names()
    assert len(names) == 600
    read = read_casia_fasd(touch(tmp_path, names))
    assert read.counts() == {
        "train": {"bona_fide": 60, "display": 60, "print": 60, "print_cut": 60},
        "test": {"bona_fide": 90, "display": 90, "print": 90, "print_cut": 90},
    }
    assert len({entry.subject_id for entry in read.entries}) == 50
    check_disjoint(read.entries)
    assert read.rule == "test_eer"
    assert "test set itself" in (read.oracle_habit or "")
    assert read.note[0].startswith("Unverified")


def test_what_names_say() -> None:
    names = [
        "train_release/3/HR_3.avi",
        "test_release/30/1.avi",
        "test_release/31/1.avi",
        "train_release/x/1.avi",
    ]
    (cut, live), unknown = casia_entries([*names, "train_release/3/9.avi"])
    assert (cut.species, cut.subject, cut.groups) == ("print_cut", "train-3", {"quality": "high"})
    assert (live.species, live.subject, live.groups) == ("bona_fide", "test-30", {"quality": "low"})
    assert len(unknown) == 3


def test_a_folder_that_is_not_complete(tmp_path: Path) -> None:
    touch(tmp_path, casia_names()[:-1])
    with pytest.raises(DataError, match="test has 90 live and 269 attacks, published are 90 and 270"):
        read_casia_fasd(tmp_path)
    assert any("Incomplete" in note for note in read_casia_fasd(tmp_path, partial=True).note)
