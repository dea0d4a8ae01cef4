"""From captures to crops: what the model will see, and where of the frame."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from liveness import make_captures as captures
from verticlip.core.errors import InputError
from verticlip.domains.liveness.faces.crop import CropConfig, crop_face
from verticlip.domains.liveness.faces.detect import Face
from verticlip.domains.liveness.frames.sampling import Sampling
from verticlip.domains.liveness.presentation import Intake, name_of_item
from verticlip.domains.liveness.protocols.entry import Entry
from verticlip.domains.liveness.quality.config import QualityConfig

PICTURE = captures.texture(side=400)


def intake(*crops: CropConfig, face=None) -> Intake:
    told = captures.Told(captures.face_at(200, 200) if face is None else face)
    return Intake(crops or (CropConfig(),), told, QualityConfig(), Sampling())


def test_one_crop_per_setting():
    settings = (CropConfig(scale=1.0), CropConfig(scale=2.0))
    view = intake(*settings).present(PICTURE, "a").views[0]
    assert view.usable
    assert view.crops is not None
    for crop, config in zip(view.crops, settings, strict=True):
        assert (crop == crop_face(PICTURE, view.face, config)).all()
    assert view.box == (80, 80, 320, 320), "the widest crop"
    assert view.pixels is None, "frames are let go of"
    assert intake().present(PICTURE, "a", keep_frames=True).views[0].pixels is not None


def test_a_crop_that_is_moved_inside_passes_the_border_gate():
    near = captures.face_at(90, 200)
    outside = intake(CropConfig(scale=4.0), face=near).present(PICTURE, "a")
    moved = intake(CropConfig(scale=4.0, shift=True), face=near).present(PICTURE, "a")
    assert outside.excluded == {"face_inside": 1}
    assert moved.views[0].usable
    assert moved.views[0].box == (0, 0, 400, 400)


def test_a_face_over_the_border_is_refused_even_where_crops_are_moved():
    cut = intake(CropConfig(scale=4.0, shift=True), face=captures.face_at(20, 200)).present(PICTURE, "a")
    assert cut.excluded == {"face_inside": 1}
    assert cut.judged == []


def test_a_whole_picture_beside_a_crop_leaves_the_gate_on():
    near = captures.face_at(90, 200)
    both = (CropConfig(scale=4.0), CropConfig(scale=None))
    assert intake(*both, face=near).present(PICTURE, "a").excluded == {"face_inside": 1}
    assert intake(both[1], face=near).present(PICTURE, "a").views[0].usable


def test_a_crop_that_is_shrunk_to_fit_is_told():
    crops = (CropConfig(scale=1.2, shift=True), CropConfig(scale=4.0, shift=True))
    close, far = captures.face_at(200, 200, side=320), captures.face_at(200, 200, side=120)
    view = intake(*crops, face=close).present(PICTURE, "a").views[0]
    (check,) = [one for one in view.checks if one.name == "crop_scale"]
    assert (check.passed, check.blocks) == (False, False)
    assert check.value == pytest.approx(399 / 320 / 4)
    assert "looks at 4 times the face, and the picture has room for 1.2" in check.advice
    assert view.usable, "it is told, and the model answers"
    (check,) = [
        one
        for one in intake(*crops, face=far).present(PICTURE, "a").views[0].checks
        if one.name == "crop_scale"
    ]
    assert check.passed
    assert "crop_scale" not in {one.name for one in intake().present(PICTURE, "a").views[0].checks}


@pytest.mark.parametrize(
    ("item", "name"),
    [
        ("a/b.png", "a/b.png"),
        (Path("c.png"), "c.png"),
        ([Path("d0.png"), Path("d1.png")], "d0.png"),
        (np.zeros((2, 2, 3), np.uint8), "item 4"),
        (Entry(Path("x.mp4"), "visit", "live", dataset="branch"), "branch/visit"),
    ],
)
def test_what_results_are_called(item, name):
    assert name_of_item(item, 4) == name


class _Says:
    """A detector that says the same of every picture."""

    name, digest = "says", "1"

    def __init__(self, found):
        self._found = found

    def detect(self, picture):
        return self._found


def test_a_detector_that_says_none_found_no_face():
    said = Intake((CropConfig(),), _Says(None), QualityConfig(), Sampling()).present(PICTURE, "a")
    assert said.judged == [], "it is not taken for a face crop, which no gate would stop"
    assert said.excluded == {"face_count": 1}


@pytest.mark.parametrize(
    ("face", "message"),
    [
        (Face((100, 100, 100, 300)), "'says' gave the box"),
        (Face((300, 300, 100, 100)), "'says' gave the box"),
        (Face((0, 0, float("inf"), 100)), "'says' gave the box"),
        (Face((100, 100, 300, 300), 1.0, np.zeros((3, 2), np.float32)), r"landmarks of shape \(3, 2\)"),
        (Face((100, 100, 300, 300), 1.0, np.full((5, 2), np.nan, np.float32)), "finite"),
    ],
)
def test_what_no_gate_could_judge_is_refused(face, message):
    with pytest.raises(InputError, match=message):
        Intake((CropConfig(),), _Says([face]), QualityConfig(), Sampling()).present(PICTURE, "a")
