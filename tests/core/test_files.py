from __future__ import annotations

import hashlib
import os

import pytest
from verticlip.core.files import atomic_path, read_json, sha256_of, write_json_atomic


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
