"""Embeddings of tiles and where these lie, in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....core.errors import DataError, InputError, nearest, require
from ..geometry.tiles import Tiles

OWN_COLUMNS = (
    "tile_id", "embedding", "geometry", "bbox", "z", "x", "y", "source", "crs", "native_bounds",
    "pixel_bbox", "datetime", "valid_fraction", "regions", "coverage",
)  # fmt: skip
"""Columns of every table; others are the user's."""


@dataclass(frozen=True, eq=False)
class EmbeddingTable:
    """Embeddings of N tiles and where these lie.

    Attributes:
        ids: N unique names.
        vectors: float32 [N, D]; unit length where ``meta["normalized"]``.
        geometry: N footprints, WKB polygons in longitude and latitude (EPSG:4326).
        bounds: float64 [N, 4] (west, south, east, north) in units of ``crs``.
        crs: authority code or WKT of the tiles.
        valid_fraction: float32 [N], share of valid pixels.
        windows: int64 [N, 4] (column, row, width, height) in the scene, or None.
        zxy: int64 [N, 3] of a tile scheme, or None.
        regions: N tuples of region ids, or None.
        coverage: float64 [N], or None.
        source: file name of the scene.
        columns: {name: [N]} further columns, numbers or words.
        meta: what made the vectors: ``model_id``, ``revision``, ``processor``, ``dim``, ``normalized``,
            ``dtype`` (of the file), ``scaling`` (from file values to [0, 1]), ``version``, ``scheme``,
            ``datum`` of the tiles, ``run``.
    """

    ids: tuple[str, ...]
    vectors: NDArray[np.float32]
    geometry: tuple[bytes, ...]
    bounds: NDArray[np.float64]
    crs: str
    valid_fraction: NDArray[np.float32]
    windows: NDArray[np.int64] | None = None
    zxy: NDArray[np.int64] | None = None
    regions: tuple[tuple[str, ...], ...] | None = None
    coverage: NDArray[np.float64] | None = None
    source: str = ""
    columns: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    meta: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def from_tiles(
        cls,
        tiles: Tiles,
        vectors: NDArray[np.floating],
        *,
        valid_fraction: NDArray[np.floating] | None = None,
        source: str = "",
        columns: Mapping[str, NDArray[Any]] | None = None,
        meta: Mapping[str, Any] | None = None,
    ) -> EmbeddingTable:
        """Return a table of tiles and vectors [N, D] that go with them.

        Raises:
            DataError: as many vectors as tiles are needed.
        """
        if vectors.ndim != 2 or len(vectors) != len(tiles):
            raise DataError(f"{len(tiles)} tiles need vectors [{len(tiles)}, D]; got {list(vectors.shape)}.")
        return cls(
            tiles.ids,
            np.ascontiguousarray(vectors, np.float32),
            footprint_wkb(tiles),
            tiles.bounds,
            tiles.crs,
            np.ones(len(tiles), np.float32) if valid_fraction is None else valid_fraction.astype(np.float32),
            tiles.windows,
            tiles.zxy,
            tiles.regions,
            tiles.coverage,
            source,
            dict(columns or {}),
            {"dim": vectors.shape[1], "normalized": True, **tiles_meta(tiles), **(meta or {})},
        )

    def tiles(self) -> Tiles:
        """Return the tiles, with their own coordinate system and windows."""
        return Tiles(
            self.ids,
            self.bounds,
            self.crs,
            self.windows,
            self.zxy,
            self.regions,
            self.coverage,
            str(self.meta.get("scheme", "raster")),
            str(self.meta.get("datum", "EPSG:4326")),
        )

    def take(self, rows: Sequence[int] | NDArray[np.integer]) -> EmbeddingTable:
        """Return the table of some rows, in the order given."""
        index = np.asarray(rows, np.int64).reshape(-1)
        tiles = self.tiles().take(index)
        return replace(
            self,
            ids=tiles.ids,
            vectors=self.vectors[index],
            geometry=tuple(self.geometry[row] for row in index),
            bounds=tiles.bounds,
            valid_fraction=self.valid_fraction[index],
            windows=tiles.windows,
            zxy=tiles.zxy,
            regions=tiles.regions,
            coverage=tiles.coverage,
            columns={name: np.asarray(values)[index] for name, values in self.columns.items()},
        )

    def with_columns(self, columns: Mapping[str, NDArray[Any] | Sequence[Any]]) -> EmbeddingTable:
        """Return the table with further columns, or with others of the same name.

        Raises:
            DataError: a name of the table's own, or another number of values than rows.
        """
        for name, values in columns.items():
            if name in OWN_COLUMNS:
                raise DataError(
                    f"A column cannot be called {name!r}: the table has one. Choose another name."
                )
            if len(values) != len(self):
                raise DataError(f"Column {name!r} has {len(values)} values for {len(self)} tiles.")
        arrays = {name: np.asarray(values) for name, values in columns.items()}
        return replace(self, columns={**self.columns, **arrays})

    def centers(self) -> NDArray[np.float64]:
        """Return the centres of the footprints, float64 [N, 2] (longitude, latitude) in degrees."""
        return self.tiles().centers("EPSG:4326")

    def row_of(self, tile_id: str) -> int:
        """Return the row of a tile.

        Raises:
            InputError: there is none of this name; the nearest one is given.
        """
        try:
            return self.ids.index(tile_id)
        except ValueError:
            raise InputError(
                f"There is no tile called {tile_id!r} in this table.{nearest(tile_id, self.ids)}"
            ) from None


def tiles_meta(tiles: Tiles) -> dict[str, Any]:
    """Return what a file says about its tiles as a whole."""
    return {"scheme": tiles.scheme, "datum": tiles.datum}


def footprint_wkb(tiles: Tiles) -> tuple[bytes, ...]:
    """Return the outlines of tiles in longitude and latitude (EPSG:4326) as WKB.

    Raises:
        InputError: the tiles have no coordinate system, or lie where it does not reach.
    """
    shapely = require("shapely", extra="urban")
    if not len(tiles):
        return ()
    polygons = tiles.footprints("EPSG:4326")
    lost = shapely.is_empty(polygons)
    if lost.any():
        row = int(np.flatnonzero(lost)[0])
        raise InputError(
            f"Tile {tiles.ids[row]!r} with bounds {tuple(tiles.bounds[row].tolist())} lies outside of what "
            f"its coordinate system ({tiles.crs[:40]}) describes. Is it the right one for the scene?"
        )
    # One byte order on every machine, so that equal runs give equal files.
    return tuple(shapely.to_wkb(polygons, byte_order=1).tolist())
