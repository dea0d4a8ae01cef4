"""Tiles and regions with their values as layers that QGIS opens: GeoPackage, GeoJSON, GeoParquet."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from ....core.errors import ConfigError, DataError, nearest, require
from ..geometry.tiles import Tiles
from .staging import staged

if TYPE_CHECKING:
    from geopandas import GeoDataFrame
    from shapely.geometry.base import BaseGeometry

    from ..geometry.regions import Regions

_DRIVERS = {".gpkg": "GPKG", ".geojson": "GeoJSON", ".parquet": "GeoParquet"}
_RESERVED = {"geometry", "geom", "fid", "ogc_fid"}


def write_layer(
    path: str | Path,
    places: Tiles | Regions | Sequence[BaseGeometry],
    columns: Mapping[str, ArrayLike | Sequence[Any]],
    *,
    crs: str | None = None,
    layer: str | None = None,
) -> Path:
    """Write polygons with values as a map layer; the file appears whole or not at all.

    Tiles get a column ``tile_id``, regions a column ``region``. A GeoPackage and a GeoParquet file keep the
    coordinate system of the places; GeoJSON is always longitude and latitude (RFC 7946), to 1 cm.

    Example::

        write_layer("people.gpkg", table.tiles(), {"people": predicted, "label": found.labels})

    Args:
        path: ``.gpkg``, ``.geojson`` or ``.parquet``.
        places: N tiles, regions or shapely geometries.
        columns: {name: N numbers, words or truth values}; NaN and None become empty cells, sequences of words
            one cell joined by "; ".
        crs: of shapely geometries, an authority code or WKT; tiles and regions know theirs.
        layer: name of the layer; None takes that of the file.

    Raises:
        ConfigError: unknown ending, a column that cannot be called so, no ``crs`` for geometries.
        DataError: nothing to write, or another number of values than places.
        InputError: the places have no coordinate system.
    """
    path = Path(path)
    driver = layer_driver(path)
    frame = _frame(places, columns, crs)
    if not len(frame):
        raise DataError(f"{path.name}: there is nothing to write; the list of places is empty.")
    with staged(path) as temporary, warnings.catch_warnings():
        # Bound to the file in hand; nothing a user could act on.
        warnings.simplefilter("ignore", UserWarning)
        if driver == "GeoParquet":
            frame.to_parquet(
                temporary, schema_version="1.1.0", write_covering_bbox=True, compression="zstd", index=False
            )
        elif driver == "GeoJSON":
            frame.to_crs("EPSG:4326").to_file(
                temporary, driver=driver, engine="pyogrio", index=False,
                RFC7946="YES", COORDINATE_PRECISION=7, WRITE_NAME="NO",
            )  # fmt: skip
        else:
            frame.to_file(temporary, driver=driver, engine="pyogrio", index=False, layer=layer or path.stem)
    return path


def layer_driver(path: Path) -> str:
    """Return the format that the ending of a name stands for.

    Raises:
        ConfigError: none that is written here.
    """
    found = _DRIVERS.get(path.suffix.lower())
    if found is None:
        raise ConfigError(
            f"{path.name}: a layer ends in {', '.join(_DRIVERS)}, not {path.suffix or 'in nothing'}."
            f"{nearest(path.suffix.lower(), _DRIVERS)}"
        )
    return found


def _frame(
    places: Tiles | Regions | Sequence[BaseGeometry],
    columns: Mapping[str, ArrayLike | Sequence[Any]],
    crs: str | None,
) -> GeoDataFrame:
    geopandas = require("geopandas", extra="urban")
    ids: dict[str, Any] = {}
    if isinstance(places, Tiles):
        shapes: Any = places.footprints(places.crs)
        crs, ids = places.crs, {"tile_id": list(places.ids)}
    elif hasattr(places, "geometries"):
        shapes, crs, ids = places.geometries, places.crs, {"region": list(places.ids)}  # pyright: ignore[reportAttributeAccessIssue]
    else:
        shapes = list(places)  # pyright: ignore[reportArgumentType]
        if crs is None:
            raise ConfigError("Geometries need crs=..., the coordinate system of their numbers.")
    table: dict[str, Any] = dict(ids)
    seen = {name.lower() for name in table}
    for name, values in columns.items():
        if not name.strip() or name.lower() in _RESERVED:
            raise ConfigError(f"A column cannot be called {name!r}: the file formats use it. Choose another.")
        if name.lower() in seen:
            raise ConfigError(
                f"The column {name!r} stands twice (upper and lower case are the same in layers)."
            )
        if len(values) != len(shapes):  # pyright: ignore[reportArgumentType]
            raise DataError(f"Column {name!r} has {len(values)} values for {len(shapes)} places.")  # pyright: ignore[reportArgumentType]
        seen.add(name.lower())
        table[name] = _cells(values)
    return geopandas.GeoDataFrame(table, geometry=list(shapes), crs=crs)


def _cells(values: Any) -> Any:
    """Return one column as the drivers take it."""
    array = values if isinstance(values, np.ndarray) else None
    if array is not None and array.ndim == 1 and array.dtype.kind in "iub":
        return array
    if array is not None and array.ndim == 1 and array.dtype.kind == "f":
        # Single precision would show its rounding: 0.1 as 0.10000000149.
        return array if array.dtype == np.float64 else np.array([float(f"{one:.7g}") for one in array])
    listed = list(values)
    return ["; ".join(map(str, one)) if isinstance(one, (list, tuple)) else one for one in listed]
