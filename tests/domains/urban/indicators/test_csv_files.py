"""CSV files as people send them."""

from __future__ import annotations

import numpy as np
import pytest
from verticlip.core.errors import DataError, InputError, LimitError
from verticlip.core.limits import DEFAULT
from verticlip.domains.urban.indicators.csv_files import read_csv, some, split_unit, to_number


@pytest.fixture
def write(tmp_path):
    def put(text: str | bytes):
        path = tmp_path / "t.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return put


@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
@pytest.mark.parametrize("start", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_separators_marks_and_line_ends(mark, start, end, write):
    text = start + end.join([f'tile_id{mark}"people{mark} of a tile"', f"a{mark} 1.5 ", "", f"b{mark}"])
    table = read_csv(write(text))
    assert table.header == ("tile_id", f"people{mark} of a tile")
    assert table.column("tile_id") == ["a", "b"]
    values, commas = table.numbers(table.header[1])
    assert not commas
    assert np.array_equal(values, [1.5, np.nan], equal_nan=True)
    assert table.separator == mark


def test_decimal_commas_where_commas_do_not_separate(write):
    values, commas = read_csv(write("tile;gdp\na;1,5\nb;1.000,5\n".replace("1.000,5", "2"))).numbers("gdp")
    assert values.tolist() == [1.5, 2.0]
    assert commas
    with pytest.raises(InputError, match="without thousands separators"):
        read_csv(write("tile;gdp\na;1.000,5\n")).numbers("gdp")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "t.csv is empty"),
        ("a,b\n", r"has a header \(a, b\) and no rows"),
        ("a,a\n1,2\n", "column 'a' stands twice"),
        ("a,b\n1,2\n1,2,3\n", "line 3: 3 cells, the header has 2"),
        (b"a,b\n\xe9,2\n", "t.csv row 1: not UTF-8 text.*Save it as UTF-8"),
        (b"a,b\n1,\x00\n", "line contains NUL|expected a number"),
    ],
)
def test_files_that_are_no_tables(text, message, write):
    with pytest.raises((InputError, DataError), match=message):
        read_csv(write(text)).numbers("b")


def test_missing_and_large_files(tmp_path, write):
    with pytest.raises(InputError, match=r"^gone.csv: no such file"):
        read_csv(tmp_path / "gone.csv")
    with pytest.raises(InputError, match="/gone.csv: no such file"):
        read_csv(tmp_path / "gone.csv", show_paths=True)
    with pytest.raises(LimitError, match="t.csv: rows 3 is over the limit of 2"):
        read_csv(write("a\n1\n2\n3\n"), limits=DEFAULT.with_(manifest_rows=2))


@pytest.mark.parametrize("cell", ["x2", "1,234", "inf", "1_000", "12 persons"])
def test_a_cell_that_is_no_number_is_named_with_its_line(cell, write):
    table = read_csv(write(f'tile,people\na,1\n\nb,"{cell}"\n'))
    with pytest.raises(InputError, match=f"t.csv, line 4: column 'people' holds '{cell}', expected a number"):
        table.numbers("people")


def test_words():
    assert split_unit("gdp (million yuan)") == ("gdp", "million yuan")
    assert split_unit("height [m]") == ("height", "m")
    assert split_unit("plain") == ("plain", "")
    assert split_unit("(odd)") == ("(odd)", "")
    assert some(list("abcdefg")) == "a, b, c, d, e and 2 more"
    assert some(["a"]) == "a"
    assert np.isnan(to_number(" N/A "))
    assert to_number("1e3") == 1000


def test_columns_are_found_with_and_without_unit(write):
    table = read_csv(write("tile,people (count)\na,1\n"))
    assert table.find("people") == table.find("people (count)") == "people (count)"
    with pytest.raises(InputError, match="no column 'peple'; it has: tile, people \\(count\\)"):
        table.find("peple")
