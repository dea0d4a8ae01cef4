from __future__ import annotations

import errno
import hashlib
import os

import pytest
from verticlip.core.files import atomic_path, new_folder, read_json, sha256_of, write_json_atomic


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "deep" / "a.json"
    write_json_atomic(path, {"a": 1})
    with pytest.raises(RuntimeError), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert read_json(path) == {"a": 1}
    assert [child.name for child in path.parent.iterdir()] == ["a.json"]


def test_sha256_is_that_of_the_bytes(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"abc" * 700_000)
    assert sha256_of(path) == hashlib.sha256(b"abc" * 700_000).hexdigest()


def test_a_name_that_is_not_utf8_survives_json(tmp_path):
    name = os.fsdecode(b"na\xefve \xc3\xbc")
    write_json_atomic(tmp_path / "a.json", {"name": name})
    assert read_json(tmp_path / "a.json") == {"name": name}
    assert "ü" in (tmp_path / "a.json").read_text(encoding="utf-8")


def test_what_the_system_refused_is_told_whoever_wrote(tmp_path) -> None:
    path = tmp_path / "model.safetensors"
    with pytest.raises(OSError, match="No space left on device") as caught, atomic_path(path):
        raise RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)")
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(path))
    with pytest.raises(RuntimeError, match="shape"), atomic_path(path):
        raise RuntimeError("another shape")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.name != "posix", reason="modes of POSIX")
@pytest.mark.parametrize(("umask", "file", "folder"), [(0o022, 0o644, 0o755), (0o077, 0o600, 0o700)])
def test_new_files_and_folders_have_the_mode_of_any_other(tmp_path, monkeypatch, umask, file, folder) -> None:
    before = os.umask(umask)
    try:
        monkeypatch.setattr(os, "umask", lambda _: pytest.fail("a process has one, for all its threads"))
        write_json_atomic(tmp_path / "a.json", {})
        with atomic_path(tmp_path / "b") as temporary:
            temporary.unlink()
            temporary.write_bytes(b"another file of the same name")
            temporary.chmod(0o400)
        made = new_folder(tmp_path, ".staging-")
    finally:
        monkeypatch.undo()
        os.umask(before)
    assert [(tmp_path / name).stat().st_mode & 0o777 for name in ("a.json", "b")] == [file, file]
    assert made.stat().st_mode & 0o777 == folder
    assert made != new_folder(tmp_path, ".staging-")
