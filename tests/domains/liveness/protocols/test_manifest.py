"""Manifests are read strictly, with file and row in every message."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path

import pytest
from make_trees import touch
from verticlip.core.errors import DataError, InputError, VerticlipError
from verticlip.domains.liveness.protocols.entry import BONA_FIDE, UNNAMED, UNSPECIFIED, Entry
from verticlip.domains.liveness.protocols.manifest import read_manifest, write_manifest

HEADER = "path,video_id,label,species,subject,split,dataset"


def write(folder: Path, *lines: str, name: str = "m.csv", header: str = HEADER) -> Path:
    file = folder / name
    file.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return file


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return touch(tmp_path, ["a.png", "b.png", "v/0.png", "v/1.png", "ö.png"])


def refused(file: Path, message: str, **options: object) -> None:
    with pytest.raises(VerticlipError, match=message):
        read_manifest(file, **options)  # type: ignore[arg-type]


def test_rows_become_presentations(folder: Path) -> None:
    file = write(
        folder,
        "a.png,one,live,,7,dev,branch,dark",
        "v/0.png,two,attack,print,8,test,branch,",
        "v/1.png,two,attack,print,8,test,branch,",
        header=HEADER + ",light",
    )
    one, two = read_manifest(file)
    assert (one.id, one.label, one.species, one.subject_id) == ("branch/one", "live", BONA_FIDE, "branch/7")
    assert (one.split, one.groups, one.frames) == ("dev", {"light": "dark"}, ())
    assert two.frames == (folder / "v/0.png", folder / "v/1.png")
    assert two.path == two.frames[0]
    assert two.groups == {}


def test_a_manifest_comes_back_as_it_was_written(folder: Path) -> None:
    entries = [
        Entry(folder / "a.png", "one", "live", subject="7", split="dev", dataset="x", groups={"k": "1,2"}),
        Entry(
            folder / "v/0.png", "two", "attack", "tattoo, printed", "8", "test", "x",
            (folder / "v/0.png", folder / "v/1.png"),
        ),
        Entry(folder / "ö.png", "drei", "attack", "print", split="train"),
    ]  # fmt: skip
    for name in ("m.csv", "m.tsv", "sub/m.jsonl"):
        root = folder if "/" in name else None
        write_manifest(entries, folder / name, root=root)
        assert read_manifest(folder / name, root=root) == entries
        assert not list((folder / name).parent.glob("*.tmp"))


def test_a_repeated_shot_is_written_once(folder: Path) -> None:
    one = Entry(folder / "a.png", "one", "live", split="train")
    write_manifest([one] * 4, folder / "m.csv")
    assert read_manifest(folder / "m.csv") == [one]


def test_words_of_others_are_known(folder: Path) -> None:
    words = [("real", "live"), ("Bona_Fide", "live"), ("1", "live"), ("spoof", "attack"), ("0", "attack")]
    for word, label in words:
        (entry,) = read_manifest(write(folder, f"a.png,,{word},,,val,"))
        assert (entry.label, entry.split) == (label, "dev")
    file = folder / "m.jsonl"
    file.write_text(json.dumps({"path": "a.png", "label": 1, "split": "test", "subject": 4}) + "\n")
    (entry,) = read_manifest(file)
    assert (entry.label, entry.subject, entry.dataset, entry.video_id) == ("live", "4", UNNAMED, "a.png")


def test_what_is_missing_is_said(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = write(folder, "a.png,live", "b.png,attack", header="path,label")
    with caplog.at_level(logging.WARNING):
        entries = read_manifest(file, split="test")
    assert [entry.species for entry in entries] == [BONA_FIDE, UNSPECIFIED]
    assert (
        "2 of 2 presentations have no subject: nothing shows that the splits share no person" in caplog.text
    )
    assert "1 of 1 attacks have no species: they are judged as one pool" in caplog.text


def test_a_byte_order_mark_is_no_part_of_a_name(folder: Path) -> None:
    file = folder / "m.csv"
    file.write_text(f"{HEADER}\nö.png,v,live,,1,test,x\n", encoding="utf-8-sig")
    assert read_manifest(file)[0].path == folder / "ö.png"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a.png,v,lve,,1,test,x", "m.csv row 2: label 'lve'. Did you mean 'live'.*Write live .also real"),
        ("a.png,v,,,1,test,x", "m.csv row 2: label ''. Write live"),
        ("a.png,v,print,,1,test,x", "label 'print'.*the kind of attack goes into the column species"),
        ("a.png,v,live,,1,tset,x", "m.csv row 2: split 'tset'. Did you mean 'test'.*train, dev, test"),
        ("a.png,v,live,print,1,test,x", "row 2: label live with species 'print'"),
        ("a.png,v,attack,bona_fide,1,test,x", "row 2: label attack with species 'bona_fide'"),
        (",v,live,,1,test,x", "row 2: the path is empty"),
        ("../a.png,v,live,,1,test,x", "row 2: '../a.png' leaves the data folder"),
        ("/etc/hosts,v,live,,1,test,x", "row 2: '/etc/hosts' leaves the data folder"),
        ("http://x/a.png,v,live,,1,test,x", "row 2: .*is a URL"),
        ("a\\b.png,v,live,,1,test,x", "row 2: .*not a portable path"),
        ("c.png,v,live,,1,test,x", "row 2: no file 'c.png' below .*1 of 1 files are missing"),
        ("a.png,v,live,,1,test", "row 2: 6 cells for 7 columns"),
    ],
)
def test_a_bad_row_is_named(folder: Path, line: str, message: str) -> None:
    refused(write(folder, line), message)


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ("v/1.png,v,live,,1,test,x,", "row 3: video 'v' has label live, but attack in m.csv row 2"),
        ("v/1.png,v,attack,display,1,test,x,", "has species display, but print"),
        ("v/1.png,v,attack,print,2,test,x,", "has subject 2, but 1"),
        ("v/1.png,v,attack,print,,test,x,", r"has subject \(none\), but 1"),
        ("v/1.png,v,attack,print,1,dev,x,", "has split dev, but test"),
        ("v/1.png,v,attack,print,1,test,x,dark", "has light 'dark', but '' in .*drop the column"),
        ("v/0.png,w,attack,print,1,test,x,", "row 3: 'v/0.png' already stands in m.csv row 2"),
    ],
)
def test_frames_of_a_video_agree(folder: Path, second: str, message: str) -> None:
    refused(write(folder, "v/0.png,v,attack,print,1,test,x,", second, header=HEADER + ",light"), message)


def test_videos_of_two_data_sets_are_two(folder: Path) -> None:
    file = write(folder, "a.png,v,live,,1,train,x", "b.png,v,attack,print,1,test,y")
    assert [entry.id for entry in read_manifest(file)] == ["x/v", "y/v"]


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("file,label,split", "m.csv header: no column 'path'; columns: file, label, split"),
        ("path,lable,split", "no column 'label'; .*Did you mean 'lable'"),
        ("path,label", "no column 'split'; .*train, dev or test"),
        ("path,label,split,subject_id", "column 'subject_id' would be a group.*no column 'subject'"),
        ("path,label,split,Species", "column 'Species' would be a group"),
        ("path,label,split,split", "a column name stands twice: 'split'"),
    ],
)
def test_a_bad_header_is_named(folder: Path, header: str, message: str) -> None:
    cells = ",".join(["a.png"] * len(header.split(",")))
    refused(write(folder, cells, header=header), message)


def test_other_files_are_refused(folder: Path) -> None:
    refused(folder / "none.csv", "none.csv: no such file")
    refused(folder / "a.png", "a manifest is a .csv, .tsv or .jsonl file")
    refused(write(folder), "m.csv: no rows")
    refused(write(folder, "a.png;live;test", header="path;label;split"), "parted by ';'")
    refused(write(folder, "a.png,live,test"), "cells for 7 columns")
    refused(write(folder, "a.png,v,live,,1,test,x"), "no such folder", root=folder / "none")
    (folder / "m.csv").write_bytes(f"{HEADER}\nä.png,v,live,,1,test,x\n".encode("latin-1"))
    refused(folder / "m.csv", "not UTF-8 text")
    (folder / "m.csv").write_text(f"{HEADER}\na.png,v,live,,1,test,x\n", encoding="utf-16")
    refused(folder / "m.csv", "not UTF-8 text")
    (folder / "m.jsonl").write_text('{"path": "a.png", "label": ["live"], "split": "test"}\n')
    refused(folder / "m.jsonl", "m.jsonl row 1: label must be text or a number, got list")


def test_one_split_for_all_rows(folder: Path) -> None:
    file = write(folder, "a.png,live,test", header="path,label,split")
    refused(file, "row 2: split 'test', but split=dev was asked", split="dev")
    assert read_manifest(file, split="test")[0].split == "test"


def test_absolute_paths_are_the_users_own(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = touch(tmp_path_factory.mktemp("other"), ["x.png"])
    entry = Entry(other / "x.png", "v", "live", subject="1")
    with pytest.raises(InputError, match="leaves the data folder"):
        write_manifest([entry], folder / "m.csv")
    assert not (folder / "m.csv").exists()
    write_manifest([entry], folder / "m.csv", absolute=True)
    with pytest.raises(InputError, match="row 2: .*leaves the data folder"):
        read_manifest(folder / "m.csv")
    assert read_manifest(folder / "m.csv", absolute=True) == [entry]


def test_nothing_is_written_in_vain(folder: Path) -> None:
    entry = Entry(folder / "a.png", "v", "live")
    with pytest.raises(DataError, match="no presentations to write"):
        write_manifest([], folder / "m.csv")
    with pytest.raises(DataError, match=r"a manifest is a \.csv"):
        write_manifest([entry], folder / "m.txt")
    with pytest.raises(DataError, match="a group is named 'label'"):
        write_manifest([replace(entry, groups={"label": "x"})], folder / "m.csv")
    assert not list(folder.glob("m.*"))
