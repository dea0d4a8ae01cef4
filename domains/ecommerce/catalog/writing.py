"""One writer at a time, and writes that touch nothing but marks."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ....core.errors import ConfigError, InputError
from ....core.index.base import Change, Rows
from .config import VIEWS

if TYPE_CHECKING:
    from ....core.index.base import VectorIndex

LOCK_FILE = "writer.lock"


@contextlib.contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Keep other writers of a catalogue out, over several versions of its index.

    Raises:
        ConfigError: another one is writing.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(folder / LOCK_FILE)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ConfigError(
            f"{folder}: another process is writing to this catalogue. Wait until it is done; searches go on "
            "meanwhile."
        ) from None
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be written to ({error.strerror}).") from error
    try:
        yield
    finally:
        lock.release()


def mark(index: VectorIndex, of: Mapping[str, str | None]) -> Change:
    """Note which product each of these is a duplicate of; None takes the mark off.

    Raises:
        InputError: a product that is not there.
    """
    import pyarrow as pa

    names = list(dict.fromkeys([*of, *(value for value in of.values() if value is not None)]))
    there = set(index.get(names, columns=[]).ids)
    lost = [name for name in names if name not in there]
    if lost:
        raise InputError(f"The catalogue has no product {lost[0]!r} ({len(lost):,} such ids).")
    rows = index.get(list(of), views=VIEWS)
    marks = pa.array([of[name] for name in rows.ids], pa.string())
    place = rows.payload.schema.get_field_index("duplicate_of")
    payload = rows.payload.set_column(place, "duplicate_of", marks)
    return index.upsert(Rows(rows.ids, payload, rows.vectors, rows.present))
