"""Exact nearest rows: one pass over all vectors, in blocks, at the speed of memory.

A block of float32 products tells which rows can be among the best; those few are scored again in float64
and rounded to float32. So a score is the same number whatever the block, the batch of queries or the BLAS,
and the same one that :class:`.graph.GraphEngine` gives.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError

_SLACK = np.float32(2e-5)
"""Far above the error of a float32 product of unit vectors, far below what makes many candidates."""
_BLOCK_ROWS, _TILE_SCORES, _QUERIES = 16_384, 2**20, 128
_SEED_ROWS, _RESCORED = 1024, 8192
_MANY = 2**17
"""Pairs of query and row above which rows that are equal to others are looked for."""
_GATHER_ONE, _GATHER_MANY = 1 / 6, 1 / 2
"""Share of allowed rows below which copying them out is cheaper than multiplying them all; measured."""


class VectorBlocks:
    """N vectors that lie in one array or in several, a memory map of a file each, read as one.

    Args:
        vectors: float32 [N, D], C order; or a sequence of such arrays of one D. Nothing is copied.

    Raises:
        InputError: another dtype, shape or order.
    """

    def __init__(self, vectors: NDArray[np.float32] | Sequence[NDArray[np.float32]]) -> None:
        parts = [vectors] if isinstance(vectors, np.ndarray) else list(vectors)
        if not parts:
            raise InputError("No vectors were given; an empty block of shape [0, D] tells at least D.")
        # A plain view: slicing np.memmap costs several times as much.
        self.parts = [np.asarray(part).view(np.ndarray) for part in parts]
        for part in self.parts:
            if part.dtype != np.float32 or part.ndim != 2 or not part.flags.c_contiguous:
                raise InputError(
                    f"Vectors must be float32 [N, D] in C order, got {part.dtype} {list(part.shape)}; "
                    "pass np.ascontiguousarray(vectors, dtype=np.float32)."
                )
        self.dim = int(self.parts[0].shape[1])
        if any(part.shape[1] != self.dim for part in self.parts):
            raise InputError(f"Blocks of vectors differ in D: {sorted({p.shape[1] for p in self.parts})}.")
        self.starts = np.cumsum([0, *(len(part) for part in self.parts)])

    def __len__(self) -> int:
        return int(self.starts[-1])

    def take(self, positions: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return float32 [P, D], the rows at ``positions`` (int64 [P], each in [0, N))."""
        if len(self.parts) == 1:
            return self.parts[0][positions]
        part_of = np.searchsorted(self.starts, positions, side="right") - 1
        rows = np.empty((len(positions), self.dim), np.float32)
        for part in np.unique(part_of):
            chosen = part_of == part
            rows[chosen] = self.parts[part][positions[chosen] - self.starts[part]]
        return rows

    def blocks(self, rows: int) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Yield (position of the first row, float32 [up to ``rows``, D]) over all vectors."""
        for start, part in zip(self.starts, self.parts, strict=False):
            for first in range(0, len(part), rows):
                yield int(start) + first, part[first : first + rows]


class ExactEngine:
    """Finds the nearest rows by comparing all of them.

    Args:
        vectors: float32 [N, D], unit length; one array or several, memory maps as well.
    """

    def __init__(self, vectors: NDArray[np.float32] | Sequence[NDArray[np.float32]] | VectorBlocks) -> None:
        self.vectors = vectors if isinstance(vectors, VectorBlocks) else VectorBlocks(vectors)

    def __len__(self) -> int:
        return len(self.vectors)

    @property
    def dim(self) -> int:
        """D."""
        return self.vectors.dim

    def search(
        self,
        queries: NDArray[np.float32],
        k: int,
        *,
        allowed: NDArray[np.bool_] | None = None,
        ef: int | None = None,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return the positions and scores of the k best rows of each query, best first.

        Args:
            queries: float32 [Q, D], unit length.
            k: at least 1; the answer has min(k, N) columns.
            allowed: bool [N], which rows may be answers; None allows all.
            ef: not used here.

        Returns:
            positions int64 [Q, min(k, N)], -1 where fewer rows are allowed; equal scores in the order of
            position. scores float32, their cosines; -inf where there is none.

        Raises:
            InputError: k below 1, queries that are not finite or of another D, a mask of another length.
        """
        queries, allowed = check_search(queries, k, allowed, size=len(self), dim=self.dim)
        width = min(k, len(self))
        step = max(1, min(_QUERIES, 2**22 // max(width, 1)))
        found = [self._some(queries[s : s + step], width, allowed) for s in range(0, len(queries), step)]
        if not found:
            return np.empty((0, width), np.int64), np.empty((0, width), np.float32)
        return np.concatenate([pair[0] for pair in found]), np.concatenate([pair[1] for pair in found])

    def _some(
        self, queries: NDArray[np.float32], k: int, allowed: NDArray[np.bool_] | None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return what :meth:`search` does, for so few queries that their candidates fit in memory."""
        best = Candidates(len(queries), k)
        if k:
            for positions, block in self._compared(len(queries), allowed):
                scores = queries @ block.T
                if allowed is not None and isinstance(positions, int):
                    scores[:, ~allowed[positions : positions + len(block)]] = -np.inf
                best.add(scores, positions, block)
                if best.are_many:
                    best.thin(self.vectors)
        return ranked(self.vectors, queries, best.queries, best.positions, k)

    def _compared(
        self, queries: int, allowed: NDArray[np.bool_] | None
    ) -> Iterator[tuple[int | NDArray[np.int64], NDArray[np.float32]]]:
        """Yield the blocks to multiply with, as (first position, rows) or (their positions, rows)."""
        rows = max(2048, min(_BLOCK_ROWS, _TILE_SCORES // queries))
        few = _GATHER_ONE if queries < 8 else _GATHER_MANY
        if allowed is not None and np.count_nonzero(allowed) < few * len(self):
            chosen = np.flatnonzero(allowed)
            for first in range(0, len(chosen), rows):
                positions = chosen[first : first + rows]
                yield positions, self.vectors.take(positions)
            return
        for start, block in self.vectors.blocks(rows):
            if allowed is None or allowed[start : start + len(block)].any():
                yield start, block


class Candidates:
    """Rows that can still be among the k best of Q queries, by float32 scores that may be off by a little.

    Attributes:
        queries, positions: int64 [C], the pairs that are left. scores: float32 [C].
        bars: float32 [Q], the k-th best score of each query so far.
    """

    def __init__(self, queries: int, k: int) -> None:
        self.k = k
        self.queries, self.positions = np.empty(0, np.int64), np.empty(0, np.int64)
        self.scores = np.empty(0, np.float32)
        self.bars = np.full(queries, -np.inf, np.float32)

    def add(
        self, scores: NDArray[np.float32], positions: int | NDArray[np.int64], block: NDArray[np.float32]
    ) -> None:
        """Take in a block of scores, float32 [Q, B]; -inf is no candidate.

        Args:
            scores: float32 [Q, B]; written to.
            positions: of the B rows, or of the first where they follow each other.
            block: the rows, float32 [B, D].
        """
        if not len(self.queries):
            # A few rows set the bar, so that not all of the first block become candidates.
            seed = scores[:, : max(_SEED_ROWS, 4 * self.k)]
            if seed.shape[1] > self.k:
                self.bars = np.partition(seed, seed.shape[1] - self.k, axis=1)[:, -self.k]
        # Several times as fast as np.nonzero of two axes.
        flat = np.flatnonzero(scores >= (self.bars - _SLACK)[:, None])
        if self._many(len(flat)):
            # A mask leaves out the same rows of every query.
            allowed = np.flatnonzero(~np.isneginf(scores[0]))
            scores[:, allowed[surplus(block[allowed], self.k)]] = -np.inf
            flat = np.flatnonzero(scores >= (self.bars - _SLACK)[:, None])
        rows, columns = np.divmod(flat, scores.shape[1])
        values = scores.ravel()[flat]
        if np.isneginf(values).any():
            real = ~np.isneginf(values)
            rows, columns, values = rows[real], columns[real], values[real]
        if not len(rows):
            return
        self.queries = np.concatenate([self.queries, rows])
        places = columns + positions if isinstance(positions, int) else positions[columns]
        self.positions = np.concatenate([self.positions, places])
        self.scores = np.concatenate([self.scores, values])
        self._prune()

    def _many(self, pairs: int) -> bool:
        return pairs > max(_MANY, 4 * self.k * len(self.bars))

    @property
    def are_many(self) -> bool:
        """Whether there are so many that :meth:`thin` is due."""
        return self._many(len(self.queries))

    def thin(self, vectors: VectorBlocks) -> None:
        """Drop rows that come after k equal ones; no query can have them among its best."""
        places, place = np.unique(self.positions, return_inverse=True)
        keep = ~surplus(vectors.take(places), self.k)[place]
        self.queries, self.positions, self.scores = (
            self.queries[keep],
            self.positions[keep],
            self.scores[keep],
        )

    def _prune(self) -> None:
        """Raise the bars to the k-th best score and drop what cannot reach it any more."""
        order = np.lexsort((-self.scores, self.queries))
        queries, scores = self.queries[order], self.scores[order]
        starts = np.searchsorted(queries, np.arange(len(self.bars)))
        ends = np.append(starts[1:], len(queries))
        full = ends - starts >= self.k
        self.bars[full] = np.maximum(self.bars[full], scores[starts[full] + self.k - 1])
        keep = scores >= self.bars[queries] - _SLACK
        self.queries, self.positions, self.scores = queries[keep], self.positions[order][keep], scores[keep]


def surplus(rows: NDArray[np.float32], k: int) -> NDArray[np.bool_]:
    """Return which of some rows, float32 [B, D], have k equal ones before them, bool [B]."""
    whole = np.ascontiguousarray(rows).view(np.dtype((np.void, rows.shape[1] * 4))).ravel()
    group = np.unique(whole, return_inverse=True)[1]
    order = np.argsort(group, kind="stable")
    found = np.zeros(len(rows), bool)
    found[order] = np.arange(len(rows)) - np.searchsorted(group[order], group[order]) >= k
    return found


def ranked(
    vectors: VectorBlocks,
    queries: NDArray[np.float32],
    query_of: NDArray[np.int64],
    positions: NDArray[np.int64],
    k: int,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return positions and scores of the k best candidates of each query, by their exact scores.

    Args:
        vectors: N rows. queries: float32 [Q, D].
        query_of, positions: int64 [C], the candidates; none twice.
        k: columns of the answer.
    """
    order = np.lexsort((positions, query_of))
    query_of, positions = query_of[order], positions[order]
    scores = np.empty(len(positions), np.float32)
    for first in range(0, len(positions), _RESCORED):
        some = slice(first, first + _RESCORED)
        scores[some] = scores_of(vectors.take(positions[some]), queries[query_of[some]])
    order = np.lexsort((-scores, query_of))
    query_of, positions, scores = query_of[order], positions[order], scores[order]
    place = np.arange(len(query_of)) - np.searchsorted(query_of, query_of)
    kept = place < k
    best = np.full((len(queries), k), -1, np.int64)
    best_scores = np.full((len(queries), k), -np.inf, np.float32)
    best[query_of[kept], place[kept]] = positions[kept]
    best_scores[query_of[kept], place[kept]] = scores[kept]
    return best, best_scores


def scores_of(vectors: NDArray[np.float32], queries: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the score of each row, float32 [C]: its products with the query summed in float64.

    Args:
        vectors: float32 [C, D]. queries: float32 [C, D], or [D] for all.
    """
    # The sum of a row by itself: a matrix product would depend on the rows beside it.
    return (vectors.astype(np.float64) * queries).sum(axis=1).astype(np.float32)


def check_search(
    queries: NDArray[np.float32], k: int, allowed: NDArray[np.bool_] | None, *, size: int, dim: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_] | None]:
    """Return queries in C order and the mask, None where it allows all; raise ``InputError`` on bad ones."""
    if k < 1:
        raise InputError(f"k must be at least 1, got {k}.")
    queries = np.ascontiguousarray(queries, dtype=np.float32)
    if queries.ndim != 2 or queries.shape[1] != dim:
        raise InputError(f"Queries must be of shape [Q, {dim}], got {list(queries.shape)}.")
    finite = np.isfinite(queries).all(axis=1)
    if not finite.all():
        raise InputError(f"Query {int(np.argmin(finite))} holds NaN or infinity.")
    if allowed is not None:
        allowed = np.asarray(allowed, dtype=bool)
        if allowed.shape != (size,):
            raise InputError(f"allowed has shape {list(allowed.shape)}; expected [{size}], one per row.")
        if allowed.all():
            allowed = None
    return queries, allowed
