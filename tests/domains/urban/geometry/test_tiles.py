"""Tables of tiles: choosing, joining, outlines."""

from __future__ import annotations

import numpy as np
import pytest
from verticlip.core.errors import InputError
from verticlip.domains.urban.geometry.grids import raster_grid
from verticlip.domains.urban.geometry.schemes import scheme_tiles
from verticlip.domains.urban.geometry.tiles import Tiles
from verticlip.domains.urban.loaders.errors import MissingCRSError

UTM = (10.0, 0.0, 500_000.0, 0.0, -10.0, 4_500_000.0)


def grid(name="", crs="EPSG:32650", size=64):
    return raster_grid(128, 128, UTM, crs, size=size, name=name)


def test_taking_some_keeps_every_column_in_step():
    tiles = grid()
    some = tiles.take([3, 0])
    assert some.ids == ("64_64", "0_0")
    assert some.windows.tolist() == [[64, 64, 64, 64], [0, 0, 64, 64]]
    assert tiles.take(np.array([True, False, False, True])).ids == ("0_0", "64_64")
    assert len(tiles.take([])) == 0
    with pytest.raises(InputError, match="do not choose among 4 tiles"):
        tiles.take([True, False])


def test_joining_tables():
    joined = Tiles.concat([grid("a"), grid("b")])
    assert len(joined) == 8
    assert joined.ids[4] == "b_0_0"


def test_joining_fills_coverage_and_drops_what_only_some_have():
    covered = scheme_tiles(np.array([[16, 1, 1]]), "webmercator")
    covered = Tiles(covered.ids, covered.bounds, covered.crs, regions=(("x",),), coverage=np.array([0.5]))
    plain = scheme_tiles(np.array([[16, 2, 2]]), "webmercator")
    joined = Tiles.concat([covered, plain])
    assert joined.regions == (("x",), ())
    assert joined.coverage.tolist() == [0.5, 1.0]
    assert joined.zxy is None
    assert joined.scheme == "grid"


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (list, "no tiles to join"),
        (lambda: [grid("a"), grid("b", "EPSG:32651")], "EPSG:32650 and EPSG:32651 cannot be in one table"),
        (lambda: [grid("a"), grid("a")], "the name 'a_0_0' stands twice"),
    ],
)
def test_tables_that_do_not_go_together(parts, message):
    with pytest.raises(InputError, match=message):
        Tiles.concat(parts())


def test_columns_of_another_length_are_refused():
    with pytest.raises(InputError, match=r"bounds of \(1, 4\) does not belong to 2 ids"):
        Tiles(("a", "b"), np.zeros((1, 4)), "EPSG:4326")
    with pytest.raises(InputError, match="regions of 2 does not belong to 1 ids"):
        Tiles(("a",), np.zeros((1, 4)), "EPSG:4326", regions=((), ()))


def test_outlines_in_the_own_system_are_rectangles():
    shapely = pytest.importorskip("shapely")
    outlines = grid().footprints("EPSG:32650")
    assert outlines[0].equals(shapely.box(500_000, 4_499_360, 500_640, 4_500_000))
    assert shapely.get_num_coordinates(outlines[0]) == 5


def test_outlines_in_degrees_are_where_pyproj_says():
    pyproj, shapely = pytest.importorskip("pyproj"), pytest.importorskip("shapely")
    corner = shapely.get_coordinates(grid().footprints()[0]).max(0)
    expected = pyproj.Transformer.from_crs("EPSG:32650", "EPSG:4326", always_xy=True).transform(
        500_640, 4_500_000
    )
    assert corner == pytest.approx(expected, abs=2e-6)


def test_long_edges_follow_the_curve():
    pyproj, shapely = pytest.importorskip("pyproj"), pytest.importorskip("shapely")
    wide = Tiles(("w",), np.array([[200_000.0, 6_000_000.0, 800_000.0, 6_300_000.0]]), "EPSG:32650")
    outline = wide.footprints()[0]
    middle = pyproj.Transformer.from_crs("EPSG:32650", "EPSG:4326", always_xy=True).transform(
        500_000, 6_000_000
    )
    # The straight line between the corners passes a kilometre from there.
    assert outline.exterior.distance(shapely.Point(middle)) < 1e-5


def test_middles():
    tiles = grid()
    assert tiles.centers()[0].tolist() == [500_320.0, 4_499_680.0]
    lon, lat = tiles.centers("EPSG:4326")[0]
    assert 117.0 < lon < 117.01
    assert 40.6 < lat < 40.7


def test_pictures_without_a_place_have_no_outlines():
    tiles = grid(crs="")
    assert tiles[0].window == (0, 0, 64, 64)
    with pytest.raises(MissingCRSError, match="no coordinate system: their source is a picture"):
        tiles.footprints()


def test_an_empty_table_has_no_extent():
    assert grid().extent == (500_000.0, 4_498_720.0, 501_280.0, 4_500_000.0)
    with pytest.raises(InputError, match="no extent"):
        grid().take([]).extent  # noqa: B018
