"""Copying an index into another one, whatever keeps the two."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ..errors import ConfigError
from .base import Rows, VectorIndex
from .conditions import Where


def copy_index(
    source: VectorIndex,
    target: VectorIndex,
    *,
    where: Where | None = None,
    change: Callable[[Rows], Rows] | None = None,
    batch_size: int = 2048,
    progress: Callable[[str, float], None] | None = None,
) -> int:
    """Write the rows of an index into another and return how many there were; memory holds one batch.

    Rows that are in the target already are replaced, so that a copy that was stopped is simply done again.

    Args:
        source: is read. target: of the same model, views and columns.
        where: only rows that fit.
        change: what a batch of rows becomes in the target, which then may have another ``processor`` and
            ``text`` in its identity; model, revision and dimension stay the same.
        batch_size: rows per write, each of which is a version of the target.
        progress: called with what is done and the share of it that is.

    Raises:
        ConfigError: the two do not hold the same kind of rows.

    Example:
        >>> copy_index(open_index("catalog/index"), QdrantIndex.open(url, "catalog"))  # doctest: +SKIP
        203912
    """
    made_by = source.identity
    if change is not None:
        made_by = replace(made_by, processor=target.identity.processor, text=target.identity.text)
    target.identity.check(made_by, what="The source")
    if set(source.views) != set(target.views):
        raise ConfigError(
            f"The source has the views {', '.join(source.views)}, the target {', '.join(target.views)}."
        )
    if dict(zip(source.schema.names, source.schema.types, strict=True)) != dict(
        zip(target.schema.names, target.schema.types, strict=True)
    ):
        raise ConfigError("The payload columns differ. Create the target with the schema of the source.")
    total, done = len(source), 0
    for rows in source.scan(views=source.views, where=where, batch_size=batch_size):
        if len(rows):
            target.upsert(rows if change is None else change(rows))
            done += len(rows)
        if progress is not None:
            progress("copy", done / max(total, 1))
    return done
