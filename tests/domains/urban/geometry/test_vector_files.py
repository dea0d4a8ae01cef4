"""Which files of polygons are opened, and which never are."""

from __future__ import annotations

import pytest
from urban.geometry import make_regions as _made
from verticlip.core.errors import InputError, LimitError
from verticlip.core.limits import DEFAULT
from verticlip.domains.urban.geometry.vector_files import read_layer

box, geojson = _made.box, _made.geojson

geopandas = pytest.importorskip("geopandas")


@pytest.fixture
def regions(tmp_path):
    return geojson(tmp_path / "regions.geojson", box(0, 0, 1, 1), box(1, 0, 2, 1))


def test_a_table_of_features(regions):
    assert len(read_layer(regions)) == 2
    regions.write_bytes(b"\xef\xbb\xbf  " + regions.read_bytes())
    assert len(read_layer(regions)) == 2


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("r.kml", r"\.kml is no format of polygons that is read here; use .geojson, .json, .gpkg"),
        ("r.zip", "Unpack the archive first"),
        ("regions", "a name without suffix is no format"),
        ("absent.gpkg", "absent.gpkg: no such file. Give one local GeoPackage file"),
        ("folder.shp", "folder.shp: is a folder"),
        ("/vsizip/archive.zip/r.geojson", "r.geojson: no such file"),
        ("https://example.org/r.geojson", "r.geojson: no such file"),
    ],
)
def test_what_is_no_local_file_of_polygons(tmp_path, name, message):
    (tmp_path / "folder.shp").mkdir(exist_ok=True)
    with pytest.raises(InputError, match=message):
        read_layer(tmp_path / name if name[0] != "/" and ":" not in name else name)


@pytest.mark.filterwarnings("ignore:GPKG. bad application_id")
@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("r.geojson", b"", "r.geojson: the file is empty"),
        ("r.gpkg", b'{"type": "FeatureCollection"}', "its content is not GeoPackage"),
        ("r.geojson", b"<OGRVRTDataSource></OGRVRTDataSource>", "its content is not GeoJSON"),
        ("r.parquet", b"PAR0" + bytes(64), "its content is not GeoParquet"),
        ("r.geojson", b'{"type": "FeatureCollection", "features": [', "cannot be read as GeoJSON"),
        ("r.parquet", b"PAR1" + bytes(64) + b"PAR1", "cannot be read as GeoParquet"),
        ("r.gpkg", b"SQLite format 3\0" + bytes(200), "cannot be read as GeoPackage"),
        ("r.shp", b"\0\0\x27\x0a" + bytes(96), "cannot be read as Shapefile"),
    ],
)
def test_damaged_and_disguised_files(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        read_layer(path)
    assert str(tmp_path) not in str(caught.value)


def test_a_virtual_file_that_names_another_is_not_followed(tmp_path, regions):
    virtual = tmp_path / "r.json"
    virtual.write_text(
        f'<OGRVRTDataSource><OGRVRTLayer name="regions"><SrcDataSource>{regions}</SrcDataSource></OGRVRTLayer>'
        "</OGRVRTDataSource>"
    )
    with pytest.raises(InputError, match="its content is not GeoJSON"):
        read_layer(virtual)


def test_whole_paths_only_where_asked_for(tmp_path):
    with pytest.raises(InputError, match=str(tmp_path)):
        read_layer(tmp_path / "absent.gpkg", show_paths=True)


def test_large_files_are_refused_unread(regions):
    with pytest.raises(LimitError, match="regions.geojson: bytes .* over the limit of 10"):
        read_layer(regions, limits=DEFAULT.with_(file_bytes=10))


def test_layers_of_a_geopackage(tmp_path, regions):
    table, path = geopandas.read_file(regions), tmp_path / "r.gpkg"
    for layer in ("districts", "parcels"):
        table.to_file(path, layer=layer, driver="GPKG", engine="pyogrio")
    with pytest.raises(InputError, match="which layer\\? It has 'districts', 'parcels'"):
        read_layer(path)
    with pytest.raises(InputError, match="no layer 'district'; it has .* Did you mean 'districts'"):
        read_layer(path, layer="district")
    assert len(read_layer(path, layer="parcels")) == 2
