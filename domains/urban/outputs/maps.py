"""Values of tiles as GeoTIFF: maps whose georeference is exact, with names, units and origin inside.

The pixel of a map is the footprint of a tile. Where tiles overlap it is as large as the step from one tile
to the next, in the middle of its tile. Tiles that are not regularly spaced give a finer raster in which a
pixel has the value of the tile over it whose middle is nearest, and a stated resolution one of their means.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from xml.sax.saxutils import escape

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ....core.errors import ConfigError, DataError, require
from ....core.files import write_text_atomic
from ..geometry.tiles import Tiles
from .colors import class_colors
from .lattice import TileRaster, raster_of
from .staging import staged

if TYPE_CHECKING:
    from rasterio.io import DatasetWriter

    from .embedding_table import EmbeddingTable

Tags = Mapping[str, "str | Mapping[str, str]"]


def write_map(
    path: str | Path,
    values: Mapping[str, ArrayLike],
    tiles: Tiles,
    *,
    tags: Tags | None = None,
    units: Mapping[str, str] | None = None,
    cog: bool = False,
    resolution: float | None = None,
) -> Path:
    """Write one value per tile and name as a GeoTIFF of float32 bands, NaN where there is none.

    Example::

        tags = {**origin_tags(table), "people": {"target_transform": "log1p"}}
        write_map("people.tif", {"people": predicted}, table.tiles(), tags=tags, units={"people": "persons"})

    Args:
        path: ``.tif`` file; it appears whole or not at all.
        values: {band name: N numbers}, in the order of the tiles.
        tiles: N, in any projected or geographic coordinate system, which becomes that of the map.
        tags: what the file says about itself; a mapping under the name of a band speaks of that band.
            :func:`origin_tags` gives those of a table of embeddings.
        units: {band name: unit}.
        cog: as Cloud Optimized GeoTIFF, with overviews.
        resolution: side of a pixel in units of the tiles' coordinate system, each the mean of the tiles over
            it, which count less towards their edges. None takes tiles as pixels, or, where they are not
            regularly spaced, a quarter of their side.

    Raises:
        DataError: another number of values than tiles, or no tiles.
        InputError: the tiles have no coordinate system.
        ConfigError: the resolution or a name of a band cannot be.
        LimitError: the map would be larger than ``Limits.decoded_bytes``.
    """
    bands = _checked(values, tiles)
    grid = raster_of(tiles, resolution, bands=len(bands))
    about = {"values": "float32, NaN where there is no tile", **grid.describe(), **(tags or {})}
    with staged(path) as temporary:
        with _writer(temporary, grid, tiles.crs, cog=cog, count=len(bands)) as target:
            for row, rows in grid.strips(bands):
                target.write(rows, window=_window(row, rows.shape))
            _describe(target, list(values), about, units or {})
        if cog:
            _to_cog(temporary, grid.block, "average")
    return Path(path)


def write_class_map(
    path: str | Path,
    classes: ArrayLike,
    names: Sequence[str],
    tiles: Tiles,
    *,
    tags: Tags | None = None,
    cog: bool = False,
    resolution: float | None = None,
) -> Path:
    """Write the class of each tile as a GeoTIFF of whole numbers with a colour table.

    The names stand in the band's tags (``class_0`` ...) and, for GIS programs, as attribute table in
    ``PATH.aux.xml``.

    Args:
        path: ``.tif`` file.
        classes: N positions in ``names``; -1 for none.
        names: at most 255.
        tiles, tags, cog, resolution: as in :func:`write_map`; a pixel has the class of one tile, the nearest.

    Raises:
        DataError: a position without a name. Otherwise as :func:`write_map`.
    """
    found = np.asarray(classes)
    if not 1 <= len(names) <= 255:
        raise ConfigError(f"A class map holds 1 to 255 classes, got {len(names)}.")
    if found.dtype.kind not in "iu" or ((found < -1) | (found >= len(names))).any():
        raise DataError(f"Classes are whole numbers from -1 to {len(names) - 1}, one per tile.")
    bands = _checked({"class": found.astype(np.float32)}, tiles)
    # A mean of classes is none.
    grid = replace(raster_of(tiles, resolution), mean=False)
    about = {"values": "position of the class; 255 where there is no tile", **grid.describe()}
    colors = class_colors(names)
    with staged(path) as temporary:
        with _writer(temporary, grid, tiles.crs, cog=cog, count=1, dtype="uint8", nodata=255) as target:
            for row, rows in grid.strips(bands):
                filled = np.where(np.isfinite(rows) & (rows >= 0), rows, 255)
                target.write(filled.astype(np.uint8), window=_window(row, rows.shape))
            named = {f"class_{place}": name for place, name in enumerate(names)}
            _describe(target, ["class"], {**about, "class": named, **(tags or {})}, {})
            target.write_colormap(1, {place: (*rgb, 255) for place, rgb in enumerate(colors)})
        if cog:
            _to_cog(temporary, grid.block, "nearest")
        write_text_atomic(temporary.with_name(temporary.name + ".aux.xml"), _attribute_table(names, colors))
    return Path(path)


def origin_tags(table: EmbeddingTable) -> dict[str, str]:
    """Return the tags that say what a map of a table of embeddings was made with."""
    meta = table.meta
    said = {
        "model_id": meta.get("model_id", ""),
        "revision": meta.get("revision", ""),
        "package_version": meta.get("version", ""),
        "source": table.source,
        "scaling": meta.get("scaling") or "",
    }
    return {
        key: value if isinstance(value, str) else json.dumps(value, sort_keys=True)
        for key, value in said.items()
    }


def _checked(values: Mapping[str, ArrayLike], tiles: Tiles) -> NDArray[np.float32]:
    """Return values as float32 [bands, N].

    Raises:
        DataError: nothing to write, or another number of values than tiles.
        ConfigError: a band without a name.
    """
    if not values or not len(tiles):
        raise DataError("There is nothing to map: give at least one tile, and at least one value for each.")
    bands = []
    for name, column in values.items():
        numbers = np.asarray(column)
        if not name.strip():
            raise ConfigError("A band of a map needs a name.")
        if numbers.shape != (len(tiles),) or numbers.dtype.kind not in "fiub":
            raise DataError(
                f"{name!r}: a map needs one number for each of {len(tiles)} tiles, got {numbers.dtype} "
                f"{list(numbers.shape)}."
            )
        with np.errstate(over="ignore"):
            narrow = numbers.astype(np.float32)
        if (np.isfinite(numbers) & ~np.isfinite(narrow)).any():
            raise DataError(
                f"{name!r} has values over 3.4e38, which float32 cannot hold. Choose another unit."
            )
        bands.append(np.where(np.isfinite(narrow), narrow, np.nan))
    return np.stack(bands)


def _writer(
    path: Path,
    grid: TileRaster,
    crs: str,
    *,
    cog: bool,
    count: int,
    dtype: Literal["float32", "uint8"] = "float32",
    nodata: float = math.nan,
) -> DatasetWriter:
    rasterio = require("rasterio", extra="urban")
    return rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=grid.width,
        height=grid.height,
        count=count,
        dtype=dtype,
        crs=crs,
        transform=rasterio.Affine(*grid.transform),
        nodata=nodata,
        tiled=True,
        blockxsize=grid.block,
        blockysize=grid.block,
        # What is copied afterwards need not be compressed.
        compress="none" if cog else "deflate",
        predictor=1 if cog else 3 if dtype == "float32" else 2,
        bigtiff="if_safer",
    )


def _window(row: int, shape: tuple[int, ...]) -> Any:
    windows = require("rasterio.windows", extra="urban")
    return windows.Window(0, row, shape[2], shape[1])


def _describe(target: DatasetWriter, names: Sequence[str], tags: Tags, units: Mapping[str, str]) -> None:
    """Write names, units and tags.

    Raises:
        ConfigError: a unit or tags for a band that is not there.
    """
    for name in (*units, *(key for key, value in tags.items() if not isinstance(value, str))):
        if name not in names:
            raise ConfigError(f"There is no band {name!r} to describe; the map has: {', '.join(names)}.")
    target.update_tags(**{key: value for key, value in tags.items() if isinstance(value, str)})
    for band, name in enumerate(names, 1):
        target.set_band_description(band, name)
        own = tags.get(name)
        said = dict(own) if isinstance(own, Mapping) else {}
        if name in units:
            target.set_band_unit(band, units[name])
            said["units"] = units[name]
        if said:
            target.update_tags(band, **said)


def _to_cog(path: Path, block: int, resampling: str) -> None:
    """Turn a GeoTIFF into a Cloud Optimized one; the driver needs a whole file to copy."""
    shutil = require("rasterio.shutil", extra="urban")
    plain = path.with_name(f"plain-{path.name}")
    path.rename(plain)
    shutil.copy(
        plain,
        path,
        driver="COG",
        compress="deflate",
        predictor="yes",
        blocksize=block,
        overview_resampling=resampling,
        bigtiff="if_safer",
    )


def _attribute_table(names: Sequence[str], colors: Sequence[tuple[int, int, int]]) -> str:
    """Return the names of classes as GDAL keeps them beside a GeoTIFF."""
    fields = (("Value", 0, 5), ("Class", 2, 2), ("Red", 0, 6), ("Green", 0, 7), ("Blue", 0, 8))
    defined = "".join(
        f'<FieldDefn index="{place}"><Name>{name}</Name><Type>{kind}</Type><Usage>{usage}</Usage></FieldDefn>'
        for place, (name, kind, usage) in enumerate(fields)
    )
    rows = "".join(
        f'<Row index="{place}">'
        + "".join(f"<F>{cell}</F>" for cell in (place, escape(name), *rgb))
        + "</Row>"
        for place, (name, rgb) in enumerate(zip(names, colors, strict=True))
    )
    categories = "".join(f"<Category>{escape(name)}</Category>" for name in names)
    return (
        f'<PAMDataset><PAMRasterBand band="1"><CategoryNames>{categories}</CategoryNames>'
        f'<GDALRasterAttributeTable tableType="thematic">{defined}{rows}</GDALRasterAttributeTable>'
        "</PAMRasterBand></PAMDataset>\n"
    )
