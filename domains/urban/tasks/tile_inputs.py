"""How a tile is shown to a model: its pixels in [0, 1], invalid ones as the mean."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ....core.errors import InputError

if TYPE_CHECKING:
    from ....core.config import ImageProcessing
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
    filled = torch.where(tile.mask, tile.image, _fill(config, tile))
    low, high = (float(bound) for bound in filled.aminmax())
    if low < -1e-3 or high > 1 + 1e-3:
        raise InputError(
            f"{name}: values from {low:g} to {high:g} where a picture has 0 to 1. Open the scene with "
            'scaling="auto", or with the sensor that it comes from.'
        )
    return model.processor.fit_image(filled.clamp(0, 1), name=name)


def _fill(config: ImageProcessing, tile: TileImage) -> Tensor:
    """Return the value of invalid pixels per band, float32 [C, 1, 1]."""
    bands = len(tile.image)
    if config.standardize is not None:
        # Such a processor subtracts the picture's own mean.
        return torch.stack([band[tile.mask].mean() for band in tile.image]).view(-1, 1, 1)
    mean = torch.tensor(config.mean)
    return (mean if bands == config.channels else mean.mean().expand(bands)).view(-1, 1, 1)
