"""Tiles for torch: a data set that workers may read, batches, and the loader that ties them together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ....core.errors import ConfigError, DataError, InputError
from ..loaders.errors import TileOutsideBounds
from ..loaders.memory import DEFAULT_CACHE_MB, WorkerInit
from ..loaders.records import TileImage
from ..protocols import TileReader
from .samplers import BlockOrderSampler, Place, TileListSampler, TileSampler, as_sequence, redrawn
from .tiles import Tile, Tiles


@dataclass(frozen=True)
class TileBatch:
    """B tiles of one size.

    Attributes:
        images: float32 [B, C, H, W], as the reader scales them.
        masks: bool [B, H, W], True where valid.
        ids: B names.
        transforms: float64 [B, 6], geotransforms as in :class:`TileImage`.
        crs: coordinate system of each.
        valid_fraction: float32 [B].
    """

    images: Tensor
    masks: Tensor
    ids: tuple[str, ...]
    transforms: Tensor
    crs: tuple[str, ...]
    valid_fraction: Tensor

    def __len__(self) -> int:
        return len(self.ids)


class TileDataset(Dataset):
    """Pictures of tiles, read where they are asked for; safe with workers that are forked or spawned.

    Nothing is open in it: readers open their files in the process that reads.

    Example::

        dataset = TileDataset(raster, RandomSampler(raster, size=224, count=1000))
        for batch in tile_loader(dataset, batch_size=32, workers=2): ...
    """

    def __init__(
        self,
        readers: TileReader | Sequence[TileReader],
        places: Tiles | TileSampler,
        *,
        size: tuple[int, int] | None = None,
        min_valid: float = 0.0,
        tries: int = 100,
        transform: Callable[[TileImage], Any] | None = None,
    ) -> None:
        """Read ``places`` from ``readers``.

        Args:
            readers: one, or those that a sampler counts.
            places: a table of tiles of one reader, or a sampler.
            size: (rows, columns) to bring every tile to; default: as stored.
            min_valid: valid fraction below which a random window is drawn anew. Fixed tiles are never
                replaced; their ``valid_fraction`` says what they hold, 0 in a gap between files.
            tries: windows to draw for one place before giving up.
            transform: applied to each TileImage in the worker, e.g. augmentation; a spawned worker needs a
                function of a module, not a lambda.
        """
        self.readers = as_sequence(readers)
        self.sampler = places if isinstance(places, TileSampler) else TileListSampler([places])
        self.size, self.min_valid, self.tries, self.transform = size, min_valid, tries, transform
        if not 0.0 <= min_valid <= 1.0 or tries < 1:
            raise ConfigError(f"min_valid={min_valid} goes from 0 to 1, and tries={tries} starts at 1.")
        self._tiles = places if isinstance(places, Tiles) else None

    def __len__(self) -> int:
        return len(self.sampler)

    def __getitem__(self, key: int | Place) -> Any:
        """Return the TileImage of a place of the sampler, or of a position in the table of tiles."""
        if not isinstance(key, Place):
            if self._tiles is None:
                raise InputError(
                    "A data set of a sampler is read by the sampler's places: use tile_loader(dataset), or "
                    "DataLoader(dataset, sampler=dataset.sampler)."
                )
            key = Place(0, self._tiles[key])
        found = self._read(key)
        return self.transform(found) if self.transform is not None else found

    def _read(self, place: Place) -> TileImage:
        reader = self.readers[place.raster]
        found = reader.read_tile(place.tile, size=self.size)
        if place.draw is None:
            return found
        for attempt in range(1, self.tries):
            if found.valid_fraction >= self.min_valid:
                return found
            # Whole rows of blocks may be empty, as in a mosaic with gaps: then anywhere.
            anywhere = 2 * attempt >= self.tries
            found = reader.read_tile(redrawn(place, reader, attempt, anywhere=anywhere).tile, size=self.size)
        if found.valid_fraction >= self.min_valid:
            return found
        raise DataError(
            f"{reader.name}: {self.tries} random windows had less than {self.min_valid:.0%} valid pixels "
            "each. Lower min_valid, or sample in regions where there are data."
        )


def collate_tiles(tiles: Sequence[TileImage]) -> TileBatch:
    """Return tiles of one size as a batch.

    Raises:
        InputError: tiles of different sizes or bands.
    """
    first = tiles[0].image.shape
    other = next((tile for tile in tiles if tile.image.shape != first), None)
    if other is not None:
        raise InputError(
            f"Tiles {tiles[0].tile_id!r} and {other.tile_id!r} are {tuple(first)} and "
            f"{tuple(other.image.shape)} (bands, rows, columns) and cannot be one batch. Give size=."
        )
    masks = torch.stack([tile.mask for tile in tiles])
    return TileBatch(
        torch.stack([tile.image for tile in tiles]),
        masks,
        tuple(tile.tile_id for tile in tiles),
        torch.tensor([tile.transform for tile in tiles], dtype=torch.float64),
        tuple(tile.crs for tile in tiles),
        torch.tensor([tile.valid_fraction for tile in tiles]),
    )


def valid_tiles(
    reader: TileReader, tiles: Tiles, *, min_valid: float = 0.5, size: tuple[int, int] | None = None
) -> Tiles:
    """Return the tiles with enough valid pixels, so that training does not see the others.

    Every tile is read once.

    Args:
        reader: what has the pixels.
        tiles: places to look at; those outside of the reader's ground are left out.
        min_valid: share of valid pixels that a tile needs.
        size: (rows, columns) to look at it; a small one is faster where there are overviews, and less exact.
    """
    if not 0.0 <= min_valid <= 1.0:
        raise ConfigError(f"min_valid={min_valid} goes from 0 to 1.")

    def enough(tile: Tile) -> bool:
        try:
            return reader.read_tile(tile, size=size).valid_fraction >= min_valid
        except TileOutsideBounds:
            return False

    return tiles.take([number for number, tile in enumerate(tiles) if enough(tile)])


class LaneBatches:
    """Batches of a sampler, ordered so that each worker of a loader gets a contiguous part of them.

    A loader hands batch k to worker k modulo workers. Dealt out like that, neighboring tiles would be decoded
    once per worker; here every worker has a stretch of its own.
    """

    def __init__(
        self, sampler: TileSampler, *, batch_size: int, workers: int, drop_last: bool = False
    ) -> None:
        self._sampler, self._batch_size = sampler, batch_size
        self._lanes, self._drop_last = max(workers, 1), drop_last

    def __len__(self) -> int:
        whole, rest = divmod(len(self._sampler), self._batch_size)
        return whole + (1 if rest and not self._drop_last else 0)

    def __iter__(self) -> Iterator[list[Place]]:
        count, lanes = len(self), self._lanes
        places = self._sampler.places()
        # Lane w has the batches that worker w will be handed: w, w + lanes, w + 2 lanes, ...
        sizes = [(count - lane + lanes - 1) // lanes for lane in range(lanes)]
        starts = [sum(sizes[:lane]) for lane in range(lanes)]
        for number in range(count):
            first = (starts[number % lanes] + number // lanes) * self._batch_size
            yield [places[index] for index in range(first, min(first + self._batch_size, len(places)))]


def tile_loader(
    dataset: TileDataset,
    *,
    batch_size: int = 32,
    workers: int = 0,
    drop_last: bool = False,
    cache_mb: int = DEFAULT_CACHE_MB,
    start: Literal["fork", "spawn", "forkserver"] | None = None,
    collate: Callable[[Sequence[Any]], Any] = collate_tiles,
) -> DataLoader:
    """Return a loader of batches; workers share ``cache_mb`` of decoded blocks and stay for all epochs.

    Call ``dataset.sampler.set_epoch(epoch)`` before each epoch. The last batch may be smaller. Which tiles an
    epoch has does not depend on ``workers``; with neighbors (tables of tiles, or a
    :class:`BlockOrderSampler`) their order does, because every worker reads a stretch of its own.

    Args:
        dataset: tiles and their order.
        batch_size: tiles per batch.
        workers: processes that read; 0 reads in this one.
        drop_last: leave a smaller last batch out.
        cache_mb: megabytes of decoded blocks over all workers.
        start: how workers start; default: as torch does on this system.
        collate: from tiles, or what ``dataset.transform`` makes of them, to a batch.
    """
    if batch_size < 1 or workers < 0:
        raise ConfigError(f"batch_size={batch_size} starts at 1 and workers={workers} at 0.")
    keeps_neighbors = isinstance(dataset.sampler, (BlockOrderSampler, TileListSampler))
    batches = LaneBatches(
        dataset.sampler,
        batch_size=batch_size,
        workers=workers if keeps_neighbors else 1,
        drop_last=drop_last,
    )
    return DataLoader(
        dataset,
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=collate,
        worker_init_fn=WorkerInit(cache_mb) if workers else None,
        persistent_workers=workers > 0,
        multiprocessing_context=start if workers else None,
    )
