"""Embedding many inputs into one Parquet file: the parts of a resumable run and how each comes to be.

See ``parts_run.py`` for the files. Which inputs share a batch depends on the list alone, so that a run that
was killed and started again ends in the same bytes as one that was not.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, TypeVar, overload

import numpy as np

from .answer_each import blames_input, read_ahead, reason_of
from .errors import ConfigError, InputError
from .files import atomic_path
from .parts_run import LeftOut, PartsRun, failed_input

if TYPE_CHECKING:
    import pyarrow
    from numpy.typing import NDArray
    from torch import Tensor

__all__ = ["METADATA_KEY", "EmbedReport", "EmbedRun", "Encoder", "Inputs", "Layout", "LeftOut"]

METADATA_KEY = b"verticlip"
"""Key of the file metadata that says what made a file."""

Item = TypeVar("Item", covariant=True)
R = TypeVar("R")


@dataclass(frozen=True)
class Encoder(Generic[R]):
    """The two halves of embedding one input, and what makes them this model and no other.

    Attributes:
        read: input -> prepared item; runs in threads, ahead of ``encode``.
        encode: prepared items (B of them) -> float32 [B, D].
        dim: D.
        identity: model, revision, processor, dtype ...; equal identity means equal vectors.
        alone: whether an input is too large, once read, to be held beside others; see
            :func:`.answer_each.answer_each`.
        note: what of a prepared item its row keeps beside the vector; None keeps nothing.
    """

    read: Callable[[Any], R]
    encode: Callable[[list[R]], Tensor]
    dim: int
    identity: Mapping[str, str]
    alone: Callable[[Any], bool] = lambda _: False
    note: Callable[[R], Any] | None = None


class Inputs(Protocol[Item]):
    """N (id, input) pairs in an order that never changes; a list, or columns that make them on demand."""

    def __len__(self) -> int: ...

    @overload
    def __getitem__(self, index: int, /) -> tuple[str, Item]: ...
    @overload
    def __getitem__(self, index: slice, /) -> Sequence[tuple[str, Item]]: ...


class Layout(Protocol):
    """How rows become a Parquet table."""

    @property
    def compression(self) -> Literal["snappy", "zstd"]:
        """Codec of the Parquet writer."""
        ...

    @property
    def row_group(self) -> int:
        """Rows that a row group of the result holds at least; parts are joined up to it."""
        ...

    def schema(self) -> pyarrow.Schema:
        """Return the columns, without metadata."""
        ...

    def arrays(
        self, positions: Sequence[int], vectors: NDArray[np.float32], notes: Sequence[Any]
    ) -> list[pyarrow.Array]:
        """Return the columns of the inputs at ``positions``, with vectors [n, D] and what was noted."""
        ...

    def metadata(self, identity: Mapping[str, str], parts: Sequence[Path]) -> dict[bytes, bytes]:
        """Return the metadata of the result; :data:`METADATA_KEY` is JSON: identity, or has it as ``run``."""
        ...


@dataclass(frozen=True)
class EmbedReport:
    """What a run did.

    Attributes:
        out: the Parquet file. embedded, failed: inputs with and without a vector.
        failures: JSON lines with id and reason, or None when nothing failed or was left out.
        resumed: parts that an earlier, interrupted run had finished.
        skipped: inputs that a rule left out; they are no failures. They stand in ``failures`` as well,
            marked ``"skipped": true``.
    """

    out: Path
    embedded: int
    failed: int
    failures: Path | None
    resumed: int
    skipped: int = 0


class EmbedRun(PartsRun):
    """The parts of one run and the table they are joined to.

    Args:
        encoder: reads and encodes.
        items: N inputs; ids differ.
        out: file to write.
        layout: columns and metadata of it.
        inputs: {name: fingerprint} of the list of inputs; part of what a run may be continued with.
        batch_size, part_size: inputs per call of the model, and per part.

    Raises:
        ConfigError: a size below 1.
    """

    def __init__(
        self,
        encoder: Encoder[Any],
        items: Inputs[Any],
        out: Path,
        *,
        layout: Layout,
        inputs: Mapping[str, str],
        batch_size: int,
        part_size: int,
    ) -> None:
        if batch_size < 1 or part_size < 1:
            raise ConfigError(f"batch_size and part_size are at least 1; got {batch_size} and {part_size}.")
        settings = {"batch_size": str(batch_size), "part_size": str(part_size)}
        super().__init__(
            out,
            count=len(items),
            part_size=part_size,
            identity={**encoder.identity, **settings, **inputs},
            suffix=".parquet",
        )
        self.encoder, self.items, self.layout, self.batch_size = encoder, items, layout, batch_size
        self._pool: ThreadPoolExecutor | None = None

    def complete(
        self, workers: int | None = None, progress: Callable[[int, int], None] | None = None
    ) -> EmbedReport:
        """Do what is missing and return what was done; a finished run is only reported.

        Raises:
            ConfigError: ``out`` or its parts belong to another model, setting or list.
        """
        with ThreadPoolExecutor(
            workers or os.cpu_count() or 1, thread_name_prefix="verticlip-read"
        ) as self._pool:
            return self.report(resumed=self.finish(progress))

    def stored(self) -> Mapping[str, str]:
        """Return what the existing ``out`` belongs to; empty where it is no result of such a run."""
        import pyarrow
        from pyarrow import parquet

        try:
            stored = json.loads((parquet.read_schema(self.out).metadata or {}).get(METADATA_KEY, b"{}"))
        except (pyarrow.ArrowInvalid, OSError, ValueError):
            return {}
        return stored.get("run", stored)

    def write_part(self, index: int) -> None:
        """Embed one part. Its Parquet file is renamed into place last and marks the part as done."""
        if self._pool is None:
            raise RuntimeError("Parts are written by complete(), which starts the threads that read.")
        rows = _Rows(self.encoder)
        start = index * self.part_size
        chunk = self.items[start : start + self.part_size]
        inputs = [one for _, one in chunk]
        read = read_ahead(self._pool, self.encoder.read, inputs, 4 * self.batch_size, self.encoder.alone)
        for offset, ((identifier, _), (_, is_large, pending)) in enumerate(zip(chunk, read, strict=True)):
            if is_large:
                rows.flush()
            try:
                _check_id(identifier)
                rows.add(start + offset, identifier, pending.result())
            except Exception as error:  # the edge of the batch: one bad input must not stop the others
                if not blames_input(error):
                    raise
                rows.fail(identifier, reason_of(error), skipped=isinstance(error, LeftOut))
            if is_large or rows.waiting == self.batch_size:
                rows.flush()
        rows.flush()
        self.write_failures(index, rows.failures)
        self._write_table(self.part(index), rows)

    def _write_table(self, path: Path, rows: _Rows) -> None:
        import pyarrow
        from pyarrow import parquet

        shape = (len(rows.vectors), self.encoder.dim)
        vectors = np.concatenate(rows.vectors).reshape(shape) if rows.vectors else np.empty(shape, np.float32)
        arrays = self.layout.arrays(rows.positions, vectors, rows.notes)
        table = pyarrow.Table.from_arrays(arrays, schema=self.layout.schema())
        with atomic_path(path) as temporary:
            parquet.write_table(table, temporary, compression=self.layout.compression)

    def merge(self) -> None:
        """Join the parts in order, a row group in memory at a time."""
        from pyarrow import parquet

        # Written inside the parts folder: what a kill leaves behind goes when the folder goes.
        merged = self.folder / "merged.parquet"
        parts = [self.part(index) for index in range(self.parts)]
        schema = self.layout.schema().with_metadata(self.layout.metadata(self.identity, parts))
        codec = self.layout.compression
        with (
            atomic_path(merged) as temporary,
            parquet.ParquetWriter(temporary, schema, compression=codec) as writer,
        ):
            for table in _row_groups(parts, self.layout.row_group):
                writer.write_table(table, row_group_size=max(1, len(table)))
        self.join_failures()
        os.replace(merged, self.out)

    def report(self, *, resumed: int) -> EmbedReport:
        """Return what the finished file and the list of failures say."""
        from pyarrow import parquet

        embedded = parquet.read_metadata(self.out).num_rows
        skipped = 0
        if embedded < len(self.items) and self.failures.is_file():
            with self.failures.open(encoding="utf-8") as lines:
                skipped = sum(bool(json.loads(line).get("skipped")) for line in lines)
        failed = len(self.items) - embedded - skipped
        return EmbedReport(
            self.out, embedded, failed, self.failures if failed or skipped else None, resumed, skipped
        )


class _Rows:
    """The rows of one part, in order, and the inputs that have none."""

    def __init__(self, encoder: Encoder[Any]) -> None:
        self.encoder = encoder
        self.positions: list[int] = []
        self.vectors: list[np.ndarray] = []
        self.notes: list[Any] = []
        self.failures: list[dict[str, Any]] = []
        self._batch: list[tuple[int, str, Any]] = []

    @property
    def waiting(self) -> int:
        """Inputs that are read and not yet embedded."""
        return len(self._batch)

    def add(self, position: int, identifier: str, prepared: Any) -> None:
        self._batch.append((position, identifier, prepared))

    def fail(self, identifier: str, reason: str, *, skipped: bool = False) -> None:
        self.failures.append(failed_input(identifier, reason, skipped=skipped))

    def flush(self) -> None:
        """Embed what is waiting."""
        if not self._batch:
            return
        batch, self._batch = self._batch, []
        vectors = self._encoded([prepared for _, _, prepared in batch])
        for (position, identifier, prepared), vector in zip(batch, vectors, strict=True):
            if isinstance(vector, str):
                self.fail(identifier, vector)
            elif np.isfinite(vector).all():
                self.positions.append(position)
                self.vectors.append(vector)
                self.notes.append(None if self.encoder.note is None else self.encoder.note(prepared))
            else:
                self.fail(identifier, "the embedding is not finite")

    def _encoded(self, prepared: list[Any]) -> list[np.ndarray | str]:
        """Return the vector of each input, or why it has none: long ones are read while they are embedded."""
        try:
            return list(self.encoder.encode(prepared).float().cpu().numpy())
        except (InputError, OSError) as error:
            if len(prepared) == 1:
                return [reason_of(error)]
            return [row for one in prepared for row in self._encoded([one])]


def _row_groups(parts: Sequence[Path], least: int) -> Iterator[pyarrow.Table]:
    """Yield the rows of some parts in order, in tables of at least so many rows, the last one aside."""
    import pyarrow
    from pyarrow import parquet

    waiting: list[pyarrow.Table] = []
    for part in parts:
        waiting.append(parquet.read_table(part))
        if sum(map(len, waiting)) >= least:
            yield pyarrow.concat_tables(waiting)
            waiting = []
    if waiting:
        yield pyarrow.concat_tables(waiting)


def _check_id(identifier: str) -> None:
    """Raise ``InputError`` when Parquet, whose text is UTF-8, cannot hold ``identifier``."""
    try:
        identifier.encode()
    except UnicodeEncodeError:
        raise InputError("the name is not UTF-8. Rename the file.") from None
