"""The graph finds nearly what exact search finds, with its scores, and refuses files it did not write."""

from __future__ import annotations

import json
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from verticlip.core.errors import InputError
from verticlip.core.index import graph
from verticlip.core.index.engines import ExactEngine, GraphEngine

pytest.importorskip("usearch")
sys.path.insert(0, str(Path(__file__).parent))

from make_vectors import grouped, unit

ROWS = grouped(6000)
QUERIES = unit(ROWS[::200] + 0.05 * grouped(30, seed=4))


@pytest.fixture(scope="module")
def built() -> GraphEngine:
    return GraphEngine.build(ROWS, threads=1)


@pytest.fixture(autouse=True)
def _few_rows_are_not_searched_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph, "STEP_COST", 1)
    monkeypatch.setattr(graph, "EXACT_ROWS", 200)


@pytest.fixture
def saved(built: GraphEngine, tmp_path: Path) -> Path:
    built.save(tmp_path / "rows.graph")
    return tmp_path / "rows.graph"


def recall(found: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.mean([np.isin(a, b[b >= 0]).mean() for a, b in zip(wanted, found, strict=True)]))


def test_it_finds_the_nearest_with_exact_scores(built: GraphEngine) -> None:
    positions, scores = built.search(QUERIES, 10, ef=128)
    wanted, wanted_scores = ExactEngine(ROWS).search(QUERIES, 10)
    assert recall(positions, wanted) > 0.98
    same = positions == wanted
    np.testing.assert_array_equal(scores[same], wanted_scores[same])
    assert (np.diff(scores, axis=1) <= 0).all()


def test_more_breadth_finds_more_and_none_is_exact(built: GraphEngine) -> None:
    wanted = ExactEngine(ROWS).search(QUERIES, 10)[0]
    narrow, broad = (recall(built.search(QUERIES, 10, ef=ef)[0], wanted) for ef in (1, 200))
    assert narrow < broad
    np.testing.assert_array_equal(built.search(QUERIES, 10, ef=0)[0], wanted)
    built.ef, before = 0, built.ef
    np.testing.assert_array_equal(built.search(QUERIES, 10)[0], wanted)
    built.ef = before


def test_one_query_is_answered_as_many_are(built: GraphEngine) -> None:
    positions, scores = built.search(QUERIES, 10)
    for number in (0, 17):
        one = built.search(QUERIES[number : number + 1], 10)
        np.testing.assert_array_equal(one[0][0], positions[number])
        np.testing.assert_array_equal(one[1][0], scores[number])


@pytest.mark.parametrize("share", [0.9, 0.4, 0.1, 0.01, 0.0])
def test_a_filter_loses_no_answers(built: GraphEngine, share: float) -> None:
    allowed = np.random.default_rng(0).random(len(ROWS)) < share
    positions, scores = built.search(QUERIES, 10, allowed=allowed)
    wanted, _ = ExactEngine(ROWS).search(QUERIES, 10, allowed=allowed)
    assert allowed[positions[positions >= 0]].all()
    assert ((positions >= 0).sum(axis=1) == min(10, allowed.sum())).all()
    assert np.isneginf(scores[positions < 0]).all()
    assert share == 0 or recall(positions, wanted) > 0.95


def test_a_filter_far_from_the_query_is_answered_in_full(built: GraphEngine) -> None:
    # The rows that fit are the ones farthest away: looking around the query meets none of them.
    far = np.argsort(ROWS @ QUERIES[0])[:900]
    allowed = np.zeros(len(ROWS), bool)
    allowed[far] = True
    positions, _ = built.search(QUERIES[:1], 10, allowed=allowed)
    wanted, _ = ExactEngine(ROWS).search(QUERIES[:1], 10, allowed=allowed)
    np.testing.assert_array_equal(positions, wanted)


def test_k_may_be_all_rows(built: GraphEngine) -> None:
    positions, _ = built.search(QUERIES[:2], 10**9)
    assert positions.shape == (2, len(ROWS))
    assert sorted(positions[1]) == list(range(len(ROWS)))


def test_copies_of_one_row_are_all_found() -> None:
    rows = grouped(3000)
    rows[1000:1040] = rows[3]
    positions, scores = GraphEngine.build(rows, threads=1).search(rows[3:4], 41, ef=200)
    assert set(positions[0]) == {3, *range(1000, 1040)}
    assert np.ptp(scores) == 0


def test_one_thread_builds_the_same_graph_again(built: GraphEngine, saved: Path, tmp_path: Path) -> None:
    GraphEngine.build(np.split(ROWS, [100, 4000]), threads=1).save(tmp_path / "again.graph")
    first, second = (
        GraphEngine.load(path, ROWS).search(QUERIES, 10, ef=20) for path in (saved, tmp_path / "again.graph")
    )
    assert recall(first[0], second[0]) > 0.9


def test_progress_goes_up_to_the_end() -> None:
    shares: list[float] = []
    GraphEngine.build(ROWS[:500], threads=1, progress=shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == 1


def test_a_file_gives_the_same_answers(built: GraphEngine, saved: Path) -> None:
    loaded = GraphEngine.load(saved, np.split(ROWS, [2500]))
    assert (len(loaded), loaded.dim) == (6000, 32)
    for mine, theirs in zip(loaded.search(QUERIES, 10), built.search(QUERIES, 10), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert [path.name for path in saved.parent.iterdir()] == ["rows.graph"]


def test_a_file_that_is_gone_is_still_searched(built: GraphEngine, saved: Path) -> None:
    loaded = GraphEngine.load(saved, ROWS)
    saved.unlink()
    np.testing.assert_array_equal(loaded.search(QUERIES, 10)[0], built.search(QUERIES, 10)[0])


@pytest.mark.parametrize("keep", [0, 5, 100, 0.5, 0.999])
def test_a_cut_file_is_refused(saved: Path, keep: float) -> None:
    data = saved.read_bytes()
    saved.write_bytes(data[: int(keep * len(data)) if 0 < keep < 1 else int(keep)])
    with pytest.raises(InputError, match=r"rows.graph: not a graph file, or cut short \(\d+ bytes\)"):
        GraphEngine.load(saved, ROWS)


def test_a_file_with_a_part_missing_or_changed_is_refused(saved: Path) -> None:
    data = saved.read_bytes()
    saved.write_bytes(data[:1000] + data[1100:])
    with pytest.raises(InputError, match=r"\d+ bytes where \d+ were written"):
        GraphEngine.load(saved, ROWS)
    saved.write_bytes(data[:1000] + bytes(100) + data[1100:])
    with pytest.raises(InputError, match="damaged, its content is not what was written"):
        GraphEngine.load(saved, ROWS)


def test_a_damaged_record_is_refused(saved: Path) -> None:
    data = saved.read_bytes()
    length = int.from_bytes(data[-16:-8], "little")
    record = json.loads(data[-16 - length : -16])
    record["rows"] = "many"
    text = json.dumps(record).encode()
    saved.write_bytes(data[: -16 - length] + text + len(text).to_bytes(8, "little") + data[-8:])
    with pytest.raises(InputError, match="its record is damaged"):
        GraphEngine.load(saved, ROWS)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (ROWS[:-1], "a graph of 6000 x 32 vectors, given 5999 x 32"),
        (grouped(6000, seed=9), "a graph of other vectors"),
        (ROWS[::-1].copy(), "a graph of other vectors"),
    ],
)
def test_other_vectors_are_refused(saved: Path, rows: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        GraphEngine.load(saved, rows)


def test_what_is_absent_or_empty_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        GraphEngine.load(tmp_path / "none.graph", ROWS)
    with pytest.raises(InputError, match="no vectors to build"):
        GraphEngine.build(ROWS[:0])


@pytest.mark.parametrize(
    ("arguments", "message"), [({"k": 0}, "at least 1"), ({"ef": -1}, r"ef must be 0 \(exact\) or more")]
)
def test_bad_questions_are_refused(built: GraphEngine, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        built.search(QUERIES, **{"k": 3, **arguments})


def test_threads_do_not_mix_their_breadths(built: GraphEngine) -> None:
    wanted = {ef: built.search(QUERIES, 10, ef=ef)[0] for ef in (4, 300)}
    wrong: list[int] = []

    def ask(ef: int) -> None:
        for _ in range(30):
            if not np.array_equal(built.search(QUERIES, 10, ef=ef)[0], wanted[ef]):
                wrong.append(ef)

    threads = [threading.Thread(target=ask, args=(ef,)) for ef in (4, 300, 4, 300)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize("k", [10, 50, 200])
def test_more_answers_keep_the_recall(built: GraphEngine, k: int) -> None:
    wanted = ExactEngine(ROWS).search(QUERIES, k)[0]
    assert recall(built.search(QUERIES, k, ef=48)[0], wanted) > 0.95


def test_searches_of_one_breadth_run_side_by_side() -> None:
    engine = GraphEngine.build(ROWS[:300], threads=1)
    together = threading.Barrier(2, timeout=10)

    class Slow:
        """The library's object; a search ends when another has begun."""

        expansion_search = 0

        def search(self, queries: np.ndarray, count: int, threads: int) -> Any:
            together.wait()
            return SimpleNamespace(keys=np.zeros((2, 1), np.uint64), counts=[1, 1])

    engine._index = Slow()  # pyright: ignore
    threads = [threading.Thread(target=engine._walk, args=(QUERIES[:2], 1, 20)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not together.broken
    assert engine._running == 0
