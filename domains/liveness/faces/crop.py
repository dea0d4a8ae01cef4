"""The part of a picture a model looks at. Training and serving cut with this one function.

How much lies around the face is part of a model: paper edges, fingers and bezels are evidence of an
attack, and a tight crop deletes them. Crop settings are therefore stored with the weights.
"""

from __future__ import annotations

import math

import numpy as np
from pydantic import Field, model_validator

from ....core.config_base import Config
from ....core.errors import ConfigError, InputError, require
from ....core.limits import DEFAULT
from .align import align_face
from .detect import Face
from .picture import check_picture

ALIGNED_SIZE = 224
"""Side of an aligned face when ``size`` is left open."""


class CropConfig(Config):
    """How a face is cut out.

    Where a crop that is not shifted or aligned crop leaves the picture, the missing pixels are black.
    Mirrored or repeated pixels would invent texture, doubled paper edges and streaks next to real evidence;
    black is nothing else than "not seen", it is what the processors of the package pad with, and the gate
    ``face_inside`` bounds how much of it a model gets to see.
    """

    scale: float | None = Field(default=1.0, gt=0, le=16)
    """Sides of the crop over those of the detector's box, about its center; None takes the whole picture.
    Aligned: the aligned frame shows this many times the template's field of view."""
    align: bool = False
    """Turn, scale and move the five points onto the usual 112-pixel template. Cuts borders off: leave it
    off where paper or screen edges may be seen."""
    size: int | None = Field(default=None, ge=1, le=4096)
    """Side of the square result, by OpenCV's bilinear interpolation without antialiasing; the ratio of the
    sides is not kept. None leaves pixels as they are for the processor to resize (aligned: 224)."""
    shift: bool = False
    """Move a crop that leaves the picture inside it, and shrink one that is larger than the picture
    (MiniFASNet's rule): no pixel is invented, and the face may be off the middle."""
    square: bool = False
    """Take the longer side of the detector's box for both sides, before scaling."""

    @model_validator(mode="after")
    def _agrees(self) -> CropConfig:
        if self.align and self.shift:
            raise ValueError("align and shift exclude each other: an aligned face is turned, not moved")
        if self.align and self.scale is None:
            raise ValueError(
                "align needs a scale (1.0 is the template as it is); without one, set align false"
            )
        return self


def crop_face(picture: np.ndarray, face: Face | None, config: CropConfig) -> np.ndarray:
    """Return the part of a picture a model looks at.

    Example::

        crop = crop_face(picture, faces[0], CropConfig(scale=2.7, size=80, shift=True))   # [80, 80, 3]

    Args:
        picture: uint8 [H, W, 3], RGB, upright.
        face: what the detector found. None says that the picture is a crop already: it is used whole,
            whatever ``scale`` and ``align`` say, and resized to ``size``. Pass None only where the caller
            said so.
        config: the settings the model was trained with.

    Returns:
        uint8 [h, w, 3]: ``size`` x ``size``, or the pixels of the crop where no size is asked for.

    Raises:
        InputError: no picture, a box without area, or no landmarks to align with.
        LimitError: the crop is over the pixel ceiling.
        DependencyError: OpenCV is not installed and pixels have to be resized or turned.
    """
    check_picture(picture)
    if face is None or config.scale is None:
        return resize(picture, config.size)
    if config.align:
        if face.landmarks is None:
            raise InputError(
                "The face has no landmarks, and this model takes aligned faces. Use a detector that gives "
                "five points (yunet), or a model with align=False."
            )
        return align_face(picture, face.landmarks, size=config.size or ALIGNED_SIZE, scale=config.scale)
    return resize(_cut(picture, crop_box(face, config, *picture.shape[:2])), config.size)


def crop_box(face: Face, config: CropConfig, height: int, width: int) -> tuple[int, int, int, int]:
    """Return where the crop of a face lies, as half-open (x1, y1, x2, y2); it may leave the picture.

    For an aligned face this is the box that its detector's box and ``scale`` describe, which the aligned
    frame covers only roughly.

    Raises:
        InputError: the box has no area or is not finite.
    """
    if config.scale is None:
        return 0, 0, width, height
    box = _squared(face.box) if config.square else face.box
    if config.shift:
        x1, y1, x2, y2 = expand_box(box, config.scale, height, width)
        return x1, y1, x2 + 1, y2 + 1
    _check_box(box)
    spans = []
    for low, high in ((box[0], box[2]), (box[1], box[3])):
        # Rounding the length, not both ends: boxes of one size give crops of one size.
        length = max(1, round((high - low) * config.scale))
        start = round((low + high) / 2 - length / 2)
        spans.append((start, start + length))
    (x1, x2), (y1, y2) = spans
    return x1, y1, x2, y2


def expand_box(
    box: tuple[float, float, float, float], scale: float, height: int, width: int
) -> tuple[int, int, int, int]:
    """Return a box enlarged about its center and moved inside the picture, both ends inclusive.

    The factor is ``min((height - 1) / h, (width - 1) / w, scale)``. A box over the left or upper edge moves
    right or down, then one over the right or lower edge moves back; then the fraction is cut off.

    Args:
        box: half-open (x1, y1, x2, y2) in pixels; w = x2 - x1.
        scale: sides of the result over those of the box.
        height, width: of the picture.

    Returns:
        (x1, y1, x2, y2) with 0 <= x1 <= x2 <= width - 1: the last pixel is part of the crop.

    Raises:
        InputError: the box has no area or is not finite. ConfigError: ``scale`` is not over 0.

    Reference:
        minivision-ai/Silent-Face-Anti-Spoofing, the patch generation that its models were trained with.
    """
    _check_box(box)
    if not (math.isfinite(scale) and scale > 0):
        raise ConfigError(f"scale is over 0, got {scale!r}.")
    if height < 1 or width < 1:
        raise InputError(f"A picture of {width} x {height} pixels has no place for a face.")
    w, h = box[2] - box[0], box[3] - box[1]
    scale = _with_room(box, scale, height, width)
    x1, x2 = _span(box[0], w, scale, width)
    y1, y2 = _span(box[1], h, scale, height)
    return x1, y1, x2, y2


def reached_scale(face: Face, config: CropConfig, height: int, width: int) -> float | None:
    """Return the scale that :func:`expand_box` gives a crop: its own, or as much as the picture has room for.

    None for a crop that is not shifted, and so is never shrunk.

    Raises:
        InputError: the box has no area or is not finite.
    """
    if not config.shift or config.scale is None:
        return None
    box = _squared(face.box) if config.square else face.box
    _check_box(box)
    return max(0.0, _with_room(box, config.scale, height, width))


def _with_room(box: tuple[float, float, float, float], scale: float, height: int, width: int) -> float:
    return min((height - 1) / (box[3] - box[1]), (width - 1) / (box[2] - box[0]), scale)


def _span(start: float, length: float, scale: float, size: int) -> tuple[int, int]:
    """Return both inclusive ends along one axis."""
    # The order of these sums decides what the cut-off fraction is; it is the published models'.
    center, half = length / 2 + start, length * scale / 2
    low, high = center - half, center + half
    if low < 0:
        low, high = 0.0, high - low
    if high > size - 1:
        low, high = low - (high - size + 1), float(size - 1)
    return max(0, int(low)), min(size - 1, max(0, int(high)))


def _squared(box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    center_x, center_y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    half = max(box[2] - box[0], box[3] - box[1]) / 2
    return center_x - half, center_y - half, center_x + half, center_y + half


def _check_box(box: tuple[float, float, float, float]) -> None:
    if not all(math.isfinite(value) for value in box) or box[2] <= box[0] or box[3] <= box[1]:
        raise InputError(
            f"The face box {tuple(box)} has no area; a box is (x1, y1, x2, y2) in pixels with x1 < x2 and "
            "y1 < y2, not (x, y, width, height)."
        )


def _cut(picture: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
    """Return uint8 [h, w, 3] of a half-open box, black where it leaves the picture."""
    x1, y1, x2, y2 = box
    height, width = picture.shape[:2]
    if x1 >= 0 and y1 >= 0 and x2 <= width and y2 <= height:
        return np.ascontiguousarray(picture[y1:y2, x1:x2])
    DEFAULT.check("pixels", (x2 - x1) * (y2 - y1), what="the crop of the face: pixels")
    result = np.zeros((y2 - y1, x2 - x1, 3), np.uint8)
    left, top, right, bottom = max(x1, 0), max(y1, 0), min(x2, width), min(y2, height)
    if left < right and top < bottom:
        result[top - y1 : bottom - y1, left - x1 : right - x1] = picture[top:bottom, left:right]
    return result


def resize(picture: np.ndarray, size: int | None) -> np.ndarray:
    """Return uint8 [size, size, 3] by OpenCV's bilinear interpolation, or the picture itself without a size.

    Raises:
        DependencyError: OpenCV is not installed.
    """
    if size is None or picture.shape[:2] == (size, size):
        return picture
    cv2 = require("cv2", extra="liveness")
    return cv2.resize(np.ascontiguousarray(picture), (size, size), interpolation=cv2.INTER_LINEAR)
