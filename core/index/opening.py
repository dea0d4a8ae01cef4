"""Making an index and opening one, whatever keeps it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ConfigError
from .base import Identity, Kind, VectorIndex
from .settings import IndexDescription, IndexOptions

if TYPE_CHECKING:
    import pyarrow

    from .lance import LanceIndex
    from .local import LocalIndex

    FolderIndex = LocalIndex | LanceIndex
    """What a folder holds; beyond :class:`.base.VectorIndex` it can add columns."""


def create_index(
    folder: str | Path,
    *,
    identity: Identity,
    views: Sequence[str],
    schema: pyarrow.Schema,
    kind: Kind = "auto",
    options: IndexOptions | None = None,
) -> VectorIndex:
    """Make an empty index and return it.

    Args:
        folder: absent or empty.
        identity: what makes the vectors; those of anything else are refused.
        views: names of the vectors a row may have, plain lower-case words.
        schema: payload columns: string, float64, int64, bool, list<string> or timestamp, all may be null.
        kind: what keeps and searches the vectors.
        options: how; None takes the defaults.

    Raises:
        ConfigError: the folder is in use, or an option or view is not acceptable.
        InputError: a payload column of an unsupported type.

    Example:
        >>> import pyarrow, tempfile
        >>> index = create_index(
        ...     tempfile.mkdtemp(), identity=Identity("m", "1", "p", dim=4), views=["image"],
        ...     schema=pyarrow.schema([("price", pyarrow.float64())]), kind="flat",
        ... )
        >>> len(index), index.version
        (0, 0)
    """
    folder = Path(folder)
    description = IndexDescription.of(kind, identity, tuple(views), options or IndexOptions())
    if kind == "lancedb":
        from .lance import LanceIndex

        return LanceIndex.create(folder, description, schema)
    if kind == "qdrant":
        raise ConfigError(
            "An index in Qdrant lives in a server: make it with QdrantIndex.create(url, name, ...)."
        )
    from .local import LocalIndex

    return LocalIndex.create(folder, description, schema)


def open_index(
    folder: str | Path, *, version: int | None = None, read_only: bool = False, wait_s: float = 0.0
) -> FolderIndex:
    """Return the index in a folder.

    Args:
        folder: that :func:`create_index` made.
        version: to read; None takes the last one. An earlier one can only be read.
        read_only: refuse writes.
        wait_s: seconds that a write waits for another writer before it is refused.

    Raises:
        ConfigError: no index, no such version, or a damaged file, which is named.
    """
    folder = Path(folder)
    kind = IndexDescription.read(folder).kind
    if kind == "lancedb":
        from .lance import LanceIndex

        return LanceIndex(folder, version=version, read_only=read_only, wait_s=wait_s)
    from .local import LocalIndex

    return LocalIndex(folder, version=version, read_only=read_only, wait_s=wait_s)
