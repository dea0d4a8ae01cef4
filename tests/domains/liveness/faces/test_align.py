"""Five points onto the template."""

from __future__ import annotations

import math

import numpy as np
import pytest
from verticlip.core.errors import ConfigError, InputError
from verticlip.domains.liveness.faces import align
from verticlip.domains.liveness.faces.align import TEMPLATE, align_face, similarity, template


def turned(points: np.ndarray, degrees: float, scale: float, shift: tuple[float, float]) -> np.ndarray:
    angle = math.radians(degrees)
    matrix = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    return scale * points @ matrix.T + np.asarray(shift)


@pytest.mark.parametrize("degrees", [0, 17.5, -90, 179])
@pytest.mark.parametrize("scale", [0.2, 1.0, 5.5])
def test_a_similarity_is_found_again(degrees, scale) -> None:
    points = np.asarray(TEMPLATE)
    moved = turned(points, degrees, scale, (40.0, -7.5))
    matrix = similarity(moved, points)
    assert np.allclose(moved @ matrix[:, :2].T + matrix[:, 2], points, atol=1e-9)
    assert math.hypot(matrix[0, 0], matrix[1, 0]) == pytest.approx(1 / scale)
    assert np.linalg.det(matrix[:, :2]) > 0


def test_the_least_squares_of_scikit_image() -> None:
    transform = pytest.importorskip("skimage.transform", reason="cross-check only")
    rng = np.random.default_rng(0)
    for _ in range(20):
        source, target = rng.normal(size=(5, 2)) * 30, rng.normal(size=(5, 2)) * 30
        expected = transform.estimate_transform("similarity", source, target).params[:2]
        assert np.allclose(similarity(source, target), expected, atol=1e-9)


def test_a_mirrored_face_is_turned_and_not_mirrored() -> None:
    points = np.asarray(TEMPLATE)
    matrix = similarity(points * [-1, 1], points)
    assert np.linalg.det(matrix[:, :2]) > 0


def test_the_template_scales() -> None:
    assert np.array_equal(template(112), TEMPLATE)
    assert np.allclose(template(224), 2 * np.asarray(TEMPLATE))
    assert np.allclose(template(112, 2.0), (np.asarray(TEMPLATE) - 56) / 2 + 56)
    with pytest.raises(ConfigError, match="size is at least 1"):
        template(0)
    with pytest.raises(ConfigError, match="scale is over 0"):
        template(112, 0.0)


def spots(points: np.ndarray, height: int, width: int, radius: float) -> np.ndarray:
    """Return a dark picture with a bright spot at each point."""
    rows, columns = np.mgrid[:height, :width]
    picture = np.full((height, width), 20.0)
    for x, y in points:
        picture += 200 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * radius**2))
    return np.clip(picture, 0, 255).astype(np.uint8)[..., None].repeat(3, axis=2)


@pytest.mark.parametrize("scale", [0.6, 1.7, 4.3])
@pytest.mark.parametrize("size", [112, 224])
def test_points_of_a_picture_land_on_the_template(scale, size) -> None:
    pytest.importorskip("cv2", reason="the liveness extra is not installed")
    points = turned(np.asarray(TEMPLATE), 25, scale, (60 * scale + 20, 10))
    picture = spots(points, 900, 900, 3 * scale)
    aligned = align_face(picture, points.astype(np.float32), size=size)
    assert aligned.shape == (size, size, 3)
    rows, columns = np.mgrid[:size, :size]
    for x, y in template(size):
        near = np.hypot(columns - x, rows - y) < size / 16
        weight = (aligned[..., 0] * near).clip(40) - 40.0
        center = (weight * columns).sum() / weight.sum(), (weight * rows).sum() / weight.sum()
        assert math.dist(center, (x, y)) < 0.6


def test_a_large_face_is_averaged_and_not_skipped_through() -> None:
    # Lines of one pixel, seven times finer than the result: skipping would show stripes that are not there.
    picture = np.zeros((1600, 1600, 3), np.uint8)
    picture[::2] = 255
    points = np.asarray(TEMPLATE) * 14.3
    aligned = align_face(picture, points, size=112)
    assert aligned[10:-10, 10:-10].std() < 6
    assert aligned[10:-10, 10:-10].mean() == pytest.approx(127.5, abs=4)


def test_pixels_outside_of_the_picture_are_black() -> None:
    picture = np.full((112, 112, 3), 255, np.uint8)
    aligned = align_face(picture, np.asarray(TEMPLATE), size=112, scale=2.0)
    assert aligned[56, 56].tolist() == [255, 255, 255]
    assert aligned[5, 5].tolist() == [0, 0, 0]
    assert (align_face(picture, np.asarray(TEMPLATE), size=112)[1:-1, 1:-1] == 255).all()


def test_what_cannot_be_aligned() -> None:
    picture = np.zeros((20, 20, 3), np.uint8)
    with pytest.raises(InputError, match=r"shape \(4, 2\), expected five points"):
        align_face(picture, np.zeros((4, 2)))
    with pytest.raises(InputError, match="lie in one point"):
        align_face(picture, np.ones((5, 2)))
    with pytest.raises(InputError, match="not a finite number"):
        align_face(picture, np.full((5, 2), np.nan))
    with pytest.raises(InputError, match=r"two arrays \[N, 2\]"):
        similarity(np.zeros((5, 2)), np.zeros((4, 2)))


def test_tiny_faces_do_not_ask_for_huge_pictures(monkeypatch) -> None:
    pytest.importorskip("cv2", reason="the liveness extra is not installed")
    monkeypatch.setattr(align, "_LARGEST", 300)
    picture = np.zeros((600, 600, 3), np.uint8)
    assert align_face(picture, np.asarray(TEMPLATE) * 5, size=112).shape == (112, 112, 3)
