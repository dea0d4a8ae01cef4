"""Outlines on the antimeridian and around the poles."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("geopandas")

import shapely
from verticlip.core.errors import InputError
from verticlip.domains.urban.geometry.antimeridian import cut_at_antimeridian
from verticlip.domains.urban.geometry.covering import TileGrid
from verticlip.domains.urban.geometry.grids import raster_grid
from verticlip.domains.urban.geometry.projection import reproject
from verticlip.domains.urban.geometry.regions import Regions


def cut(shape):
    return cut_at_antimeridian(np.array([shape]))[0]


def test_elsewhere_nothing_changes():
    shapes = np.array([shapely.box(10, 10, 20, 20), shapely.box(-180, -90, 0, 90), shapely.Polygon()])
    assert cut_at_antimeridian(shapes) is shapes


def test_a_jump_becomes_two_parts():
    found = cut(shapely.Polygon([(179, 0), (-179, 0), (-179, 1), (179, 1)]))
    assert found.geom_type == "MultiPolygon"
    assert found.area == pytest.approx(2)
    assert found.equals(shapely.union_all([shapely.box(179, 0, 180, 1), shapely.box(-180, 0, -179, 1)]))
    assert all(part.exterior.is_ccw for part in found.geoms)


def test_longitudes_past_180_come_back():
    assert cut(shapely.box(179, 0, 182, 1)).area == pytest.approx(3)
    assert cut(shapely.box(181, 0, 182, 1)).equals(shapely.box(-179, 0, -178, 1))
    assert cut(shapely.box(-181, 0, -179, 1)).bounds == (-180, 0, 180, 1)


def test_a_side_on_the_antimeridian_is_no_crossing():
    east = cut(shapely.Polygon([(-180, 0), (-179, 0), (-179, 1), (180, 1)]))
    assert east.equals(shapely.box(-180, 0, -179, 1))
    assert cut(shapely.box(179, 0, 180 + 1e-12, 1)).bounds == (179, 0, 180, 1)


def test_holes_stay_holes():
    ring = [(178, 0), (-178, 0), (-178, 4), (178, 4)]
    hole = [(179, 1), (-179, 1), (-179, 3), (179, 3)]
    found = cut(shapely.Polygon(ring, [hole]))
    assert found.area == pytest.approx(16 - 4)
    assert not found.contains(shapely.Point(179.5, 2))


def test_around_a_pole():
    around = np.arange(0, 360, 10.0)
    ring = [((angle + 180) % 360 - 180, 80.0) for angle in around]
    found = cut(shapely.Polygon(ring))
    assert found.bounds == (-180, 80, 180, 90)
    assert found.area == pytest.approx(3600)
    assert cut(shapely.Polygon([(x, -y) for x, y in ring])).bounds == (-180, -90, 180, -80)


@pytest.mark.parametrize(
    ("crs", "transform"),
    [
        ("EPSG:3413", (100.0, 0.0, -16000.0, 0.0, -100.0, 12800.0)),
        ("EPSG:32701", (100.0, 0.0, 166500.0, 0.0, -100.0, 8_000_000.0)),
        ("EPSG:4326", (0.0009, 0.0, 179.9, 0.0, -0.0009, -17.0)),
    ],
)
def test_tiles_of_polar_and_antimeridian_scenes_keep_their_size(crs, transform):
    tiles = raster_grid(320, 256, transform, crs, size=64)
    outlines = tiles.footprints("EPSG:4326")
    assert shapely.is_valid(outlines).all()
    assert "MultiPolygon" in {outline.geom_type for outline in outlines}
    bounds = shapely.bounds(shapely.get_parts(outlines))
    assert (bounds[:, 0].min(), bounds[:, 2].max()) == (-180, 180)
    assert (bounds[:, 2] - bounds[:, 0])[bounds[:, 3] < 90].max() < 180
    # 6.4 km x 6.4 km, up to the scale of the projection and the one tile whose corner is the pole.
    areas = shapely.area(reproject(outlines, "EPSG:4326", "EPSG:6933"))
    assert areas == pytest.approx(np.full(len(tiles), 40.96e6), rel=0.15)


def test_wide_rectangles_in_degrees_stay_as_they_are():
    whole = raster_grid(360, 150, (1.0, 0.0, -180.0, 0.0, -1.0, 90.0), "EPSG:4326", size=150, stride=210)
    assert [outline.bounds for outline in whole.footprints()] == [(-180, -60, -30, 90), (30, -60, 180, 90)]
    wide = cut_at_antimeridian(np.array([shapely.box(-180, 0, 90, 10)]), jumps=False)[0]
    assert wide.bounds == (-180, 0, 90, 10)


def test_regions_in_a_polar_system_are_cut_as_well():
    regions = Regions.from_geometries([shapely.box(-100_000, -100_000, 100_000, 100_000)], "EPSG:3413")
    outline = regions.to_crs("EPSG:4326").geometries[0]
    assert outline.bounds[0] == -180
    assert outline.bounds[3] == 90
    assert outline.contains(shapely.Point(12, 89.9))
    assert not outline.contains(shapely.Point(12, 88))


def scene(crs: str, west: float, south: float, side: float):
    return SimpleNamespace(
        name="a.tif", width=100, height=100, crs=crs,
        transform=(side / 100, 0.0, west, 0.0, -side / 100, south + side),
        bounds=(west, south, west + side, south + side),
    )  # fmt: skip


def test_web_map_tiles_of_a_scene_across_the_antimeridian() -> None:
    raster = scene("EPSG:32660", 700_000, 5_000_000, 50_000)
    grid = TileGrid("webmercator", zoom=10)
    tiles = grid.over(raster)
    assert set(tiles.zxy[:, 1].tolist()) == {0, 1022, 1023}
    assert set(grid.within(raster.bounds, crs=raster.crs).ids) >= set(tiles.ids)
    # Regions of the same ground in its own coordinate system, and cut in degrees.
    outline = np.array([shapely.box(*raster.bounds)])
    for crs in ("EPSG:32660", "EPSG:4326"):
        regions = Regions(("a",), reproject(outline, "EPSG:32660", crs), crs)
        covered = grid.cover(regions)
        assert set(covered.ids) == set(tiles.ids)
        area = shapely.area(covered.footprints("EPSG:3857")) * covered.coverage
        # Mercator at 45 degrees shows areas twice as large.
        assert float(area.sum()) == pytest.approx(2.0 * 50_000**2, rel=0.05)


def test_web_map_tiles_of_the_whole_earth_and_of_a_pole() -> None:
    world = SimpleNamespace(
        name="w.tif", width=360, height=180, crs="EPSG:4326",
        transform=(1.0, 0.0, -180.0, 0.0, -1.0, 90.0), bounds=(-180.0, -90.0, 180.0, 90.0),
    )  # fmt: skip
    assert len(TileGrid("webmercator", zoom=3).over(world)) == 64
    arctic = TileGrid("webmercator", zoom=5).over(scene("EPSG:3413", -3e6, -3e6, 6e6))
    assert len(set(arctic.zxy[:, 1].tolist())) == 32
    assert set(arctic.zxy[:, 2].tolist()) == set(range(int(arctic.zxy[:, 2].max()) + 1))
    with pytest.raises(InputError, match=r"x -100000 to 100000.* of EPSG:3413 has no place .* 85.05 degrees"):
        TileGrid("webmercator", zoom=5).over(scene("EPSG:3413", -1e5, -1e5, 2e5))
