"""An index in a folder: exact search, or a graph over most rows and exact search over the latest."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import ConfigError, InputError
from .base import Change, Hits, Identity, IndexStats, Rows, Tuning
from .checks import Batch, check_k, check_queries, check_rows, check_view, ids_to_find
from .columns import Column, pick_columns, to_columns
from .conditions import Where
from .gathering import Places, Source, kept_beside, write_segment
from .manifest import Manifest, SegmentEntry
from .optimizing import Progress, advice_on, build, reason_to_optimize, taken_over
from .segment import write_tombstones
from .settings import INDEX_FILE, IndexDescription
from .snapshot import Snapshot
from .store import OWN_NAMES, SegmentStore

if TYPE_CHECKING:
    import pyarrow
    from numpy.typing import NDArray

_PATIENCE_S = 3600.0
"""Time that ``optimize`` waits for another writer at its end, so that nothing is built in vain."""


class LocalIndex:
    """A :class:`.base.VectorIndex` in a folder; made by :func:`.opening.create_index`.

    Reads take no lock and see one version, that of the last write or :meth:`refresh` of this object. One
    object may be used by several threads. Files of the last few versions stay (``keep_versions``), so that
    for some writes after :meth:`optimize` the vectors take twice their room on disk.

    Args:
        folder: of the index.
        version: to read; None takes the last one. An earlier one can only be read.
        read_only: refuse writes.
        wait_s: seconds to wait for another writer before giving up.

    Raises:
        ConfigError: no index, no such version, or a damaged file, which is named.

    Reference: the layout follows log-structured merge trees (O'Neil et al., Acta Informatica 33, 1996):
    small segments are merged when there are some alike.
    """

    def __init__(
        self, folder: str | Path, *, version: int | None = None, read_only: bool = False, wait_s: float = 0.0
    ) -> None:
        self.folder = Path(folder)
        self.description = IndexDescription.read(self.folder)
        self._identity = self.description.made_by
        self._store = SegmentStore(self.folder, keep=self.description.options.keep_versions)
        self._wait_s = wait_s
        self._read_only = "it was opened to be read only" if read_only else ""
        self._snapshot: Snapshot | None = Snapshot.open(self._store, self._identity.dim, version=version)
        self._is_past = version is not None and version != self._store.versions()[-1]
        if self._is_past:
            self._read_only = f"version {version} is not the last one"

    @classmethod
    def create(cls, folder: Path, description: IndexDescription, schema: pyarrow.Schema) -> LocalIndex:
        """Make an empty index in a folder that is empty or absent.

        Raises:
            ConfigError: the folder holds an index or anything else.
            InputError: a payload column of an unsupported type.
        """
        manifest = Manifest(version=0, columns=to_columns(schema))
        store = SegmentStore(folder, keep=description.options.keep_versions)
        folder.mkdir(parents=True, exist_ok=True)
        with store.writing():
            _refuse_used(folder)
            store.commit(manifest)
            description.write(folder)
            store.sync()
        return cls(folder)

    @property
    def _now(self) -> Snapshot:
        if self._snapshot is None:
            raise ConfigError(f"{self.folder}: this index was closed. Open it again.")
        return self._snapshot

    @property
    def identity(self) -> Identity:
        """What made the vectors."""
        return self._identity

    @property
    def views(self) -> tuple[str, ...]:
        """Names of the vectors a row may have."""
        return self.description.views

    @property
    def version(self) -> int:
        """Version that this object reads."""
        return self._now.manifest.version

    @property
    def schema(self) -> pyarrow.Schema:
        """Columns of the payload."""
        return self._now.schema

    def __len__(self) -> int:
        """Live rows."""
        return len(self._now)

    # Writing

    @contextlib.contextmanager
    def writing(self, wait_s: float | None = None) -> Iterator[None]:
        """Keep other writers out during several writes; each of them still is a version of its own.

        Raises:
            ConfigError: another process is writing, or this object can only read.
        """
        if self._read_only:
            raise ConfigError(f"{self.folder}: cannot be written, {self._read_only}.")
        with self._store.writing(self._wait_s if wait_s is None else wait_s):
            self.refresh()
            yield

    def upsert(self, rows: Rows) -> Change:
        """Add rows, replacing those whose id is there, as one version; see :class:`.base.VectorIndex`."""
        with self.writing():
            batch = check_rows(rows, dim=self._identity.dim, views=self.views, schema=self.schema)
            if not len(batch.ids):
                return Change(0, 0, 0, self.version)
            places = self._now.find(rows.ids)
            marked = self._marked(places)
            kept = self._kept(marked, len(batch.ids))
            merged = self._merge(batch, marked, kept)
            self._commit([*self._entries(marked[:kept]), merged])
            return Change(len(batch.ids) - len(places), len(places), 0, self.version)

    def delete(self, ids: Sequence[str]) -> Change:
        """Delete rows as one version; ids that are not there are no error."""
        wanted = ids_to_find(ids)
        with self.writing():
            places = self._now.find(wanted)
            if len(places):
                self._commit(self._entries(self._marked(places)))
            return Change(0, 0, len(places), self.version)

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
            self._commit(self._now.manifest.segments, columns=(*self._now.manifest.columns, *new))
            return self.version

    def optimize(self, progress: Progress | None = None) -> IndexStats:
        """Compact what is stored and build what makes search fast; the old version answers meanwhile.

        Others may write while it builds: what they write is kept, and searched exactly until the next time.
        A graph that is damaged or absent is built anew.

        Args:
            progress: called with what is done and the share of it that is.

        Raises:
            ConfigError: another process is optimizing, or this object can only read.
        """
        with self._store.optimizing(self._wait_s):
            with self.writing():
                begun = self._now
            if not self._built(begun, progress):
                # Writers merged the rows that the graphs were built over; now they have to wait.
                with self.writing(_PATIENCE_S):
                    self._built(self._now, progress)
            return self.stats()

    def _built(self, begun: Snapshot, progress: Progress | None) -> bool:
        """Build what a version lacks, make it the next version, and return whether it was of use."""
        built = build(begun, self.description, progress)
        with self.writing(_PATIENCE_S):
            manifest = taken_over(built, self._now)
            if manifest is not None:
                self._store.commit(manifest)
                self.refresh()
            return not built.graphs or self._now.manifest.graphs == built.graphs

    # How a version comes to be

    def _marked(self, places: Places) -> list[NDArray[np.bool_] | None]:
        """Return which rows of each segment are deleted once those at ``places`` are; None where none is."""
        marked = list(self._now.deleted)
        for number in np.unique(places.source):
            old = marked[number]
            new = np.zeros(self._now.segments[number].rows, bool) if old is None else old.copy()
            new[places.row[places.source == number]] = True
            marked[number] = new
        return marked

    def _entries(self, marked: Sequence[NDArray[np.bool_] | None]) -> list[SegmentEntry]:
        """Return the first segments with their rows marked; those of which no row is left go."""
        now, entries = self._now, []
        for number, deleted in enumerate(marked):
            entry = now.manifest.segments[number]
            if deleted is not None and deleted is not now.deleted[number]:
                if deleted.all():
                    continue
                name, file = write_tombstones(
                    self._store.path("segments", entry.name), self.version + 1, deleted
                )
                files = {key: value for key, value in entry.files.items() if key != entry.tombstones}
                changes = {"deleted": int(deleted.sum()), "tombstones": name, "files": {**files, name: file}}
                entry = entry.model_copy(update=changes)
            entries.append(entry)
        return entries

    def _merge(self, batch: Batch, marked: Sequence[NDArray[np.bool_] | None], kept: int) -> SegmentEntry:
        """Write the batch and the live rows of all segments but the first ``kept`` as one segment."""
        sources: list[Source] = [batch]
        rows = [np.arange(len(batch.ids))]
        for number in range(kept, len(marked)):
            deleted, segment = marked[number], self._now.segments[number]
            sources.append(segment)
            rows.append(np.arange(segment.rows) if deleted is None else np.flatnonzero(~deleted))
        folder = self._store.new("segments", self.version + 1)
        return write_segment(folder, Places.of(sources, rows), self.schema, self.views, self._identity.dim)

    def _kept(self, marked: Sequence[NDArray[np.bool_] | None], new: int) -> int:
        """Return how many of the segments stay as they are when ``new`` rows come."""
        manifest = self._now.manifest
        with_graph = {graph.segment for graph in manifest.graphs.values()}
        first = max((n + 1 for n, one in enumerate(manifest.segments) if one.name in with_graph), default=0)
        sizes = [
            entry.rows if deleted is None else int(np.count_nonzero(~deleted))
            for entry, deleted in zip(manifest.segments, marked, strict=True)
        ]
        return first + kept_beside(sizes[first:], new)

    def _commit(self, segments: Sequence[SegmentEntry], *, columns: Sequence[Column] | None = None) -> None:
        """Make the segments the next version, and read it from now on."""
        old, names = self._now.manifest, {entry.name for entry in segments}
        graphs = {view: graph for view, graph in old.graphs.items() if graph.segment in names}
        manifest = old.model_copy(
            update={
                "version": old.version + 1,
                "columns": tuple(columns or old.columns),
                "segments": tuple(segments),
                "graphs": graphs,
            }
        )
        self._store.commit(manifest)
        self.refresh()

    # Reading

    def refresh(self) -> bool:
        """Read the last version from now on and return whether it is another one.

        An object that was opened at an earlier version stays there.

        Raises:
            ConfigError: a file of it is damaged; this object goes on with the version it has.
        """
        last = self._store.versions()
        if self._is_past or (last and last[-1] == self.version):
            return False
        self._snapshot = Snapshot.open(self._store, self._identity.dim, before=self._now)
        return True

    def get(
        self, ids: Sequence[str], *, columns: Sequence[str] | None = None, views: Sequence[str] = ()
    ) -> Rows:
        """Return those of the rows that are there, in the order of ``ids``, each once."""
        now = self._now
        for view in views:
            check_view(view, self.views)
        places = now.find(ids_to_find(ids))
        return now.rows(places, columns, views)

    def scan(
        self,
        *,
        columns: Sequence[str] | None = None,
        views: Sequence[str] = (),
        where: Where | None = None,
        batch_size: int = 8192,
    ) -> Iterator[Rows]:
        """Yield all live rows of one version that fit, in the order of their ids."""
        now = self._now
        if batch_size < 1:
            raise InputError(f"batch_size must be at least 1, got {batch_size}.")
        for view in views:
            check_view(view, self.views)
        if where is not None:
            where.check(now.schema)
        pick_columns(now.schema, columns)
        return now.scan(columns, views, where, batch_size)

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

        Example:
            >>> index.search(query[None], 5, view="image", where=F("price") < 50)[0].ids  # doctest: +SKIP
            ('sku-17', 'sku-4')
        """
        now = self._now
        if made_by is not None:
            self._identity.check(made_by)
        check_view(view, self.views)
        if ef is not None and ef < 0:
            raise InputError(f"ef must be 0 (exact) or more, got {ef}.")
        if where is not None:
            where.check(now.schema)
        return now.search(
            check_queries(queries, self._identity.dim), check_k(k), view=view, where=where, ef=ef
        )

    def stats(self) -> IndexStats:
        """Return what the index holds."""
        now, manifest = self._now, self._now.manifest
        damaged = [view for view in manifest.graphs if now.lacks_graph(view)]
        graphs = {view: graph for view, graph in manifest.graphs.items() if view not in damaged}
        covered = {entry.name: entry for entry in manifest.segments}
        reason = reason_to_optimize(manifest, self.description.kind)
        if damaged:
            reason = f"the graph of {damaged[0]!r} is damaged or absent"
        return IndexStats(
            kind={view: "hnsw" if view in graphs else "flat" for view in self.views},
            rows=manifest.rows,
            deleted=sum(entry.deleted for entry in manifest.segments),
            version=manifest.version,
            indexed={
                view: covered[graphs[view].segment].vectors[view] if view in graphs else 0
                for view in self.views
            },
            bytes=self._store.bytes_on_disk(),
            tuning={
                view: Tuning(**one.tuning.model_dump())
                for view, one in manifest.measured.items()
                if one.tuning is not None
            },
            needs_optimize=reason,
            advice=advice_on(manifest, self._identity.dim),
        )

    def files(self) -> dict[str, int]:
        """Return {path below the folder: bytes} of the files that this version is made of."""
        return {
            f"{folder}/{name}": file.bytes
            for folder, files in self._now.manifest.folders().items()
            for name, file in files.items()
        }

    def verify(self, progress: Progress | None = None) -> None:
        """Read every file of this version and compare its hash.

        Opening compares sizes only, because hashes take about as long as reading everything.

        Raises:
            ConfigError: a file is absent, cut or changed; the message names it.
        """
        self._store.verify(self._now.manifest, progress)

    def versions(self) -> list[int]:
        """Return the versions that can be opened, oldest first."""
        return self._store.versions()

    def close(self) -> None:
        """Let go of files; the object is not used afterwards."""
        self._snapshot = None


def _refuse_used(folder: Path) -> None:
    """Raise ``ConfigError`` where a folder is an index, or holds what no index does."""
    if (folder / INDEX_FILE).exists():
        raise ConfigError(f"{folder}: there is an index here already. Open it, or name another folder.")
    other = sorted({path.name for path in folder.iterdir()} - OWN_NAMES)
    if other:
        raise ConfigError(f"{folder}: the folder is not empty ({other[0]!r}). Name a new one.")
