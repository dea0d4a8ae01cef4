"""The made-up scene is a georeferenced picture of every class, the same for equal seeds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from verticlip.core.errors import InputError
from verticlip.domains.urban.scene import COVER, write_scene

rasterio = pytest.importorskip("rasterio")


def test_a_scene_holds_every_class_and_its_files_agree(tmp_path: Path) -> None:
    scene = write_scene(tmp_path / "made", size=512)
    with rasterio.open(scene.image) as image, rasterio.open(scene.cover) as cover:
        assert (image.count, image.dtypes[0], image.res, image.crs.to_epsg()) == (3, "uint8", (10, 10), 32633)
        assert image.transform == cover.transform
        pixels, classes = image.read(), cover.read(1)
    assert set(np.unique(classes)) == set(range(len(COVER)))
    means = {name: pixels[:, classes == index].mean() for index, name in enumerate(COVER)}
    assert means["SeaLake"] < means["Pasture"] < means["Residential"] < means["Highway"]
    geopandas = pytest.importorskip("geopandas")
    regions = geopandas.read_file(scene.regions)
    assert len(regions) == 6 == regions["name"].nunique()
    assert regions.is_valid.all()
    with rasterio.open(scene.population) as people:
        assert people.crs.to_epsg() == 4326
        left, bottom, right, top = regions.total_bounds
        assert people.bounds.left < left < right < people.bounds.right
        assert people.bounds.bottom < bottom < top < people.bounds.top
        # 60 people to a hectare of houses, half as much or half again from place to place.
        homes = (classes == COVER.index("Residential")).sum() / 100
        assert 0.5 * 60 * homes < np.nansum(people.read(1)) < 1.6 * 60 * homes


def test_equal_seeds_give_equal_pixels(tmp_path: Path) -> None:
    first, again, other = (
        write_scene(tmp_path / name, size=256, seed=seed).image.read_bytes()
        for name, seed in (("a", 3), ("b", 3), ("c", 4))
    )
    assert first == again
    assert first != other


def test_a_scene_has_a_smallest_size(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least 256 pixels a side, got 100"):
        write_scene(tmp_path, size=100)
