"""Readers of ESC and of the spoken digits: labels, groups, splits, and what is said about bad folders."""

from __future__ import annotations

from pathlib import Path

import pytest
from verticlip.core.errors import ConfigError, DataError
from verticlip.domains.audio.readers import read_esc, read_spoken_digits


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return folder


@pytest.fixture
def esc(tmp_path: Path) -> Path:
    return touch(tmp_path / "esc", "rain/1-17-A.ogg", "rain/2-18-A.ogg", "rain/2-18-B.ogg", "dog/1-20-A.wav")


def test_esc_by_folder_groups_takes_of_a_clip(esc):
    records = read_esc(esc)
    assert [one["id"] for one in records] == ["dog/1-20-A", "rain/1-17-A", "rain/2-18-A", "rain/2-18-B"]
    assert [one["label"] for one in records] == ["dog", "rain", "rain", "rain"]
    assert [one["group"] for one in records] == ["1-20", "1-17", "2-18", "2-18"]
    assert {one["split"] for one in records} == {None}
    assert Path(records[0]["path"]) == esc / "dog/1-20-A.wav"


def test_esc_folds_choose_and_split(esc):
    assert [one["id"] for one in read_esc(esc, folds=["2"])] == ["rain/2-18-A", "rain/2-18-B"]
    splits = {one["id"]: one["split"] for one in read_esc(esc, validation_fold=2)}
    assert splits["dog/1-20-A"] == "train"
    assert splits["rain/2-18-B"] == "val"


def test_esc_from_the_published_table(tmp_path):
    touch(tmp_path, "audio/1-17-A-10.wav", "audio/5-9-A-0.wav", "audio/5-9-B-40.wav")
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta/esc50.csv").write_text(
        "filename,fold,target,category,esc10\n"
        "1-17-A-10.wav,1,10,rain,True\n5-9-A-0.wav,5,0,dog,True\n5-9-B-40.wav,5,40,helicopter,False\n"
    )
    records = read_esc(tmp_path, table="meta/esc50.csv", esc10=True, validation_fold=5)
    assert [(one["label"], one["split"], one["group"]) for one in records] == [
        ("rain", "train", "1-17"),
        ("dog", "val", "5-9"),
    ]
    assert len(read_esc(tmp_path, table="meta/esc50.csv")) == 3


@pytest.mark.parametrize(
    ("names", "options", "error", "words"),
    [
        ([], {}, DataError, "no recordings here"),
        (["rain/1.ogg"], {}, DataError, "rain/1.ogg: names here have the form FOLD-CLIP-TAKE"),
        (["1-17-A.ogg"], {}, DataError, "1-17-A.ogg lies in no class folder"),
        (["rain/1-17-A.ogg"], {"folds": ["1", "7"]}, DataError, "no clips of fold 7"),
        (["rain/1-17-A.ogg"], {"validation_fold": 3}, DataError, "no clips of fold 3"),
        (["rain/1-17-A.ogg"], {"folds": ["1"], "validation_fold": 3}, ConfigError, "not among folds"),
        (["rain/1-17-A.ogg"], {"esc10": True}, ConfigError, "name it: table"),
        (["rain/1-17-A.ogg"], {"table": "meta/esc50.csv"}, DataError, "no table 'meta/esc50.csv'"),
    ],
)
def test_esc_says_what_is_wrong(tmp_path, names, options, error, words):
    folder = tmp_path / "esc"
    folder.mkdir()
    with pytest.raises(error, match=words):
        read_esc(touch(folder, *names), **options)


def test_esc_table_with_missing_files_or_columns(tmp_path):
    (tmp_path / "t.csv").write_text("filename,category\n1-1-A-0.wav,dog\n")
    with pytest.raises(DataError, match="1 of 1 files are missing, first audio/1-1-A-0.wav"):
        read_esc(tmp_path, table="t.csv")
    with pytest.raises(DataError, match="no column 'esc10'"):
        read_esc(tmp_path, table="t.csv", esc10=True)
    with pytest.raises(DataError, match="no such folder"):
        read_esc(tmp_path / "absent")


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    names = [f"{digit}_{who}_{take}.wav" for digit in (3, 7) for who in ("ada", "bob") for take in (0, 5)]
    return touch(tmp_path / "digits", *names)


def test_digits_without_a_split(digits):
    records = read_spoken_digits(digits)
    assert len(records) == 8
    assert records[0] == {
        "id": "3_ada_0", "path": str(digits / "3_ada_0.wav"), "label": "3", "split": None, "group": None,
        "locator": None,
    }  # fmt: skip


@pytest.mark.parametrize(("takes", "count"), [("0-4", 4), ("5", 4), (5, 4)])
def test_digits_by_takes(digits, takes, count):
    records = read_spoken_digits(digits, validation_takes=takes)
    chosen = [one["id"] for one in records if one["split"] == "val"]
    assert len(chosen) == count
    assert len({one.rpartition("_")[2] for one in chosen}) == 1


def test_digits_by_speakers(digits):
    records = read_spoken_digits(digits, validation_speakers=["bob"])
    assert {(one["group"], one["split"]) for one in records} == {("ada", "train"), ("bob", "val")}


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"validation_takes": "0-9"}, DataError, "the train part would be empty"),
        ({"validation_takes": "30-40"}, DataError, "the val part would be empty"),
        ({"validation_takes": "4-0"}, ConfigError, "neither a take nor a range"),
        ({"validation_takes": "some"}, ConfigError, "Write 5 or 0-4"),
        ({"validation_speakers": ["eve"]}, DataError, "no recordings of speaker 'eve'; there are ada, bob"),
        ({"validation_takes": "0", "validation_speakers": ["bob"]}, ConfigError, "not both"),
    ],
)
def test_digits_say_what_is_wrong(digits, options, error, words):
    with pytest.raises(error, match=words):
        read_spoken_digits(digits, **options)


def test_digits_of_another_name(tmp_path):
    with pytest.raises(DataError, match="seven.wav: names here have the form DIGIT_SPEAKER_TAKE"):
        read_spoken_digits(touch(tmp_path / "d", "seven.wav"))


@pytest.mark.data
def test_the_development_sets(data_dir):
    clips = read_esc(data_dir / "audio/esc10", validation_fold=4)
    assert len(clips) == 320
    assert sum(one["split"] == "val" for one in clips) == 80
    spoken = read_spoken_digits(data_dir / "audio/spoken_digits/train", validation_takes="5-9")
    assert len(spoken) == 1500
    assert sum(one["split"] == "val" for one in spoken) == 300
