"""What ``optimize`` does to a LanceDB table: compaction, a graph per view, and how broadly to search it.

The graph holds 8 bits a component (HNSW_SQ); the best rows are compared by their full vectors. Measured on
50,000 x 512 clustered rows, one thread: comparing all rows 167 ms a query; the graph 5.5 ms at recall 0.99,
31 s to build; groups of full vectors (IVF_FLAT) 7.4 ms, under a second to build, yet with two thirds of all
groups looked into, so that it grows with the rows; the same in 8 bits (IVF_SQ) 26 ms; product quantization
(IVF_PQ) 4.5 ms, 72 s.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from ..config_base import Config
from ..errors import ConfigError
from ..files import read_json, write_json_atomic
from .base import Tuning
from .exact import ExactEngine, VectorBlocks
from .lance_table import column_of, is_of, nearest_rows, vectors_of
from .settings import IndexDescription
from .tuning import noisy_rows, tune

TUNED_FILE = "tuned.json"
INDEX_ROWS = 20_000
"""Vectors from which on an index is tried; fewer are compared one by one in milliseconds."""
_GRACE = timedelta(hours=1)
"""Time in which a reader may go on with a version that is no longer among the last."""
_DELAY = timedelta(seconds=1)
_GRAPH_ROWS, _LINKS, _BREADTH = 1_000_000, 20, 150
_LATE_SHARE, _GROWN, _SPREAD = 0.2, 2, 0x9E3779B1


class TunedView(Config):
    """How a view is searched since it was measured.

    Attributes:
        table_version: from which on it holds. rows: of the measurement.
        ef, recall, k, queries, target, exact_ms, approximate_ms: see :class:`.base.Tuning`.
    """

    table_version: int
    rows: int
    ef: int = Field(ge=0)
    recall: float
    k: int
    queries: int
    target: float
    exact_ms: float
    approximate_ms: float

    @property
    def tuning(self) -> Tuning:
        """The measurement."""
        return Tuning(**self.model_dump(exclude={"table_version", "rows"}))


class LanceTuning(Config):
    """Content of ``tuned.json``."""

    views: dict[str, TunedView] = Field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> LanceTuning:
        """Return what was measured, nothing where there is no file.

        Raises:
            ConfigError: the file is damaged.
        """
        path = folder / TUNED_FILE
        if not path.is_file():
            return cls()
        try:
            return cls.model_validate(read_json(path))
        except ValidationError:
            raise ConfigError(f"{path}: damaged. Remove it, then optimize the index.") from None

    def until(self, table_version: int) -> LanceTuning:
        """Return what holds for a version of the table."""
        return LanceTuning(
            views={view: one for view, one in self.views.items() if one.table_version <= table_version}
        )

    def ef(self, view: str) -> int:
        """Return the breadth of a search; 0 compares all rows."""
        return self.views[view].ef if view in self.views else 0

    def reason(self, view: str, rows: int, late: int) -> str:
        """Return why ``optimize`` is due for a view, or ""."""
        known = self.views.get(view)
        if rows < INDEX_ROWS:
            return ""
        if known is None or rows > _GROWN * known.rows:
            return f"{rows:,} rows, and how to search {view!r} was not measured"
        return (
            f"{late:,} of {rows:,} rows came after the index of {view!r}" if late > _LATE_SHARE * rows else ""
        )


def tuned_table(
    folder: Path,
    table: Any,
    description: IndexDescription,
    progress: Callable[[str, float], None] | None,
) -> None:
    """Compact a table, index and measure its views, then drop old versions.

    Whatever it is killed in, the rows stay as they are: at worst a view is searched exactly afterwards.

    Args:
        folder: of the index; the caller holds the right to write.
        table: of LanceDB, at its last version.
    """
    tell = progress or (lambda what, share: None)
    kept = table.list_versions()[-description.options.keep_versions :][0]["timestamp"]
    tell("compact", 0.0)
    table.optimize()
    tell("compact", 1.0)
    for view in description.views:
        _tune_view(folder, table, view, description, tell)
    # Lance gives times of versions as local ones, and counts the age from when it gets to it.
    age = max(datetime.now() - kept + _DELAY, _GRACE)
    table.optimize(cleanup_older_than=age, delete_unverified=False)


def _tune_view(
    folder: Path,
    table: Any,
    view: str,
    description: IndexDescription,
    tell: Callable[[str, float], None],
) -> None:
    """Build the index of a view and measure how broadly to search it, unless that was done."""
    import lancedb.index

    column = column_of(view)
    rows, state = int(table.count_rows(f"`{column}` IS NOT NULL")), LanceTuning.read(folder)
    known = state.views.get(view)
    if rows < INDEX_ROWS or (known is not None and rows <= _GROWN * known.rows):
        return
    others = {name: one for name, one in state.views.items() if name != view}
    # Nothing may be searched by the old measurement in the new index.
    write_json_atomic(folder / TUNED_FILE, LanceTuning(views=others).model_dump())
    settings = lancedb.index.HnswSq(
        distance_type="dot",
        num_partitions=max(1, rows // _GRAPH_ROWS),
        m=_LINKS,
        ef_construction=_BREADTH,
    )
    tell(f"index of {view!r}", 0.0)
    table.create_index(column, config=settings, replace=True)
    tell(f"index of {view!r}", 0.5)
    tuning = _measured(table, view, description)
    if not tuning.ef:
        table.drop_index(next(one.name for one in table.list_indices() if is_of(one, column)))
    one = TunedView(table_version=int(table.version), rows=rows, **asdict(tuning))
    write_json_atomic(folder / TUNED_FILE, LanceTuning(views={**others, view: one}).model_dump())
    tell(f"index of {view!r}", 1.0)


def _measured(table: Any, view: str, description: IndexDescription) -> Tuning:
    options, table_search = description.options, _TableSearch(table, view)
    # Every row once, in an order without a pattern.
    count = int(table.count_rows())
    places = np.unique(np.arange(3 * options.sample, dtype=np.int64) * _SPREAD % count)
    rows = table.take_offsets(places.tolist()).select([column_of(view)]).to_arrow()[column_of(view)]
    vectors, has = vectors_of(rows, description.identity.dim)
    queries = noisy_rows(VectorBlocks(vectors[has]), options.sample)
    return tune(table_search, table_search, k=options.k, target=options.target_recall, queries=queries)


class _TableSearch:
    """A view of a table as :func:`.tuning.tune` asks it."""

    def __init__(self, table: Any, view: str) -> None:
        self.table, self.view = table, view

    def search(
        self, queries: NDArray[np.float32], k: int, *, ef: int | None = None
    ) -> tuple[None, NDArray[np.float32]]:
        """Return (None, scores float32 [Q, k], -inf where there are fewer)."""
        if not ef and len(queries) > 1:
            return None, self._in_one_pass(queries, k)
        scores = np.full((len(queries), k), -np.inf, np.float32)
        for number, query in enumerate(queries):
            found = nearest_rows(self.table, query, k, self.view, ef or 0, None).scores
            scores[number, : len(found)] = found
        return None, scores

    def _in_one_pass(self, queries: NDArray[np.float32], k: int) -> NDArray[np.float32]:
        """Return the exact scores of many queries, reading the table once."""
        best = np.full((len(queries), k), -np.inf, np.float32)
        for batch in self.table.search().select([column_of(self.view)]).to_batches(8192):
            vectors, has = vectors_of(batch[column_of(self.view)], queries.shape[1])
            if has.any():
                scores = ExactEngine(vectors[has]).search(queries, k)[1]
                best = -np.sort(-np.concatenate([best, scores], axis=1), axis=1)[:, :k]
        return best
