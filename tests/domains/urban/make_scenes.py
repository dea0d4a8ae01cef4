"""Small scenes for tests: pixels without a file, and the tiles over them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from verticlip.domains.urban.geometry.grids import raster_grid
from verticlip.domains.urban.geometry.tiles import Tile, Tiles
from verticlip.domains.urban.loaders.errors import RasterReadError, TileOutsideBounds
from verticlip.domains.urban.loaders.records import TileImage

UTM = "EPSG:32618"
TRANSFORM = (10.0, 0.0, 500_000.0, 0.0, -10.0, 4_500_000.0)


class FakeScene:
    """A scene in memory, 10 m pixels of UTM zone 18 north; reads like a raster."""

    def __init__(
        self, width: int = 256, height: int = 192, *, seed: int = 0, name: str = "scene.tif"
    ) -> None:
        rng = np.random.default_rng(seed)
        coarse = rng.random((3, -(-height // 16), -(-width // 16)), np.float32)
        self.pixels = torch.from_numpy(np.kron(coarse, np.ones((1, 16, 16), np.float32))[:, :height, :width])
        self.mask = torch.ones(height, width, dtype=torch.bool)
        self.width, self.height, self.name = width, height, name
        self.fingerprint = f"seed {seed}"
        self.scaling = {"kind": "test", "divide": 1.0}
        self.bands = ("red", "green", "blue")
        self.crs, self.transform = UTM, TRANSFORM
        self.broken: set[str] = set()
        self.reads: list[str] = []

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        a, _, c, _, e, f = TRANSFORM
        return c, f + e * self.height, c + a * self.width, f

    def read_tile(self, tile: Tile, *, size: tuple[int, int] | None = None) -> TileImage:
        self.reads.append(tile.id)
        if tile.id in self.broken:
            raise RasterReadError(f"{self.name}: tile {tile.id} cannot be decoded.")
        assert tile.window is not None
        column, row, width, height = tile.window
        if column >= self.width or row >= self.height:
            raise TileOutsideBounds(f"{self.name}: the window shares no pixel with the scene.")
        image, mask = torch.zeros(3, height, width), torch.zeros(height, width, dtype=torch.bool)
        inside = self.pixels[:, row : row + height, column : column + width]
        image[:, : inside.shape[1], : inside.shape[2]] = inside
        mask[: inside.shape[1], : inside.shape[2]] = self.mask[row : row + height, column : column + width]
        a, _, c, _, e, f = TRANSFORM
        return TileImage(image, mask, (a, 0.0, c + a * column, 0.0, e, f + e * row), UTM, tile.id)


def grid(width: int = 256, height: int = 192, *, size: int = 32, stride: int | None = None) -> Tiles:
    """Return the tiles of a scene."""
    return raster_grid(width, height, TRANSFORM, UTM, size=size, stride=stride, name="scene")


def write_raster(path: Path, pixels: np.ndarray, *, crs: str = UTM, nodata: float | None = None) -> Path:
    """Write [C, H, W] as a tiled GeoTIFF with 10 m pixels."""
    import rasterio
    from rasterio.transform import Affine

    count, height, width = pixels.shape
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        count=count,
        height=height,
        width=width,
        dtype=pixels.dtype,
        crs=crs,
        transform=Affine(*TRANSFORM),
        nodata=nodata,
        tiled=True,
        blockxsize=64,
        blockysize=64,
    ) as target:
        target.write(pixels)
    return path
