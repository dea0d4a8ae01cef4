"""Tables that were released with UrbanCLIP: tile names, coordinates written as text, a mislabelled column."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ....core.errors import InputError
from ..geometry import baidu
from ..geometry.sources import named_place
from .csv_files import CsvFile

NAME_COLUMN = "satellite_img_name"
CORNER_COLUMNS = ("WGS84 coordinate", "Coordinate")
"""Latitude and longitude of a tile's lower-left corner, in BD-09 whatever the name says."""

_ZOOM = 16
_PAIR = re.compile(r"^\s*[(\[]?\s*([-+\d.eE]+)\s*[,;]\s*([-+\d.eE]+)\s*[)\]]?\s*$")
_CLOSE = 2e-6
"""Degrees by which a recorded corner may miss the scheme's."""

MISLABELLED = (
    "its column {column!r} holds BD-09 degrees of the tiles' lower-left corners, which lie about 1 to 1.5 km "
    "north-east of the true places; tiles were placed by their names in the Baidu scheme instead. The values "
    "themselves were sampled at the shifted places when the table was made: sample your own rasters "
    "where that matters."
)


def parse_pair(text: str) -> tuple[float, float] | None:
    """Return the two numbers of "(39.98, 116.31)", or None."""
    found = _PAIR.match(text)
    if found is None:
        return None
    try:
        return float(found[1]), float(found[2])
    except ValueError:
        return None


def is_pairs(cells: Sequence[str]) -> bool:
    """Return whether every cell is a pair of numbers."""
    return bool(cells) and all(parse_pair(cell) is not None for cell in cells)


def parse_tile_name(name: str) -> tuple[int, int, int] | None:
    """Return (zoom, x, y) of "16_12659_4738_s.jpg", or None."""
    found = named_place(name)
    return found[:3] if found else None


def released_tiles(table: CsvFile) -> tuple[NDArray[np.int64] | None, tuple[str, ...]]:
    """Return int64 [N, 3] (zoom, x, y) in the Baidu scheme of a released table's rows, and notes.

    None for a table that is not one of these. Text is taken apart, never evaluated.

    Raises:
        InputError: corners that lie on no tile of zoom 16, or that contradict the names.
    """
    names = table.column(NAME_COLUMN) if NAME_COLUMN in table.header else None
    column = next((name for name in CORNER_COLUMNS if name in table.header), None)
    if column is not None and not is_pairs(table.column(column)):
        column = None
    if names is None and column is None:
        return None, ()
    named = None if names is None else [parse_tile_name(name) for name in names]
    if named is not None and any(found is None for found in named):
        if column is None:
            return None, ()
        named = None
    corners = (
        None
        if column is None
        else np.asarray([parse_pair(cell) for cell in table.column(column)], np.float64)
    )
    zxy = np.asarray(named, np.int64) if named is not None else _tiles_of(table, corners)
    if zxy is None or corners is None:
        return zxy, ()
    lon, lat = _corners(zxy)
    if np.abs(corners - np.stack([lat, lon], axis=1)).max() > _CLOSE:
        # Someone has put true positions there.
        return zxy, ()
    return zxy, (MISLABELLED.format(column=column),)


def _tiles_of(table: CsvFile, corners: NDArray[np.float64] | None) -> NDArray[np.int64] | None:
    """Return the tiles whose lower-left corners these (latitude, longitude) are, None where they are none."""
    if corners is None:
        return None
    if (np.abs(corners[:, 0]) > 85).any():
        raise InputError(
            f"{table.name}: a latitude of {corners[np.abs(corners[:, 0]) > 85][0, 0]:g}; pairs are "
            "(latitude, longitude). Are they swapped?"
        )
    x, y = baidu.degrees_to_meters(corners[:, 1], corners[:, 0])
    side = baidu.tile_side(_ZOOM)
    zxy = np.stack([np.full(len(x), _ZOOM), np.rint(x / side), np.rint(y / side)], axis=1).astype(np.int64)
    lon, lat = _corners(zxy)
    return zxy if np.abs(corners - np.stack([lat, lon], axis=1)).max() <= _CLOSE else None


def _corners(zxy: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    lon, lat = np.empty(len(zxy)), np.empty(len(zxy))
    for zoom in np.unique(zxy[:, 0]).tolist():
        rows = zxy[:, 0] == zoom
        lon[rows], lat[rows] = baidu.tile_corner(zxy[rows, 1], zxy[rows, 2], zoom)
    return lon, lat
