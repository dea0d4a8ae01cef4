import csv
import io

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from verticlip.core.errors import ConfigError, DataError
from verticlip.core.spreadsheet import from_cell
from verticlip.domains.ecommerce.products.csv_table import CsvTable
from verticlip.domains.ecommerce.products.rows import BadRow, Notes, Row


def read(tmp_path, content, **options):
    """Return (good rows, bad rows, notes) of a file of this content."""
    file = tmp_path / options.pop("name", "items.csv")
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    notes = Notes()
    table = CsvTable(file, notes, **options)
    rows = list(table.rows())
    good = [row for row in rows if isinstance(row, Row)]
    return good, [row for row in rows if isinstance(row, BadRow)], notes.lines()


def cells(rows):
    return [tuple(row.cells.values()) for row in rows]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_every_common_form_is_found_out(tmp_path, delimiter, end, mark):
    text = end.join([delimiter.join(row) for row in (["id", "title"], ["1", "A"], ["2", '"B\nb"'])])
    good, bad, notes = read(tmp_path, (mark + text + end).encode())
    assert cells(good) == [("1", "A"), ("2", "B\nb")]
    assert [row.number for row in good] == [2, 3]
    assert not bad
    assert any("separated" in note for note in notes) == (delimiter != ",")


def test_more_returns_in_cells_than_lines(tmp_path):
    text = 'id,title,color\r\n"1","\r","\r"\r\n"2","\r","a\rb"\r\n'
    good, bad, _ = read(tmp_path, text)
    assert cells(good) == [("1", "\r", "\r"), ("2", "\r", "a\rb")]
    assert not bad


def test_decimal_commas_do_not_divide_columns(tmp_path):
    good, bad, _ = read(tmp_path, "id;title;price\n1;Hemd, blau;12,50\n2;Hose, rot, lang;9,99\n")
    assert cells(good) == [("1", "Hemd, blau", "12,50"), ("2", "Hose, rot, lang", "9,99")]
    assert not bad


def test_known_names_decide_between_delimiters(tmp_path):
    good, _, _ = read(tmp_path, "id,title|en,price|eur\n1,a|b,3|4\n")
    assert list(good[0].cells) == ["id", "title|en", "price|eur"]


def test_a_line_that_names_the_delimiter(tmp_path):
    good, _, _ = read(tmp_path, "sep=;\nid;a,b\n1;2,3\n")
    assert cells(good) == [("1", "2,3")]
    assert good[0].number == 3


def test_the_delimiter_can_be_said(tmp_path):
    good, _, _ = read(tmp_path, "id:title\n1:A\n", delimiter=":")
    assert cells(good) == [("1", "A")]
    for bad in ('"', "ab", "", "x"):
        with pytest.raises(ConfigError, match="give auto or one sign"):
            read(tmp_path, "id,title\n", delimiter=bad)


def test_rows_of_another_length_say_what_was_seen(tmp_path):
    good, bad, _ = read(tmp_path, "id,title,price\n1,A,5\n2,B, b,6\n3\n4,D,7\n")
    assert [row.cells["id"] for row in good] == ["1", "4"]
    assert [(row.number, row.reason) for row in bad] == [
        (
            3,
            "4 cells for 3 columns; text with a comma or a line break in it has to be quoted. It begins '2,B, b,6'",
        ),
        (4, "1 cells for 3 columns; text with a comma or a line break in it has to be quoted. It begins '3'"),
    ]


def test_empty_cells_behind_the_last_column_are_no_error(tmp_path):
    good, bad, notes = read(tmp_path, "id;title\n1;A;;\n2;B\n")
    assert cells(good) == [("1", "A"), ("2", "B")]
    assert not bad
    assert "empty cells behind the last column were left out: 1 row, first row 2" in notes


def test_an_open_quote_costs_one_row(tmp_path):
    rows = "".join(f'{number},"Item {number}"\n' for number in range(100))
    good, bad, _ = read(tmp_path, f'id,title\n{rows}x,"open\n{rows}')
    assert len(good) == 200
    assert len(bad) == 1
    assert bad[0].number == 102
    assert "quote" in bad[0].reason
    assert "'x,\"open'" in bad[0].reason


def test_an_open_quote_among_unquoted_rows_costs_one_row(tmp_path):
    good, bad, _ = read(tmp_path, 'id,title\n1,"open\n2,B\n3,C\n')
    assert [row.cells["id"] for row in good] == ["2", "3"]
    assert [row.number for row in bad] == [2]


def test_an_open_quote_that_the_next_one_closes_costs_one_row(tmp_path):
    good, bad, _ = read(tmp_path, 'id,title,price\n1,"open,5\n2,B,6\n3,"",7\n4,",",8\n5,E,9\n')
    assert [row.cells["id"] for row in good] == ["2", "3", "4", "5"]
    assert [row.number for row in bad] == [2]


def test_a_quote_inside_a_quoted_cell_costs_one_row(tmp_path):
    good, bad, _ = read(tmp_path, 'id,title\n1,"24" screen"\n2,24" screen\n3,"24"" screen"\n')
    assert cells(good) == [("2", '24" screen'), ("3", '24" screen')]
    assert [row.number for row in bad] == [2]


def test_a_long_record_of_another_length_is_one_bad_row(tmp_path):
    good, bad, _ = read(tmp_path, 'id,title\n1,"a\nb\nc",too,many\n2,B\n')
    assert cells(good) == [("2", "B")]
    assert [row.number for row in bad] == [2]


def test_rows_are_numbered_by_their_first_line(tmp_path):
    good, _, _ = read(tmp_path, 'id,title\n1,"a\nb\nc"\n\n2,B\n')
    assert [row.number for row in good] == [2, 6]


def test_zero_bytes_and_endless_cells_cost_their_row(tmp_path):
    long = "x" * (csv.field_size_limit() + 1)
    good, bad, _ = read(tmp_path, f"id,title\n1,A\x00\n2,{long}\n3,C\n")
    assert cells(good) == [("3", "C")]
    assert "zero bytes" in bad[0].reason
    assert "131,072 characters" in bad[1].reason


def test_an_endless_line_costs_its_row(tmp_path):
    good, bad, _ = read(tmp_path, b"id,title\n1,A\n" + b"x" * (5 * 1024**2) + b"\n2,B\n")
    assert cells(good) == [("1", "A"), ("2", "B")]
    assert [(row.number, row.reason) for row in bad] == [(3, "the row is over 4 MiB long")]


def test_blank_rows_are_passed_over(tmp_path):
    good, bad, notes = read(tmp_path, "id,title\n\n,\n1,A\n  ,  \n")
    assert cells(good) == [("1", "A")]
    assert not bad
    assert "rows without any content were passed over: 2 rows, first row 3" in notes


def test_columns_without_a_name_or_with_that_of_another(tmp_path):
    good, _, notes = read(tmp_path, "id,,title,title\n1,a,b,c\n")
    assert list(good[0].cells) == ["id", "column 2", "title", "title (4)"]
    assert len(notes) == 2


def test_a_table_of_one_column(tmp_path):
    good, _, _ = read(tmp_path, "id\n1\n2\n")
    assert cells(good) == [("1",), ("2",)]


@pytest.mark.parametrize("content", [b"", b"   \n\n", b"\xef\xbb\xbf"])
def test_an_empty_file(tmp_path, content):
    with pytest.raises(DataError, match="items.csv: the file is empty"):
        read(tmp_path, content)


CELL = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)


@settings(max_examples=60, deadline=None)
@example(rows=[("0", "\r", "\r")] * 2, delimiter=",")
@given(
    rows=st.lists(st.tuples(st.integers(0, 999).map(str), CELL, CELL), min_size=1, max_size=8),
    delimiter=st.sampled_from(",;\t|"),
)
def test_what_is_written_is_read(tmp_path_factory, rows, delimiter):
    buffer = io.StringIO()
    writer = csv.writer(buffer, delimiter=delimiter, quoting=csv.QUOTE_ALL)
    writer.writerow(["id", "title", "color"])
    writer.writerows(rows)
    good, bad, _ = read(tmp_path_factory.mktemp("csv"), buffer.getvalue())
    assert not bad
    assert cells(good) == [tuple(map(from_cell, row)) for row in rows]
