"""Indicators per tile: rows find their tiles, and what does not fit is counted and named."""

from __future__ import annotations

import numpy as np
import pytest
from verticlip.core.errors import ConfigError, InputError
from verticlip.domains.urban.geometry import baidu
from verticlip.domains.urban.geometry.schemes import scheme_tiles
from verticlip.domains.urban.geometry.tiles import Tiles
from verticlip.domains.urban.indicators.released import parse_pair, parse_tile_name
from verticlip.domains.urban.indicators.table import IndicatorTable, is_amount

rasterio = pytest.importorskip("rasterio")
pytest.importorskip("shapely")

EDGES = 116 + 0.01 * np.arange(4)
TILES = Tiles(
    ("a", "b", "c"), np.array([(west, 39.0, west + 0.01, 39.01) for west in EDGES[:3]]), "EPSG:4326"
)
ZXY = np.array([[16, 12659, 4738], [16, 12660, 4738], [16, 12660, 4739]])


@pytest.fixture
def read(tmp_path):
    def put(text: str, **options) -> IndicatorTable:
        path = tmp_path / "t.csv"
        path.write_text(text, encoding="utf-8")
        return IndicatorTable.from_csv(path, **{"tiles": TILES, **options})

    return put


def same(values, wanted) -> bool:
    return np.allclose(values, wanted, equal_nan=True)


def test_rows_by_name(read):
    found = read("tile_id;population (persons);kind\nb;1,5;x\na;;y\nzz;3;x\n")
    assert found.tile_ids == TILES.ids
    assert same(found.column("population"), [np.nan, 1.5, np.nan])
    assert found.units == {"population": "persons"}
    assert found.labelled("population").tolist() == [1]
    notes = " / ".join(found.notes)
    assert "1 of 3 rows name no tile and were left out (zz)" in notes
    assert "1 of 3 tiles have no row and no value (c)" in notes
    assert "columns without numbers were left out (kind)" in notes
    assert "commas were read as decimal points in population" in notes


def test_without_tiles_the_rows_stay(read):
    found = read("id,x\nq,1\np,2\nq,1\n", tiles=None)
    assert found.tile_ids == ("q", "p")
    assert found.column("x").tolist() == [1, 2]
    with pytest.raises(InputError, match="needs them. Pass tiles="):
        read("lat,lon,x\n39,116,1\n", tiles=None)


def test_columns_of_positions_are_no_indicators_unless_asked_for(read):
    text = "tile_id,lat,lon (deg),x,Y,z,people\na,39,116,1,2,3,4\nb,39,116.01,1,2,3,5\n"
    found = read(text)
    assert found.names == ("people",)
    assert "t.csv: columns of positions are no indicators (lat, lon (deg), x, Y, z)" in found.notes
    assert read(text, columns=["lat", "z"]).names == ("lat", "z")
    # A letter by itself may be anything.
    assert read("tile_id,x,z\na,1,2\n").names == ("x", "z")
    with pytest.raises(InputError, match="no column of numbers beside tile_id"):
        read("tile_id,lat,lon\na,39,116\n")


def test_units_that_add_up():
    assert all(map(is_amount, ("persons", "million yuan", "t", "Tons (CO2)", "kWh")))
    assert not any(
        map(is_amount, ("", "persons per km2", "persons/km2", "m", "%", "t CO2 per capita", "index"))
    )


def test_rows_by_point(read):
    found = read("lat,lng,people\n39.004,116.006,4\n39.001,116.002,6\n39.0,116.01,7\n50,116,1\n")
    # The point on the edge between a and b is in the eastern tile.
    assert same(found.column("people"), [5, 7, np.nan])
    notes = " / ".join(found.notes)
    assert "1 of 4 points lie in no tile" in notes
    assert "1 tiles hold more than one point; they got the mean" in notes
    named = read("north,east,people\n39.005,116.005,4\n", lat_lon=("north", "east"))
    assert named.column("people")[0] == 4


def test_points_of_a_projected_grid_and_of_a_shifted_datum(read):
    from verticlip.domains.urban.geometry.china import wgs84_to_bd09

    bounds = np.array([[500_000.0, 4_400_000.0, 501_000.0, 4_401_000.0]])
    tiles = Tiles(("u",), bounds, "EPSG:32650")
    ((lon, lat),) = tiles.centers("EPSG:4326")
    assert read(f"lat,lon,x\n{lat},{lon},3\n", tiles=tiles).column("x")[0] == 3
    shifted_lon, shifted_lat = wgs84_to_bd09(lon, lat)
    text = f"lat,lon,x\n{shifted_lat},{shifted_lon},3\n"
    assert read(text, tiles=tiles, crs="BD-09").column("x")[0] == 3
    with pytest.raises(InputError, match="counted in another system"):
        read(text, tiles=tiles)


def test_swapped_latitude_and_longitude(read):
    with pytest.raises(InputError, match="line 2: a latitude of 116.005. Are latitude and longitude swapped"):
        read("lat,lon,x\n116.005,39.005,4\n")
    west = Tiles(("w",), np.array([[16.0, 39.0, 16.01, 39.01]]), "EPSG:4326")
    with pytest.raises(InputError, match="With the two exchanged, 2 do: latitude and longitude look swapped"):
        read("lat,lon,x\n16.005,39.005,4\n16.002,39.002,4\n", tiles=west)


@pytest.mark.parametrize(
    ("text", "options", "error", "message"),
    [
        ("tile_id,x\na,1\na,2\n", {}, InputError, "'a' stands in lines 2 and 3 with different values of 'x'"),
        (
            "tile_id,x\nq,1\n",
            {},
            InputError,
            "none of the 1 names is a tile. The table has q; the tiles are a",
        ),
        ("tile_id,x\n,1\n", {}, InputError, "line 2: the tile's name is empty"),
        ("place,x\na,1\n", {}, InputError, "no column says which tile a row is.*Pass id_column= or lat_lon="),
        ("tile_id,x\na,b\n", {}, InputError, "no column of numbers beside tile_id"),
        ("tile_id,x\na,b\n", {"columns": ["x"]}, InputError, "line 2: column 'x' holds 'b'"),
        ("tile_id,x\na,1\n", {"columns": ["y"]}, InputError, "no column 'y'"),
        ("tile_id,x (m),x (ft)\na,1,2\n", {}, InputError, "two columns are called 'x'"),
        ("lat,lon,x\n,116,1\n", {}, InputError, "line 2: latitude or longitude is empty"),
        ("lat,lon,x\n39,400000,1\n", {}, InputError, "a longitude of 400000; degrees"),
        ("lat,lon,x\n4400000,500000,1\n", {}, InputError, "Degrees are expected, not meters"),
        (
            "lat,lon,x\n1,1,1\n",
            {},
            InputError,
            "none of the 1 points lies in a tile. Are they of another area",
        ),
        ("tile_id,x\na,1\n", {"id_column": "q"}, InputError, "no column 'q'"),
        ("a,b\n1,1\n", {"id_column": "a", "lat_lon": ("a", "b")}, ConfigError, "not by both"),
    ],
)
def test_tables_that_do_not_fit(text, options, error, message, read):
    with pytest.raises(error, match=message):
        read(text, **options)


def test_equal_rows_of_one_tile_are_one(read):
    assert read("tile_id,x\na,1\na,1\n").column("x")[0] == 1


def released(*, corrected: bool = False) -> str:
    lon, lat = baidu.tile_corner(ZXY[:, 1], ZXY[:, 2], 16)
    shift = 0.01 if corrected else 0.0
    lines = ["satellite_img_name,BD09 coordinate,WGS84 coordinate,carbon_emissions (ton),gdp (million yuan)"]
    for index, (_, x, y) in enumerate(ZXY.tolist()):
        place = f'"({x * 1024},{y * 1024})","({lat[index] - shift}, {lon[index] - shift})"'
        lines.append(f"16_{x}_{y}_s.jpg,{place},{index + 1},0")
    return "\n".join(lines)


def test_the_released_layout_and_its_mislabelled_column(read):
    tiles = scheme_tiles(ZXY, "baidu")
    found = read(released(), tiles=tiles)
    assert found.column("carbon_emissions").tolist() == [1, 2, 3]
    assert found.units == {"carbon_emissions": "ton", "gdp": "million yuan"}
    assert any("'WGS84 coordinate' holds BD-09 degrees" in note for note in found.notes)
    assert not any("BD-09" in note for note in read(released(corrected=True), tiles=tiles).notes)


def test_released_coordinates_alone_place_their_tiles(read):
    lon, lat = baidu.tile_corner(ZXY[:, 1], ZXY[:, 2], 16)
    rows = [f'"({a}, {b})",{index},5' for index, (a, b) in enumerate(zip(lat, lon, strict=True))]
    text = "\n".join(["Coordinate,carbon,population", *rows])
    tiles = scheme_tiles(ZXY, "baidu")
    assert read(text, tiles=tiles).column("carbon").tolist() == [0, 1, 2]
    # Another grid over the same ground: rows lie where their tiles truly lie, a kilometre south-west.
    centers = tiles.centers("EPSG:4326")
    small = Tiles(("p", "q", "r"), np.concatenate([centers - 0.002, centers + 0.002], 1), "EPSG:4326")
    assert read(text, tiles=small).column("carbon").tolist() == [0, 1, 2]
    assert read(text, tiles=None).tile_ids == ("16_12659_4738", "16_12660_4738", "16_12660_4739")
    with pytest.raises(InputError, match="pairs are \\(latitude, longitude\\). Are they swapped"):
        read('Coordinate,carbon\n"(116.4, 39.9)",1\n', tiles=tiles)


def test_text_is_taken_apart_and_never_run():
    assert parse_pair("(39.98, 116.31)") == (39.98, 116.31)
    assert parse_pair("[1;2]") == (1.0, 2.0)
    assert parse_pair("__import__('os').getcwd()") is None
    assert parse_pair("(1e, 2)") is None
    assert parse_tile_name("images/Beijing/16_12659_4738_s.jpg") == (16, 12659, 4738)
    assert parse_tile_name("16_12659") is None


def test_alignment():
    table = IndicatorTable(("a", "b"), {"x": np.array([1.0, 2.0])}, {"x": "m"}, {"x": np.array([1.0, 0.5])})
    found = table.aligned_to(["b", "z", "a"])
    assert same(found.column("x"), [2, np.nan, 1])
    assert same(found.valid["x"], [0.5, np.nan, 1])
    assert "1 of 3 tiles have no row and no value (z)" in found.notes
    assert len(table) == 2
    with pytest.raises(InputError, match="holds none of the 2 tiles.*made from the same tiles"):
        table.aligned_to(["y", "z"])
    with pytest.raises(InputError, match="No indicator 'y'; the table has: x"):
        table.column("y")
    other = IndicatorTable(("b",), {"y": np.array([7.0])})
    assert same(table.merged_with(other).column("y"), [np.nan, 7])
    with pytest.raises(InputError, match="'x' comes from two sources"):
        table.merged_with(table)
    with pytest.raises(InputError, match="tile 'a' stands twice"):
        IndicatorTable(("a", "a"), {})
    with pytest.raises(InputError, match="'x' has"):
        IndicatorTable(("a", "b"), {"x": np.zeros(3)})


def test_from_rasters(tmp_path):
    values = np.arange(12, dtype=np.float32).reshape(2, 2, 3)
    values[0, 0, 2] = -9
    with rasterio.open(
        tmp_path / "both.tif", "w", driver="GTiff", count=2, height=2, width=3, dtype="float32",
        crs="EPSG:4326", nodata=-9, transform=rasterio.transform.from_origin(116, 39.01, 0.01, 0.005),
    ) as target:  # fmt: skip
        target.write(values)
    path = tmp_path / "both.tif"
    found = IndicatorTable.from_rasters(
        {"people": path, "height": path},
        TILES,
        stat={"people": "sum"},
        units={"height": "m"},
        bands={"people": 1, "height": 2},
        min_valid=0.6,
    )
    assert same(found.column("people"), [3, 5, np.nan])
    assert same(found.column("height"), [7.5, 8.5, 9.5])
    assert same(found.valid["people"], [1, 1, 0.5])
    assert found.notes == (
        "people: 1 of 3 tiles have valid pixels on less than 60% of their area and no value",
    )
    for stat in ("area_weighted", "mean", "sum"):
        counted = IndicatorTable.from_rasters(
            {"people": path}, TILES, stat=stat, units={"people": "persons"}, bands={"people": 2}
        )
        said = [note for note in counted.notes if "counted in 'persons', an amount" in note]
        assert len(said) == (stat != "sum")
    with pytest.raises(InputError, match="both.tif has 2 bands"):
        IndicatorTable.from_rasters({"people": path}, TILES)
    with pytest.raises(InputError, match="no such file"):
        IndicatorTable.from_rasters({"people": tmp_path / "gone.tif"}, TILES)
