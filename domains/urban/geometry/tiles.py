"""Tiles as columns: where each lies, what it is called, which regions it covers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ....core.errors import InputError
from ..loaders.errors import MissingCRSError

MAX_TILES = 5_000_000
"""Most tiles in one table; more is a region or a size by mistake, or work to be done in parts."""


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
        crs: as in :class:`Tile`; "" for windows of a picture without georeference.
        windows: int64 [N, 4] (column, row, width, height), or None.
        zxy: int64 [N, 3], or None.
        regions: N tuples of region ids, or None.
        coverage: float64 [N], or None for 1 everywhere.
        scheme: ``raster``, ``webmercator``, ``tms``, ``baidu`` or ``grid``.
        datum: what a tile scheme's x and y are counted in: "EPSG:4326", "GCJ-02" or "BD-09". Bounds and
            footprints are always true positions, whatever the datum.

    Raises:
        InputError: columns of different lengths, or a name that stands twice.
    """

    ids: tuple[str, ...]
    bounds: NDArray[np.float64]
    crs: str
    windows: NDArray[np.int64] | None = None
    zxy: NDArray[np.int64] | None = None
    regions: tuple[tuple[str, ...], ...] | None = None
    coverage: NDArray[np.float64] | None = None
    scheme: str = "raster"
    datum: str = "EPSG:4326"

    def __post_init__(self) -> None:
        expected = {"bounds": (4,), "windows": (4,), "zxy": (3,), "regions": None, "coverage": ()}
        for name, rest in expected.items():
            column = getattr(self, name)
            if column is None:
                continue
            fits = len(column) == len(self) and (rest is None or column.shape[1:] == rest)
            if not fits:
                found = len(column) if rest is None else tuple(column.shape)
                raise InputError(f"Tiles: {name} of {found} does not belong to {len(self)} ids.")
        if len(set(self.ids)) != len(self):
            seen: set[str] = set()
            twice = next(name for name in self.ids if name in seen or seen.add(name))
            raise InputError(f"Tiles: the name {twice!r} stands twice; every tile needs its own.")

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

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """(west, south, east, north) around all tiles, in units of ``crs``.

        Raises:
            InputError: there are no tiles.
        """
        if not len(self):
            raise InputError("There are no tiles, so they have no extent.")
        west, south = self.bounds[:, :2].min(0).tolist()
        east, north = self.bounds[:, 2:].max(0).tolist()
        return west, south, east, north

    def take(self, indices: ArrayLike) -> Tiles:
        """Return some tiles, in the order of ``indices`` (positions, or N booleans)."""
        chosen = np.asarray(indices)
        if chosen.dtype == bool:
            if chosen.shape != (len(self),):
                raise InputError(f"{chosen.shape} booleans do not choose among {len(self)} tiles.")
            chosen = np.flatnonzero(chosen)
        chosen = chosen.astype(np.int64).reshape(-1)
        positions = chosen.tolist()
        return replace(
            self,
            ids=tuple(self.ids[index] for index in positions),
            bounds=self.bounds[chosen],
            windows=None if self.windows is None else self.windows[chosen],
            zxy=None if self.zxy is None else self.zxy[chosen],
            regions=None if self.regions is None else tuple(self.regions[index] for index in positions),
            coverage=None if self.coverage is None else self.coverage[chosen],
        )

    def centers(self, crs: Any = None) -> NDArray[np.float64]:
        """Return float64 [N, 2], x and y of the middle of each tile, in ``crs`` (default: the tiles' own)."""
        from .projection import transform_points

        x, y = (self.bounds[:, 0] + self.bounds[:, 2]) / 2, (self.bounds[:, 1] + self.bounds[:, 3]) / 2
        if crs is not None:
            x, y = transform_points(x, y, self._georeferenced(), crs)
        return np.stack([x, y], 1)

    def footprints(self, crs: Any = "EPSG:4326") -> NDArray[np.object_]:
        """Return a shapely polygon per tile in ``crs``, longitude or x first.

        Rectangles of the tiles' own system stay rectangles there; in another they become what they look
        like, with edges divided where they are long. Tiles counted in GCJ-02 or BD-09 lie at their true
        places. In degrees, tiles that cross the antimeridian are polygons of several parts.

        Raises:
            MissingCRSError: tiles of a picture without georeference.
            InputError: an unknown ``crs``.
        """
        from .antimeridian import cut_at_antimeridian
        from .projection import is_geographic, reproject, same_crs

        own = self._georeferenced()
        if self.zxy is not None and self.datum != "EPSG:4326":
            from .schemes import true_footprints

            return true_footprints(self.zxy, self.scheme, self.datum, crs)
        boxes = self.boxes()
        if not same_crs(own, crs):
            return reproject(boxes, own, crs)
        return cut_at_antimeridian(boxes, jumps=False) if is_geographic(own) else boxes

    def boxes(self) -> NDArray[np.object_]:
        """Return the bounds as shapely rectangles in the tiles' own system."""
        from ....core.errors import require

        return require("shapely", extra="urban").box(*self.bounds.T)

    def _georeferenced(self) -> str:
        if not self.crs:
            raise MissingCRSError(
                "These tiles have no coordinate system: their source is a picture without georeference. "
                "Open it with crs= and a geotransform, or use it where places do not matter."
            )
        return self.crs

    @staticmethod
    def concat(parts: Sequence[Tiles]) -> Tiles:
        """Return the tiles of several tables in one, in order.

        A column that only some have is dropped; regions and coverage are filled with none and 1.

        Raises:
            InputError: nothing to join, different coordinate systems or schemes, or names that clash.
        """
        return _concat(parts)

    def to_file(self, path: str | Path) -> None:
        """Write the table as ``.geojson``, ``.parquet`` or ``.gpkg``; see :func:`.tile_files.write_tiles`."""
        from .tile_files import write_tiles

        write_tiles(self, path)

    @classmethod
    def from_file(cls, path: str | Path, *, show_paths: bool = False) -> Tiles:
        """Read a table that :meth:`to_file` wrote; see :func:`.tile_files.read_tiles`."""
        from .tile_files import read_tiles

        return read_tiles(path, show_paths=show_paths)


def _concat(parts: Sequence[Tiles]) -> Tiles:
    from .projection import same_crs

    if not parts:
        raise InputError("There are no tiles to join.")
    first = parts[0]
    for part in parts[1:]:
        if part.crs != first.crs and not (part.crs and first.crs and same_crs(part.crs, first.crs)):
            raise InputError(
                f"Tiles of {first.crs[:60] or 'no system'} and {part.crs[:60] or 'no system'} cannot be in "
                "one table: their bounds are numbers of different systems. Make a table of each."
            )
    same = all((part.scheme, part.datum) == (first.scheme, first.datum) for part in parts)

    def joined(name: str) -> NDArray[Any] | None:
        columns = [getattr(part, name) for part in parts]
        return None if any(column is None for column in columns) else np.concatenate(columns)

    regions = coverage = None
    if any(part.regions is not None for part in parts):
        regions = tuple(names for part in parts for names in (part.regions or ((),) * len(part)))
    if any(part.coverage is not None for part in parts):
        coverage = np.concatenate(
            [np.ones(len(part)) if part.coverage is None else part.coverage for part in parts]
        )
    zxy = joined("zxy") if same else None
    if zxy is None and any(part.datum != "EPSG:4326" for part in parts):
        raise InputError("Tiles of several schemes, one of them in GCJ-02 or BD-09, cannot be in one table.")
    return Tiles(
        ids=tuple(name for part in parts for name in part.ids),
        bounds=np.concatenate([part.bounds for part in parts]),
        crs=first.crs,
        windows=joined("windows"),
        zxy=zxy,
        regions=regions,
        coverage=coverage,
        scheme=first.scheme if same else "grid",
        datum=first.datum if same else "EPSG:4326",
    )
