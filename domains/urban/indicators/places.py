"""Where tiles lie in meters, which region they are in, and how far predictions are from what was learned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ....core.errors import ConfigError, InputError, nearest, require
from ..geometry.projection import transform_points
from ..geometry.tiles import Tiles

if TYPE_CHECKING:
    from ..geometry.regions import Regions
    from ..loaders.raster import Raster

Aggregate = Literal["mean", "sum"]
AGGREGATES: tuple[Aggregate, ...] = get_args(Aggregate)
"""``mean`` for densities and rates: weighted by the ground shared with the region. ``sum`` for counts and
amounts: a tile with a third of its ground in the region gives a third of its number."""

_OVERLAP = 1.01
_LEAST_SHARE = 0.01
_MOST_CELLS = 20_000_000
_MOST_REMEMBERED = 20_000
"""Labelled embeddings that others are compared with; the work grows with tiles times these."""


def local_meters(tiles: Tiles) -> NDArray[np.float64]:
    """Return centers float64 [N, 2] in meters around their middle: true distances, unlike Web Mercator's.

    Raises:
        InputError: the tiles have no coordinate system.
    """
    degrees = tiles.centers("EPSG:4326")
    x, y = transform_points(degrees[:, 0], degrees[:, 1], "EPSG:4326", _local("aeqd", degrees))
    return np.stack([x, y], axis=1)


def _local(projection: str, degrees: NDArray[np.float64]) -> str:
    # Around the middle of the circle: half of the tiles may lie beyond the antimeridian.
    middle = np.rad2deg(np.angle(np.exp(1j * np.deg2rad(degrees[:, 0])).mean()))
    lon = float(middle + np.median((degrees[:, 0] - middle + 180) % 360 - 180))
    lat = float(np.median(degrees[:, 1]))
    return f"+proj={projection} +lat_0={lat:.6f} +lon_0={lon:.6f} +datum=WGS84 +units=m"


@dataclass(frozen=True)
class RegionValues:
    """An indicator of R regions.

    Attributes:
        values: float64 [R], NaN where no tile with a value shares ground with the region.
        covered: float64 [R], share of each region's ground that such tiles cover, 0 to 1.
    """

    values: NDArray[np.float64]
    covered: NDArray[np.float64]


@dataclass(frozen=True)
class SharedGround:
    """Which tiles share how much ground with which regions.

    Attributes:
        tile, region: int64 [P], pairs. area: float64 [P], square meters that they share.
        tile_areas: float64 [N]. region_areas: float64 [R].
        own: float64 [N], share of each tile that is its own when ground under several tiles is divided
            equally among them; 1 where none overlaps.
    """

    tile: NDArray[np.int64]
    region: NDArray[np.int64]
    area: NDArray[np.float64]
    tile_areas: NDArray[np.float64]
    region_areas: NDArray[np.float64]
    own: NDArray[np.float64]

    @classmethod
    def of(cls, tiles: Tiles, regions: Regions) -> SharedGround:
        """Return the shared ground, measured in an equal-area projection around the tiles."""
        shapely = require("shapely", extra="urban")
        system = _local("laea", tiles.centers("EPSG:4326"))
        footprints, shapes = tiles.footprints(system), regions.to_crs(system).geometries
        tile, region = shapely.STRtree(shapes).query(footprints, predicate="intersects")
        area = shapely.area(shapely.intersection(footprints[tile], shapes[region]))
        kept = area > 0
        return cls(
            tile[kept],
            region[kept],
            area[kept],
            shapely.area(footprints),
            shapely.area(shapes),
            own_shares(tiles),
        )

    def aggregate(self, values: NDArray[np.float64], how: Aggregate = "mean") -> RegionValues:
        """Return an indicator of every region from values float64 [N] of the tiles, NaN where there is none.

        Ground under several tiles counts once: each of these speaks for its part of it.

        Raises:
            ConfigError: unknown word.
        """
        if how not in AGGREGATES:
            raise ConfigError(
                f"Unknown aggregate {how!r}; there are: {', '.join(AGGREGATES)}."
                f"{nearest(str(how), AGGREGATES)}"
            )
        known = np.isfinite(values[self.tile])
        tile, region = self.tile[known], self.region[known]
        area = self.area[known] * self.own[tile]
        count = len(self.region_areas)
        ground = np.bincount(region, area, minlength=count)
        weights = area / self.tile_areas[tile] if how == "sum" else area
        totals = np.bincount(region, weights * values[tile], minlength=count)
        with np.errstate(invalid="ignore", divide="ignore"):
            found = totals if how == "sum" else totals / ground
            return RegionValues(
                np.where(ground > 0, found, np.nan), np.minimum(ground / self.region_areas, 1.0)
            )

    def region_of_tiles(self) -> NDArray[np.int64]:
        """Return int64 [N], the region that shares most ground with each tile, -1 where none has a hundredth.

        Of regions that share as much, the first.
        """
        found = np.full(len(self.tile_areas), -1)
        # Edges bend from one system to another: equal halves differ by a hair, and neighbors share slivers.
        share = np.round(self.area / self.tile_areas[self.tile], 3)
        order = np.lexsort((-self.region, share))
        order = order[share[order] >= _LEAST_SHARE]
        found[self.tile[order]] = self.region[order]
        return found


def overlapping(tiles: Tiles) -> NDArray[np.int64]:
    """Return int64 [P, 2], all pairs of tiles that have ground in common; edges do not count."""
    if tiles.datum != "EPSG:4326" or not len(tiles):
        # Bounds of tiles in a shifted datum are a hair larger than the tiles, which do not overlap.
        return np.empty((0, 2), dtype=np.int64)
    shapely = require("shapely", extra="urban")
    hair = 1e-6 * (tiles.bounds[:, 2:] - tiles.bounds[:, :2])
    boxes = shapely.box(*np.concatenate([tiles.bounds[:, :2] + hair, tiles.bounds[:, 2:] - hair], axis=1).T)
    one, other = shapely.STRtree(boxes).query(boxes)
    return np.stack([one, other], axis=1)[one < other]


def own_shares(tiles: Tiles) -> NDArray[np.float64]:
    """Return float64 [N], the share of each tile that is its own when overlaps are divided equally.

    Edges of all tiles cut the ground into cells; each cell is divided among the tiles over it.

    Raises:
        InputError: very many tiles overlap without any order.
    """
    if tiles.datum != "EPSG:4326":
        # Bounds of tiles in a shifted datum are a hair larger than the tiles, which do not overlap.
        return np.ones(len(tiles))
    hair = 1e-6 * float(np.min(tiles.bounds[:, 2:] - tiles.bounds[:, :2], initial=np.inf))
    cells = np.rint((tiles.bounds - tiles.bounds.min(axis=0)[[0, 1, 0, 1]]) / hair).astype(np.int64)
    xs, columns = np.unique(cells[:, [0, 2]], return_inverse=True)
    ys, rows = np.unique(cells[:, [1, 3]], return_inverse=True)
    if len(xs) * len(ys) > _MOST_CELLS:
        return _scattered(tiles)
    (left, right), (low, high) = columns.reshape(-1, 2).T, rows.reshape(-1, 2).T
    over = np.zeros((len(ys) + 1, len(xs) + 1))
    for row, column, step in ((low, left, 1), (low, right, -1), (high, left, -1), (high, right, 1)):
        np.add.at(over, (row, column), step)
    over = over.cumsum(axis=0).cumsum(axis=1)[: len(ys) - 1, : len(xs) - 1]
    ground = np.diff(ys)[:, None] * np.diff(xs).astype(np.float64) / np.maximum(over, 1)
    total = np.zeros((len(ys), len(xs)))
    total[1:, 1:] = ground.cumsum(axis=0).cumsum(axis=1)
    inside = total[high, right] - total[low, right] - total[high, left] + total[low, left]
    areas = (cells[:, 2] - cells[:, 0]) * (cells[:, 3] - cells[:, 1]).astype(np.float64)
    return np.clip(inside / areas, 0.0, 1.0)


def _scattered(tiles: Tiles) -> NDArray[np.float64]:
    shapely = require("shapely", extra="urban")
    boxes = tiles.boxes()
    if float(shapely.area(boxes).sum()) > _OVERLAP * float(shapely.area(shapely.union_all(boxes))):
        raise InputError(
            f"{len(tiles)} tiles overlap without any order, so their ground cannot be divided among them. "
            "Embed tiles on a grid to add them up to regions."
        )
    return np.ones(len(tiles))


def mean_colors(raster: Raster, tiles: Tiles, *, size: int = 8) -> NDArray[np.float32]:
    """Return float32 [N, C], the mean color of the valid pixels of each tile.

    Tiles without any get the mean of the others.

    Args:
        raster: scaled to [0, 1]. tiles: of it, or of another grid over it.
        size: pixels a side at which tiles of another grid are read.

    Raises:
        InputError: the raster shows none of the tiles.
    """
    from ..loaders.errors import TileOutsideBounds

    colors = np.full((len(tiles), len(raster.bands)), np.nan, dtype=np.float32)
    for index, tile in enumerate(tiles):
        try:
            # A window is read pixel by pixel: a mean needs no smaller copy of the scene.
            found = raster.read_tile(tile, size=None if tile.window is not None else (size, size))
        except TileOutsideBounds:
            continue
        if bool(found.mask.any()):
            colors[index] = found.image[:, found.mask].mean(dim=1).numpy()
    seen = np.isfinite(colors).all(axis=1)
    if not seen.any():
        raise InputError(
            f"{raster.name} shows none of the {len(tiles)} tiles. Is it the scene they were made from?"
        )
    colors[~seen] = colors[seen].mean(axis=0)
    return colors


def novelty(
    vectors: NDArray[np.float32], labelled: NDArray[np.int64], *, neighbors: int = 5
) -> NDArray[np.float64]:
    """Return how far each embedding is from the labelled ones: float64 [N], 1 at what is usual among these.

    The mean cosine distance to the nearest labelled embeddings, a tile's own left out, divided by the 99th
    percentile of that among the labelled tiles. Above 1, a prediction is a guess about something new.

    Args:
        vectors: float32 [N, D]. labelled: rows that were learned from, more than ``neighbors``; of very many
            a sample is compared with.
    """
    from .regressors import unit_rows

    unit = unit_rows(vectors)
    if len(labelled) > _MOST_REMEMBERED:
        labelled = np.random.default_rng(0).choice(labelled, _MOST_REMEMBERED, replace=False)
    memory = unit[labelled]
    neighbors = min(neighbors, len(labelled) - 1)
    distance = np.empty(len(unit))
    own = np.full(len(unit), -1)
    own[labelled] = np.arange(len(labelled))
    step = max(1, 16_000_000 // len(memory))
    for start in range(0, len(unit), step):
        similar = unit[start : start + step] @ memory.T
        rows = np.flatnonzero(own[start : start + step] >= 0)
        similar[rows, own[start : start + step][rows]] = -np.inf
        nearest_ones = -np.partition(-similar, neighbors - 1, axis=1)[:, :neighbors]
        distance[start : start + step] = 1 - nearest_ones.mean(axis=1)
    usual = float(np.quantile(distance[labelled], 0.99))
    # Rounding leaves equal embeddings a hair apart.
    return distance / max(usual, 1e-6)
