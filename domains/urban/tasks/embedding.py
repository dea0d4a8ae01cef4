"""Embeddings of the tiles of a scene: streamed from the raster, resumable, one GeoParquet file."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, overload

import numpy as np
import torch
from numpy.typing import NDArray

from ....core.embed_run import EmbedReport, EmbedRun, Encoder, LeftOut
from ....core.errors import ConfigError, DataError, InputError
from ....core.inputs import encode_inputs
from ....core.registry import models
from ..geometry.tiles import Tile, Tiles
from ..loaders.errors import TileOutsideBounds
from ..outputs.embedding_table import tiles_meta
from ..outputs.geoparquet import Precision, TileRows
from ..protocols import TileReader
from ..tile_settings import TileSettings, tile_settings
from .tile_inputs import tile_tensor

if TYPE_CHECKING:
    from torch import Tensor

    from ....core.handle import ModelHandle

__all__ = ["TileReader", "TileSettings", "embed_tiles", "reading_order", "tile_settings", "tile_tensor"]


def embed_tiles(
    model: ModelHandle,
    raster: TileReader,
    tiles: Tiles,
    out: str | Path,
    *,
    batch_size: int = 32,
    size: int | tuple[int, int] | None = None,
    min_valid: float = 0.5,
    workers: int | None = None,
    part_size: int = 1024,
    progress: Callable[[int, int], None] | None = None,
    dtype: Precision = "float32",
) -> EmbedReport:
    """Embed tiles into the GeoParquet file ``out``, continuing an interrupted run of the same kind.

    Rows come in the order in which the scene is read, north to south and west to east, so that a decoded
    block serves all tiles on it; their ids lead back to ``tiles``. Tiles with too few valid pixels, and
    tiles outside of the scene, are left out and counted as skipped; those that cannot be read have failed.
    Both stand with their reasons in ``OUT.failed.jsonl``. What is in memory does not depend on the size of
    the scene.

    Example::

        raster = Raster.open("scene.tif")
        report = embed_tiles(model, raster, tiles, "scene.parquet")
        table = read_embeddings(report.out)

    Args:
        model: with an image tower.
        raster: read by threads, ahead of the model.
        tiles: with the coordinate system they lie in.
        out: file to write; beside it, while the run is under way, the folder ``OUT.parts``.
        batch_size: tiles per call of the network.
        size: pixels to read a tile at, a side or (rows, columns). None reads windows of the raster pixel by
            pixel, through its overviews where they are far finer than what the model sees; other tiles of a
            raster at the size the model was trained on; and pictures of a folder as they are.
        min_valid: share of valid pixels that a tile needs, 0 to 1.
        workers: threads that read; None takes the number of CPUs.
        part_size: tiles per part; at most this much work is repeated after an interruption.
        progress: called with (tiles done, tiles in all) after each part.
        dtype: of the stored vectors; ``float16`` halves the file.

    Raises:
        DataError: there are no tiles.
        InputError: the tiles have no coordinate system, or are windows of another raster; or the raster has
            another number of bands than the model takes.
        ConfigError: ``out`` or its parts belong to another model, scene, setting or list of tiles.
    """
    if not len(tiles):
        raise DataError("There is nothing to embed: the list of tiles is empty.")
    if not 0.0 <= min_valid <= 1.0:
        raise ConfigError(f"min_valid is a share from 0 to 1, got {min_valid}.")
    if dtype not in get_args(Precision):
        raise ConfigError(f"dtype is float32 or float16, got {dtype!r}.")
    tiles = tiles.take(reading_order(tiles))
    # Tiles that lie nowhere, or elsewhere, show now and not one by one.
    tiles.take([0]).footprints()
    check_own(raster, tiles)
    _check_bands(model, raster)
    source = _Source(model, raster, _read_size(model, size), min_valid)
    identity = {**source.identity(), "stored_dtype": dtype}
    encoder = Encoder(
        source.read, source.encode, model.config.embed_dim, identity, note=lambda prepared: prepared[1]
    )
    run = EmbedRun(
        encoder,
        _Items(tiles),
        Path(out),
        layout=TileRows(tiles, model.config.embed_dim, dtype, source.name, source.meta(tiles, dtype)),
        inputs={"tiles": fingerprint_of(tiles)},
        batch_size=batch_size,
        part_size=part_size,
    )
    return run.complete(workers, progress)


def reading_order(tiles: Tiles) -> NDArray[np.int64]:
    """Return the places [N] of tiles from north to south, and from west to east within a row."""
    if tiles.windows is not None:
        return np.lexsort((tiles.windows[:, 0], tiles.windows[:, 1])).astype(np.int64)
    return np.lexsort((tiles.bounds[:, 0], -tiles.bounds[:, 3])).astype(np.int64)


def fingerprint_of(tiles: Tiles) -> str:
    """Return 16 hex digits that change with ids, places and order of tiles."""
    digest = hashlib.sha256(json.dumps([tiles.crs, tiles.scheme, tiles.datum, tiles.ids]).encode())
    for column in (tiles.bounds, tiles.windows, tiles.zxy):
        digest.update(b"-" if column is None else np.ascontiguousarray(column).tobytes())
    return digest.hexdigest()[:16]


def scene_identity(reader: TileReader) -> dict[str, str]:
    """Return what equal pixels of tiles need: the files, what of them is read, and how it is scaled."""
    return {
        "scene": f"{reader.name} {reader.fingerprint}",
        "bands": ",".join(map(str, getattr(reader, "bands", ()))),
        "scaling": _as_json(getattr(reader, "scaling", None)),
    }


def check_own(reader: TileReader, tiles: Tiles) -> None:
    """Raise ``InputError`` where the first or last tile is a window of another raster."""
    check = getattr(reader, "check_tile", None)
    if check is not None:
        for row in sorted({0, len(tiles) - 1}):
            check(tiles[row])


def _check_bands(model: ModelHandle, raster: TileReader) -> None:
    """Raise ``InputError`` where every tile would fail; of a folder, each picture has bands of its own."""
    image, bands = model.processor.config.image, tuple(getattr(raster, "bands", ()))
    if image is None:
        raise InputError(f"{model.id} takes no images, so no tiles. Choose a model that does.")
    if bands and len(bands) not in (1, image.channels):
        listed = ", ".join(map(str, bands[:16]))
        raise InputError(
            f"{raster.name}: {len(bands)} bands ({listed}) would be shown, and {model.id} takes "
            f"{image.channels}. Choose them with bands= (--bands), for example red,green,blue or 4,3,2."
        )


class _Items:
    """Tiles as (id, tile), made when they are asked for."""

    def __init__(self, tiles: Tiles) -> None:
        self.tiles = tiles

    def __len__(self) -> int:
        return len(self.tiles)

    @overload
    def __getitem__(self, index: int) -> tuple[str, Tile]: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[tuple[str, Tile]]: ...
    def __getitem__(self, index: int | slice) -> tuple[str, Tile] | Sequence[tuple[str, Tile]]:
        if isinstance(index, slice):
            return [(self.tiles.ids[row], self.tiles[row]) for row in range(len(self))[index]]
        return self.tiles.ids[index], self.tiles[index]


class _Source:
    """Reading tiles for a model, and what makes the result this one and no other."""

    def __init__(
        self, model: ModelHandle, raster: TileReader, size: tuple[int, int] | None, min_valid: float
    ) -> None:
        self.model, self.raster, self.size, self.min_valid = model, raster, size, min_valid
        # A raster may be called by its whole path; where a file lies on this machine is nobody's business.
        self.name = raster.name
        image = model.processor.config.image
        self._seen = tile_settings(model.config).tile_px or (image.size if image is not None else 224)
        self._overviews = bool(getattr(raster, "overviews", ()))

    def read(self, tile: Tile) -> tuple[Tensor, float]:
        """Return the fitted pixels float32 [C, S, S] of a tile and its share of valid ones."""
        try:
            image = self.raster.read_tile(tile, size=self.size_of(tile))
        except TileOutsideBounds:
            raise LeftOut("lies outside of the scene") from None
        valid = image.valid_fraction
        if valid < self.min_valid or not valid:
            raise LeftOut(f"{valid:.1%} of its pixels are valid; at least {self.min_valid:.0%} are needed")
        return tile_tensor(self.model, image), valid

    def size_of(self, tile: Tile) -> tuple[int, int] | None:
        """Return (rows, columns) to read a tile at, or None for the raster's own pixels."""
        if self.size is not None:
            return self.size
        if tile.window is None:
            # A folder of pictures has each as it is; a raster has to be told how fine to look.
            return (self._seen, self._seen) if hasattr(self.raster, "read_bounds") else None
        _, _, width, height = tile.window
        factor = min(width, height) / self._seen
        if self._overviews and factor >= 2:
            return max(1, round(height / factor)), max(1, round(width / factor))
        return None

    def encode(self, prepared: list[tuple[Tensor, float]]) -> Tensor:
        """Return unit embeddings float32 [B, D]."""
        fitted = torch.stack([pixels for pixels, _ in prepared])
        return encode_inputs(self.model, "image", self.model.processor.finish_images(fitted))

    def identity(self) -> dict[str, str]:
        """Return what equal vectors need."""
        return {
            **{key: str(value) for key, value in _origin(self.model).items()},
            "dtype": str(getattr(self.model, "dtype", "float32")),
            **scene_identity(self.raster),
            "size": "auto" if self.size is None else f"{self.size[0]}x{self.size[1]}",
            "min_valid": f"{self.min_valid:g}",
        }

    def meta(self, tiles: Tiles, dtype: Precision) -> dict[str, Any]:
        """Return what the file says about its vectors."""
        return {
            **_origin(self.model),
            "dim": self.model.config.embed_dim,
            "normalized": True,
            "dtype": dtype,
            "scaling": json.loads(_as_json(getattr(self.raster, "scaling", None))),
            "version": importlib.metadata.version("verticlip"),
            **tiles_meta(tiles),
        }


def _origin(model: ModelHandle) -> dict[str, str]:
    """Return whose vectors they are; of a model in a folder only its name: the path is nobody's business."""
    local = model.id not in models() and Path(model.id).is_dir()
    name = Path(model.id).resolve().name if local else model.id
    return {"model_id": name, "revision": model.revision, "processor": model.processor.fingerprint}


def _as_json(profile: Mapping[str, Any] | None) -> str:
    return json.dumps(profile, sort_keys=True, default=str)


def _read_size(model: ModelHandle, size: int | tuple[int, int] | None) -> tuple[int, int] | None:
    found = (size, size) if isinstance(size, int) else size
    if found is not None and min(found) < 1:
        raise ConfigError(f"size counts pixels and starts at 1, got {size}.")
    return found
