"""Fixtures of the face tests: squares that stand for faces, and networks that find them."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest
from liveness.faces import make_yunet


@pytest.fixture(scope="session")
def squares() -> ModuleType:
    """Functions that draw squares and say where the networks find them (``make_yunet.py``)."""
    return make_yunet


@pytest.fixture(params=["yunet_colors.onnx", "yunet_colors_fixed.onnx"], ids=["open size", "fixed size"])
def yunet_path(request: pytest.FixtureRequest) -> Path:
    """The file of a network in YuNet's form, of any size of input and of 640 x 640 only."""
    pytest.importorskip("cv2", reason="the liveness extra is not installed")
    return Path(__file__).with_name(request.param)
