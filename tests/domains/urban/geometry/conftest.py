"""Fixtures for geometry: small scenes on disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("geopandas", reason="the urban extra is not installed")
rasterio = pytest.importorskip("rasterio", reason="the urban extra is not installed")

TRANSFORM = (10.0, 0.0, 500_000.0, 0.0, -10.0, 4_500_000.0)


@pytest.fixture
def write_scene(tmp_path: Path) -> Callable[..., Path]:
    """Write a tiled 8-bit RGB scene whose pixels tell where they are: (column, row, 200); 0 is nodata."""

    def write(name: str = "scene.tif", width: int = 300, height: int = 200, *, hole: int = 0) -> Path:
        row, column = np.mgrid[:height, :width]
        pixels = np.stack([column % 250 + 1, row % 250 + 1, np.full_like(row, 200)]).astype(np.uint8)
        pixels[:, :, width - hole : width] = 0
        with rasterio.open(
            tmp_path / name, "w", driver="GTiff", width=width, height=height, count=3, dtype="uint8",
            crs="EPSG:32650", transform=rasterio.Affine(*TRANSFORM), tiled=True, blockxsize=64, blockysize=64,
            nodata=0,
        ) as file:  # fmt: skip
            file.write(pixels)
        return tmp_path / name

    return write
