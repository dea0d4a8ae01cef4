"""Files of an index: one writer, versions that stay, leftovers that go, and damage that is named."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from filelock import SoftFileLock
from verticlip.core.errors import ConfigError
from verticlip.core.index.base import Identity, Rows
from verticlip.core.index.local import LocalIndex
from verticlip.core.index.lock import WriterLock
from verticlip.core.index.opening import create_index, open_index
from verticlip.core.index.settings import IndexOptions


@pytest.fixture
def folder(tmp_path: Path, identity: Identity, schema: pa.Schema, make_rows: Callable[..., Rows]) -> Path:
    """An index of three versions: 20 rows, 5 of them again, 2 deleted."""
    index = create_index(
        tmp_path / "index", identity=identity, views=["image", "text"], schema=schema, kind="flat"
    )
    index.upsert(make_rows([f"sku-{n:02d}" for n in range(20)]))
    index.upsert(make_rows([f"sku-{n:02d}" for n in range(5)], 1))
    index.delete(["sku-10", "sku-02"])
    index.close()
    return tmp_path / "index"


def file(folder: Path, pattern: str) -> Path:
    return max(folder.glob(pattern))


def every_file(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_a_second_writer_is_refused_at_once(folder: Path, make_rows: Callable[..., Rows]) -> None:
    first, second = LocalIndex(folder), open_index(folder)
    with first.writing():
        first.upsert(make_rows(["new"]))
        with pytest.raises(ConfigError, match="another part of this process is writing to it. Try again"):
            second.delete(["new"])
    assert second.delete(["new"]).deleted == 1


def test_a_second_writer_may_wait(folder: Path, make_rows: Callable[..., Rows]) -> None:
    first, second = LocalIndex(folder), open_index(folder, wait_s=10)
    started = threading.Event()

    def hold() -> None:
        with first.writing():
            started.set()
            time.sleep(0.2)
            first.upsert(make_rows(["new"]))

    thread = threading.Thread(target=hold)
    thread.start()
    started.wait()
    assert second.delete(["new"]).deleted == 1
    thread.join()
    assert (first.version, second.version) == (4, 5)


def test_a_dead_writers_name_does_not_lock(folder: Path) -> None:
    (folder / "writer.json").write_text('{"pid": 1}')
    (folder / "writer.lock").touch()
    assert open_index(folder).delete(["sku-01"]).deleted == 1


def test_versions_stay_and_go(folder: Path, make_rows: Callable[..., Rows]) -> None:
    index = LocalIndex(folder)
    assert index.versions() == [1, 2, 3]
    assert [len(LocalIndex(folder, version=version)) for version in (1, 2, 3)] == [20, 20, 18]
    index.upsert(make_rows(["new"]))
    assert index.versions() == [2, 3, 4]
    with pytest.raises(ConfigError, match=r"version 1 is not kept; versions: 2, 3, 4\."):
        open_index(folder, version=1)
    old = open_index(folder, version=3)
    with pytest.raises(ConfigError, match="version 3 is not the last one"):
        old.delete(["sku-01"])


def test_as_many_versions_stay_as_asked(
    tmp_path: Path, identity: Identity, make_rows: Callable[..., Rows], schema: pa.Schema
) -> None:
    options = IndexOptions(keep_versions=1)
    index = create_index(
        tmp_path / "x", identity=identity, views=["image", "text"], schema=schema, options=options
    )
    for number in range(10):
        index.upsert(make_rows(["a", "b"], number))
    assert isinstance(index, LocalIndex)
    assert index.versions() == [10]
    assert sum(path.is_dir() for path in (tmp_path / "x" / "segments").iterdir()) == 1


def test_leftovers_are_swept_by_the_next_writer_and_by_no_reader(folder: Path) -> None:
    before = every_file(folder)
    segment = file(folder, "segments/*")
    for left in (
        "segments/s0000000004-00000000/rows.parquet",
        f"segments/{segment.name}/deleted-0000000004.bits",
        "graphs/g0000000004-00000000/rows.graph",
        "versions/.0000000004.json.abc.tmp",
    ):
        (folder / left).parent.mkdir(parents=True, exist_ok=True)
        (folder / left).write_text("half of it")
    reader = LocalIndex(folder, read_only=True)
    reader.refresh()
    reader.verify()
    assert len(every_file(folder)) == len(before) + 4
    with LocalIndex(folder).writing():
        pass
    assert every_file(folder) == before


def test_a_cut_file_is_named_with_its_sizes(folder: Path) -> None:
    path = file(folder, "segments/*/image.f32")
    path.write_bytes(path.read_bytes()[:-7])
    where = re.escape(f"segments/{path.parent.name}/image.f32: 153 bytes, expected 160")
    with pytest.raises(ConfigError, match=where):
        open_index(folder)


@pytest.mark.parametrize("name", ["image.f32", "rows.parquet"])
def test_an_absent_file_is_named(folder: Path, name: str) -> None:
    path = file(folder, f"segments/*/{name}")
    path.unlink()
    with pytest.raises(ConfigError, match=f"segments/{path.parent.name}/{name}: absent. Restore the index"):
        open_index(folder)
    with pytest.raises(ConfigError, match="absent"):
        open_index(folder, version=3)


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 4
    path.write_bytes(bytes(data))


def test_a_changed_byte_is_found_when_asked(folder: Path) -> None:
    index = LocalIndex(folder)
    shares = []
    index.verify(lambda what, share: shares.append((what, share)))
    assert shares[-1] == ("verify", 1.0)
    path = file(folder, "segments/*/text.f32")
    flip(path, 50)
    with pytest.raises(
        ConfigError, match=f"{path.parent.name}/text.f32: SHA-256 .*, expected .*It was changed"
    ):
        LocalIndex(folder).verify()
    path.unlink()
    with pytest.raises(ConfigError, match=f"{path.parent.name}/text.f32: absent"):
        index.verify()


@pytest.mark.parametrize("place", [0, 100, -1, -30])
def test_a_changed_byte_of_the_payload_is_found_when_it_is_read(folder: Path, place: int) -> None:
    path = file(folder, "segments/*/rows.parquet")
    flip(path, place)
    index = open_index(folder)
    with pytest.raises(ConfigError, match=f"segments/{path.parent.name}/rows.parquet: SHA-256 "):
        list(index.scan())


def test_a_deleted_row_does_not_come_back_by_a_changed_bit(folder: Path) -> None:
    path = file(folder, "segments/*/deleted-0000000003.bits")
    flip(path, 0)
    with pytest.raises(ConfigError, match=r"deleted-0000000003.bits: SHA-256"):
        open_index(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[:100], "not valid JSON"),
        (lambda text: text.replace('"rows": 20', '"rows": 21'), "its checksum does not fit"),
        (lambda text: '{"x": 1}', "not the list of files of an index"),
        (lambda text: "", "not valid JSON"),
    ],
)
def test_a_damaged_version_is_named(folder: Path, change: Any, message: str) -> None:
    path = folder / "versions" / "0000000003.json"
    path.write_text(change(path.read_text()))
    with pytest.raises(
        ConfigError, match=f"(?s)versions/0000000003.json: damaged.*{message}.*versions: 1, 2, 3"
    ):
        open_index(folder)
    assert len(open_index(folder, version=2)) == 20
    path.unlink()
    assert len(open_index(folder)) == 20


def test_a_damaged_old_version_stops_nobody(folder: Path, make_rows: Callable[..., Rows]) -> None:
    (folder / "versions" / "0000000002.json").write_text("{")
    index = open_index(folder)
    index.upsert(make_rows(["new"]))
    assert len(open_index(folder)) == 19


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("layout", 2, "layout"),
        ("format", "other", "format"),
        ("views", [], "views"),
        ("views", ["../x"], "views"),
        ("surprise", 1, "surprise"),
        ("kind", "magic", "kind"),
    ],
)
def test_a_strange_description_is_refused(folder: Path, name: str, value: Any, message: str) -> None:
    path = folder / "index.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), name: value}))
    with pytest.raises(ConfigError, match=f"index.json: this release reads no such index: {message}"):
        open_index(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda body: body["segments"][0].update(name="../../../etc"), "name"),
        (lambda body: body["segments"][0]["vectors"].update({"../x": 1}), "vectors"),
        (lambda body: body["segments"][0]["vectors"].update(image=21), "more vectors"),
        (lambda body: body["segments"][0]["vectors"].update(image=-1), "vectors"),
        (lambda body: body["segments"][0].update(deleted=21), "more vectors or deleted rows"),
        (lambda body: body["segments"][0].update(tombstones="deleted-0000000009.bits"), "does not list"),
        (lambda body: body["segments"][0].update(tombstones="../deleted.bits"), "tombstones"),
        (lambda body: body["measured"].update({"A/b": {"kind": "flat", "rows": 1}}), "measured"),
        (lambda body: body.update(segments=body["segments"] * 3000), "at most 4096 items"),
    ],
)
def test_a_version_that_no_writer_makes_is_refused(folder: Path, change: Any, message: str) -> None:
    path = folder / "versions" / "0000000003.json"
    body = json.loads(path.read_text())["manifest"]
    change(body)
    digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    path.write_text(json.dumps({"manifest": body, "sha256": digest}))
    with pytest.raises(ConfigError, match=f"(?s)damaged.*{message}"):
        open_index(folder)


def test_threads_that_share_a_lock_take_turns(tmp_path: Path) -> None:
    lock, inside, most = WriterLock(tmp_path), [], []

    def write() -> None:
        for _ in range(20):
            with lock.held(), lock.held() as outermost:
                inside.append(1)
                most.append(len(inside) + outermost)
                time.sleep(0.0005)
                inside.pop()

    threads = [threading.Thread(target=write) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 60


def test_a_killed_writer_does_not_lock_where_the_system_has_no_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = (
        "import os, sys, filelock; lock = filelock.SoftFileLock(sys.argv[1]); lock.acquire(); os._exit(1)"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "writer.lock")], check=False)
    assert (tmp_path / "writer.lock").exists()
    monkeypatch.setattr("verticlip.core.index.lock.FileLock", SoftFileLock)
    with WriterLock(tmp_path).held(wait_s=1) as outermost:
        assert outermost


def test_the_folder_of_a_new_index_is_made_safe(
    tmp_path: Path, identity: Identity, schema: pa.Schema, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    monkeypatch.setattr("verticlip.core.index.store._sync", lambda paths: synced.extend(paths))
    create_index(tmp_path / "x", identity=identity, views=["image"], schema=schema)
    assert {tmp_path, tmp_path / "x", tmp_path / "x" / "versions"} <= set(synced)


def test_a_folder_without_index_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no index here \(index.json is absent\). Create one first"):
        open_index(tmp_path)
