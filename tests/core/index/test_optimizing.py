"""Compaction, graphs, and when either is due."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from verticlip.core.errors import ConfigError
from verticlip.core.index import optimizing, tuning
from verticlip.core.index.base import Identity, Rows, Tuning
from verticlip.core.index.filters import F
from verticlip.core.index.graph import GraphEngine
from verticlip.core.index.local import LocalIndex
from verticlip.core.index.opening import create_index, open_index

DIM, COUNT = 16, 2000
TUNED = Tuning(ef=24, recall=0.99, k=10, queries=300, target=0.95, exact_ms=1.0, approximate_ms=0.1)


def rows_of(start: int, count: int) -> Rows:
    """Clustered rows; every second lacks a text vector."""
    generator = np.random.default_rng([5, start])
    centers = np.random.default_rng(5).standard_normal((40, DIM))
    vectors = centers[generator.integers(0, 40, count)] + 0.4 * generator.standard_normal((count, DIM))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    has = np.arange(count) % 2 == 0
    payload = pa.table({"number": np.arange(start, start + count)})
    ids = tuple(f"sku-{n:05d}" for n in range(start, start + count))
    return Rows(ids, payload, {"image": vectors, "text": vectors * has[:, None]}, {"text": has})


@pytest.fixture
def make(tmp_path: Path) -> Callable[[Any], LocalIndex]:
    def make(kind: Any) -> LocalIndex:
        made = create_index(
            tmp_path / "index",
            identity=Identity("m", "1", "p", DIM),
            views=["image", "text"],
            schema=pa.schema([("number", pa.int64())]),
            kind=kind,
        )
        assert isinstance(made, LocalIndex)
        return made

    return make


@pytest.fixture
def hnsw(make: Callable[[Any], LocalIndex], monkeypatch: pytest.MonkeyPatch) -> LocalIndex:
    """An index with graphs over 2,000 rows, said to be worth it with an ef of 24."""
    pytest.importorskip("usearch")
    monkeypatch.setattr(optimizing, "tune", lambda *_, **__: TUNED)
    index = make("hnsw")
    index.upsert(rows_of(0, COUNT))
    index.optimize()
    return index


def test_a_graph_answers_where_it_was_built(hnsw: LocalIndex) -> None:
    stats = hnsw.stats()
    assert stats.kind == {"image": "hnsw", "text": "hnsw"}
    assert stats.indexed == {"image": COUNT, "text": COUNT // 2}
    assert stats.tuning["image"] == TUNED
    assert stats.needs_optimize == ""
    queries = rows_of(9000, 100).vectors["image"]
    for view in ("image", "text"):
        exact = hnsw.search(queries, 10, view=view, ef=0)
        found = hnsw.search(queries, 10, view=view)
        recall = np.mean([len(set(a.ids) & set(b.ids)) / 10 for a, b in zip(exact, found, strict=True)])
        assert 0.9 < recall <= 1
        wide = hnsw.search(queries, 10, view=view, ef=400)
        assert [hits.ids for hits in wide] == [hits.ids for hits in exact]
        for one, other in zip(exact, wide, strict=True):
            np.testing.assert_array_equal(one.scores, other.scores)


def test_late_rows_and_deleted_rows_count_at_once(hnsw: LocalIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    walked = count_walks(monkeypatch)
    late = hnsw.get(["sku-00000"], views=["image", "text"])
    query = late.vectors["image"]
    assert hnsw.search(query, 1, view="image")[0].ids == ("sku-00000",)
    assert walked
    hnsw.upsert(Rows(("late",), late.payload, late.vectors, late.present))
    assert hnsw.search(query, 2, view="image")[0].ids == ("late", "sku-00000")
    hnsw.delete(["sku-00000"])
    assert hnsw.search(query, 1, view="image")[0].ids == ("late",)
    again = LocalIndex(hnsw.folder)
    assert again.search(query, 1, view="image")[0].ids == ("late",)
    assert "sku-00000" not in again.search(query, COUNT, view="image")[0].ids


def count_walks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    walked: list[int] = []
    walk = GraphEngine._walk

    def counted(self: GraphEngine, queries: Any, fetch: int, steps: int) -> Any:
        walked.append(steps)
        return walk(self, queries, fetch, steps)

    monkeypatch.setattr(GraphEngine, "_walk", counted)
    return walked


def test_the_tuned_breadth_is_kept(hnsw: LocalIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    walked = count_walks(monkeypatch)
    LocalIndex(hnsw.folder).search(rows_of(0, 1).vectors["image"], 5, view="image")
    assert walked == [TUNED.ef]


def test_a_graph_is_loaded_once_while_others_write(
    hnsw: LocalIndex, make_late: Callable[[int], Rows], monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[Path] = []
    load = GraphEngine.load
    monkeypatch.setattr(GraphEngine, "load", lambda path, vectors: loaded.append(path) or load(path, vectors))
    index, query = LocalIndex(hnsw.folder), rows_of(0, 1).vectors["image"]
    for _ in range(3):
        index.search(query, view="image")
        hnsw.upsert(make_late(2))
        assert index.refresh()
        hnsw.search(query, view="image")
    # Once by the index that reads and once by the one that writes.
    assert len(loaded) == 2
    hnsw.upsert(make_late(600))
    hnsw.optimize()
    hnsw.search(query, view="image")
    assert len(loaded) == 3


def test_optimizing_again_does_nothing(hnsw: LocalIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GraphEngine, "build", None)
    assert hnsw.optimize().version == 2


def test_progress_is_told(make: Callable[[Any], LocalIndex]) -> None:
    pytest.importorskip("usearch")
    index, told = make("hnsw"), []
    index.upsert(rows_of(0, 300))
    index.delete(["sku-00000"])
    index.optimize(lambda what, share: told.append((what, share)))
    words = list(dict.fromkeys(what for what, _ in told))
    assert words == ["compact", "graph of 'image'", "graph of 'text'"]
    assert all(("compact", share) in told for share in (0.0, 1.0))
    assert all((word, 1.0) in told for word in words)


def test_what_is_due_is_said(hnsw: LocalIndex, make_late: Callable[[int], Rows]) -> None:
    hnsw.upsert(make_late(400))
    assert hnsw.stats().needs_optimize == ""
    hnsw.upsert(make_late(101))
    assert hnsw.stats().needs_optimize == "501 of 2,501 'image' vectors came after the graph"
    hnsw.optimize()
    assert hnsw.stats().needs_optimize == ""
    hnsw.delete([f"sku-{n:05d}" for n in range(600)])
    assert hnsw.stats().needs_optimize == "600 of 2,501 stored rows are deleted"
    assert hnsw.optimize().needs_optimize == ""
    assert hnsw.stats().deleted == 0


@pytest.fixture
def make_late() -> Callable[[int], Rows]:
    start = [100_000]

    def make(count: int) -> Rows:
        start[0] += 10_000
        return rows_of(start[0], count)

    return make


def test_a_graph_that_was_never_built_is_due(make: Callable[[Any], LocalIndex]) -> None:
    index = make("hnsw")
    assert index.stats().needs_optimize == ""
    index.upsert(rows_of(0, 20))
    assert index.stats().needs_optimize == "'image' has no graph yet"


def test_auto_stays_exact_for_few_rows(make: Callable[[Any], LocalIndex]) -> None:
    index = make("auto")
    index.upsert(rows_of(0, COUNT))
    assert index.stats().needs_optimize == ""
    assert index.optimize().kind == {"image": "flat", "text": "flat"}
    assert index.stats().needs_optimize == ""


@pytest.mark.parametrize(("pays", "ef", "kind"), [(True, 24, "hnsw"), (True, 0, "flat"), (False, 24, "flat")])
def test_auto_takes_what_was_measured_to_be_faster(
    make: Callable[[Any], LocalIndex], monkeypatch: pytest.MonkeyPatch, pays: bool, ef: int, kind: str
) -> None:
    pytest.importorskip("usearch")
    monkeypatch.setattr(tuning, "AUTO_ROWS", 1500)
    monkeypatch.setattr(optimizing, "graph_can_pay", lambda *_, **__: pays)
    monkeypatch.setattr(optimizing, "tune", lambda *_, **__: replace(TUNED, ef=ef))
    index = make("auto")
    index.upsert(rows_of(0, COUNT))
    assert (
        index.stats().needs_optimize
        == "2,000 'image' vectors, and whether a graph is faster was not measured"
    )
    stats = index.optimize()
    # There are only 1,000 text vectors.
    assert stats.kind == {"image": kind, "text": "flat"}
    assert ("image" in stats.tuning) == pays
    assert bool(list(index.folder.glob("graphs/*"))) == (kind == "hnsw")
    assert stats.needs_optimize == ""
    assert index.optimize().version == stats.version
    index.upsert(rows_of(COUNT, 300))
    assert index.stats().needs_optimize == ""
    index.upsert(rows_of(10 * COUNT, 2000))
    reason = "came after the graph" if kind == "hnsw" else "was not measured"
    assert reason in index.stats().needs_optimize


def test_an_old_version_is_searched_exactly_once_its_graph_is_gone(
    hnsw: LocalIndex, make_late: Callable[[int], Rows]
) -> None:
    reader = LocalIndex(hnsw.folder)
    hnsw.upsert(make_late(5))
    hnsw.optimize()
    for _ in range(3):
        hnsw.upsert(make_late(5))
    query = rows_of(0, 1).vectors["image"]
    exact = reader.search(query, 10, view="image", ef=0)[0].ids
    assert reader.search(query, 10, view="image")[0].ids == exact


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.parametrize(
    "damage", [flip, lambda path: path.write_bytes(path.read_bytes()[:-100]), lambda path: path.unlink()]
)
def test_without_its_graph_an_index_answers_exactly_until_it_is_optimized(
    hnsw: LocalIndex, damage: Callable[[Path], Any], caplog: pytest.LogCaptureFixture
) -> None:
    query = rows_of(0, 1).vectors["image"]
    exact = hnsw.search(query, view="image", ef=0)[0].ids
    for path in hnsw.folder.glob("graphs/*/rows.graph"):
        damage(path)
    index = open_index(hnsw.folder)
    for _ in range(2):
        assert index.search(query, view="image")[0].ids == exact
    assert caplog.text.count("The graph of 'image' is not used") == 1
    assert "optimized" in caplog.text
    stats = index.stats()
    assert (stats.kind["image"], stats.indexed["image"]) == ("flat", 0)
    assert stats.needs_optimize == "the graph of 'image' is damaged or absent"
    stats = index.optimize()
    assert (stats.kind, stats.needs_optimize) == ({"image": "hnsw", "text": "hnsw"}, "")
    caplog.clear()
    again = LocalIndex(hnsw.folder)
    assert len(again.search(query, view="image")[0]) == 10
    assert not caplog.records
    again.verify()


def test_a_graph_that_is_slower_is_not_kept(
    make: Callable[[Any], LocalIndex], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("usearch")
    monkeypatch.setattr(optimizing, "tune", lambda *_, **__: replace(TUNED, ef=0, recall=1.0))
    index = make("hnsw")
    index.upsert(rows_of(0, 300))
    stats = index.optimize()
    assert (stats.kind, stats.needs_optimize) == ({"image": "flat", "text": "flat"}, "")
    assert stats.tuning["image"].ef == 0
    assert not [name for name in index.files() if name.startswith("graphs")]
    index.upsert(rows_of(5000, 301))
    assert "whether a graph is faster was not measured" in index.stats().needs_optimize


def while_building(monkeypatch: pytest.MonkeyPatch, do: Callable[[], Any]) -> None:
    """Do something once, when the first graph is being built."""
    build, todo = GraphEngine.build, [do]

    def building(*arguments: Any, **named: Any) -> GraphEngine:
        if todo:
            todo.pop()()
        return build(*arguments, **named)

    monkeypatch.setattr(GraphEngine, "build", building)


def test_others_write_while_graphs_are_built(
    hnsw: LocalIndex, make_late: Callable[[int], Rows], monkeypatch: pytest.MonkeyPatch
) -> None:
    hnsw.upsert(make_late(600))
    other, late = LocalIndex(hnsw.folder), make_late(3)

    def write() -> None:
        moved = hnsw.get(["sku-00005"], views=["image", "text"])
        other.delete(["sku-00001", "sku-00002"])
        other.upsert(late)
        changed = pa.table({"number": [-5]})
        other.upsert(Rows(moved.ids, changed, moved.vectors, moved.present))
        with pytest.raises(ConfigError, match="another part of this process is optimizing it"):
            other.optimize()

    while_building(monkeypatch, write)
    stats = hnsw.optimize()
    assert (stats.rows, stats.deleted) == (COUNT + 600 - 2 + 3, 3)
    assert stats.kind == {"image": "hnsw", "text": "hnsw"}
    for index in (hnsw, LocalIndex(hnsw.folder)):
        assert index.get(["sku-00001", "sku-00002"]).ids == ()
        assert index.get(["sku-00005"]).payload.to_pylist() == [{"number": -5}]
        assert index.get(late.ids).ids == late.ids
        assert len({one for rows in index.scan() for one in rows.ids}) == len(index) == stats.rows
        assert index.search(late.vectors["image"][:1], 1, view="image")[0].ids == (late.ids[0],)
        index.verify()
    assert not (hnsw.folder / "building").exists()


def test_rows_that_writers_merged_meanwhile_are_indexed_all_the_same(
    make: Callable[[Any], LocalIndex], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("usearch")
    monkeypatch.setattr(optimizing, "tune", lambda *_, **__: TUNED)
    index = make("hnsw")
    index.upsert(rows_of(0, 400))
    other = LocalIndex(index.folder)
    while_building(monkeypatch, lambda: [other.upsert(rows_of(5000 * n, 400)) for n in range(1, 5)])
    stats = index.optimize()
    assert (stats.rows, stats.kind["image"], stats.indexed["image"]) == (2000, "hnsw", 2000)
    index.verify()


def test_all_rows_may_go_while_graphs_are_built(
    hnsw: LocalIndex, make_late: Callable[[int], Rows], monkeypatch: pytest.MonkeyPatch
) -> None:
    hnsw.upsert(make_late(600))
    other = LocalIndex(hnsw.folder)
    ids = [one for rows in hnsw.scan(columns=[]) for one in rows.ids]
    while_building(monkeypatch, lambda: other.delete(ids))
    assert hnsw.optimize().rows == 0
    assert len(LocalIndex(hnsw.folder)) == 0
    assert hnsw.optimize().needs_optimize == ""


def test_filters_work_beside_a_graph(hnsw: LocalIndex) -> None:
    query = rows_of(9000, 1).vectors["image"]
    for where in (F("number") < 40, F("number") >= 100, F("number").in_([7, 8])):
        exact = hnsw.search(query, 5, view="text", where=where, ef=0)[0].ids
        assert hnsw.search(query, 5, view="text", where=where)[0].ids == exact


def test_compaction_keeps_every_row(make: Callable[[Any], LocalIndex]) -> None:
    index = make("flat")
    for start in range(0, 9000, 1500):
        index.upsert(rows_of(start, 1500))
    index.delete([f"sku-{n:05d}" for n in range(0, 9000, 7)])
    before = [(rows.ids, rows.payload, rows.vectors["text"]) for rows in index.scan(views=["text"])]
    index.optimize()
    assert sum(name.endswith("rows.parquet") for name in index.files()) == 1
    after = [(rows.ids, rows.payload, rows.vectors["text"]) for rows in index.scan(views=["text"])]
    for (ids, payload, vectors), (ids_now, payload_now, vectors_now) in zip(before, after, strict=True):
        assert ids == ids_now
        assert payload.equals(payload_now)
        np.testing.assert_array_equal(vectors, vectors_now)
