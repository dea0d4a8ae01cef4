"""The cache of decoded blocks is bounded while reading, in the right unit, and left as it was."""

from __future__ import annotations

import pickle
from types import SimpleNamespace

import pytest

pytest.importorskip("rasterio", reason="the urban extra is not installed")

import rasterio
from rasterio.env import get_gdal_config
from verticlip.core.errors import ConfigError
from verticlip.domains.urban.loaders.memory import (
    MB,
    SMALL_CACHE_MB,
    BoundedCache,
    WorkerInit,
    block_rows_mb,
)
from verticlip.domains.urban.loaders.raster import Raster


def cache() -> int:
    return get_gdal_config("GDAL_CACHEMAX")


def test_megabytes_become_bytes_and_go_back(monkeypatch) -> None:
    monkeypatch.delenv("GDAL_CACHEMAX", raising=False)
    before = cache()
    with BoundedCache(32):
        assert cache() == 32 * MB
        with BoundedCache(64):
            assert cache() == 32 * MB
    assert cache() == before
    with pytest.raises(ZeroDivisionError), BoundedCache(32):
        raise ZeroDivisionError
    assert cache() == before


def test_the_default_gives_way_to_what_the_user_set(monkeypatch) -> None:
    with rasterio.Env(GDAL_CACHEMAX=900 * MB), BoundedCache(None):
        assert cache() == 900 * MB
    with BoundedCache(None):
        assert cache() <= SMALL_CACHE_MB * MB
    monkeypatch.setenv("GDAL_CACHEMAX", "2000")
    before = cache()
    with BoundedCache(None):
        assert cache() == before


def test_it_is_never_so_small_that_nothing_fits() -> None:
    with BoundedCache(1):
        assert cache() == 16 * MB


def test_it_can_be_pickled() -> None:
    for size in (None, 40):
        copied = pickle.loads(pickle.dumps(BoundedCache(size)))
        with copied:
            assert cache() <= (size or SMALL_CACHE_MB) * MB


def test_unasked_it_holds_two_rows_of_blocks() -> None:
    def needed(width: int, rows: int, count: int, interleaved: bool = True) -> int:
        header = SimpleNamespace(
            count=count, pixel_interleaved=interleaved, dtype="uint16", block=(rows, rows)
        )
        part = SimpleNamespace(header=header, indexes=(1, 2, 3))
        return block_rows_mb(SimpleNamespace(parts=[part], stacked=False, width=width, first=header))  # pyright: ignore[reportArgumentType]

    assert needed(1000, 256, 3) == 64
    assert 2 * 512 * 20_000 * 4 * 2 <= needed(20_000, 512, 4) * MB <= 1.1 * 2 * 512 * 20_000 * 4 * 2
    assert needed(20_000, 512, 40, interleaved=False) < needed(20_000, 512, 4)
    assert needed(200_000, 512, 12) == 640


def test_reading_keeps_to_the_budget(write_raster, noise, monkeypatch) -> None:
    raster = Raster.open(write_raster(noise()), cache_mb=24)
    seen = []
    from verticlip.domains.urban.loaders import reader

    original = reader.read_pixels
    monkeypatch.setattr(
        reader, "read_pixels", lambda *given, **more: seen.append(cache()) or original(*given, **more)
    )
    before = cache()
    raster.read((0, 0, 8, 8))
    assert seen == [min(24 * MB, before)]
    assert cache() == before


def test_workers_share_a_budget(monkeypatch) -> None:
    import torch.utils.data
    from rasterio.env import hasenv

    class Worker:
        num_workers = 4

    monkeypatch.setattr(torch.utils.data, "get_worker_info", lambda: Worker)
    before = cache()
    assert not hasenv()
    with rasterio.Env():
        WorkerInit(256)(0)
        assert cache() == 64 * MB
        WorkerInit(20)(1)
        assert cache() == 16 * MB
    with rasterio.Env(GDAL_CACHEMAX=before):
        pass
    rasterio.env.set_gdal_config("GDAL_CACHEMAX", before)
    assert pickle.loads(pickle.dumps(WorkerInit(256))).cache_mb == 256
    with pytest.raises(ConfigError, match="cache_mb is 0"):
        WorkerInit(0)
