"""Every registered model, at a size that a test can afford: one test of each kind for each of them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from sweep.made import Made

TESTS = Path(__file__).resolve().parent.parent
for home in (TESTS, TESTS / "domains"):
    # What makes models is imported by name: ``make_clip``, ``urban.coca.make_coca``, ``sweep.specimens.clips``.
    if str(home) not in sys.path:
        sys.path.insert(0, str(home))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Ask every test with ``made`` about each model of the room that its file names."""
    if "made" in metafunc.fixturenames:
        from sweep.specimens.by_room import specimens_of

        names = list(specimens_of(metafunc.module.ROOM))
        metafunc.parametrize("made", names, indirect=True, scope="module")


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache folder of verticlip for nobody else, and one thread."""
    import torch

    pytest.importorskip("open_clip", reason="open_clip makes and reads many of them")
    cache, threads = tmp_path_factory.mktemp("cache"), torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VERTICLIP_CACHE", str(cache))
        torch.set_num_threads(1)
        yield cache
        torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def made(
    request: pytest.FixtureRequest, quick: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Made]:
    """One model, converted from files of its authors' layout or taken from the package, with its folder."""
    import shutil

    from sweep.made import make

    folder = tmp_path_factory.mktemp("made")
    yield make(request.param, folder)
    shutil.rmtree(folder, ignore_errors=True)
