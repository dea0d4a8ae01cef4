"""Partial files of the Hub's client: removed when nobody writes them, and only then."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from filelock import FileLock
from verticlip.hub import leftovers

ETAG, OTHER = "a" * 64, "b" * 40


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    storage = tmp_path / "models--org--name"
    (storage / "blobs").mkdir(parents=True)
    for name in (ETAG, f"{ETAG}.12345678.incomplete", f"{OTHER}.0a0a0a0a.incomplete", "notes.incomplete"):
        (storage / "blobs" / name).write_bytes(b"x")
    return storage


def lock_of(storage: Path, etag: str) -> Path:
    path = storage.parent / ".locks" / storage.name / f"{etag}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def names(paths) -> list[str]:
    return sorted(path.name for path in paths)


def test_what_nobody_writes_goes_and_the_rest_stays(storage: Path) -> None:
    lock_of(storage, ETAG)
    with FileLock(lock_of(storage, OTHER)):
        assert names(leftovers.sweep(storage)) == [f"{ETAG}.12345678.incomplete"]
    assert names(leftovers.sweep(storage)) == [f"{OTHER}.0a0a0a0a.incomplete"]
    assert names((storage / "blobs").iterdir()) == [ETAG, "notes.incomplete"]


def test_without_a_lock_only_old_ones_go(storage: Path) -> None:
    assert leftovers.sweep(storage) == []
    old = storage / "blobs" / f"{ETAG}.12345678.incomplete"
    os.utime(old, (time.time() - 24 * 3600,) * 2)
    assert leftovers.sweep(storage) == [old]


def test_locks_that_everybody_gets_tell_nothing(storage: Path, monkeypatch) -> None:
    import filelock

    class Granted:
        def __init__(self, *_: object, **__: object) -> None:
            pass

        def acquire(self) -> None:
            pass

        def release(self) -> None:
            pass

    lock_of(storage, ETAG)
    monkeypatch.setattr(filelock, "FileLock", Granted)
    assert leftovers.sweep(storage) == []


def test_a_repository_that_is_not_there(tmp_path: Path) -> None:
    assert leftovers.sweep(tmp_path / "models--org--none") == []
