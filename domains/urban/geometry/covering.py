"""Which tiles lie in which regions, by true intersection of their areas."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ....core.errors import ConfigError, InputError, LimitError, nearest, require
from ..protocols import RasterShape
from .grids import Edge, check_count, check_upright, raster_grid, window_bounds
from .projection import WGS84, Geometries, is_geographic, reproject, same_crs, transform_bounds
from .regions import Regions, RegionWarning, some
from .schemes import SCHEMES, check_scheme, scheme_tiles, tile_range
from .tiles import Tiles
from .webmercator import LIMIT_DEGREES

Rule = Literal["intersects", "centroid", "fraction"]
_SQUARE_WORLD = (-180.0, -LIMIT_DEGREES, 180.0, LIMIT_DEGREES)


def cover(tiles: Tiles, regions: Regions, *, rule: Rule = "intersects", fraction: float = 0.0) -> Tiles:
    """Return the tiles that lie in the regions, with ``regions`` and ``coverage``.

    Coverage is the area that a tile shares with the union of its regions over the area of the tile, both in
    the tiles' own coordinate system. Tiles that only touch a region do not count.

    Args:
        tiles: tiles of a grid or scheme.
        regions: polygons in any coordinate system.
        rule: ``intersects``: any area in common; ``centroid``: the middle of the tile lies in the region (a
            tile belongs to one of several regions that share no ground, whatever its size); ``fraction``: at
            least ``fraction`` of the tile's area lies in the regions together.
        fraction: 0 < fraction <= 1, for that rule.

    Raises:
        ConfigError: an unknown rule, or a fraction without its rule.
        InputError: every region lies outside of the tiles, or the rule leaves none.

    Warns:
        RegionWarning: some regions lie outside of the tiles, or got none by the rule; see
            :func:`without_tiles`.
    """
    _check_rule(rule, fraction)
    shapes = _within(regions, tiles)
    _report_outside(regions, shapes, tiles)
    found = _chosen(tiles, regions, shapes, rule, fraction)
    if not len(found):
        raise _none_left(len(tiles), regions, rule, fraction)
    _report_left_out(regions, shapes, found, rule)
    return found


def cover_each(
    tables: Sequence[Tiles], regions: Regions, *, rule: Rule = "intersects", fraction: float = 0.0
) -> list[Tiles]:
    """Return :func:`cover` of several tables, one per raster; a table that no region lies on becomes empty.

    Raises:
        ConfigError: as :func:`cover`.
        InputError: there are no tiles left in any table.

    Warns:
        RegionWarning: some regions got no tile of any table.
    """
    _check_rule(rule, fraction)
    found = [_chosen(tiles, regions, _within(regions, tiles), rule, fraction) for tiles in tables]
    if not any(map(len, found)):
        if tables and all(shape.is_empty for tiles in tables for shape in _within(regions, tiles)):
            _report_outside(regions, _within(regions, tables[0]), tables[0])
        raise _none_left(sum(map(len, tables)), regions, rule, fraction)
    left_out = set(regions.ids).intersection(*(without_tiles(tiles, regions) for tiles in found))
    if left_out:
        names = [name for name in regions.ids if name in left_out]
        warnings.warn(
            f"{some(names, 'region')} of {len(regions)} got no tile of {len(tables)} rasters.",
            RegionWarning,
            stacklevel=3,
        )
    return found


def _chosen(tiles: Tiles, regions: Regions, shapes: Geometries, rule: Rule, fraction: float) -> Tiles:
    """Return the tiles that a rule gives to regions whose outlines in the tiles' system are ``shapes``."""
    shapely = require("shapely", extra="urban")
    outlines = tiles.footprints(tiles.crs)
    if rule == "centroid":
        points = shapely.points(tiles.centers())
        region_of, tile_of = shapely.STRtree(points).query(shapes, predicate="intersects")
        shared = shapely.intersection(outlines[tile_of], shapes[region_of])
    else:
        region_of, tile_of, shared = _shared(outlines, shapes)
    order = np.lexsort((region_of, tile_of))
    region_of, tile_of, shared = region_of[order], tile_of[order], shared[order]
    kept, starts = np.unique(tile_of, return_index=True)
    coverage = _coverage(outlines, kept, starts, shared)
    groups = np.split(region_of, starts[1:]) if len(kept) else []
    if rule == "fraction":
        enough = coverage >= fraction - 1e-12
        groups = [group for group, keep in zip(groups, enough, strict=True) if keep]
        kept, coverage = kept[enough], coverage[enough]
    names = tuple(tuple(regions.ids[index] for index in group.tolist()) for group in groups)
    return replace(tiles.take(kept), regions=names, coverage=coverage)


def without_tiles(tiles: Tiles, regions: Regions) -> tuple[str, ...]:
    """Return the ids of the regions that no tile belongs to, in the order of ``regions``."""
    with_tiles = {name for names in tiles.regions or () for name in names}
    return tuple(name for name in regions.ids if name not in with_tiles)


@dataclass(frozen=True)
class TileGrid:
    """A way to cut ground into tiles.

    Attributes:
        scheme: ``webmercator`` (XYZ), ``tms``, ``baidu``, or ``raster`` for windows of a raster's own pixels.
        zoom: level of a tile scheme.
        tile_px: side of a window in pixels (``raster``).
        overlap: pixels that a window shares with the next (``raster``).
        stride: pixels from a window to the next (``raster``), instead of ``overlap``.
        edge: what happens at the edge of a raster; see :func:`.grids.raster_grid`.
        crs: what a tile scheme's x and y are counted in: "EPSG:4326", "GCJ-02" (web maps published in China)
            or "BD-09" (the default of ``baidu``). Bounds of tiles are true positions all the same.

    Raises:
        ConfigError: settings that do not belong together.

    Example:
        >>> grid = TileGrid("webmercator", zoom=16)
        >>> grid.within((116.39, 39.90, 116.40, 39.91)).ids[0]
        '16_53956_24831'
    """

    scheme: str = "webmercator"
    zoom: int | None = None
    tile_px: int = 256
    overlap: int = 0
    stride: int | None = None
    edge: Edge = "shift"
    crs: str | None = None

    def __post_init__(self) -> None:
        known = (*SCHEMES, "raster")
        if self.scheme not in known:
            raise ConfigError(
                f"{self.scheme!r} is no tile scheme; known: {', '.join(known)}.{nearest(self.scheme, known)}"
            )
        if self.scheme == "raster":
            if self.zoom is not None or self.crs is not None:
                raise ConfigError("scheme='raster' cuts a raster's own pixels; zoom= and crs= do not apply.")
            if not 0 <= self.overlap < self.tile_px:
                raise ConfigError(
                    f"overlap={self.overlap} must be from 0 to less than tile_px={self.tile_px}."
                )
            if self.overlap and self.stride is not None:
                raise ConfigError("overlap= and stride= say the same; pass one of them.")
            return
        if self.overlap or self.stride is not None:
            raise ConfigError(f"Tiles of {self.scheme} do not overlap; use scheme='raster' for overlap=.")
        if self.zoom is None:
            raise ConfigError(f"scheme={self.scheme!r} needs a zoom level, for example zoom=16.")
        check_scheme(self.scheme, self.crs)

    def cover(
        self,
        regions: Regions,
        *,
        raster: RasterShape | None = None,
        rule: Rule = "intersects",
        fraction: float = 0.0,
    ) -> Tiles:
        """Return the tiles in regions as :func:`cover` does.

        With a ``raster``, tiles lie on it; ``scheme="raster"`` needs one.
        """
        _check_rule(rule, fraction)
        if self.scheme == "raster" or raster is not None:
            if raster is None:
                raise ConfigError("scheme='raster' cuts the pixels of a raster; pass raster=.")
            return cover(self._near(raster, regions), regions, rule=rule, fraction=fraction)
        shapely = require("shapely", extra="urban")
        # In parts: the rectangle around one that the antimeridian cuts would go around the Earth.
        places = shapely.get_parts(regions.to_crs(WGS84).geometries)
        candidates = self._tiles(_whole(bounds) for bounds in shapely.bounds(places).tolist())
        return cover(candidates, regions, rule=rule, fraction=fraction)

    def over(self, raster: RasterShape) -> Tiles:
        """Return every tile that lies on a raster, at least in part."""
        if self.scheme == "raster":
            stride = self.stride or self.tile_px - self.overlap
            return raster_grid(
                raster.width, raster.height, raster.transform, raster.crs,
                size=self.tile_px, stride=stride, edge=self.edge, name=PurePath(raster.name).stem,
            )  # fmt: skip
        shapely = require("shapely", extra="urban")
        outlines = self._on_earth(raster.bounds, raster.crs)
        candidates = self._tiles(map(_whole, shapely.bounds(outlines).tolist()))
        _, tile_of, _ = _shared(
            candidates.footprints(candidates.crs), reproject(outlines, WGS84, candidates.crs)
        )
        return candidates.take(np.unique(tile_of))

    def _near(self, raster: RasterShape, regions: Regions) -> Tiles:
        """Return the tiles on a raster; of one with too many for a table, those around the regions."""
        try:
            return self.over(raster)
        except LimitError:
            if self.scheme != "raster":
                raise
        check_upright(raster.transform)
        a, _, c, _, e, f = raster.transform
        west, south, east, north = transform_bounds(regions.bounds, regions.crs, raster.crs)
        columns = self._along(raster.width, sorted(((west - c) / a, (east - c) / a)), regions)
        rows = self._along(raster.height, sorted(((south - f) / e, (north - f) / e)), regions)
        part = replace(self, overlap=0, stride=self.stride or self.tile_px - self.overlap)
        found = raster_grid(
            columns[1] - columns[0], rows[1] - rows[0], (a, 0.0, c + a * columns[0], 0.0, e, f + e * rows[0]),
            raster.crs, size=part.tile_px, stride=part.stride, edge=part.edge,
        )  # fmt: skip
        windows = np.asarray(found.windows, np.int64) + np.array([columns[0], rows[0], 0, 0], np.int64)
        stem = PurePath(raster.name).stem
        ids = tuple(f"{stem}_{row}_{column}" for column, row in windows[:, :2].tolist())
        return replace(found, ids=ids, windows=windows, bounds=window_bounds(windows, raster.transform))

    def _along(self, length: int, wanted: Sequence[float], regions: Regions) -> tuple[int, int]:
        """Return the first pixel and the one after the last of the tiles around (low, high) on one axis."""
        stride = self.stride or self.tile_px - self.overlap
        if wanted[1] <= 0 or wanted[0] >= length:
            raise InputError(f"{some(regions.ids, 'region')}: none lies on the raster.")
        first = int(max(0.0, wanted[0] - self.tile_px) // stride) * stride
        last = int(min(length, wanted[1] + stride) // stride) * stride + self.tile_px
        # Where the tiles reach the edge of the raster, they end as those of the whole raster do.
        return (
            min(first, max(0, length - self.tile_px) // stride * stride),
            last if last < length else length,
        )

    def within(self, bounds: tuple[float, float, float, float], *, crs: str = WGS84) -> Tiles:
        """Return the tiles of a scheme around a rectangle of ``crs``."""
        shapely = require("shapely", extra="urban")
        if same_crs(crs, WGS84):
            return self._tiles([bounds])
        return self._tiles(map(_whole, shapely.bounds(self._on_earth(bounds, crs)).tolist()))

    def _on_earth(self, bounds: tuple[float, float, float, float], crs: str) -> Geometries:
        """Return a rectangle in degrees, in parts where the antimeridian cuts it, as far as the scheme goes.

        Raises:
            InputError: nothing is left of it.
        """
        shapely = require("shapely", extra="urban")
        moved = reproject(np.array([shapely.box(*bounds)]), crs, WGS84)
        inside = shapely.intersection(moved, shapely.box(*_SQUARE_WORLD))
        parts = shapely.get_parts(inside)
        parts = parts[shapely.area(parts) > 0]
        if not len(parts):
            raise InputError(
                f"The rectangle {_span(bounds)} of {crs[:40] or 'no system'} has no place among tiles of "
                f"{self.scheme!r}, which end at {LIMIT_DEGREES:.2f} degrees of latitude."
            )
        return parts

    def _tiles(self, rectangles: Iterable[tuple[float, float, float, float]]) -> Tiles:
        """Return the tiles of a scheme around rectangles in degrees, each once."""
        if self.zoom is None:
            raise ConfigError("scheme='raster' cuts the pixels of a raster; use over(raster).")
        datum = check_scheme(self.scheme, self.crs)
        found: list[NDArray[np.int64]] = []
        count = 0
        for bounds in rectangles:
            x0, y0, x1, y1 = tile_range(bounds, self.zoom, self.scheme, datum)
            count += (x1 - x0 + 1) * (y1 - y0 + 1)
            check_count(count, f"Take a lower zoom than {self.zoom}, or smaller regions.")
            y, x = np.meshgrid(np.arange(y0, y1 + 1), np.arange(x0, x1 + 1), indexing="ij")
            found.append(np.stack([y.ravel(), x.ravel()], 1))
        rows = np.unique(np.concatenate(found), axis=0)
        zxy = np.stack([np.full(len(rows), self.zoom), rows[:, 1], rows[:, 0]], 1)
        return scheme_tiles(zxy, self.scheme, datum)


def _whole(bounds: list[float]) -> tuple[float, float, float, float]:
    west, south, east, north = bounds
    return west, south, east, north


def _check_rule(rule: str, fraction: float) -> None:
    if rule not in get_args(Rule):
        raise ConfigError(
            f"rule {rule!r} is none of {', '.join(get_args(Rule))}.{nearest(rule, get_args(Rule))}"
        )
    if rule == "fraction" and not 0.0 < fraction <= 1.0:
        raise ConfigError(f"rule='fraction' needs a fraction over 0 and up to 1, not {fraction:g}.")
    if rule != "fraction" and fraction:
        raise ConfigError(f"fraction={fraction:g} belongs to rule='fraction', not to rule={rule!r}.")


def _within(regions: Regions, tiles: Tiles) -> Geometries:
    """Return the regions in the tiles' system, empty where they lie outside of all tiles."""
    shapely = require("shapely", extra="urban")
    extent = tiles.extent
    shapes, source = regions.geometries, regions.crs
    if tiles.zxy is not None:
        # By degrees: only there is what crosses the antimeridian cut instead of torn.
        shapes = shapely.intersection(reproject(shapes, source, WGS84), shapely.box(*_SQUARE_WORLD))
        source = WGS84
    elif not is_geographic(tiles.crs) and not same_crs(regions.crs, tiles.crs):
        # What is far away may have no place in the tiles' system, and a region may be a continent.
        west, south, east, north = transform_bounds(extent, tiles.crs, regions.crs)
        dx, dy = 0.1 * (east - west), 0.1 * (north - south)
        shapes = shapely.intersection(shapes, shapely.box(west - dx, south - dy, east + dx, north + dy))
    moved = reproject(shapes, source, tiles.crs)
    broken = ~shapely.is_valid(moved)
    if broken.any():
        moved = np.where(broken, shapely.make_valid(moved), moved)
    outside = ~shapely.intersects(moved, shapely.box(*extent))
    return np.where(outside, shapely.Polygon(), moved)


def _shared(
    outlines: Geometries, shapes: Geometries
) -> tuple[NDArray[np.int64], NDArray[np.int64], Geometries]:
    """Return (region, tile, what they share) for every pair with an area in common."""
    shapely = require("shapely", extra="urban")
    tree = shapely.STRtree(outlines)
    region_of, tile_of = tree.query(shapes, predicate="intersects")
    inner_region, inner_tile = tree.query(shapes, predicate="covers")
    pair, inner = region_of * len(outlines) + tile_of, inner_region * len(outlines) + inner_tile
    pieces = outlines[tile_of]
    border = np.flatnonzero(~np.isin(pair, inner))
    for region in np.unique(region_of[border]).tolist():
        rows = border[region_of[border] == region]
        pieces[rows] = _pieces(outlines[tile_of[rows]], shapes[region])
    real = shapely.area(pieces) > 0
    return region_of[real], tile_of[real], pieces[real]


def _pieces(outlines: Geometries, shape: object) -> Geometries:
    """Return what each outline shares with a shape.

    A coast of a hundred thousand points is halved with the tiles until each tile meets a short piece of it.
    """
    shapely = require("shapely", extra="urban")
    if len(outlines) <= 8 or shapely.get_num_coordinates(shape) <= 64:
        return shapely.intersection(outlines, shape)
    bounds = shapely.bounds(outlines)
    middle = bounds[:, :2] + bounds[:, 2:]
    axis = int(np.argmax(np.ptp(middle, axis=0)))
    order = np.argsort(middle[:, axis], kind="stable")
    pieces = np.empty(len(outlines), dtype=object)
    for half in np.array_split(order, 2):
        around = shapely.box(*shapely.total_bounds(outlines[half]))
        pieces[half] = _pieces(outlines[half], shapely.intersection(shape, around))
    return pieces


def _coverage(
    outlines: Geometries, kept: NDArray[np.int64], starts: NDArray[np.int64], shared: Geometries
) -> NDArray[np.float64]:
    """Return the share of each kept tile that its pieces cover together, each spot counted once."""
    shapely = require("shapely", extra="urban")
    if not len(kept):
        return np.zeros(0)
    areas = np.add.reduceat(shapely.area(shared), starts)
    ends = np.append(starts[1:], len(shared))
    for index in np.flatnonzero(ends - starts > 1).tolist():
        areas[index] = shapely.area(shapely.union_all(shared[starts[index] : ends[index]]))
    return np.clip(areas / shapely.area(outlines[kept]), 0.0, 1.0)


def _none_left(count: int, regions: Regions, rule: str, fraction: float) -> InputError:
    """Return the error for a rule that leaves no tile."""
    advice = "Take rule='intersects', or smaller tiles." if rule != "intersects" else "Take other regions."
    wanted = f"rule={rule!r}" + (f" with fraction={fraction:g}" if rule == "fraction" else "")
    return InputError(f"None of {count:,} tiles is in {some(regions.ids, 'region')} by {wanted}. {advice}")


def _report_outside(regions: Regions, shapes: Geometries, tiles: Tiles) -> None:
    """Raise when every region lies outside of the tiles, warn when some do."""
    outside = [name for name, shape in zip(regions.ids, shapes, strict=True) if shape.is_empty]
    if not outside:
        return
    hint = _hint(regions, tiles)
    if len(outside) == len(regions):
        raise InputError(
            f"{some(outside, 'region')}: none lies on the raster or tiles, which span "
            f"{_span(tiles.extent)} of {tiles.crs[:40]}; the regions span {_span(regions.bounds)} of "
            f"{regions.crs[:40]}.{hint or ' Check that both are of the same place.'}"
        )
    warnings.warn(
        f"{some(outside, 'region')} of {len(regions)} lie outside of the raster or tiles and get none.{hint}",
        RegionWarning,
        stacklevel=3,
    )


def _report_left_out(regions: Regions, shapes: Geometries, found: Tiles, rule: str) -> None:
    """Warn of regions on the tiles to which the rule gave none."""
    inside = {name for name, shape in zip(regions.ids, shapes, strict=True) if not shape.is_empty}
    left_out = [name for name in without_tiles(found, regions) if name in inside]
    if left_out:
        warnings.warn(
            f"{some(left_out, 'region')} of {len(regions)} got no tile by rule={rule!r}.",
            RegionWarning,
            stacklevel=3,
        )


def _hint(regions: Regions, tiles: Tiles) -> str:
    """Return what would explain regions that miss: swapped axes, or degrees taken for metres."""
    shapely = require("shapely", extra="urban")
    around = shapely.box(*tiles.extent)
    west, south, east, north = regions.bounds
    if is_geographic(regions.crs) and max(-west, east) <= 90.0:
        swapped = shapely.transform(regions.geometries, lambda points: points[:, ::-1])
        if shapely.intersects(reproject(swapped, regions.crs, tiles.crs), around).any():
            return " With latitude and longitude swapped they would lie on it: write longitude first."
    if not is_geographic(regions.crs) and max(-west, east) <= 180.0 and max(-south, north) <= 90.0:
        return " Their numbers look like degrees: say crs='EPSG:4326' (--regions-crs)."
    return ""


def _span(bounds: tuple[float, float, float, float]) -> str:
    west, south, east, north = (f"{edge:.0f}" if abs(edge) >= 1000 else f"{edge:.6g}" for edge in bounds)
    return f"x {west} to {east}, y {south} to {north}"
