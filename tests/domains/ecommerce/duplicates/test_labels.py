"""Pairs to label go out as a table and come back with labels."""

from __future__ import annotations

import csv

import pytest
from verticlip.core.errors import DataError, InputError
from verticlip.domains.ecommerce.duplicates.labels import (
    Candidate,
    candidates,
    measured,
    read_labels,
    write_candidates,
)

HEADER = "first,second,duplicate\n"


@pytest.fixture
def catalog(build):
    return build([{"id": f"p{n}", "photo": n % 4, "title": f"=Thing {n}"} for n in range(12)])


def table(tmp_path, text):
    path = tmp_path / "pairs.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_candidates_are_pairs_that_are_alike(catalog):
    found = candidates(catalog, 1_000, floor=0.9)
    assert all(one.first < one.second and one.product >= 0.9 for one in found)
    same = {(f"p{a}", f"p{b}") for a in range(12) for b in range(a + 1, 12) if (b - a) % 4 == 0}
    assert {tuple(sorted(pair)) for pair in same} <= {(one.first, one.second) for one in found}
    assert candidates(catalog, 5, floor=0.9) == found[:5]
    assert candidates(catalog, 5, floor=0.9, seed=1) != found[:5]
    with pytest.raises(InputError, match="count is at least 1"):
        candidates(catalog, 0)


def test_a_table_goes_out_and_comes_back(catalog, tmp_path):
    found = candidates(catalog, 6, floor=0.9)
    path = tmp_path / "pairs.csv"
    write_candidates(path, found, {"p0": "=Thing 0"})
    lines = path.read_text().splitlines()
    assert lines[0] == "first,second,duplicate,first_title,second_title,product,image,text"
    assert "=Thing" not in path.read_text().replace("'=Thing", "")
    with pytest.raises(DataError, match="no row has a label"):
        read_labels(path)
    cells = [line.split(",") for line in lines[1:]]
    filled = [
        ",".join([*row[:2], word, *row[3:]]) for row, word in zip(cells, ("yes", "NO", "1"), strict=False)
    ]
    path.write_text("\n".join([lines[0], *filled, *lines[4:]]) + "\n")
    labels = read_labels(path)
    assert [label for _, _, label in labels] == [True, False, True]
    pairs, lost = measured(catalog, [*labels, ("p0", "gone", True)])
    assert lost == 1
    for pair, candidate in zip(pairs, found, strict=False):
        assert (pair.first, pair.second) == (candidate.first, candidate.second)
        assert pair.product == pytest.approx(candidate.product, abs=1e-6)
        assert (pair.image, pair.text) == (candidate.image, candidate.text)


def test_no_id_is_run_as_a_formula_and_each_comes_back(tmp_path):
    names = ("=HYPERLINK(1)", "+49", "-5", "@a", "'=b")
    found = [Candidate("A-1", name, 0.9, None, None) for name in names]
    path = tmp_path / "pairs.csv"
    write_candidates(path, found, {"-5": "\t+1", "+49": "-20 cm"})
    rows = list(csv.reader(path.open(newline="", encoding="utf-8")))
    assert not [cell for row in rows[1:] for cell in row if cell.startswith(tuple("=+-@\t\r"))]
    path.write_text("\n".join(",".join([*row[:2], "yes"]) for row in rows[1:]).join((HEADER, "\n")))
    assert {name for one in read_labels(path) for name in one[:2]} == {"A-1", *names}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("first,second\na,b\n", "no column 'duplicate'"),
        (HEADER + "a,b,maybe\n", "row 2: duplicate is 'maybe', expected yes or no"),
        (HEADER + "a,a,yes\n", "a pair is two different ids"),
        (HEADER + ",a,yes\n", "a pair is two different ids"),
        (HEADER + "a,b,yes\nb,a,no\n", "row 3: 'a' and 'b' have both labels"),
        (HEADER + "a,b,\n", "no row has a label"),
    ],
)
def test_labels_that_cannot_be_meant_are_refused(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        read_labels(table(tmp_path, text))


def test_equal_labels_of_a_pair_count_once(tmp_path):
    assert read_labels(table(tmp_path, HEADER + "a,b,yes\nb,a,true\n")) == [("a", "b", True)]
