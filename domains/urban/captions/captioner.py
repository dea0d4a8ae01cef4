"""What writes captions: anything with this shape, and how its pictures come to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from ....core.errors import InputError
from ..loaders.records import TileImage

if TYPE_CHECKING:
    from PIL.Image import Image


class Captioner(Protocol):
    """Pictures in, one text each out."""

    @property
    def identity(self) -> Mapping[str, str]:
        """What decides about its texts (model, revision, settings); equal identity means equal texts."""
        ...

    def caption(self, images: Sequence[Any], *, names: Sequence[str] = (), seed: int = 0) -> list[str]:
        """Return one text per picture; a text may have several sentences.

        Args:
            images: B pictures: PIL images, or float tensors [3, H, W] in [0, 1].
            names: what the pictures are called, B of them or none; most captioners do not care.
            seed: of everything that is drawn; the same pictures and seed give the same texts.

        Raises:
            InputError: a picture cannot be used.
        """
        ...


def as_picture(tile: TileImage | Tensor) -> Tensor:
    """Return what a captioner looks at, float32 [3, H, W] in [0, 1].

    Pixels without data become the mean of the others: as black ones they would be described. One band
    becomes three equal ones.

    Args:
        tile: a tile, or a whole picture [C, H, W] in [0, 1].

    Raises:
        InputError: neither one band nor three, no valid pixel, or values beyond [0, 1].
    """
    image = tile.image if isinstance(tile, TileImage) else tile
    name = f"{tile.tile_id}: " if isinstance(tile, TileImage) and tile.tile_id else ""
    if image.ndim != 3 or image.shape[0] not in (1, 3):
        bands = image.shape[0] if image.ndim == 3 else list(image.shape)
        raise InputError(
            f"{name}a caption is written for a picture of one band or three (red, green, blue), and this has "
            f"{bands}. Say which bands to take."
        )
    image = image.float()
    if isinstance(tile, TileImage) and not bool(tile.mask.all()):
        if not bool(tile.mask.any()):
            raise InputError(f"{name}no pixel has data.")
        image = tile.filled().float()
    least, most = float(image.min()), float(image.max())
    # Comparisons with NaN are false.
    if not (least >= -1e-3 and most <= 1 + 1e-3):
        raise InputError(
            f"{name}values from {least:g} to {most:g}; a picture has 0 to 1. Read the raster with a scaling "
            'that gives pictures, such as "auto".'
        )
    return image.clamp(0, 1).expand(3, -1, -1)


def to_pil(image: Image | Tensor) -> Image:
    """Return a picture as an RGB image of Pillow; tensors are float [3, H, W] in [0, 1]."""
    from PIL import Image as Pillow

    if isinstance(image, Tensor):
        values = (image.detach().cpu() * 255).round().to(torch.uint8).permute(1, 2, 0)
        return Pillow.fromarray(values.contiguous().numpy(), "RGB")
    return image.convert("RGB")
