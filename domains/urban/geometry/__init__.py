"""Where tiles lie: tile schemes, coordinate systems, regions, grids, samplers."""

from __future__ import annotations

from ....core.lazy import lazy_names

_HOMES = {
    "BlockOrderSampler": "samplers",
    "FolderTiles": "sources",
    "GridSampler": "samplers",
    "RandomSampler": "samplers",
    "RegionSampler": "samplers",
    "RegionWarning": "regions",
    "Regions": "regions",
    "Shard": "samplers",
    "Tile": "tiles",
    "TileBatch": "dataset",
    "TileDataset": "dataset",
    "TileGrid": "covering",
    "TileListSampler": "samplers",
    "TileSource": "sources",
    "Tiles": "tiles",
    "cover": "covering",
    "raster_grid": "grids",
    "tile_loader": "dataset",
    "valid_tiles": "dataset",
    "without_tiles": "covering",
}

__all__ = sorted(_HOMES)  # pyright: ignore[reportUnsupportedDunderAll]

__getattr__ = lazy_names(__name__, _HOMES)
