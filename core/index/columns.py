"""Types that a payload column may have, and the schema as JSON."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timezone
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import field_validator

from ..config_base import Config
from ..errors import InputError, nearest

if TYPE_CHECKING:
    import pyarrow
    from numpy.typing import NDArray

ColumnKind = Literal["text", "number", "flag", "time", "tags"]
"""What a column holds: texts, numbers, true or false, points in time, lists of texts."""
TYPES = "string, float64, int64, bool, list<string>, timestamp[us], timestamp[us, tz=UTC]"


class Column(Config):
    """One payload column as JSON: ``{"name": "price", "type": "double"}``."""

    name: str
    type: str

    @field_validator("type")
    @classmethod
    def _known(cls, value: str) -> str:
        data_type(value)
        return value


def compute() -> ModuleType:
    """Return ``pyarrow.compute``, whose functions are made when it is imported, which type checkers miss."""
    return import_module("pyarrow.compute")


def column_kind(kind: pyarrow.DataType) -> ColumnKind:
    """Return what a column of an Arrow type holds.

    Raises:
        InputError: a payload has no columns of this type.
    """
    from pyarrow import types

    if types.is_string(kind):
        return "text"
    if types.is_float64(kind) or types.is_int64(kind):
        return "number"
    if types.is_boolean(kind):
        return "flag"
    if types.is_list(kind) and types.is_string(kind.value_type):
        return "tags"
    if types.is_timestamp(kind) and kind.unit == "us" and kind.tz in (None, "UTC"):
        return "time"
    raise InputError(
        f"{kind} is no type of a payload column. Cast it to one of: {TYPES} (UTC or without zone)."
    )


def data_type(name: str) -> pyarrow.DataType:
    """Return the Arrow type that :func:`to_columns` wrote down.

    Raises:
        ValueError: it is none of them.
    """
    import pyarrow

    plain = {
        "string": pyarrow.string(),
        "double": pyarrow.float64(),
        "int64": pyarrow.int64(),
        "bool": pyarrow.bool_(),
        "list<string>": pyarrow.list_(pyarrow.string()),
        "timestamp[us]": pyarrow.timestamp("us"),
        "timestamp[us, tz=UTC]": pyarrow.timestamp("us", "UTC"),
    }
    if name in plain:
        return plain[name]
    raise ValueError(f"{name!r} is no type of a payload column; types: {TYPES}")


def to_columns(schema: pyarrow.Schema) -> tuple[Column, ...]:
    """Return a schema as JSON would hold it.

    Raises:
        InputError: a name that is empty, stands twice or begins with ``@``, or an unsupported type.
    """
    columns: list[Column] = []
    for field in schema:
        if not field.name or field.name.startswith("@"):
            raise InputError(f"{field.name!r} is no name of a payload column: it is empty or begins with @.")
        if field.name in {column.name for column in columns}:
            raise InputError(f"The payload has two columns {field.name!r}.")
        try:
            kind = column_kind(field.type)
        except InputError as error:
            raise InputError(f"Payload column {field.name!r}: {error}") from None
        columns.append(Column(name=field.name, type="list<string>" if kind == "tags" else str(field.type)))
    return tuple(columns)


def to_schema(columns: Sequence[Column]) -> pyarrow.Schema:
    """Return the schema that JSON holds."""
    import pyarrow

    return pyarrow.schema([(column.name, data_type(column.type)) for column in columns])


def pick_columns(schema: pyarrow.Schema, names: Sequence[str] | None) -> pyarrow.Schema:
    """Return the named columns of a payload, all for None.

    Raises:
        InputError: there is no such column.
    """
    import pyarrow

    if names is None:
        return schema
    for name in names:
        if name not in schema.names:
            raise InputError(
                f"The index has no payload column {name!r}.{nearest(name, schema.names)} "
                f"Columns: {', '.join(schema.names) or 'none'}."
            )
    return pyarrow.schema([schema.field(name) for name in names])


def conform(table: pyarrow.Table, schema: pyarrow.Schema, count: int) -> pyarrow.Table:
    """Return a payload with exactly the columns of ``schema``, in its order.

    Columns of a narrower type (int32, large_string, dictionary, null ...) are cast where nothing is lost.

    Raises:
        InputError: other columns, a value that does not fit, or another number of rows than ``count``.
    """
    import pyarrow

    for name in schema.names:
        if name not in table.column_names:
            raise InputError(
                f"The payload lacks the column {name!r} of the index.{nearest(name, table.column_names)}"
            )
    for name in table.column_names:
        if name not in schema.names:
            known = ", ".join(schema.names) or "none"
            raise InputError(
                f"The index has no payload column {name!r}.{nearest(name, schema.names)} Columns: {known}."
            )
    if len(set(table.column_names)) != len(table.column_names):
        raise InputError(f"A payload column stands twice: {', '.join(table.column_names)}.")
    if schema.names and len(table) != count:
        raise InputError(f"The payload has {len(table)} rows for {count} ids.")
    columns = []
    for field in schema:
        column = table.column(field.name)
        reason = "cast it first"
        try:
            if _widens(column.type, field.type):
                columns.append(column if column.type == field.type else column.cast(field.type))
                continue
        except (pyarrow.ArrowInvalid, pyarrow.ArrowNotImplementedError) as error:
            reason = str(error)
        raise InputError(
            f"Payload column {field.name!r} is {column.type} and does not fit {field.type} ({reason})."
        )
    return pyarrow.Table.from_arrays(columns, schema=schema) if columns else table.select([])


def _widens(kind: pyarrow.DataType, to: pyarrow.DataType) -> bool:
    """Tell whether values of one type mean the same in another; text that looks like a number does not."""
    from pyarrow import types

    if kind == to or types.is_null(kind):
        return True
    if types.is_dictionary(kind):
        return _widens(kind.value_type, to)
    if types.is_string(to):
        return types.is_large_string(kind) or types.is_string_view(kind)
    if types.is_int64(to):
        return types.is_integer(kind)
    if types.is_float64(to):
        return types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind)
    if types.is_list(to):
        return (types.is_list(kind) or types.is_large_list(kind)) and _widens(kind.value_type, to.value_type)
    return types.is_timestamp(to) and types.is_timestamp(kind)


def to_moment(value: str | datetime) -> datetime:
    """Return a point in time in UTC; one without a zone is taken as UTC.

    Raises:
        ValueError: the text is no date or time of ISO 8601.
    """
    if isinstance(value, str):
        # Python 3.10 does not know the Z.
        value = datetime.fromisoformat(re.sub(r"[zZ]$", "+00:00", value.strip()))
    try:
        return value.replace(tzinfo=timezone.utc) if value.tzinfo is None else value.astimezone(timezone.utc)
    except OverflowError as error:
        raise ValueError(str(error)) from None


def rows_of(table: pyarrow.Table, rows: NDArray[np.int64]) -> pyarrow.Table:
    """Return rows of a table; Arrow's own ``take`` joins all blocks of a column first, up to 2 GiB."""
    import pyarrow

    columns = [_column_of_rows(column, rows) for column in table.columns]
    return pyarrow.Table.from_arrays(columns, schema=table.schema)


def _column_of_rows(column: pyarrow.ChunkedArray, rows: NDArray[np.int64]) -> pyarrow.Array:
    import pyarrow

    if column.num_chunks == 1:
        return column.chunk(0).take(pyarrow.array(rows))
    starts = np.cumsum([0, *(len(chunk) for chunk in column.chunks)])
    chunk_of = np.searchsorted(starts, rows, side="right") - 1
    parts, back = [pyarrow.array([], column.type)], []
    for number in np.unique(chunk_of):
        own = np.flatnonzero(chunk_of == number)
        parts.append(column.chunk(int(number)).take(pyarrow.array(rows[own] - starts[number])))
        back.append(own)
    joined = pyarrow.concat_arrays(parts)
    if len(back) < 2:
        return joined
    return joined.take(pyarrow.array(np.argsort(np.concatenate(back))))
