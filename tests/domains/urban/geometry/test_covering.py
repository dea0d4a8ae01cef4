"""Tiles in regions, against pixels counted one by one."""

from __future__ import annotations

import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from verticlip.core.errors import ConfigError, InputError, LimitError
from verticlip.domains.urban.geometry.covering import TileGrid, cover, without_tiles
from verticlip.domains.urban.geometry.grids import raster_grid
from verticlip.domains.urban.geometry.regions import Regions, RegionWarning

shapely = pytest.importorskip("shapely")

UTM = "EPSG:32650"
TRANSFORM = (10.0, 0.0, 500_000.0, 0.0, -10.0, 4_500_000.0)
SCENE = SimpleNamespace(
    name="scene.tif", width=640, height=640, crs=UTM, transform=TRANSFORM,
    bounds=(500_000.0, 4_493_600.0, 506_400.0, 4_500_000.0),
)  # fmt: skip


def grid(size=64, **options):
    return raster_grid(640, 640, TRANSFORM, UTM, size=size, **options)


def regions(*shapes, crs=UTM, ids=None):
    return Regions.from_geometries(list(shapes), crs, ids=ids)


def at(west, south, east, north):
    """Return a rectangle in metres from the scene's lower left corner."""
    return shapely.box(500_000 + west, 4_493_600 + south, 500_000 + east, 4_493_600 + north)


def blob(random, points=14):
    angle = np.sort(random.uniform(0, 2 * np.pi, points))
    radius = random.uniform(700, 2600, points)
    return shapely.Polygon(
        np.stack([503_200 + radius * np.cos(angle), 4_496_800 + radius * np.sin(angle)], 1)
    )


@settings(deadline=None, max_examples=12)
@given(seed=st.integers(0, 10_000), size=st.sampled_from([40, 64, 128]))
def test_coverage_is_the_share_of_pixels(seed, size):
    random = np.random.default_rng(seed)
    shapes = [shape for shape in (blob(random), blob(random)) if shape.is_valid]
    if not shapes:
        return
    found = cover(grid(size), regions(*shapes))
    x, y = np.meshgrid(500_000 + 10 * np.arange(0.25, 640, 0.5), 4_500_000 - 10 * np.arange(0.25, 640, 0.5))
    inside = np.zeros(x.shape, bool)
    for shape in shapes:
        inside |= shapely.contains_xy(shape, x, y)
    counted = {}
    for tile in grid(size):
        column, row, width, height = (2 * value for value in tile.window)
        counted[tile.id] = inside[row : row + height, column : column + width].mean()
    # A quarter of a pixel along each crossing edge is what counting points is off by.
    assert {name for name, share in counted.items() if share} <= set(found.ids)
    for name, share in zip(found.ids, found.coverage, strict=True):
        assert share == pytest.approx(counted[name], abs=0.05)
    whole = shapely.union_all(shapes).area
    if size in (64, 128, 320):
        assert found.coverage.sum() * (10 * size) ** 2 == pytest.approx(whole, rel=1e-9)


def test_coverage_of_squares_is_exact():
    found = cover(grid(), regions(at(0, 6400 - 320, 960, 6400)))
    assert found.ids == ("0_0", "0_64")
    assert found.coverage == pytest.approx([0.5, 0.25], abs=1e-9)
    assert found.windows.tolist() == [[0, 0, 64, 64], [64, 0, 64, 64]]


def test_a_tile_within_a_region_is_wholly_covered():
    assert (cover(grid(), regions(at(-100, -100, 7000, 7000))).coverage == 1.0).all()


def test_regions_that_overlap_count_once():
    found = cover(grid(), regions(at(0, 5760, 320, 6400), at(160, 5760, 480, 6400), ids=["a", "b"]))
    assert found.regions == (("a", "b"),)
    assert found.coverage == pytest.approx([0.75], abs=1e-12)


def test_touching_is_not_lying_in():
    found = cover(grid(), regions(at(640, 5760, 1280, 6400)))
    assert found.ids == ("0_64",)


@pytest.mark.parametrize("options", [{}, {"rule": "fraction", "fraction": 0.1}])
def test_a_region_that_only_touches_the_scene_has_no_tiles(options):
    with pytest.raises(InputError, match="None of 100 tiles"):
        cover(grid(), regions(at(6400, 0, 7000, 6400)), **options)


def test_holes_are_not_covered():
    ring = at(0, 5760, 640, 6400).difference(at(160, 5920, 480, 6240))
    assert cover(grid(), regions(ring)).coverage == pytest.approx([0.75])


def test_the_middle_of_a_tile_decides_between_neighbors():
    half = regions(at(0, 0, 3100, 6400), at(3100, 0, 6400, 6400), ids=["west", "east"])
    found = cover(grid(), half, rule="centroid")
    assert len(found) == 100
    assert all(len(names) == 1 for names in found.regions)
    assert [names[0] for names in found.regions[:10]] == ["west"] * 5 + ["east"] * 5
    # Of the region that the tile belongs to; the rest of it lies in the other.
    assert found.coverage[4] == pytest.approx(540 / 640)


def test_a_share_of_the_tile():
    region = regions(at(0, 5760, 960, 6400))
    assert cover(grid(), region, rule="fraction", fraction=0.5).ids == ("0_0", "0_64")
    assert cover(grid(), region, rule="fraction", fraction=0.6).ids == ("0_0",)


def test_a_long_coast_has_the_same_area_as_its_pieces():
    angle = np.linspace(0, 2 * np.pi, 20_000)[:-1]
    radius = 2500 + 300 * np.sin(400 * angle)
    coast = shapely.Polygon(
        np.stack([503_200 + radius * np.cos(angle), 4_496_800 + radius * np.sin(angle)], 1)
    )
    found = cover(grid(), regions(coast))
    assert found.coverage.sum() * 640.0**2 == pytest.approx(coast.area, rel=1e-9)


def test_regions_in_degrees_fall_on_the_right_tiles():
    pyproj = pytest.importorskip("pyproj")
    lon, lat = pyproj.Transformer.from_crs(UTM, "EPSG:4326", always_xy=True).transform(
        [500_000 + 1000, 500_000 + 1300], [4_493_600 + 3000, 4_493_600 + 3200]
    )
    found = cover(grid(), regions(shapely.box(lon[0], lat[0], lon[1], lat[1]), crs="EPSG:4326"))
    assert found.ids == ("320_64", "320_128")
    assert found.coverage.sum() * 640.0**2 == pytest.approx(300 * 200, rel=0.01)


@pytest.mark.parametrize(
    ("shape", "crs"),
    [
        (shapely.box(60, -10, 150, 89), "EPSG:4326"),
        (shapely.box(-2e7, -2e7, 2e7, 2e7), "EPSG:3857"),
    ],
)
def test_a_continent_around_the_scene_covers_all_of_it(shape, crs):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = cover(grid(), regions(shape, crs=crs))
    assert len(found) == 100
    assert (found.coverage == 1.0).all()


def test_regions_elsewhere_are_counted_and_named():
    there = regions(at(0, 0, 900, 900), at(90_000, 0, 90_100, 100), ids=["here", "away"])
    with pytest.warns(
        RegionWarning, match=r"1 region \('away'\) of 2 lie outside of the raster or tiles and get none"
    ):
        found = cover(grid(), there)
    assert without_tiles(found, there) == ("away",)


def test_regions_that_a_rule_gives_none_are_named():
    small = regions(at(10, 10, 20, 20), at(0, 3000, 3000, 6400), ids=["dot", "field"])
    with pytest.warns(RegionWarning, match=r"1 region \('dot'\) of 2 got no tile by rule='centroid'"):
        found = cover(grid(), small, rule="centroid")
    assert without_tiles(found, small) == ("dot",)
    with pytest.raises(
        InputError, match="None of 100 tiles is in 1 region .* by rule='fraction' with fraction=0.9"
    ):
        cover(grid(), regions(at(10, 10, 20, 20)), rule="fraction", fraction=0.9)


@pytest.mark.parametrize(
    ("shape", "crs", "message"),
    [
        (shapely.box(10, 50, 11, 51), "EPSG:4326", "Check that both are of the same place"),
        (shapely.box(40.6, 117.0, 40.65, 117.05), UTM, "span x 40.6 to 40.65, y 117 to 117.05 of EPSG:32650"),
        (shapely.box(117.0, 40.6, 117.05, 40.65), UTM, "look like degrees: say crs='EPSG:4326'"),
    ],
)
def test_regions_that_all_miss_are_an_error_with_a_reason(shape, crs, message):
    with pytest.raises(InputError, match=message):
        cover(grid(), regions(shape, crs=crs))


def test_swapped_axes_are_recognized_by_where_they_would_fall():
    # A scene near longitude 30, latitude 50: both orders are possible degrees.
    tiles = raster_grid(640, 640, (10.0, 0.0, 500_000.0, 0.0, -10.0, 5_540_000.0), "EPSG:32636", size=64)
    lon, lat = tiles.centers("EPSG:4326").mean(0)
    swapped = regions(shapely.box(lat - 0.01, lon - 0.01, lat + 0.01, lon + 0.01), crs="EPSG:4326")
    with pytest.raises(InputError, match="With latitude and longitude swapped they would lie on it"):
        cover(tiles, swapped)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rule": "intersect"}, "rule 'intersect' is none of .* Did you mean 'intersects'"),
        ({"rule": "fraction"}, "needs a fraction over 0 and up to 1, not 0"),
        ({"fraction": 0.5}, "fraction=0.5 belongs to rule='fraction'"),
    ],
)
def test_rules_that_are_none(options, message):
    with pytest.raises(ConfigError, match=message):
        cover(grid(), regions(at(0, 0, 900, 900)), **options)


class TestTileGrid:
    def test_windows_of_a_raster(self):
        tiles = TileGrid("raster", tile_px=128, overlap=64).over(SCENE)
        assert len(tiles) == 81
        assert tiles.ids[1] == "scene_0_64"
        assert TileGrid("raster", tile_px=128, stride=64).over(SCENE).ids == tiles.ids

    def test_tiles_of_a_scheme_over_regions_need_no_raster(self):
        area = regions(shapely.box(116.39, 39.90, 116.42, 39.92), crs="EPSG:4326")
        for scheme in ("webmercator", "tms", "baidu"):
            tiles = TileGrid(scheme, zoom=15).cover(area)
            outlines = tiles.footprints()
            assert shapely.union_all(outlines).buffer(1e-6).covers(area.geometries[0])
            shared = shapely.area(shapely.intersection(outlines, area.geometries[0])) / shapely.area(outlines)
            assert tiles.coverage == pytest.approx(shared, rel=1e-3)
            assert (tiles.coverage > 0).all()

    def test_tiles_of_a_scheme_over_a_raster_touch_it(self):
        tiles = TileGrid("webmercator", zoom=14).over(SCENE)
        outline = shapely.box(*SCENE.bounds)
        shares = shapely.area(shapely.intersection(tiles.footprints(UTM), outline))
        assert (shares > 0).all()
        assert shares.sum() == pytest.approx(outline.area, rel=1e-6)

    def test_a_raster_limits_the_tiles_of_regions(self):
        wide = regions(shapely.box(116.9, 40.5, 117.2, 40.8), crs="EPSG:4326")
        grid = TileGrid("webmercator", zoom=14)
        assert set(grid.cover(wide, raster=SCENE).ids) == set(grid.over(SCENE).ids)
        assert len(grid.cover(wide)) > len(grid.over(SCENE))

    def test_tiles_of_several_regions_are_one_table(self):
        pair = regions(
            shapely.box(116.3, 39.9, 116.31, 39.91), shapely.box(116.3, 39.9, 116.32, 39.92), crs="EPSG:4326"
        )
        tiles = TileGrid("webmercator", zoom=16).cover(pair)
        assert len(set(tiles.ids)) == len(tiles)
        assert ("1", "2") in tiles.regions

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"scheme": "xyz"}, "'xyz' is no tile scheme; known: webmercator, tms, baidu, raster"),
            ({"scheme": "webmercator"}, "needs a zoom level, for example zoom=16"),
            ({"scheme": "raster", "zoom": 3}, "zoom= and crs= do not apply"),
            ({"scheme": "raster", "overlap": 256}, "overlap=256 must be from 0 to less than tile_px=256"),
            ({"scheme": "raster", "overlap": 8, "stride": 8}, "say the same"),
            ({"scheme": "tms", "zoom": 3, "overlap": 8}, "Tiles of tms do not overlap"),
        ],
    )
    def test_settings_that_do_not_belong_together(self, options, message):
        with pytest.raises(ConfigError, match=message):
            TileGrid(**options)

    def test_a_raster_grid_needs_its_raster(self):
        with pytest.raises(ConfigError, match="pass raster="):
            TileGrid("raster").cover(regions(at(0, 0, 10, 10)))
        with pytest.raises(ConfigError, match=r"use over\(raster\)"):
            TileGrid("raster").within((0, 0, 1, 1))

    def test_the_world_at_street_level_is_refused(self):
        with pytest.raises(
            LimitError, match="tiles are over the limit of 5,000,000.*Take a lower zoom than 18"
        ):
            TileGrid("webmercator", zoom=18).within((-180, -80, 180, 80))


@pytest.mark.parametrize("edge", ["shift", "pad", "drop"])
@pytest.mark.parametrize("stride", [None, 20, 70])
@pytest.mark.parametrize("place", [(3, 5, 70, 80), (400, 300, 660, 515), (640, 10, 655, 20)])
def test_a_scene_with_too_many_tiles_is_cut_around_the_regions(monkeypatch, edge, stride, place):
    transform = (10.0, 0.0, 500_000.0, 0.0, -10.0, 4_500_000.0)
    raster = SimpleNamespace(
        name="s.tif", width=655, height=515, transform=transform, crs="EPSG:32650",
        bounds=(500_000.0, 4_494_850.0, 506_550.0, 4_500_000.0),
    )  # fmt: skip
    west, north, east, south = place
    box = shapely.box(
        500_000 + 10 * west, 4_500_000 - 10 * south, 500_000 + 10 * east, 4_500_000 - 10 * north
    )
    regions = Regions.from_geometries([box], "EPSG:32650")
    grid = TileGrid("raster", tile_px=50, stride=stride, edge=edge)
    try:
        whole = grid.cover(regions, raster=raster)
    except InputError:
        return
    monkeypatch.setattr("verticlip.domains.urban.geometry.grids.MAX_TILES", len(grid.over(raster)) - 1)
    part = grid.cover(regions, raster=raster)
    assert part.ids == whole.ids
    assert np.array_equal(part.windows, whole.windows)
    assert np.array_equal(part.bounds, whole.bounds)
    away = Regions.from_geometries([shapely.box(600_000, 0, 600_100, 100)], "EPSG:32650")
    with pytest.raises(InputError, match="none lies on the raster"):
        grid.cover(away, raster=raster)
