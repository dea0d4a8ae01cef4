"""The record of first downloads, and the cache folder."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from verticlip.core.errors import ConfigError, WeightsError
from verticlip.hub import trust
from verticlip.hub.trust import FirstUse


@pytest.fixture
def cache(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.setenv("VERTICLIP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def use(name: str, digit: str = "1") -> FirstUse:
    return FirstUse("org/model", name, "main", digit * 40, digit * 64, 3, "2026-01-01")


def test_the_first_record_of_a_file_stays(cache) -> None:
    assert trust.recorded("org/model", "a", "main") is None
    trust.record([use("a")])
    trust.record([use("a", "2"), use("b")])
    assert trust.recorded("org/model", "a", "main") == use("a")
    assert trust.recorded("org/model", "b", "main") == use("b")
    assert trust.recorded("org/model", "a", "v2") is None


def test_forgetting_makes_room_for_another(cache) -> None:
    other = replace(use("a", "2"), revision="v2")
    trust.record([use("a"), use("b"), other])
    assert trust.forget([("org/model", "a"), ("org/model", "c")]) == [use("a"), other]
    assert trust.recorded("org/model", "a", "main") is None
    assert trust.recorded("org/model", "a", "v2") is None
    assert trust.all_recorded() == [use("b")]
    assert trust.recorded("org/model", "b", "main") == use("b")


def test_records_of_many_threads_all_arrive(cache) -> None:
    threads = [threading.Thread(target=trust.record, args=([use(f"file {n}")],)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(json.loads((cache / "first-use.json").read_text())["files"]) == 8


def test_whoever_has_the_lock_is_waited_for_and_told(cache, monkeypatch, caplog) -> None:
    monkeypatch.setattr(trust, "_SILENCE", 0.05)
    inside, done = threading.Event(), threading.Event()

    def hold() -> None:
        with trust.locked("org/model"):
            inside.set()
            done.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    assert inside.wait(10)
    threading.Timer(0.5, done.set).start()
    with trust.locked("org/model"):
        assert done.is_set()
    thread.join()
    assert [record.getMessage() for record in caplog.records if record.name.startswith("verticlip")] == [
        "org/model: waiting for another process or thread of verticlip that works on it; if none does, end "
        "the one that hangs"
    ]


@pytest.mark.parametrize("content", ['{"files": [{"repo_id": "org/model"}]}', "[]", '{"files": [3]}'])
def test_a_damaged_record_is_refused(cache, content: str) -> None:
    cache.mkdir(parents=True)
    (cache / "first-use.json").write_text(content)
    with pytest.raises(ConfigError, match="not a record of first downloads. Repair it, or delete it"):
        trust.recorded("org/model", "a", "main")


def test_a_cache_folder_that_cannot_be_written_is_said(monkeypatch, tmp_path) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("VERTICLIP_CACHE", str(tmp_path / "file"))
    match = r"nothing can be kept in the cache of verticlip: (Not a directory|File exists).*VERTICLIP_CACHE"
    with pytest.raises(WeightsError, match=match):
        trust.record([use("a")])


def test_the_cache_folder_follows_the_environment(monkeypatch, tmp_path) -> None:
    monkeypatch.delenv("VERTICLIP_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert trust.cache_folder() == tmp_path / "verticlip"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert trust.cache_folder() == Path.home() / ".cache" / "verticlip"
