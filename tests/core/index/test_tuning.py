"""Breadth is as small as recall allows, and a graph that does not pay is not taken."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from verticlip.core.errors import InputError
from verticlip.core.index import tuning
from verticlip.core.index.base import Tuning
from verticlip.core.index.engines import ExactEngine, VectorBlocks
from verticlip.core.index.tuning import choose_kind, graph_can_pay, median_ms, noisy_rows, tune

sys.path.insert(0, str(Path(__file__).parent))

from make_vectors import grouped

ROWS = grouped(2000)


class Engine:
    """Finds every answer from a breadth on, and half of them below; as slow as it is told to be."""

    def __init__(self, needed: int, slow_s: float = 0.0) -> None:
        self.exact, self.needed, self.slow_s = ExactEngine(ROWS), needed, slow_s
        self.asked: list[int] = []

    def search(self, queries: np.ndarray, k: int, *, ef: int | None = None) -> tuple[None, np.ndarray]:
        assert ef is not None
        self.asked.append(ef)
        time.sleep(self.slow_s)
        scores = self.exact.search(queries, k)[1]
        if ef < self.needed:
            scores[:, k // 2 :] = -1
        return None, scores


class Slow(ExactEngine):
    """Compares all rows and takes its time."""

    def search(self, *arguments: Any, **named: Any) -> Any:
        time.sleep(0.003)
        return super().search(*arguments, **named)


@pytest.mark.parametrize("needed", [1, 16, 17, 60, 333, 1000])
def test_the_least_breadth_is_found(needed: int) -> None:
    found = tune(Engine(needed), Slow(ROWS), sample=40)
    assert needed <= found.ef <= max(16, 1.2 * needed)
    assert found.recall == 1
    assert (found.k, found.queries, found.target) == (10, 40, 0.95)
    assert found.approximate_ms < found.exact_ms
    assert choose_kind(10**6, found) == "hnsw"


def test_an_engine_that_is_slower_is_not_taken() -> None:
    found = tune(Engine(20, slow_s=0.005), Slow(ROWS), sample=20)
    assert (found.ef, found.recall) == (0, 1.0)
    assert found.approximate_ms > found.exact_ms
    assert choose_kind(10**6, found) == "flat"


def test_the_search_for_a_breadth_ends_when_it_is_slower_already() -> None:
    engine = Engine(10**9, slow_s=0.005)
    assert tune(engine, Slow(ROWS), sample=20).ef == 0
    assert max(engine.asked) == 16


def test_the_target_is_met_with_a_margin() -> None:
    class Nearly(Engine):
        def search(self, queries: np.ndarray, k: int, *, ef: int | None = None) -> tuple[None, np.ndarray]:
            scores = self.exact.search(queries, k)[1]
            if (ef or 0) < 100:
                # 19 of 20 queries are answered in full: 0.95 in the mean, by luck.
                scores[::20] = -1
            return None, scores

    assert tune(Nearly(0), Slow(ROWS), sample=40).ef >= 100


def test_equal_rows_count_as_found() -> None:
    rows = np.repeat(ROWS[:100], 20, axis=0)

    class Other(Engine):
        """Takes other ones of the equal rows than exact search does."""

        def search(self, queries: np.ndarray, k: int, *, ef: int | None = None) -> tuple[None, np.ndarray]:
            return None, ExactEngine(rows[::-1].copy()).search(queries, k)[1]

    assert tune(Other(0), Slow(rows), sample=20).recall == 1


@pytest.mark.parametrize("target", [0, 1.1, -1])
def test_targets_that_are_no_recall_are_refused(target: float) -> None:
    with pytest.raises(InputError, match=r"target must be in \(0, 1\]"):
        tune(Engine(1), ExactEngine(ROWS), target=target)


def test_no_query_is_refused() -> None:
    with pytest.raises(InputError, match="no query to tune with"):
        tune(Engine(1), ExactEngine(ROWS), queries=ROWS[:0])
    with pytest.raises(InputError, match="pass queries"):
        tune(Engine(1), Engine(1))


def test_queries_are_taken_from_everywhere() -> None:
    engine = Engine(1)
    found = tune(engine, Slow(ROWS), queries=ROWS, sample=50)
    assert found.queries == 50


def test_noisy_rows_are_near_their_rows() -> None:
    queries = noisy_rows(VectorBlocks(ROWS), 100)
    assert queries.shape == (100, 32)
    assert np.allclose(np.linalg.norm(queries, axis=1), 1, atol=1e-6)
    nearest = (queries @ ROWS.T).max(axis=1)
    assert 0.9 < nearest.mean() < 0.97


def test_few_rows_stay_flat() -> None:
    assert choose_kind(tuning.AUTO_ROWS) == "flat"
    assert choose_kind(tuning.AUTO_ROWS + 1) == "hnsw"
    assert choose_kind(5, Tuning(32, 0.97, 10, 300, 0.95, 1.0, 0.1)) == "hnsw"


@pytest.mark.parametrize(
    ("breadths", "pays"),
    [
        ([32, 20], True),  # Groups: measured on 5,000 and 20,000 of 200,000 clustered rows ...
        ([32, 320], False),  # ... and on rows without structure.
        ([16, 64], True),
        ([16, 400], False),
        ([None], False),
        ([20, None], False),
    ],
)
def test_what_small_graphs_need_tells_what_a_large_one_will(
    breadths: list[int | None], pays: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("usearch")
    answers = iter(breadths)
    monkeypatch.setattr(tuning, "PROBE_ROWS", 200)
    monkeypatch.setattr(tuning, "STEP_COST", 0.5)
    monkeypatch.setattr(tuning, "_least_ef", lambda *_: (lambda ef: ef and (ef, 0.96))(next(answers)))
    assert graph_can_pay(VectorBlocks(ROWS)) == pays


def test_groups_pay(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("usearch")
    monkeypatch.setattr(tuning, "PROBE_ROWS", 2000)
    assert graph_can_pay(VectorBlocks(grouped(40_000, 16, groups=400)))


def test_a_slow_search_is_timed_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "_TIMED_S", 0.0)
    asked: list[int] = []
    median_ms(lambda query: asked.append(1), ROWS)
    assert len(asked) == 7
