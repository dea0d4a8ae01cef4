from __future__ import annotations

import pytest
from verticlip.core.errors import DataError
from verticlip.domains.ecommerce.training.tables import cell, rows_of


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (" 007 ", "007"),
        ("", None),
        (None, None),
        (7, "7"),
        (7.0, "7"),
        (7.5, "7.5"),
        (float("nan"), None),
        (True, None),
    ],
)
def test_cells(value, expected):
    assert cell({"id": value}, "id") == expected
    assert cell({"id": value}, None) is None
    assert cell({}, "id") is None


def test_rows_of_text_tables(tmp_path):
    tabs = tmp_path / "pairs.tsv"
    tabs.write_bytes("\ufeffa\tb\n1\t2\n".encode())
    assert list(rows_of(tabs, ("a", "b"))) == [("pairs.tsv row 2", {"a": "1", "b": "2"})]
    lines = tmp_path / "pairs.jsonl"
    lines.write_text('{"a": 1}\n', "utf-8")
    with pytest.raises(DataError, match=r"pairs.jsonl row 1: no column 'b'; columns: a"):
        list(rows_of(lines, ("a", "b")))
    with pytest.raises(DataError, match=r"gone.csv: no such file"):
        list(rows_of(tmp_path / "gone.csv", ("a",)))
