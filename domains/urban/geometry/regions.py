"""Regions of the user: named polygons, checked before anything is worked out for them."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from ....core.errors import InputError, nearest, require
from ....core.limits import DEFAULT, Limits
from ..loaders.errors import MissingCRSError
from .projection import WGS84, Geometries, crs_name, is_geographic, is_shifted, reproject
from .vector_files import read_layer

if TYPE_CHECKING:
    from geopandas import GeoDataFrame

_ID_COLUMNS = ("id", "region_id", "name")
"""Columns that name regions when the user names none; a name only where every region has its own."""


class RegionWarning(UserWarning):
    """Something about regions that is no error and may not be what was meant."""


@dataclass(frozen=True, eq=False)
class Regions:
    """Named polygons in one coordinate system.

    Attributes:
        ids: N unique names.
        geometries: N valid shapely Polygons or MultiPolygons, x or longitude first.
        crs: "EPSG:..." or WKT.
        attributes: {column of the file: N values}.
        repaired: ids of the regions whose outlines were invalid and were mended.
    """

    ids: tuple[str, ...]
    geometries: Geometries
    crs: str
    attributes: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    repaired: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """(west, south, east, north) around all regions, in units of ``crs``."""
        west, south, east, north = require("shapely", extra="urban").total_bounds(self.geometries).tolist()
        return west, south, east, north

    @classmethod
    def from_file(
        cls,
        path: str | os.PathLike[str],
        *,
        id_column: str | None = None,
        crs: Any = None,
        repair: bool = False,
        layer: str | None = None,
        show_paths: bool = False,
        limits: Limits = DEFAULT,
    ) -> Regions:
        """Return the regions of a GeoJSON, GeoPackage, Shapefile or GeoParquet file.

        Args:
            path: a local file.
            id_column: column whose values name the regions; default: ``id`` or ``region_id`` where there is
                one, or ``name`` where every region has its own, else the features are counted from 1.
            crs: what the coordinates are in, whatever the file says: a code, or "GCJ-02" or "BD-09" for
                coordinates of Chinese map services, which become EPSG:4326.
            repair: mend invalid outlines instead of refusing them; which were is in ``repaired``.
            layer: layer of a GeoPackage that has several.
            show_paths: let messages name the whole path instead of the file name.
            limits: ceilings for the file.

        Raises:
            MissingCRSError: neither the file nor ``crs`` says what the coordinates are.
            InputError: not such a file, no features, features that are no polygons, invalid outlines without
                ``repair``, names that are missing or stand twice, or longitude and latitude swapped.

        Example:
            >>> regions = Regions.from_file("districts.gpkg", id_column="name")  # doctest: +SKIP
        """
        table = read_layer(path, layer=layer, show_paths=show_paths, limits=limits)
        label = os.fspath(path) if show_paths else os.path.basename(path)
        if not hasattr(table, "geometry") or not len(table):
            raise InputError(f"{label}: there are no features in it. Export the layer with its polygons.")
        found = crs if crs is not None else table.crs
        if found is None:
            raise MissingCRSError(
                f"{label}: the file does not say what its coordinates are (a Shapefile needs its .prj). Say "
                "it with crs= (--regions-crs), for example EPSG:4326 for longitude and latitude."
            )
        attributes = {
            str(name): tuple(table[name].tolist()) for name in table.columns if name != table.geometry.name
        }
        return cls.from_geometries(
            table.geometry.to_numpy(),
            found,
            ids=_ids(table, id_column, label),
            attributes=attributes,
            repair=repair,
            label=label,
        )

    @classmethod
    def from_geometries(
        cls,
        geometries: Sequence[Any] | Geometries,
        crs: Any,
        *,
        ids: Sequence[Any] | None = None,
        attributes: Mapping[str, Sequence[Any]] | None = None,
        repair: bool = False,
        label: str = "regions",
    ) -> Regions:
        """Return regions of shapely polygons, with the checks and arguments of :meth:`from_file`."""
        shapely = require("shapely", extra="urban")
        shapes = shapely.force_2d(np.array(list(geometries), dtype=object))
        if not len(shapes):
            raise InputError(f"{label}: there are no regions. Give at least one polygon.")
        names = tuple(str(name) for name in (ids if ids is not None else range(1, len(shapes) + 1)))
        _check_names(names, len(shapes), label)
        _check_kinds(shapes, names, label)
        system = crs_name(crs)
        _check_coordinates(shapes, names, system, label)
        shapes, repaired = _valid(shapes, names, repair=repair, label=label)
        if is_shifted(system):
            shapes, system = reproject(shapes, system, WGS84), WGS84
        columns = {name: tuple(values) for name, values in (attributes or {}).items()}
        return cls(names, shapes, system, columns, repaired)

    def to_crs(self, crs: Any) -> Regions:
        """Return the regions in another coordinate system, their long edges bent as they must.

        Raises:
            InputError: a region that ``crs`` cannot show.
        """
        target = crs_name(crs)
        moved = reproject(self.geometries, self.crs, target)
        lost = [name for name, shape in zip(self.ids, moved, strict=True) if shape.is_empty]
        if lost:
            raise InputError(f"{target[:60]} cannot show {some(lost, 'region')}. Choose another system.")
        return replace(self, geometries=moved, crs=target)

    def take(self, indices: ArrayLike) -> Regions:
        """Return some regions, in the order of ``indices``."""
        chosen = np.asarray(indices, dtype=np.int64).reshape(-1).tolist()
        ids = tuple(self.ids[index] for index in chosen)
        return replace(
            self,
            ids=ids,
            geometries=self.geometries[chosen],
            attributes={
                name: tuple(column[index] for index in chosen) for name, column in self.attributes.items()
            },
            repaired=tuple(name for name in self.repaired if name in set(ids)),
        )


def some(names: Sequence[str], noun: str, most: int = 5) -> str:
    """Return "3 regions ('a', 'b', 'c')", with the first few names only."""
    listed = ", ".join(repr(name if len(name) <= 60 else name[:57] + "...") for name in names[:most])
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return f"{len(names):,} {noun}{'s' if len(names) != 1 else ''} ({listed}{more})"


def _ids(table: GeoDataFrame, id_column: str | None, label: str) -> list[Any] | None:
    columns = [str(name) for name in table.columns if name != table.geometry.name]
    if id_column is None:
        id_column = next((name for name in _ID_COLUMNS if name in columns), None)
        if id_column is None:
            return None
        if id_column == "name" and (table["name"].isna().any() or not table["name"].is_unique):
            return None
    elif id_column not in columns:
        raise InputError(
            f"{label}: there is no column {id_column!r}; it has: {', '.join(columns) or 'none'}."
            f"{nearest(id_column, columns)}"
        )
    values = table[id_column]
    if values.isna().any():
        raise InputError(
            f"{label}: {int(values.isna().sum())} of {len(values)} features have no {id_column!r}. Name "
            "them, or choose another column with id_column= (--region-id)."
        )
    # Whole numbers that a file keeps as floats, because one was missing once, are named as whole numbers.
    return [
        int(value) if isinstance(value, float) and value.is_integer() else value for value in values.tolist()
    ]


def _check_names(names: Sequence[str], count: int, label: str) -> None:
    if len(names) != count:
        raise InputError(f"{label}: {len(names)} ids for {count} regions; every region needs one.")
    if len(set(names)) != count:
        twice = sorted({name for name in names if names.count(name) > 1} if count < 5000 else set(names))
        raise InputError(
            f"{label}: region ids must differ, and {twice[0]!r} stands more than once. Choose another "
            "column with id_column= (--region-id), or merge (dissolve) the features of one region."
        )


def _check_kinds(shapes: Geometries, names: Sequence[str], label: str) -> None:
    """Raise where features have no outline, or are no polygons."""
    shapely = require("shapely", extra="urban")
    bare = shapely.is_missing(shapes) | shapely.is_empty(shapes)
    if bare.any():
        missing = [name for name, empty in zip(names, bare, strict=True) if empty]
        raise InputError(f"{label}: {some(missing, 'region')} have no outline. Remove or redraw them.")
    other = [
        (name, shape.geom_type)
        for name, shape in zip(names, shapes, strict=True)
        if shape.geom_type not in ("Polygon", "MultiPolygon")
    ]
    if other:
        kinds = ", ".join(sorted({kind for _, kind in other}))
        raise InputError(
            f"{label}: regions are polygons, and {some([name for name, _ in other], 'feature')} are {kinds}. "
            "Buffer points and lines in a GIS, or choose the layer with the areas."
        )


def _check_coordinates(shapes: Geometries, names: Sequence[str], crs: str, label: str) -> None:
    """Raise for numbers that cannot be what the coordinate system says; say so where they may not be."""
    shapely = require("shapely", extra="urban")
    bounds = shapely.bounds(shapes)
    if not np.isfinite(shapely.get_coordinates(shapes)).all():
        raise InputError(f"{label}: coordinates that are no numbers. Redraw or remove the feature.")
    if not is_geographic(crs):
        return
    west, south, east, north = bounds[:, 0].min(), bounds[:, 1].min(), bounds[:, 2].max(), bounds[:, 3].max()
    seen = f"x from {west:g} to {east:g} and y from {south:g} to {north:g}"
    if max(-south, north) > 90.0:
        if max(-west, east) <= 90.0 and max(-south, north) <= 180.0:
            raise InputError(
                f"{label}: latitude and longitude are swapped: {seen}, and latitudes (y) end at 90. "
                "Write longitude first."
            )
        raise InputError(
            f"{label}: {seen} are no degrees. Say what they are with crs= (--regions-crs), for example "
            "EPSG:3857."
        )
    if max(-west, east) > 180.0 + 1e-9:
        raise InputError(
            f"{label}: longitudes go from {west:g} to {east:g}; use -180 to 180, and split regions that "
            "cross the antimeridian there."
        )
    wide = [name for name, (x0, _, x1, _) in zip(names, bounds.tolist(), strict=True) if x1 - x0 > 180.0]
    if wide:
        warnings.warn(
            f"{label}: {some(wide, 'region')} span more than 180 degrees of longitude. A region that "
            "crosses the antimeridian has to be split there, or it covers the other side of the Earth.",
            RegionWarning,
            stacklevel=4,
        )


def _valid(
    shapes: Geometries, names: Sequence[str], *, repair: bool, label: str
) -> tuple[Geometries, tuple[str, ...]]:
    """Return valid outlines and the names of those that had to be mended."""
    shapely = require("shapely", extra="urban")
    bad = np.flatnonzero(~shapely.is_valid(shapes))
    if not len(bad):
        return shapes, ()
    listed = [names[int(index)] for index in bad]
    if not repair:
        reason = shapely.is_valid_reason(shapes[bad[0]])
        raise InputError(
            f"{label}: the outlines of {some(listed, 'region')} are invalid; {listed[0]!r}: {reason}. Mend "
            "them in a GIS, or pass repair=True (--repair) to do it here."
        )
    mended = shapes.copy()
    for index in map(int, bad):
        parts = shapely.get_parts(shapely.get_parts(shapely.make_valid(shapes[index])))
        areas = [part for part in parts if part.geom_type == "Polygon"]
        if not areas:
            raise InputError(f"{label}: region {names[index]!r} has no area to mend. Remove or redraw it.")
        mended[index] = shapely.union_all(areas)
    return mended, tuple(listed)
