"""Files appear whole or not at all, under names that every system can have."""

from __future__ import annotations

from pathlib import Path

import pytest
from verticlip.core.errors import ConfigError
from verticlip.domains.urban.outputs.staging import file_names, staged


def test_a_failed_file_leaves_the_older_one(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_text("old")
    with pytest.raises(ZeroDivisionError), staged(tmp_path / "a.tif") as path:
        path.write_text("half")
        raise ZeroDivisionError
    assert [one.name for one in tmp_path.iterdir()] == ["a.tif"]
    assert (tmp_path / "a.tif").read_text() == "old"
    with pytest.raises(ConfigError, match="is a folder"), staged(tmp_path):
        pass


def test_names_are_files_everywhere_and_differ() -> None:
    names = [
        "a/b: c",
        "a b c",
        "A_b_c",
        "../..",
        "Gr\u00fcn (m\u00b2)",
        "x" * 300,
        "x" * 299,
        ".hidden",
        "a_b_c_2",
        "7_1",
    ]
    found = file_names(names, "tile")
    assert found[:5] == ["a_b_c", "a_b_c_2", "A_b_c_3", "tile", "Gr\u00fcn_m\u00b2"]
    assert len({name.casefold() for name in found}) == len(names)
    assert all(
        1 <= len(name) <= 155 and name[0] != "." and not set(name) & set('/\\\\:*?"<>| ') for name in found
    )
    assert found[-1] == "7_1"
    assert file_names(names, "tile") == found


def test_many_equal_names_are_numbered_at_once() -> None:
    found = file_names(["*"] * 20_000, "tile")
    assert (found[0], found[-1], len(set(found))) == ("tile", "tile_20000", 20_000)
