"""One version of an index, open for reading; it stays readable while later versions are written."""

from __future__ import annotations

import bisect
import logging
import re
import threading
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from ..errors import ConfigError, InputError
from .base import Hits, Rows
from .columns import compute, pick_columns, to_schema
from .conditions import Where
from .engines import Engine, GraphEngine
from .gathering import Places
from .manifest import GraphEntry, Manifest
from .optimizing import GRAPH_FILE
from .segment import Segment, check_size, read_tombstones
from .store import SegmentStore, absent

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow
    from numpy.typing import NDArray

_log = logging.getLogger(__name__)
_HALF = re.compile("[\ud800-\udfff]")
_LOOKED_UP = 64
"""Ids that are found one by one; more are found in one pass over all rows."""
_MASKS = 16
"""Conditions whose rows are remembered."""


class Snapshot:
    """The segments of a version and which of their rows are live.

    Args:
        store: files of the index.
        manifest: the version.
        dim: D.
        before: another version, whose segments and graphs are open already.

    Raises:
        FileNotFoundError: a file is absent, or a writer removed it since the manifest was read.
        ConfigError: a file has another size.
    """

    def __init__(
        self, store: SegmentStore, manifest: Manifest, dim: int, before: Snapshot | None = None
    ) -> None:
        store.check_sizes(manifest)
        self.store, self.manifest, self.dim = store, manifest, dim
        self.schema = to_schema(manifest.columns)
        known = {segment.name: segment for segment in before.segments} if before else {}
        self.segments = [
            known.get(entry.name) or Segment(store.path("segments", entry.name), entry, dim)
            for entry in manifest.segments
        ]
        self.deleted = [
            read_tombstones(store.path("segments", entry.name), entry) for entry in manifest.segments
        ]
        self._graphs: dict[str, GraphEngine | None] = dict(before._graphs) if before else {}
        for name in set(self._graphs) - {graph.name for graph in manifest.graphs.values()}:
            del self._graphs[name]
        self._masks: dict[tuple[int, str, Where | None], NDArray[np.bool_]] = {}
        self._lock = threading.Lock()

    @classmethod
    def open(
        cls,
        store: SegmentStore,
        dim: int,
        *,
        version: int | None = None,
        before: Snapshot | None = None,
    ) -> Snapshot:
        """Return a version, None the last one, even while a writer goes on to others.

        Raises:
            ConfigError: no such version, or a damaged or absent file, which is named.
        """
        while True:
            manifest = store.read(version)
            try:
                return cls(store, manifest, dim, before)
            except FileNotFoundError as error:
                if manifest.version in store.versions():
                    name = "/".join(str(error.filename).replace("\\", "/").split("/")[-3:])
                    raise absent(name) from None

    def __len__(self) -> int:
        return self.manifest.rows

    # Rows

    def live(self, number: int) -> NDArray[np.int64]:
        """Return the rows of a segment that are not deleted, int64, ascending."""
        deleted = self.deleted[number]
        if deleted is None:
            return np.arange(self.segments[number].rows)
        return np.flatnonzero(~deleted)

    def find(self, ids: Sequence[str]) -> Places:
        """Return where those of some different ids are that are there, in their order."""
        wanted = _wanted(ids) if len(ids) > _LOOKED_UP else None
        source, row, place = [], [], []
        for number, segment in enumerate(self.segments):
            rows, places = _lookup(segment.ids, ids) if wanted is None else _join(segment.ids, wanted)
            deleted = self.deleted[number]
            if deleted is not None:
                alive = ~deleted[rows]
                rows, places = rows[alive], places[alive]
            source.append(np.full(len(rows), number))
            row.append(rows)
            place.append(places)
        if not source:
            return Places.of([], [])
        order = np.argsort(np.concatenate(place))
        return Places(self.segments, np.concatenate(source)[order], np.concatenate(row)[order])

    def rows(self, places: Places, columns: Sequence[str] | None, views: Sequence[str]) -> Rows:
        """Return rows with some columns of the payload, None all, and some of the vectors."""
        vectors, present = {}, {}
        for view in views:
            vectors[view], present[view] = places.vectors(view, self.dim)
        return Rows(
            tuple(places.ids().to_pylist()),
            places.table(pick_columns(self.schema, columns)),
            vectors,
            present,
        )

    def scan(
        self, columns: Sequence[str] | None, views: Sequence[str], where: Where | None, batch_size: int
    ) -> Iterator[Rows]:
        """Yield all live rows that fit, in the order of their ids."""
        chosen = []
        for number, segment in enumerate(self.segments):
            rows = self.live(number)
            chosen.append(rows if where is None else rows[segment.mask(where, self.schema)[rows]])
        places = Places.of(self.segments, chosen)
        if sum(len(rows) > 0 for rows in chosen) > 1:
            places = places.sorted()
        for start in range(0, len(places), batch_size):
            yield self.rows(places[start : start + batch_size], columns, views)

    # Search

    def search(
        self, queries: NDArray[np.float32], k: int, *, view: str, where: Where | None, ef: int | None
    ) -> list[Hits]:
        """Return the k best rows of each query, float32 [Q, D]; equal scores rank by id."""
        found: list[tuple[int, NDArray[np.int64], NDArray[np.float32]]] = []
        for number, segment in enumerate(self.segments):
            allowed = self._allowed(number, view, where)
            if not len(segment.vectors(view)) or (allowed is not None and not allowed.any()):
                continue
            engine, breadth = self._engine(segment, view, ef)
            positions, scores = engine.search(queries, k, allowed=allowed, ef=breadth)
            found.append((number, positions, scores))
        return self._merged(found, len(queries), k, view)

    def _allowed(self, number: int, view: str, where: Where | None) -> NDArray[np.bool_] | None:
        """Return which vectors of a segment may be answers; None where all may."""
        segment, deleted = self.segments[number], self.deleted[number]
        if deleted is None and where is None:
            return None
        with self._lock:
            mask = self._masks.pop((number, view, where), None)
        if mask is None:
            mask = np.ones(segment.rows, bool) if deleted is None else ~deleted
            if where is not None:
                mask &= segment.mask(where, self.schema)
            present = segment.present(view)
            mask = mask if present is None else mask[present]
        with self._lock:
            self._masks[number, view, where] = mask
            while len(self._masks) > max(_MASKS, 2 * len(self.segments)):
                self._masks.pop(next(iter(self._masks)))
        return mask

    def _merged(
        self,
        found: Sequence[tuple[int, NDArray[np.int64], NDArray[np.float32]]],
        queries: int,
        k: int,
        view: str,
    ) -> list[Hits]:
        """Return the best of what the segments answered: (segment, positions [Q, n], scores [Q, n]) each."""
        if not found:
            return [Hits((), np.empty(0, np.float32))] * queries
        scores = np.concatenate([part[2] for part in found], axis=1)
        bars = np.full((queries, 1), -np.inf, np.float32)
        if scores.shape[1] > k:
            # Those equal to the k-th best stay until their ids decide.
            bars = np.partition(scores, scores.shape[1] - k, axis=1)[:, -k, None]
        places: list[NDArray[np.int64]] = []
        names: list[str] = []
        values: list[NDArray[np.float32]] = []
        for number, positions, part in found:
            query, column = np.nonzero((positions >= 0) & (part >= bars))
            places.append(query)
            names.extend(self._names(number, view, positions[query, column]))
            values.append(part[query, column])
        query, value = np.concatenate(places), np.concatenate(values)
        if len(found) > 1:
            order = sorted(range(len(names)), key=lambda n: (query[n], -value[n], names[n]))
            names, query, value = [names[n] for n in order], query[order], value[order]
        # One segment answers in this order by itself: its rows are sorted by id.
        edges = pairwise(np.searchsorted(query, np.arange(queries + 1)).tolist())
        return [Hits(tuple(names[a : min(b, a + k)]), value[a : min(b, a + k)]) for a, b in edges]

    def _names(self, number: int, view: str, positions: NDArray[np.int64]) -> list[str]:
        """Return the ids of the rows whose vectors are at the given positions of a segment."""
        import pyarrow

        segment = self.segments[number]
        return segment.ids.take(pyarrow.array(segment.rows_with(view, positions))).to_pylist()

    def _engine(self, segment: Segment, view: str, ef: int | None) -> tuple[Engine, int | None]:
        """Return what searches the vectors of a segment, and how broadly."""
        entry, measured = self.manifest.graphs.get(view), self.manifest.measured.get(view)
        if entry is not None and entry.segment == segment.name and ef != 0:
            graph = self._graph(view, entry, segment)
            if graph is not None:
                tuned = None if measured is None or measured.tuning is None else measured.tuning.ef
                return graph, tuned if ef is None else ef
        return segment.exact(view), None

    def _graph(self, view: str, entry: GraphEntry, segment: Segment) -> GraphEngine | None:
        """Return a graph, loaded when it is first asked for; None where its file is gone or damaged."""
        with self._lock:
            if entry.name not in self._graphs:
                path, graph = self._graph_file(entry), None
                try:
                    graph = GraphEngine.load(path, segment.vectors(view))
                except (InputError, OSError) as error:
                    if self.manifest.version in self.store.versions():
                        why = f"{error} Until the index is optimized, it is searched exactly."
                    else:
                        why = "it was replaced since. This old version is searched exactly."
                    _log.warning("The graph of %r is not used: %s", view, why)
                self._graphs[entry.name] = graph
            return self._graphs[entry.name]

    def _graph_file(self, entry: GraphEntry) -> Path:
        return self.store.path("graphs", entry.name) / GRAPH_FILE

    def lacks_graph(self, view: str, *, thorough: bool = False) -> bool:
        """Tell whether a view that has a graph in the manifest cannot use it.

        Args:
            thorough: read all of the file; otherwise its size, and what a search met, decide.
        """
        entry = self.manifest.graphs[view]
        if entry.name in self._graphs and not thorough:
            return self._graphs[entry.name] is None
        (vectors,) = (one.vectors(view) for one in self.segments if one.name == entry.segment)
        path = self._graph_file(entry)
        try:
            for name, expected in entry.files.items():
                check_size(path.parent, name, expected)
            if thorough:
                GraphEngine.load(path, vectors)
        except (InputError, ConfigError, OSError):
            return True
        return False


class _Ids(Sequence[str]):
    """An Arrow array of texts as a sequence of Python texts, made when they are looked at."""

    def __init__(self, array: pyarrow.Array) -> None:
        self._array = array

    def __len__(self) -> int:
        return len(self._array)

    def __getitem__(self, place):  # pyright: ignore
        return self._array[place].as_py()


def _lookup(array: pyarrow.Array, ids: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return (rows of an ascending array, places in ``ids``) of what is in both, one id at a time."""
    column, rows, places = _Ids(array), [], []
    for place, one in enumerate(ids):
        row = bisect.bisect_left(column, one)
        if row < len(column) and column[row] == one:
            rows.append(row)
            places.append(place)
    return np.array(rows, np.int64), np.array(places, np.int64)


def _wanted(ids: Sequence[str]) -> pyarrow.Array:
    """Return ids as Arrow texts; half a character, which no row can have, becomes a null."""
    import pyarrow

    try:
        return pyarrow.array(ids, pyarrow.string())
    except (UnicodeEncodeError, pyarrow.ArrowInvalid):
        whole = [one if one.isascii() or not _HALF.search(one) else None for one in ids]
        return pyarrow.array(whole, pyarrow.string())


def _join(array: pyarrow.Array, wanted: pyarrow.Array) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return (rows, places in ``wanted``) of what is in both, in one pass over the rows."""

    places = compute().index_in(array, value_set=wanted).fill_null(-1).to_numpy(zero_copy_only=False)
    rows = np.flatnonzero(places >= 0)
    return rows, places[rows].astype(np.int64)
