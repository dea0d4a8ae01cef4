"""Rows of a table to tiles: by name, or by the point they stand for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from ....core.errors import InputError, require
from ..geometry.projection import transform_points
from ..geometry.tiles import Tiles
from .csv_files import CsvFile, some
from .released import parse_tile_name

_LONGEST_SWAP_CHECK = 20_000


@dataclass(frozen=True)
class Join:
    """Which rows belong to which tiles.

    Attributes:
        rows: int64 [P]. tiles: int64 [P]; pairs of a row and a tile, ascending by tile.
        notes: what did not fit, for whoever reads the result.
    """

    rows: NDArray[np.int64]
    tiles: NDArray[np.int64]
    notes: tuple[str, ...] = ()


def join_by_name(table: CsvFile, names: Sequence[str], tile_ids: Sequence[str]) -> Join:
    """Return the rows whose names are tiles' names.

    Where no name fits as it stands, folders, endings and the ``_s`` of released tiles are left out of both.

    Raises:
        InputError: no name fits, or a name is empty.
    """
    empty = next((row for row, name in enumerate(names) if not name), None)
    if empty is not None:
        raise InputError(f"{table.name}, line {table.lines[empty]}: the tile's name is empty.")
    notes = []
    known = {name: index for index, name in enumerate(tile_ids)}
    found = [known.get(name, -1) for name in names]
    if max(found) < 0:
        known = {plain_name(name): index for index, name in enumerate(tile_ids)}
        found = [known.get(plain_name(name), -1) for name in names]
        if max(found) >= 0:
            notes.append("names were compared without folders and endings")
    if max(found) < 0:
        raise InputError(
            f"{table.name}: none of the {len(names)} names is a tile. The table has {some(names, 3)}; the "
            f"tiles are {some(tile_ids, 3)}. Name the right id_column, or join by latitude and longitude."
        )
    rows = np.asarray(found)
    unknown = [names[int(row)] for row in np.flatnonzero(rows < 0)]
    if unknown:
        notes.append(f"{len(unknown)} of {len(names)} rows name no tile and were left out ({some(unknown)})")
    fitting = np.flatnonzero(rows >= 0)
    order = np.argsort(rows[fitting], kind="stable")
    return Join(fitting[order], rows[fitting][order], tuple(notes))


def plain_name(name: str) -> str:
    """Return a tile's name without folders, ending and kind: "16_12659_4738" of "a/16_12659_4738_s.jpg"."""
    zxy = parse_tile_name(name)
    return "_".join(map(str, zxy)) if zxy else PurePosixPath(name).stem


def join_by_point(
    table: CsvFile,
    lat: NDArray[np.float64],
    lon: NDArray[np.float64],
    tiles: Tiles,
    *,
    crs: str = "EPSG:4326",
) -> Join:
    """Return the rows whose points lie in tiles.

    Args:
        lat, lon: float64 [R] degrees in ``crs``: EPSG:4326, GCJ-02 or BD-09.

    Raises:
        InputError: degrees out of range, latitude and longitude swapped, or no point in any tile.
    """
    swapped = np.flatnonzero(np.abs(lat) > 90)
    if len(swapped):
        row = int(swapped[0])
        advice = (
            "Are latitude and longitude swapped?"
            if abs(lon[row]) <= 90
            else "Degrees are expected, not meters."
        )
        raise InputError(f"{table.name}, line {table.lines[row]}: a latitude of {lat[row]:g}. {advice}")
    far = np.flatnonzero(np.abs(lon) > 180)
    if len(far):
        row = int(far[0])
        raise InputError(
            f"{table.name}, line {table.lines[row]}: a longitude of {lon[row]:g}; degrees from -180 to 180 "
            "are expected."
        )
    rows, owners = _points_in(tiles, lat, lon, crs)
    if not len(rows):
        few = slice(0, _LONGEST_SWAP_CHECK)
        exchanged = _points_in(tiles, lon[few], lat[few], crs)[0] if (np.abs(lon[few]) <= 90).all() else []
        advice = (
            f"With the two exchanged, {len(np.unique(exchanged))} do: latitude and longitude look swapped."
            if len(exchanged)
            else "Are they of another area, or counted in another system (crs='GCJ-02', 'BD-09')?"
        )
        raise InputError(f"{table.name}: none of the {len(lat)} points lies in a tile. {advice}")
    notes = []
    outside = len(lat) - len(np.unique(rows))
    if outside:
        notes.append(f"{outside} of {len(lat)} points lie in no tile and were left out")
    order = np.lexsort((rows, owners))
    return Join(rows[order], owners[order], tuple(notes))


def _points_in(
    tiles: Tiles, lat: NDArray[np.float64], lon: NDArray[np.float64], crs: str
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return (row, tile) of every point in a tile; a point on an edge is in the tile north-east of it."""
    shapely = require("shapely", extra="urban")
    x, y = transform_points(lon, lat, crs, tiles.crs)
    shown = np.flatnonzero(np.isfinite(x) & np.isfinite(y))
    footprints = tiles.footprints(tiles.crs)
    rows, owners = shapely.STRtree(footprints).query(
        shapely.points(x[shown], y[shown]), predicate="intersects"
    )
    rows = shown[rows]
    # Half-open rectangles: a point on the edge between two tiles belongs to one of them.
    bounds = tiles.bounds[owners]
    inside = (x[rows] < bounds[:, 2]) & (y[rows] < bounds[:, 3])
    return rows[inside], owners[inside]
