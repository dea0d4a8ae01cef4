"""Embeddings of tiles as GeoParquet 1.1: a table that QGIS, geopandas and DuckDB open as a map layer.

Columns, one row per tile:

=================  ==========================  ===========================================================
``tile_id``        string                      unique
``embedding``      fixed_size_list<float>[D]   float32, or float16 where asked for
``geometry``       binary                      footprint as WKB polygon, longitude and latitude (EPSG:4326)
``bbox``           struct of 4 doubles         covering of ``geometry``, so that readers skip row groups
``z, x, y``        int32                       indices in a tile scheme, or null
``source``         string                      file name of the scene
``crs``            string                      of ``native_bounds``
``native_bounds``  fixed_size_list<double>[4]  west, south, east, north in units of ``crs``
``pixel_bbox``     fixed_size_list<int32>[4]   first column, first row, end column, end row; or null
``datetime``       timestamp                   when the scene was taken, or null
``valid_fraction`` float                       share of valid pixels, 0 to 1
``regions``        list<string>                regions that the tile covers, or null
``coverage``       double                      share of the tile's area inside of them, or null
=================  ==========================  ===========================================================

and any further ones (indicators, predictions). The file metadata has ``geo`` (GeoParquet) and ``verticlip``
(what made the vectors, see :class:`.EmbeddingTable`).

Reference: GeoParquet 1.1.0 specification; there is no standard for columns of embeddings.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from ....core.embed_run import METADATA_KEY
from ....core.errors import DataError, InputError, require
from ....core.files import atomic_path
from ..geometry.tiles import Tiles
from .embedding_table import EmbeddingTable, footprint_wkb

if TYPE_CHECKING:
    import pyarrow

__all__ = ["EmbeddingTable", "Precision", "TileRows", "read_embeddings", "table_schema", "write_embeddings"]

Precision = Literal["float32", "float16"]
_ROW_GROUP_BYTES = 64 * 1024**2


@dataclass(frozen=True)
class TileRows:
    """How rows of a run over tiles are laid out; see ``core/embed_run.py``.

    Attributes:
        tiles: N, in the order of the rows. dim: D. dtype: of the stored vectors.
        source: file name of the scene. meta: of the result, without ``run``.
    """

    tiles: Tiles
    dim: int
    dtype: Precision
    source: str
    meta: Mapping[str, Any]
    compression: Literal["snappy", "zstd"] = "zstd"

    @property
    def row_group(self) -> int:
        """As many rows as make 64 MiB of vectors, at most 65,536."""
        return rows_per_group(self.dim)

    def schema(self) -> pyarrow.Schema:
        """Return the columns of a table of embeddings."""
        return table_schema(self.dim, self.dtype)

    def arrays(
        self, positions: Sequence[int], vectors: NDArray[np.float32], notes: Sequence[Any]
    ) -> list[pyarrow.Array]:
        """Return the columns of some tiles; a note is a tile's share of valid pixels."""
        tiles = self.tiles.take(np.asarray(positions, np.int64))
        valid = np.asarray(notes, np.float32)
        return _arrays(tiles, footprint_wkb(tiles), vectors, valid, self.source, self.schema())

    def metadata(self, identity: Mapping[str, str], parts: Sequence[Path]) -> dict[bytes, bytes]:
        """Return ``geo``, with the extent of the parts, and ``verticlip``."""
        return _metadata({**self.meta, "run": dict(identity)}, _extent(parts))


def read_embeddings(path: str | Path, *, columns: Sequence[str] | None = None) -> EmbeddingTable:
    """Return a table that :func:`write_embeddings` or ``verticlip urban embed`` wrote.

    Read in batches: beside the result only one batch is in memory.

    Example::

        table = read_embeddings("scene.parquet")
        table.vectors.shape, table.tiles().crs, table.meta["model_id"]

    Args:
        path: GeoParquet file.
        columns: further columns to read; None reads all of them.

    Raises:
        InputError: missing, damaged, or not a table of embeddings of tiles.
    """
    import pyarrow
    from pyarrow import parquet

    from .geoparquet_reading import read_table

    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path.name}: no such file. `verticlip urban embed` makes tables of embeddings.")
    try:
        with parquet.ParquetFile(path) as file:
            return read_table(file, path.name, columns)
    except (pyarrow.ArrowException, OSError) as error:
        raise InputError(
            f"{path.name}: cannot be read as Parquet; it is another kind of file, or damaged. Make it again "
            "with `verticlip urban embed`."
        ) from error


def write_embeddings(path: str | Path, table: EmbeddingTable, *, dtype: Precision = "float32") -> None:
    """Write a table as GeoParquet; the file appears whole or not at all.

    Args:
        path: file to write; one that exists is replaced.
        table: at least one row.
        dtype: ``float16`` halves the file and rounds vectors to three digits.

    Raises:
        DataError: there are no rows, or a tile stands twice.
    """
    import pyarrow
    from pyarrow import parquet

    if not len(table):
        raise DataError("There is nothing to write: the table of embeddings has no rows.")
    if len(set(table.ids)) != len(table):
        raise DataError("A tile stands twice in the table of embeddings. Ids must differ.")
    extra = {name: pyarrow.array(_plain(values)) for name, values in table.columns.items()}
    own = table_schema(table.vectors.shape[1], dtype)
    west, south, east, north = _bbox(table.geometry).T
    extent = (float(west.min()), float(south.min()), float(east.max()), float(north.max()))
    schema = pyarrow.schema([*own, *(pyarrow.field(name, one.type) for name, one in extra.items())])
    # What is written here is no unchanged result of a run any more, and no run may take it for its own.
    meta = {key: value for key, value in table.meta.items() if key != "run"}
    schema = schema.with_metadata(_metadata({**meta, "dtype": dtype}, extent))
    group, places = rows_per_group(table.vectors.shape[1]), table.tiles()
    with atomic_path(path) as temporary, parquet.ParquetWriter(temporary, schema, compression="zstd") as out:
        for start in range(0, len(table), group):
            rows = slice(start, start + group)
            index = np.arange(len(table))[rows]
            tiles = places.take(index)
            arrays = _arrays(
                tiles, table.geometry[rows], table.vectors[rows], table.valid_fraction[rows],
                table.source, own,
            )  # fmt: skip
            arrays += [one.slice(start, len(index)) for one in extra.values()]
            out.write_table(pyarrow.Table.from_arrays(arrays, schema=schema), row_group_size=group)


def rows_per_group(dim: int) -> int:
    """Return how many rows of D numbers make a row group."""
    return max(1, min(65_536, _ROW_GROUP_BYTES // (4 * dim)))


def table_schema(dim: int, dtype: Precision) -> pyarrow.Schema:
    """Return the columns that every table has, as the module says."""
    pa = require("pyarrow", extra="urban")
    number = pa.float16() if dtype == "float16" else pa.float32()
    corner = pa.struct([pa.field(name, pa.float64()) for name in ("xmin", "ymin", "xmax", "ymax")])
    types = {
        "tile_id": pa.string(),
        "embedding": pa.list_(pa.field("element", number, nullable=False), dim),
        "geometry": pa.binary(),
        "bbox": corner,
        **dict.fromkeys(("z", "x", "y"), pa.int32()),
        "source": pa.string(),
        "crs": pa.string(),
        "native_bounds": pa.list_(pa.field("element", pa.float64()), 4),
        "pixel_bbox": pa.list_(pa.field("element", pa.int32()), 4),
        "datetime": pa.timestamp("ms", tz="UTC"),
        "valid_fraction": pa.float32(),
        "regions": pa.list_(pa.field("element", pa.string())),
        "coverage": pa.float64(),
    }
    needed = ("tile_id", "embedding", "geometry", "bbox")
    return pa.schema([pa.field(name, kind, nullable=name not in needed) for name, kind in types.items()])


def _arrays(
    tiles: Tiles,
    geometry: Sequence[bytes],
    vectors: NDArray[np.float32],
    valid: NDArray[np.float32],
    source: str,
    schema: pyarrow.Schema,
) -> list[pyarrow.Array]:
    """Return the columns of :func:`table_schema` for some tiles."""
    import pyarrow as pa

    count = len(tiles)

    def fixed(name: str, values: NDArray[Any] | None) -> pyarrow.Array:
        kind = schema.field(name).type
        if values is None:
            return pa.nulls(count, kind)
        flat = np.ascontiguousarray(values).reshape(-1)
        # A conversion of many floats to 16 bits is NumPy's; Arrow would go through Python.
        flat = flat.astype(kind.value_type.to_pandas_dtype())
        return pa.FixedSizeListArray.from_arrays(pa.array(flat, kind.value_type), type=kind)

    pixels = None
    if tiles.windows is not None:
        pixels = np.concatenate([tiles.windows[:, :2], tiles.windows[:, :2] + tiles.windows[:, 2:]], axis=1)
    corner = schema.field("bbox").type
    box = _bbox(geometry)
    return [
        pa.array(tiles.ids, pa.string()),
        fixed("embedding", vectors),
        pa.array(geometry, pa.binary()),
        pa.StructArray.from_arrays([pa.array(box[:, side]) for side in range(4)], fields=list(corner)),
        *(
            pa.nulls(count, pa.int32()) if tiles.zxy is None else pa.array(tiles.zxy[:, axis], pa.int32())
            for axis in range(3)
        ),
        pa.array([source] * count, pa.string()),
        pa.array([tiles.crs] * count, pa.string()),
        fixed("native_bounds", tiles.bounds),
        fixed("pixel_bbox", pixels),
        pa.nulls(count, schema.field("datetime").type),
        pa.array(valid, pa.float32()),
        pa.nulls(count, schema.field("regions").type)
        if tiles.regions is None
        else pa.array([list(names) for names in tiles.regions], schema.field("regions").type),
        pa.nulls(count, pa.float64()) if tiles.coverage is None else pa.array(tiles.coverage, pa.float64()),
    ]


def _metadata(meta: Mapping[str, Any], extent: Sequence[float] | None) -> dict[bytes, bytes]:
    pyproj = require("pyproj", extra="urban")
    column: dict[str, Any] = {
        "encoding": "WKB",
        # Tiles that cross the antimeridian have a part on each side of it.
        "geometry_types": ["Polygon", "MultiPolygon"] if extent and extent[0] <= -180 else ["Polygon"],
        "crs": pyproj.CRS.from_epsg(4326).to_json_dict(),
        "orientation": "counterclockwise",
        "covering": {"bbox": {side: ["bbox", side] for side in ("xmin", "ymin", "xmax", "ymax")}},
    }
    if extent is not None:
        column["bbox"] = list(extent)
    geo = {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": column}}
    return {
        b"geo": json.dumps(geo, sort_keys=True).encode(),
        METADATA_KEY: json.dumps(dict(meta), sort_keys=True).encode(),
    }


def _extent(parts: Sequence[Path]) -> tuple[float, float, float, float] | None:
    """Return (west, south, east, north) of all rows of some files, or None where there are none."""
    from pyarrow import parquet

    found: list[NDArray[np.float64]] = []
    for part in parts:
        boxes = parquet.read_table(part, columns=["bbox"]).column("bbox").combine_chunks()
        if len(boxes):
            found.append(np.stack([side.to_numpy() for side in boxes.flatten()], axis=1))
    if not found:
        return None
    lows = np.min([rows[:, :2].min(axis=0) for rows in found], axis=0)
    highs = np.max([rows[:, 2:].max(axis=0) for rows in found], axis=0)
    return float(lows[0]), float(lows[1]), float(highs[0]), float(highs[1])


def _bbox(geometry: Sequence[bytes]) -> NDArray[np.float64]:
    shapely = require("shapely", extra="urban")
    return np.asarray(shapely.bounds(shapely.from_wkb(list(geometry)))).reshape(-1, 4)


def _plain(values: NDArray[Any]) -> Any:
    """Return a column as Arrow takes it: words as a list, NumPy's fixed-width text would be bytes."""
    array = np.asarray(values)
    return array.tolist() if array.dtype.kind in "OUS" else array
