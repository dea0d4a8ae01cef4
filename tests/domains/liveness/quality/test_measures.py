"""What the gates measure, against OpenCV and against numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from verticlip.core.errors import InputError
from verticlip.domains.liveness.quality.measures import (
    Light,
    crop_inside,
    face_region,
    grey,
    light_of,
    sharpness_of,
)


def test_grey_is_luma_of_bt_601() -> None:
    picture = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]]], np.uint8)
    assert grey(picture)[0] == pytest.approx([76.245, 149.685, 29.07, 255])


def test_light() -> None:
    luma = np.full((10, 10), 100.0, np.float32)
    luma[:2] = 0
    luma[9] = 255
    assert light_of(luma) == Light(pytest.approx(95.5), pytest.approx(0.3))
    assert light_of(np.full((4, 4), 5.0, np.float32)).clipped == 0
    assert light_of(np.full((4, 4), 4.0, np.float32)).clipped == 1


def test_sharpness_is_the_variance_of_opencvs_laplacian() -> None:
    cv2 = pytest.importorskip("cv2", reason="the liveness extra is not installed")
    luma = np.random.default_rng(0).uniform(0, 255, (112, 112)).astype(np.float32)
    expected = cv2.Laplacian(luma.astype(np.float64), cv2.CV_64F).var()
    assert sharpness_of(luma) == pytest.approx(expected, rel=1e-6)
    for shape, resizing in (((300, 251), cv2.INTER_AREA), ((50, 80), cv2.INTER_LINEAR)):
        luma = np.random.default_rng(0).uniform(0, 255, shape).astype(np.float32)
        small = cv2.resize(luma, (112, 112), interpolation=resizing)
        assert sharpness_of(luma) == pytest.approx(
            cv2.Laplacian(small.astype(np.float64), cv2.CV_64F).var(), rel=1e-4
        )


def test_sharpness_by_hand() -> None:
    luma = np.zeros((112, 112), np.float32)
    luma[50, 60] = 10
    # One point: -40 on it and 10 on its four neighbours.
    assert sharpness_of(luma) == pytest.approx((40**2 + 4 * 10**2) / 112**2)
    ramp = np.arange(112, dtype=np.float32)[None].repeat(112, axis=0)
    assert sharpness_of(ramp) < 0.1, "an even gradient is not sharp"


def test_sharpness_falls_with_blur_and_does_not_follow_resolution() -> None:
    rng = np.random.default_rng(0)
    coarse = rng.uniform(0, 255, (28, 28)).astype(np.float32)
    values = [sharpness_of(coarse.repeat(times, axis=0).repeat(times, axis=1)) for times in (4, 8, 16)]
    assert values[1:] == pytest.approx(values[:-1], rel=1e-4)
    sharp = coarse.repeat(8, axis=0).repeat(8, axis=1)
    blurred = sharp
    found = [sharpness_of(sharp)]
    for _ in range(3):
        for axis in (0, 1):
            blurred = sum(np.roll(blurred, shift, axis) for shift in range(-4, 5)) / 9
        found.append(sharpness_of(blurred.astype(np.float32)))
    assert found == sorted(found, reverse=True)
    assert found[-1] < 0.02 * found[0]


def test_the_part_inside_the_box() -> None:
    picture = np.arange(20 * 30 * 3, dtype=np.uint32).astype(np.uint8).reshape(20, 30, 3)
    assert np.array_equal(face_region(picture, (2.4, 3.6, 9.9, 50.0)), picture[4:20, 2:10])
    with pytest.raises(InputError, match="has no pixel in the picture of 30 x 20. Boxes are in pixels"):
        face_region(picture, (40.0, 0.0, 50.0, 10.0))


def test_share_of_a_crop_inside() -> None:
    assert crop_inside((10, 10, 20, 20), 1.0, 30, 30) == 1
    assert crop_inside((10, 10, 20, 20), 3.0, 30, 30) == 1
    assert crop_inside((10, 10, 20, 20), 6.0, 30, 30) == pytest.approx(0.25)
    assert crop_inside((-5, 0, 5, 10), 1.0, 30, 30) == pytest.approx(0.5)
    assert crop_inside((-20, 0, -5, 10), 1.0, 30, 30) == 0
