from __future__ import annotations

import pytest
from verticlip.core.data.parquet import parquet_rows
from verticlip.core.errors import DataError

pyarrow = pytest.importorskip("pyarrow")


def test_rows_have_their_place_and_the_columns_that_are_wanted(tmp_path):
    from pyarrow import parquet

    path = tmp_path / "rows.parquet"
    parquet.write_table(
        pyarrow.table({"id": ["a", "b", "c"], "n": [1, None, 3], "rest": [b"", b"x", b""]}), path
    )
    assert list(parquet_rows(path, ["id"], further=["n", "absent", "id"], batch_size=2)) == [
        ("rows.parquet row 1", {"id": "a", "n": 1}),
        ("rows.parquet row 2", {"id": "b", "n": None}),
        ("rows.parquet row 3", {"id": "c", "n": 3}),
    ]
    assert next(parquet_rows(path))[1] == {"id": "a", "n": 1, "rest": b""}


def test_what_is_wrong_is_named(tmp_path):
    from pyarrow import parquet

    path = tmp_path / "rows.parquet"
    parquet.write_table(pyarrow.table({"item_id": ["a"]}), path)
    with pytest.raises(
        DataError, match=r"rows.parquet: no column 'itemid'; columns: item_id. Did you mean 'item_id'"
    ):
        next(parquet_rows(path, ["itemid"]))
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"rows.parquet: not a whole Parquet file .* Copy it again"):
        next(parquet_rows(path))
    with pytest.raises(DataError, match="gone.parquet: no such file"):
        next(parquet_rows(tmp_path / "gone.parquet"))
