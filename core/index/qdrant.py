"""An index in a Qdrant collection: the way out to a cluster, with shards and replicas.

Vectors, payload and filters are those of any other index, so that :func:`.copying.copy_index` moves a
catalogue there row by row. What a cluster does not give: versions (a killed write leaves the part of it that
arrived; write it again), a lock between writers, and parts of texts in filters. A row is a point whose UUID
follows from its id; one more point says what made the vectors.

Room per million rows of 512 dimensions, one vector each; payload comes on top:

==================================================  =======  =======
where                                                memory     disk
==================================================  =======  =======
flat, or auto below 100,000 rows: float32             cache   2.0 GB
hnsw: an 8-bit graph over float32                     cache   2.8 GB
lancedb: an 8-bit graph over float32                  cache   2.8 GB
Qdrant, everything in memory                         3.1 GB   3.1 GB
Qdrant, 8-bit in memory, float32 on disk             0.8 GB   3.6 GB
==================================================  =======  =======

*cache*: files are mapped; the system keeps as much of them in memory as there is room for, and searches are
fast while that is all of what they touch (flat: all vectors; hnsw: the graph, 0.8 GB). The room of a row is
4 D bytes, in a graph about D + 264 more. The first three lines were measured at 200,000
and 50,000 rows; the others follow the rule of Qdrant's manual, 1.5 x 4 D bytes a row. A catalogue keeps
three vectors a row (picture, text, product), so three times as much.

Reference: https://qdrant.tech/documentation (client 1.20 tested, against its local mode).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import ValidationError

from ..errors import ConfigError, InputError, require
from .base import Change, Hits, Identity, IndexStats, Rows
from .checks import Batch, check_k, check_queries, check_rows, check_view, ids_to_find
from .columns import pick_columns, to_columns, to_schema
from .conditions import Where
from .graph import DEFAULT_EF, broadened
from .qdrant_filter import to_filter
from .qdrant_options import QdrantOptions, fits, index_columns, make_collection
from .qdrant_points import (
    ID,
    INDEX,
    State,
    asked,
    connect,
    from_json,
    is_local,
    keys_of,
    point_id,
    point_of_state,
    to_json,
)
from .qdrant_search import nearest_points
from .settings import IndexDescription, IndexOptions

if TYPE_CHECKING:
    import pyarrow
    from numpy.typing import NDArray
    from qdrant_client import QdrantClient

_BATCH, _COUNTED_K = 256, 1000


class QdrantIndex:
    """A :class:`.base.VectorIndex` in a collection of Qdrant.

    Made by :meth:`create` or :meth:`open`. Scores are exact; neighbors are those that the server's graph
    finds, and all of them with ``ef=0``.
    """

    def __init__(self, client: QdrantClient, collection: str, *, read_only: bool = False) -> None:
        self._client, self.collection, self._read_only = client, collection, read_only
        # It always compares all rows, and says so at every search.
        self._exact_only = is_local(client)
        self._state = self._read_state()

    @classmethod
    def create(
        cls,
        server: str | QdrantClient,
        collection: str,
        *,
        identity: Identity,
        views: Sequence[str],
        schema: pyarrow.Schema,
        api_key: str | None = None,
        options: QdrantOptions | None = None,
    ) -> QdrantIndex:
        """Make an empty collection and return it as an index.

        Args:
            server: URL, ``":memory:"`` for a try without a server, or a client with options of its own.
            collection: name that is not taken, or of an empty collection made with settings of its own: a
                vector of D numbers for each view, compared by inner product (Dot).
            identity, views, schema: as for :func:`.opening.create_index`.
            api_key: of the server.
            options: shards, replicas, where things are kept, what filters need; None takes the defaults.

        Raises:
            ConfigError: the collection is in use, an option is not acceptable, or the server does not answer.
            InputError: a payload column of an unsupported type or name.
            DependencyError: qdrant-client is not installed.
        """
        require("qdrant_client", extra="qdrant")
        description = IndexDescription.of("qdrant", identity, tuple(views), IndexOptions())
        state = State(description=description, columns=to_columns(schema))
        for column in state.columns:
            if '"' in column.name:
                raise InputError(
                    f"Qdrant takes no double quote in a column name: {column.name!r}. Rename it."
                )
        options = options or QdrantOptions()
        indexed = options.columns(state.columns)
        client = connect(server, api_key)
        if not asked(client.collection_exists, collection):
            make_collection(client, collection, views, identity.dim, options=options)
        elif not fits(client, collection, views, identity.dim):
            raise ConfigError(f"Collection {collection!r} is there already. Open it, or take another name.")
        if not is_local(client):
            index_columns(client, collection, indexed)
        asked(client.upsert, collection, [point_of_state(state)], wait=True)
        return cls(client, collection)

    @classmethod
    def open(
        cls,
        server: str | QdrantClient,
        collection: str,
        *,
        api_key: str | None = None,
        read_only: bool = False,
    ) -> QdrantIndex:
        """Return an index that :meth:`create` made.

        Raises:
            ConfigError: there is no such collection, it is none of ours, or the server does not answer.
            DependencyError: qdrant-client is not installed.
        """
        client = connect(server, api_key)
        if not asked(client.collection_exists, collection):
            raise ConfigError(f"The server has no collection {collection!r}. Create it first.")
        return cls(client, collection, read_only=read_only)

    def _read_state(self) -> State:
        found = asked(self._client.retrieve, self.collection, [point_id("")], with_payload=True)
        try:
            return State.model_validate((found[0].payload or {})[INDEX])
        except (IndexError, KeyError, ValidationError):
            raise ConfigError(
                f"Collection {self.collection!r} was not made by this library: nothing says what made its "
                "vectors."
            ) from None

    # What it is

    @property
    def identity(self) -> Identity:
        """What made the vectors."""
        return self._state.description.made_by

    @property
    def views(self) -> tuple[str, ...]:
        """Names of the vectors a row may have."""
        return self._state.description.views

    @property
    def version(self) -> int:
        """Number of writes when this object last wrote or was opened; a server answers with the latest."""
        return self._state.version

    @property
    def schema(self) -> pyarrow.Schema:
        """Columns of the payload."""
        return to_schema(self._state.columns)

    def __len__(self) -> int:
        """Live rows."""
        return asked(self._client.count, self.collection, exact=True).count - 1

    def stats(self) -> IndexStats:
        """Return what the index holds; the server does not tell sizes or deleted rows."""
        indexed = asked(self._client.get_collection, self.collection).indexed_vectors_count or 0
        return IndexStats(
            kind=dict.fromkeys(self.views, "qdrant"),
            rows=len(self),
            deleted=0,
            version=self.version,
            indexed=dict.fromkeys(self.views, int(indexed) // len(self.views)),
            bytes=0,
            tuning={},
        )

    def refresh(self) -> bool:
        """Return False: a server answers with what was written last."""
        return False

    def optimize(self, progress: Callable[[str, float], None] | None = None) -> IndexStats:
        """Return what the index holds; the server builds its graph by itself."""
        return self.stats()

    def close(self) -> None:
        """Let go of the connection; the object is not used afterwards."""
        self._client.close()

    # Writing

    def upsert(self, rows: Rows) -> Change:
        """Add rows, replacing those whose id is there; see :class:`.base.VectorIndex`.

        Rows are sent in parts, each of which is there whole or not at all.
        """
        batch = check_rows(rows, dim=self.identity.dim, views=self.views, schema=self.schema)
        self._refuse_to_write()
        replaced = 0
        for start in range(0, len(batch.ids), _BATCH):
            points = self._points(batch, slice(start, start + _BATCH))
            known = asked(
                self._client.retrieve, self.collection, [point.id for point in points], with_payload=False
            )
            asked(self._client.upsert, self.collection, points, wait=True)
            replaced += len(known)
        if len(batch.ids):
            self._count_write()
        return Change(len(batch.ids) - replaced, replaced, 0, self.version)

    def delete(self, ids: Sequence[str]) -> Change:
        """Delete rows; ids that are not there are no error."""
        from qdrant_client import models

        wanted = ids_to_find(ids)
        self._refuse_to_write()
        deleted = 0
        for start in range(0, len(wanted), _BATCH):
            points: Any = [point_id(one) for one in wanted[start : start + _BATCH]]
            deleted += len(asked(self._client.retrieve, self.collection, points, with_payload=False))
            asked(self._client.delete, self.collection, models.PointIdsList(points=points), wait=True)
        if deleted:
            self._count_write()
        return Change(0, 0, deleted, self.version)

    def _refuse_to_write(self) -> None:
        if self._read_only:
            raise ConfigError(f"Collection {self.collection!r} was opened to be read only.")

    def _count_write(self) -> None:
        self._state = self._state.model_copy(update={"version": self._read_state().version + 1})
        asked(self._client.upsert, self.collection, [point_of_state(self._state)], wait=True)

    def _points(self, batch: Batch, some: slice) -> list[Any]:
        from qdrant_client import models

        ids = batch.ids[some].to_pylist()
        rows: list[dict[str, Any]] = [{} for _ in ids]
        if batch.payload.column_names:
            rows = batch.payload.slice(some.start, len(ids)).to_pylist()
        vectors: list[dict[str, Any]] = [{} for _ in ids]
        for view in self.views:
            for place in np.flatnonzero(batch.has[view][some]):
                vectors[place][view] = batch.vectors[view][some.start + place].tolist()
        return [
            models.PointStruct(
                id=point_id(one),
                vector=vector,
                payload={ID: one, **{name: to_json(value) for name, value in row.items()}},
            )
            for one, vector, row in zip(ids, vectors, rows, strict=True)
        ]

    # Reading

    def get(
        self, ids: Sequence[str], *, columns: Sequence[str] | None = None, views: Sequence[str] = ()
    ) -> Rows:
        """Return those of the rows that are there, in the order of ``ids``, each once."""
        picked = self._picked(columns, views)
        wanted, found = ids_to_find(ids), {}
        for start in range(0, len(wanted), _BATCH):
            records = asked(
                self._client.retrieve,
                self.collection,
                [point_id(one) for one in wanted[start : start + _BATCH]],
                with_payload=keys_of(picked),
                with_vectors=list(views),
            )
            found.update({str(record.id): record for record in records})
        present = [found[point_id(one)] for one in wanted if point_id(one) in found]
        return self._rows(present, picked, views)

    def scan(
        self,
        *,
        columns: Sequence[str] | None = None,
        views: Sequence[str] = (),
        where: Where | None = None,
        batch_size: int = 8192,
    ) -> Iterator[Rows]:
        """Yield all live rows that fit; rows written meanwhile may be among them."""
        from qdrant_client import models

        if batch_size < 1:
            raise InputError(f"batch_size must be at least 1, got {batch_size}.")
        picked = self._picked(columns, views)
        only_rows = models.Filter(
            must=[] if where is None else [to_filter(where, self.schema)],
            must_not=[models.HasIdCondition(has_id=[point_id("")])],
        )
        offset = None
        while True:
            records, offset = asked(
                self._client.scroll,
                self.collection,
                scroll_filter=only_rows,
                limit=batch_size,
                offset=offset,
                with_payload=keys_of(picked),
                with_vectors=list(views),
            )
            if records:
                yield self._rows(records, picked, views)
            if offset is None:
                return

    def _picked(self, columns: Sequence[str] | None, views: Sequence[str]) -> pyarrow.Schema:
        for view in views:
            check_view(view, self.views)
        return pick_columns(self.schema, columns)

    def _rows(self, records: Sequence[Any], picked: pyarrow.Schema, views: Sequence[str]) -> Rows:
        import pyarrow

        columns = [
            pyarrow.array([from_json(one.payload.get(field.name), field.type) for one in records], field.type)
            for field in picked
        ]
        payload = pyarrow.Table.from_arrays(columns, schema=picked)
        vectors, present = {}, {}
        for view in views:
            has = np.array([view in (one.vector or {}) for one in records], bool)
            vectors[view] = np.zeros((len(records), self.identity.dim), np.float32)
            for place in np.flatnonzero(has):
                vectors[view][place] = records[int(place)].vector[view]
            present[view] = has
        return Rows(tuple(one.payload[ID] for one in records), payload, vectors, present)

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
        """Return the k nearest rows of each query, best first; see :class:`.base.VectorIndex`."""
        from qdrant_client import models

        if made_by is not None:
            self.identity.check(made_by)
        check_view(view, self.views)
        if ef is not None and ef < 0:
            raise InputError(f"ef must be 0 (exact) or more, got {ef}.")
        condition = None if where is None else to_filter(where, self.schema)
        queries, k = check_queries(queries, self.identity.dim), check_k(k)
        breadth = None if ef == 0 else broadened(DEFAULT_EF if ef is None else ef, k)
        params = models.SearchParams(exact=ef == 0, hnsw_ef=breadth)
        asking = {"using": view, "filter": condition}
        if not self._exact_only:
            asking["params"] = params
        # Counting is work for a server; only an answer of everything needs it.
        k, exact = min(k, len(self)) if k > _COUNTED_K else k, self._exact_only or ef == 0
        return nearest_points(self._client, self.collection, queries, k, asking=asking, exact=exact)
