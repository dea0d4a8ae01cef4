"""How a LanceDB table holds rows, and how its nearest ones are found."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .base import Hits
from .exact import scores_of
from .graph import broadened
from .ties import SPARE, settled

ID = "@id"
"""Column of the ids."""
_ALL_PARTS, _REFINE = 10_000, 2
"""Parts of a graph that are searched; rows whose full vectors are compared for each one asked for."""


def column_of(view: str) -> str:
    """Return the column of the vectors of a view."""
    return f"@{view}"


def nearest_rows(
    table: Any, query: NDArray[np.float32], k: int, view: str, breadth: int, condition: str | None
) -> Hits:
    """Return the k best rows of a table by their exact scores; equal scores rank by id.

    Args:
        table: of LanceDB. query: float32 [D].
        breadth: of the search, 0 compares all rows. condition: SQL, or None.
    """
    fetch = k + SPARE
    while k:
        search = table.search(query, vector_column_name=column_of(view)).distance_type("dot")
        if breadth:
            # LanceDB refuses to look at fewer rows than it is to give back.
            ef = max(broadened(breadth, k), fetch * _REFINE)
            search = search.nprobes(_ALL_PARTS).ef(ef).refine_factor(_REFINE)
        else:
            search = search.bypass_vector_index()
        if condition is not None:
            search = search.where(condition, prefilter=True)
        ids: list[str] = []
        scores, coarse = [np.empty(0, np.float32)], [np.empty(0, np.float32)]
        # In batches, so that the vectors of many answers are never in memory together.
        for batch in search.limit(fetch).select([ID, column_of(view), "_distance"]).to_batches():
            ids.extend(batch[ID].to_pylist())
            scores.append(scores_of(vectors_of(batch[column_of(view)], len(query))[0], query))
            coarse.append(1 - batch["_distance"].to_numpy())
        if breadth and len(ids) < k:
            # A filter may cut the graph into pieces; nothing that fits is left out for that.
            breadth = 0
            continue
        if not ids:
            break
        hits = settled(
            ids, np.concatenate(scores), np.concatenate(coarse), k, complete=breadth > 0 or len(ids) < fetch
        )
        if hits is not None:
            return hits
        fetch *= 4
    return Hits((), np.empty(0, np.float32))


def vectors_of(column: Any, dim: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return a column of vectors as float32 [N, D], zeros where null, and bool [N] where there is one."""
    import pyarrow

    array = column.combine_chunks() if isinstance(column, pyarrow.ChunkedArray) else column
    has = ~np.asarray(array.is_null())
    vectors = np.zeros((len(array), dim), np.float32)
    # Only of rows that have one: what lies below a null is not said.
    vectors[has] = array.drop_null().flatten().to_numpy(zero_copy_only=False).reshape(-1, dim)
    return vectors, has


def indexed_rows(table: Any, view: str) -> tuple[int, int]:
    """Return how many rows the index of a view covers, and how many came after it; (0, 0) without one."""
    for one in table.list_indices():
        if is_of(one, column_of(view)):
            known = table.index_stats(one.name)
            return int(known.num_indexed_rows), int(known.num_unindexed_rows)
    return 0, 0


def is_of(index: Any, column: str) -> bool:
    """Tell whether an index of a table, as it lists them, is of a column."""
    return [name.strip("`") for name in index.columns] == [column]
