"""Which tiles of a scene a model shall see, where the user does not say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..loaders.errors import GeoreferenceError
from ..tile_settings import tile_settings

if TYPE_CHECKING:
    from ....core.handle import ModelHandle
    from ..loaders.raster import Raster

_ALIKE = 1.5
"""Pixels that differ in size by less than this factor look the same to a model."""


@dataclass(frozen=True)
class WindowSize:
    """Pixels of a scene that make a tile.

    Attributes:
        pixels: of a side.
        read_px: pixels to read it at, or None for the scene's own.
        note: what the user should know, or "".
    """

    pixels: int
    read_px: int | None = None
    note: str = ""


def window_size(model: ModelHandle, raster: Raster, pixels: int | None = None) -> WindowSize:
    """Return the side of a tile of a scene that covers as much ground as the model was trained on.

    In a scene with finer pixels a tile has more of them, and is read at the size that the model knows. In one
    with coarser pixels, and for a model that does not say what it was trained on, a tile is as many pixels as
    the model sees.

    Args:
        model: with an image tower.
        raster: the scene.
        pixels: what the user asks for; None decides.

    Raises:
        GeoreferenceError: the scene's pixels have no size on the ground.
    """
    settings = tile_settings(model.config)
    image = model.processor.config.image
    seen = settings.tile_px or (image.size if image is not None else 224)
    if pixels is not None:
        return WindowSize(pixels)
    if settings.resolution_m is None or not raster.crs:
        return WindowSize(seen)
    pixel_m = raster.pixel_size_m
    if not pixel_m > 0:
        raise GeoreferenceError(
            f"{raster.name}: its pixels have no size on the ground: with the geotransform {raster.transform} "
            f"they lie outside of what {raster.crs[:40]} describes, or are a point. Is it the right system?"
        )
    factor = settings.resolution_m / pixel_m
    if factor >= _ALIKE:
        return WindowSize(round(seen * factor), seen)
    note = ""
    if factor * _ALIKE <= 1:
        note = (
            f"the pixels of {raster.name} are {pixel_m:.3g} m wide; {model.id} was "
            f"trained on {settings.resolution_m:.3g} m, so what it says here is a guess"
        )
    return WindowSize(seen, None, note)
