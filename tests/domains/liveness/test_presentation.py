"""From captures to crops: what the model will see, and where of the frame."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from liveness import make_captures as captures
from verticlip.domains.liveness.faces.crop import CropConfig, crop_face
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
