"""Small rasters on disk, written by rasterio."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rasterio", reason="the urban extra is not installed")

ORIGIN = (500_000.0, 4_500_000.0)


@pytest.fixture
def write_raster(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes an array [C, H, W] as GeoTIFF, 10 m pixels of UTM zone 18 north."""
    import rasterio
    from rasterio.transform import from_origin

    def write(
        values: np.ndarray,
        name: str = "scene.tif",
        *,
        origin: tuple[float, float] = ORIGIN,
        pixel: float = 10.0,
        names: tuple[str, ...] = (),
        colors: tuple[str, ...] = (),
        tags: dict[str, str] | None = None,
        overviews: tuple[int, ...] = (),
        mask: np.ndarray | None = None,
        **settings: Any,
    ) -> Path:
        profile = {
            "driver": "GTiff",
            "count": values.shape[0],
            "height": values.shape[1],
            "width": values.shape[2],
            "dtype": values.dtype.name,
            "crs": "EPSG:32618",
            "transform": from_origin(*origin, pixel, pixel),
            **settings,
        }
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "w", **profile) as file:
            if colors:
                file.colorinterp = [rasterio.enums.ColorInterp[color] for color in colors]
            file.write(values)
            for number, text in enumerate(names, 1):
                file.set_band_description(number, text)
            if tags:
                file.update_tags(**tags)
            if mask is not None:
                file.write_mask(mask)
            if overviews:
                file.build_overviews(list(overviews), rasterio.enums.Resampling.average)
        return path

    return write


@pytest.fixture
def noise() -> Callable[..., np.ndarray]:
    """Return a function that gives seeded numbers [C, H, W] from 1 up."""

    def make(count: int = 3, height: int = 96, width: int = 128, dtype: str = "uint8", seed: int = 0):
        rng = np.random.default_rng(seed)
        high = 250 if dtype == "uint8" else 5000
        return rng.integers(1, high, (count, height, width)).astype(dtype)

    return make
