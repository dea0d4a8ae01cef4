"""Rows out of several sources, in one order: how segments are merged, scanned and looked up."""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from .columns import compute
from .manifest import SegmentEntry
from .segment import BLOCK_ROWS, SegmentWriter

if TYPE_CHECKING:
    import pyarrow
    from numpy.typing import NDArray

_BLOCK_ROWS = 4096
_TIERS, _ALIKE = (512, 4096, 32_768, 262_144), (4, 4, 8, 8)
"""Rows up to which segments count as alike, and how many alike are merged; larger ones wait for ``optimize``.

Each segment costs a search about as much as a thousand rows, so the smallest are merged soonest.
"""


class Source(Protocol):
    """N rows that can be taken by position: a segment, or what is about to become one."""

    @property
    def ids(self) -> pyarrow.Array:
        """Ids, string [N]."""
        ...

    def payload_of(self, schema: pyarrow.Schema, rows: NDArray[np.int64]) -> pyarrow.Table:
        """Return columns of the payload of some rows."""
        ...

    def take(self, view: str, rows: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return the vectors of some rows, float32 [R, D], and which have one, bool [R]."""
        ...

    def present(self, view: str) -> NDArray[np.bool_] | None:
        """Return which rows have a vector, bool [N]; None where all have."""
        ...


@dataclass(frozen=True, eq=False)
class Places:
    """R rows: ``sources[source[r]]`` at position ``row[r]``."""

    sources: Sequence[Source]
    source: NDArray[np.int64]
    row: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.row)

    def __getitem__(self, part: slice | NDArray[np.int64]) -> Places:
        return Places(self.sources, self.source[part], self.row[part])

    @classmethod
    def of(cls, sources: Sequence[Source], rows: Sequence[NDArray[np.int64]]) -> Places:
        """Return the given rows of each source, one source after the other."""
        counts = [len(some) for some in rows]
        source = np.repeat(np.arange(len(sources)), counts)
        return cls(sources, source, np.concatenate([*rows, np.empty(0, np.int64)]))

    def _parts(self) -> Iterator[tuple[int, NDArray[np.bool_] | slice]]:
        """Yield each source that has a row here, and which of the R rows are its own."""
        numbers = np.unique(self.source)
        for number in numbers:
            yield int(number), slice(None) if len(numbers) == 1 else self.source == number

    def ids(self) -> pyarrow.Array:
        """Return the ids, string [R]."""
        import pyarrow

        parts, back = [], []
        for number, own in self._parts():
            parts.append(self.sources[number].ids.take(pyarrow.array(self.row[own])))
            back.append(np.arange(len(self))[own])
        if not parts:
            return pyarrow.array([], pyarrow.string())
        joined = pyarrow.concat_arrays(parts)
        return joined if len(parts) == 1 else joined.take(pyarrow.array(np.argsort(np.concatenate(back))))

    def table(self, schema: pyarrow.Schema) -> pyarrow.Table:
        """Return columns of the payload, R rows."""
        import pyarrow

        if not schema.names:  # a table without columns has no rows to take
            return schema.empty_table()
        parts, back = [], []
        for number, own in self._parts():
            parts.append(self.sources[number].payload_of(schema, self.row[own]))
            back.append(np.arange(len(self))[own])
        if not parts:
            return schema.empty_table()
        if len(parts) == 1:
            return parts[0]
        return pyarrow.concat_tables(parts).take(pyarrow.array(np.argsort(np.concatenate(back))))

    def vectors(self, view: str, dim: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return the vectors, float32 [R, D], zeros where there is none, and bool [R] where there is one."""
        vectors, found = np.zeros((len(self), dim), np.float32), np.zeros(len(self), bool)
        for number, own in self._parts():
            vectors[own], found[own] = self.sources[number].take(view, self.row[own])
        return vectors, found

    def present(self, view: str) -> NDArray[np.bool_]:
        """Return which of the rows have a vector, bool [R]."""
        found = np.ones(len(self), bool)
        for number, own in self._parts():
            mask = self.sources[number].present(view)
            if mask is not None:
                found[own] = mask[self.row[own]]
        return found

    def sorted(self) -> Places:
        """Return the rows in the order of their ids."""

        return self[compute().sort_indices(self.ids()).to_numpy().astype(np.int64)]


def write_segment(
    folder: Path, places: Places, schema: pyarrow.Schema, views: Sequence[str], dim: int
) -> SegmentEntry:
    """Write rows as a new segment, in the order of their ids.

    Args:
        folder: of the segment; it does not exist yet.
        places: R rows of different ids, R > 0.
        schema: columns of the payload.
    """
    places = places.sorted()
    writer = SegmentWriter(folder, dim)
    present = {view: places.present(view) for view in views}
    starts = range(0, len(places), BLOCK_ROWS)
    payload = (places[start : start + BLOCK_ROWS].table(schema) for start in starts)
    writer.write_rows(places.ids(), present, payload)
    for view, mask in present.items():
        having = places[np.flatnonzero(mask)]
        blocks = (having[start : start + _BLOCK_ROWS] for start in range(0, len(having), _BLOCK_ROWS))
        writer.write_vectors(view, (block.vectors(view, dim)[0] for block in blocks))
    return writer.finish(len(places))


def kept_beside(sizes: Sequence[int], new: int) -> int:
    """Return how many segments, oldest first, stay as they are when ``new`` rows come.

    The others, the latest, are merged with the new rows: when enough (:data:`_ALIKE`) are of the size of the
    new rows or below. So a row is written again about once per tier, and there are few segments.
    """
    kept, total = len(sizes), new
    while True:
        tier = bisect.bisect_left(_TIERS, total)
        if tier == len(_TIERS):
            return kept
        alike = kept
        while alike and bisect.bisect_left(_TIERS, sizes[alike - 1]) <= tier:
            alike -= 1
        if kept - alike < _ALIKE[tier] - 1:
            return kept
        total += sum(sizes[alike:kept])
        kept = alike
