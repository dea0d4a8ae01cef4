"""The rows about catalogues measure what they say, on very small ones."""

from __future__ import annotations

import pytest
from verticlip.benchmarks import catalog


@pytest.mark.parametrize(("kind", "dim"), [("flat", 64), ("auto", 512)])
def test_an_update_is_part_of_a_rebuild(kind: str, dim: int) -> None:
    row = catalog.update(600, rounds=2, kind=kind, dim=dim)
    assert row["name"] == f"update of 6 of 600 products, {kind}, D={dim}"
    assert row["note"].endswith("a graph over 0 of them")
    assert 0 < row["ours"]["median"] < row["peer"]["median"]
    assert row["ratio"] == pytest.approx(row["peer"]["median"] / row["ours"]["median"], rel=0.5)
    assert row["gate"] == pytest.approx(33.3, abs=0.1)


def test_an_ingest_is_set_beside_its_parts() -> None:
    row = catalog.overlap(24, rounds=1)
    assert row["name"] == "ingest of 24 photographs"
    assert row["ours"]["median"] > 0
    assert {"decode", "model", "ingest"} <= set(row["note"].replace(",", "").split())
    assert row["passed"] == (row["ratio"] >= 0.9)


def test_photographs_are_as_large_as_the_row_says(tmp_path) -> None:
    from PIL import Image

    files = catalog.write_photos(tmp_path / "photos", 3)
    with Image.open(files[1]) as picture:
        assert (picture.size, picture.format) == ((168, 224), "JPEG")
    assert len({path.read_bytes() for path in files}) == 3
    assert 5_000 < files[0].stat().st_size < 40_000
