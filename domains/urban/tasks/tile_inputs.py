"""How a tile is shown to a model: its pixels in [0, 1], invalid ones as the mean."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ....core.errors import InputError
from ....core.types import Sample

if TYPE_CHECKING:
    from torch import Tensor

    from ....core.handle import ModelHandle
    from ..loaders.records import TileImage


def tile_tensor(model: ModelHandle, tile: TileImage) -> Tensor:
    """Return a tile as the model's processor takes it, float32 [C, S, S] in [0, 1].

    Invalid pixels get the mean that normalization subtracts, so that the network sees 0 there.

    Args:
        model: with an image tower.
        tile: image float32 [C, H, W] in [0, 1] with as many bands as the tower has channels, or one.

    Raises:
        InputError: no valid pixel, another number of bands, or values outside of [0, 1].
    """
    config = model.processor.config.image
    if config is None:
        raise InputError(f"{model.id} takes no images, so no tiles.")
    name = f"tile {tile.tile_id!r}"
    bands = len(tile.image)
    if bands not in (1, config.channels):
        raise InputError(
            f"{name} has {bands} bands; {model.id} takes {config.channels}. Open the scene with bands=... "
            "that name them, for example red, green and blue."
        )
    if not bool(tile.mask.any()):
        raise InputError(f"{name} has no valid pixel.")
    # Missing pixels are 0 here, and what is shown for them is the processor's to say.
    low, high = (float(bound) for bound in tile.image.aminmax())
    # Comparisons with NaN are false.
    if not (low >= -1e-3 and high <= 1 + 1e-3):
        raise InputError(
            f"{name}: values from {low:g} to {high:g} where a picture has 0 to 1. Open the scene with "
            'scaling="auto", or with the sensor that it comes from.'
        )
    return model.processor.fit_image(Sample(tile.image, "image", valid=tile.mask), name=name)
