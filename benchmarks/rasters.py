"""Tiles of a satellite image per second of computing, against plain rasterio and torchgeo.

The image is made here: noise over a pattern, 16 bits, four bands that lie together, blocks of 512 x 512 with
deflate and predictor 2, which is how such files come. Every turn opens the file anew, so each decodes the
blocks it needs; all turns have the same cache. A tile is 224 x 224 pixels of three bands as float32 tensor.
Further rows: memory for files of any size, and files left open.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..core.errors import VerticlipError, require
from ..domains.urban.geometry.dataset import TileDataset, tile_loader
from ..domains.urban.geometry.samplers import BlockOrderSampler, GridSampler, RandomSampler, TileSampler
from ..domains.urban.loaders.raster import Raster
from .runner import Workload, require_at_least

TILE, BLOCK, BANDS, BATCH = 224, 512, (1, 2, 3), 32
WHITE = 10_000.0
MISSING = 0
SMALL_CACHE_MB = 128
"""What one of five workers has of the default; an image of full size does not fit."""
MEMORY_CACHE_MB, MEMORY_MARGIN_MB = 128, 64
_PROFILE = {
    "mode": "reflectance",
    "bands": ["1", "2", "3"],
    "subtract": [0, 0, 0],
    "divide": [WHITE] * 3,
    "clip": False,
}
Window = tuple[int, int, int, int]


def write_scene(path: Path, side: int, *, noise: bool = True) -> Path:
    """Write a square image of ``side`` pixels; without noise it is written faster and is smaller on disk."""
    rasterio: Any = require("rasterio", extra="urban")
    rng = np.random.default_rng(0)
    settings = {
        "driver": "GTiff",
        "width": side,
        "height": side,
        "count": 4,
        "dtype": "uint16",
        "crs": "EPSG:32650",
        "transform": rasterio.transform.from_origin(440_000, 4_420_000, 10, 10),
        "tiled": True,
        "blockxsize": BLOCK,
        "blockysize": BLOCK,
        "interleave": "pixel",
        "compress": "deflate",
        "predictor": 2,
        "zlevel": 6 if noise else 1,
        "BIGTIFF": "IF_SAFER",
    }
    rows, columns = np.mgrid[:BLOCK, :BLOCK]
    with rasterio.open(path, "w", **settings) as file:
        for top in range(0, side, BLOCK):
            for left in range(0, side, BLOCK):
                ground = 2000 + 900 * np.sin((columns + left) / 97) + 700 * np.cos((rows + top) / 61)
                bands = [ground + 100 * band for band in range(4)]
                if noise:
                    bands = [band + rng.normal(0, 120, band.shape) for band in bands]
                part = np.stack(bands).clip(1, 65_535).astype(np.uint16)
                window = rasterio.windows.Window(left, top, min(BLOCK, side - left), min(BLOCK, side - top))
                file.write(part[:, : window.height, : window.width], window=window)
    return path


def cached(call: Callable[[], object], megabytes: int | None = None) -> None:
    """Call with a cache of decoded blocks of that size, or of GDAL's own."""
    rasterio: Any = require("rasterio", extra="urban")
    with rasterio.Env(**({"GDAL_CACHEMAX": megabytes * 1_000_000} if megabytes else {})):
        call()


def open_scene(path: Path) -> Raster:
    """Return the image with the bands and the scaling that both sides read."""
    return Raster.open(path, bands=BANDS, scaling=_PROFILE)


def draw_windows(side: int, count: int) -> list[Window]:
    """Return seeded random windows."""
    corners = np.random.default_rng(7).integers(0, side - TILE, (count, 2))
    return [(column, row, TILE, TILE) for column, row in corners.tolist()]


def grid_windows(side: int) -> list[Window]:
    """Return windows in rows that cover the image; the last of a row or column is moved inside."""
    starts = sorted({min(start, side - TILE) for start in range(0, side, TILE)})
    return [(column, row, TILE, TILE) for row in starts for column in starts]


def ours(path: Path, windows: Sequence[Window]) -> None:
    """Read windows as users do."""
    raster = open_scene(path)
    for window in windows:
        raster.read(window)
    raster.close()


def by_rasterio(path: Path, windows: Sequence[Window]) -> None:
    """Read windows through one open file, with nothing between."""
    rasterio: Any = require("rasterio", extra="urban")
    with rasterio.open(path) as file:
        for column, row, width, height in windows:
            window = rasterio.windows.Window(column, row, width, height)
            torch.from_numpy(file.read(list(BANDS), window=window).astype(np.float32) / np.float32(WHITE))


def stretched(path: Path) -> tuple[Raster, dict[str, Any]]:
    """Return the image as it opens where only its missing value is said, and its scaling, decided once."""
    raster = Raster.open(path, bands=BANDS, nodata=MISSING)
    return raster, dict(raster.scaling)


def ours_stretched(path: Path, windows: Sequence[Window], scaling: dict[str, Any]) -> None:
    """Read windows with what is missing marked, percentiles of the bands as 0 and 1, cut to that range."""
    raster = Raster.open(path, bands=BANDS, nodata=MISSING, scaling=scaling)
    for window in windows:
        raster.read(window)
    raster.close()


def stretched_by_rasterio(path: Path, windows: Sequence[Window], scaling: dict[str, Any]) -> list[Any]:
    """Return the last window as (float32 [C, H, W], bool [H, W]), after the same work by hand on each."""
    rasterio: Any = require("rasterio", extra="urban")
    low, width = (np.array(scaling[key], np.float32)[:, None, None] for key in ("subtract", "divide"))
    found: list[Any] = []
    with rasterio.open(path) as file:
        for window in windows:
            values = file.read(list(BANDS), window=rasterio.windows.Window(*window))
            valid = (values != MISSING).any(axis=0)
            image = ((values - low) / width).clip(0, 1)
            image[:, ~valid] = 0
            found = [torch.from_numpy(image), torch.from_numpy(valid)]
    return found


def ours_in_batches(path: Path, make_sampler: Callable[[Raster], TileSampler]) -> None:
    """Read batches of a sampler in this process."""
    raster = open_scene(path)
    for batch in tile_loader(TileDataset(raster, make_sampler(raster)), batch_size=BATCH):
        _ = batch.images
    raster.close()


def by_torchgeo(path: Path, count: int | None) -> None:
    """Read batches of torchgeo's random sampler, or of its grid sampler where ``count`` is None."""
    datasets: Any = require("torchgeo.datasets", extra="bench")
    samplers: Any = require("torchgeo.samplers", extra="bench")
    from torch.utils.data import DataLoader

    class Scene(datasets.RasterDataset):
        filename_glob = path.name
        all_bands = ("a", "b", "c", "d")
        rgb_bands = ("a", "b", "c")
        separate_files = False

    scene = Scene(str(path.parent), bands=["a", "b", "c"])
    if count is None:
        sampler = samplers.GridGeoSampler(scene, size=TILE, stride=TILE)
    else:
        sampler = samplers.RandomGeoSampler(scene, size=TILE, length=count)
    for batch in DataLoader(scene, BATCH, sampler=sampler, collate_fn=datasets.stack_samples):
        _ = batch["image"] / WHITE


def check(path: Path, windows: Sequence[Window]) -> dict[str, float]:
    """Return the share of tiles that are, to the bit, what rasterio gives."""
    rasterio: Any = require("rasterio", extra="urban")
    raster, same = open_scene(path), []
    with rasterio.open(path) as file:
        for window in windows:
            mine = raster.read(window)
            values = file.read(list(BANDS), window=rasterio.windows.Window(*window)).astype(np.float32)
            transform = rasterio.windows.transform(rasterio.windows.Window(*window), file.transform)
            placed = np.allclose(mine.transform, tuple(transform)[:6], rtol=0, atol=1e-9)
            same.append(placed and bool((mine.image.numpy() == values / np.float32(WHITE)).all()))
    return dict(require_at_least({"share_equal": float(np.mean(same))}, share_equal=1.0))


def check_stretched(
    path: Path, windows: Sequence[Window], raster: Raster, scaling: dict[str, Any]
) -> dict[str, float]:
    """Return the share of tiles that are what the same work by hand gives."""
    same = []
    for window in windows:
        mine, (image, valid) = raster.read(window), stretched_by_rasterio(path, [window], scaling)
        same.append(torch.allclose(mine.image, image, rtol=0, atol=1e-6) and torch.equal(mine.mask, valid))
    return dict(require_at_least({"share_equal": float(np.mean(same))}, share_equal=1.0))


def workloads(quick: bool = False) -> Iterator[Workload]:
    """Yield random, grid and block-ordered tiles of one image."""
    require("rasterio", extra="urban")
    side, count = (2048, 64) if quick else (8192, 256)
    with tempfile.TemporaryDirectory() as folder:
        path = write_scene(Path(folder) / "scene.tif", side)
        drawn, grid = draw_windows(side, count), grid_windows(side)
        size = f"{side} x {side} x 4"
        yield Workload(
            f"{count} random tiles of {size}",
            partial(cached, partial(ours, path, drawn)),
            partial(cached, partial(by_rasterio, path, drawn)),
            "rasterio, open file",
            0.85,
            partial(check, path, drawn[:32]),
        )
        raster, scaling = stretched(path)
        yield Workload(
            f"{count} random tiles of {size}, as it opens",
            partial(cached, partial(ours_stretched, path, drawn, scaling)),
            partial(cached, partial(stretched_by_rasterio, path, drawn, scaling)),
            "rasterio, the same by hand",
            0.85,
            partial(check_stretched, path, drawn[:32], raster, scaling),
            note="a missing value and percentiles of the bands; the percentiles are taken once, before",
        )
        yield Workload(
            f"{len(grid)} tiles in a grid of {size}",
            partial(cached, partial(ours, path, grid)),
            partial(cached, partial(by_rasterio, path, grid)),
            "rasterio, open file",
            0.9,
            partial(check, path, grid[-8:]),
        )
        yield from _ordered(path, 4 * count, small_cache=24 if quick else SMALL_CACHE_MB)
        yield from _against_torchgeo(path, count, size, len(grid))


def _ordered(path: Path, count: int, *, small_cache: int) -> Iterator[Workload]:
    ordered = partial(ours_in_batches, path, partial(BlockOrderSampler, size=TILE, count=count))
    drawn = partial(ours_in_batches, path, partial(RandomSampler, size=TILE, count=count))
    yield Workload(
        f"{count} random tiles in order of blocks, cache {small_cache} MB",
        partial(cached, ordered, small_cache),
        partial(cached, drawn, small_cache),
        "our random sampler",
        2.0,
        note="the cache of one worker of several: the image does not fit",
    )


def _against_torchgeo(path: Path, count: int, size: str, tiles: int) -> Iterator[Workload]:
    require("torchgeo", extra="bench")
    yield Workload(
        f"{count} random tiles of {size}, batches",
        partial(cached, partial(ours_in_batches, path, partial(RandomSampler, size=TILE, count=count))),
        partial(cached, partial(by_torchgeo, path, count)),
        "torchgeo RandomGeoSampler",
        1.4,
    )
    yield Workload(
        f"{tiles} tiles in a grid of {size}, batches",
        partial(cached, partial(ours_in_batches, path, partial(GridSampler, size=TILE))),
        partial(cached, partial(by_torchgeo, path, None)),
        "torchgeo GridGeoSampler",
        2.5,
    )


def extra_rows(quick: bool = False) -> Iterator[dict[str, Any]]:
    """Yield the memory that 2,000 tiles take from two sizes of image, and files left open after 10,000."""
    require("rasterio", extra="urban")
    with tempfile.TemporaryDirectory() as folder:
        for side in (2048, 4096) if quick else (8192, 16_384):
            path = write_scene(Path(folder) / f"{side}.tif", side, noise=False)
            yield memory_of_reading(path, side, 200 if quick else 2000)
            yield files_left_open(path, side, 1000 if quick else 10_000)
            path.unlink()


def memory_of_reading(path: Path, side: int, tiles: int) -> dict[str, Any]:
    """Return a row: how far reading random tiles raises the memory of a fresh process."""
    code = f"import {__name__} as module; print(module.growth_mib({str(path)!r}, {side}, {tiles}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if done.returncode:
        raise VerticlipError(f"Measuring memory failed: {done.stderr.strip()[-500:]}")
    found, allowed = float(done.stdout), (MEMORY_CACHE_MB + MEMORY_MARGIN_MB) * 1e6 / 2**20
    return {
        "name": f"memory of {tiles} random tiles of {side} x {side} x 4",
        "peer_name": f"a cache of {MEMORY_CACHE_MB} MB and {MEMORY_MARGIN_MB} MB",
        "ours_mib": round(found, 1),
        "peer_mib": round(allowed, 1),
        "ratio": round(allowed / found, 2),
        "gate": 1.0,
        "passed": found <= allowed,
    }


def growth_mib(path: str, side: int, tiles: int) -> float:
    """Return how far reading raises this process's peak memory, in MiB; call it once per process."""
    from .memory import peak_mib

    torch.set_num_threads(1)
    raster = Raster.open(path, bands=BANDS, scaling=_PROFILE, cache_mb=MEMORY_CACHE_MB)
    windows = draw_windows(side, tiles)

    def read() -> None:
        for window in windows:
            raster.read(window)

    return peak_mib(read)


def files_left_open(path: Path, side: int, tiles: int) -> dict[str, Any]:
    """Return a row: files open after many tiles, against those open after the first."""
    raster = open_scene(path)
    corners = np.random.default_rng(1).integers(0, min(side, 1024) - 64, (tiles, 2)).tolist()
    raster.read((0, 0, 64, 64))
    before = _open_files()
    for column, row in corners:
        raster.read((column, row, 64, 64))
    after = _open_files()
    raster.close()
    row = {
        name: {"median": value, "min": value, "max": value}
        for name, value in (("ours", after), ("peer", before))
    }
    ratio = before / after
    return {
        "name": f"open files after {tiles} tiles of {side} x {side} x 4",
        "peer_name": "after the first tile",
        "unit": "files",
        **row,
        **dict.fromkeys(("ratio", "ratio_min", "ratio_max"), ratio),
        "gate": 1.0,
        "passed": after <= before,
    }


def _open_files() -> int:
    """Return how many files this process has open; 1 where that cannot be told."""
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.is_dir() else 1
