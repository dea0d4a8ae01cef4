"""Tiles as picture files with their place on the ground: PNG to look at, GeoTIFF with numbers as stored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from ....core.answers import Failure
from ....core.errors import ConfigError, nearest, require
from ..loaders.errors import RasterReadError, TileOutsideBounds
from .staging import file_names, staged

if TYPE_CHECKING:
    from ..geometry.tiles import Tile, Tiles
    from ..loaders.raster import Raster

ImageFormat = Literal["png", "tif"]


@dataclass(frozen=True)
class TileImages:
    """What was written.

    Attributes:
        written: pictures that are in the folder now.
        skipped: tiles with too few valid pixels, or outside of the scene.
        failed: tiles that cannot be read, with the reason.
    """

    written: int
    skipped: int
    failed: tuple[Failure, ...]


def write_tile_images(
    raster: Raster,
    tiles: Tiles,
    folder: str | Path,
    *,
    image_format: ImageFormat = "png",
    size: tuple[int, int] | None = None,
    min_valid: float = 0.5,
    progress: Callable[[int, int], None] | None = None,
) -> TileImages:
    """Write one picture per tile into ``folder``, named after the tile.

    A PNG holds the first three bands as 8-bit colors, as the raster's scaling profile gives them, transparent
    where invalid, with its place beside it in ``.png.aux.xml``. A GeoTIFF holds the numbers of all bands as
    stored, with the nodata value of the scene or a mask, for tiles that are windows of it.

    Args:
        raster: the scene.
        tiles: windows of it, or tiles of any other grid, which are resampled (PNG only).
        folder: made when missing; pictures of the same names are replaced.
        image_format: ``png`` or ``tif``.
        size: (rows, columns) of a PNG; default: the pixels of the window, 256 x 256 for other tiles.
        min_valid: share of valid pixels that a tile needs, 0 to 1; one without any is never written.
        progress: called with (tiles done, tiles in all).

    Raises:
        ConfigError: an unknown format, GeoTIFFs of tiles that are no windows, or two bands as PNG.
    """
    if image_format not in get_args(ImageFormat):
        known = get_args(ImageFormat)
        raise ConfigError(
            f"Pictures are {' or '.join(known)}, not {image_format!r}.{nearest(image_format, known)}"
        )
    if image_format == "tif" and (tiles.windows is None or size is not None):
        raise ConfigError(
            "GeoTIFFs hold the scene's own pixels, and these tiles are resampled. Take image_format='png', "
            "or tiles with scheme='raster' and no size."
        )
    if image_format == "png" and len(raster.bands) == 2:
        raise ConfigError(
            f"{raster.name} is read with 2 bands; a picture has 1 or 3. Name them with bands=, or write "
            "GeoTIFFs."
        )
    folder = Path(folder)
    names = file_names(tiles.ids, "tile")
    write = _write_png if image_format == "png" else _write_tif
    written, skipped, failed = 0, 0, []
    for number, tile in enumerate(tiles, start=1):
        try:
            done = write(raster, tile, folder / f"{names[number - 1]}.{image_format}", size, min_valid)
            written, skipped = written + done, skipped + (not done)
        except TileOutsideBounds:
            skipped += 1
        except RasterReadError as error:
            failed.append(Failure(tile.id, str(error)))
        if progress is not None:
            progress(number, len(tiles))
    return TileImages(written, skipped, tuple(failed))


def write_png(path: str | Path, colors: np.ndarray, transform: tuple[float, ...], crs: str) -> None:
    """Write colors uint8 [1 or 3, H, W] as a PNG, with its place beside it in ``.png.aux.xml``.

    Args:
        path: file to write; its folder is made when missing.
        transform: as in :class:`..loaders.records.TileImage`.
        crs: of the transform; "" for a picture without a place.
    """
    write_pixels(Path(path), colors, transform, crs, driver="PNG")


def _write_png(
    raster: Raster, tile: Tile, path: Path, size: tuple[int, int] | None, min_valid: float
) -> bool:
    found = raster.read_tile(tile, size=size)
    if found.valid_fraction < min_valid or not found.valid_fraction:
        return False
    colors = found.image[:3].clamp(0, 1).mul(255).round().byte().numpy()
    alpha = found.mask.numpy().astype(np.uint8)[None] * 255
    values = colors if bool(found.mask.all()) else np.concatenate([colors, alpha])
    write_pixels(path, values, found.transform, found.crs, driver="PNG")
    return True


def _write_tif(
    raster: Raster, tile: Tile, path: Path, size: tuple[int, int] | None, min_valid: float
) -> bool:
    if tile.window is None:
        raise ConfigError(f"Tile {tile.id!r} is no window of {raster.name}.")
    values, valid = raster.raw(tile.window)
    share = float(valid.mean())
    if share < min_valid or not share:
        return False
    nodata = raster.nodata
    if nodata is not None:
        values = np.where(valid, values, np.asarray(nodata).astype(values.dtype))
    a, b, c, d, e, f = raster.transform
    column, row = tile.window[:2]
    transform = (a, b, c + a * column + b * row, d, e, f + d * column + e * row)
    mask = None if nodata is not None or valid.all() else valid
    write_pixels(
        path, values, transform, raster.crs, mask=mask, driver="GTiff", nodata=nodata, compress="deflate"
    )
    return True


def write_pixels(
    path: Path,
    values: np.ndarray,
    transform: tuple[float, ...],
    crs: str,
    *,
    mask: np.ndarray | None = None,
    overviews: Sequence[int] = (),
    **profile: Any,
) -> None:
    """Write [C, H, W] with its place; the companion of a PNG comes along.

    Args:
        path: file to write; it appears whole or not at all.
        values: pixels as the file shall hold them.
        transform, crs: where they lie; a ``crs`` of "" is nowhere.
        mask: bool [H, W], valid pixels, where no value says so.
        overviews: factors of smaller copies inside of the file.
        profile: of the driver.
    """
    rasterio = require("rasterio", extra="urban")
    count, height, width = values.shape
    place = {"crs": crs, "transform": rasterio.Affine(*transform)} if crs else {}
    shape = {"width": width, "height": height, "count": count, "dtype": values.dtype.name}
    with (
        staged(path) as temporary,
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(temporary, "w", **profile, **shape, **place) as out,
    ):
        out.write(values)
        if mask is not None:
            out.write_mask(mask)
        if overviews:
            out.build_overviews(list(overviews), rasterio.enums.Resampling.average)
