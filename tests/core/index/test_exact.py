"""Exact search gives what float64 says, however the rows are cut and whatever is filtered."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from verticlip.core.errors import InputError
from verticlip.core.index import exact
from verticlip.core.index.engines import ExactEngine, VectorBlocks

sys.path.insert(0, str(Path(__file__).parent))

from make_vectors import isotropic, oracle, unit

ROWS = isotropic(3000, 16)
# Ties of hundreds of rows, across every border of blocks.
ROWS[500:800] = ROWS[7]
QUERIES = np.concatenate([ROWS[5:8], isotropic(40, 16, seed=1)])


def assert_same(found: tuple[np.ndarray, np.ndarray], wanted: tuple[np.ndarray, np.ndarray]) -> None:
    np.testing.assert_array_equal(found[0], wanted[0])
    np.testing.assert_array_equal(found[1], wanted[1])


@pytest.mark.parametrize("cuts", [[], [1, 10, 2000], [505, 790]], ids=["one", "four", "in ties"])
@pytest.mark.parametrize("share", [None, 0.7, 0.3, 0.02, 0.0])
@pytest.mark.parametrize("k", [1, 20, 2999, 5000])
def test_it_agrees_with_float64(cuts: list[int], share: float | None, k: int) -> None:
    engine = ExactEngine(np.split(ROWS, cuts))
    allowed = None if share is None else np.random.default_rng(0).random(len(ROWS)) < share
    wanted = oracle(ROWS, QUERIES, k, allowed)
    assert_same(engine.search(QUERIES, k, allowed=allowed), wanted)
    assert_same(engine.search(QUERIES[2:3], k, allowed=allowed), (wanted[0][2:3], wanted[1][2:3]))


def test_blocks_and_batches_have_no_effect(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = oracle(ROWS, QUERIES, 30)
    for name, value in {"_BLOCK_ROWS": 2100, "_QUERIES": 7, "_SEED_ROWS": 3, "_RESCORED": 11}.items():
        monkeypatch.setattr(exact, name, value)
        assert_same(ExactEngine(ROWS).search(QUERIES, 30), wanted)


def test_rows_that_float32_cannot_tell_apart_keep_their_order() -> None:
    # Scores that differ by less than an ulp of a float32 sum over 512 terms.
    base = isotropic(1, 512)
    rows = unit(base + 1e-7 * isotropic(2000, 512, seed=3))
    assert_same(ExactEngine(rows).search(base, 50), oracle(rows, base, 50))


@pytest.mark.parametrize("share", [None, 0.5])
def test_many_equal_rows_take_little_room(monkeypatch: pytest.MonkeyPatch, share: float | None) -> None:
    rows = np.repeat(isotropic(2, 16), [9000, 3], axis=0)
    rows[5000:5010] = isotropic(10, 16, seed=1)
    queries = unit(rows[:30] + 0.1 * isotropic(30, 16, seed=2))
    allowed = None if share is None else np.random.default_rng(0).random(len(rows)) < share
    monkeypatch.setattr(exact, "_MANY", 1000)
    most: list[int] = []
    prune = exact.Candidates._prune

    def counted(self: exact.Candidates) -> None:
        most.append(len(self.queries))
        prune(self)

    monkeypatch.setattr(exact.Candidates, "_prune", counted)
    for k in (1, 20):
        assert_same(ExactEngine(rows).search(queries, k, allowed=allowed), oracle(rows, queries, k, allowed))
    assert max(most) <= 30 * 20 * 10


def test_a_memory_map_is_not_read_into_memory(tmp_path: Path) -> None:
    ROWS.tofile(tmp_path / "rows.f32")
    mapped = np.memmap(tmp_path / "rows.f32", np.float32, "r", shape=ROWS.shape)
    blocks = VectorBlocks([mapped[:100], mapped[100:]])
    assert all(np.shares_memory(part, mapped) for part in blocks.parts)
    assert_same(ExactEngine(blocks).search(QUERIES, 9), oracle(ROWS, QUERIES, 9))


def test_nothing_to_search_and_nothing_asked() -> None:
    engine = ExactEngine([ROWS[:0], ROWS[:0]])
    assert (len(engine), engine.dim) == (0, 16)
    positions, scores = engine.search(QUERIES, 5)
    assert positions.shape == scores.shape == (len(QUERIES), 0)
    assert ExactEngine(ROWS).search(QUERIES[:0], 5)[0].shape == (0, 5)


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        ([], "No vectors were given"),
        (ROWS.astype(np.float64), r"float32 \[N, D\] in C order, got float64 \[3000, 16\]"),
        (ROWS.T, "C order"),
        (ROWS[0], r"got float32 \[16\]"),
        ([ROWS, ROWS[:, :8].copy()], r"differ in D: \[8, 16\]"),
    ],
)
def test_bad_vectors_are_refused(vectors: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        ExactEngine(vectors)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"k": 0}, "k must be at least 1, got 0"),
        ({"queries": QUERIES[:, :5]}, r"shape \[Q, 16\], got \[43, 5\]"),
        ({"queries": QUERIES * [[np.nan]] * len(QUERIES)}, "Query 0 holds NaN"),
        ({"allowed": np.ones(7, bool)}, r"allowed has shape \[7\]; expected \[3000\]"),
    ],
)
def test_bad_questions_are_refused(arguments: dict[str, Any], message: str) -> None:
    given = {"queries": QUERIES, "k": 3, **arguments}
    with pytest.raises(InputError, match=message):
        ExactEngine(ROWS).search(given.pop("queries"), given.pop("k"), **given)
