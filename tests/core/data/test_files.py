from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from verticlip.core.data import check_decodes, check_header, check_readable
from verticlip.core.data.files import files_below, inside
from verticlip.core.errors import InputError, LimitError
from verticlip.core.limits import Limits


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = (tmp_path / "data").resolve()
    folder.mkdir()
    return folder


def noise(path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 255, (40, 30, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def test_paths_inside_are_kept_relative(root: Path):
    assert inside(root, "a/./b.png") == "a/b.png"
    assert inside(root, str(root / "a" / "b.png")) == "a/b.png"
    assert inside(root, "a..b/c..png") == "a..b/c..png"


def test_links_keep_the_name_they_have_in_the_folder(root: Path, tmp_path: Path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.txt").write_text("x")
    (root / "file").symlink_to(tmp_path / "elsewhere" / "a.txt")
    (root / "set").symlink_to(tmp_path / "elsewhere")
    assert inside(root, "file") == "file"
    assert inside(root, "set/a.txt") == "set/a.txt"
    assert inside(root, str(root / "set" / "a.txt")) == "set/a.txt"
    for path in ("set/../a.txt", str(root / "set" / ".." / "a.txt"), str(tmp_path / "elsewhere" / "a.txt")):
        with pytest.raises(InputError, match=r"leaves the data folder .*Move or link the file into it"):
            inside(root, path)


def test_a_root_that_is_spelled_in_two_ways_is_one_root(root: Path, tmp_path: Path):
    (root / "b.txt").write_text("x")
    (tmp_path / "alias").symlink_to(root)
    assert inside(root, str(tmp_path / "alias" / "b.txt")) == "b.txt"
    assert inside(tmp_path / "alias", str(root / "b.txt")) == "b.txt"
    assert inside(root / ".." / root.name, str(root / ".." / root.name / "b.txt")) == "b.txt"
    with pytest.raises(InputError, match="leaves the data folder"):
        inside(tmp_path / "alias", str(tmp_path / "elsewhere"))


def test_linked_folders_are_walked_and_loops_are_not(root: Path, tmp_path: Path):
    for name in ("a", "b", ".hidden"):
        (tmp_path / "elsewhere" / name).mkdir(parents=True)
        (tmp_path / "elsewhere" / name / "1.txt").write_text("x")
    (root / "set").symlink_to(tmp_path / "elsewhere")
    (root / "again").symlink_to(tmp_path / "elsewhere" / "a")
    (tmp_path / "elsewhere" / "b" / "up").symlink_to(root)
    (root / "self").symlink_to(root)
    (root / "0.txt").write_text("x")
    assert files_below(root) == ["0.txt", "again/1.txt", "set/a/1.txt", "set/b/1.txt"]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("../x", "'../x' leaves the data folder"),
        ("a/../../x", "leaves the data folder"),
        ("/etc/passwd", "'/etc/passwd' leaves the data folder"),
        ("https://example.org/x.png", "is a URL; manifests name local files only"),
        ("file:///etc/passwd", "is a URL"),
        ("pipe:cat x", "is a URL"),
        ("a\\..\\b", "is not a portable path"),
        ("C:/x", "is not a portable path"),
        ("a\0b", "is not a portable path"),
        (" ", "The path is empty"),
    ],
)
def test_refused_paths(root: Path, path: str, message: str):
    with pytest.raises(InputError, match=message):
        inside(root, path)


def test_link_loops_are_refused(root: Path):
    (root / "loop").symlink_to(root / "loop")
    with pytest.raises(InputError, match=r"cannot be resolved|no such file"):
        check_readable(root / inside(root, "loop/x"))


@given(st.text(alphabet="./ab~%:", max_size=12))
@settings(max_examples=200)
def test_no_accepted_path_leaves_the_root(tmp_path_factory: pytest.TempPathFactory, path: str):
    root = tmp_path_factory.getbasetemp().resolve()
    try:
        found = inside(root, path)
    except InputError:
        return
    assert os.path.realpath(root / found).startswith(str(root))


def test_readable_files(root: Path):
    (root / "notes.txt").write_text("x")
    check_readable(root / "notes.txt")
    check_header(root / "notes.txt")
    for check in (check_readable, check_header, check_decodes):
        check(noise(root / "a.png"))


def test_unusable_files(root: Path):
    with pytest.raises(InputError, match="no such file"):
        check_readable(root / "absent.png")
    (root / "empty.png").touch()
    with pytest.raises(InputError, match="the file is empty"):
        check_readable(root / "empty.png")
    (root / "text.png").write_text("not a picture")
    check_readable(root / "text.png")
    with pytest.raises(InputError, match="not an image Pillow can read"):
        check_header(root / "text.png")
    cut = noise(root / "cut.jpg")
    cut.write_bytes(cut.read_bytes()[:-300])
    check_header(cut)
    with pytest.raises(InputError, match="damaged image"):
        check_decodes(cut)


def test_limits_and_permissions(root: Path, monkeypatch: pytest.MonkeyPatch):
    image = noise(root / "a.png")
    monkeypatch.setattr("verticlip.core.data.files.DEFAULT", Limits(pixels=100))
    with pytest.raises(LimitError, match=r"a.png: pixels 1,200 is over the limit"):
        check_header(image)
    monkeypatch.setattr("verticlip.core.data.files.DEFAULT", Limits(file_bytes=10))
    with pytest.raises(LimitError, match=r"a.png: bytes"):
        check_readable(image)
    monkeypatch.undo()

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(InputError, match=r"not readable \(Permission denied\)"):
        check_readable(image)


def test_a_folder_that_may_not_be_read_is_no_empty_folder(tmp_path, monkeypatch):
    (tmp_path / "closed").mkdir()
    scandir = os.scandir

    def refuse(path="."):
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(InputError, match="closed: this folder cannot be read .Permission denied"):
        files_below(tmp_path)
