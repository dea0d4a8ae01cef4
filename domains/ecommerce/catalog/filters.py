"""Conditions as people write them: attributes by their own names."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ....core.errors import InputError, nearest
from ....core.index.conditions import And, Leaf, Not, Or, Where
from ....core.index.filters import F, parse_where
from .payload import BOOKKEEPING, attribute_column, attribute_name

if TYPE_CHECKING:
    import pyarrow


def resolved(
    where: Where | str | None, schema: pyarrow.Schema, *, hide_duplicates: bool = False
) -> Where | None:
    """Return a condition on the columns of the index.

    Args:
        where: on fields and attributes, built or as text; ``sleeve`` is the attribute unless a field is
            called so; ``attr.sleeve`` always is.
        hide_duplicates: and only products without a mark.

    Raises:
        InputError: not a condition, or a field or attribute that is not there.
    """
    if isinstance(where, str):
        where = parse_where(where)
    found = None if where is None else _renamed(where, schema)
    if hide_duplicates:
        unmarked = F("duplicate_of").missing()
        found = unmarked if found is None else found & unmarked
    return found


def _renamed(where: Where, schema: pyarrow.Schema) -> Where:
    if isinstance(where, (And, Or)):
        return type(where)(tuple(_renamed(part, schema) for part in where.parts))
    if isinstance(where, Not):
        return Not(_renamed(where.part, schema))
    if isinstance(where, Leaf):
        return replace(where, field=_column(where.field, schema))
    raise InputError(f"A filter is a condition such as F('price') < 50, got {where!r:.60}.")


def _column(name: str, schema: pyarrow.Schema) -> str:
    if name in schema.names:
        return name
    for attribute in (name, name.removeprefix("attr.")):
        if attribute_column(attribute) in schema.names:
            return attribute_column(attribute)
    known = [attribute_name(one) for one in schema.names if one not in (*BOOKKEEPING, "more")]
    raise InputError(
        f"Filter on {name!r}: no field or attribute with a column is called so.{nearest(name, known)} There "
        f"are: {', '.join(known)}. Attributes beyond these are kept, but not filtered by; give them "
        "columns when the catalogue is created, or later by ingest --new-attributes."
    )
