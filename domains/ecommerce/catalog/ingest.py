"""Taking products in: changed ones are read and encoded, the others cost a look-up.

Rows are read by one thread and pictures by others while the model works; every ``commit_rows`` products
become one version of the index. A run that is killed leaves whole versions, and the next run over the same
source passes by what they hold: nothing is done twice and nothing is left out.
"""

from __future__ import annotations

import itertools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ....core.answer_each import blames_input, read_ahead, reason_of
from ....core.errors import ConfigError, InputError
from ....core.index.base import Rows
from ..products.record import Product, Reject
from .background import in_background
from .config import VIEWS
from .encode import NOT_FETCHED, UNREADABLE, Known, Ready, Task, further_state_of, state_of
from .payload import row_hash, table_of
from .report import Counts, IngestOptions
from .writing import check_lost

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from ....core.index.base import VectorIndex
    from .encode import ProductEncoding, Reader
    from .further import FurtherPicture, FurtherPictures
    from .rejects import RejectLog

_GROUP = 256
"""Products that are looked up in the index at a time."""
_AHEAD = 3
"""Batches that are read ahead of the one that is encoded."""
_FETCHING = 16
"""Threads, at least, where most of the time is spent waiting for other machines."""
_CHUNK = 32
"""Products that are handed on together once they were looked up."""
_KNOWN = ("row_hash", "image_sha256", "image_state", "further_state", "text", "duplicate_of")


@dataclass(frozen=True, eq=False)
class _Row:
    """A row to be written; ``vectors`` {view: [D], or None where it has none}; None keeps the stored ones."""

    id: str
    cells: dict[str, Any]
    vectors: dict[str, NDArray[np.float32] | None] | None


@dataclass(eq=False)
class Ingest:
    """One run over products, writing to an index.

    Attributes:
        index: to write to; nobody else writes meanwhile.
        fetches: whether addresses are fetched.
        progress: called after each version with (rows read, products written).
        skipped: rows that were read before and need nothing.
    """

    index: VectorIndex
    encoder: ProductEncoding
    reader: Reader
    further: FurtherPictures
    rejects: RejectLog
    options: IngestOptions
    fetches: bool = False
    progress: Callable[[int, int], None] | None = None
    skipped: int = 0
    counts: Counts = field(default_factory=Counts)
    _seen: set[str] = field(default_factory=set)
    _gone: deque[str] = field(default_factory=deque)
    _batch: list[Ready] = field(default_factory=list)
    _rows: list[_Row] = field(default_factory=list)
    _pictures: list[tuple[Product, FurtherPicture, Tensor]] = field(default_factory=list)
    _planned_rows: int = 0
    _live: int = 0
    _passed: int = 0
    _rejected: int = 0
    _encoded_pictures: dict[str, list[tuple[FurtherPicture, NDArray[np.float32]]]] = field(
        default_factory=dict
    )

    def run(self, products: Iterable[Product]) -> Counts:
        """Take in all products and return what was done.

        Raises:
            ConfigError: another process writes to the index, or ``sync`` would delete too much; all else is
                written then.
        """
        before = len(self.index)
        workers = self.options.workers or max(os.cpu_count() or 1, _FETCHING if self.fetches else 1)
        pool = ThreadPoolExecutor(workers, thread_name_prefix="verticlip-read")
        try:
            with in_background(self._tasks(products), chunk=_CHUNK, ahead=_AHEAD) as tasks:
                self._take_all(tasks, pool)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
        self._encode()
        self._commit()
        if self.options.sync:
            self._delete_lost(before)
        self.counts.read = self._rows_read
        self.counts.unchanged += self._passed
        return self.counts

    @property
    def _rows_read(self) -> int:
        """Rows of the source so far: those that became products, and those that did not."""
        return self.skipped + self._planned_rows + len(self.rejects) - self._rejected

    def _take_all(self, tasks: Iterable[Task], pool: ThreadPoolExecutor) -> None:
        ahead = _AHEAD * self.options.batch_size
        for task, _, future in read_ahead(pool, self.reader.read, tasks, ahead, lambda _: False):
            try:
                ready = future.result()
            except Exception as error:  # the edge of the batch: one bad row must not stop the others
                if not blames_input(error):
                    raise
                self._reject(task.product, error)
            else:
                self._take(ready)

    # These two run in a thread of their own; what they write to is theirs, or made for several.

    def _tasks(self, products: Iterable[Product]) -> Iterator[Task]:
        """Yield the products that may have changed."""
        source = iter(products)
        while group := list(itertools.islice(source, _GROUP)):
            known = known_rows(self.index, [one.id for one in group])
            for product in group:
                if self.options.sync:
                    self._seen.add(product.id)
                task = self._planned(product, known.get(product.id))
                if task is not None:
                    yield task

    def _planned(self, product: Product, known: Known | None) -> Task | None:
        """Return what is to be done about a product, or None for nothing."""
        self._planned_rows += 1
        if product.deleted:
            if known is not None:
                self._gone.append(product.id)
            return None
        self._live += 1
        state = state_of(product.image, known, fetches=self.fetches)
        own = row_hash(product, self.reader.attributes)
        images = product.images[: self.options.pictures - 1]
        task = Task(product, known, state, further_state_of(images, known, fetches=self.fetches), own)
        looks_same = known is not None and known.row_hash == own and known.image_state == state
        if (
            looks_same
            and task.keeps_further
            and state != UNREADABLE
            and not (self.options.check_files and state.startswith("file"))
        ):
            self._passed += 1
            return None
        if self.options.check_files and known is not None:
            return replace(task, known=replace(known, image_state=None))
        return task

    def _take(self, ready: Ready) -> None:
        """Queue a product: to be encoded, or to be written as it is."""
        task, known = ready.task, ready.task.known
        self._take_further(ready)
        if not ready.is_same:
            self._batch.append(ready)
            if len(self._batch) == self.options.batch_size:
                self._encode()
        elif known is not None and known.row_hash == task.hash and self._keeps_pictures(ready):
            self.counts.unchanged += 1
        else:
            self._add(ready, None)
        if len(self._rows) >= self.options.commit_rows:
            self._commit()

    def _take_further(self, ready: Ready) -> None:
        """Queue the further pictures of a product, where they are not those of the catalogue."""
        product = ready.task.product
        for trouble in ready.troubles:
            self._note(product, trouble)
        if ready.further is not None:
            self._encoded_pictures[product.id] = []
            self._pictures += [(product, one, tensor) for one, tensor in ready.further]
            while len(self._pictures) >= self.options.batch_size:
                self._encode_further()

    def _encode_further(self) -> None:
        size = self.options.batch_size
        batch, self._pictures = self._pictures[:size], self._pictures[size:]
        self._encoded_further(batch)

    def _encoded_further(self, batch: Sequence[tuple[Product, FurtherPicture, Tensor]]) -> None:
        tensors = [tensor for _, _, tensor in batch]
        try:
            found = self.encoder.encode(tensors, [None] * len(tensors), batch_size=len(tensors)).image
        except InputError as error:
            if len(batch) == 1:
                self._note(batch[0][0], f"taken in without picture {batch[0][1].number + 1}: {error}")
                return
            for one in batch:
                self._encoded_further([one])
            return
        for (product, one, _), vector in zip(batch, np.asarray(found, np.float32), strict=True):
            self._encoded_pictures[product.id].append((one, vector))
        self.counts.further += len(batch)

    def _note(self, product: Product, trouble: str) -> None:
        self.counts.further_failed += 1
        self.rejects.note(Reject(product.row, product.id, trouble))

    def _keeps_pictures(self, ready: Ready) -> bool:
        known = ready.task.known
        if ready.further is not None:
            return False
        return known is not None and (self.options.check_files or known.image_state == ready.picture.state)

    def _add(self, ready: Ready, vectors: dict[str, NDArray[np.float32] | None] | None) -> None:
        """Queue a row for the next version."""
        self._rows.append(_Row(ready.task.product.id, ready.cells, vectors))
        self.counts.truncated += bool(ready.truncated)
        self.counts.without_picture += bool(ready.picture.note)
        self.counts.not_fetched += ready.picture.state == NOT_FETCHED

    def _encode(self) -> None:
        """Encode what is waiting."""
        batch, self._batch = self._batch, []
        if batch:
            self._encoded(batch)

    def _encoded(self, batch: Sequence[Ready]) -> None:
        try:
            found = self.encoder.encode(
                [one.picture.tensor for one in batch],
                [one.text for one in batch],
                categories=[one.task.product.category for one in batch],
                batch_size=self.options.batch_size,
            )
        except InputError as error:
            if len(batch) == 1:
                self._reject(batch[0].task.product, error)
                return
            for one in batch:
                self._encoded([one])
            return
        vectors = {view: np.asarray(getattr(found, view), np.float32) for view in VIEWS}
        sides = {"image": found.has_image.tolist(), "text": found.has_text.tolist()}
        for place, ready in enumerate(batch):
            has = {view: there[place] for view, there in sides.items()} | {"product": True}
            self._add(ready, {view: vectors[view][place] if has[view] else None for view in VIEWS})

    def _commit(self) -> None:
        """Write what is queued as one version, and deletions as another."""
        rows, self._rows = self._rows, []
        gone = [self._gone.popleft() for _ in range(len(self._gone))]
        while self._pictures:
            self._encode_further()
        if self._encoded_pictures:
            self.further.write(self._encoded_pictures)
            self._encoded_pictures = {}
        if rows:
            reused = sum(row.vectors is None for row in rows)
            change = self.index.upsert(self._joined(rows))
            self.counts.added += change.added
            self.counts.payload_only += reused
            self.counts.updated += change.replaced - reused
        if gone:
            self.counts.deleted += self.index.delete(gone).deleted
            self.further.delete(gone)
        if self.progress is not None and (rows or gone):
            written = self.counts.added + self.counts.updated + self.counts.payload_only
            self.progress(self._rows_read, written)

    def _joined(self, rows: Sequence[_Row]) -> Rows:
        """Return queued rows as the index takes them; those without vectors get the stored ones."""
        vectors = {view: np.zeros((len(rows), self.encoder.dim), np.float32) for view in VIEWS}
        present = {view: np.zeros(len(rows), bool) for view in VIEWS}
        for place, row in enumerate(rows):
            for view, vector in (row.vectors or {}).items():
                if vector is not None:
                    vectors[view][place], present[view][place] = vector, True
        kept = {row.id: place for place, row in enumerate(rows) if row.vectors is None}
        if kept:
            stored = self.index.get(list(kept), columns=[], views=VIEWS)
            places = [kept[name] for name in stored.ids]
            for view in VIEWS:
                vectors[view][places] = stored.vectors[view]
                present[view][places] = stored.present.get(view, True)
        table = table_of([row.cells for row in rows], self.index.schema)
        return Rows(tuple(row.id for row in rows), table, vectors, present)

    def _delete_lost(self, before: int) -> None:
        """Delete products that the source no longer has, of those that were there ``before``."""
        if self.rejects.nameless:
            self.counts.kept = (
                f"{self.rejects.nameless:,} rejected rows have no id that could be read, and a product may "
                "be one of them. Mend the rows, or delete by id."
            )
            return
        seen = self._seen | self.rejects.ids
        lost = [name for rows in self.index.scan(columns=[]) for name in rows.ids if name not in seen]
        if lost and not self._live:
            raise ConfigError(
                f"The source has no product; sync would take out all {len(lost):,} of the catalogue that it "
                "lacks, and took out none. To empty a catalogue, delete its products."
            )
        check_lost(len(lost), before, self.options.max_delete_share, what="sync")
        self._gone += lost
        self._commit()

    def _reject(self, product: Product, error: Exception) -> None:
        self._rejected += 1
        self.rejects.add(Reject(product.row, product.id, reason_of(error)))


def known_rows(index: VectorIndex, ids: Sequence[str]) -> dict[str, Known]:
    """Return {id: what the index holds} of those that are there."""
    rows = index.get(ids, columns=_KNOWN)
    columns = [rows.payload.column(name).to_pylist() for name in _KNOWN]
    return {name: Known(*cells) for name, cells in zip(rows.ids, zip(*columns, strict=True), strict=True)}
