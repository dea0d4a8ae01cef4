"""Regions of the user: every format, every system, and what is wrong with them in words."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
from urban.geometry import make_regions as _made
from verticlip.core.errors import InputError
from verticlip.domains.urban.geometry.regions import Regions, RegionWarning
from verticlip.domains.urban.loaders.errors import MissingCRSError

BOW, box, geojson = _made.BOW, _made.box, _made.geojson

geopandas, shapely = pytest.importorskip("geopandas"), pytest.importorskip("shapely")


@pytest.fixture
def table():
    return geopandas.GeoDataFrame(
        {"id": ["north", "south"], "people": [10, 20]},
        geometry=[shapely.box(116, 40, 117, 41), shapely.MultiPolygon([shapely.box(116, 39, 117, 40)])],
        crs="EPSG:4326",
    )


@pytest.mark.parametrize("suffix", [".geojson", ".json", ".gpkg", ".shp", ".parquet", ".geoparquet"])
def test_every_format_gives_the_same(table, tmp_path, suffix):
    path = tmp_path / f"regions{suffix}"
    if "parquet" in suffix:
        table.to_parquet(path)
    else:
        driver = {".gpkg": "GPKG", ".shp": "ESRI Shapefile"}.get(suffix, "GeoJSON")
        table.to_file(path, driver=driver, engine="pyogrio")
    regions = Regions.from_file(path)
    assert regions.ids == ("north", "south")
    assert regions.attributes["people"] == (10, 20)
    assert regions.crs in ("EPSG:4326", "OGC:CRS84")
    assert [shape.area for shape in regions.geometries] == pytest.approx([1.0, 1.0])
    assert regions.bounds == pytest.approx((116, 39, 117, 41))


def test_regions_come_into_any_system(table, tmp_path):
    table.to_crs("EPSG:32650").to_file(tmp_path / "utm.gpkg", engine="pyogrio")
    regions = Regions.from_file(tmp_path / "utm.gpkg")
    assert regions.crs == "EPSG:32650"
    again = regions.to_crs("EPSG:4326")
    assert again.bounds == pytest.approx((116, 39, 117, 41), abs=0.003)
    assert again.ids == regions.ids


def test_names_come_from_a_column_or_are_counted(tmp_path):
    rings = box(0, 0, 1, 1), box(1, 0, 2, 1)
    named = geojson(tmp_path / "a.geojson", *rings, properties=[{"name": "A"}, {"name": "B"}])
    assert Regions.from_file(named).ids == ("A", "B")
    alike = geojson(tmp_path / "b.geojson", *rings, properties=[{"name": "A"}, {"name": "A"}])
    assert Regions.from_file(alike).ids == ("1", "2")
    codes = geojson(tmp_path / "c.geojson", *rings, properties=[{"code": 7.0}, {"code": 8.0}])
    assert Regions.from_file(codes, id_column="code").ids == ("7", "8")
    with pytest.raises(InputError, match="no column 'cod'; it has: code. Did you mean 'code'"):
        Regions.from_file(codes, id_column="cod")


def test_names_that_are_missing_or_stand_twice(tmp_path):
    rings = box(0, 0, 1, 1), box(1, 0, 2, 1)
    twice = geojson(tmp_path / "a.geojson", *rings, properties=[{"id": "x"}, {"id": "x"}])
    with pytest.raises(InputError, match="'x' stands more than once.*merge \\(dissolve\\)"):
        Regions.from_file(twice)
    missing = geojson(tmp_path / "b.geojson", *rings, properties=[{"code": "x"}, {"code": None}])
    with pytest.raises(InputError, match="1 of 2 features have no 'code'"):
        Regions.from_file(missing, id_column="code")


def test_a_shapefile_without_projection_asks_for_it(table, tmp_path):
    table.to_file(tmp_path / "r.shp", engine="pyogrio")
    (tmp_path / "r.prj").unlink()
    with pytest.raises(
        MissingCRSError, match="r.shp: the file does not say what its coordinates are .*\\.prj"
    ):
        Regions.from_file(tmp_path / "r.shp")
    assert Regions.from_file(tmp_path / "r.shp", crs="EPSG:4326").crs == "EPSG:4326"


def test_coordinates_of_chinese_maps_become_true_ones(tmp_path):
    path = geojson(tmp_path / "r.geojson", box(116.41, 39.91, 116.42, 39.92))
    regions = Regions.from_file(path, crs="GCJ-02")
    assert regions.crs == "EPSG:4326"
    west, south, _, _ = regions.bounds
    assert 0.005 < 116.41 - west < 0.007
    assert 0.001 < 39.91 - south < 0.002


def test_what_is_no_polygon_is_named(tmp_path):
    shapes = [shapely.box(0, 0, 1, 1), shapely.Point(0, 0), shapely.LineString([(0, 0), (1, 1)])]
    table = geopandas.GeoDataFrame({"id": ["a", "b", "c"]}, geometry=shapes, crs="EPSG:4326")
    table.to_file(tmp_path / "r.geojson", driver="GeoJSON", engine="pyogrio")
    with pytest.raises(InputError, match=r"2 features \('b', 'c'\) are LineString, Point. Buffer points"):
        Regions.from_file(tmp_path / "r.geojson")


def test_features_without_outline_are_named():
    with pytest.raises(InputError, match=r"1 region \('2'\) have no outline"):
        Regions.from_geometries([shapely.box(0, 0, 1, 1), shapely.Polygon()], "EPSG:4326")
    with pytest.raises(InputError, match=r"1 region \('1'\) have no outline"):
        Regions.from_geometries([None], "EPSG:4326")


def test_an_empty_file_says_so(tmp_path):
    path = tmp_path / "r.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": []}))
    with pytest.raises(InputError, match="r.geojson: there are no features in it"):
        Regions.from_file(path)
    with pytest.raises(InputError, match="there are no regions"):
        Regions.from_geometries([], "EPSG:4326")


def test_an_outline_that_crosses_itself_is_named_and_can_be_mended(tmp_path):
    path = geojson(tmp_path / "r.geojson", box(5, 5, 6, 6), BOW, properties=[{"id": "ok"}, {"id": "bow"}])
    with pytest.raises(
        InputError, match=r"1 region \('bow'\) are invalid; 'bow': Self-intersection.*repair=True"
    ):
        Regions.from_file(path)
    mended = Regions.from_file(path, repair=True)
    assert mended.repaired == ("bow",)
    assert mended.geometries[1].area == pytest.approx(0.5)
    assert shapely.is_valid(mended.geometries).all()
    assert mended.take([0]).repaired == ()


def test_mending_keeps_only_areas():
    spike = shapely.Polygon([(0, 0), (1, 0), (1, 1), (1, 3), (1, 1), (0, 1)])
    assert not spike.is_valid
    mended = Regions.from_geometries([spike], "EPSG:4326", repair=True).geometries[0]
    assert mended.geom_type == "Polygon"
    assert mended.area == pytest.approx(1.0)
    flat = shapely.Polygon([(0, 0), (1, 1), (2, 2)])
    with pytest.raises(InputError, match="region '1' has no area to mend"):
        Regions.from_geometries([flat], "EPSG:4326", repair=True)


@pytest.mark.parametrize(
    ("ring", "message"),
    [
        (box(39, 116, 40, 117), "latitude and longitude are swapped: x from 39 to 40 and y from 116 to 117"),
        (box(440000, 4400000, 450000, 4410000), "are no degrees. Say what they are with crs="),
        (box(170, -20, 190, -10), "longitudes go from 170 to 190; use -180 to 180, and split regions"),
    ],
)
def test_numbers_that_are_no_degrees(tmp_path, ring, message):
    with pytest.raises(InputError, match=message):
        Regions.from_file(geojson(tmp_path / "r.geojson", ring))


@pytest.mark.filterwarnings("ignore:invalid value encountered")
def test_numbers_that_are_none():
    ring = shapely.Polygon([(0, 0), (1, 0), (1, np.nan)])
    with pytest.raises(InputError, match="coordinates that are no numbers"):
        Regions.from_geometries([ring], "EPSG:4326")


def test_a_region_around_the_earth_is_noted():
    with pytest.warns(RegionWarning, match=r"1 region \('1'\) span more than 180 degrees.*antimeridian"):
        Regions.from_geometries([shapely.box(-179, 0, 179, 10)], "EPSG:4326")


def test_heights_are_left_out():
    solid = shapely.Polygon([(0, 0, 5), (1, 0, 5), (1, 1, 5)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        regions = Regions.from_geometries([solid], "EPSG:32650")
    assert not shapely.has_z(regions.geometries).any()


def test_a_system_that_cannot_show_a_region():
    regions = Regions.from_geometries([shapely.box(26, -1, 28, 1)], "EPSG:4326", ids=["congo"])
    with pytest.raises(InputError, match=r"EPSG:32650 cannot show 1 region \('congo'\)"):
        regions.to_crs("EPSG:32650")


def test_ids_for_each():
    with pytest.raises(InputError, match="1 ids for 2 regions"):
        Regions.from_geometries([shapely.box(0, 0, 1, 1)] * 2, "EPSG:4326", ids=["a"])
