"""What a vector index is: rows with stable ids, one or more vectors each, and what they say of themselves.

Back ends (:class:`.local.LocalIndex`, :class:`.lance.LanceIndex`, :class:`.qdrant.QdrantIndex`) implement
:class:`VectorIndex`. Vectors are unit length and compared by inner product; a row may lack some of its
vectors. Every write is one version: a reader sees it whole or not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal, Protocol

from ..errors import ConfigError

if TYPE_CHECKING:
    import numpy as np
    import pyarrow
    from numpy.typing import NDArray

    from .filters import Where

Kind = Literal["auto", "flat", "hnsw", "lancedb", "qdrant"]
"""What keeps the rows and finds neighbors.

``flat`` compares all rows. ``hnsw`` builds a graph when it is optimized, and drops it where comparing all
rows was measured to be as fast. ``auto`` does the same above 100,000 rows; up to there nothing is built or
measured.
``lancedb`` keeps a table on disk, for more vectors than memory holds; ``qdrant`` is a server.
"""


@dataclass(frozen=True)
class Identity:
    """What made the vectors of an index; those of anything else cannot be compared with them.

    Attributes:
        model: name. revision: commit or hash of the weights.
        processor: fingerprint of the preprocessing.
        dim: D.
        text: fingerprint of how texts are built; empty where they are taken as they are.
    """

    model: str
    revision: str
    processor: str
    dim: int
    text: str = ""

    def check(self, other: Identity, *, what: str = "The query") -> None:
        """Raise ``ConfigError`` that names the first thing in which ``other`` differs from this index."""
        for one in fields(self):
            mine, theirs = getattr(self, one.name), getattr(other, one.name)
            if mine != theirs:
                raise ConfigError(
                    f"{what} was made with {one.name} {theirs!r}; the index holds vectors of {mine!r}. "
                    "Use the model the index was built with, or build it anew."
                )

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class Rows:
    """N rows of an index.

    Attributes:
        ids: N different strings, none empty.
        payload: N rows of plain columns to filter by and to show.
        vectors: {view: float32 [N, D], unit length}; zeros where a row has none.
        present: {view: bool [N]}; a view that is not named is there in every row.
    """

    ids: tuple[str, ...]
    payload: pyarrow.Table
    vectors: Mapping[str, NDArray[np.float32]]
    present: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, eq=False)
class Hits:
    """What one query found, best first; equal scores rank by id.

    Attributes:
        ids: at most k. scores: float32, as many; the cosine of query and row.
    """

    ids: tuple[str, ...]
    scores: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Change:
    """What one write did.

    Attributes:
        added, replaced, deleted: rows. version: of the index afterwards.
    """

    added: int
    replaced: int
    deleted: int
    version: int


@dataclass(frozen=True)
class Tuning:
    """How well and how fast an approximate search does, measured against the exact one.

    Attributes:
        ef: breadth of the search; 0 is exact. recall: recall@k of the exact answer, mean over queries.
        k, queries: of the measurement. target: recall that was asked for.
        exact_ms, approximate_ms: median time of one query.
    """

    ef: int
    recall: float
    k: int
    queries: int
    target: float
    exact_ms: float
    approximate_ms: float


@dataclass(frozen=True)
class IndexStats:
    """What an index holds.

    Attributes:
        kind: what answers now, by view: ``hnsw`` only where a graph is used.
        rows: live ones. deleted: rows that still take room.
        version: of the last write. indexed: {view: rows a graph covers}; the others are searched exactly.
        bytes: on disk. tuning: {view: what was measured when the graph was built}.
        needs_optimize: why ``optimize`` is due, or "".
        advice: what would serve better than this kind of index, or "".
    """

    kind: Mapping[str, str]
    rows: int
    deleted: int
    version: int
    indexed: Mapping[str, int]
    bytes: int
    tuning: Mapping[str, Tuning]
    needs_optimize: str = ""
    advice: str = ""


class VectorIndex(Protocol):
    """Rows that can be written, deleted, filtered and searched.

    Any number of processes may read; one at a time writes, and a second writer is refused with
    ``ConfigError``. A write that is killed leaves the version before it.
    """

    @property
    def identity(self) -> Identity:
        """What made the vectors."""
        ...

    @property
    def views(self) -> tuple[str, ...]:
        """Names of the vectors a row may have."""
        ...

    @property
    def version(self) -> int:
        """Version that this object reads; it grows with each write."""
        ...

    @property
    def schema(self) -> pyarrow.Schema:
        """Columns of the payload."""
        ...

    def __len__(self) -> int:
        """Live rows."""
        ...

    def upsert(self, rows: Rows) -> Change:
        """Add rows, replacing those whose id is there, as one version.

        Raises:
            InputError: an id that is empty or stands twice, a vector that is not finite, not of unit length
                or not of dimension D, or a payload of other columns.
            ConfigError: another process is writing.
        """
        ...

    def delete(self, ids: Sequence[str]) -> Change:
        """Delete rows as one version; ids that are not there are no error."""
        ...

    def get(
        self, ids: Sequence[str], *, columns: Sequence[str] | None = None, views: Sequence[str] = ()
    ) -> Rows:
        """Return those of the rows that are there, in the order of ``ids``."""
        ...

    def scan(
        self,
        *,
        columns: Sequence[str] | None = None,
        views: Sequence[str] = (),
        where: Where | None = None,
        batch_size: int = 8192,
    ) -> Iterator[Rows]:
        """Yield all live rows in an order that changes with writes only."""
        ...

    def search(
        self,
        queries: NDArray[np.float32],
        k: int = 10,
        *,
        view: str,
        where: Where | None = None,
        ef: int | None = None,
        made_by: Identity | None = None,
    ) -> list[Hits]:
        """Return the k nearest rows of each query, fewer where fewer fit.

        Args:
            queries: float32 [Q, D], unit length.
            k: at least 1; more than there are rows gives all of them.
            view: which vectors are compared; rows without one are no answer.
            where: only rows that fit.
            ef: breadth of an approximate search; None takes the tuned one, 0 searches exactly.
            made_by: what made the queries; refused where it is not :attr:`identity`.

        Raises:
            InputError: k below 1, queries that are not finite or of another dimension, an unknown view or
                field.
            ConfigError: ``made_by`` differs.
        """
        ...

    def refresh(self) -> bool:
        """Read the last version from now on and return whether it is another one."""
        ...

    def optimize(self, progress: Callable[[str, float], None] | None = None) -> IndexStats:
        """Compact what is stored and build what makes search fast; the old version answers meanwhile."""
        ...

    def stats(self) -> IndexStats:
        """Return what the index holds."""
        ...

    def close(self) -> None:
        """Let go of files; the object is not used afterwards."""
        ...
