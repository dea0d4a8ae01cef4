"""Settings of GDAL for a time: the cache of decoded blocks, listing of folders, threads.

The cache belongs to the process, and GDAL lets it grow to 5 % of the machine's memory in every process. Here
it is bounded while pixels are read and as it was afterwards. Whoever has entered a ``rasterio.Env`` of their
own, or set GDAL_CACHEMAX, has decided already: nothing is changed then.
"""

from __future__ import annotations

import os
import threading
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from ....core.errors import ConfigError, require
from .options import RasterOptions

DEFAULT_CACHE_MB = 640
"""Holds two rows of blocks of all but the widest files, and the whole of most scenes."""
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
    settings: dict[str, Any] = {}
    if remote or not options.sidecars:
        settings["GDAL_DISABLE_READDIR_ON_OPEN"] = "EMPTY_DIR"
    if remote:
        settings |= _REMOTE
    return require("rasterio", extra="urban").Env(**settings) if settings else nullcontext()


class BoundedCache:
    """While entered, decoded blocks take at most a budget of this process; afterwards what it was before.

    Args:
        cache_mb: megabytes, or None for :data:`DEFAULT_CACHE_MB`, which gives way to what the user has set.
    """

    def __init__(self, cache_mb: int | None) -> None:
        # Not ``rasterio.Env``: it costs as much as a small tile, and a nested one leaves its size behind.
        self._env: Any = require("rasterio.env", extra="urban")
        self._gives_way = cache_mb is None
        self._size = max(cache_mb or DEFAULT_CACHE_MB, LEAST_CACHE_MB) * MB
        self._local = threading.local()

    def __reduce__(self) -> tuple[type[BoundedCache], tuple[int | None]]:
        return BoundedCache, (None if self._gives_way else self._size // MB,)

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
