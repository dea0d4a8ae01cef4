"""What JPEG does to pictures, as tensors: the loss of its 8 x 8 cosine transform, without any file.

Reference: ITU-T T.81 (1992), annex K, tables K.1 and K.2; quality scaling as in libjpeg.
"""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor
from torch.nn import functional as F

from .errors import InputError

_LUMA = (
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56,
    14, 17, 22, 29, 51, 87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
)  # fmt: skip
_CHROMA = (
    17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99, 24, 26, 56, 99, 99, 99, 99, 99,
    47, 66, 99, 99, 99, 99, 99, 99, *(99,) * 32,
)  # fmt: skip


def jpeg_like(images: Tensor, quality: Tensor) -> Tensor:
    """Return pictures as they come back from JPEG files with color at half the resolution.

    Args:
        images: float32 [B, 1 or 3, H, W] in [0, 1].
        quality: [B], 1 to 100 on libjpeg's scale.

    Returns:
        float32 as ``images``.

    Raises:
        InputError: another number of channels.
    """
    channels, height, width = images.shape[1:]
    if channels not in (1, 3):
        raise InputError(f"JPEG pictures have 1 or 3 channels, got {channels}.")
    # Replicated borders, as encoders fill their last blocks.
    padded = F.pad(images * 255, (0, -width % 16, 0, -height % 16), mode="replicate")
    if channels == 1:
        found = _coded(padded - 128, _table(_LUMA, quality)) + 128
    else:
        to_ycc, from_ycc = _color_matrices()
        planes = torch.einsum("ij,bjhw->bihw", to_ycc, padded)
        luma = _coded(planes[:, :1] - 128, _table(_LUMA, quality)) + 128
        chroma = _coded(F.avg_pool2d(planes[:, 1:], 2), _table(_CHROMA, quality))
        chroma = F.interpolate(chroma, scale_factor=2, mode="bilinear", align_corners=False)
        found = torch.einsum("ij,bjhw->bihw", from_ycc, torch.cat([luma, chroma], dim=1))
    return found[:, :, :height, :width].round().clamp(0, 255) / 255


def _coded(planes: Tensor, table: Tensor) -> Tensor:
    """Return planes [B, P, H, W] with the transform of each block rounded to steps of ``table`` [B, 8, 8]."""
    count, number, height, width = planes.shape
    basis = _cosines()
    blocks = planes.view(count, number, height // 8, 8, width // 8, 8).transpose(3, 4)
    steps = table.view(count, 1, 1, 1, 8, 8)
    rounded = (basis @ blocks @ basis.T / steps).round() * steps
    return (basis.T @ rounded @ basis).transpose(3, 4).reshape(count, number, height, width)


def _table(base: tuple[int, ...], quality: Tensor) -> Tensor:
    """Return the steps float32 [B, 8, 8] of each quality."""
    quality = quality.float().clamp(1, 100)
    scale = torch.where(quality < 50, 5000 / quality, 200 - 2 * quality).floor().view(-1, 1, 1)
    steps = torch.tensor(base, dtype=torch.float32).view(1, 8, 8)
    return ((steps * scale + 50) / 100).floor().clamp(1, 255)


@functools.cache
def _cosines() -> Tensor:
    """Return the orthonormal cosine transform [8, 8], frequencies in rows."""
    place, frequency = torch.arange(8.0), torch.arange(8.0).view(-1, 1)
    basis = torch.cos((2 * place + 1) * frequency * math.pi / 16) / 2
    basis[0] /= math.sqrt(2)
    return basis


@functools.cache
def _color_matrices() -> tuple[Tensor, Tensor]:
    """Return RGB to YCbCr (color around 0) [3, 3], and back."""
    there = torch.tensor(
        [[0.299, 0.587, 0.114], [-0.168735892, -0.331264108, 0.5], [0.5, -0.418687589, -0.081312411]]
    )
    return there, torch.linalg.inv(there)
