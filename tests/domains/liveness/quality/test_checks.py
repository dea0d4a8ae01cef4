"""Gates: what passes, what blocks, what is only told, and in which words."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError
from verticlip.core.errors import InputError
from verticlip.domains.liveness.faces.detect import Face
from verticlip.domains.liveness.faces.pose import HEAD
from verticlip.domains.liveness.quality.checks import (
    Check,
    blocks,
    checks_after,
    checks_before,
)
from verticlip.domains.liveness.quality.config import GATES, QualityConfig

CONFIG = QualityConfig()
POINTS = np.array([[-35, -40], [35, -40], [0, 0], [-29, 41], [29, 41]], np.float32)


def face_at(x: float, y: float, side: float = 200.0, *, points: bool = True) -> Face:
    """Return a face whose box is centred at a point."""
    half = side / 2
    landmarks = (POINTS * side / 200 + [x, y]).astype(np.float32) if points else None
    return Face((x - half, y - half, x + half, y + half), 0.9, landmarks)


def textured(height: int = 480, width: int = 480, *, low: int = 60, high: int = 200) -> np.ndarray:
    """Return a picture of even brightness with sharp grain."""
    grain = np.random.default_rng(0).integers(low, high, (height // 4, width // 4), np.uint8)
    return grain.repeat(4, axis=0).repeat(4, axis=1)[..., None].repeat(3, axis=2)


def by_name(checks: list[Check]) -> dict[str, Check]:
    assert len({check.name for check in checks}) == len(checks)
    assert {check.name for check in checks} <= set(GATES)
    return {check.name: check for check in checks}


def test_a_good_picture_passes_everything() -> None:
    picture, face = textured(), face_at(240, 240)
    before, found = checks_before(picture, [face], 1.5, CONFIG)
    assert found is face
    assert [check.name for check in before] == [
        "face_count", "face_size", "eye_distance", "face_share", "face_inside",
    ]  # fmt: skip
    after = checks_after(picture, face, CONFIG)
    assert [check.name for check in after] == ["sharpness", "luma", "clipped", "yaw", "pitch", "roll"]
    for check in (*before, *after):
        assert check.passed
        assert check.advice == ""
    assert not blocks([*before, *after])
    values = by_name(before)
    assert (values["face_size"].value, values["face_size"].unit) == (200, "px")
    assert values["eye_distance"].value == 70
    assert values["face_share"].value == pytest.approx((200 / 480) ** 2)
    assert values["face_inside"].value == 1


def test_no_face() -> None:
    checks, face = checks_before(textured(), [], 1.0, CONFIG)
    assert face is None
    found = by_name(checks)
    assert blocks(checks)
    assert (found["face_count"].value, found["face_count"].limit) == (0, (1, 1))
    assert found["face_count"].advice == (
        "No face was found: face the camera, with the whole head in the picture."
    )
    dark, _ = checks_before(textured(low=0, high=20), [], 1.0, CONFIG)
    assert "the picture is dark: add light" in by_name(dark)["face_count"].advice
    assert not by_name(dark)["luma"].passed, "the darkness itself is reported as well"
    assert not by_name(dark)["luma"].blocks


def test_two_faces_and_small_ones_in_the_background() -> None:
    first, second, tiny = face_at(150, 240), face_at(350, 240, 120), face_at(400, 60, 30)
    checks, face = checks_before(textured(), [second, first, tiny], 1.0, CONFIG)
    assert face is first, "the largest is judged"
    assert by_name(checks)["face_count"].value == 2
    assert "2 faces are in the picture: one person at a time" in by_name(checks)["face_count"].advice
    assert blocks(checks)
    checks, _ = checks_before(textured(), [first, tiny], 1.0, CONFIG)
    assert not blocks(checks), "somebody far behind does not count"
    checks, _ = checks_before(textured(), [first, second], 1.0, QualityConfig(face_count=2))
    assert by_name(checks)["face_count"].passed
    checks, _ = checks_before(textured(), [first], 1.0, QualityConfig(face_count=2))
    assert by_name(checks)["face_count"].advice == "Only 1 of 2 faces were found."


def test_a_tiny_face_is_found_and_told_its_size() -> None:
    checks, face = checks_before(textured(), [face_at(240, 240, 40)], 1.0, CONFIG)
    found = by_name(checks)
    assert face is not None
    assert found["face_count"].passed
    assert {name for name, check in found.items() if not check.passed} == {
        "face_size", "eye_distance", "face_share",
    }  # fmt: skip
    assert "come closer" in found["face_size"].advice
    assert found["face_size"].value == 40
    assert found["face_size"].limit == (80, None)
    assert blocks(checks)


def test_too_close_and_over_the_border() -> None:
    found = by_name(checks_before(textured(), [face_at(240, 240, 470)], 1.0, CONFIG)[0])
    assert "too much of the picture: move back" in found["face_share"].advice
    found = by_name(checks_before(textured(), [face_at(80, 240)], 1.0, CONFIG)[0])
    assert found["face_inside"].value == pytest.approx(0.9)
    assert found["face_inside"].passed
    found = by_name(checks_before(textured(), [face_at(79, 240)], 1.0, CONFIG)[0])
    assert not found["face_inside"].passed
    found = by_name(checks_before(textured(), [face_at(240, 240)], 4.0, CONFIG)[0])
    assert found["face_inside"].value == pytest.approx(0.36)
    assert "face_inside" not in by_name(checks_before(textured(), [face_at(0, 0)], None, CONFIG)[0])


def test_a_face_crop_is_only_measured() -> None:
    checks, face = checks_before(textured(100, 120), None, 1.0, CONFIG)
    assert face is None
    assert [(check.name, check.value, check.passed) for check in checks] == [("face_size", 100, True)]
    checks, _ = checks_before(textured(64, 120), None, 1.0, CONFIG)
    assert blocks(checks)
    assert "cut faces from pictures of higher resolution" in checks[0].advice
    after = checks_after(textured(100, 120), None, CONFIG)
    assert [check.name for check in after] == ["sharpness", "luma", "clipped"]


def test_a_dark_face_is_told_and_never_taken_from_the_model() -> None:
    picture, face = textured(low=0, high=25), face_at(240, 240)
    before, found = checks_before(picture, [face], 1.0, CONFIG)
    assert found is face
    assert not blocks(before)
    after = by_name(checks_after(picture, face, CONFIG))
    assert not after["luma"].passed
    assert after["luma"].value == pytest.approx(12, abs=1)
    assert "add light. Darkness can also hide an attack" in after["luma"].advice
    assert not blocks(list(after.values()))


def test_darkness_is_not_taken_for_blur() -> None:
    picture = np.full((300, 300, 3), 9, np.uint8)
    face = face_at(150, 150)
    for config in (CONFIG, QualityConfig(luma=None)):
        checks = checks_after(picture, face, config)
        sharpness = by_name(checks)["sharpness"]
        assert not sharpness.passed
        assert not sharpness.blocks
        assert sharpness.advice == "Sharpness cannot be judged in dim light: add light."
        assert not blocks(checks)


def test_blur_blocks_and_a_bright_face_is_told() -> None:
    checks = checks_after(np.full((300, 300, 3), 128, np.uint8), face_at(150, 150), CONFIG)
    assert by_name(checks)["sharpness"].value == pytest.approx(0, abs=1e-6)
    assert "The face is blurred" in by_name(checks)["sharpness"].advice
    assert blocks(checks)
    bright = by_name(checks_after(textured(low=230, high=256), face_at(240, 240), CONFIG))
    assert "too bright" in bright["luma"].advice
    clipped = textured(low=0, high=2) * 255
    found = by_name(checks_after(clipped, face_at(240, 240), CONFIG))["clipped"]
    assert found.value == 1
    assert not found.passed
    assert not found.blocks


@pytest.mark.parametrize(("name", "angle"), [("yaw", 40), ("yaw", -40), ("pitch", 35), ("roll", -38)])
def test_extreme_poses_block_by_name(name, angle) -> None:
    radians = np.radians(angle)
    axes = {"yaw": (0, 2), "pitch": (2, 1), "roll": (1, 0)}
    turn = np.eye(3)
    first, second = axes[name]
    turn[first, first] = turn[second, second] = np.cos(radians)
    turn[first, second], turn[second, first] = np.sin(radians), -np.sin(radians)
    points = (np.asarray(HEAD) @ turn.T)[:, :2] * 2 + 240
    face = Face((140, 140, 340, 340), 0.9, points.astype(np.float32))
    checks = checks_after(textured(), face, CONFIG)
    failed = [check for check in checks if not check.passed]
    assert [check.name for check in failed] == [name]
    assert failed[0].value == pytest.approx(angle, abs=0.1)
    assert failed[0].unit == "deg"
    assert blocks(checks)


def test_without_landmarks_nothing_is_made_up() -> None:
    face = face_at(240, 240, points=False)
    before = by_name(checks_before(textured(), [face], 1.0, CONFIG)[0])
    after = by_name(checks_after(textured(), face, CONFIG))
    for check in (before["eye_distance"], after["yaw"], after["pitch"], after["roll"]):
        assert check.value is None
        assert check.passed
        assert check.advice == "Not measured: the detector gives no landmarks."


def test_occlusion_is_measured_by_the_callers_model() -> None:
    picture, face = textured(), face_at(240, 240)
    assert "occlusion" not in by_name(checks_after(picture, face, CONFIG, occlusion=0.9))
    config = QualityConfig(occlusion=0.2)
    assert by_name(checks_after(picture, face, config))["occlusion"].advice.startswith("Not measured")
    checks = checks_after(picture, face, config, occlusion=0.5)
    assert "take off mask" in by_name(checks)["occlusion"].advice
    assert blocks(checks)


def test_every_gate_can_be_changed_and_switched_off() -> None:
    off = {
        name: None for name in QualityConfig.model_fields if name in GATES and not name.startswith("frame_")
    }
    config = QualityConfig(**off)
    picture = np.zeros((300, 300, 3), np.uint8)
    assert checks_before(picture, [face_at(0, 0, 10)], 4.0, config)[0] == []
    assert checks_after(picture, face_at(150, 150), config) == []
    assert checks_before(picture, [], 4.0, config) == ([], None)
    lenient = QualityConfig(face_size=10, eye_distance=2, face_share=(0.0, 1.0))
    assert not blocks(checks_before(picture, [face_at(150, 150, 20)], 1.0, lenient)[0])


def test_which_gates_block_can_be_chosen() -> None:
    dark, face = textured(low=0, high=25), face_at(240, 240)
    assert blocks(checks_after(dark, face, QualityConfig(blocking=("luma",))))
    flat = np.full((300, 300, 3), 128, np.uint8)
    assert not blocks(checks_after(flat, face_at(150, 150), QualityConfig(blocking=())))


def test_settings_that_cannot_be() -> None:
    for options, words in [
        ({"blocking": ("sharpnes",)}, "unknown gate 'sharpnes'. Did you mean 'sharpness'"),
        ({"luma": (200.0, 100.0)}, "luma runs from low to high, got"),
        ({"face_share": (0.5, 0.5)}, "face_share runs from low to high"),
        ({"yaw": -5.0}, "greater than 0"),
        ({"clipped": 1.5}, "less than or equal to 1"),
        ({"face_count": 0}, "greater than or equal to 1"),
        ({"blur": 3}, "Extra inputs are not permitted"),
    ]:
        with pytest.raises(ValidationError, match=words):
            QualityConfig(**options)
    assert QualityConfig.model_validate_json(CONFIG.model_dump_json()) == CONFIG


def test_what_is_no_picture() -> None:
    with pytest.raises(InputError, match="expected uint8"):
        checks_before(np.zeros((9, 9, 3)), [], 1.0, CONFIG)
    with pytest.raises(InputError, match="pass face=None for a face crop"):
        checks_after(textured(100, 100), face_at(400, 400), CONFIG)
