"""Drawings are the same everywhere, and no two are alike."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from verticlip.domains.liveness.tasks.drawings import drawing, write_drawings


def test_a_drawing_is_the_same_at_every_call() -> None:
    one = drawing(1, 0)
    assert one.shape == (288, 288, 3)
    assert one.dtype == np.uint8
    assert np.array_equal(one, drawing(1, 0))
    assert not np.array_equal(one, drawing(1, 1))
    assert not np.array_equal(one, drawing(2, 0))
    assert 40 < one.mean() < 220
    assert one.std() > 15


def test_files_that_are_there_are_kept(tmp_path: Path) -> None:
    files = write_drawings(tmp_path / "d", 2, seed=1)
    assert [file.name for file in files] == ["000.jpg", "001.jpg"]
    with Image.open(files[0]) as image:
        assert (image.format, image.size) == ("JPEG", (288, 288))
    files[0].write_bytes(b"mine")
    assert write_drawings(tmp_path / "d", 2, seed=1)[0].read_bytes() == b"mine"
