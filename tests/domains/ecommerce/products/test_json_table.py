import gzip
import json

import pytest
from verticlip.core.errors import DataError
from verticlip.domains.ecommerce.products.json_table import GivenTable, JsonTable
from verticlip.domains.ecommerce.products.record import Product
from verticlip.domains.ecommerce.products.rows import BadRow, Notes, Row


def table(tmp_path, content, name="items.jsonl"):
    file = tmp_path / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return JsonTable(file, Notes())


def test_one_object_per_line(tmp_path):
    found = table(tmp_path, '\ufeff{"id": 1, "title": "A"}\r\n\n{"id": "02", "color": null}\n')
    assert found.columns == ("id", "title", "color")
    assert found.is_closed
    assert list(found.rows()) == [Row(1, {"id": 1, "title": "A"}), Row(3, {"id": "02", "color": None})]


def test_bad_lines_are_bad_rows(tmp_path):
    lines = [
        '{"id": 1}',
        '{"id": 2',
        "[1]",
        '"text"',
        '{"id": 3, "id": 4}',
        "[" * 100_000,
        '{"id": 5}',
        "\x00",
    ]
    rows = list(table(tmp_path, "\n".join(lines)).rows())
    assert [row.number for row in rows if isinstance(row, Row)] == [1, 7]
    reasons = {row.number: row.reason for row in rows if isinstance(row, BadRow)}
    assert "not valid JSON (Expecting" in reasons[2]
    assert "'{\"id\": 2'" in reasons[2]
    assert reasons[3].startswith("list where an object like")
    assert reasons[4].startswith("str where an object like")
    assert "the key 'id' stands twice" in reasons[5]
    assert "nested too deeply" in reasons[6]
    assert "zero bytes" in reasons[8]


def test_a_line_that_is_no_utf8_is_one_bad_row(tmp_path):
    rows = list(table(tmp_path, b'{"id": 1}\n{"id": "\xe4"}\n{"id": 3}\n').rows())
    assert [type(row) for row in rows] == [Row, BadRow, Row]


def test_compressed_lines(tmp_path):
    content = "".join(json.dumps({"id": number}) + "\n" for number in range(2500))
    found = table(tmp_path, gzip.compress(content.encode()), "items.jsonl.gz")
    assert not found.is_closed
    assert [row.cells["id"] for row in found.rows()] == list(range(2500))


def test_one_list_is_no_table(tmp_path):
    with pytest.raises(
        DataError, match=r"items.jsonl: one JSON list; expected one object per line. .* jq -c"
    ):
        table(tmp_path, '[{"id": 1}]')
    with pytest.raises(DataError, match="no line is a JSON object"):
        table(tmp_path, "hello\nworld\n")


def test_rows_that_a_program_gives():
    rows = list(GivenTable([{"id": 1}, Product("2", title="B", row=77), 3]).rows())
    assert rows[0] == Row(1, {"id": 1})
    assert rows[1] == Product("2", title="B", row=2)
    assert rows[2] == BadRow(3, "int where a mapping or a Product is expected")
