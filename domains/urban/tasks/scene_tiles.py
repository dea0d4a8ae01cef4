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
        GeoreferenceError: the scene's pixels have no size on the ground, and ``pixels`` are not given.
    """
    settings = tile_settings(model.config)
    image = model.processor.config.image
    seen = settings.tile_px or (image.size if image is not None else 224)
    if settings.resolution_m is None or not raster.crs:
        return WindowSize(pixels or seen)
    pixel_m = raster.pixel_size_m
    if not pixel_m > 0:
        if pixels is not None:
            return WindowSize(pixels)
        raise GeoreferenceError(
            f"{raster.name}: its pixels have no size on the ground: with the geotransform {raster.transform} "
            f"they lie outside of what {raster.crs[:40]} describes, or are a point. Is it the right system?"
        )
    factor = settings.resolution_m / pixel_m
    if pixels is None and factor >= _ALIKE:
        return WindowSize(round(seen * factor), seen)
    side = pixels or seen
    share = side / (seen * factor)
    note = ""
    if factor * _ALIKE <= 1:
        note = (
            f"the pixels of {raster.name} are {pixel_m:.3g} m wide; {model.id} was "
            f"trained on {settings.resolution_m:.3g} m, so what it says here is a guess"
        )
    elif max(share, 1 / share) >= _ALIKE:
        note = (
            f"a tile of {side} pixels of {raster.name} covers {side * pixel_m:.0f} m; {model.id} was trained "
            f"on {seen * settings.resolution_m:.0f} m, which are {round(seen * factor)} pixels here"
        )
    return WindowSize(side, None, note)


def scaling_note(model: ModelHandle, raster: Raster) -> str:
    """Return what to know where a scene's numbers became colors by a guess, or ""."""
    sensor = tile_settings(model.config).sensor
    if sensor is None or raster.scaling.get("mode") != "stretch":
        return ""
    return (
        f"no sensor of {raster.name} is known, so its numbers were stretched between their 2nd and 98th "
        f"percentile; {model.id} was trained on {sensor}. Name the sensor with sensor= (--sensor)"
    )
