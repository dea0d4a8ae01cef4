"""How broad a graph search must be, and whether it pays: both measured on the vectors at hand.

A graph that looks fast on one collection loses to plain comparison on another (rows without any structure),
so nothing here is a rule of thumb but the number of rows below which measuring is not worth the time.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .base import Tuning
from .engines import ExactEngine, GraphEngine, VectorBlocks
from .graph import STEP_COST

AUTO_ROWS = 100_000
"""Up to here ``auto`` compares all rows: a query takes milliseconds and there is nothing to build."""
PROBE_ROWS = 20_000
"""Rows of the small graph that tells whether a large one can pay."""
_FIRST_EF, _LAST_EF, _FINE = 16, 65_536, 1.15
_TIMED, _TIMED_S = 40, 3.0
_FASTER, _NOISE, _ERRORS = 0.9, 0.35, 2.0


class Searched(Protocol):
    """What is measured: answers to queries at a breadth; positions are not looked at."""

    def search(
        self, queries: NDArray[np.float32], k: int, *, ef: int | None = None
    ) -> tuple[object, NDArray[np.float32]]:
        """Return (anything, scores float32 [Q, k], -inf where there are fewer)."""
        ...


def tune(
    engine: Searched,
    exact: Searched,
    *,
    k: int = 10,
    target: float = 0.95,
    queries: NDArray[np.float32] | None = None,
    sample: int = 300,
) -> Tuning:
    """Return the least breadth whose recall reaches ``target``, or 0 where exact search is faster.

    Recall must be above the target by two standard errors of the sample, so that other queries of the same
    kind reach it too. An answer counts when its score is as good as the k-th best: equal rows are equal.

    Args:
        engine: the graph. exact: compares all of the same rows.
        k: answers per query.
        target: recall in (0, 1].
        queries: float32 [Q, D], as users will ask them; None takes rows with some noise.
        sample: at most so many of them.

    Raises:
        InputError: there are no queries, or a target outside (0, 1].
    """
    if not 0 < target <= 1:
        raise InputError(f"target must be in (0, 1], got {target}.")
    if queries is None:
        if not isinstance(exact, ExactEngine):
            raise InputError("Queries can be drawn from an ExactEngine only; pass queries.")
        queries = noisy_rows(exact.vectors, sample)
    queries = np.ascontiguousarray(queries[:: max(1, len(queries) // sample)][:sample], np.float32)
    if not len(queries):
        raise InputError("There is no query to tune with.")
    trial = _Trial(engine, exact, queries, k)
    exact_ms = median_ms(lambda query: exact.search(query, k, ef=0), queries)
    times = [exact_ms]

    def is_slower(ef: int) -> bool:
        times.append(trial.median_ms(ef))
        return times[-1] >= _FASTER * exact_ms

    found = _least_ef(trial, target, give_up=is_slower)
    if found is None:
        return Tuning(0, 1.0, k, len(queries), target, exact_ms, times[-1])
    ef, recall = found
    graph_ms = trial.median_ms(ef)
    if graph_ms >= _FASTER * exact_ms:
        ef, recall = 0, 1.0
    return Tuning(ef, recall, k, len(queries), target, exact_ms, graph_ms)


class _Trial:
    """Recall and time of an engine on Q queries whose exact answers are known."""

    def __init__(self, engine: Searched, exact: Searched, queries: NDArray[np.float32], k: int) -> None:
        self.engine, self.queries, self.k = engine, queries, k
        self.bars = exact.search(queries, k, ef=0)[1]

    def recall(self, ef: int) -> tuple[float, float]:
        """Return (recall@k, the same less two standard errors)."""
        scores = self.engine.search(self.queries, self.k, ef=ef)[1]
        wanted = np.isfinite(self.bars).sum(axis=1)
        last = np.take_along_axis(self.bars, np.maximum(wanted, 1)[:, None] - 1, axis=1)
        found = (np.isfinite(scores) & (scores >= last)).sum(axis=1) / np.maximum(wanted, 1)
        return float(found.mean()), float(found.mean() - _ERRORS * found.std() / np.sqrt(len(found)))

    def median_ms(self, ef: int) -> float:
        """Return the median time of one query in milliseconds."""
        return median_ms(lambda query: self.engine.search(query, self.k, ef=ef), self.queries)


def _least_ef(
    trial: _Trial, target: float, *, give_up: Callable[[int], bool] | None = None
) -> tuple[int, float] | None:
    """Return the least breadth that surely reaches the target and its recall: doubled, then halved into.

    None where ``give_up`` said so of a breadth that did not reach it, or where none does.
    """
    low, ef = 0, max(_FIRST_EF, trial.k)
    while True:
        recall, sure = trial.recall(ef)
        if sure >= target:
            break
        if ef >= _LAST_EF or (give_up is not None and give_up(ef)):
            return None
        low, ef = ef, ef * 2
    while low and ef > low * _FINE:
        middle = (low + ef) // 2
        tried, sure = trial.recall(middle)
        if sure >= target:
            ef, recall = middle, tried
        else:
            low = middle
    return ef, recall


def noisy_rows(vectors: VectorBlocks, count: int) -> NDArray[np.float32]:
    """Return float32 [up to ``count``, D]: evenly spread rows, each turned a little (cosine about 0.94)."""
    rows = vectors.take(_spread(len(vectors), count))
    noise = np.random.default_rng(0).standard_normal(rows.shape, dtype=np.float32)
    rows = rows + _NOISE * noise / np.linalg.norm(noise, axis=1, keepdims=True)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def choose_kind(rows: int, tuning: Tuning | None = None) -> Literal["flat", "hnsw"]:
    """Return what ``auto`` takes: ``flat`` for few rows and where the graph was measured to be slower.

    Args:
        rows: that have a vector.
        tuning: measured on the graph; None asks whether building one is worth a try.
    """
    if tuning is None:
        return "hnsw" if rows > AUTO_ROWS else "flat"
    return "hnsw" if tuning.ef > 0 else "flat"


def graph_can_pay(vectors: VectorBlocks, *, k: int = 10, target: float = 0.95) -> bool:
    """Tell from graphs over some of the rows, seconds to build, whether one over all can be faster.

    The breadth that reaches the target hardly depends on the number of rows where they lie in groups, and
    grows with it, or faster, where they have no structure; two small graphs tell how.

    Args:
        vectors: float32 [N, D], N > 0.
        k, target: as in :func:`tune`.
    """
    breadths = []
    for count in (PROBE_ROWS // 4, PROBE_ROWS):
        some = VectorBlocks(vectors.take(_spread(len(vectors), count)))
        trial = _Trial(GraphEngine.build(some), ExactEngine(some), noisy_rows(some, 100), k)
        found = _least_ef(trial, target)
        if found is None:
            return False
        breadths.append(found[0])
    growth = max(0.0, math.log(breadths[1] / breadths[0], 4))
    expected = breadths[1] * max(1.0, len(vectors) / PROBE_ROWS) ** growth
    return expected * STEP_COST < len(vectors)


def median_ms(search: Callable[[NDArray[np.float32]], object], queries: NDArray[np.float32]) -> float:
    """Return the median time of one query in milliseconds, asked one at a time after a warm-up."""
    times: list[float] = []
    for number in range(min(_TIMED, len(queries)) + 2):
        query = queries[number % len(queries)][None]
        start = time.perf_counter()
        search(query)
        times.append(time.perf_counter() - start)
        if sum(times) > _TIMED_S and number >= 6:
            break
    return float(np.median(times[2:]) * 1000)


def _spread(size: int, count: int) -> NDArray[np.int64]:
    """Return up to ``count`` different positions, evenly spread over ``size``."""
    return np.unique(np.linspace(0, size - 1, min(count, size)).astype(np.int64))
