"""Lists of clips with sound and frames: CLIPSep's and VGGSound's."""

from __future__ import annotations

from pathlib import Path

import pytest
from verticlip.core.errors import DataError
from verticlip.domains.audio.readers_video import read_clipsep_csv, read_vggsound


def _list(folder: Path, name: str, *rows: str) -> Path:
    (folder / name).write_text("\n".join(rows) + "\n")
    return folder / name


def test_lists_without_header_give_splits_frames_and_labels(tmp_path):
    _list(tmp_path, "train.csv", "a/1.wav,f/1,10,playing bagpipes", "a/2.wav,f/2,12,dog")
    _list(tmp_path, "val.csv", "a/3.wav,f/3,5,dog")
    found = read_clipsep_csv(tmp_path)
    assert [row["split"] for row in found] == ["train", "train", "val"]
    assert found[0]["label"] == "playing bagpipes"
    assert found[0]["path"] == str(tmp_path / "a/1.wav")
    assert found[0]["extras"] == {"frames": str(tmp_path / "f/1"), "count": 10, "fps": 1.0}
    assert [row["id"] for row in read_clipsep_csv(tmp_path, min_seconds=8)] == ["a/1", "a/2"]
    assert [row["id"] for row in read_clipsep_csv(tmp_path, min_seconds=2, fps=4.0)] == ["a/1", "a/2"]
    assert len(read_clipsep_csv(tmp_path, files=["val.csv"])) == 1
    assert read_clipsep_csv(_list(tmp_path, "all.csv", "1.wav,1,9,x"), root="clips")[0]["split"] is None


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("a.wav,f,10", "train.csv row 1: 3 columns; expected 4, no header"),
        ("a.wav,f,many,x", "'many' is no number of frames"),
        ("a.wav,f,0,x", "'0' is no number of frames"),
        ("../a.wav,f,3,x", "train.csv row 1: .* leaves the data folder"),
        ("/etc/passwd,f,3,x", "train.csv row 1"),
    ],
)
def test_rows_of_another_form_are_refused(tmp_path, row, words):
    _list(tmp_path, "train.csv", row)
    with pytest.raises(DataError, match=words):
        read_clipsep_csv(tmp_path)


def test_missing_and_empty_lists_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"no \*.csv lists here"):
        read_clipsep_csv(tmp_path)
    with pytest.raises(DataError, match="no list 'val.csv' here"):
        read_clipsep_csv(tmp_path, files=["val.csv"])
    _list(tmp_path, "train.csv", "a.wav,f,3,x")
    with pytest.raises(DataError, match="no clips with over 8 seconds"):
        read_clipsep_csv(tmp_path, min_seconds=8)


def test_vggsound_takes_the_clips_that_are_there(tmp_path):
    _list(
        tmp_path,
        "vggsound.csv",
        'abc,30,"dog barking, howling",train',
        "abc,60,dog,test",
        "gone,1,cat,train",
    )
    for name in ("abc_000030", "abc_000060"):
        (tmp_path / "audio").mkdir(exist_ok=True)
        (tmp_path / "audio" / f"{name}.wav").write_bytes(b"")
        (tmp_path / "frames" / name).mkdir(parents=True)
        (tmp_path / "frames" / name / "000001.jpg").write_bytes(b"")
    found = read_vggsound(tmp_path)
    assert [(row["id"], row["label"], row["split"], row["group"]) for row in found] == [
        ("abc_000030", "dog barking howling", "train", "abc"),
        ("abc_000060", "dog", "test", "abc"),
    ]
    assert found[0]["extras"]["count"] == 1
    assert found[0]["text"] == "dog barking howling"


def test_vggsound_without_clips_or_with_another_table_is_refused(tmp_path):
    with pytest.raises(DataError, match="no such table"):
        read_vggsound(tmp_path)
    _list(tmp_path, "vggsound.csv", "abc,30,dog,train")
    with pytest.raises(DataError, match="none of the 1 clips of vggsound.csv is there with sound"):
        read_vggsound(tmp_path)
    _list(tmp_path, "vggsound.csv", "abc,thirty,dog,train")
    with pytest.raises(DataError, match="expected youtube id, start second, label, train or test"):
        read_vggsound(tmp_path)
    _list(tmp_path, "vggsound.csv", "../abc,30,dog,train")
    with pytest.raises(DataError, match="vggsound.csv row 1"):
        read_vggsound(tmp_path)
