"""Conditions as SQL in the dialect of DataFusion, which LanceDB speaks."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from .columns import column_kind
from .conditions import And, Compare, Contains, In, Leaf, Missing, Not, Or, Where
from .literals import Value, for_whole_numbers, scalar_for

if TYPE_CHECKING:
    import pyarrow


def to_sql(where: Where, schema: pyarrow.Schema, *, turned: bool = False) -> str:
    """Return SQL that fits the same rows as ``where.mask``.

    Args:
        where: checked against ``schema``.
        turned: it stands inside ``NOT``, where the unknown of SQL has to be false.
    """
    if isinstance(where, And | Or):
        word = " AND " if isinstance(where, And) else " OR "
        return "(" + word.join(to_sql(part, schema, turned=turned) for part in where.parts) + ")"
    if isinstance(where, Not):
        return f"(NOT {to_sql(where.part, schema, turned=True)})"
    if not isinstance(where, Leaf):
        raise TypeError(f"{type(where).__name__} is no condition.")
    name = quote_name(where.field)
    text = _leaf(where, name, schema)
    if not turned or isinstance(where, Missing):
        return text
    return f"({name} IS NOT NULL AND {text})"


def quote_name(name: str) -> str:
    """Return the name of a column in backticks."""
    return "`" + name.replace("`", "``") + "`"


def _leaf(leaf: Leaf, name: str, schema: pyarrow.Schema) -> str:
    kind = schema.field(leaf.field).type
    if isinstance(leaf, Compare):
        op, value = leaf.op, leaf.value
        if isinstance(value, float) and str(kind) == "int64":
            op, value = for_whole_numbers(op, value)
            if isinstance(value, bool):
                return f"({name} IS NOT NULL)" if value else "(false)"
        return f"({name} {op} {_literal(value, kind)})"
    if isinstance(leaf, In):
        values = leaf.values_for(kind)
        return (
            f"({name} IN ({', '.join(_literal(value, kind) for value in values)}))" if values else "(false)"
        )
    if isinstance(leaf, Contains):
        function = "array_has" if column_kind(kind) == "tags" else "contains"
        return f"{function}({name}, {_text(leaf.text)})"
    return f"({name} IS NULL)"


def _literal(value: Value, kind: pyarrow.DataType) -> str:
    plain = scalar_for(value, kind).as_py()
    if isinstance(plain, datetime):
        return f"timestamp '{plain.replace(tzinfo=None).isoformat(sep=' ')}'"
    if isinstance(plain, bool):
        return str(plain).lower()
    return repr(plain) if isinstance(plain, int | float) else _text(str(plain))


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
