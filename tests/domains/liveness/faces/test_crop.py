"""Where a face is cut out: the published rule to the pixel, and what happens at the border."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from verticlip.core.errors import ConfigError, InputError, LimitError
from verticlip.domains.liveness.faces import crop
from verticlip.domains.liveness.faces.crop import CropConfig, crop_box, crop_face, expand_box
from verticlip.domains.liveness.faces.detect import Face

GOLDENS = Path(__file__).parents[3] / "golden" / "clipc8"
CASES = [path for path in sorted(GOLDENS.glob("*/config.json")) if "crop" in json.loads(path.read_text())]


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.parent.name)
def test_boxes_of_the_reference(path) -> None:
    config = json.loads(path.read_text())
    stored = config["crop"]
    for (x, y, w, h), expected in zip(
        stored["face_boxes_xywh"], stored["expected_xyxy_inclusive"], strict=True
    ):
        found = expand_box(
            (x, y, x + w, y + h), config["crop_scale"], stored["image_height"], stored["image_width"]
        )
        assert found == tuple(expected)


def in_words(box: tuple[int, int, int, int], scale: float, height: int, width: int) -> tuple[int, ...]:
    """Return the rule of the reference as the spec words it, in exact fractions."""
    from fractions import Fraction as Exact

    x1, y1, x2, y2 = (Exact(value) for value in box)
    w, h = x2 - x1, y2 - y1
    factor = min((height - 1) / h, (width - 1) / w, Exact(scale))
    spans = []
    for low, length, size in ((x1, w, width), (y1, h, height)):
        center, half = low + length / 2, length * factor / 2
        start, end = center - half, center + half
        if start < 0:
            start, end = Exact(0), end - start
        if end > size - 1:
            start, end = start - (end - (size - 1)), Exact(size - 1)
        spans.append((math.trunc(start), math.trunc(end)))
    return spans[0][0], spans[1][0], spans[0][1], spans[1][1]


@st.composite
def boxes(draw):
    height, width = draw(st.integers(8, 900)), draw(st.integers(8, 900))
    w, h = draw(st.integers(1, width)), draw(st.integers(1, height))
    x, y = draw(st.integers(-w // 2, width - w // 2)), draw(st.integers(-h // 2, height - h // 2))
    return (x, y, x + w, y + h), height, width


@settings(deadline=None, max_examples=300)
@given(boxes(), st.sampled_from([0.5, 1.0, 1.5, 2.0, 2.75, 4.0]))
def test_the_rule_holds_for_any_picture(given_box, scale) -> None:
    box, height, width = given_box
    x1, y1, x2, y2 = expand_box(box, scale, height, width)
    assert 0 <= x1 <= x2 <= width - 1
    assert 0 <= y1 <= y2 <= height - 1
    expected = in_words(box, scale, height, width)
    # Where the exact end is a whole number, rounding may cut off one pixel, in the reference as well.
    assert all(abs(a - b) <= 1 for a, b in zip((x1, y1, x2, y2), expected, strict=True))
    factor = min((height - 1) / (box[3] - box[1]), (width - 1) / (box[2] - box[0]), scale)
    assert x2 - x1 == pytest.approx(factor * (box[2] - box[0]), abs=1.01), "the ratio of the sides is kept"
    assert y2 - y1 == pytest.approx(factor * (box[3] - box[1]), abs=1.01)
    assert crop_box(Face(box), CropConfig(scale=scale, shift=True), height, width) == (x1, y1, x2 + 1, y2 + 1)


@settings(deadline=None, max_examples=200)
@given(boxes())
def test_a_box_well_inside_keeps_its_center(given_box) -> None:
    box, height, width = given_box
    x1, _, x2, _ = expand_box(box, 1.0, height, width)
    if box[0] >= 0 and box[2] <= width - 1 and box[2] - box[0] <= width - 1 and box[3] - box[1] <= height - 1:
        assert abs(x1 - box[0]) <= 1
        assert abs(x2 - box[2]) <= 1


def test_both_ends_are_part_of_the_crop() -> None:
    picture = np.arange(30 * 40 * 3, dtype=np.uint32).astype(np.uint8).reshape(30, 40, 3)
    cut = crop_face(picture, Face((10, 10, 20, 16)), CropConfig(scale=2.0, shift=True))
    x1, y1, x2, y2 = expand_box((10, 10, 20, 16), 2.0, 30, 40)
    assert (x1, y1, x2, y2) == (5, 7, 25, 19)
    assert np.array_equal(cut, picture[7:20, 5:26])


def test_resizing_is_bilinear_without_antialiasing() -> None:
    cv2 = pytest.importorskip("cv2", reason="the liveness extra is not installed")
    picture = np.random.default_rng(0).integers(0, 256, (300, 200, 3), np.uint8)
    cut = crop_face(picture, Face((50, 60, 120, 160)), CropConfig(scale=1.8, size=80, shift=True))
    x1, y1, x2, y2 = expand_box((50, 60, 120, 160), 1.8, 300, 200)
    assert np.array_equal(cut, cv2.resize(picture[y1 : y2 + 1, x1 : x2 + 1], (80, 80)))
    assert cut.shape == (80, 80, 3)


def test_missing_pixels_are_black_and_seen_ones_stay_in_place() -> None:
    picture = np.full((20, 30, 3), 200, np.uint8)
    cut = crop_face(picture, Face((-4, 12, 8, 22)), CropConfig(scale=1.5))
    assert crop_box(Face((-4, 12, 8, 22)), CropConfig(scale=1.5), 20, 30) == (-7, 10, 11, 25)
    assert cut.shape == (15, 18, 3)
    assert (cut[:10, 7:] == 200).all()
    assert (cut[10:] == 0).all()
    assert (cut[:, :7] == 0).all()


@settings(deadline=None, max_examples=200)
@given(boxes(), st.sampled_from([0.5, 1.0, 1.3, 2.7]), st.booleans())
def test_crops_that_are_not_shifted_keep_center_and_ratio(given_box, scale, square) -> None:
    box, height, width = given_box
    config = CropConfig(scale=scale, square=square)
    x1, y1, x2, y2 = crop_box(Face(box), config, height, width)
    w, h = box[2] - box[0], box[3] - box[1]
    if square:
        w = h = max(w, h)
        assert x2 - x1 == y2 - y1
    assert x2 - x1 == max(1, round(w * scale))
    assert abs((x1 + x2) / 2 - (box[0] + box[2]) / 2) <= 0.51
    assert abs((y1 + y2) / 2 - (box[1] + box[3]) / 2) <= 0.51
    cut = crop_face(np.full((height, width, 3), 7, np.uint8), Face(box), config)
    assert cut.shape == (y2 - y1, x2 - x1, 3)
    seen = max(0, min(x2, width) - max(x1, 0)) * max(0, min(y2, height) - max(y1, 0))
    assert int((cut == 7).sum()) == 3 * seen


def test_whole_pictures_and_crops_made_before() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8)
    face = Face((3, 3, 9, 9))
    assert crop_face(picture, face, CropConfig(scale=None)) is picture
    assert crop_face(picture, None, CropConfig(scale=2.7, shift=True)) is picture
    assert crop_face(picture, None, CropConfig(align=True, size=16)).shape == (16, 16, 3)
    assert crop_box(face, CropConfig(scale=None), 40, 30) == (0, 0, 30, 40)


def test_alignment_needs_landmarks() -> None:
    picture = np.zeros((40, 30, 3), np.uint8)
    with pytest.raises(InputError, match=r"no landmarks.*Use a detector that gives five points \(yunet\)"):
        crop_face(picture, Face((3, 3, 9, 9)), CropConfig(align=True))
    points = np.array([[10, 10], [20, 10], [15, 16], [11, 22], [19, 22]], np.float32)
    assert crop_face(picture, Face((3, 3, 9, 9), 1.0, points), CropConfig(align=True)).shape == (224, 224, 3)


@pytest.mark.parametrize("box", [(5, 5, 5, 9), (5, 9, 8, 5), (0, 0, math.nan, 4), (0, 0, math.inf, 4)])
@pytest.mark.parametrize("shift", [True, False])
def test_boxes_without_area(box, shift) -> None:
    with pytest.raises(InputError, match="has no area; a box is .*not \\(x, y, width, height\\)"):
        crop_face(np.zeros((20, 20, 3), np.uint8), Face(box), CropConfig(shift=shift))


def test_settings_that_cannot_be() -> None:
    for options, words in [
        ({"align": True, "shift": True}, "align and shift exclude each other"),
        ({"align": True, "scale": None}, "align needs a scale"),
        ({"scale": 0.0}, "greater than 0"),
        ({"scale": 17.0}, "less than or equal to 16"),
        ({"size": 0}, "greater than or equal to 1"),
    ]:
        with pytest.raises(ValidationError, match=words):
            CropConfig(**options)
    with pytest.raises(ConfigError, match="scale is over 0, got -1"):
        expand_box((0, 0, 4, 4), -1, 9, 9)
    with pytest.raises(InputError, match="0 x 5 pixels has no place"):
        expand_box((0, 0, 4, 4), 1.0, 5, 0)


def test_a_padded_crop_has_a_ceiling(monkeypatch) -> None:
    monkeypatch.setattr(crop, "DEFAULT", crop.DEFAULT.with_(pixels=1000))
    with pytest.raises(LimitError, match="the crop of the face: pixels"):
        crop_face(np.zeros((20, 20, 3), np.uint8), Face((0, 0, 20, 20)), CropConfig(scale=3.0))


def test_configs_survive_json() -> None:
    config = CropConfig(scale=2.7, size=80, shift=True)
    assert CropConfig.model_validate_json(config.model_dump_json()) == config
