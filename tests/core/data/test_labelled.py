"""How labelled images lie on disk."""

from __future__ import annotations

from pathlib import Path

import pytest
from verticlip.core.data.labelled import FileNames, Folders, Table
from verticlip.core.errors import LimitError
from verticlip.core.limits import DEFAULT


def touch(root: Path, *images: str) -> None:
    for name in images:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


def test_a_layout_that_is_not_there_is_none(tmp_path: Path) -> None:
    layouts = (
        Table(("a.csv",), path=(0,)),
        Folders({"x": "x", "y": "y"}),
        FileNames("(?P<label>x)", {"x": "x"}, ("a",), "x"),
    )
    for layout in layouts:
        assert layout.read(tmp_path, ("x", "y")) is None
        assert layout.expects()
    # One folder of a common name is not taken for the set.
    touch(tmp_path, "x/1.png")
    assert layouts[1].read(tmp_path, ("x", "y")) is None


def test_limits_hold(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{label}/{n}.png" for label in "xy" for n in range(3)))
    with pytest.raises(LimitError, match="files 3 is over the limit of 2"):
        Folders({"x": "x", "y": "y"}).read(tmp_path, ("x", "y"), DEFAULT.with_(manifest_rows=2))
