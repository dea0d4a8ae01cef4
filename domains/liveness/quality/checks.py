"""Gates before and after the model: each a value, a limit, and what to do about it.

A presentation goes detector, gates of count, size and border, model, remaining gates. The first ones say
whether there is a face to judge; the others are reported beside what the model said and never hide it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..faces.crop import CropConfig, reached_scale
from ..faces.detect import Face
from ..faces.picture import check_picture
from ..faces.pose import head_pose
from .config import QualityConfig
from .measures import Light, crop_inside, face_region, grey, light_of, sharpness_of

__all__ = ["Check", "QualityConfig", "blocks", "check_reach", "checks_after", "checks_before"]

_DARK = 40.0
"""Mean luma under which a face counts as dark where the gate of brightness is switched off."""
_DIM = 2.0
"""Up to so many times that luma, light and not the focus may be why a face has few edges."""


@dataclass(frozen=True)
class Check:
    """One gate and what it measured.

    Attributes:
        name: one of :data:`.config.GATES`.
        value: measured, in ``unit``; None where it cannot be measured here (no landmarks, no occlusion
            model): then ``passed`` is True and ``advice`` says why.
        limit: least and greatest value that pass, both inclusive; None leaves a side open.
        passed: whether the value is within the limit.
        unit: "px", "deg", "faces" ... or "" for a plain ratio.
        blocks: whether failing it leaves the presentation without an answer.
        advice: what to do, in words for the operator; empty for a check that passed.
    """

    name: str
    value: float | None
    limit: tuple[float | None, float | None]
    passed: bool
    unit: str
    blocks: bool
    advice: str


def blocks(checks: Sequence[Check]) -> bool:
    """Return whether a failed check leaves the presentation without an answer."""
    return any(check.blocks and not check.passed for check in checks)


def checks_before(
    picture: np.ndarray,
    faces: Sequence[Face] | None,
    crop_scale: float | None,
    config: QualityConfig,
) -> tuple[list[Check], Face | None]:
    """Return the gates that a picture passes before the model sees it, and the face to judge.

    Args:
        picture: uint8 [H, W, 3], RGB, upright.
        faces: what the detector found; None says that the picture is a face crop already, where only its size
            is checked.
        crop_scale: the widest crop of the model that can leave the picture, sides over those of the
            detector's box: 1.0, the box itself, where all crops are shifted inside; None where the model sees
            the whole picture.
        config: limits.

    Returns:
        The checks, in the order of the gates, and the largest face, None without one or for a crop. Without a
        face the brightness of the picture is reported too: darkness is the usual reason.

    Raises:
        InputError: ``picture`` is none.
    """
    check_picture(picture)
    found: list[Check] = []
    height, width = picture.shape[:2]
    if faces is None:
        if config.face_size is not None:
            found.append(
                _checked(
                    config,
                    "face_size",
                    float(min(height, width)),
                    (config.face_size, None),
                    "px",
                    "The face crop is too small: cut faces from pictures of higher resolution.",
                )
            )
        return found, None
    face = max(faces, key=lambda one: one.area, default=None)
    found += _count(picture, faces, config)
    if face is None:
        found += _light(light_of(grey(picture)), config, "picture")
        return found, None
    found += _size(face, height, width, config)
    if config.face_inside is not None and crop_scale is not None:
        found.append(
            _checked(
                config,
                "face_inside",
                crop_inside(face.box, crop_scale, height, width),
                (config.face_inside, None),
                "",
                "The face and its surroundings leave the picture: move to the middle and keep some distance.",
            )
        )
    return found, face


def check_reach(
    face: Face, crops: Sequence[CropConfig], size: tuple[int, int], config: QualityConfig
) -> list[Check]:
    """Return how much of their scale the crops reach that are moved inside the picture; the least counts.

    Args:
        face: that is judged. crops: of the model. size: (height, width) of the picture.
        config: limits.

    Returns:
        The check ``crop_scale``, or nothing where no crop is moved or the gate is off.
    """
    reached = [
        (found / crop.scale, found, crop.scale)
        for crop in crops
        if crop.scale is not None and (found := reached_scale(face, crop, *size)) is not None
    ]
    if not reached or config.crop_scale is None:
        return []
    share, found, scale = min(reached)
    room = f"The model looks at {scale:g} times the face, and the picture has room for {found:.2g}"
    return [
        _checked(config, "crop_scale", share, (config.crop_scale, None), "", f"{room}: keep more distance.")
    ]


def checks_after(
    picture: np.ndarray, face: Face | None, config: QualityConfig, *, occlusion: float | None = None
) -> list[Check]:
    """Return the gates that are reported beside the model's answer: sharpness, light, pose, occlusion.

    Args:
        picture: the whole picture, uint8 [H, W, 3], RGB; with ``face`` None, the face crop.
        face: of :func:`checks_before`, with its box in pixels of ``picture``.
        config: limits.
        occlusion: share of the face that is covered, in [0, 1], where a model of the caller measures it.

    Returns:
        The checks. In a dark or dim face sharpness cannot be told from darkness, so failing it does not
        block: the model's answer stands, and both are reported.

    Raises:
        InputError: ``picture`` is none, or the face lies outside of it.
    """
    check_picture(picture)
    region = grey(picture if face is None else face_region(picture, face.box))
    light = light_of(region)
    found: list[Check] = []
    if config.sharpness is not None:
        is_dim = light.luma < _DIM * (config.luma[0] if config.luma else _DARK)
        advice = "The face is blurred: hold still, clean the lens, wait for the focus."
        if is_dim:
            advice = "Sharpness cannot be judged in dim light: add light."
        value = sharpness_of(region)
        check = _checked(config, "sharpness", value, (config.sharpness, None), "luma^2", advice)
        found.append(_reported(check) if is_dim else check)
    found += _light(light, config, "face")
    found += _pose(face, config)
    if config.occlusion is not None:
        advice = "Part of the face is covered: take off mask, glasses or hat, keep hands away."
        if occlusion is None:
            advice = "Not measured: no occlusion model is given."
        found.append(_checked(config, "occlusion", occlusion, (None, config.occlusion), "", advice))
    return found


def _count(picture: np.ndarray, faces: Sequence[Face], config: QualityConfig) -> list[Check]:
    if config.face_count is None:
        return []
    # A lone small face is counted, so that its size is what is told.
    large = [face for face in faces if min(face.width, face.height) >= (config.face_size or 0)] or faces[:1]
    wanted = config.face_count
    if not large:
        advice = "No face was found: face the camera, with the whole head in the picture."
        if light_of(grey(picture)).luma < (config.luma[0] if config.luma else _DARK):
            advice = "No face was found, and the picture is dark: add light and face the camera."
    elif len(large) > wanted:
        advice = f"{len(large)} faces are in the picture: one person at a time, with nobody behind."
        if wanted > 1:
            advice = f"{len(large)} faces are in the picture, {wanted} are expected."
    else:
        advice = f"Only {len(large)} of {wanted} faces were found."
    return [_checked(config, "face_count", float(len(large)), (wanted, wanted), "faces", advice)]


def _size(face: Face, height: int, width: int, config: QualityConfig) -> list[Check]:
    found = []
    nearer = "The face is too small: come closer or use a camera of higher resolution."
    if config.face_size is not None:
        value = float(min(face.width, face.height))
        found.append(_checked(config, "face_size", value, (config.face_size, None), "px", nearer))
    if config.eye_distance is not None:
        value = face.eye_distance
        advice = nearer if value is not None else "Not measured: the detector gives no landmarks."
        found.append(_checked(config, "eye_distance", value, (config.eye_distance, None), "px", advice))
    if config.face_share is not None:
        value = float(face.area / (height * width))
        advice = "The face fills too little of the picture: come closer."
        if value > config.face_share[1]:
            advice = "The face fills too much of the picture: move back."
        found.append(_checked(config, "face_share", value, config.face_share, "", advice))
    return found


def _light(light: Light, config: QualityConfig, what: str) -> list[Check]:
    found = []
    if config.luma is not None:
        advice = (
            f"The {what} is dark: add light. Darkness can also hide an attack; look at the decision as well."
        )
        if light.luma > config.luma[1]:
            advice = f"The {what} is too bright: turn away from the light, or lower the exposure."
        found.append(_checked(config, "luma", light.luma, config.luma, "0-255", advice))
    if config.clipped is not None:
        advice = f"Much of the {what} is all black or all white: use softer, even light."
        found.append(_checked(config, "clipped", light.clipped, (None, config.clipped), "", advice))
    return found


def _pose(face: Face | None, config: QualityConfig) -> list[Check]:
    words = {
        "yaw": "The head is turned to the side: look straight into the camera.",
        "pitch": "The head is turned up or down: hold the camera at the height of the eyes.",
        "roll": "The head is tilted: hold head and camera upright.",
    }
    if face is None:
        return []
    pose = None if face.landmarks is None else head_pose(face.landmarks)
    found = []
    for name, advice in words.items():
        limit: float | None = getattr(config, name)
        if limit is None:
            continue
        value = None if pose is None else float(getattr(pose, name))
        advice = advice if value is not None else "Not measured: the detector gives no landmarks."
        found.append(_checked(config, name, value, (-limit, limit), "deg", advice))
    return found


def _checked(
    config: QualityConfig,
    name: str,
    value: float | None,
    limit: tuple[float | None, float | None],
    unit: str,
    advice: str,
) -> Check:
    low, high = limit
    passed = value is None or ((low is None or value >= low) and (high is None or value <= high))
    keeps_advice = value is None or not passed
    return Check(name, value, limit, passed, unit, name in config.blocking, advice if keeps_advice else "")


def _reported(check: Check) -> Check:
    """Return a check that does not block."""
    return Check(check.name, check.value, check.limit, check.passed, check.unit, False, check.advice)
