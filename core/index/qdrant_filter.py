"""Conditions as filters of Qdrant."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import InputError
from .columns import column_kind, to_moment
from .conditions import And, Compare, Contains, In, Leaf, Missing, Not, Or, Where
from .literals import Value, for_whole_numbers

if TYPE_CHECKING:
    import pyarrow

_BOUND = {"<": "lt", "<=": "lte", ">": "gt", ">=": "gte"}


def to_filter(where: Where, schema: pyarrow.Schema) -> Any:
    """Return a ``qdrant_client.models.Filter`` that fits the same rows as ``where.mask``.

    Raises:
        InputError: a condition that Qdrant cannot answer: texts by order, or parts of a text.
    """
    from qdrant_client import models

    where.check(schema)
    if isinstance(where, And):
        return models.Filter(must=[to_filter(part, schema) for part in where.parts])
    if isinstance(where, Or):
        return models.Filter(should=[to_filter(part, schema) for part in where.parts])
    if isinstance(where, Not):
        return models.Filter(must_not=[to_filter(where.part, schema)])
    if isinstance(where, Compare):
        return _compare(where, schema.field(where.field).type)
    if isinstance(where, In):
        return _one_of(where, schema.field(where.field).type)
    if isinstance(where, Contains):
        if column_kind(schema.field(where.field).type) != "tags":
            raise InputError(
                f"Filter on {where.field!r}: Qdrant compares whole texts and cannot look for a part of one. "
                "Ask with = or in, or keep the words as a list."
            )
        return _field(where, match=models.MatchValue(value=where.text))
    if isinstance(where, Missing):
        return _missing(where, schema)
    raise TypeError(f"{type(where).__name__} is no condition.")


def key_of(name: str) -> str:
    """Return the path of a payload field; in quotes, so that dots and spaces are part of the name."""
    return f'"{name}"'


def _field(leaf: Leaf, **condition: Any) -> Any:
    from qdrant_client import models

    return models.Filter(must=[models.FieldCondition(key=key_of(leaf.field), **condition)])


def _missing(leaf: Leaf, schema: pyarrow.Schema) -> Any:
    from qdrant_client import models

    key = models.PayloadField(key=key_of(leaf.field))
    absent: Any = models.IsEmptyCondition(is_empty=key)
    if column_kind(schema.field(leaf.field).type) == "tags":
        # A list without entries is empty as well, yet it is there.
        absent = models.IsNullCondition(is_null=key)
    return models.Filter(must=[absent])


def _compare(leaf: Compare, kind: pyarrow.DataType) -> Any:
    from pyarrow import types
    from qdrant_client import models

    op, value = leaf.op, leaf.value
    if isinstance(value, float) and types.is_integer(kind):
        op, value = for_whole_numbers(op, value)
        if isinstance(value, bool):
            return _present(leaf) if value else _nothing()
    if op == "!=":
        equal = _equal(leaf, value, kind)
        return models.Filter(must=[_present(leaf)], must_not=[equal])
    if op == "=":
        return _equal(leaf, value, kind)
    return _bounded(leaf, {_BOUND[op]: value}, kind)


def _one_of(leaf: In, kind: pyarrow.DataType) -> Any:
    from pyarrow import types
    from qdrant_client import models

    values: Any = list(leaf.values_for(kind))
    if values and (types.is_string(kind) or types.is_integer(kind)):
        return _field(leaf, match=models.MatchAny(any=values))
    if not values:
        return _nothing()
    return models.Filter(should=[_equal(leaf, value, kind) for value in values])


def _equal(leaf: Leaf, value: Value, kind: pyarrow.DataType) -> Any:
    from pyarrow import types
    from qdrant_client import models

    if types.is_floating(kind) or types.is_timestamp(kind):
        return _bounded(leaf, {"gte": value, "lte": value}, kind)
    return _field(leaf, match=models.MatchValue(value=value))  # pyright: ignore[reportArgumentType]


def _bounded(leaf: Leaf, bounds: dict[str, Value], kind: pyarrow.DataType) -> Any:
    from pyarrow import types
    from qdrant_client import models

    if types.is_timestamp(kind):
        moments: Any = {name: to_moment(value) for name, value in bounds.items()}  # pyright: ignore
        return _field(leaf, range=models.DatetimeRange(**moments))
    if types.is_string(kind):
        raise InputError(f"Filter on {leaf.field!r}: Qdrant does not compare texts by order. Use = or in.")
    numbers: Any = dict(bounds)
    return _field(leaf, range=models.Range(**numbers))


def _present(leaf: Leaf) -> Any:
    from qdrant_client import models

    return models.Filter(
        must_not=[models.IsEmptyCondition(is_empty=models.PayloadField(key=key_of(leaf.field)))]
    )


def _nothing() -> Any:
    from qdrant_client import models

    return models.Filter(must=[models.HasIdCondition(has_id=[])])
