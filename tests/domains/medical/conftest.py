"""Fixtures for the medical room: fabricated files, pydicom's own files, and the privacy check."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

pydicom = pytest.importorskip("pydicom", reason="the medical extra is not installed")


def _load_helpers() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_dicom", Path(__file__).with_name("make_dicom.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_HELPERS = _load_helpers()


@pytest.fixture(scope="session")
def make() -> ModuleType:
    """Functions that fabricate DICOM files (``make_dicom.py``)."""
    return _HELPERS


@pytest.fixture(scope="session")
def wheel_file() -> Callable[[str], Path]:
    """Return the path of a file inside the pydicom wheel; never downloads."""
    folder = Path(pydicom.__file__).parent / "data" / "test_files"

    def find(name: str) -> Path:
        path = folder / name
        assert path.exists(), name
        return path

    return find


@pytest.fixture
def private(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> Iterator[Callable[[object], None]]:
    """Return a check that a text carries no planted value and no path; logs are checked at the end."""

    def check(value: object) -> None:
        for text in (str(value), repr(value)):
            for secret in (*_HELPERS.SECRETS, str(tmp_path), tmp_path.name):
                assert secret not in text

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield check
    for record in caught:
        check(record.message)
    for record in caplog.records:
        check(record.getMessage())
