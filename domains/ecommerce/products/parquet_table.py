"""Rows of Parquet files, a few hundred at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ....core.errors import DataError, require
from ....core.limits import DEFAULT, Limits
from .rows import BadRow, Notes, Row

if TYPE_CHECKING:
    import pyarrow

_BATCH = 256
"""Rows held at once: pictures may be stored in them."""


class ParquetTable:
    """Rows of one Parquet file or of the parts in a folder, in the order of their names.

    Args:
        path: file or folder.
        notes: told of columns that cannot be read.

    Raises:
        DataError: no such file, damaged, or parts of other columns.
    """

    is_closed = True

    def __init__(self, path: Path, notes: Notes, *, limits: Limits = DEFAULT) -> None:
        self.name = path.name
        self._files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
        first: pyarrow.Schema | None = None
        for file in self._files:
            limits.check("file_bytes", file.stat().st_size, what=f"{file.name}: bytes")
            with _opened(file) as opened:
                schema = opened.schema_arrow
            if first is None:
                first = schema
            elif set(first.names) != set(schema.names):
                odd = sorted(set(first.names) ^ set(schema.names))[0]
                raise DataError(
                    f"{path.name}: {file.name} and {self._files[0].name} differ in the column {odd!r}. "
                    "Read them one by one."
                )
        if first is None:
            raise DataError(f"{path}: no .parquet file in this folder.")
        left_out = [field.name for field in first if _is_vector(field.type)]
        if left_out:
            notes.fact(f"{self.name}: columns of vectors are not read: {', '.join(left_out)}")
        self.columns: Sequence[str] = [name for name in first.names if name not in left_out]
        if len(set(self.columns)) != len(self.columns):
            twice = next(name for name in self.columns if list(self.columns).count(name) > 1)
            raise DataError(f"{self.name}: the column {twice!r} stands twice. Rename one.")

    def rows(self) -> Iterator[Row | BadRow]:
        """Yield every row, numbered from 1 across all parts."""
        number = 0
        for file in self._files:
            with _opened(file) as opened:
                try:
                    for batch in opened.iter_batches(batch_size=_BATCH, columns=list(self.columns)):
                        for cells in _dicts(batch):
                            number += 1
                            yield Row(number, cells) if isinstance(cells, dict) else BadRow(number, cells)
                except (OSError, ValueError) as error:  # pyarrow's errors are ValueError or OSError
                    raise DataError(
                        f"{file.name}: damaged behind row {number} ({_first_line(error)}). "
                        "Copy or download it again."
                    ) from error


def _opened(path: Path) -> Any:
    parquet = require("pyarrow.parquet", extra="ecommerce")
    if not path.is_file():
        raise DataError(f"{path}: no such file.")
    try:
        return parquet.ParquetFile(path)
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path.name}: not a readable Parquet file ({_first_line(error)}). It may be cut off; copy or "
            "download it again."
        ) from error


def _dicts(batch: pyarrow.RecordBatch) -> Iterator[dict[str, Any] | str]:
    batch = _in_microseconds(batch)
    try:
        yield from batch.to_pylist()
    except (ValueError, UnicodeDecodeError, OverflowError):
        # One cell that has no Python value, a text that is not UTF-8 for one, must not cost its neighbors.
        for place in range(batch.num_rows):
            try:
                yield batch.slice(place, 1).to_pylist()[0]
            except (ValueError, UnicodeDecodeError, OverflowError) as error:
                yield f"a cell cannot be read ({_first_line(error)})"


def _in_microseconds(batch: pyarrow.RecordBatch) -> pyarrow.RecordBatch:
    """Return the rows with times as Python can hold them: it has no nanoseconds."""
    import pyarrow

    for place, column in enumerate(batch.schema):
        if pyarrow.types.is_timestamp(column.type) and column.type.unit == "ns":
            kind = pyarrow.timestamp("us", tz=column.type.tz)
            batch = batch.set_column(place, column.name, batch.column(place).cast(kind, safe=False))
    return batch


def _is_vector(kind: pyarrow.DataType) -> bool:
    import pyarrow

    is_list = (
        pyarrow.types.is_list(kind)
        or pyarrow.types.is_large_list(kind)
        or pyarrow.types.is_fixed_size_list(kind)
    )
    return is_list and pyarrow.types.is_floating(kind.value_type)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
