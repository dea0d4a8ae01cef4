"""Hashes of files, and what the Hub's cache says of its own entries."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from verticlip.hub import integrity

CONTENT = b"content\n" * 200_000


@pytest.fixture
def entry(tmp_path: Path):
    """Return a function that puts content into a cache under a name and returns the link of a commit."""

    def make(name: str, content: bytes = CONTENT) -> Path:
        blob, link = tmp_path / "blobs" / name, tmp_path / "snapshots" / ("1" * 40) / "file"
        for path in (blob, link):
            path.parent.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(content)
        link.symlink_to(Path("../../blobs") / name)
        return link

    return make


def is_right(link: Path) -> bool:
    name = integrity.cached_name(link)
    assert name is not None
    return integrity.digests_of(link, name).agree_with(name)


def test_git_names_a_blob_as_we_do(tmp_path: Path) -> None:
    path = tmp_path / "hello"
    path.write_bytes(b"hello\n")
    # echo hello | git hash-object --stdin
    assert integrity.digests_of(path, "0" * 40).sha1[0] == "ce013625030ba8dba906f756967f9e9ca394464a"
    path.write_bytes(b"")
    assert integrity.digests_of(path, "0" * 40).sha1[0] == "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"


@pytest.mark.parametrize(
    "name",
    [
        hashlib.sha256(CONTENT).hexdigest(),
        hashlib.sha1(b"blob %d\0" % len(CONTENT) + CONTENT).hexdigest(),
        hashlib.sha1(CONTENT).hexdigest(),
    ],
)
def test_an_entry_is_compared_with_its_own_name(entry, name: str) -> None:
    link = entry(name)
    assert is_right(link)
    blob = link.resolve()
    for damaged in (CONTENT[:-1] + b"!", CONTENT[:-1], b"", b"<!doctype html>"):
        blob.write_bytes(damaged)
        assert not is_right(link)


def test_names_that_are_no_hash_say_nothing(entry, tmp_path: Path) -> None:
    assert not integrity.is_hash(integrity.cached_name(entry(hashlib.md5(CONTENT).hexdigest())))
    plain = tmp_path / "plain"
    plain.write_bytes(CONTENT)
    assert integrity.cached_name(plain) is None
    elsewhere = tmp_path / "link"
    elsewhere.symlink_to(plain)
    assert integrity.cached_name(elsewhere) is None
    assert not integrity.is_hash(None)


def test_a_blob_that_is_a_link_into_a_common_store_keeps_its_name(entry, tmp_path: Path) -> None:
    name = hashlib.sha256(CONTENT).hexdigest()
    link = entry(name)
    common = tmp_path / "common" / ("f" * 64)
    common.parent.mkdir()
    common.write_bytes(CONTENT)
    blob = tmp_path / "blobs" / name
    blob.unlink()
    blob.symlink_to(common)
    assert integrity.cached_name(link) == name
    assert is_right(link)


def test_a_file_is_read_once_and_sha1_only_where_it_is_needed(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    opened = []
    original = Path.open
    monkeypatch.setattr(Path, "open", lambda self, *given: opened.append(self) or original(self, *given))
    digests = integrity.digests_of(path, "0" * 40)
    assert opened == [path]
    assert digests.bytes == len(CONTENT)
    assert digests.sha256 == hashlib.sha256(CONTENT).hexdigest()
    assert digests.sha1[1] == hashlib.sha1(CONTENT).hexdigest()
    assert digests.like("0" * 64) == digests.sha256
    assert integrity.digests_of(path, "0" * 64).sha1 == ()
