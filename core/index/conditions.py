"""Conditions on the payload of an index; :mod:`.filters` makes them.

A row without a value fits no comparison, ``!=`` included; ``~`` keeps exactly the rows that its condition
leaves out. Conditions are plain frozen nodes, so that a back end turns them into its own language.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

import numpy as np

from ..errors import InputError, nearest
from .columns import ColumnKind, column_kind, compute
from .literals import (
    KIND_WORDS,
    Op,
    Value,
    check_type,
    check_value,
    for_whole_numbers,
    is_int64,
    scalar_for,
    value_text,
)

if TYPE_CHECKING:
    import pyarrow
    from numpy.typing import NDArray

WORDS = frozenset({"and", "or", "not", "in", "is", "null", "contains", "true", "false"})
"""Words of conditions as text; a column of that name is written in backticks."""
_MOST_VALUES = 10_000
_ARROW = {
    "=": "equal",
    "!=": "not_equal",
    "<": "less",
    "<=": "less_equal",
    ">": "greater",
    ">=": "greater_equal",
}


class Where:
    """A condition on rows; join with ``&`` and ``|``, turn around with ``~``.

    Example:
        >>> where = (F("price") < 50) & F("category").in_(["dress", "skirt"]) & ~F("brand").missing()
        >>> str(where)
        "price < 50 and category in ('dress', 'skirt') and not brand is null"
        >>> where == parse_where(str(where))
        True
    """

    def __and__(self, other: Where) -> Where:
        return And(_flat(And, (self, other)))

    def __or__(self, other: Where) -> Where:
        return Or(_flat(Or, (self, other)))

    def __invert__(self) -> Where:
        return Not(self)

    def __bool__(self) -> NoReturn:
        raise InputError(
            "A condition is neither true nor false by itself. Join conditions with & and | and parentheses "
            "instead of and, or and chains: (F('price') > 10) & (F('price') < 50)."
        )

    def leaves(self) -> Iterator[Leaf]:
        """Yield the conditions on single columns, left to right."""
        raise NotImplementedError

    def fields(self) -> tuple[str, ...]:
        """Return the columns that are asked for, each once."""
        return tuple(dict.fromkeys(leaf.field for leaf in self.leaves()))

    def check(self, schema: pyarrow.Schema) -> None:
        """Refuse what does not fit the columns.

        Raises:
            InputError: a column that is not there, or a value or comparison that its type does not have.
        """
        for leaf in self.leaves():
            leaf.check_kind(_kind(leaf.field, schema))

    def mask(self, table: pyarrow.Table) -> NDArray[np.bool_]:
        """Return which of N rows fit, bool [N].

        Raises:
            InputError: as :meth:`check`.
        """
        self.check(table.schema)
        return self.fits(table)

    def fits(self, table: pyarrow.Table) -> NDArray[np.bool_]:
        """Return :meth:`mask` of a table that was checked."""
        raise NotImplementedError

    def sql(self, schema: pyarrow.Schema) -> str:
        """Return the condition as SQL (DataFusion), every name and value quoted; see ``filter_sql.py``.

        Raises:
            InputError: as :meth:`check`.
        """
        from .filter_sql import to_sql

        self.check(schema)
        return to_sql(self, schema)

    def binds(self) -> int:
        """Return how tightly the text holds together: 0 ``or``, 1 ``and``, 2 anything else."""
        return 2


@dataclass(frozen=True)
class Leaf(Where):
    """A condition on one column."""

    field: str

    def leaves(self) -> Iterator[Leaf]:
        """Yield this."""
        yield self

    def check_kind(self, kind: ColumnKind) -> None:
        """Refuse a column of a kind that this condition cannot be about."""
        raise NotImplementedError

    def refuse(self, problem: str) -> NoReturn:
        """Raise ``InputError`` about this column."""
        raise InputError(f"Filter on {self.field!r}: {problem}")


@dataclass(frozen=True)
class Compare(Leaf):
    """``field op value``."""

    op: Op
    value: Value

    def __post_init__(self) -> None:
        check_value(self.value, self.refuse)

    def __str__(self) -> str:
        return f"{_name_text(self.field)} {self.op} {value_text(self.value)}"

    def check_kind(self, kind: ColumnKind) -> None:
        """Refuse values of another type, and an order where there is none."""
        if kind == "tags":
            self.refuse("the column holds lists; ask with contains.")
        if kind == "flag" and self.op not in ("=", "!="):
            self.refuse(f"the column is true or false; {self.op} has no meaning for it, = and != have.")
        check_type(self.value, kind, self.refuse)

    def fits(self, table: pyarrow.Table) -> NDArray[np.bool_]:
        """Compare the column; null gives False."""

        import pyarrow

        column = table.column(self.field)
        op, value = self.op, self.value
        if pyarrow.types.is_integer(column.type):
            op, value = for_whole_numbers(op, float(value)) if isinstance(value, float) else (op, value)
            if isinstance(value, bool):
                return np.full(len(column), value) & ~_to_numpy(column.is_null(), True)
        fits = compute().call_function(_ARROW[op], [column, scalar_for(value, column.type)])
        return _to_numpy(fits, False)


@dataclass(frozen=True)
class In(Leaf):
    """``field in (values)``."""

    values: tuple[Value, ...]

    def __post_init__(self) -> None:
        if not self.values:
            self.refuse("in needs at least one value.")
        if len(self.values) > _MOST_VALUES:
            self.refuse(f"in takes up to {_MOST_VALUES:,} values, got {len(self.values):,}.")
        for value in self.values:
            check_value(value, self.refuse)

    def __str__(self) -> str:
        return f"{_name_text(self.field)} in ({', '.join(value_text(value) for value in self.values)})"

    def check_kind(self, kind: ColumnKind) -> None:
        """Refuse values of another type."""
        if kind == "tags":
            self.refuse("the column holds lists; ask with contains, several joined by or.")
        for value in self.values:
            check_type(value, kind, self.refuse)

    def fits(self, table: pyarrow.Table) -> NDArray[np.bool_]:
        """Look each value of the column up; null gives False."""
        import pyarrow

        column = table.column(self.field)
        wanted = [scalar_for(value, column.type) for value in self.values_for(column.type)]
        values = pyarrow.array([value.as_py() for value in wanted], column.type)
        return _to_numpy(compute().is_in(column, value_set=values), False)

    def values_for(self, kind: pyarrow.DataType) -> tuple[Value, ...]:
        """Return the values that a column of a type can have: 2.5 is in no column of whole numbers."""
        import pyarrow

        if not pyarrow.types.is_integer(kind):
            return self.values
        return tuple(value for value in self.values if not isinstance(value, float) or is_int64(value))


@dataclass(frozen=True)
class Contains(Leaf):
    """``field contains text``: a part of a text, upper and lower case told apart, or one entry of a list."""

    text: str

    def __post_init__(self) -> None:
        if not isinstance(self.text, str) or not self.text:
            self.refuse(f"contains takes a text that is not empty, got {self.text!r:.60}.")

    def __str__(self) -> str:
        return f"{_name_text(self.field)} contains {value_text(self.text)}"

    def check_kind(self, kind: ColumnKind) -> None:
        """Refuse columns that hold neither texts nor lists of them."""
        if kind not in ("text", "tags"):
            self.refuse(f"contains is for texts and lists of texts; the column holds {KIND_WORDS[kind]}.")

    def fits(self, table: pyarrow.Table) -> NDArray[np.bool_]:
        """Search each text, or each list; null gives False."""
        import pyarrow

        column = table.column(self.field)
        if not pyarrow.types.is_list(column.type):
            return _to_numpy(compute().match_substring(column, self.text), False)
        parts = [_lists_with(chunk, self.text) for chunk in column.chunks]
        return np.concatenate(parts) if parts else np.zeros(0, bool)


@dataclass(frozen=True)
class Missing(Leaf):
    """``field is null``: the row has no value."""

    def __str__(self) -> str:
        return f"{_name_text(self.field)} is null"

    def check_kind(self, kind: ColumnKind) -> None:
        """Accept every column."""

    def fits(self, table: pyarrow.Table) -> NDArray[np.bool_]:
        """Return where the column is null."""
        return _to_numpy(table.column(self.field).is_null(), True)


@dataclass(frozen=True)
class _Join(Where):
    parts: tuple[Where, ...]

    def leaves(self) -> Iterator[Leaf]:
        """Yield those of all parts."""
        for part in self.parts:
            yield from part.leaves()

    def _text(self, word: str) -> str:
        return f" {word} ".join(_wrapped(part, self.binds() + 1) for part in self.parts)


@dataclass(frozen=True)
class And(_Join):
    """All parts fit."""

    def __str__(self) -> str:
        return self._text("and")

    def binds(self) -> int:
        """Return 1: looser than a comparison, tighter than ``or``."""
        return 1

    def fits(self, table: pyarrow.Table) -> NDArray[np.bool_]:
        """Return where all parts fit."""
        return np.logical_and.reduce([part.fits(table) for part in self.parts])


@dataclass(frozen=True)
class Or(_Join):
    """At least one part fits."""

    def __str__(self) -> str:
        return self._text("or")

    def binds(self) -> int:
        """Return 0: the loosest."""
        return 0

    def fits(self, table: pyarrow.Table) -> NDArray[np.bool_]:
        """Return where any part fits."""
        return np.logical_or.reduce([part.fits(table) for part in self.parts])


@dataclass(frozen=True)
class Not(Where):
    """Exactly the rows that ``part`` does not fit."""

    part: Where

    def __str__(self) -> str:
        return f"not {_wrapped(self.part, 2)}"

    def leaves(self) -> Iterator[Leaf]:
        """Yield those of the part."""
        return self.part.leaves()

    def fits(self, table: pyarrow.Table) -> NDArray[np.bool_]:
        """Return where the part does not fit."""
        return ~self.part.fits(table)


def _flat(kind: type[_Join], parts: Iterable[Where]) -> tuple[Where, ...]:
    """Open parts that are joined in the same way, so that long chains do not nest."""
    result: list[Where] = []
    for part in parts:
        if not isinstance(part, Where):
            raise InputError(f"Only conditions can be joined, got {part!r:.60}.")
        result.extend(part.parts if isinstance(part, kind) else (part,))
    return tuple(result)


def _kind(name: str, schema: pyarrow.Schema) -> ColumnKind:
    if name not in schema.names:
        known = ", ".join(schema.names) or "none"
        raise InputError(
            f"Filter on {name!r}: there is no such column.{nearest(name, schema.names)} Columns: {known}."
        )
    return column_kind(schema.field(name).type)


def _lists_with(lists: pyarrow.ListArray, text: str) -> NDArray[np.bool_]:
    import pyarrow

    found = np.zeros(len(lists), bool)
    entries = compute().list_flatten(lists)
    hit = _to_numpy(compute().equal(entries, pyarrow.scalar(text, entries.type)), False)
    found[compute().list_parent_indices(lists).to_numpy()[hit]] = True
    return found


def _to_numpy(column: pyarrow.Array | pyarrow.ChunkedArray, null: bool) -> NDArray[np.bool_]:
    if column.null_count:
        column = column.fill_null(null)
    # Bits become bytes, so there is always a copy; only arrays, not chunked ones, ask for leave.
    return np.asarray(column, dtype=bool)


def _wrapped(part: Where, tight: int) -> str:
    return str(part) if part.binds() >= tight else f"({part})"


def _name_text(name: str) -> str:
    plain = name.isidentifier() and name.lower() not in WORDS
    return name if plain else "`" + name.replace("`", "``") + "`"
