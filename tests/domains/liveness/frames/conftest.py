"""Fixtures of the frame tests."""

from __future__ import annotations

from types import ModuleType

import pytest
from liveness.frames import make_films


@pytest.fixture(scope="session")
def films() -> ModuleType:
    """Functions that write films whose frames say their number (``make_films.py``)."""
    pytest.importorskip("av", reason="the liveness extra is not installed")
    return make_films
