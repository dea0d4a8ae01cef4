"""What may enter an index: ids, vectors and queries, refused by name when they cannot be used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError, nearest
from .base import Rows
from .columns import conform, rows_of

if TYPE_CHECKING:
    import pyarrow
    from numpy.typing import NDArray

LONGEST_ID = 1000
"""Characters of an id."""
_OFF_UNIT = 1e-3
"""Length error that half-precision models leave; anything more was not normalized."""
_CHECKED_ROWS = 8192


@dataclass(frozen=True, eq=False)
class Batch:
    """Rows that were checked, in the order they were given; see :class:`.gathering.Source`."""

    ids: pyarrow.Array
    payload: pyarrow.Table
    vectors: Mapping[str, NDArray[np.float32]]
    has: Mapping[str, NDArray[np.bool_]]

    def payload_of(self, schema: pyarrow.Schema, rows: NDArray[np.int64]) -> pyarrow.Table:
        """Return columns of the payload of some rows."""
        return rows_of(self.payload.select(schema.names), rows)

    def take(self, view: str, rows: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return the vectors of some rows, float32 [R, D], and which have one, bool [R]."""
        return self.vectors[view][rows], self.has[view][rows]

    def present(self, view: str) -> NDArray[np.bool_]:
        """Return which rows have a vector, bool [N]."""
        return self.has[view]


def check_rows(rows: Rows, *, dim: int, views: Sequence[str], schema: pyarrow.Schema) -> Batch:
    """Return rows as they are written.

    Raises:
        InputError: an id that is empty, too long, no text or there twice; views or payload columns other
            than those of the index; a vector that is not finite, not of unit length or not of dimension D.
    """
    import pyarrow

    check_ids(rows.ids)
    count = len(rows.ids)
    for name in [*rows.vectors, *rows.present]:
        check_view(name, views)
    vectors, has = {}, {}
    for view in views:
        if view not in rows.vectors:
            raise InputError(
                f"The rows lack {view!r} vectors. Where no row has one, pass zeros and say so in present."
            )
        has[view] = _mask(rows, view, count)
        vectors[view] = _unit_rows(rows, view, has[view], dim)
    payload = conform(rows.payload, schema, count)
    _check_numbers(payload, rows.ids)
    return Batch(pyarrow.array(rows.ids, pyarrow.string()), payload, vectors, has)


def check_ids(ids: Sequence[str]) -> None:
    """Raise ``InputError`` for an id that is no text, empty, too long, not Unicode, or there twice."""
    seen: set[str] = set()
    for place, one in enumerate(ids):
        if not isinstance(one, str):
            raise InputError(f"Id {place} is {one!r:.60}; ids are texts.")
        if not one:
            raise InputError(f"Id {place} is empty.")
        if len(one) > LONGEST_ID:
            raise InputError(f"Id {one[:40]!r}... has {len(one):,} characters; the limit is {LONGEST_ID:,}.")
        if one in seen:
            raise InputError(f"The id {one!r:.80} stands twice among the rows. Ids must differ.")
        seen.add(one)
        if not _is_unicode(one):
            raise InputError(f"Id {one!r:.80} holds half a character (a lone surrogate).")


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def ids_to_find(ids: Sequence[str]) -> list[str]:
    """Return ids to look for, each once; one that no row can have is no error and left out.

    Raises:
        InputError: one text instead of a list, or an id that is no text.
    """
    if isinstance(ids, str):
        raise InputError(f"Ids are a list of texts, got the text {ids!r:.60}. Write [{ids!r:.60}].")
    for place, one in enumerate(ids):
        if not isinstance(one, str):
            raise InputError(f"Id {place} is {one!r:.60}; ids are texts.")
    return [one for one in dict.fromkeys(ids) if 0 < len(one) <= LONGEST_ID and _is_unicode(one)]


def check_view(name: str, views: Sequence[str]) -> None:
    """Raise ``InputError`` for a view that the index does not have."""
    if name not in views:
        raise InputError(f"The index has no view {name!r}.{nearest(name, views)} Views: {', '.join(views)}.")


def check_queries(queries: NDArray[np.float32], dim: int) -> NDArray[np.float32]:
    """Return queries float32 [Q, D].

    Raises:
        InputError: another shape, values that are not finite, or a length other than 1.
    """
    values = np.asarray(queries)
    if values.ndim != 2 or values.shape[1] != dim or values.dtype.kind not in "fiu":
        hint = " Pass queries[None] for a single one." if values.shape == (dim,) else ""
        raise InputError(
            f"Queries must be numbers [Q, {dim}], got {values.dtype} {list(values.shape)}.{hint}"
        )
    values = np.ascontiguousarray(values, dtype=np.float32)
    place, problem = _bad_row(values, None)
    if problem:
        raise InputError(f"Query {place} {problem}")
    return values


def check_k(k: int) -> int:
    """Return k, or raise ``InputError`` where it is below 1."""
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
        raise InputError(f"k must be a whole number of at least 1, got {k!r:.40}.")
    return int(k)


def _mask(rows: Rows, view: str, count: int) -> NDArray[np.bool_]:
    if view not in rows.present:
        return np.ones(count, bool)
    mask = np.asarray(rows.present[view])
    if mask.dtype != np.bool_ or mask.shape != (count,):
        raise InputError(
            f"present[{view!r}] must be bool [{count}], one per id, got {mask.dtype} {list(mask.shape)}."
        )
    return mask


def _unit_rows(rows: Rows, view: str, has: NDArray[np.bool_], dim: int) -> NDArray[np.float32]:
    values, count = np.asarray(rows.vectors[view]), len(rows.ids)
    if values.shape != (count, dim) or values.dtype.kind != "f":
        raise InputError(
            f"{view!r} vectors must be float32 [{count}, {dim}], got {values.dtype} {list(values.shape)}."
        )
    values = np.ascontiguousarray(values, dtype=np.float32)
    place, problem = _bad_row(values, has)
    if problem:
        raise InputError(f"{rows.ids[place]!r:.80}: its {view!r} vector {problem}")
    return values


def _bad_row(values: NDArray[np.float32], has: NDArray[np.bool_] | None) -> tuple[int, str]:
    """Return the first row that is no unit vector and what is wrong with it, or (0, "")."""
    for first in range(0, len(values), _CHECKED_ROWS):
        block = values[first : first + _CHECKED_ROWS]
        squares = np.einsum("ij,ij->i", block, block, dtype=np.float32)
        # NaN and infinity fail this comparison as well.
        good = np.abs(squares - 1) <= 2 * _OFF_UNIT
        if has is not None:
            good |= ~has[first : first + _CHECKED_ROWS]
        if good.all():
            continue
        place = int(np.argmin(good))
        row = block[place]
        if not np.isfinite(row).all():
            return first + place, "holds NaN or infinity."
        if not row.any():
            return first + place, "is all zeros."
        length = float(np.linalg.norm(row.astype(np.float64)))
        return first + place, f"has length {length:.4g}, expected 1. Divide it by its length first."
    return 0, ""


def _check_numbers(payload: pyarrow.Table, ids: Sequence[str]) -> None:
    """Refuse NaN and infinity, which no two back ends compare alike."""
    import pyarrow

    for field in payload.schema:
        if not pyarrow.types.is_floating(field.type):
            continue
        column = payload.column(field.name)
        odd = np.asarray(column.is_valid(), dtype=bool) & ~np.isfinite(column.to_numpy())
        if odd.any():
            place = int(np.argmax(odd))
            raise InputError(
                f"{ids[place]!r:.80}: {field.name} is {column[place].as_py()}; "
                "a number that is not known is null, not NaN."
            )
