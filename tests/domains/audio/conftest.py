"""Fixtures for the audio room: fabricated recordings and films."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

pytest.importorskip("soundfile", reason="the audio extra is not installed")


def _load_helpers() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_audio", Path(__file__).with_name("make_audio.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_HELPERS = _load_helpers()


@pytest.fixture(scope="session")
def sounds() -> ModuleType:
    """Functions that fabricate recordings and films (``make_audio.py``)."""
    return _HELPERS


@pytest.fixture(scope="session")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MP4 of 4 s: 10 pictures a second (``picture(i)``) and a tone of 440 Hz at 16 kHz."""
    pytest.importorskip("av", reason="the video extra is not installed")
    path = tmp_path_factory.mktemp("films") / "beep.mp4"
    return _HELPERS.film(path, seconds=4.0, fps=10, sound=_HELPERS.tone(4.0), rate=16_000)
