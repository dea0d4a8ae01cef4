"""A face turned, scaled and moved so that its five points lie where recognition models expect them."""

from __future__ import annotations

import math

import numpy as np

from ....core.errors import ConfigError, InputError, require
from .picture import check_picture

TEMPLATE = (
    (38.2946, 51.6963),
    (73.5318, 51.5014),
    (56.0252, 71.7366),
    (41.5493, 92.3655),
    (70.7299, 92.2041),
)
"""Right eye, left eye, nose tip, right and left corner of the mouth (the person's right, left in the picture)
as (x, y) in a picture of 112 x 112: the layout that face recognition models share since SphereFace."""
_TEMPLATE_SIZE = 112
_LARGEST = 4096
"""Side of the largest picture that is drawn on the way to an aligned face."""


def template(size: int, scale: float = 1.0) -> np.ndarray:
    """Return float64 [5, 2]: where the five points go in a picture of ``size`` x ``size``.

    With ``scale`` over 1 the points move towards the middle, so that more of the surroundings is seen.

    Raises:
        ConfigError: ``size`` is under 1 or ``scale`` is not over 0.
    """
    if size < 1:
        raise ConfigError(f"size is at least 1 pixel, got {size}.")
    if not (np.isfinite(scale) and scale > 0):
        raise ConfigError(f"scale is over 0, got {scale!r}.")
    middle = _TEMPLATE_SIZE / 2
    return ((np.asarray(TEMPLATE) - middle) / scale + middle) * (size / _TEMPLATE_SIZE)


def similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return float64 [2, 3]: the turn, scale and shift that brings ``source`` closest to ``target``.

    Minimizes the mean of ``|s R x + t - y|^2`` over rotations R, scales s > 0 and shifts t; mirrored
    solutions are excluded.

    Args:
        source, target: float [N, 2], N >= 2.

    Raises:
        InputError: points of another shape, not finite, or all in one place.

    Reference:
        Umeyama, Least-squares estimation of transformation parameters between two point patterns, 1991.
    """
    source, target = np.asarray(source, np.float64), np.asarray(target, np.float64)
    if source.shape != target.shape or source.ndim != 2 or source.shape[1] != 2 or len(source) < 2:
        raise InputError(f"Landmarks are two arrays [N, 2], got {source.shape} and {target.shape}.")
    if not (np.isfinite(source).all() and np.isfinite(target).all()):
        raise InputError("A landmark is not a finite number; the detector's output is damaged.")
    middle, goal = source.mean(axis=0), target.mean(axis=0)
    centered = source - middle
    spread = float((centered**2).sum(axis=1).mean())
    if spread < 1e-12:
        raise InputError("All landmarks of the face lie in one point; there is nothing to align.")
    covariance = (target - goal).T @ centered / len(source)
    left, values, right = np.linalg.svd(covariance)
    signs = np.array([1.0, np.sign(np.linalg.det(left) * np.linalg.det(right)) or 1.0])
    rotation = left @ np.diag(signs) @ right
    scale = float((values * signs).sum()) / spread
    return np.column_stack([scale * rotation, goal - scale * rotation @ middle])


def align_face(
    picture: np.ndarray, landmarks: np.ndarray, *, size: int = 224, scale: float = 1.0
) -> np.ndarray:
    """Return a face with its five points on the template, black where that leaves the picture.

    A face larger than the result is first drawn at a multiple of its size and then averaged down: skipping
    pixels of a large face would put moiré into bona fide pictures, which is what gives screens away.

    Args:
        picture: uint8 [H, W, 3], RGB.
        landmarks: float [5, 2] (x, y) in the order of :data:`TEMPLATE`.
        size: side of the result in pixels.
        scale: how many times the template's field of view is seen.

    Returns:
        uint8 [size, size, 3].

    Raises:
        InputError: no picture, or landmarks that are not five finite points.
        DependencyError: OpenCV is not installed.
    """
    check_picture(picture)
    if np.shape(landmarks) != (5, 2):
        raise InputError(f"Landmarks have shape {np.shape(landmarks)}, expected five points (x, y).")
    goal = template(size, scale)
    matrix = similarity(np.asarray(landmarks), goal)
    shrinks = 1 / math.hypot(matrix[0, 0], matrix[1, 0])
    # Up to 1.5 the four pixels of bilinear interpolation leave next to none out.
    times = min(max(1, math.ceil(shrinks - 0.5)), max(1, _LARGEST // size))
    if times > 1:
        matrix = similarity(np.asarray(landmarks), (goal + 0.5) * times - 0.5)
    cv2 = require("cv2", extra="liveness")
    side = size * times
    # Constant black, as for crops: see CropConfig.
    drawn = cv2.warpAffine(np.ascontiguousarray(picture), matrix, (side, side), flags=cv2.INTER_LINEAR)
    return drawn if times == 1 else cv2.resize(drawn, (size, size), interpolation=cv2.INTER_AREA)
