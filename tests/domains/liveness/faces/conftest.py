"""Fixtures of the face tests: squares that stand for faces, and networks that find them."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_SQUARES = _load("make_yunet")


@pytest.fixture(scope="session")
def squares() -> ModuleType:
    """Functions that draw squares and say where the networks find them (``make_yunet.py``)."""
    return _SQUARES


@pytest.fixture(params=["yunet_colors.onnx", "yunet_colors_fixed.onnx"], ids=["open size", "fixed size"])
def yunet_path(request: pytest.FixtureRequest) -> Path:
    """The file of a network in YuNet's form, of any size of input and of 640 x 640 only."""
    pytest.importorskip("cv2", reason="the liveness extra is not installed")
    return Path(__file__).with_name(request.param)
