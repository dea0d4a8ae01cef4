"""Products out of a catalogue: into a file that can be taken in again, or into another index."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ....core.embed_run import METADATA_KEY
from ....core.errors import ConfigError
from ....core.files import atomic_path
from ....core.index.copying import copy_index
from ....core.spreadsheet import as_cell
from .config import VIEWS
from .payload import BOOKKEEPING, TEXT_COLUMNS, shown
from .writing import check_lost

if TYPE_CHECKING:
    import numpy as np
    import pyarrow

    from ....core.index.base import Identity, Rows, VectorIndex
    from ....core.index.filters import Where

SUFFIXES = (".parquet", ".jsonl", ".csv")
_COLUMNS: tuple[str, ...] = (
    "id",
    *TEXT_COLUMNS,
    "price",
    "image",
    "images",
    "updated_at",
    "attributes",
    "duplicate_of",
)
_BATCH = 4096

Progress = Callable[[int, int], None]


def export_file(
    index: VectorIndex,
    to: Path,
    *,
    vectors: bool = False,
    where: Where | None = None,
    progress: Progress | None = None,
) -> int:
    """Write products to a file, which appears whole or not at all; return how many.

    Columns are the fields of a product; ``attributes`` is a JSON object of all of them. Vectors are columns
    ``vector_image``, ``vector_text`` and ``vector_product``, float32 [D], empty where a product has none; a
    Parquet file says in its metadata, as JSON under ``verticlip``, what made them. In a CSV, texts that a
    spreadsheet would run as formulas have a quote before them, which is taken off when it is read in again.

    Args:
        to: ends in .parquet, .jsonl or .csv.

    Raises:
        ConfigError: another ending, or vectors in a CSV.
    """
    suffix = to.suffix.lower()
    if suffix not in SUFFIXES:
        raise ConfigError(f"{to}: the name of an export ends in {', '.join(SUFFIXES)}.")
    if vectors and suffix == ".csv":
        raise ConfigError(f"{to}: a CSV has no room for vectors; export to .parquet or .jsonl.")
    done = 0
    with atomic_path(to) as temporary, ExitStack() as stack:
        writer: _Writer
        if suffix == ".parquet":
            writer = _ParquetRows(temporary, stack, index.identity, vectors=vectors)
        elif suffix == ".jsonl":
            writer = _JsonRows(temporary, stack)
        else:
            writer = _CsvRows(temporary, stack)
        for rows in _scanned(index, vectors=vectors, where=where):
            writer.write(_records(rows), rows)
            done += len(rows)
            if progress is not None:
                progress(done, len(index))
    return done


def export_index(
    index: VectorIndex,
    to: VectorIndex,
    *,
    where: Where | None = None,
    sync: float | None = None,
    progress: Progress | None = None,
) -> int:
    """Copy products with their vectors to another index, and return how many.

    Args:
        sync: share of the products there that may be taken out because ``index`` lacks them; None leaves all.

    Raises:
        ConfigError: the other index is of another model or has other columns, or lacking products are more
            than that share.
    """
    total = len(index)
    told = None if progress is None else lambda _, share: progress(round(share * total), total)
    done = copy_index(index, to, where=where, progress=told)
    if sync is not None:
        _delete_lost(index, to, sync)
    return done


def _delete_lost(index: VectorIndex, to: VectorIndex, max_share: float) -> None:
    """Take out of another index what this one does not have."""
    lost: list[str] = []
    total = 0
    for rows in to.scan(columns=[], batch_size=_BATCH):
        total += len(rows)
        there = set(index.get(rows.ids, columns=[]).ids)
        lost += [name for name in rows.ids if name not in there]
    check_lost(len(lost), total, max_share, what="sync")
    if lost:
        to.delete(lost)


def _scanned(index: VectorIndex, *, vectors: bool, where: Where | None) -> Iterator[Rows]:
    columns = [name for name in index.schema.names if name not in BOOKKEEPING]
    views = VIEWS if vectors else ()
    return index.scan(columns=columns, views=views, where=where, batch_size=_BATCH)


def _records(rows: Rows) -> list[dict[str, Any]]:
    """Return each product as {column: value}; what it lacks is left out."""
    return [
        {"id": name, **shown(cells)} for name, cells in zip(rows.ids, rows.payload.to_pylist(), strict=True)
    ]


def _vectors(rows: Rows) -> Iterator[tuple[str, np.ndarray, list[bool]]]:
    """Yield (column, float32 [N, D], whether each row has one)."""
    for view, found in rows.vectors.items():
        there = rows.present[view].tolist() if view in rows.present else [True] * len(rows)
        yield f"vector_{view}", found, there


class _Writer(Protocol):
    def write(self, records: Sequence[dict[str, Any]], rows: Rows) -> None: ...


class _JsonRows:
    def __init__(self, path: Path, stack: ExitStack) -> None:
        self._file = stack.enter_context(path.open("w", encoding="utf-8"))

    def write(self, records: Sequence[dict[str, Any]], rows: Rows) -> None:
        for name, found, there in _vectors(rows):
            for record, vector, has in zip(records, found.tolist(), there, strict=True):
                if has:
                    record[name] = vector
        for record in records:
            self._file.write(json.dumps(record, ensure_ascii=False, default=_json) + "\n")


class _CsvRows:
    def __init__(self, path: Path, stack: ExitStack) -> None:
        file = stack.enter_context(path.open("w", encoding="utf-8", newline=""))
        self._writer = csv.DictWriter(file, _COLUMNS, extrasaction="ignore")
        self._writer.writeheader()

    def write(self, records: Sequence[dict[str, Any]], rows: Rows) -> None:
        for record in records:
            self._writer.writerow({name: _cell(value) for name, value in record.items()})


class _ParquetRows:
    def __init__(self, path: Path, stack: ExitStack, identity: Identity, *, vectors: bool) -> None:
        import pyarrow as pa
        from pyarrow import parquet

        special = {
            "price": pa.float64(),
            "images": pa.list_(pa.string()),
            "updated_at": pa.timestamp("us", tz="UTC"),
        }
        columns = [pa.field(name, special.get(name, pa.string())) for name in _COLUMNS]
        if vectors:
            kind = pa.list_(pa.field("element", pa.float32(), nullable=False), identity.dim)
            columns += [pa.field(f"vector_{view}", kind) for view in VIEWS]
        said = {METADATA_KEY: json.dumps(identity.to_dict(), sort_keys=True).encode()}
        self._schema = pa.schema(columns, metadata=said)
        self._writer = stack.enter_context(parquet.ParquetWriter(path, self._schema))

    def write(self, records: Sequence[dict[str, Any]], rows: Rows) -> None:
        import pyarrow as pa

        for record in records:
            if "attributes" in record:
                record["attributes"] = json.dumps(record["attributes"], ensure_ascii=False, default=_json)
        columns = [
            pa.array([record.get(field.name) for record in records], field.type)
            for field in self._schema
            if not field.name.startswith("vector_")
        ]
        columns += [_fixed_lists(found, there) for _, found, there in _vectors(rows)]
        self._writer.write_table(pa.Table.from_arrays(columns, schema=self._schema))


def _fixed_lists(vectors: np.ndarray, there: Sequence[bool]) -> pyarrow.Array:
    """Return vectors [N, D] as a column of lists, null where a row has none."""
    import numpy as np
    import pyarrow as pa

    kind = pa.list_(pa.field("element", pa.float32(), nullable=False), vectors.shape[1])
    flat = pa.array(np.ascontiguousarray(vectors, np.float32).ravel())
    if all(there):
        return pa.FixedSizeListArray.from_arrays(flat, type=kind)
    return pa.FixedSizeListArray.from_arrays(flat, type=kind, mask=pa.array([not has for has in there]))


def _cell(value: Any) -> Any:
    """Return a value as CSV has it; a text that a spreadsheet would run as a formula is quoted."""
    if isinstance(value, (dict, list)):
        value = json.dumps(value, ensure_ascii=False, default=_json)
    return as_cell(value) if isinstance(value, str) else _json(value)


def _json(value: Any) -> Any:
    return value.isoformat() if hasattr(value, "isoformat") else value
