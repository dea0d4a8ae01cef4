from __future__ import annotations

import json
import logging
import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from verticlip.core.data import Manifest, Record, check_decodes
from verticlip.core.errors import DataError, InputError, LimitError
from verticlip.core.limits import Limits


def picture(path: Path, value: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((4, 4), value, dtype=np.uint8)).save(path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "photos"
    for name in ("cat/1.png", "cat/sub/2.png", "dog/1.png"):
        picture(root / name)
    return root


def test_folder_of_classes(folder: Path):
    manifest = Manifest.from_folder(folder)
    assert [(record.path, record.label, record.split) for record in manifest] == [
        ("cat/1.png", "cat", None),
        ("cat/sub/2.png", "cat", None),
        ("dog/1.png", "dog", None),
    ]
    assert manifest.class_names == ("cat", "dog")
    assert manifest[0].id == "cat/1.png"
    assert manifest.file_of(manifest[0]) == (folder / "cat/1.png").resolve()
    assert manifest.report().classes == {"all": {"cat": 2, "dog": 1}}


def test_folder_of_splits(tmp_path: Path):
    for name in ("train/cat/1.png", "Validation/cat/2.png", "test/dog/3.png"):
        picture(tmp_path / name)
    manifest = Manifest.from_folder(tmp_path)
    assert manifest.splits == ("test", "train", "val")
    assert manifest.only("val")[0].path == "Validation/cat/2.png"
    assert manifest.report().to_dict()["classes"] == {
        "test": {"dog": 1},
        "train": {"cat": 1},
        "val": {"cat": 1},
    }
    with pytest.raises(DataError, match="No row has split 'dev'; splits here: test, train, val"):
        manifest.only("dev")


def test_unusable_files_are_reported_and_left_out(folder: Path, caplog: pytest.LogCaptureFixture):
    (folder / "cat" / "empty.png").touch()
    (folder / "dog" / "text.jpg").write_text("no")
    (folder / "readme.txt").write_text("x")
    (folder / ".DS_Store").write_text("x")
    (folder / "cat" / ".hidden").write_text("x")
    with caplog.at_level(logging.WARNING):
        manifest = Manifest.from_folder(folder)
    assert len(manifest) == 3
    assert {problem.path: problem.reason for problem in manifest.problems} == {
        "readme.txt": "not inside a class folder",
        "cat/empty.png": "the file is empty",
        "dog/text.jpg": "not an image Pillow can read",
    }
    assert "3 inputs were left out" in caplog.text
    assert len(json.loads(json.dumps(manifest.report().to_dict()))["problems"]) == 3
    assert len(Manifest.from_folder(folder, check=None)) == 5


def test_a_system_error_of_one_file_is_a_problem_of_that_file(folder: Path):
    def check(path: Path) -> None:
        if path.name == "2.png":
            raise PermissionError(13, "Permission denied")

    (problem,) = Manifest.from_folder(folder, check=check).problems
    assert (problem.path, problem.reason) == ("cat/sub/2.png", "[Errno 13] Permission denied")


def test_a_truncated_image_is_found_by_the_thorough_check(folder: Path):
    path = folder / "cat" / "cut.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:1500])
    assert not Manifest.from_folder(folder).problems
    (problem,) = Manifest.from_folder(folder, check=check_decodes).problems
    assert problem.path == "cat/cut.jpg"
    assert "damaged image" in problem.reason


def test_linked_files_and_folders_are_read_under_the_name_of_the_link(folder: Path, tmp_path: Path):
    before = {record.path for record in Manifest.from_folder(folder)}
    picture(tmp_path / "elsewhere" / "1.png")
    (folder / "cat" / "link.png").symlink_to(tmp_path / "elsewhere" / "1.png")
    (folder / "linked").symlink_to(tmp_path / "elsewhere")
    manifest = Manifest.from_folder(folder)
    assert {record.path for record in manifest} == before | {"cat/link.png", "linked/1.png"}
    files = [manifest.file_of(record) for record in manifest]
    assert all(file.is_relative_to(folder) and file.is_file() for file in files)
    (tmp_path / "alias").symlink_to(folder)
    assert Manifest.from_folder(tmp_path / "alias").records == manifest.records


def test_order_of_the_file_system_does_not_matter(folder: Path, monkeypatch: pytest.MonkeyPatch):
    import os

    picture(folder / "cat" / "3.png")
    before = Manifest.from_folder(folder)
    walk = os.walk

    def shuffled(top: Path, **options: bool):
        for here, folders, names in walk(top, **options):
            random.Random(1).shuffle(folders)
            names.reverse()
            yield here, folders, names

    monkeypatch.setattr("verticlip.core.data.files.os.walk", shuffled)
    assert Manifest.from_folder(folder) == before


def test_folder_messages(tmp_path: Path, folder: Path):
    with pytest.raises(DataError, match=r"no such folder. Expected one folder per class"):
        Manifest.from_folder(tmp_path / "absent")
    picture(folder / "train" / "cat" / "1.png")
    with pytest.raises(DataError, match="'train' looks like a split and 'cat' like a class"):
        Manifest.from_folder(folder)
    (tmp_path / "bare").mkdir()
    with pytest.raises(DataError, match="no usable rows, 0 refused"):
        Manifest.from_folder(tmp_path / "bare")
    (tmp_path / "bare" / "a").mkdir()
    (tmp_path / "bare" / "a" / "x.png").touch()
    with pytest.raises(DataError, match=r"no usable rows, 1 refused. First: a/x.png: the file is empty"):
        Manifest.from_folder(tmp_path / "bare")


def test_number_of_files_is_limited(folder: Path):
    with pytest.raises(LimitError, match=r"photos: files 2 is over the limit of 1"):
        Manifest.from_folder(folder, limits=Limits(manifest_rows=1))


def test_save_and_load_round_trip(folder: Path, tmp_path: Path):
    records = [
        Record("é", path="cat/1.png", label="cat", text="ein Bild: ü", split="train", group="g", source="s"),
        Record("b", path="dog/1.png", locator="frame=3"),
        Record("c", text="only text"),
    ]
    manifest = Manifest.from_records(records, root=folder)
    manifest.save(tmp_path / "out" / "manifest.jsonl")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["manifest.jsonl"]
    assert str(folder) not in (tmp_path / "out" / "manifest.jsonl").read_text()
    assert Manifest.load(tmp_path / "out" / "manifest.jsonl", root=folder) == manifest
    report = manifest.report()
    assert (report.rows, report.groups, report.sources) == (3, 1, {"(none)": 2, "s": 1})


def test_default_ids_tell_parts_of_one_file_apart(folder: Path):
    rows = [Record("", path="cat/1.png", locator=f"slice={index}") for index in range(2)]
    assert [record.id for record in Manifest.from_records(rows, root=folder)] == [
        "cat/1.png#slice=0",
        "cat/1.png#slice=1",
    ]


def test_record_messages(folder: Path):
    with pytest.raises(DataError, match=r"record 2: id 'a' was already used in record 1"):
        Manifest.from_records([Record("a", text="x"), Record("a", text="y")])
    with pytest.raises(InputError, match="record 1: the row has neither a path nor a text"):
        Manifest.from_records([Record("a")])
    with pytest.raises(InputError, match=r"record 1: '\.\./x' leaves the data folder"):
        Manifest.from_records([Record("a", path="../x")], root=folder)
    with pytest.raises(LimitError, match="record 1: text: characters 30 is over the limit of 20"):
        Manifest.from_records([Record("a", text="x" * 30)], limits=Limits(text_chars=20))
    with pytest.raises(DataError, match="records: no usable rows"):
        Manifest.from_records([])
    manifest = Manifest.from_records([Record("a", text="x")])
    with pytest.raises(InputError, match="Record 'a' has no file, only text"):
        manifest.file_of(manifest[0])


def test_file_of_checks_again(folder: Path):
    manifest = Manifest(folder, (Record("a", path="../secret"),))
    with pytest.raises(InputError, match="leaves the data folder"):
        manifest.file_of(manifest[0])


@pytest.mark.data
def test_real_folders(data_dir: Path):
    manifest = Manifest.from_folder(data_dir / "medical" / "brain_mri")
    assert len(manifest) == 2809
    assert len(manifest.class_names) == 4
    assert manifest.splits == ("train",)
    assert not manifest.problems
