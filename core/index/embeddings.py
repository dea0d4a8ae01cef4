"""An index out of the Parquet file that an embedding run leaves."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..embed_run import METADATA_KEY
from ..errors import ConfigError, InputError, nearest
from .base import Identity, Kind, Rows, VectorIndex
from .opening import create_index, open_index
from .settings import IndexOptions

if TYPE_CHECKING:
    import pyarrow
    from numpy.typing import NDArray
    from pyarrow import parquet

_ROWS = 16_384
VIEW = "vector"
"""Name of the one vector of a row."""


def index_embeddings(
    source: str | Path,
    folder: str | Path,
    *,
    kind: Kind = "auto",
    columns: Sequence[str] = (),
    names: tuple[str, str] = ("id", "vector"),
    options: IndexOptions | None = None,
    progress: Callable[[str, float], None] | None = None,
) -> VectorIndex:
    """Return an index over the embeddings in a file, whose view is called ``vector``.

    The index appears whole or not at all, optimized.

    Args:
        source: Parquet file of :meth:`verticlip.Model.embed_files` or of another run of this program.
        folder: that does not exist yet.
        columns: further columns to filter by and to show.
        names: of the columns that hold the ids and the vectors, fixed_size_list<float>[D].
        progress: called with what is done and the share of it that is.

    Raises:
        InputError: the file does not say what made its vectors, lacks a column, or holds an unusable row.
        ConfigError: the folder is in use.
    """
    import pyarrow
    from pyarrow import parquet

    source, folder = Path(source), Path(folder)
    if not source.is_file():
        raise InputError(f"{source}: no such file.")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder}: there is something here already. Name a new folder.")
    try:
        file = parquet.ParquetFile(source)
    except pyarrow.ArrowInvalid as error:
        raise InputError(f"{source.name}: not a Parquet file, or a damaged one ({error}).") from None
    with file:
        identity = _identity(file.schema_arrow, source.name, names[1], [*names, *columns])
        schema = pyarrow.schema([file.schema_arrow.field(name) for name in columns])
        # Renamed at the end: a run that is killed leaves no index that lacks rows.
        building = folder.with_name(f".{folder.name}.building")
        shutil.rmtree(building, ignore_errors=True)
        index = create_index(
            building, identity=identity, views=[VIEW], schema=schema, kind=kind, options=options
        )
        with contextlib.closing(index):
            _fill(index, file, names, list(columns), progress or (lambda what, share: None))
            index.optimize(progress)
    if folder.exists():
        folder.rmdir()
    building.rename(folder)
    return open_index(folder)


def _identity(schema: pyarrow.Schema, name: str, vector: str, needed: Sequence[str]) -> Identity:
    """Return what made the vectors of a file.

    Raises:
        InputError: it does not say, or lacks a column.
    """
    import pyarrow

    for column in needed:
        if column not in schema.names:
            known = ", ".join(schema.names)
            raise InputError(
                f"{name}: no column {column!r}.{nearest(column, schema.names)} Columns: {known}."
            )
    kind = schema.field(vector).type
    if not pyarrow.types.is_fixed_size_list(kind) or not pyarrow.types.is_floating(kind.value_type):
        raise InputError(f"{name}: {vector!r} is {kind}; vectors are fixed_size_list<float>.")
    try:
        stored = json.loads((schema.metadata or {}).get(METADATA_KEY, b"{}"))
        run = stored.get("run", stored)
        return Identity(run["model"], run["revision"], run["processor"], kind.list_size)
    except (ValueError, KeyError, AttributeError):
        raise InputError(
            f"{name}: it does not say which model made its vectors. Take a file that this program wrote."
        ) from None


def _fill(
    index: VectorIndex,
    file: parquet.ParquetFile,
    names: tuple[str, str],
    columns: list[str],
    progress: Callable[[str, float], None],
) -> None:
    import pyarrow

    seen: set[str] = set()
    total = max(1, file.metadata.num_rows)
    for batch in file.iter_batches(_ROWS, columns=[*names, *columns]):
        ids = tuple(batch.column(names[0]).cast(pyarrow.string()).to_pylist())
        again = seen.intersection(ids)
        if again:
            raise InputError(f"The id {min(again)!r:.80} stands twice in the file. Ids must differ.")
        seen.update(ids)
        payload = pyarrow.Table.from_batches([batch.select(columns)]) if columns else pyarrow.table({})
        index.upsert(Rows(ids, payload, {VIEW: _matrix(batch.column(names[1]), index.identity.dim)}))
        progress("store", len(seen) / total)


def _matrix(column: pyarrow.FixedSizeListArray, dim: int) -> NDArray[np.float32]:
    """Return vectors float32 [N, D]; a missing one becomes zeros, which an index refuses by its id."""
    matrix = np.zeros((len(column), dim), np.float32)
    there = np.asarray(column.is_valid(), dtype=bool)
    values = column.drop_null() if column.null_count else column
    matrix[there] = values.flatten().to_numpy(zero_copy_only=False).reshape(-1, dim)
    return matrix
