"""One folder of rows: written once, then read without copying.

``rows.parquet`` holds ids (``@id``), which vectors a row has (``@has:<view>``) and the payload. The vectors
of a view lie in ``<view>.f32``: little-endian float32 of the rows that have one, so that a file is a matrix.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import ConfigError
from .columns import rows_of
from .conditions import Where
from .engines import ExactEngine
from .manifest import FileEntry, SegmentEntry

if TYPE_CHECKING:
    import pyarrow
    from numpy.typing import NDArray
    from pyarrow import parquet

ROWS_FILE, ID, HAS = "rows.parquet", "@id", "@has:"
BLOCK_ROWS = 65_536
"""Rows of a block of payload; no block of texts may reach 2 GiB."""
GROUP_ROWS = 1024
"""Rows that are decoded together: the least that reading one row costs."""
_BLOCK_BYTES = 4 * 1024**2
_MASKS, _CACHED_BYTES = 8, 64 * 1024**2
"""Conditions, and columns to filter by, that are remembered; ids and which vectors there are always are."""


class SegmentWriter:
    """Writes the files of one segment into a new folder and remembers what they are.

    Args:
        folder: that does not exist yet.
        dim: D.
    """

    def __init__(self, folder: Path, dim: int) -> None:
        self.folder, self.dim = folder, dim
        self.files: dict[str, FileEntry] = {}
        self.vectors: dict[str, int] = {}
        folder.mkdir(parents=True)

    def write_rows(
        self,
        ids: pyarrow.Array,
        present: Mapping[str, NDArray[np.bool_]],
        payload: Iterable[pyarrow.Table],
    ) -> None:
        """Write ids, which vectors there are, and the payload in blocks of :data:`BLOCK_ROWS` rows."""
        import pyarrow
        from pyarrow import parquet

        rows = pyarrow.table({ID: ids, **{HAS + view: pyarrow.array(mask) for view, mask in present.items()}})
        path = self.folder / ROWS_FILE
        with contextlib.ExitStack() as stack:
            writer: parquet.ParquetWriter | None = None
            for number, block in enumerate(payload):
                table = rows.slice(number * BLOCK_ROWS, BLOCK_ROWS)
                for field, column in zip(block.schema, block.columns, strict=True):
                    table = table.append_column(field, column)
                if writer is None:
                    made = parquet.ParquetWriter(path, table.schema, compression="zstd", compression_level=1)
                    writer = stack.enter_context(made)
                writer.write_table(table, row_group_size=GROUP_ROWS)
        self.files[ROWS_FILE] = entry_of(path)

    def write_vectors(self, view: str, blocks: Iterable[NDArray[np.float32]]) -> None:
        """Write the vectors of the rows that have one, in order, float32 [n, D] each; nothing for none."""
        path, digest, count = self.folder / f"{view}.f32", hashlib.sha256(), 0
        with path.open("wb") as file:
            for block in blocks:
                data = np.ascontiguousarray(block, dtype="<f4").data.cast("B")
                file.write(data)
                digest.update(data)
                count += len(block)
        if count:
            size = count * self.dim * 4
            self.files[path.name] = FileEntry(bytes=size, sha256=digest.hexdigest())
        else:
            path.unlink()
        self.vectors[view] = count

    def finish(self, rows: int) -> SegmentEntry:
        """Return what was written."""
        return SegmentEntry(name=self.folder.name, rows=rows, vectors=self.vectors, files=self.files)


class Segment:
    """The files of one segment, open: they can be read even after they are removed (POSIX).

    Args:
        folder: of the segment.
        entry: what it must be. Sizes are checked at once, the hash of ``rows.parquet`` when it is first read,
            that of vectors by :meth:`.store.SegmentStore.verify`.
        dim: D.

    Raises:
        FileNotFoundError: a file is absent.
        ConfigError: a file has another size.
    """

    def __init__(self, folder: Path, entry: SegmentEntry, dim: int) -> None:
        import pyarrow

        self.name, self.rows, self._dim = entry.name, entry.rows, dim
        for name, expected in entry.files.items():
            if not name.startswith("deleted-"):
                check_size(folder, name, expected)
        self._vectors = {
            view: np.memmap(folder / f"{view}.f32", np.dtype("<f4"), "r", shape=(count, dim)).view(np.ndarray)
            if count
            else np.empty((0, dim), np.float32)
            for view, count in entry.vectors.items()
        }
        self._folder, self._entry = folder, entry
        # Mapped now, so that it can be read after a writer removed it.
        self._map = pyarrow.memory_map(str(folder / ROWS_FILE))
        self._file: parquet.ParquetFile | None = None
        self._starts = np.zeros(1, np.int64)
        self._lock = threading.RLock()
        self._columns: dict[str, pyarrow.ChunkedArray] = {}
        self._masks: dict[Where, NDArray[np.bool_]] = {}
        self._exact: dict[str, ExactEngine] = {}
        self._present: dict[str, NDArray[np.bool_]] = {}
        self._having: dict[str, NDArray[np.int64]] = {}

    def column(self, name: str) -> pyarrow.ChunkedArray | None:
        """Return a column as it is stored, the last few are kept; None where this segment is older than it.

        Raises:
            ConfigError: the file is not what was written.
        """
        with self._lock:
            column = self._columns.pop(name, None)
            if column is None:
                file = self._opened()
                if name not in file.schema_arrow.names:
                    return None
                column = file.read(columns=[name], use_threads=False).column(name)
            self._columns[name] = column
            others = [one for one in self._columns if not one.startswith("@")]
            while sum(self._columns[one].nbytes for one in others) > _CACHED_BYTES:
                del self._columns[others.pop(0)]
        return column

    def payload_of(self, schema: pyarrow.Schema, rows: NDArray[np.int64]) -> pyarrow.Table:
        """Return columns of some rows, R rows; only the parts of the file that hold them are decoded."""
        import pyarrow

        with self._lock:
            file = self._opened()
            stored = [name for name in schema.names if name in file.schema_arrow.names]
            group_of = np.searchsorted(self._starts, rows, side="right") - 1
            groups = np.unique(group_of)
            table = file.read_row_groups(groups.tolist(), columns=stored, use_threads=False)
        sizes = np.diff(self._starts)[groups]
        # Where each group begins in what was read, less where it begins in the file.
        moved = np.cumsum(sizes) - sizes - self._starts[groups]
        found = rows_of(table, rows + moved[np.searchsorted(groups, group_of)])
        columns = [
            found.column(field.name).cast(field.type)
            if field.name in stored
            else pyarrow.chunked_array([pyarrow.nulls(len(rows), field.type)])
            for field in schema
        ]
        return pyarrow.Table.from_arrays(columns, schema=schema)

    def _opened(self) -> parquet.ParquetFile:
        """Return the file of rows, its hash checked the first time: a damaged one could mean anything."""
        from pyarrow import parquet

        if self._file is None:
            whole = self._map.read_buffer(self._map.size())
            self._map.seek(0)
            digest = hashlib.sha256(whole).hexdigest()
            check_hash(self._folder, ROWS_FILE, self._entry.files[ROWS_FILE], digest)
            self._file = parquet.ParquetFile(self._map)
            known = self._file.metadata
            sizes = [known.row_group(number).num_rows for number in range(known.num_row_groups)]
            self._starts = np.cumsum([0, *sizes])
        return self._file

    def _damaged(self, problem: str) -> ConfigError:
        return ConfigError(f"segments/{self.name}: damaged, {problem}. Build the index anew.")

    @property
    def ids(self) -> pyarrow.Array:
        """Ids, string [N], ascending."""
        column = self.column(ID)
        if column is None:
            raise self._damaged("it holds no ids")
        if column.num_chunks != 1:
            with self._lock:
                import pyarrow

                self._columns[ID] = column = pyarrow.chunked_array([column.combine_chunks()])
        return column.chunk(0)

    def table(self, schema: pyarrow.Schema) -> pyarrow.Table:
        """Return columns of the payload, those younger than the segment without values."""
        import pyarrow

        columns = []
        for field in schema:
            column = self.column(field.name)
            if column is None:
                column = pyarrow.chunked_array([pyarrow.nulls(self.rows, field.type)])
            columns.append(column if column.type == field.type else column.cast(field.type))
        return pyarrow.Table.from_arrays(columns, schema=schema)

    def vectors(self, view: str) -> NDArray[np.float32]:
        """Return the vectors of the rows that have one, float32 [n, D], a memory map."""
        return self._vectors[view]

    def present(self, view: str) -> NDArray[np.bool_] | None:
        """Return which rows have a vector, bool [N]; None where all have."""
        if len(self._vectors[view]) == self.rows:
            return None
        if view not in self._present:
            column = self.column(HAS + view)
            if column is None:
                raise self._damaged(f"it does not say which rows have {view} vectors")
            present = np.asarray(column, dtype=bool)
            self._having[view], self._present[view] = np.flatnonzero(present), present
        return self._present[view]

    def rows_with(self, view: str, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the rows whose vectors are at some positions of :meth:`vectors`."""
        return positions if self.present(view) is None else self._having[view][positions]

    def take(self, view: str, rows: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return the vectors of some rows, float32 [R, D], zeros where there is none, and bool [R] where."""
        present = self.present(view)
        if present is None:
            return self._vectors[view][rows], np.ones(len(rows), bool)
        found = present[rows]
        vectors = np.zeros((len(rows), self._dim), np.float32)
        vectors[found] = self._vectors[view][np.searchsorted(self._having[view], rows[found])]
        return vectors, found

    def exact(self, view: str) -> ExactEngine:
        """Return the exact search over :meth:`vectors`."""
        if view not in self._exact:
            self._exact[view] = ExactEngine(self._vectors[view])
        return self._exact[view]

    def mask(self, where: Where, schema: pyarrow.Schema) -> NDArray[np.bool_]:
        """Return which rows fit a condition that was checked, bool [N]; the last few are kept."""
        with self._lock:
            mask = self._masks.pop(where, None)
        if mask is None:
            import pyarrow

            asked = pyarrow.schema([schema.field(name) for name in where.fields()])
            mask = where.fits(self.table(asked))
        with self._lock:
            self._masks[where] = mask
            while len(self._masks) > _MASKS:
                self._masks.pop(next(iter(self._masks)))
        return mask


def write_tombstones(folder: Path, version: int, deleted: NDArray[np.bool_]) -> tuple[str, FileEntry]:
    """Write which rows of a segment are deleted and return the name and entry of the file."""
    name = f"deleted-{version:010d}.bits"
    (folder / name).write_bytes(np.packbits(deleted).tobytes())
    return name, entry_of(folder / name)


def read_tombstones(folder: Path, entry: SegmentEntry) -> NDArray[np.bool_] | None:
    """Return which rows are deleted, bool [N]; None where none is.

    Raises:
        FileNotFoundError: the file is absent.
        ConfigError: it is not what was written.
    """
    if not entry.tombstones:
        return None
    expected = entry.files[entry.tombstones]
    check_size(folder, entry.tombstones, expected)
    data = (folder / entry.tombstones).read_bytes()
    # The file is a few kilobytes, and a wrong bit would bring a deleted row back.
    check_hash(folder, entry.tombstones, expected, hashlib.sha256(data).hexdigest())
    return np.unpackbits(np.frombuffer(data, np.uint8), count=entry.rows).astype(bool)


def entry_of(path: Path) -> FileEntry:
    """Return the size and hash of a file."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
            size += len(block)
    return FileEntry(bytes=size, sha256=digest.hexdigest())


def check_size(folder: Path, name: str, expected: FileEntry) -> None:
    """Raise ``FileNotFoundError`` where a file is absent, ``ConfigError`` where its size is another."""
    found = (folder / name).stat().st_size
    if found != expected.bytes:
        raise ConfigError(
            f"{folder.parent.name}/{folder.name}/{name}: {found:,} bytes, expected {expected.bytes:,}. "
            f"The file was cut or changed; {_remedy(folder)}."
        )


def check_hash(folder: Path, name: str, expected: FileEntry, found: str) -> None:
    """Raise ``ConfigError`` where the SHA-256 of a file is another."""
    if found != expected.sha256:
        raise ConfigError(
            f"{folder.parent.name}/{folder.name}/{name}: SHA-256 {found[:12]}..., expected "
            f"{expected.sha256[:12]}.... It was changed; {_remedy(folder)}."
        )


def _remedy(folder: Path) -> str:
    if folder.parent.name == "graphs":
        return "rows are intact and searched exactly; optimize the index"
    return "restore the index from a copy or build it anew"
