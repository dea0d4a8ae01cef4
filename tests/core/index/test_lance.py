"""What is special about an index in a LanceDB table: indexes, versions, names, kills."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from verticlip.core.errors import ConfigError, InputError
from verticlip.core.index import lance_table, lance_tuning
from verticlip.core.index.base import Rows, VectorIndex
from verticlip.core.index.filters import F
from verticlip.core.index.opening import create_index, open_index
from verticlip.core.index.settings import IndexOptions

sys.path.insert(0, str(Path(__file__).parent))

from make_turns import COUNT, IDENTITY, SCHEMA, VECTORS, rows_of, turn_of
from make_vectors import oracle

pytest.importorskip("lancedb")

KILLS = int(os.environ.get("VERTICLIP_KILLS", "2"))


def make(folder: Path, **options: Any) -> VectorIndex:
    return create_index(
        folder,
        identity=IDENTITY,
        views=["image"],
        schema=SCHEMA,
        kind="lancedb",
        options=IndexOptions(sample=60, **options),
    )


@pytest.fixture
def full(tmp_path: Path) -> VectorIndex:
    index = make(tmp_path / "x")
    index.upsert(rows_of(range(COUNT)))
    return index


@pytest.fixture
def tuned(full: VectorIndex, monkeypatch: pytest.MonkeyPatch) -> VectorIndex:
    """Indexed and taken to be faster, whatever this machine says of so few rows."""
    monkeypatch.setattr(lance_tuning, "INDEX_ROWS", 1000)
    monkeypatch.setattr("verticlip.core.index.tuning._FASTER", 100.0)
    full.optimize()
    return full


def test_optimize_measures_and_search_is_nearly_exact(tuned: VectorIndex) -> None:
    stats = tuned.stats()
    assert stats.kind == {"image": "hnsw"}
    assert stats.indexed == {"image": COUNT}
    assert stats.needs_optimize == ""
    tuning = stats.tuning["image"]
    assert tuning.ef > 0
    assert tuning.recall >= tuning.target == 0.95
    queries = VECTORS[::100]
    positions, scores = oracle(VECTORS, queries, 10)
    found = tuned.search(queries, 10, view="image")
    exact = tuned.search(queries, 10, view="image", ef=0)
    hits = 0
    for number, (near, all_) in enumerate(zip(found, exact, strict=True)):
        wanted = [f"sku-{n:05d}" for n in positions[number]]
        assert list(all_.ids) == wanted
        np.testing.assert_array_equal(all_.scores, scores[number])
        hits += len(set(wanted) & set(near.ids))
        known = dict(zip(wanted, scores[number], strict=True))
        for one, score in zip(near.ids, near.scores, strict=True):
            assert known.get(one, score) == score
    assert hits >= 0.93 * 300


def test_rows_that_came_after_the_index_are_found(tuned: VectorIndex) -> None:
    moved = VECTORS.copy()
    moved[17] = -VECTORS[17]
    tuned.upsert(rows_of([17], moved))
    assert tuned.search(-VECTORS[17][None], 1, view="image")[0].ids == ("sku-00017",)
    assert "sku-00017" not in tuned.search(VECTORS[17][None], 5, view="image")[0].ids
    tuned.delete(["sku-00030"])
    assert "sku-00030" not in tuned.search(VECTORS[30][None], 5, view="image")[0].ids


def test_filters_are_met_before_the_nearest_are_picked(tuned: VectorIndex) -> None:
    where = (F("brand name") == "O'Neil 1") & (F("price") < 100)
    (hits,) = tuned.search(VECTORS[:1], 500, view="image", where=where, ef=0)
    assert set(hits.ids) == {f"sku-{n:05d}" for n in range(1, 100, 3)}


def test_few_rows_get_no_index(full: VectorIndex) -> None:
    stats = full.optimize()
    assert (stats.kind, stats.indexed, stats.needs_optimize) == ({"image": "flat"}, {"image": 0}, "")


def test_an_index_that_is_no_faster_is_dropped(full: VectorIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lance_tuning, "INDEX_ROWS", 1000)
    monkeypatch.setattr("verticlip.core.index.tuning._FASTER", 0.0)
    stats = full.optimize()
    assert stats.kind == {"image": "flat"}
    assert stats.indexed == {"image": 0}
    assert stats.tuning["image"].ef == 0
    assert stats.needs_optimize == ""


def test_it_says_when_to_optimize(full: VectorIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lance_tuning, "INDEX_ROWS", 1000)
    assert full.stats().needs_optimize == "3,000 rows, and how to search 'image' was not measured"
    full.delete([f"sku-{n:05d}" for n in range(1000)])
    assert full.stats().needs_optimize == "1,000 of 3,000 stored rows are deleted"


def test_earlier_versions_open(full: VectorIndex, tmp_path: Path) -> None:
    full.delete(["sku-00001"])
    full.optimize()
    old = open_index(tmp_path / "x", version=1)
    assert (old.version, len(old), len(full)) == (1, COUNT, COUNT - 1)
    assert old.search(VECTORS[1:2], 1, view="image", ef=0)[0].ids == ("sku-00001",)
    with pytest.raises(ConfigError, match="cannot be written, version 1 is not the last one"):
        old.delete(["sku-00002"])
    with pytest.raises(ConfigError, match=r"version 77 is not kept; versions: 0, 1, 2"):
        open_index(tmp_path / "x", version=77)


def test_versions_that_nobody_reads_any_more_go(
    full: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lance_tuning, "_GRACE", lance_tuning.timedelta(0))
    for number in range(5):
        full.upsert(rows_of([number]))
        # Versions are told apart by their age, in seconds.
        time.sleep(1.5 * (number == 1))
    assert full.versions() == list(range(7))
    full.optimize()
    assert set(full.versions()) >= {4, 5, 6}
    assert min(full.versions()) > 1
    assert len(open_index(tmp_path / "x", version=5)) == COUNT


def test_two_writers(full: VectorIndex, tmp_path: Path) -> None:
    other = open_index(tmp_path / "x")
    with full.writing(), pytest.raises(ConfigError, match="another part of this process is writing to it"):  # pyright: ignore
        other.delete(["sku-00001"])
    assert other.delete(["sku-00001"]).deleted == 1


def test_threads_share_one_object(tmp_path: Path) -> None:
    index: Any = make(tmp_path / "x")
    index.upsert(turn_of(0))
    problems: list[object] = []
    done = threading.Event()

    def write(first: int) -> None:
        try:
            for turn in range(first, first + 3):
                index.upsert(turn_of(turn))
        except Exception as error:
            problems.append(error)

    def read() -> None:
        while not done.is_set():
            try:
                prices = {
                    one for rows in index.scan(columns=["price"]) for one in rows.payload["price"].to_pylist()
                }
                hits = index.search(VECTORS[:1], 5, view="image")[0]
                if len(prices) != 1 or len(hits) != 5:
                    problems.append((prices, hits.ids))
            except Exception as error:
                problems.append(error)

    writers = [threading.Thread(target=write, args=(first,)) for first in (10, 20)]
    reader = threading.Thread(target=read)
    for thread in (reader, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    reader.join()
    assert not problems
    assert index.version == 7


def test_a_scan_stays_in_its_version(full: Any) -> None:
    scan = full.scan(columns=["price"], batch_size=500)
    first = next(scan)
    full.delete([f"sku-{n:05d}" for n in range(2000)])
    assert len(first) + sum(len(rows) for rows in scan) == COUNT
    assert len(full) == COUNT - 2000


def test_an_earlier_version_stays_that_version(full: Any, tmp_path: Path) -> None:
    full.delete(["sku-00001"])
    past: Any = open_index(tmp_path / "x", version=1)
    assert not past.refresh()
    assert (past.version, len(past)) == (1, COUNT)


def test_an_index_is_of_the_column_of_that_name() -> None:
    one = SimpleNamespace(columns=["`@image_2`"])
    assert lance_table.is_of(one, "@image_2")
    assert not lance_table.is_of(one, "@image")


def test_a_reader_takes_up_what_was_written_when_told(full: VectorIndex, tmp_path: Path) -> None:
    reader: Any = open_index(tmp_path / "x", read_only=True)
    full.delete(["sku-00001"])
    assert len(reader) == COUNT
    assert reader.refresh()
    assert not reader.refresh()
    assert len(reader) == COUNT - 1


def test_columns_can_be_added(full: Any, tmp_path: Path) -> None:
    full.add_columns(pa.schema([("color", pa.string())]))
    assert full.get(["sku-00002"]).payload.to_pylist() == [
        {"price": 2.0, "brand name": "O'Neil 2", "color": None}
    ]
    with pytest.raises(InputError, match="'color' already"):
        full.add_columns(pa.schema([("color", pa.string())]))
    rows = rows_of([2])
    full.upsert(
        Rows(
            rows.ids, rows.payload.append_column("color", pa.array(["red"])), {"image": rows.vectors["image"]}
        )
    )
    assert [one.ids for one in open_index(tmp_path / "x").scan(where=F("color") == "red")] == [("sku-00002",)]


def test_names_that_lance_does_not_take(tmp_path: Path) -> None:
    for name in ("a.b", "a`b"):
        with pytest.raises(InputError, match=r"LanceDB takes no column name with a dot or a backtick"):
            create_index(
                tmp_path / "x",
                identity=IDENTITY,
                views=["image"],
                schema=pa.schema([(name, pa.string())]),
                kind="lancedb",
            )
    assert not (tmp_path / "x").exists()


def test_literals_are_only_literals(full: VectorIndex) -> None:
    hostile = "x' OR '1'='1"
    assert full.get([hostile]).ids == ()
    assert full.delete([hostile]).deleted == 0
    assert list(full.scan(where=F("brand name") == hostile)) == []
    assert len(full) == COUNT


def test_a_folder_in_use_and_a_table_that_is_gone(full: VectorIndex, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(ConfigError, match=r"not empty \('letter.txt'\)"):
        make(tmp_path / "mine")
    (tmp_path / "x" / "table" / "rows.lance").rename(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="the table of the index cannot be opened. Restore it"):
        open_index(tmp_path / "x")


@pytest.mark.parametrize("kept", [0, 0.5])
def test_a_cut_file_is_told_in_words(full: VectorIndex, tmp_path: Path, kept: float) -> None:
    full.close()
    for path in (tmp_path / "x" / "table").rglob("*.lance"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    index = open_index(tmp_path / "x")
    for use in (
        lambda: list(index.scan(views=["image"])),
        lambda: index.get(["r00001"], views=["image"]),
        lambda: index.search(VECTORS[:1], 3, view="image"),
    ):
        with pytest.raises(
            ConfigError, match=r"LanceDB cannot read or write the table \(.*restore"
        ) as caught:
            use()
        assert ".rs" not in str(caught.value)


def test_a_killed_creation_is_done_again(tmp_path: Path) -> None:
    make(tmp_path / "x").upsert(rows_of(range(5)))
    (tmp_path / "x" / "index.json").unlink()
    with pytest.raises(ConfigError, match="no index here"):
        open_index(tmp_path / "x")
    assert len(make(tmp_path / "x")) == 0


def test_a_damaged_measurement_is_named(tuned: VectorIndex, tmp_path: Path) -> None:
    path = tmp_path / "x" / "tuned.json"
    state = json.loads(path.read_text())
    state["views"]["image"]["ef"] = -4
    path.write_text(json.dumps(state))
    with pytest.raises(ConfigError, match="tuned.json: damaged. Remove it, then optimize"):
        open_index(tmp_path / "x")
    path.unlink()
    assert open_index(tmp_path / "x").stats().kind == {"image": "flat"}


def test_a_closed_index_says_so(full: VectorIndex) -> None:
    full.close()
    with pytest.raises(ConfigError, match="was closed. Open it again"):
        len(full)


WRITER = """
import sys
sys.path.insert(0, {here!r})
import make_turns
from verticlip.core.index import lance_tuning
from verticlip.core.index.opening import open_index
lance_tuning.INDEX_ROWS = 500
index = open_index({folder!r}, wait_s=20)
print("ready", flush=True)
while True:
    turn = int(index.get(["sku-00000"]).payload["price"][0].as_py()) + 1
    index.upsert(make_turns.turn_of(turn))
    print(turn, flush=True)
    index.optimize()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_a_killed_writer_loses_and_doubles_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "x"
    make(folder).upsert(turn_of(0))
    draw, done = random.Random(0), 0
    code = WRITER.format(here=str(Path(__file__).parent), folder=str(folder))
    for _ in range(KILLS):
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "ready\n"
            time.sleep(draw.uniform(0.02, 0.5))
            writer.send_signal(signal.SIGKILL)
            reported = [int(line) for line in writer.stdout]
        index = open_index(folder)
        prices = set(index.get(list(turn_of(0).ids)).payload["price"].to_pylist())
        assert len(index) == 600
        assert len(prices) == 1
        # What was reported is there; at most one turn more was done and not yet reported.
        done = max([done, *reported])
        assert prices <= {done, done + 1}
        found = index.search(VECTORS[:600:50], 600, view="image", ef=0)
        assert all(sorted(hits.ids) == sorted(turn_of(0).ids) for hits in found)
        index.close()
    last = open_index(folder)
    last.upsert(turn_of(10**6))
    last.optimize()
    assert len(last) == 600


def test_a_filter_that_cuts_the_graph_still_gives_all_answers(
    tuned: VectorIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("verticlip.core.index.lance.EXACT_ROWS", 0)
    monkeypatch.setattr("verticlip.core.index.lance.EXACT_SHARE", 0)
    far = np.argsort(VECTORS @ VECTORS[0])[:40].tolist()
    where = F("price").in_([float(n) for n in far])
    (hits,) = tuned.search(VECTORS[:1], 30, view="image", where=where)
    assert len(hits) == 30
    assert set(hits.ids) <= {f"sku-{n:05d}" for n in far}
