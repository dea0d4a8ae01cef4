"""From the columns of a GeoParquet file to a table of embeddings; see ``geoparquet.py``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ....core.embed_run import METADATA_KEY
from ....core.errors import InputError, nearest, require
from .embedding_table import OWN_COLUMNS, EmbeddingTable

if TYPE_CHECKING:
    import pyarrow
    from pyarrow import parquet

_BATCH = 8192
_NEEDED = ("tile_id", "embedding", "geometry", "crs", "native_bounds", "valid_fraction")


def read_table(file: parquet.ParquetFile, name: str, wanted: Sequence[str] | None) -> EmbeddingTable:
    """Return the table in an open file.

    Args:
        file: of any origin. name: what messages call it.
        wanted: further columns; None takes all of them.

    Raises:
        InputError: it is not a table of embeddings of tiles, or has no such column.
    """
    schema = file.schema_arrow
    meta = _origin(schema, name)
    further = [column for column in schema.names if column not in OWN_COLUMNS]
    for column in wanted or ():
        if column not in further:
            has = f" It has: {', '.join(further)}." if further else " It has no further columns."
            raise InputError(f"{name}: there is no column {column!r}.{nearest(column, further) or has}")
    further = further if wanted is None else list(wanted)
    width = schema.field("embedding").type.list_size
    if meta.get("dim", width) != width:
        raise InputError(
            f"{name}: says that its vectors have {meta['dim']} numbers, and they have {width}: the file was "
            "changed. Embed the scene again."
        )
    count = file.metadata.num_rows
    vectors = np.empty((count, width), np.float32)
    own = [column for column in OWN_COLUMNS if column in schema.names and column not in ("bbox", "datetime")]
    pieces: dict[str, list[pyarrow.Array]] = {column: [] for column in (*own, *further)}
    del pieces["embedding"]
    done = 0
    for batch in file.iter_batches(_BATCH, columns=[*own, *further]):
        flat = batch.column("embedding").flatten().to_numpy(zero_copy_only=False)
        vectors[done : done + len(batch)] = flat.reshape(-1, width)
        done += len(batch)
        for column, parts in pieces.items():
            piece = _checked(batch.column(column), column, name)
            # The same words in each row: hundreds of letters where a coordinate system has no code.
            parts.append(piece.dictionary_encode() if column in ("crs", "source") else piece)
    if not np.isfinite(vectors).all():
        raise InputError(f"{name}: some vectors are not finite: the file is damaged. Embed the scene again.")
    return _table(_Columns(pieces, count, name), vectors, further, meta)


def _checked(piece: pyarrow.Array, column: str, name: str) -> pyarrow.Array:
    """Return values of a column that every row needs, in the type it is written in.

    Raises:
        InputError: other values, or none.
    """
    kinds = {"tile_id": "string", "geometry": "binary", "crs": "string"}
    if column not in kinds:
        return piece
    if piece.null_count or str(piece.type).removeprefix("large_") != kinds[column]:
        raise InputError(
            f"{name}: the column {column!r} has gaps or holds {piece.type}, not {kinds[column]}: the file "
            "was changed. Embed the scene again."
        )
    if column == "geometry":
        shapely = require("shapely", extra="urban")
        if shapely.is_missing(shapely.from_wkb(piece.to_pylist(), on_invalid="ignore")).any():
            raise InputError(f"{name}: some outlines are no WKB: the file is damaged. Embed the scene again.")
    return piece


def _origin(schema: pyarrow.Schema, name: str) -> dict[str, Any]:
    """Return what made a file.

    Raises:
        InputError: this program did not, or the file holds no tiles.
    """
    metadata = schema.metadata or {}
    try:
        meta = json.loads(metadata.get(METADATA_KEY, b"null"))
    except ValueError:
        meta = None
    if not isinstance(meta, dict):
        what = "a map layer, but " if b"geo" in metadata else ""
        raise InputError(
            f"{name}: {what}not a table of embeddings of this program: what made its vectors is not said. "
            "Make one with `verticlip urban embed`."
        )
    missing = [column for column in _NEEDED if column not in schema.names]
    if missing and "vector" in schema.names:
        raise InputError(
            f"{name}: embeddings of files, which lie nowhere on a map. Embed a scene with `verticlip urban "
            "embed`."
        )
    if missing or not hasattr(schema.field("embedding").type, "list_size"):
        raise InputError(
            f"{name}: no table of embeddings of tiles: {missing[0] if missing else 'embedding'!r} is missing "
            "or of another kind. Make it again with `verticlip urban embed`."
        )
    return meta


class _Columns:
    """Columns of a file, as what a table holds."""

    def __init__(self, pieces: Mapping[str, Sequence[pyarrow.Array]], count: int, name: str) -> None:
        self.pieces, self.count, self.name = pieces, count, name

    def listed(self, column: str) -> list[Any]:
        return [value for piece in self.pieces[column] for value in piece.to_pylist()]

    def different(self, column: str) -> list[Any]:
        """Return the values of a column without repeats."""
        found = [value for piece in self.pieces.get(column, ()) for value in piece.unique().to_pylist()]
        return list(dict.fromkeys(found))

    def plain(self, column: str) -> NDArray[Any]:
        """Return [N] numbers or words; a missing number is NaN."""
        parts = [piece.to_numpy(zero_copy_only=False) for piece in self.pieces[column]]
        return np.concatenate(parts) if parts else np.empty(0)

    def optional(self, column: str, kind: type[np.generic]) -> NDArray[Any] | None:
        """Return [N] numbers, or None where the column is absent or has gaps."""
        parts = self.pieces.get(column)
        if not parts or any(piece.null_count for piece in parts):
            return None
        return np.concatenate([piece.to_numpy(zero_copy_only=False) for piece in parts]).astype(kind)

    def rows_of_four(self, column: str) -> NDArray[Any] | None:
        """Return [N, 4], or None where the column is absent or has gaps."""
        parts = self.pieces.get(column)
        if not parts or any(piece.null_count for piece in parts):
            return None
        flat = [piece.flatten().to_numpy(zero_copy_only=False) for piece in parts]
        return np.concatenate(flat).reshape(-1, 4)


def _table(
    columns: _Columns, vectors: NDArray[np.float32], further: Sequence[str], meta: dict[str, Any]
) -> EmbeddingTable:
    systems = columns.different("crs")
    if len(systems) > 1:
        raise InputError(
            f"{columns.name}: its tiles are in several coordinate systems ("
            f"{', '.join(sorted(systems)[:3])}). Use the tables of the scenes one by one."
        )
    bounds = columns.rows_of_four("native_bounds")
    pixels = columns.rows_of_four("pixel_bbox")
    windows = None
    if pixels is not None:
        windows = np.concatenate([pixels[:, :2], pixels[:, 2:] - pixels[:, :2]], axis=1).astype(np.int64)
    axes = [columns.optional(axis, np.int64) for axis in "zxy"]
    regions: list[list[str] | None] = columns.listed("regions") if "regions" in columns.pieces else [None]
    return EmbeddingTable(
        tuple(columns.listed("tile_id")),
        vectors,
        tuple(columns.listed("geometry")),
        np.empty((0, 4)) if bounds is None else bounds.astype(np.float64),
        next(iter(systems), ""),
        columns.plain("valid_fraction").astype(np.float32),
        windows,
        None if any(axis is None for axis in axes) else np.stack(axes, axis=1),  # pyright: ignore[reportArgumentType, reportCallIssue]
        None if None in regions else tuple(tuple(names or ()) for names in regions),
        columns.optional("coverage", np.float64),
        next(filter(None, columns.different("source")), ""),
        {column: columns.plain(column) for column in further},
        meta,
    )
