"""Tables of tiles as files that open in QGIS and come back exactly as they were.

One row per tile with its outline and these columns: ``tile_id``; ``x_min``, ``y_min``, ``x_max``, ``y_max``
in units of ``crs``; ``crs``; ``scheme`` and ``datum``; where there are any ``window_column``,
``window_row``, ``window_width``, ``window_height`` in pixels; ``z``, ``x``, ``y``; ``regions``
as a JSON list of ids, and ``coverage``.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ....core.errors import ConfigError, InputError, nearest
from ..outputs.vector import write_layer
from .projection import WGS84, parse_crs
from .schemes import check_scheme
from .tiles import Tiles
from .vector_files import read_layer

if TYPE_CHECKING:
    from geopandas import GeoDataFrame

SUFFIXES = (".geojson", ".parquet", ".gpkg")
_BOUNDS = ("x_min", "y_min", "x_max", "y_max")
_WINDOW = ("window_column", "window_row", "window_width", "window_height")
_ZXY = ("z", "x", "y")


def write_tiles(tiles: Tiles, path: str | os.PathLike[str]) -> None:
    """Write tiles as GeoJSON, GeoParquet or GeoPackage, by the suffix of ``path``; replaces an older file.

    Outlines are in longitude and latitude (EPSG:4326), in a GeoPackage in the tiles' own system.

    Raises:
        ConfigError: another suffix.
        InputError: no tiles, or tiles of a picture without georeference.
    """
    path = Path(path)
    check_suffix(path)
    if not len(tiles):
        raise InputError(f"{path.name}: there are no tiles to write.")
    system = tiles.crs if path.suffix.lower() == ".gpkg" else WGS84
    write_layer(path, tiles.footprints(system).tolist(), _columns(tiles), crs=system, layer="tiles")


def read_tiles(path: str | os.PathLike[str], *, show_paths: bool = False) -> Tiles:
    """Return the tiles of a file that :func:`write_tiles` wrote.

    Raises:
        InputError: no such file, another kind of table, or rows that are no tiles.
    """
    label = os.fspath(path) if show_paths else Path(path).name
    table = read_layer(path, show_paths=show_paths)
    lacking = [name for name in ("tile_id", *_BOUNDS, "crs", "scheme", "datum") if name not in table.columns]
    if lacking:
        raise InputError(
            f"{label}: this is no table of tiles: there is no column {lacking[0]!r}. Make one with "
            "'verticlip urban tiles'; polygons of your own are regions."
        )
    if not len(table):
        raise InputError(f"{label}: there are no tiles in it.")
    crs, scheme, datum = (_same(table, name, label) for name in ("crs", "scheme", "datum"))
    if scheme not in ("raster", "grid"):
        try:
            check_scheme(scheme, datum)
        except ConfigError as error:
            raise InputError(f"{label}: {error}") from error
    bounds = _numbers(table, _BOUNDS, label)
    if not (np.isfinite(bounds).all() and (bounds[:, :2] < bounds[:, 2:]).all()):
        raise InputError(f"{label}: x_min and y_min must be below x_max and y_max in every row.")
    return Tiles(
        ids=tuple(map(str, table["tile_id"].tolist())),
        bounds=bounds,
        crs=_known(crs, label),
        windows=_whole(table, _WINDOW, label),
        zxy=_whole(table, _ZXY, label),
        regions=_regions(table, label),
        coverage=_numbers(table, ("coverage",), label)[:, 0] if "coverage" in table.columns else None,
        scheme=scheme,
        datum=datum,
    )


def _known(crs: str, label: str) -> str:
    """Return the words of a coordinate system unchanged: windows are matched with rasters by them."""
    try:
        parse_crs(crs)
    except InputError as error:
        raise InputError(f"{label}: {error}") from error
    return crs


def check_suffix(path: Path) -> None:
    """Raise ``ConfigError`` where a table of tiles cannot be a file of this name."""
    if path.suffix.lower() not in SUFFIXES:
        raise ConfigError(
            f"{path.name}: tiles are written as {', '.join(SUFFIXES)}.{nearest(path.suffix, SUFFIXES)}"
        )


def _columns(tiles: Tiles) -> dict[str, Any]:
    columns: dict[str, Any] = {"tile_id": list(tiles.ids)}
    columns |= {name: tiles.bounds[:, index] for index, name in enumerate(_BOUNDS)}
    same = {"crs": tiles.crs, "scheme": tiles.scheme, "datum": tiles.datum}
    columns |= {name: [word] * len(tiles) for name, word in same.items()}
    if tiles.windows is not None:
        columns |= {name: tiles.windows[:, index] for index, name in enumerate(_WINDOW)}
    if tiles.zxy is not None:
        columns |= {name: tiles.zxy[:, index] for index, name in enumerate(_ZXY)}
    if tiles.regions is not None:
        columns["regions"] = [json.dumps(names, ensure_ascii=False) for names in tiles.regions]
    if tiles.coverage is not None:
        columns["coverage"] = tiles.coverage
    return columns


def _same(table: GeoDataFrame, name: str, label: str) -> str:
    values = table[name].unique().tolist()
    if len(values) != 1 or not isinstance(values[0], str):
        raise InputError(
            f"{label}: every row needs the same {name!r}; there are {len(values)} different ones."
        )
    return values[0]


def _numbers(table: GeoDataFrame, names: tuple[str, ...], label: str) -> NDArray[np.float64]:
    try:
        return np.stack([table[name].to_numpy(dtype=np.float64) for name in names], 1)
    except (TypeError, ValueError) as error:
        raise InputError(f"{label}: {', '.join(names)} must be numbers in every row.") from error


def _whole(table: GeoDataFrame, names: tuple[str, ...], label: str) -> NDArray[np.int64] | None:
    """Return columns of whole numbers, or None where the table has none of them."""
    present = [name for name in names if name in table.columns]
    if not present:
        return None
    if len(present) < len(names):
        raise InputError(f"{label}: of {', '.join(names)} only {', '.join(present)} are there.")
    values = _numbers(table, names, label)
    if not (np.isfinite(values).all() and (values == np.floor(values)).all()):
        raise InputError(f"{label}: {', '.join(names)} must be whole numbers in every row.")
    return values.astype(np.int64)


def _regions(table: GeoDataFrame, label: str) -> tuple[tuple[str, ...], ...] | None:
    if "regions" not in table.columns:
        return None
    try:
        # GeoJSON readers may hand over a list that was text of a list when it was written.
        rows = [json.loads(row) if isinstance(row, str) else list(row) for row in table["regions"]]
    except (TypeError, ValueError):
        rows = [None]
    if not all(isinstance(row, list) and all(isinstance(name, str) for name in row) for row in rows):
        raise InputError(f'{label}: regions must be a list of ids such as ["north"] in every row.')
    return tuple(tuple(row) for row in rows if row is not None)
