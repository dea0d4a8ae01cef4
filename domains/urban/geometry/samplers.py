"""In which order windows of rasters are read: all of a grid, those in regions, or random ones.

A sampler gives :class:`Place` objects, which :class:`.dataset.TileDataset` reads in this or another process.
What it gives depends on seed, epoch, rank and number of ranks alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from ....core.errors import ConfigError, InputError
from ..protocols import BlockedRaster, RasterShape
from .covering import Rule, TileGrid, cover_each
from .grids import Edge, check_upright, raster_grid, window_bounds
from .regions import Regions
from .tiles import Tile, Tiles


@dataclass(frozen=True)
class Shard:
    """Which part of a sampler's places one process sees, and how they are drawn.

    Attributes:
        seed: of everything random.
        rank: number of this process, from 0.
        world_size: number of processes.
        even: give every rank as many places, leaving the rest of the division out; training on several
            devices waits forever where one has more steps than another.
    """

    seed: int = 0
    rank: int = 0
    world_size: int = 1
    even: bool = False

    def __post_init__(self) -> None:
        if self.world_size < 1 or not 0 <= self.rank < self.world_size or self.seed < 0:
            raise ConfigError(
                f"seed={self.seed}, rank={self.rank}, world_size={self.world_size}: seed and rank start at "
                "0, and rank is below world_size."
            )

    def size(self, total: int) -> int:
        """Return how many of ``total`` places this rank has."""
        if self.even:
            return total // self.world_size
        return (total - self.rank + self.world_size - 1) // self.world_size


class Place(NamedTuple):
    """One tile to read.

    Attributes:
        raster: which of the rasters it is of.
        tile: what to read.
        draw: (seed, epoch, number) of a random window, or None: a fixed tile is never replaced.
        rows: first and last upper row that a replacement may have.
    """

    raster: int
    tile: Tile
    draw: tuple[int, int, int] | None = None
    rows: tuple[int, int] = (0, 0)


class Places(Sequence[Place]):
    """Places as numbers, 8 bytes each: a list of them would take half a kilobyte for each.

    Args:
        order: int64 [N], what ``make`` makes places of.
        make: place of a number.
    """

    def __init__(self, order: NDArray[np.int64], make: Callable[[int], Place]) -> None:
        self._order, self._make = order, make

    def __len__(self) -> int:
        return len(self._order)

    @overload
    def __getitem__(self, index: int) -> Place: ...
    @overload
    def __getitem__(self, index: slice) -> Places: ...
    def __getitem__(self, index: int | slice) -> Place | Places:
        if isinstance(index, slice):
            return Places(self._order[index], self._make)
        return self._make(int(self._order[index]))


class TileSampler:
    """What samplers share: epochs, ranks, and a length that is known before anything is drawn."""

    def __init__(self, total: int, shard: Shard) -> None:
        self.shard = shard
        self.epoch = 0
        self._total = total

    def set_epoch(self, epoch: int) -> None:
        """Draw anew, and always the same for one number; call it before each epoch of a training."""
        if epoch < 0:
            raise ConfigError(f"epoch={epoch} is below 0.")
        self.epoch = epoch

    def __len__(self) -> int:
        return self.shard.size(self._total)

    def __iter__(self) -> Iterator[Place]:
        return iter(self.places())

    def places(self) -> Places:
        """Return the places of the epoch, each made when it is asked for."""
        raise NotImplementedError

    def _mine(self, order: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the positions of this rank: every ``world_size``-th."""
        return order[self.shard.rank :: self.shard.world_size][: len(self)]


class TileListSampler(TileSampler):
    """The tiles of tables, one table per raster, in order or shuffled anew in every epoch."""

    def __init__(self, tiles: Sequence[Tiles], *, shuffle: bool = False, shard: Shard | None = None) -> None:
        self.tiles = tuple(tiles)
        self._shuffle = shuffle
        super().__init__(sum(map(len, self.tiles)), shard or Shard())

    def places(self) -> Places:
        """Return the places of the epoch."""
        order = np.arange(self._total, dtype=np.int64)
        if self._shuffle:
            order = np.random.default_rng([self.shard.seed, self.epoch]).permutation(order)
        ends = np.cumsum([len(tiles) for tiles in self.tiles])

        def make(position: int) -> Place:
            raster = int(np.searchsorted(ends, position, side="right"))
            return Place(raster, self.tiles[raster][position - int(ends[raster]) + len(self.tiles[raster])])

        return Places(self._mine(order), make)


class GridSampler(TileListSampler):
    """Every window of a regular grid, row by row, one raster after the other.

    Example:
        >>> from types import SimpleNamespace
        >>> scene = SimpleNamespace(
        ...     name="a.tif", width=512, height=256, crs="", transform=(1, 0, 0, 0, -1, 0)
        ... )
        >>> [place.tile.window[:2] for place in GridSampler(scene, size=256)]
        [(0, 0), (256, 0)]
    """

    def __init__(
        self,
        rasters: RasterShape | Sequence[RasterShape],
        *,
        size: int,
        stride: int | None = None,
        edge: Edge = "shift",
        shard: Shard | None = None,
    ) -> None:
        """Cut the rasters as :func:`.grids.raster_grid` does."""
        listed = as_sequence(rasters)
        super().__init__(
            [
                raster_grid(
                    raster.width, raster.height, raster.transform, raster.crs,
                    size=size, stride=stride, edge=edge, name=_stem(raster),
                )
                for raster in listed
            ],
            shard=shard,
        )  # fmt: skip


class RegionSampler(TileListSampler):
    """The windows of a regular grid that lie in regions, with the share of each that does."""

    def __init__(
        self,
        rasters: RasterShape | Sequence[RasterShape],
        regions: Regions,
        *,
        grid: TileGrid,
        rule: Rule = "intersects",
        fraction: float = 0.0,
        shuffle: bool = True,
        shard: Shard | None = None,
    ) -> None:
        """Cut the rasters by ``grid`` and keep what :func:`.covering.cover` keeps.

        Raises:
            InputError: there are no tiles in the regions.
        """
        tables = cover_each(
            [grid.over(raster) for raster in as_sequence(rasters)], regions, rule=rule, fraction=fraction
        )
        super().__init__(tables, shuffle=shuffle, shard=shard)


class RandomSampler(TileSampler):
    """Windows at random whole-pixel offsets; a raster is chosen in proportion to its pixels."""

    def __init__(
        self,
        rasters: RasterShape | Sequence[RasterShape],
        *,
        size: int,
        count: int,
        shard: Shard | None = None,
    ) -> None:
        """Draw ``count`` windows of ``size`` x ``size`` pixels per epoch, over all ranks.

        Raises:
            ConfigError: ``size`` or ``count`` below 1.
            InputError: a raster smaller than a window, or rotated.
        """
        self.rasters = as_sequence(rasters)
        if size < 1 or count < 1:
            raise ConfigError(f"size={size} pixels and count={count} windows both start at 1.")
        for raster in self.rasters:
            check_upright(raster.transform)
            if min(raster.width, raster.height) < size:
                raise InputError(
                    f"{raster.name}: {raster.width} x {raster.height} pixels hold no window of {size}. Take "
                    "a smaller size, or leave this raster out."
                )
        self.size = size
        super().__init__(count, shard or Shard())

    def places(self) -> Places:
        """Return the places of the epoch."""
        raster_of, left, top = self._draw()
        epoch = self.epoch

        def make(number: int) -> Place:
            raster = int(raster_of[number])
            last = self.rasters[raster].height - self.size
            corner = (int(left[number]), int(top[number]))
            return self._place(raster, corner, (self.shard.seed, epoch, number), (0, last))

        return Places(self._mine(np.arange(self._total, dtype=np.int64)), make)

    def _draw(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Return raster, left column and upper row of every window of the epoch, of all ranks."""
        random = np.random.default_rng([self.shard.seed, self.epoch])
        shapes = np.array([[raster.width, raster.height] for raster in self.rasters], dtype=np.int64)
        areas = shapes.prod(1).astype(np.float64)
        raster_of = random.choice(len(shapes), size=self._total, p=areas / areas.sum())
        room = shapes[raster_of] - self.size + 1
        corners = random.integers(0, room)
        return raster_of.astype(np.int64), corners[:, 0], corners[:, 1]

    def _place(
        self, raster: int, corner: tuple[int, int], draw: tuple[int, int, int], rows: tuple[int, int]
    ) -> Place:
        return Place(raster, window_tile(self.rasters[raster], (*corner, self.size, self.size)), draw, rows)


class BlockOrderSampler(RandomSampler):
    """The windows of :class:`RandomSampler`, ordered so that a decoded block is used many times.

    Windows are grouped by the row of blocks in which they begin; the groups come in random order, and windows
    in random order within a group. A buffer then mixes neighbors. For several ranks the order is cut into
    contiguous parts, so that each rank decodes blocks of its own.
    """

    def __init__(
        self,
        rasters: BlockedRaster | Sequence[BlockedRaster],
        *,
        size: int,
        count: int,
        buffer: int = 64,
        shard: Shard | None = None,
    ) -> None:
        """Draw as :class:`RandomSampler`; ``buffer`` windows are shuffled together, across groups.

        A larger buffer mixes batches better and needs a larger cache of blocks; 0 does not mix groups.
        """
        if buffer < 0:
            raise ConfigError(f"buffer={buffer} windows is below 0.")
        super().__init__(rasters, size=size, count=count, shard=shard)
        self.buffer = buffer
        self._block_rows = np.array([raster.block[0] for raster in as_sequence(rasters)], dtype=np.int64)

    def places(self) -> Places:
        """Return the places of the epoch."""
        raster_of, left, top = self._draw()
        band = top // self._block_rows[raster_of]
        # A generator of its own: the windows are those of RandomSampler, whatever their order.
        random = np.random.default_rng([self.shard.seed, self.epoch, 1])
        _, group = np.unique(np.stack([raster_of, band], 1), axis=0, return_inverse=True)
        group = group.reshape(-1)
        rank_of_group = random.permutation(int(group.max()) + 1)
        order = np.lexsort((random.random(self._total), rank_of_group[group]))
        shard = self.shard
        start = shard.rank * self._total // shard.world_size
        if shard.even:
            start = shard.rank * len(self)
        elif shard.world_size > 1:
            start = sum(
                Shard(shard.seed, rank, shard.world_size).size(self._total) for rank in range(shard.rank)
            )
        mine = order[start : start + len(self)]
        random = np.random.default_rng([shard.seed, self.epoch, 2, shard.rank])
        epoch = self.epoch

        def make(number: int) -> Place:
            raster = int(raster_of[number])
            rows = int(self._block_rows[raster])
            first = int(band[number]) * rows
            last = min(first + rows - 1, self.rasters[raster].height - self.size)
            corner = (int(left[number]), int(top[number]))
            return self._place(raster, corner, (shard.seed, epoch, number), (first, last))

        return Places(np.fromiter(mixed(mine, self.buffer, random), np.int64, len(mine)), make)


def mixed(order: NDArray[np.int64], buffer: int, random: np.random.Generator) -> Iterator[int]:
    """Yield the items of ``order``, each drawn from the next ``buffer`` that are left."""
    waiting: list[int] = []
    for item in order.tolist():
        waiting.append(item)
        if len(waiting) > buffer:
            yield _take(waiting, random)
    while waiting:
        yield _take(waiting, random)


def _take(waiting: list[int], random: np.random.Generator) -> int:
    index = int(random.integers(len(waiting))) if len(waiting) > 1 else 0
    waiting[index], waiting[-1] = waiting[-1], waiting[index]
    return waiting.pop()


def redrawn(place: Place, raster: RasterShape, attempt: int, *, anywhere: bool = False) -> Place:
    """Return another random window instead of one that had too few valid pixels; same input, same window.

    It begins in the rows that the place allows, or ``anywhere`` in the raster.
    """
    if place.draw is None or place.tile.window is None:
        raise InputError(f"Tile {place.tile.id!r} is no random window; there is no other in its place.")
    _, _, width, height = place.tile.window
    random = np.random.default_rng([*place.draw, attempt])
    left = int(random.integers(0, raster.width - width + 1))
    first, last = (0, raster.height - height) if anywhere else place.rows
    top = int(random.integers(first, last + 1))
    return place._replace(tile=window_tile(raster, (left, top, width, height)))


def window_tile(raster: RasterShape, window: tuple[int, int, int, int]) -> Tile:
    """Return one window of a raster as a tile, named like those of a grid."""
    west, south, east, north = window_bounds(np.array([window]), raster.transform)[0].tolist()
    return Tile(f"{_stem(raster)}_{window[1]}_{window[0]}", (west, south, east, north), raster.crs, window)


def as_sequence(rasters: object) -> tuple:  # pyright: ignore[reportMissingTypeArgument]
    """Return one raster or several as a tuple.

    Raises:
        ConfigError: an empty sequence.
    """
    found = tuple(rasters) if isinstance(rasters, (list, tuple)) else (rasters,)
    if not found:
        raise ConfigError("There are no rasters to sample. Give at least one.")
    return found


def _stem(raster: RasterShape) -> str:
    return PurePath(raster.name).stem
