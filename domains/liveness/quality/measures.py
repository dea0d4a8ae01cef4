"""What the gates measure, each with its formula and unit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ....core.errors import InputError

GREY_SIZE = 112
"""Side of the grey face that sharpness is measured on."""
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_BLACK, _WHITE = 4, 251
"""Luma at which a pixel counts as clipped: within a rounding of lossy compression of 0 and 255."""


@dataclass(frozen=True)
class Light:
    """Brightness of a picture.

    Attributes:
        luma: mean, from 0 to 255.
        clipped: share of pixels with a luma of at most 4 or at least 251.
    """

    luma: float
    clipped: float


def grey(picture: np.ndarray) -> np.ndarray:
    """Return float32 [H, W] from 0 to 255 of uint8 [H, W, 3]: ``0.299 R + 0.587 G + 0.114 B`` (BT.601)."""
    return picture.astype(np.float32) @ _LUMA


def light_of(luma: np.ndarray) -> Light:
    """Return mean and clipped share of a grey picture, float32 [H, W] from 0 to 255."""
    return Light(float(luma.mean()), float(((luma <= _BLACK) | (luma >= _WHITE)).mean()))


def sharpness_of(luma: np.ndarray) -> float:
    """Return the variance of the Laplacian of a grey face, in squared steps of luma.

    The face is brought to 112 x 112 pixels first, so that the value depends little on the resolution of the
    camera: averaged over areas where it shrinks, linearly where it grows; the ratio of the sides is not kept.
    The Laplacian is ``f(x-1, y) + f(x+1, y) + f(x, y-1) + f(x, y+1) - 4 f(x, y)``, borders mirrored without
    repeating the edge.

    Args:
        luma: float32 [H, W] from 0 to 255.

    Reference:
        Pech-Pacheco et al., Diatom autofocusing in brightfield microscopy: a comparative study, 2000 (LAPV).
    """
    height, width = luma.shape
    small = _weights(height) @ luma.astype(np.float32) @ _weights(width).T
    padded = np.pad(small.astype(np.float64), 1, mode="reflect")
    inner = padded[1:-1, 1:-1]
    laplacian = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:] - 4 * inner
    return float(laplacian.var())


def _weights(length: int) -> np.ndarray:
    """Return float32 [112, length]: how much each of ``length`` pixels counts in each of 112."""
    if length >= GREY_SIZE:
        edges = np.arange(GREY_SIZE + 1) * (length / GREY_SIZE)
        pixels = np.arange(length)
        overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
        weights = np.clip(overlap, 0, None)
        return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    places = np.clip((np.arange(GREY_SIZE) + 0.5) * (length / GREY_SIZE) - 0.5, 0, length - 1)
    return np.clip(1 - np.abs(places[:, None] - np.arange(length)), 0, None).astype(np.float32)


def face_region(picture: np.ndarray, box: tuple[float, float, float, float]) -> np.ndarray:
    """Return the part of a picture inside a face box, uint8 [h, w, 3].

    Raises:
        InputError: the box has no pixel in the picture.
    """
    height, width = picture.shape[:2]
    x1, y1 = max(0, round(box[0])), max(0, round(box[1]))
    x2, y2 = min(width, round(box[2])), min(height, round(box[3]))
    if x1 >= x2 or y1 >= y2:
        raise InputError(
            f"The face box {tuple(round(value, 1) for value in box)} has no pixel in the picture of "
            f"{width} x {height}. Boxes are in pixels of the whole picture; pass face=None for a face crop."
        )
    return picture[y1:y2, x1:x2]


def crop_inside(box: tuple[float, float, float, float], scale: float, height: int, width: int) -> float:
    """Return which share of a box, enlarged by ``scale`` about its center, lies in the picture."""
    inside = 1.0
    for low, high, size in ((box[0], box[2], width), (box[1], box[3], height)):
        center, half = (low + high) / 2, (high - low) * scale / 2
        inside *= max(0.0, min(size, center + half) - max(0.0, center - half)) / (2 * half)
    return inside
