"""Angles of synthetic heads, known because they were turned by them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from verticlip.core.errors import InputError
from verticlip.domains.liveness.faces.align import TEMPLATE
from verticlip.domains.liveness.faces.pose import HEAD, head_pose

YAW, PITCH, ROLL = 0, 1, 2


def seen(angles: tuple[float, float, float], *, distance_mm: float = math.inf, head=HEAD) -> np.ndarray:
    """Return float64 [5, 2]: the points of a head turned by (yaw, pitch, roll) degrees, 3 pixels a mm."""
    yaw, pitch, roll = (math.radians(angle) for angle in angles)
    x = np.array([[1, 0, 0], [0, math.cos(pitch), -math.sin(pitch)], [0, math.sin(pitch), math.cos(pitch)]])
    y = np.array([[math.cos(yaw), 0, math.sin(yaw)], [0, 1, 0], [-math.sin(yaw), 0, math.cos(yaw)]])
    z = np.array([[math.cos(roll), -math.sin(roll), 0], [math.sin(roll), math.cos(roll), 0], [0, 0, 1]])
    points = np.asarray(head) @ (z @ y @ x).T
    nearer = 1.0 if math.isinf(distance_mm) else distance_mm / (distance_mm - points[:, 2:])
    return 3 * points[:, :2] * nearer + [400, 300]


GRID = [
    (yaw, pitch, roll) for yaw in (-60, -30, 0, 30) for pitch in (-40, 0, 25) for roll in (-45, 0, 30, 90)
]


@pytest.mark.parametrize("angles", GRID)
def test_a_far_camera_gives_the_angles_back(angles) -> None:
    pose = head_pose(seen(angles))
    assert (pose.yaw, pose.pitch, pose.roll) == pytest.approx(angles, abs=1e-6)


@pytest.mark.parametrize("angles", [angles for angles in GRID if abs(angles[0]) <= 30])
def test_at_arms_length_a_few_degrees_are_lost(angles) -> None:
    pose = head_pose(seen(angles, distance_mm=500))
    assert (pose.yaw, pose.pitch, pose.roll) == pytest.approx(angles, abs=4)


def test_other_faces_and_noise() -> None:
    rng = np.random.default_rng(0)
    errors = []
    for _ in range(300):
        angles = tuple(rng.uniform(-30, 30, 3))
        head = np.asarray(HEAD) * rng.normal(1, 0.05, 3) + rng.normal(0, 1.0, (5, 3))
        found = head_pose(seen(angles, distance_mm=600, head=head) + rng.normal(0, 2.0, (5, 2)))
        errors.append([found.yaw - angles[0], found.pitch - angles[1], found.roll - angles[2]])
    spread = np.abs(errors).mean(axis=0)
    assert spread[YAW] < 3.5
    assert spread[PITCH] < 5
    assert spread[ROLL] < 2


def test_signs() -> None:
    points = np.asarray(TEMPLATE)
    right, up = points.copy(), points.copy()
    right[2, 0] += 8
    up[2, 1] -= 8
    assert head_pose(right).yaw > 10, "the nose points to the right of the picture"
    assert head_pose(up).pitch > 10, "the face looks up"
    clockwise = np.array([[math.cos(0.3), -math.sin(0.3)], [math.sin(0.3), math.cos(0.3)]])
    assert head_pose(points @ clockwise.T).roll == pytest.approx(math.degrees(0.3), abs=1)


def test_the_template_looks_straight_ahead() -> None:
    pose = head_pose(np.asarray(TEMPLATE))
    assert max(abs(pose.yaw), abs(pose.pitch), abs(pose.roll)) < 3


def test_size_place_and_turning_the_picture_change_nothing_else() -> None:
    points = seen((20, -10, 5))
    first, second = head_pose(points), head_pose(points * 0.1 + [-50, 7])
    assert (first.yaw, first.pitch, first.roll) == pytest.approx((second.yaw, second.pitch, second.roll))
    quarter = head_pose(np.stack([-points[:, 1], points[:, 0]], axis=1))
    assert (quarter.yaw, quarter.pitch, quarter.roll) == pytest.approx((20, -10, 95))


def test_points_without_a_pose() -> None:
    with pytest.raises(InputError, match="five finite points"):
        head_pose(np.zeros((4, 2)))
    with pytest.raises(InputError, match="five finite points"):
        head_pose(np.full((5, 2), np.nan))
    with pytest.raises(InputError, match="one line or in one point"):
        head_pose(np.ones((5, 2)))
    with pytest.raises(InputError, match="one line or in one point"):
        head_pose(np.stack([np.arange(5.0), np.arange(5.0)], axis=1))
