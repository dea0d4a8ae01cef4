"""What columns are compared with: which values fit which column, and how they are written."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import date, datetime
from typing import TYPE_CHECKING, Literal, NoReturn

from .columns import ColumnKind, to_moment

if TYPE_CHECKING:
    import pyarrow

Value = str | int | float | bool | datetime
"""What a column is compared with."""
Op = Literal["=", "!=", "<", "<=", ">", ">="]
KIND_WORDS: dict[ColumnKind, str] = {
    "text": "texts",
    "number": "numbers",
    "flag": "true or false",
    "time": "points in time",
    "tags": "lists of texts",
}


def check_value(value: object, refuse: Callable[[str], NoReturn]) -> None:
    """Refuse what no column is compared with."""
    if value is None:
        refuse("nothing equals a missing value; ask with .missing(), or 'is null' in text.")
    if isinstance(value, date) and not isinstance(value, datetime):
        refuse(f"{value} is a day; give a datetime, or the text '{value}' for its midnight (UTC).")
    if not isinstance(value, str | int | float | bool | datetime):
        refuse(f"a value is a text, a number, true, false or a datetime, got {type(value).__name__}.")
    if isinstance(value, float) and not math.isfinite(value):
        refuse(f"{value} cannot be compared with.")
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        refuse(f"{value} does not fit into 64 bits.")


def check_type(value: Value, kind: ColumnKind, refuse: Callable[[str], NoReturn]) -> None:
    """Refuse a value that columns of a kind are not compared with."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    fits = {
        "text": isinstance(value, str),
        "number": is_number,
        "flag": isinstance(value, bool),
        "time": isinstance(value, str | datetime),
    }[kind]
    if not fits:
        hint = f" Write '{value}'." if kind == "text" and is_number else ""
        refuse(f"the column holds {KIND_WORDS[kind]}, the value is {value!r:.60}.{hint}")
    if kind == "time" and isinstance(value, str):
        try:
            to_moment(value)
        except ValueError:
            refuse(f"{value!r:.60} is no point in time; write 2026-01-31 or 2026-01-31T12:00:00.")


def is_int64(value: float) -> bool:
    """Tell whether a number is a whole one of 64 bits."""
    return value.is_integer() and -(2.0**63) <= value < 2.0**63


def for_whole_numbers(op: Op, value: float) -> tuple[Op, Value]:
    """Return a comparison of whole numbers with any number as one with a whole number.

    Where all of them fit, or none does, the value is True or False.
    """
    if op in ("=", "!="):
        return (op, int(value)) if is_int64(value) else (op, op == "!=")
    if abs(value) >= 2.0**63:
        return op, (value > 0) == (op in ("<", "<="))
    if value.is_integer():
        return op, int(value)
    return ("<=", math.floor(value)) if op in ("<", "<=") else (">=", math.ceil(value))


def scalar_for(value: Value, kind: pyarrow.DataType) -> pyarrow.Scalar:
    """Return a value that was checked as one of the type of its column."""
    import pyarrow

    if isinstance(value, str | datetime) and pyarrow.types.is_timestamp(kind):
        moment = to_moment(value)
        return pyarrow.scalar(moment if kind.tz else moment.replace(tzinfo=None), kind)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return pyarrow.scalar(float(value) if pyarrow.types.is_floating(kind) else int(value), kind)
    return pyarrow.scalar(value, kind)


def value_text(value: Value) -> str:
    """Return a value as it is written in a filter."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    text = value.isoformat() if isinstance(value, datetime) else value
    return "'" + text.replace("'", "''") + "'"
