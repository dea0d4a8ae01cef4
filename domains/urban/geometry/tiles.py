"""Tiles as columns: where each lies, what it is called, which regions it covers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Tile:
    """One rectangle of ground.

    Attributes:
        id: unique name, stable between runs.
        bounds: (west, south, east, north) in units of ``crs``.
        crs: authority code ("EPSG:32618", "EPSG:4326") or WKT.
        window: (column, row, width, height) in pixels of the source raster, or None when the tile is no
            part of a raster's own grid and reading it resamples.
        zxy: (zoom, x, y) of a tile scheme, or None.
        regions: ids of the regions it covers.
        coverage: share of its area inside of the regions, 0 to 1.
    """

    id: str
    bounds: tuple[float, float, float, float]
    crs: str
    window: tuple[int, int, int, int] | None = None
    zxy: tuple[int, int, int] | None = None
    regions: tuple[str, ...] = ()
    coverage: float = 1.0


@dataclass(frozen=True)
class Tiles:
    """N tiles of one coordinate system.

    Attributes:
        ids: N unique names.
        bounds: float64 [N, 4] (west, south, east, north) in units of ``crs``.
        crs: as in :class:`Tile`.
        windows: int64 [N, 4] (column, row, width, height), or None.
        zxy: int64 [N, 3], or None.
        regions: N tuples of region ids, or None.
        coverage: float64 [N], or None for 1 everywhere.
        scheme: ``raster``, ``webmercator``, ``tms``, ``baidu`` or ``grid``.
        grid: (column of the first tile's left edge, row of its upper edge, stride in columns, stride in rows,
            columns of tiles, rows of tiles) of a regular grid of windows, or None.
    """

    ids: tuple[str, ...]
    bounds: NDArray[np.float64]
    crs: str
    windows: NDArray[np.int64] | None = None
    zxy: NDArray[np.int64] | None = None
    regions: tuple[tuple[str, ...], ...] | None = None
    coverage: NDArray[np.float64] | None = None
    scheme: str = "raster"
    grid: tuple[int, int, int, int, int, int] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Tile:
        west, south, east, north = self.bounds[index].tolist()
        return Tile(
            self.ids[index],
            (west, south, east, north),
            self.crs,
            None if self.windows is None else tuple(self.windows[index].tolist()),  # pyright: ignore[reportArgumentType]
            None if self.zxy is None else tuple(self.zxy[index].tolist()),  # pyright: ignore[reportArgumentType]
            () if self.regions is None else self.regions[index],
            1.0 if self.coverage is None else float(self.coverage[index]),
        )

    def __iter__(self) -> Iterator[Tile]:
        return (self[index] for index in range(len(self)))
