"""Captions of the tiles of a scene or of the pictures of a folder: resumable, filtered, fit for training."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ....core.data.files import files_below
from ....core.errors import DataError
from ....core.parts_run import LeftOut
from ..captions.captioner import Captioner, as_picture
from ..captions.filtering import CaptionFilter
from ..captions.run import CaptioningOptions, CaptionReport, CaptionRun, Pictures
from ..geometry.tiles import Tiles
from ..loaders.errors import TileOutsideBounds
from ..outputs.staging import file_names
from ..outputs.tile_images import write_png
from ..protocols import TileReader
from .embedding import check_own, fingerprint_of, reading_order, scene_identity

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["CaptionReport", "CaptioningOptions", "caption_pictures", "caption_tiles"]

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp")
"""What a folder of pictures is searched for."""


def caption_tiles(
    source: TileReader,
    tiles: Tiles,
    captioner: Captioner,
    out: str | Path,
    *,
    options: CaptioningOptions | None = None,
    caption_filter: CaptionFilter | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> CaptionReport:
    """Describe tiles in the JSON file ``out``, continuing an interrupted run of the same scene and captioner.

    The file is a flat list of ``{"caption", "image"}``, one entry per sentence; ``image`` is the id of the
    tile, or with ``options.pictures`` the name of its picture below that folder. Beside ``captions.json`` lie
    ``captions.report.json`` with counts; ``captions.json.failed.jsonl``, a line for each tile that has no
    caption, with the reason; and, when there is a filter, ``captions.unfiltered.json``.

    Example::

        raster = Raster.open("scene.tif")
        report = caption_tiles(raster, tiles, FactCaptioner(), "captions.json")
        report.statistics.captions

    Args:
        source: raster or folder of tiles; read by threads, ahead of the captioner.
        tiles: with the coordinate system they lie in.
        captioner: who writes; see :class:`..captions.captioner.Captioner`.
        out: file to write; beside it, while the run is under way, the folder ``OUT.parts``.
        options: seed, sentences, sizes and pictures.
        caption_filter: what is left out of ``out``.
        progress: called with (tiles done, tiles in all) after each part.

    Raises:
        DataError: there are no tiles, or none could be described.
        InputError: the tiles are windows of another raster.
        ConfigError: ``out`` or its parts belong to another captioner, scene, setting or list of tiles.
    """
    if not len(tiles):
        raise DataError("There is nothing to describe: the list of tiles is empty.")
    options = options or CaptioningOptions()
    ordered = tiles.take(reading_order(tiles))
    check_own(source, ordered)
    folder, size = options.pictures, options.read_px
    names = ordered.ids if folder is None else tuple(f"{one}.png" for one in file_names(ordered.ids, "tile"))

    def read(position: int) -> Tensor:
        try:
            tile = source.read_tile(ordered[position], size=None if size is None else (size, size))
        except TileOutsideBounds as error:
            raise LeftOut(str(error)) from error
        if tile.valid_fraction < options.min_valid:
            raise LeftOut(
                f"{tile.valid_fraction:.0%} of the pixels are valid, {options.min_valid:.0%} are asked for."
            )
        picture = as_picture(tile)
        if folder is not None:
            colors = (picture * 255).round().byte().numpy()
            write_png(folder / names[position], colors, tile.transform, tile.crs)
        return picture

    identity = {
        **scene_identity(source),
        "tiles": fingerprint_of(ordered),
        "min_valid": str(options.min_valid),
        "read_px": str(size),
        "named": "ids" if folder is None else "pictures",
    }
    return CaptionRun(
        Pictures(names, read, identity),
        captioner,
        out=Path(out),
        options=options,
        caption_filter=caption_filter,
    ).complete(progress)


def caption_pictures(
    folder: str | Path,
    captioner: Captioner,
    out: str | Path,
    *,
    options: CaptioningOptions | None = None,
    caption_filter: CaptionFilter | None = None,
    show_paths: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> CaptionReport:
    """Describe every picture below a folder in the JSON file ``out``; otherwise as :func:`caption_tiles`.

    ``image`` of an entry is the path of the picture from the folder on, with forward slashes.

    Args:
        folder: JPEG, PNG, WebP or GeoTIFF files, in sub-folders or not.
        captioner, out, options, caption_filter, progress: as in :func:`caption_tiles`.
        show_paths: messages about a picture name its path.

    Raises:
        DataError: no such folder, no pictures in it, or none could be described.
        ConfigError: as :func:`caption_tiles`.
    """
    from ..loaders.image import load_image

    root = Path(folder)
    if not root.is_dir():
        raise DataError(f"{root.name}: no such folder of pictures.")
    names = [name for name in files_below(root) if name.lower().endswith(PICTURE_SUFFIXES)]
    if not names:
        raise DataError(f"{root.name}: no pictures in this folder ({', '.join(PICTURE_SUFFIXES)}).")

    def read(position: int) -> Tensor:
        return as_picture(load_image(root / names[position], show_paths=show_paths).value)

    return CaptionRun(
        Pictures(names, read, {"scene": _sizes(root, names)}),
        captioner,
        out=Path(out),
        options=options or CaptioningOptions(),
        caption_filter=caption_filter,
    ).complete(progress)


def _sizes(root: Path, names: list[str]) -> str:
    """Return 16 hex digits that change with the names and sizes of files."""
    digest = hashlib.sha256()
    for name in names:
        digest.update(f"{name}\0{(root / name).stat().st_size}\0".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:16]
