"""MSU-MFSD: names, and the lists that say who trains."""

from __future__ import annotations

from pathlib import Path

import pytest
from make_trees import msu_names, touch
from verticlip.core.errors import DataError
from verticlip.domains.liveness.protocols.msu_mfsd import msu_entries, read_msu_mfsd
from verticlip.domains.liveness.protocols.subjects import check_disjoint


def with_lists(folder: Path, train: range, test: range) -> Path:
    for name, clients in (("train", train), ("test", test)):
        (folder / f"{name}_sub_list.txt").write_text("".join(f"{client:02d}\n" for client in clients))
    return folder


def test_the_complete_data_set(tmp_path: Path) -> None:
    touch(tmp_path, msu_names())
    read = read_msu_mfsd(with_lists(tmp_path, range(1, 16), range(16, 36)))
    assert read.counts() == {
        "train": {"bona_fide": 30, "display": 60, "print": 30},
        "test": {"bona_fide": 40, "display": 80, "print": 40},
    }
    assert read.rule == "test_eer"
    assert len(read.note) == 1
    assert read.note[0].startswith("Unverified")
    check_disjoint(read.entries)


def test_other_numbers_of_subjects_are_noted_only(tmp_path: Path) -> None:
    touch(tmp_path, msu_names())
    read = read_msu_mfsd(with_lists(tmp_path, range(1, 19), range(19, 36)))
    assert any(
        "train has 36 live and 108 attacks, published are 30 and 90 (unverified" in n for n in read.note
    )
    assert read_msu_mfsd(tmp_path, train_subjects=[1, 2]).counts()["train"]["bona_fide"] == 4


def test_what_names_say() -> None:
    names = [
        "real_client001_android_SD_scene01.mp4",
        "attack_client055_laptop_SD_printed_photo_scene01.mov",
        "attack_client055_laptop_SD_scene01.mov",
        "real_client001_android_SD_ipad_video_scene01.mp4",
    ]
    (live, attack), unknown = msu_entries(names)
    assert (live.species, live.groups) == ("bona_fide", {"camera": "android"})
    assert (attack.species, attack.subject) == ("print", "055")
    assert attack.groups == {"camera": "laptop", "instrument": "printed_photo"}
    assert len(unknown) == 2


def test_lists_that_are_missing_or_wrong(tmp_path: Path) -> None:
    touch(tmp_path, msu_names())
    message = "no train_sub_list.txt and no test_sub_list.txt.*Found: scene01/.*train_subjects"
    with pytest.raises(DataError, match=message):
        read_msu_mfsd(tmp_path)
    with pytest.raises(DataError, match="client 3 stands in both subject lists"):
        read_msu_mfsd(with_lists(tmp_path, range(1, 4), range(3, 36)))
    with pytest.raises(DataError, match="clients 3, 4 stand in neither list"):
        read_msu_mfsd(with_lists(tmp_path, range(1, 3), range(5, 36)))
    assert read_msu_mfsd(tmp_path, partial=True).counts()["train"]["bona_fide"] == 4
    (tmp_path / "test_sub_list.txt").write_text("1\nclient2\n")
    with pytest.raises(DataError, match="test_sub_list.txt row 2: 'client2' is no client number"):
        read_msu_mfsd(tmp_path)
    with pytest.raises(DataError, match="no videos of client 99"):
        read_msu_mfsd(tmp_path, train_subjects=[99])


def test_videos_that_are_missing(tmp_path: Path) -> None:
    touch(tmp_path, msu_names(range(1, 35)))
    with pytest.raises(DataError, match="68 live and 204 attacks; the public MSU-MFSD has 70 and 210"):
        read_msu_mfsd(tmp_path, train_subjects=range(1, 16))
