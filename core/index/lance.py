"""An index in a LanceDB table: everything stays on disk, other tools can read it, filters are SQL.

Right where vectors do not fit into memory, or where the table is shared with other software: a query costs
milliseconds of planning where :class:`.local.LocalIndex` costs a fraction of one. Below the index lies::

    index.json       what never changes
    table/rows.lance the table: ``@id``, the payload as it is, ``@<view>`` (null where a row has no vector)
    tuned.json       how broadly each view is searched, measured by ``optimize``

A write is one commit of the table, so a writer that is killed leaves the version before it.

Reference: https://lancedb.github.io/lancedb (0.40 tested).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ConfigError, InputError, require
from .base import Change, Hits, Identity, IndexStats, Rows
from .checks import Batch, check_k, check_queries, check_rows, check_view, ids_to_find
from .columns import pick_columns, to_columns
from .conditions import Where
from .filter_sql import quote_name
from .graph import EXACT_ROWS, EXACT_SHARE
from .lance_errors import telling, told
from .lance_table import ID, column_of, indexed_rows, nearest_rows, vectors_of
from .lance_tuning import LanceTuning, tuned_table
from .lock import HOLDER_FILE, LOCK_FILE, WriterLock
from .settings import INDEX_FILE, IndexDescription

if TYPE_CHECKING:
    import pyarrow
    from numpy.typing import NDArray

TABLE, TABLE_FOLDER = "rows", "table"
_IDS_AT_ONCE, _DELETED_SHARE, _PIECES = 5000, 0.2, 64
_NAMELESS = ".`"
"""Characters that LanceDB takes in no column name."""


class LanceIndex:
    """A :class:`.base.VectorIndex` in a LanceDB table; made by :func:`.opening.create_index`.

    Threads may share one object: a read sees one version, writes take turns. A reader keeps its version for
    at least an hour after later ones were written; ``optimize`` removes versions older than that but for the
    last few, and keeps other writers out until it is done.

    Args:
        folder: of the index.
        version: to read; None takes the last one. An earlier one can only be read.
        read_only: refuse writes.
        wait_s: seconds to wait for another writer before giving up.

    Raises:
        ConfigError: no index, no such version, or a table that cannot be read.
        DependencyError: lancedb is not installed.
    """

    def __init__(
        self, folder: str | Path, *, version: int | None = None, read_only: bool = False, wait_s: float = 0.0
    ) -> None:
        self.folder = Path(folder)
        self.description = IndexDescription.read(self.folder)
        self._lock, self._wait_s = WriterLock(self.folder), wait_s
        self._read_only = "it was opened to be read only" if read_only else ""
        # What is read stays at its version; what is written is another handle, at the last one.
        self._open: Any = None
        self._latest: Any = None
        with told(self.folder):
            last = self._pin(None if version is None else version + 1)
            self._is_past = version is not None and version != last - 1
            if self._is_past:
                self._read_only = f"version {version} is not the last one"

    @classmethod
    def create(cls, folder: Path, description: IndexDescription, schema: pyarrow.Schema) -> LanceIndex:
        """Make an empty index in a folder that is empty or absent.

        Raises:
            ConfigError: the folder holds an index or anything else.
            InputError: a payload column of an unsupported type or name.
            DependencyError: lancedb is not installed.
        """
        import pyarrow

        lancedb = require("lancedb", extra="lancedb")
        for name in (column.name for column in to_columns(schema)):
            if any(sign in name for sign in _NAMELESS):
                raise InputError(
                    f"LanceDB takes no column name with a dot or a backtick: {name!r}. Rename it."
                )
        vector = pyarrow.list_(pyarrow.float32(), description.identity.dim)
        fields = [
            pyarrow.field(ID, pyarrow.string(), nullable=False),
            *schema,
            *(pyarrow.field(column_of(view), vector) for view in description.views),
        ]
        folder.mkdir(parents=True, exist_ok=True)
        with WriterLock(folder).held():
            if (folder / INDEX_FILE).exists():
                raise ConfigError(
                    f"{folder}: there is an index here already. Open it, or name another folder."
                )
            other = sorted({path.name for path in folder.iterdir()} - {LOCK_FILE, HOLDER_FILE, TABLE_FOLDER})
            if other:
                raise ConfigError(f"{folder}: the folder is not empty ({other[0]!r}). Name a new one.")
            base = lancedb.connect(str((folder / TABLE_FOLDER).resolve()))
            if (folder / TABLE_FOLDER / f"{TABLE}.lance").exists():
                # A table without the description beside it is what a killed call left.
                base.drop_table(TABLE)
            base.create_table(TABLE, schema=pyarrow.schema(fields))
            description.write(folder)
        return cls(folder)

    # What it is

    @property
    def _now(self) -> Any:
        if self._open is None:
            raise ConfigError(f"{self.folder}: this index was closed. Open it again.")
        return self._open

    @property
    def identity(self) -> Identity:
        """What made the vectors."""
        return self.description.made_by

    @property
    def views(self) -> tuple[str, ...]:
        """Names of the vectors a row may have."""
        return self.description.views

    @property
    def version(self) -> int:
        """Version that this object reads: 0 when made, then one per commit of the table."""
        return int(self._now.version) - 1

    @property
    def schema(self) -> pyarrow.Schema:
        """Columns of the payload."""
        import pyarrow

        own = {ID, *(column_of(view) for view in self.views)}
        return pyarrow.schema([field for field in self._now.schema if field.name not in own])

    @telling
    def __len__(self) -> int:
        """Live rows."""
        return int(self._now.count_rows())

    @telling
    def versions(self) -> list[int]:
        """Return the versions that can be opened, oldest first."""
        return _versions(self._now)

    def close(self) -> None:
        """Let go of files; the object is not used afterwards."""
        self._open = None

    # Writing

    @contextlib.contextmanager
    def writing(self, wait_s: float | None = None) -> Iterator[None]:
        """Keep other writers out during several writes; each of them still is a version of its own.

        Raises:
            ConfigError: another process is writing, or this object can only read.
        """
        if self._read_only:
            raise ConfigError(f"{self.folder}: cannot be written, {self._read_only}.")
        with self._lock.held(self._wait_s if wait_s is None else wait_s) as outermost:
            if outermost and self._now is not None:
                self._latest = _open_table(self.folder)
                self._pin(None)
            try:
                yield
            finally:
                self._pin(None)
                if outermost:
                    self._latest = None

    @telling
    def refresh(self) -> bool:
        """Read the last version from now on and return whether it is another one.

        An object that was opened at an earlier version stays there.
        """
        before = self.version
        if not self._is_past:
            self._pin(None)
        return self.version != before

    @telling
    def upsert(self, rows: Rows) -> Change:
        """Add rows, replacing those whose id is there, as one version; see :class:`.base.VectorIndex`."""
        batch = check_rows(rows, dim=self.identity.dim, views=self.views, schema=self.schema)
        with self.writing():
            if not len(batch.ids):
                return Change(0, 0, 0, self.version)
            merge = self._latest.merge_insert(ID).when_matched_update_all().when_not_matched_insert_all()
            # Only our own nulls are there: vectors were checked before.
            result = merge.execute(self._table_of(batch), on_bad_vectors="null")
            return Change(result.num_inserted_rows, result.num_updated_rows, 0, self._latest.version - 1)

    def _table_of(self, batch: Batch) -> pyarrow.Table:
        """Return checked rows as the table holds them."""
        import pyarrow

        columns = {ID: batch.ids, **{name: batch.payload[name] for name in batch.payload.column_names}}
        for view in self.views:
            has = batch.has[view]
            values = np.where(has[:, None], batch.vectors[view], np.float32(0)).ravel()
            columns[column_of(view)] = pyarrow.FixedSizeListArray.from_arrays(
                pyarrow.array(values), self.identity.dim, mask=pyarrow.array(~has)
            )
        schema = self._latest.schema
        return pyarrow.Table.from_arrays([columns[name] for name in schema.names], schema=schema)

    @telling
    def delete(self, ids: Sequence[str]) -> Change:
        """Delete rows as one version; ids that are not there are no error."""
        wanted = ids_to_find(ids)
        with self.writing():
            condition, deleted = _is_one_of(wanted), 0
            # The table would count a delete of nothing as a version.
            if wanted and self._latest.count_rows(condition):
                deleted = self._latest.delete(condition).num_deleted_rows
            return Change(0, 0, deleted, self._latest.version - 1)

    @telling
    def add_columns(self, schema: pyarrow.Schema) -> int:
        """Add payload columns, without values in the rows that are there, and return the version.

        Raises:
            InputError: a column that is there already, or of an unsupported type.
        """
        new = to_columns(schema)
        with self.writing():
            for column in new:
                if column.name in self.schema.names:
                    raise InputError(f"The index has a payload column {column.name!r} already.")
            self._latest.add_columns(schema)
            return self._latest.version - 1

    @telling
    def optimize(self, progress: Callable[[str, float], None] | None = None) -> IndexStats:
        """Compact the table, index its vectors where that is faster, and remove old versions.

        Args:
            progress: called with what is done and the share of it that is.
        """
        with self.writing():
            tuned_table(self.folder, self._latest, self.description, progress)
        return self.stats()

    # Reading

    def _pin(self, version: int | None) -> int:
        """Read a version of the table from now on, None the last one; return the last one.

        Reads that go on keep the handle that they began with.
        """
        table = _open_table(self.folder)
        last = int(table.version)
        try:
            table.checkout(last if version is None else version)
        except (ValueError, RuntimeError):
            known = ", ".join(str(one) for one in _versions(table))
            raise ConfigError(
                f"{self.folder}: version {int(version or 0) - 1} is not kept; versions: {known}."
            ) from None
        self._tuning = LanceTuning.read(self.folder).until(int(table.version))
        self._open = table
        return last

    @telling
    def get(
        self, ids: Sequence[str], *, columns: Sequence[str] | None = None, views: Sequence[str] = ()
    ) -> Rows:
        """Return those of the rows that are there, in the order of ``ids``, each once."""
        import pyarrow

        wanted, now = ids_to_find(ids), self._now
        names = self._names(columns, views)
        parts = [
            now.search().where(_is_one_of(wanted[start : start + _IDS_AT_ONCE])).select(names).to_arrow()
            for start in range(0, len(wanted), _IDS_AT_ONCE)
        ]
        table = pyarrow.concat_tables(parts) if parts else now.schema.empty_table().select(names)
        place = {one: number for number, one in enumerate(table[ID].to_pylist())}
        order = [place[one] for one in wanted if one in place]
        return self._rows(table.take(pyarrow.array(order, pyarrow.int64())), views)

    def scan(
        self,
        *,
        columns: Sequence[str] | None = None,
        views: Sequence[str] = (),
        where: Where | None = None,
        batch_size: int = 8192,
    ) -> Iterator[Rows]:
        """Yield all live rows of one version that fit, in the order in which they were written."""
        import pyarrow

        if batch_size < 1:
            raise InputError(f"batch_size must be at least 1, got {batch_size}.")
        names = self._names(columns, views)
        query = self._now.search().select(names)
        if where is not None:
            query = query.where(where.sql(self.schema))
        with told(self.folder):
            for batch in query.to_batches(batch_size):
                for start in range(0, len(batch), batch_size):
                    yield self._rows(pyarrow.Table.from_batches([batch.slice(start, batch_size)]), views)

    def _names(self, columns: Sequence[str] | None, views: Sequence[str]) -> list[str]:
        """Return the columns of the table to read, or refuse what it does not have."""
        for view in views:
            check_view(view, self.views)
        return [ID, *pick_columns(self.schema, columns).names, *(column_of(view) for view in views)]

    def _rows(self, table: pyarrow.Table, views: Sequence[str]) -> Rows:
        payload = table.drop_columns([ID, *(column_of(view) for view in views)])
        vectors, present = {}, {}
        for view in views:
            vectors[view], present[view] = vectors_of(table[column_of(view)], self.identity.dim)
        return Rows(tuple(table[ID].to_pylist()), payload, vectors, present)

    @telling
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
        """Return the k nearest rows of each query, best first; see :class:`.base.VectorIndex`.

        A filter that leaves few rows is answered exactly.
        """
        if made_by is not None:
            self.identity.check(made_by)
        check_view(view, self.views)
        if ef is not None and ef < 0:
            raise InputError(f"ef must be 0 (exact) or more, got {ef}.")
        condition = None if where is None else where.sql(self.schema)
        queries, k = check_queries(queries, self.identity.dim), check_k(k)
        breadth = self._tuning.ef(view) if ef is None else ef
        table = self._now
        rows = int(table.count_rows())
        if condition is not None and breadth:
            few = table.count_rows(condition) < max(EXACT_ROWS, EXACT_SHARE * rows)
            breadth = 0 if few else breadth
        return [nearest_rows(table, query, min(k, rows), view, breadth, condition) for query in queries]

    @telling
    def stats(self) -> IndexStats:
        """Return what the index holds."""
        table = self._now
        last = max(table.list_versions(), key=lambda one: one["version"] == table.version)["metadata"]
        indexed = {view: indexed_rows(table, view) for view in self.views}
        used = {view: "hnsw" if self._tuning.ef(view) and indexed[view][0] else "flat" for view in self.views}
        late = {view: after for view, (_, after) in indexed.items()}
        rows, deleted = len(self), int(last["total_deletion_file_rows"])
        return IndexStats(
            kind=used,
            rows=rows,
            deleted=deleted,
            version=self.version,
            indexed={view: covered for view, (covered, _) in indexed.items()},
            bytes=sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file()),
            tuning={view: one.tuning for view, one in self._tuning.views.items() if one.tuning is not None},
            needs_optimize=self._reason(rows, deleted, late, int(last["total_fragments"])),
        )

    def _reason(self, rows: int, deleted: int, late: dict[str, int], pieces: int) -> str:
        if deleted > _DELETED_SHARE * (rows + deleted):
            return f"{deleted:,} of {rows + deleted:,} stored rows are deleted"
        if pieces > _PIECES:
            return f"the rows lie in {pieces} pieces"
        for view in self.views:
            reason = self._tuning.reason(view, rows, late[view])
            if reason:
                return reason
        return ""


def _versions(table: Any) -> list[int]:
    return sorted(int(one["version"]) - 1 for one in table.list_versions())


def _open_table(folder: Path) -> Any:
    lancedb = require("lancedb", extra="lancedb")
    try:
        with told(folder):
            return lancedb.connect(str((folder / TABLE_FOLDER).resolve())).open_table(TABLE)
    except ConfigError as error:
        raise ConfigError(
            f"{folder}: the table of the index cannot be opened. Restore it from a copy or build it anew."
        ) from error


def _is_one_of(ids: Sequence[str]) -> str:
    quoted = ", ".join("'" + one.replace("'", "''") + "'" for one in ids)
    return f"{quote_name(ID)} IN ({quoted})"
