"""Rasters, tiles and regions in, tables and maps out: the public names of the room's files.

Example::

    from verticlip.domains.urban.io import Raster, Regions, TileGrid, read_embeddings, write_map

    raster = Raster.open("scene.tif")                                # headers only
    tile = raster.read((0, 0, 256, 256))                             # float32 [C, 256, 256] and what is valid
    districts = Regions.from_file("districts.gpkg", id_column="name")
    tiles = TileGrid("raster", tile_px=64).cover(districts, raster=raster)
    table = read_embeddings("scene.parquet")                         # what `verticlip urban embed` wrote
"""

from __future__ import annotations

from ...core.lazy import lazy_names

_HOMES = {
    "BlockOrderSampler": "geometry.samplers",
    "CaptionFilter": "captions.filtering",
    "EmbeddingTable": "outputs.geoparquet",
    "FolderTiles": "geometry.sources",
    "GridSampler": "geometry.samplers",
    "RandomSampler": "geometry.samplers",
    "Raster": "loaders.raster",
    "RasterOptions": "loaders.options",
    "RegionSampler": "geometry.samplers",
    "Regions": "geometry.regions",
    "RowBlender": "outputs.blending",
    "SENSORS": "loaders.sensors",
    "Scene": "scene",
    "Shard": "geometry.samplers",
    "Tile": "geometry.tiles",
    "TileDataset": "geometry.dataset",
    "TileGrid": "geometry.covering",
    "TileImage": "loaders.records",
    "TileSource": "geometry.web_source",
    "Tiles": "geometry.tiles",
    "bd09_to_wgs84": "geometry.china",
    "cover": "geometry.covering",
    "gcj02_to_wgs84": "geometry.china",
    "load_image": "loaders.image",
    "raster_grid": "geometry.grids",
    "read_caption_file": "captions.layouts",
    "read_embeddings": "outputs.geoparquet",
    "save_map": "outputs.picture",
    "tile_loader": "geometry.dataset",
    "valid_tiles": "geometry.dataset",
    "without_tiles": "geometry.covering",
    "write_caption_file": "captions.layouts",
    "write_class_map": "outputs.maps",
    "write_embeddings": "outputs.geoparquet",
    "write_layer": "outputs.vector",
    "write_map": "outputs.maps",
    "write_scene": "scene",
    "write_tile_images": "outputs.tile_images",
}
__all__ = sorted(_HOMES)  # pyright: ignore[reportUnsupportedDunderAll]

# The modules are siblings of this one, not below it.
__getattr__ = lazy_names(__name__.rpartition(".")[0], _HOMES)


def __dir__() -> list[str]:
    return list(__all__)
