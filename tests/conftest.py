"""Fixtures every test file can use. Nothing here touches the network."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# Set before any library is imported: a test that would reach for the Hub fails instead.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"


def _folder(variable: str, default: Path) -> Path:
    path = Path(os.environ.get(variable, default))
    if not path.is_dir():
        pytest.skip(f"{path} is absent; set {variable} to run this test")
    return path


@pytest.fixture(scope="session")
def root() -> Path:
    """Folder of the checkout."""
    return ROOT


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Development data; tests that use it skip, saying so, where it is absent."""
    return _folder("VERTICLIP_DATA", ROOT.parent / "shared" / "data")


@pytest.fixture(scope="session")
def golden_dir() -> Path:
    """All golden cases; the small ones are in ``tests/golden``."""
    return _folder("VERTICLIP_GOLDEN", ROOT.parent / "shared" / "golden")


@pytest.fixture(scope="session")
def small_golden() -> Path:
    """Golden cases that are part of the checkout."""
    return ROOT / "tests" / "golden"
