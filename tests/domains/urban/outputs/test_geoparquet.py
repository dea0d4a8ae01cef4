"""Tables of embeddings on disk: what other programs read, and what comes back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from pyarrow import parquet
from urban import make_scenes as scenes
from verticlip.core.errors import DataError, InputError
from verticlip.domains.urban.geometry.tiles import Tiles
from verticlip.domains.urban.outputs.embedding_table import EmbeddingTable
from verticlip.domains.urban.outputs.geoparquet import read_embeddings, write_embeddings

grid, UTM = scenes.grid, scenes.UTM


def table(tiles: Tiles | None = None, width: int = 6) -> EmbeddingTable:
    tiles = grid() if tiles is None else tiles
    vectors = np.random.default_rng(0).standard_normal((len(tiles), width)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    meta = {"model_id": "m", "revision": "r", "processor": "p", "scaling": {"divide": 255}}
    return EmbeddingTable.from_tiles(tiles, vectors, source="scene.tif", meta=meta)


def test_everything_comes_back(tmp_path: Path) -> None:
    made = table().with_columns({"people": np.arange(48.0), "name": [f"tile {n}" for n in range(48)]})
    write_embeddings(tmp_path / "a.parquet", made)
    back = read_embeddings(tmp_path / "a.parquet")
    assert back.ids == made.ids
    assert np.array_equal(back.vectors, made.vectors)
    assert back.vectors.dtype == np.float32
    assert back.geometry == made.geometry
    assert back.columns["people"].tolist() == made.columns["people"].tolist()
    assert back.columns["name"].tolist() == made.columns["name"].tolist()
    assert (back.crs, back.source, back.meta["scaling"]) == (UTM, "scene.tif", {"divide": 255})
    tiles, original = back.tiles(), grid()
    assert np.array_equal(tiles.bounds, original.bounds)
    assert tiles.windows is not None
    assert np.array_equal(tiles.windows, original.windows)
    assert (tiles.crs, tiles.scheme) == (original.crs, original.scheme)
    assert read_embeddings(tmp_path / "a.parquet", columns=["people"]).columns.keys() == {"people"}


def test_words_of_the_scene_are_kept_once(tmp_path: Path, monkeypatch) -> None:
    """A coordinate system without a code is hundreds of letters, the same in each of millions of rows."""
    import pyproj
    from verticlip.domains.urban.outputs import geoparquet_reading

    wkt = pyproj.CRS("+proj=laea +lat_0=40 +lon_0=20 +type=crs").to_wkt()
    transform = (10.0, 0.0, 0.0, 0.0, -10.0, 0.0)
    tiles = scenes.raster_grid(1600, 1600, transform, wkt, size=16)
    write_embeddings(tmp_path / "a.parquet", table(tiles))
    kept: dict[str, int] = {}
    make = geoparquet_reading._Columns

    def columns(pieces, count, name):
        kept.update({word: sum(piece.nbytes for piece in found) for word, found in pieces.items()})
        return make(pieces, count, name)

    monkeypatch.setattr(geoparquet_reading, "_Columns", columns)
    back = read_embeddings(tmp_path / "a.parquet")
    assert (back.crs, back.source, len(back)) == (wkt, "scene.tif", 10_000)
    assert len(wkt) > 300
    assert kept["crs"] < 10 * len(back), "not the words of each row"


def test_geopandas_opens_it_as_a_layer(tmp_path: Path) -> None:
    geopandas, pyproj = pytest.importorskip("geopandas"), pytest.importorskip("pyproj")
    made = table()
    write_embeddings(tmp_path / "a.parquet", made)
    layer = geopandas.read_parquet(tmp_path / "a.parquet")
    assert layer.crs.to_epsg() == 4326
    assert list(layer["tile_id"]) == list(made.ids)
    west, south, east, north = made.bounds[0]
    lon, lat = pyproj.Transformer.from_crs(UTM, 4326, always_xy=True).transform(
        [west, east, east, west], [south, south, north, north]
    )
    corners = np.array(layer.geometry.iloc[0].exterior.coords)
    for corner in zip(lon, lat, strict=True):
        assert np.abs(corners - corner).sum(axis=1).min() < 1e-9
    assert layer.geometry.is_valid.all()
    assert layer.geometry.iloc[0].exterior.is_ccw
    # The covering: a reader that is asked for one corner of the map skips the rest.
    x, y = layer.geometry.iloc[-1].centroid.coords[0]
    some = geopandas.read_parquet(tmp_path / "a.parquet", bbox=(x - 1e-4, y - 1e-4, x + 1e-4, y + 1e-4))
    assert list(some["tile_id"]) == [made.ids[-1]]


def test_the_file_follows_the_specification(tmp_path: Path) -> None:
    made = table()
    write_embeddings(tmp_path / "a.parquet", made)
    schema = parquet.read_schema(tmp_path / "a.parquet")
    assert str(schema.field("embedding").type) == "fixed_size_list<element: float not null>[6]"
    geo = json.loads(schema.metadata[b"geo"])
    column = geo["columns"]["geometry"]
    assert (geo["version"], geo["primary_column"], column["encoding"]) == ("1.1.0", "geometry", "WKB")
    assert column["geometry_types"] == ["Polygon"]
    assert column["covering"]["bbox"]["xmax"] == ["bbox", "xmax"]
    read = parquet.read_table(tmp_path / "a.parquet")
    boxes = read.column("bbox").to_pylist()
    assert column["bbox"][0] == min(box["xmin"] for box in boxes)
    assert column["bbox"][3] == max(box["ymax"] for box in boxes)
    assert read.column("pixel_bbox").to_pylist()[1] == [32, 0, 64, 32]
    assert parquet.ParquetFile(tmp_path / "a.parquet").metadata.row_group(0).column(0).compression == "ZSTD"
    flat = read.column("embedding").combine_chunks().flatten().to_numpy(zero_copy_only=True)
    assert np.array_equal(flat.reshape(-1, 6), made.vectors)
    names = {"tile_id", "z", "x", "y", "source", "crs", "datetime", "valid_fraction"}
    assert names <= set(schema.names)


def test_half_precision(tmp_path: Path) -> None:
    write_embeddings(tmp_path / "a.parquet", table(), dtype="float16")
    schema = parquet.read_schema(tmp_path / "a.parquet")
    assert str(schema.field("embedding").type) == "fixed_size_list<element: halffloat not null>[6]"
    back = read_embeddings(tmp_path / "a.parquet")
    assert back.vectors.dtype == np.float32
    assert np.abs(back.vectors - table().vectors).max() < 1e-3
    assert back.meta["dtype"] == "float16"


def test_rows_and_names(tmp_path: Path) -> None:
    made = table()
    some = made.take([5, 2])
    assert some.ids == (made.ids[5], made.ids[2])
    assert np.array_equal(some.vectors, made.vectors[[5, 2]])
    assert made.row_of(made.ids[7]) == 7
    with pytest.raises(
        InputError, match=r"no tile called 'scene_0_33' in this table\. Did you mean 'scene_0_32'"
    ):
        made.row_of("scene_0_33")
    with pytest.raises(DataError, match="cannot be called 'geometry'"):
        made.with_columns({"geometry": np.zeros(48)})
    with pytest.raises(DataError, match="'a' has 3 values for 48 tiles"):
        made.with_columns({"a": np.zeros(3)})
    with pytest.raises(DataError, match=r"48 tiles need vectors \[48, D\]; got \[3, 4\]"):
        EmbeddingTable.from_tiles(grid(), np.zeros((3, 4)))
    with pytest.raises(DataError, match="no rows"):
        write_embeddings(tmp_path / "a.parquet", made.take([]))
    assert not list(tmp_path.iterdir())
    lon, lat = made.centers()[0]
    assert -75.01 < lon < -74.9
    assert 40.6 < lat < 40.7


def test_tile_schemes_keep_their_indices(tmp_path: Path) -> None:
    zxy = np.array([[16, 53957, 24832], [16, 53958, 24832]])
    bounds = np.array([[0.0, 0.0, 600.0, 600.0], [600.0, 0.0, 1200.0, 600.0]])
    tiles = Tiles(("a", "b"), bounds, "EPSG:3857", zxy=zxy, regions=(("x",), ("x", "y")),
                  coverage=np.array([0.5, 1.0]), scheme="webmercator")  # fmt: skip
    write_embeddings(tmp_path / "a.parquet", table(tiles))
    back = read_embeddings(tmp_path / "a.parquet").tiles()
    assert np.array_equal(back.zxy, zxy)
    assert (back.scheme, back.windows, back.regions) == ("webmercator", None, (("x",), ("x", "y")))
    assert back.coverage.tolist() == [0.5, 1.0]


def test_foreign_files_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a\.parquet: no such file"):
        read_embeddings(tmp_path / "a.parquet")
    (tmp_path / "a.parquet").write_text("hello")
    with pytest.raises(InputError, match=r"a\.parquet: cannot be read as Parquet"):
        read_embeddings(tmp_path / "a.parquet")
    import pyarrow

    parquet.write_table(pyarrow.table({"geometry": [b""]}), tmp_path / "b.parquet")
    with pytest.raises(InputError, match=r"b\.parquet: not a table of embeddings of this program"):
        read_embeddings(tmp_path / "b.parquet")
    files = pyarrow.table({"id": ["a"], "vector": [[1.0]]}).replace_schema_metadata({"verticlip": "{}"})
    parquet.write_table(files, tmp_path / "c.parquet")
    with pytest.raises(InputError, match=r"c\.parquet: embeddings of files, which lie nowhere on a map"):
        read_embeddings(tmp_path / "c.parquet")
    write_embeddings(tmp_path / "d.parquet", table().with_columns({"people": np.zeros(48)}))
    with pytest.raises(InputError, match=r"no column 'peopl'\. Did you mean 'people'"):
        read_embeddings(tmp_path / "d.parquet", columns=["peopl"])
    cut = (tmp_path / "d.parquet").read_bytes()[:-100]
    (tmp_path / "d.parquet").write_bytes(cut)
    with pytest.raises(InputError, match=r"^d\.parquet: cannot be read as Parquet; .* or damaged") as caught:
        read_embeddings(tmp_path / "d.parquet")
    assert str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("tile_id", list(range(48)), r"column 'tile_id' has gaps or holds int64, not string"),
        ("tile_id", [None] * 48, r"column 'tile_id' has gaps"),
        ("geometry", [b"POINT"] * 48, r"some outlines are no WKB"),
        ("geometry", [None] * 48, r"column 'geometry' has gaps"),
    ],
)
def test_columns_that_were_changed_are_refused(tmp_path: Path, column, values, message) -> None:
    import pyarrow

    write_embeddings(tmp_path / "a.parquet", table())
    stored = parquet.read_table(tmp_path / "a.parquet")
    kind = None if column == "tile_id" and values[0] == 0 else stored.schema.field(column).type
    place = stored.schema.get_field_index(column)
    parquet.write_table(stored.set_column(place, column, pyarrow.array(values, kind)), tmp_path / "b.parquet")
    with pytest.raises(InputError, match=rf"b\.parquet: .*{message}"):
        read_embeddings(tmp_path / "b.parquet")


def test_damage_inside_of_a_file_is_said(tmp_path: Path) -> None:
    write_embeddings(tmp_path / "a.parquet", table())
    content = bytearray((tmp_path / "a.parquet").read_bytes())
    content[200:-3000:7] = bytes(byte ^ 0x55 for byte in content[200:-3000:7])
    (tmp_path / "a.parquet").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.parquet: "):
        read_embeddings(tmp_path / "a.parquet")


def test_tiles_that_lie_nowhere_are_refused() -> None:
    tiles = Tiles(("a",), np.array([[0.0, 0.0, 1.0, 1.0]]), "")
    with pytest.raises(InputError, match="no coordinate system"):
        table(tiles)
