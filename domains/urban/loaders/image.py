"""``load_image``: a whole picture for a model, whatever its size."""

from __future__ import annotations

import os
from dataclasses import replace

import torch

from ....core.errors import ConfigError
from ....core.images import load_image as load_plain_image
from ....core.limits import DEFAULT, Limits
from ....core.types import Sample
from .errors import BandError, RasterReadError
from .files import driver_of
from .options import BandChoice, RasterOptions, Scaling
from .raster import Raster

LONGEST_SIDE = 2048
"""Larger rasters are read through their overviews: a model sees a few hundred pixels of them."""


def load_image(
    path: str | os.PathLike[str],
    *,
    bands: BandChoice = None,
    sensor: str | None = None,
    nodata: float | None = None,
    scaling: Scaling = "auto",
    limits: Limits = DEFAULT,
    show_paths: bool = False,
) -> Sample:
    """Return a picture float32 [C, H, W] in [0, 1], C = 1 or 3, at most 2048 pixels a side.

    Missing pixels are False in its ``valid``: a model is shown the mean of its processor there. In the value
    they have the mean of the others, band by band.

    Args:
        path: GeoTIFF, VRT, JPEG 2000, PNG or JPEG; a georeference is not needed.
        bands: see :class:`.options.RasterOptions`.
        sensor: likewise.
        nodata: likewise.
        scaling: "auto", or a stored profile of pictures.
        limits: ceilings of one input.
        show_paths: messages name the whole path.

    Raises:
        RasterError: see :meth:`.raster.Raster.open`.
        BandError: two bands, or more than three, without a choice.
        RasterReadError: no pixel of it is valid, or it is damaged.
        InputError: a PNG or JPEG is damaged.
        ConfigError: a scaling that does not give [0, 1].
    """
    options = RasterOptions(
        bands=bands,
        sensor=sensor,
        nodata=nodata,
        scaling=scaling,
        crs="",
        limits=limits,
        show_paths=show_paths,
    )
    if _is_plain_picture(path, options):
        # As pictures are decoded everywhere else; GDAL spreads the colors of a JPEG in another way.
        sample = load_plain_image(path, limits=limits, show_paths=show_paths)
        return replace(sample, value=_shrunk(_as_fractions(sample.value)))
    raster = Raster.open(path, options)
    if len(raster.bands) not in (1, 3):
        raise BandError(
            f"{raster.name}: has the bands {', '.join(raster.bands)}, and a picture is made of one or three. "
            "Pass bands=[...] in the order red, green, blue, or sensor='...'."
        )
    if not raster.profile.clip:
        raise ConfigError(
            f"scaling={scaling!r} gives no picture in [0, 1]; use 'auto' or a stored profile of pictures."
        )
    limits.check("pixels", _decoded(raster), what=f"{raster.name}: pixels")
    scale = max(1.0, max(raster.width, raster.height) / LONGEST_SIDE)
    size = (max(1, round(raster.height / scale)), max(1, round(raster.width / scale)))
    tile = raster.read((0, 0, raster.width, raster.height), size=size)
    raster.close()
    meta = {
        "width": raster.width,
        "height": raster.height,
        "bands": raster.bands,
        "scaling": raster.scaling,
        "valid_fraction": tile.valid_fraction,
    }
    if not bool(tile.mask.any()):
        raise RasterReadError(
            f"{raster.name}: no pixel of it is valid: all hold the number for missing data."
        )
    return Sample(tile.filled(), "image", meta, valid=None if bool(tile.mask.all()) else tile.mask)


def _is_plain_picture(path: str | os.PathLike[str], options: RasterOptions) -> bool:
    """Return whether a file is a JPEG, or a PNG of 8 bits without transparency, read in the usual way."""
    if options.with_(sensor=None, limits=DEFAULT, show_paths=False) != RasterOptions(crs=""):
        return False
    if options.sensor not in (None, "rgb8", "sentinel-2-rgb8") or not os.path.isfile(path):
        return False
    with open(path, "rb") as stream:
        head = stream.read(1024)
    depth_and_colors = head[24:26]
    plain_png = depth_and_colors in (b"\x08\x00", b"\x08\x02") and b"tRNS" not in head
    return driver_of(head) == "JPEG" or (driver_of(head) == "PNG" and plain_png)


def _as_fractions(value: torch.Tensor) -> torch.Tensor:
    return value if value.is_floating_point() else value.float().div_(255)


def _shrunk(value: torch.Tensor) -> torch.Tensor:
    height, width = value.shape[1:]
    scale = max(height, width) / LONGEST_SIDE
    if scale <= 1:
        return value
    size = [max(1, round(height / scale)), max(1, round(width / scale))]
    return torch.nn.functional.interpolate(value[None], size, mode="bilinear", antialias=True)[0]


def _decoded(raster: Raster) -> int:
    """Return how many pixels are decoded: those of the smallest overview that is large enough."""
    factors = [
        factor for factor in raster.overviews if max(raster.width, raster.height) / factor >= LONGEST_SIDE
    ]
    factor = max(factors, default=1)
    return raster.width * raster.height // factor**2
