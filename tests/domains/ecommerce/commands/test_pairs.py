"""``verticlip catalog pairs``, as a user types it."""

from __future__ import annotations

import json

import pytest

PRODUCTS = """id,title,category
a,red owl mug,Home > Mugs
b,owl mug red,Home > Mugs
c,green frog lamp,Home > Lamps
d,owl mug in blue,Home > Mugs
"""


@pytest.fixture
def shop(tmp_path):
    (tmp_path / "products.csv").write_text(PRODUCTS)
    clicks = [(day, one, "owl") for day in ("mon", "tue") for one in "abcd"] + [("wed", "d", "owl")]
    rows = "".join(",".join(row) + "\n" for row in clicks)
    (tmp_path / "clicks.csv").write_text("visit,clicked,query\n" + rows)
    return tmp_path


def mine(run, shop, *options):
    return run(
        "catalog", "pairs", shop / "clicks.csv", shop / "products.csv", "--out", shop / "pairs.csv", *options
    )


def test_pairs_are_written_as_training_reads_them(run, shop):
    from verticlip.domains.ecommerce.training.pair_reader import read_pairs

    status, out, err = mine(run, shop, "--column", "session=visit", "--json")
    assert status == 0
    assert [(one.left, one.right, one.weight) for one in read_pairs(shop / "pairs.csv")] == [
        ("a", "b", 2.0), ("a", "d", 2.0), ("b", "d", 2.0)
    ]  # fmt: skip
    assert "9 clicks of 3 sessions make 6 candidate pairs." in err
    assert "3 removed: of another category" in err
    assert "3 pairs of 3 products are left." in err
    report = json.loads(out)
    assert (report["kept"], report["removed"]["of another category"]) == (3, 3)
    stricter = mine(run, shop, "--column", "session=visit", "--relevance", "0.9", "1")
    assert stricter[0] == 0
    assert "2 removed: relevance out of range" in stricter[2]
    assert [one.right for one in read_pairs(shop / "pairs.csv")] == ["b"]


def test_titles_can_be_compared_by_a_model(run, shop, model_folder):
    options = ("--column", "session=visit", "--any-category", "--relevance", "-1", "1")
    status, _, err = mine(run, shop, *options, "--model", model_folder, "--device", "cpu")
    assert status == 0
    assert "6 pairs of 4 products are left." in err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "no column 'session'; columns: visit, clicked, query."),
        (["--column", "sesion=visit"], "with a NAME of session, clicked, query, trigger"),
        (["--column", "session="], "'session=' is not NAME=COLUMN"),
        (["--column", "session=visit", "--min-sessions", "9"], "no pair is left"),
        (
            ["--column", "session=visit", "--relevance", "1", "0"],
            "--relevance runs from low to high, got 1 0.",
        ),
        (["--column", "session=visit", "--field", "title=name"], "no column 'name' (for title)"),
    ],
)
def test_what_does_not_fit_is_told_and_nothing_is_written(run, shop, options, message):
    status, _, err = mine(run, shop, *options)
    assert status in (1, 2)
    assert message in err
    assert not (shop / "pairs.csv").exists()


def test_what_is_read_is_not_overwritten(run, shop):
    before = (shop / "clicks.csv").read_text()
    status, _, err = run(
        "catalog", "pairs", shop / "clicks.csv", shop / "products.csv", "--out", shop / "clicks.csv"
    )
    assert status in (1, 2)
    assert "is one of the tables that are read" in err
    assert (shop / "clicks.csv").read_text() == before
