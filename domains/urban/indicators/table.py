"""Indicators per tile: from rasters, from CSV files, aligned to whatever tiles a model has seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ....core.errors import InputError, nearest
from ..geometry.tiles import Tiles
from .csv_files import some
from .rasters import Stat, zonal_statistics

_CACHE_MB = 128
_AMOUNTS = frozenset(
    {
        "person", "persons", "people", "inhabitants", "residents", "households", "dwellings", "buildings",
        "jobs", "count", "counts", "cases", "t", "ton", "tons", "tonne", "tonnes", "kt", "mt", "kg", "usd",
        "dollars", "eur", "euro", "euros", "yuan", "cny", "rmb", "kwh", "mwh", "gwh",
    }
)  # fmt: skip
"""Words of units that count what adds up, as in "persons" and "million yuan"."""


def is_amount(unit: str) -> bool:
    """Return whether a unit counts what adds up: "persons" does, "persons per km2" and "m" do not."""
    words = unit.lower().replace("(", " ").replace(")", " ").split()
    return "/" not in unit and "per" not in words and not _AMOUNTS.isdisjoint(words)


@dataclass(frozen=True, eq=False)
class IndicatorTable:
    """M indicators of N tiles.

    Attributes:
        tile_ids: N unique names.
        columns: {indicator: float64 [N]}, NaN where it is not known.
        units: {indicator: unit}, where one is known.
        valid: {indicator: float64 [N]}, share of each tile with valid pixels; of rasters only.
        notes: sentences on what was left out, repaired or is to be known.

    Raises:
        InputError: a name twice, or a column of another length.
    """

    tile_ids: tuple[str, ...]
    columns: Mapping[str, NDArray[np.float64]]
    units: Mapping[str, str] = field(default_factory=dict)
    valid: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(set(self.tile_ids)) != len(self.tile_ids):
            seen: set[str] = set()
            twice = next(name for name in self.tile_ids if name in seen or seen.add(name))
            raise InputError(f"The tile {twice!r} stands twice in the table; every tile has one row.")
        for name, column in self.columns.items():
            if column.shape != (len(self.tile_ids),):
                raise InputError(
                    f"Indicator {name!r} has {column.shape} values for {len(self.tile_ids)} tiles."
                )

    def __len__(self) -> int:
        return len(self.tile_ids)

    @property
    def names(self) -> tuple[str, ...]:
        """Indicators in order."""
        return tuple(self.columns)

    def column(self, name: str) -> NDArray[np.float64]:
        """Return float64 [N] of an indicator.

        Raises:
            InputError: there is none of this name; those that exist are listed.
        """
        if name not in self.columns:
            raise InputError(
                f"No indicator {name!r}; the table has: "
                f"{', '.join(self.columns) or 'none'}.{nearest(name, self.columns)}"
            )
        return self.columns[name]

    def labelled(self, name: str) -> NDArray[np.int64]:
        """Return the rows that have a value of an indicator."""
        return np.flatnonzero(np.isfinite(self.column(name)))

    def aligned_to(self, ids: Sequence[str]) -> IndicatorTable:
        """Return the table with one row per id, in this order; tiles that it lacks get NaN and a note.

        Raises:
            InputError: it holds none of the ids.
        """
        known = {name: row for row, name in enumerate(self.tile_ids)}
        rows = np.asarray([known.get(name, -1) for name in ids], dtype=np.int64)
        if len(rows) and rows.max() < 0:
            raise InputError(
                f"The table holds none of the {len(rows)} tiles: it has {some(self.tile_ids, 3)}; wanted are "
                f"{some(ids, 3)}. Were both made from the same tiles?"
            )
        notes = list(self.notes)
        missing = [ids[int(row)] for row in np.flatnonzero(rows < 0)]
        if missing:
            notes.append(_missing_note(missing, len(ids)))

        def pick(values: NDArray[np.float64]) -> NDArray[np.float64]:
            return np.where(rows >= 0, values[rows] if len(values) else np.nan, np.nan)

        return replace(
            self,
            tile_ids=tuple(ids),
            columns={name: pick(values) for name, values in self.columns.items()},
            valid={name: pick(values) for name, values in self.valid.items()},
            notes=tuple(notes),
        )

    def merged_with(self, other: IndicatorTable) -> IndicatorTable:
        """Return the indicators of both tables for the tiles of this one.

        Raises:
            InputError: both have an indicator of one name.
        """
        both = next((name for name in other.columns if name in self.columns), None)
        if both is not None:
            raise InputError(f"The indicator {both!r} comes from two sources. Give one of them another name.")
        aligned = other.aligned_to(self.tile_ids)
        return replace(
            self,
            columns={**self.columns, **aligned.columns},
            units={**self.units, **aligned.units},
            valid={**self.valid, **aligned.valid},
            notes=(*self.notes, *aligned.notes),
        )

    @classmethod
    def from_rasters(
        cls,
        rasters: Mapping[str, str | Path],
        tiles: Tiles,
        *,
        stat: Stat | Mapping[str, Stat] = "area_weighted",
        min_valid: float = 0.5,
        units: Mapping[str, str] | None = None,
        bands: Mapping[str, int | str] | None = None,
        show_paths: bool = False,
    ) -> IndicatorTable:
        """Return a statistic of the pixels under each tile, for each raster.

        Only windows are read, whatever the size of a raster, and tiles may lie in another coordinate system.

        Args:
            rasters: {indicator: GeoTIFF, or what else the raster loader opens}.
            tiles: N tiles.
            stat: of all, or by indicator: ``area_weighted`` for densities and rates; ``sum`` for counts and
                amounts per pixel; ``mean``; ``point``. See ``rasters.py``.
            min_valid: share of a tile that must hold valid pixels; below, the value is NaN.
            units: {indicator: unit}.
            bands: {indicator: band number or name} of rasters with several.
            show_paths: name whole paths in messages.

        Raises:
            ConfigError: unknown statistic.
            InputError: a raster cannot be read, has no coordinate system, or lies elsewhere.
        """
        from ..loaders.raster import Raster

        columns, valid, notes = {}, {}, []
        for name, path in rasters.items():
            band = (bands or {}).get(name)
            raster = Raster.open(
                path,
                bands=None if band is None else [band],
                scaling="none",
                unscale=True,
                # Windows are read in rows, so two rows of blocks are enough.
                cache_mb=_CACHE_MB,
                show_paths=show_paths,
            )
            chosen = stat if isinstance(stat, str) else stat.get(name, "area_weighted")
            unit = (units or {}).get(name, "")
            if chosen in ("area_weighted", "mean") and is_amount(unit):
                notes.append(
                    f"{name} is counted in {unit!r}, an amount: {chosen} gives every tile the mean of its "
                    "pixels; the statistic sum adds them up"
                )
            found = zonal_statistics(raster, tiles, stat=chosen, min_valid=min_valid)
            columns[name], valid[name] = found.values, found.valid
            lost = int(np.isnan(found.values).sum())
            if lost:
                notes.append(
                    f"{name}: {lost} of {len(tiles)} tiles have valid pixels on less than {min_valid:.0%} of "
                    "their area and no value"
                )
        return cls(tiles.ids, columns, dict(units or {}), valid, tuple(notes))

    @classmethod
    def from_csv(
        cls,
        path: str | Path,
        *,
        tiles: Tiles | None = None,
        id_column: str | None = None,
        lat_lon: tuple[str, str] | None = None,
        crs: str = "EPSG:4326",
        columns: Sequence[str] | None = None,
        show_paths: bool = False,
    ) -> IndicatorTable:
        """Return indicators of a CSV file, one row per tile or per point.

        Rows find their tiles by name or by the point they stand for; see ``csv_table.py`` for what is
        recognized by itself, the tables released with UrbanCLIP among it. Units are read from headers such as
        ``population (persons)``.

        Args:
            path: file in UTF-8.
            tiles: what to join with; the table gets one row per tile. None keeps the rows of the file.
            id_column: column of tile names. lat_lon: columns of latitude and longitude. Default: found by
                name.
            crs: of latitude and longitude: EPSG:4326, GCJ-02 or BD-09.
            columns: indicators to read, with or without unit; default: every column of numbers.
            show_paths: name whole paths in messages.

        Raises:
            InputError: no such file or column, a cell that is no number (its line is named), a tile with two
                values, swapped latitude and longitude, or no row that fits a tile.
        """
        from .csv_table import read_indicators

        found = read_indicators(
            path,
            tiles=tiles,
            id_column=id_column,
            lat_lon=lat_lon,
            crs=crs,
            columns=columns,
            show_paths=show_paths,
        )
        return cls(found.ids, found.columns, found.units, {}, found.notes)


def _missing_note(missing: Sequence[str], total: int) -> str:
    return f"{len(missing)} of {total} tiles have no row and no value ({some(missing)})"
