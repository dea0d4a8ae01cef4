"""Writes that touch nothing but marks, and how much may go at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ....core.errors import ConfigError, InputError
from ....core.index.base import Change, Rows
from ....core.index.conditions import Where
from .config import VIEWS
from .filters import resolved

if TYPE_CHECKING:
    from ....core.index.base import VectorIndex

MAX_DELETE_SHARE = 0.2
"""Share of the products that a source may lack before it is taken for one that was cut."""


def check_lost(lost: int, total: int, max_share: float, *, what: str) -> None:
    """Refuse to take out more products at once than may be missing from a whole source.

    Args:
        what: would take them out. lost: products of ``total``.

    Raises:
        ConfigError: ``lost`` is over the share.
    """
    if lost > max_share * total:
        raise ConfigError(
            f"{what} would take out {lost:,} of {total:,} products ({lost / total:.0%}), more than the share "
            f"of {max_share:g} that may go at once; none of these was taken out. If the source is whole, "
            "raise max_delete_share (--max-delete-share)."
        )


def ids_of(index: VectorIndex, which: Sequence[str] | Where) -> list[str]:
    """Return ids as they are given, or those of all products that fit a condition.

    Raises:
        InputError: neither of the two, or a field that is not there.
    """
    if isinstance(which, str):
        raise InputError(f"delete takes a list of ids or a condition, got the text {which!r:.60}.")
    if isinstance(which, Where):
        where = resolved(which, index.schema)
        return [name for rows in index.scan(columns=[], where=where) for name in rows.ids]
    return list(which)


def mark(index: VectorIndex, of: Mapping[str, str | None]) -> Change:
    """Note which product each of these is a duplicate of; None takes the mark off.

    Raises:
        InputError: a product that is not there, or products that would all be duplicates of each other: none
            of them would be found any more.
    """
    import pyarrow as pa

    names = list(dict.fromkeys([*of, *(value for value in of.values() if value is not None)]))
    there = set(index.get(names, columns=[]).ids)
    lost = [name for name in names if name not in there]
    if lost:
        raise InputError(f"The catalogue has no product {lost[0]!r} ({len(lost):,} such ids).")
    _refuse_circles(index, of)
    rows = index.get(list(of), views=VIEWS)
    marks = pa.array([of[name] for name in rows.ids], pa.string())
    place = rows.payload.schema.get_field_index("duplicate_of")
    payload = rows.payload.set_column(place, "duplicate_of", marks)
    return index.upsert(Rows(rows.ids, payload, rows.vectors, rows.present))


def _refuse_circles(index: VectorIndex, of: Mapping[str, str | None]) -> None:
    """Raise ``InputError`` where following the marks, those that are stored included, ends at no product."""
    marks = dict(of)
    while asked := {target for target in marks.values() if target is not None and target not in marks}:
        rows = index.get(list(asked), columns=["duplicate_of"])
        marks |= dict.fromkeys(asked) | dict(
            zip(rows.ids, rows.payload["duplicate_of"].to_pylist(), strict=True)
        )
    kept: set[str] = set()
    for name in of:
        path: dict[str, None] = {}
        place: str | None = name
        while place is not None and place not in kept:
            if place in path:
                raise InputError(
                    f"{name!r:.80} cannot be a duplicate of {of[name]!r:.80}: following the marks leads back "
                    "to itself, and none would be found any more. Take a mark off first."
                )
            path[place] = None
            place = marks[place]
        kept.update(path)
