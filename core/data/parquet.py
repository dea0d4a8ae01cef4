"""Rows of Parquet files, by the rules of :mod:`.tables`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ..errors import DataError, nearest, require


def parquet_rows(
    path: Path, needed: Sequence[str] = (), *, further: Sequence[str] | None = None, batch_size: int = 8192
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (where, {column: value}) of each row of a Parquet file, batch by batch.

    Args:
        path: the file.
        needed: columns that have to be there.
        further: columns that are read where they are there; None reads all.
        batch_size: rows in memory at once; few where cells are large.

    Raises:
        DataError: no such file, not a whole Parquet file, or a column is missing.
        DependencyError: pyarrow is not installed.
    """
    pyarrow = require("pyarrow", extra="index")
    parquet = require("pyarrow.parquet", extra="index")
    if not path.is_file():
        raise DataError(f"{path}: no such file.")
    try:
        # By handle: it is closed with the rows, on every system.
        with path.open("rb") as handle:
            file = parquet.ParquetFile(handle)
            present = file.schema_arrow.names
            check_columns(present, needed, path.name)
            columns = None if further is None else [*needed, *(one for one in further if one in present)]
            chosen = None if columns is None else list(dict.fromkeys(columns))
            number = 0
            for batch in file.iter_batches(batch_size=batch_size, columns=chosen):
                for row in batch.to_pylist():
                    number += 1
                    yield f"{path.name} row {number}", row
    except (pyarrow.ArrowException, OSError) as error:
        said = " ".join(str(error).split())[:100]
        raise DataError(f"{path.name}: not a whole Parquet file ({said}). Copy it again.") from None


def check_columns(present: Sequence[str], needed: Sequence[str], where: str) -> None:
    """Raise ``DataError`` where a column that is needed is not there; the nearest name is given."""
    for column in needed:
        if column not in present:
            raise DataError(
                f"{where}: no column {column!r}; columns: {', '.join(present)}.{nearest(column, present)}"
            )
