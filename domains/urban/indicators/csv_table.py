"""Indicators from a CSV file: which columns say where, which say how much, and which rows are which tiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ....core.errors import ConfigError, InputError
from ..geometry.tiles import Tiles
from .csv_files import CsvFile, read_csv, some, split_unit
from .joining import Join, join_by_name, join_by_point
from .released import NAME_COLUMN, is_pairs, released_tiles

_ID_NAMES = ("tile_id", "tile", "id", NAME_COLUMN)
_LAT_NAMES, _LON_NAMES = ("lat", "latitude"), ("lon", "lng", "long", "longitude")
_PAIRS = (("x", "y"), ("easting", "northing"), ("row", "column"))
_ZOOMS = ("z", "zoom")


@dataclass(frozen=True)
class CsvIndicators:
    """What a file says: names, {indicator: float64 [N]}, {indicator: unit}, and notes."""

    ids: tuple[str, ...]
    columns: dict[str, NDArray[np.float64]]
    units: dict[str, str]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Place:
    """How rows say which tile they are: names, or columns of latitude and longitude, or tiles of a scheme."""

    names: tuple[str, ...] | None
    columns: tuple[str, ...]
    points: tuple[str, str] | None = None
    zxy: NDArray[np.int64] | None = None
    notes: tuple[str, ...] = ()


def read_indicators(
    path: str | Path,
    *,
    tiles: Tiles | None,
    id_column: str | None = None,
    lat_lon: tuple[str, str] | None = None,
    crs: str = "EPSG:4326",
    columns: Sequence[str] | None = None,
    show_paths: bool = False,
) -> CsvIndicators:
    """Return the indicators of a file; see :meth:`IndicatorTable.from_csv`.

    Without ``id_column`` and ``lat_lon``, the columns ``tile_id``, ``tile``, ``id`` or
    ``satellite_img_name`` are names; failing these, ``lat``/``latitude`` and
    ``lon``/``lng``/``long``/``longitude`` are points; failing these, ``Coordinate`` of the released tables
    places tiles of the Baidu scheme.
    """
    if id_column is not None and lat_lon is not None:
        raise ConfigError("Join by id_column or by lat_lon, not by both.")
    table = read_csv(path, show_paths=show_paths)
    place = _find_place(table, id_column, lat_lon)
    columns_found, units, notes = _numbers(table, place, columns)
    notes = [*place.notes, *notes]
    if tiles is None:
        if place.names is None:
            raise InputError(
                f"{table.name} names no tiles; joining it by latitude and longitude needs them. Pass tiles=."
            )
        once = _once(table, place.names)
        return CsvIndicators(
            tuple(place.names[row] for row in once),
            {name: _agreed(table, place.names, values, name)[once] for name, values in columns_found.items()},
            units,
            tuple(notes),
        )
    join = _join(table, place, tiles, crs)
    notes += join.notes
    missing = np.setdiff1d(np.arange(len(tiles)), join.tiles)
    if len(missing):
        names = [tiles.ids[index] for index in missing.tolist()]
        notes.append(f"{len(missing)} of {len(tiles)} tiles have no row and no value ({some(names)})")
    if place.names is not None:
        for name, values in columns_found.items():
            columns_found[name] = _agreed(table, place.names, values, name)
    elif len(np.unique(join.tiles)) < len(join.tiles):
        several = int((np.bincount(join.tiles) > 1).sum())
        notes.append(
            f"{several} tiles hold more than one point; they got the mean of these (counts that belong "
            "together have to be added up before)"
        )
    return CsvIndicators(
        tiles.ids,
        {name: _spread(values, join, len(tiles)) for name, values in columns_found.items()},
        units,
        tuple(notes),
    )


def _find_place(table: CsvFile, id_column: str | None, lat_lon: tuple[str, str] | None) -> _Place:
    if lat_lon is not None:
        found = table.find(lat_lon[0]), table.find(lat_lon[1])
        return _Place(None, found, points=found)
    zxy, notes = released_tiles(table)
    notes = tuple(f"{table.name}: {note}" for note in notes)
    lower = {split_unit(header)[0].lower(): header for header in table.header}
    named = (
        table.find(id_column)
        if id_column is not None
        else next((lower[name] for name in _ID_NAMES if name in lower), None)
    )
    if named is not None:
        return _Place(tuple(table.column(named)), (named,), zxy=zxy, notes=notes)
    lat, lon = (
        next((lower[name] for name in known if name in lower), None) for known in (_LAT_NAMES, _LON_NAMES)
    )
    if lat is not None and lon is not None:
        return _Place(None, (lat, lon), points=(lat, lon))
    if zxy is not None:
        return _Place(
            tuple("_".join(map(str, tile)) for tile in zxy.tolist()), ("Coordinate",), zxy=zxy, notes=notes
        )
    raise InputError(
        f"{table.name}: no column says which tile a row is. Known names are {', '.join(_ID_NAMES)}, or "
        f"latitude and longitude; the file has: {', '.join(table.header)}. Pass id_column= or lat_lon=."
    )


def _numbers(
    table: CsvFile, place: _Place, wanted: Sequence[str] | None
) -> tuple[dict[str, NDArray[np.float64]], dict[str, str], list[str]]:
    """Return {indicator: float64 [R]}, units and notes."""
    places = set(place.columns)
    notes: list[str] = []
    if wanted is not None:
        chosen = [table.find(name) for name in wanted]
    else:
        # An unnamed column is the row number that data frames write; positions and words are no amounts.
        chosen = [header for header in table.header if header and header not in places]
        words = [header for header in chosen if table.is_text(header)]
        named = _positions(table.header)
        positions = [header for header in chosen if header not in words and header in named]
        chosen = [header for header in chosen if header not in {*words, *positions}]
        if positions:
            notes.append(f"{table.name}: columns of positions are no indicators ({some(positions)})")
        ignored = [header for header in words if not is_pairs(table.column(header))]
        if ignored:
            notes.append(f"{table.name}: columns without numbers were left out ({some(ignored)})")
    if not chosen:
        raise InputError(f"{table.name} has no column of numbers beside {', '.join(places)}.")
    columns, units, commas = {}, {}, []
    for header in chosen:
        name, unit = split_unit(header)
        if name in columns:
            raise InputError(f"{table.name}: two columns are called {name!r}. Rename one.")
        columns[name], decimal = table.numbers(header)
        commas += [name] if decimal else []
        if unit:
            units[name] = unit
    if commas:
        notes.append(f"{table.name}: commas were read as decimal points in {some(commas)}")
    return columns, units, notes


def _positions(header: Sequence[str]) -> set[str]:
    """Return the columns that say where a row lies: none of them is an indicator unless it is asked for.

    Letters such as ``x`` say so in company only: beside ``y``, and ``z`` beside both.
    """
    lower = {name: split_unit(name)[0].lower() for name in header}
    found = {*_ID_NAMES, *_LAT_NAMES, *_LON_NAMES}
    for pair in _PAIRS:
        if set(pair) <= set(lower.values()):
            found |= {*pair, *(_ZOOMS if pair == ("x", "y") else ())}
    return {name for name, word in lower.items() if word in found}


def _join(table: CsvFile, place: _Place, tiles: Tiles, crs: str) -> Join:
    if place.points is not None:
        lat, lon = (table.numbers(header)[0] for header in place.points)
        gap = np.flatnonzero(~(np.isfinite(lat) & np.isfinite(lon)))
        if len(gap):
            raise InputError(
                f"{table.name}, line {table.lines[int(gap[0])]}: latitude or longitude is empty."
            )
        return join_by_point(table, lat, lon, tiles, crs=crs)
    try:
        return join_by_name(table, place.names or (), tiles.ids)
    except InputError:
        if place.zxy is None:
            raise
    # Tiles of another grid: the rows lie where their own tiles truly lie.
    from ..geometry.schemes import scheme_tiles

    unique, index = np.unique(place.zxy, axis=0, return_inverse=True)
    centers = scheme_tiles(unique, "baidu").centers("EPSG:4326")[index.reshape(-1)]
    return join_by_point(table, centers[:, 1], centers[:, 0], tiles)


def _spread(values: NDArray[np.float64], join: Join, count: int) -> NDArray[np.float64]:
    """Return float64 [count], the mean of the rows of each tile that hold a number."""
    numbers = values[join.rows]
    known = np.isfinite(numbers)
    sums = np.bincount(join.tiles[known], numbers[known], minlength=count)
    counts = np.bincount(join.tiles[known], minlength=count)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(counts > 0, sums / counts, np.nan)


def _once(table: CsvFile, names: Sequence[str]) -> list[int]:
    """Return the first row of every name."""
    first: dict[str, int] = {}
    for row, name in enumerate(names):
        if not name:
            raise InputError(f"{table.name}, line {table.lines[row]}: the tile's name is empty.")
        first.setdefault(name, row)
    return list(first.values())


def _agreed(
    table: CsvFile, names: Sequence[str], values: NDArray[np.float64], column: str
) -> NDArray[np.float64]:
    """Return values after checking that rows of one name agree.

    Raises:
        InputError: they do not; both lines are named.
    """
    first: dict[str, int] = {}
    for row, name in enumerate(names):
        other = first.setdefault(name, row)
        if other != row and not np.isclose(values[row], values[other], rtol=1e-9, equal_nan=True):
            raise InputError(
                f"{table.name}: the tile {name!r} stands in lines {table.lines[other]} and "
                f"{table.lines[row]} with different values of {column!r} ({values[other]:g} and "
                f"{values[row]:g}). Keep one of them."
            )
    return values
