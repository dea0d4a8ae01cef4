import pytest
from verticlip.core.errors import DataError
from verticlip.domains.ecommerce.products.parquet_table import ParquetTable
from verticlip.domains.ecommerce.products.rows import BadRow, Notes

pa = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")


def save(path, **columns):
    parquet.write_table(pa.table(columns), path, row_group_size=100)
    return path


def test_rows_in_batches(tmp_path):
    file = save(tmp_path / "a.parquet", id=list(range(1000)), title=[f"Mug {n}" for n in range(1000)])
    table = ParquetTable(file, Notes())
    assert table.columns == ["id", "title"]
    rows = list(table.rows())
    assert [row.number for row in rows] == list(range(1, 1001))
    assert rows[500].cells == {"id": 500, "title": "Mug 500"}


def test_parts_of_a_folder_are_one_table(tmp_path):
    save(tmp_path / "b.parquet", id=["3"])
    save(tmp_path / "a.parquet", id=["1", "2"])
    rows = list(ParquetTable(tmp_path, Notes()).rows())
    assert [(row.number, row.cells["id"]) for row in rows] == [(1, "1"), (2, "2"), (3, "3")]
    save(tmp_path / "c.parquet", sku=["4"])
    with pytest.raises(DataError, match="c.parquet and a.parquet differ in the column 'id'"):
        ParquetTable(tmp_path, Notes())


def test_pictures_and_objects_come_as_they_are(tmp_path):
    file = save(
        tmp_path / "a.parquet",
        id=["1"],
        image=[{"bytes": b"jpeg", "path": "x.jpg"}],
        images=[["a.jpg", "b.jpg"]],
        attributes=[{"pattern": "striped", "size": {"waist": 32}}],
    )
    [row] = ParquetTable(file, Notes()).rows()
    assert row.cells["image"] == {"bytes": b"jpeg", "path": "x.jpg"}
    assert row.cells["images"] == ["a.jpg", "b.jpg"]
    assert row.cells["attributes"] == {"pattern": "striped", "size": {"waist": 32}}


def test_vectors_are_not_read(tmp_path):
    file = save(tmp_path / "a.parquet", id=["1"], embedding=[[0.5] * 4])
    notes = Notes()
    assert ParquetTable(file, notes).columns == ["id"]
    assert notes.lines() == ("a.parquet: columns of vectors are not read: embedding",)


def test_times_of_every_precision(tmp_path):
    kinds = {unit: pa.timestamp(unit, tz="UTC") for unit in ("s", "ms", "us", "ns")}
    when = pa.array([1717156800123456789], pa.timestamp("ns", tz="UTC"))
    columns = {unit: when.cast(kind, safe=False) for unit, kind in kinds.items()}
    [row] = ParquetTable(save(tmp_path / "a.parquet", **columns), Notes()).rows()
    assert [row.cells[unit].microsecond for unit in kinds] == [0, 123000, 123456, 123456]


def test_text_that_is_no_utf8_costs_its_row(tmp_path):
    bad = pa.Array.from_buffers(pa.string(), 3, pa.array([b"A", b"\xff", b"C"], pa.binary()).buffers())
    file = tmp_path / "a.parquet"
    parquet.write_table(pa.table({"id": ["1", "2", "3"], "title": bad}), file)
    rows = list(ParquetTable(file, Notes()).rows())
    assert [isinstance(row, BadRow) for row in rows] == [False, True, False]
    assert "a cell cannot be read" in rows[1].reason


def test_a_damaged_file(tmp_path):
    file = save(tmp_path / "a.parquet", id=[f"{n * 7919:09}" for n in range(5000)])
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match="a.parquet: not a readable Parquet file .* It may be cut off"):
        ParquetTable(file, Notes())
    file.write_bytes(content[:2000] + bytes(500) + content[2500:])
    with pytest.raises(DataError, match=r"a.parquet: damaged behind row \d+ "):
        list(ParquetTable(file, Notes()).rows())


def test_no_file(tmp_path):
    with pytest.raises(DataError, match="no .parquet file in this folder"):
        ParquetTable(tmp_path, Notes())
