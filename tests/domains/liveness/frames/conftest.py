"""Fixtures of the frame tests."""

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


_FILMS = _load("make_films")


@pytest.fixture(scope="session")
def films() -> ModuleType:
    """Functions that write films whose frames say their number (``make_films.py``)."""
    pytest.importorskip("av", reason="the liveness extra is not installed")
    return _FILMS
