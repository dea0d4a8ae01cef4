"""Settings of GDAL for a time: the cache of decoded blocks, listing of folders, threads.

The cache belongs to the process, and GDAL lets it grow to 5 % of the machine's memory in every process. Here
it is bounded while pixels are read and as it was afterwards. Whoever has entered a ``rasterio.Env`` of their
own, or set GDAL_CACHEMAX, has decided already: nothing is changed then.
"""

from __future__ import annotations

import os
import threading
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import numpy as np

from ....core.errors import ConfigError, require
from .options import RasterOptions

if TYPE_CHECKING:
    from .layout import Layout

DEFAULT_CACHE_MB = 640
"""Most that is taken unasked."""
SMALL_CACHE_MB = 64
LEAST_CACHE_MB = 16
MB = 1_000_000

_REMOTE = {
    "CPL_VSIL_CURL_ALLOWED_EXTENSIONS": ".tif,.tiff,.jp2,.png,.jpg",
    "VSI_CACHE": True,
    "VSI_CACHE_SIZE": 25_000_000,
    "CPL_VSIL_CURL_CACHE_SIZE": 200_000_000,
    "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": "YES",
    "GDAL_HTTP_MULTIPLEX": "YES",
    "GDAL_INGESTED_BYTES_AT_OPEN": 32768,
    "GDAL_HTTP_MAX_RETRY": 5,
    "GDAL_HTTP_RETRY_DELAY": 0.5,
}


def open_settings(options: RasterOptions, *, remote: bool) -> AbstractContextManager[object]:
    """Return settings for opening one file: no folder listing where no sidecar is wanted."""
    # TRUE: companions are looked for by name, not by listing a folder that may hold a hundred thousand files.
    listing = "EMPTY_DIR" if remote or not options.sidecars else "TRUE"
    settings: dict[str, Any] = {"GDAL_DISABLE_READDIR_ON_OPEN": listing}
    return require("rasterio", extra="urban").Env(**settings, **(_REMOTE if remote else {}))


def block_rows_mb(layout: Layout) -> int:
    """Return megabytes that hold two rows of blocks, which reading row by row needs; 64 to 640."""
    decoded = 0
    for part in layout.parts if layout.stacked else layout.parts[:1]:
        header = part.header
        bands = header.count if header.pixel_interleaved else len(part.indexes)
        decoded += bands * np.dtype(header.dtype).itemsize * header.block[0]
    needed = -(-2 * decoded * (layout.width + 2 * layout.first.block[1]) // MB)
    return min(max(needed, SMALL_CACHE_MB), DEFAULT_CACHE_MB)


class BoundedCache:
    """While entered, decoded blocks take at most a budget of this process; afterwards what it was before.

    Args:
        cache_mb: megabytes, or None for ``unasked``, which gives way to what the user has set.
        unasked: see :func:`block_rows_mb`.
    """

    def __init__(self, cache_mb: int | None, unasked: int = SMALL_CACHE_MB) -> None:
        # Not ``rasterio.Env``: it costs as much as a small tile, and a nested one leaves its size behind.
        self._env: Any = require("rasterio.env", extra="urban")
        self._gives_way = cache_mb is None
        self._size = max(cache_mb or unasked, LEAST_CACHE_MB) * MB
        self._local = threading.local()

    def __reduce__(self) -> tuple[type[BoundedCache], tuple[int | None, int]]:
        return BoundedCache, (None if self._gives_way else self._size // MB, self._size // MB)

    def __enter__(self) -> None:
        self._local.before = None
        if self._gives_way and ("GDAL_CACHEMAX" in os.environ or self._env.hasenv()):
            return
        before = self._env.get_gdal_config("GDAL_CACHEMAX")
        if before is None or before > self._size:
            # GDAL takes megabytes from the environment, but bytes, as a whole number, here.
            self._env.set_gdal_config("GDAL_CACHEMAX", self._size)
            self._local.before = before

    def __exit__(self, *_: object) -> None:
        if self._local.before is not None:
            self._env.set_gdal_config("GDAL_CACHEMAX", self._local.before)


class WorkerInit:
    """``worker_init_fn`` of a torch DataLoader: workers share one budget of decoded blocks.

    Example::

        DataLoader(dataset, num_workers=4, worker_init_fn=WorkerInit(640), persistent_workers=True)

    Args:
        cache_mb: megabytes of decoded blocks over all workers together.

    Raises:
        ConfigError: ``cache_mb`` below 1.
    """

    def __init__(self, cache_mb: int = DEFAULT_CACHE_MB) -> None:
        if cache_mb < 1:
            raise ConfigError(f"cache_mb is {cache_mb}; it counts megabytes and starts at 1.")
        self.cache_mb = cache_mb

    def __call__(self, worker_id: int) -> None:
        """Bound the cache of this worker for as long as it lives."""
        from torch.utils.data import get_worker_info

        worker = get_worker_info()
        share = max(self.cache_mb // (worker.num_workers if worker else 1), LEAST_CACHE_MB)
        # Entered and never left: the settings end with the process.
        require("rasterio", extra="urban").Env(GDAL_CACHEMAX=share * MB, GDAL_NUM_THREADS=1).__enter__()
