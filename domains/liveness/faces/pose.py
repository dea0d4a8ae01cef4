"""How a head is turned, from five points."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ....core.errors import InputError

HEAD = (
    (-31.5, -36.0, -28.0),
    (31.5, -36.0, -28.0),
    (0.0, 0.0, 0.0),
    (-26.0, 36.5, -24.0),
    (26.0, 36.5, -24.0),
)
"""Right eye, left eye, nose tip, right and left corner of the mouth of a generic head, in mm: x to the right
and y down as a camera sees it, z towards the camera. PROJECT CHOICE: the proportions of the 112-template made
symmetric, 63 mm between the pupils, and a nose that stands 24 to 28 mm out."""


@dataclass(frozen=True)
class Pose:
    """Turn of a head in degrees; all are 0 for a face that looks straight into an upright camera.

    Attributes:
        yaw: about the vertical axis, positive when the nose points to the right of the picture.
        pitch: about the axis through the ears, positive when the face looks up.
        roll: in the plane of the picture, positive when the head is tilted clockwise.
    """

    yaw: float
    pitch: float
    roll: float


def head_pose(landmarks: np.ndarray) -> Pose:
    """Return the pose that brings a generic head's five points closest to those of a face.

    A camera far from the head is assumed (scaled orthographic projection, good from about arm's length). The
    best 2 x 3 affine map from the head to the picture is fitted by least squares and replaced by the nearest
    scaled rotation, whose angles are returned. Faces differ from the generic one: expect a few degrees of
    error, most of it in pitch.

    Args:
        landmarks: float [5, 2], in the order of :attr:`.detect.Face.landmarks`.

    Raises:
        InputError: not five finite points, or all of them on one line.

    Reference:
        DeMenthon and Davis, Model-based object pose in 25 lines of code, 1995 (its first step, POS).
    """
    points = np.asarray(landmarks, np.float64)
    if points.shape != (5, 2) or not np.isfinite(points).all():
        raise InputError(f"A pose takes five finite points (x, y), got an array of shape {points.shape}.")
    head = np.asarray(HEAD)
    affine = np.linalg.lstsq(head - head.mean(axis=0), points - points.mean(axis=0), rcond=None)[0].T
    left, scales, right = np.linalg.svd(affine, full_matrices=False)
    if scales[1] < 1e-3 * scales[0] or scales[0] < 1e-9:
        raise InputError("The five points of the face lie on one line or in one point; there is no pose.")
    first, second = left @ right
    return _angles(np.stack([first, second, np.cross(first, second)]))


def _angles(rotation: np.ndarray) -> Pose:
    """Return the angles of R = Rz(roll) Ry(yaw) Rx(pitch): turning the picture changes the roll alone."""
    yaw = np.arctan2(-rotation[2, 0], np.hypot(rotation[0, 0], rotation[1, 0]))
    pitch = np.arctan2(rotation[2, 1], rotation[2, 2])
    roll = np.arctan2(rotation[1, 0], rotation[0, 0])
    return Pose(*(float(np.degrees(angle)) for angle in (yaw, pitch, roll)))
