"""Conditions: what fits, what is refused, and the same from text, in Python and in SQL."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from verticlip.core.errors import InputError
from verticlip.core.index.filters import And, Compare, Contains, F, In, Missing, Not, Or, Where, parse_where

TABLE = pa.table(
    {
        "title": pa.array(["red dress", "Red hat", None, "it's 50%_off", ""]),
        "price": pa.array([10.0, 49.5, None, 50.0, -1.0]),
        "stock": pa.array([0, 3, 2**60, None, -7], pa.int64()),
        "sale": pa.array([True, False, None, True, False]),
        "tags": pa.array([["a", "b"], [], None, ["it's", None], ["B"]], pa.list_(pa.string())),
        "seen": pa.array([0, None, 10**15, 1_700_000_000_000_000, 5], pa.timestamp("us", "UTC")),
        "day": pa.array([0, 1, None, 86_400 * 10**6, 86_401 * 10**6], pa.timestamp("us")),
        "two words": pa.array(["x", "y", None, "`", "z"]),
    }
)


def fitting(where: Where) -> list[int]:
    return np.flatnonzero(where.mask(TABLE)).tolist()


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("price < 50", [0, 1, 4]),
        ("price <= 50", [0, 1, 3, 4]),
        ("price > 49.5", [3]),
        ("price >= 49.5", [1, 3]),
        ("price = 50", [3]),
        ("price == 50.0", [3]),
        ("price != 50", [0, 1, 4]),
        ("price <> 50", [0, 1, 4]),
        ("price = -1", [4]),
        ("price = +1e1", [0]),
        ("price = .5e2", [3]),
        ("stock = 1152921504606846976", [2]),
        ("stock != 1152921504606846977", [0, 1, 2, 4]),
        ("stock < 2.5", [0, 4]),
        ("stock = 3.0", [1]),
        ("stock = 3.5", []),
        ("stock in (3, 0.0, 2.5)", [0, 1]),
        ("stock not in (3, 0)", [2, 3, 4]),
        ("not stock in (3, 0)", [2, 3, 4]),
        ("sale = true", [0, 3]),
        ("sale != TRUE", [1, 4]),
        ("sale in (false)", [1, 4]),
        ("title = 'red dress'", [0]),
        ("title < 'S'", [1, 4]),
        ("title contains 'ed '", [0, 1]),
        ("title contains '%'", [3]),
        ('title contains "it\'s"', [3]),
        ("title = 'it''s 50%_off'", [3]),
        ("title contains 'R'", [1]),
        ("title in ('', 'Red hat')", [1, 4]),
        ("title is null", [2]),
        ("title is not null", [0, 1, 3, 4]),
        ("tags contains 'a'", [0]),
        ("tags contains 'b'", [0]),
        ("tags contains 'it''s'", [3]),
        ("tags is null", [2]),
        ("seen > '2001-09-09'", [2, 3]),
        ("seen = '2001-09-09T01:46:40Z'", [2]),
        ("seen = '2001-09-09T03:46:40+02:00'", [2]),
        ("seen < '1970-01-01 00:00:00.000005'", [0]),
        ("seen in ('1970-01-01', '2001-09-09T01:46:40')", [0, 2]),
        ("day >= '1970-01-02'", [3, 4]),
        ("day = '1970-01-02T01:00:00+01:00'", [3]),
        ("day < '9999-12-31'", [0, 1, 3, 4]),
        ("`two words` = '`'", [3]),
        ("price < 20 and sale = true or stock = 3", [0, 1]),
        ("stock = 3 or price < 20 and sale = true", [0, 1]),
        ("(stock = 3 or price < 20) and sale = false", [1, 4]),
        ("not (price < 50)", [2, 3]),
        ("not price < 50 and not sale = true", [2]),
        ("NOT not price < 50", [0, 1, 4]),
        ("((((price < 50))))", [0, 1, 4]),
    ],
)
def test_what_fits(text: str, rows: list[int]) -> None:
    where = parse_where(text)
    assert fitting(where) == rows
    again = parse_where(str(where))
    assert again == where
    assert fitting(~where) == sorted(set(range(5)) - set(rows))


def test_python_says_the_same() -> None:
    assert (F("price") < 50) == parse_where("price < 50") == Compare("price", "<", 50)
    assert F("title").contains("x") == Contains("title", "x")
    assert F("a").in_(x for x in (1, 2)) == In("a", (1, 2))
    assert ~F("a").missing() == Not(Missing("a")) == parse_where("a is not null")
    joined = (F("a") == 1) & (F("b") != 2) & (F("c") > 3) | (F("d") >= 4) | (F("e") <= 5)
    assert joined == parse_where("a = 1 and b != 2 and c > 3 or d >= 4 or e <= 5")
    assert isinstance(joined, Or)
    assert [type(part) for part in joined.parts] == [And, Compare, Compare]
    assert joined.fields() == ("a", "b", "c", "d", "e")
    assert ((F("a") == 1) | (F("a") == 2)).fields() == ("a",)
    assert len({joined, parse_where(str(joined))}) == 1


def test_moments_may_have_any_zone() -> None:
    east = timezone(timedelta(hours=2))
    where = F("seen") == datetime(2001, 9, 9, 3, 46, 40, tzinfo=east)
    assert fitting(where) == [2]
    assert fitting(F("seen") >= datetime(2001, 9, 9, 1, 46, 40)) == [2, 3]
    assert fitting(parse_where(str(where))) == [2]


def test_chunks_and_slices_are_read_right() -> None:
    twice = pa.concat_tables([TABLE, TABLE.slice(1, 3)])
    for where in (F("tags").contains("it's"), F("title").contains("5"), F("price") == 50):
        assert np.flatnonzero(where.mask(twice)).tolist() == [3, 7]
    assert (F("tags").contains("a") | F("price").missing()).mask(TABLE.slice(5)).tolist() == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "character 1: expected a column"),
        ("price", "character 6: expected =, !=.* after 'price'"),
        ("price <", "character 8: expected a value"),
        ("price < fifty", "character 9: a text stands in quotes: 'fifty'"),
        ("price < 50 sale = true", "character 12: expected and, or, or the end"),
        ("(price < 50", r"character 12: expected \)"),
        ("price < 50)", "character 11: expected and, or, or the end"),
        ("title = 'open", "character 9: a quote is not closed"),
        ("price ~ 5", "character 7: '~' has no meaning here"),
        ("'title' = 'x'", "a column is written bare or in backticks"),
        ("price in ()", "expected a value"),
        ("price in (1 2)", r"expected \)"),
        ("price = null", "nothing equals null; write: is null"),
        ("price is 5", "expected null"),
        ("price not = 5", "expected =, !="),
        ("title contains 5", "contains takes a text in quotes"),
        ("and = 5", "expected a column"),
        ("not", "expected a column"),
        ("price = 5; drop table x", "';' has no meaning"),
        ("(" * 60 + "a = 1" + ")" * 60, "more than 50 conditions inside each other"),
        ("not " * 60 + "a = 1", "more than 50 conditions inside each other"),
        ("a" * 100_001, "100,001 characters; the limit is 100,000"),
        ("stock = 99999999999999999999", "does not fit into 64 bits"),
        ("price = 1e999", "inf cannot be compared with"),
    ],
)
def test_text_that_is_no_condition_is_refused_with_its_place(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_where(text)


@pytest.mark.parametrize(
    ("where", "message"),
    [
        (F("pirce") < 5, "there is no such column. Did you mean 'price'"),
        (F("price") == "5", "holds numbers, the value is '5'"),
        (F("price") == True, "holds numbers, the value is True"),  # noqa: E712
        (F("title") == 5, "holds texts, the value is 5. Write '5'"),
        (F("sale") == 1, "holds true or false, the value is 1"),
        (F("sale") < True, "true or false; < has no meaning"),
        (F("tags") == "a", "holds lists; ask with contains"),
        (F("tags").in_(["a"]), "holds lists; ask with contains"),
        (F("price").contains("5"), "holds numbers"),
        (F("seen") > 5, "holds points in time, the value is 5"),
        (F("seen") > "yesterday", "'yesterday' is no point in time"),
        (F("seen") > "0001-01-01T00:00:00+23:00", "is no point in time"),
        (F("stock").in_([1, "2"]), "holds numbers, the value is '2'"),
    ],
    ids=str,
)
def test_conditions_that_do_not_fit_the_columns_are_refused(where: Where, message: str) -> None:
    for use in (where, ~where, (F("price") < 5) & where):
        with pytest.raises(InputError, match=message):
            use.mask(TABLE)
        with pytest.raises(InputError, match=message):
            use.sql(TABLE.schema)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: F("a") == None, "ask with .missing()"),  # noqa: E711
        (lambda: F("a") < float("nan"), "nan cannot be compared with"),
        (lambda: F("a") == date(2026, 1, 31), "give a datetime, or the text '2026-01-31'"),
        (lambda: F("a") == b"x", "got bytes"),
        (lambda: F("a").in_([]), "in needs at least one value"),
        (lambda: F("a").in_("text"), "takes a list of values, got the text 'text'"),
        (lambda: F("a").in_(range(10_001)), "up to 10,000 values, got 10,001"),
        (lambda: F("a").contains(""), "a text that is not empty"),
        (lambda: F(""), "takes the name of a column"),
        (lambda: (F("a") < 5) and (F("b") > 3), "neither true nor false"),
        (lambda: 3 < F("a") < 5, "neither true nor false"),
        (lambda: F("a") < 5 & F("b"), "parentheses around each comparison"),
        (lambda: F("a") & (F("b") > 3), "parentheses around each comparison"),
        (lambda: ~F("a"), "parentheses around each comparison"),
        (lambda: (F("a") < 5) & True, "Only conditions can be joined, got True"),
    ],
)
def test_slips_in_python_are_refused(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()


def test_long_chains_do_not_nest() -> None:
    where = F("stock") == 0
    for number in range(3000):
        where = where | (F("stock") == number)
    assert fitting(where) == [0, 1]
    assert parse_where(str(where)) == where


TEXTS = st.text(st.sampled_from("ab'\"`%_\\; \n\x00é😀"), min_size=1, max_size=5)
LEAVES = st.one_of(
    st.builds(Compare, st.just("title"), st.sampled_from(["=", "!=", "<", "<=", ">", ">="]), TEXTS),
    st.builds(
        Compare,
        st.sampled_from(["price", "stock"]),
        st.sampled_from(["=", "!=", "<", "<=", ">", ">="]),
        st.one_of(st.integers(-8, 60), st.floats(-10, 60)),
    ),
    st.builds(Compare, st.just("sale"), st.sampled_from(["=", "!="]), st.booleans()),
    st.builds(In, st.just("two words"), st.lists(TEXTS, min_size=1, max_size=3).map(tuple)),
    st.builds(In, st.just("stock"), st.lists(st.integers(-8, 8), min_size=1, max_size=3).map(tuple)),
    st.builds(Contains, st.sampled_from(["title", "tags"]), TEXTS),
    st.builds(Missing, st.sampled_from(TABLE.column_names)),
    st.builds(Compare, st.just("seen"), st.sampled_from(["<", ">="]), st.just("2001-09-09T01:46:40")),
)
CONDITIONS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds(lambda a, b: a & b, inner, inner),
        st.builds(lambda a, b: a | b, inner, inner),
        inner.map(Not),
    ),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(where=CONDITIONS)
def test_text_and_back(where: Where) -> None:
    again = parse_where(str(where))
    assert str(again) == str(where)
    assert again.mask(TABLE).tolist() == where.mask(TABLE).tolist()
    assert (~where).mask(TABLE).tolist() == (~where.mask(TABLE)).tolist()


def test_sql_quotes_everything() -> None:
    where = (F("two words") == "'; DROP TABLE x; --") & ~(F("price") < 5) & F("tags").contains("it's")
    assert where.sql(TABLE.schema) == (
        "((`two words` = '''; DROP TABLE x; --') AND (NOT (`price` IS NOT NULL AND (`price` < 5.0))) "
        "AND array_has(`tags`, 'it''s'))"
    )


def test_lance_understands_the_sql_as_we_do(tmp_path: Any) -> None:
    lancedb = pytest.importorskip("lancedb")
    table = lancedb.connect(tmp_path).create_table("t", TABLE.append_column("row", pa.array(range(5))))

    @settings(max_examples=30, deadline=None, derandomize=True, database=None)
    @given(where=CONDITIONS)
    def agree(where: Where) -> None:
        found = table.search().where(where.sql(TABLE.schema)).select(["row"]).to_arrow()["row"].to_pylist()
        assert sorted(found) == fitting(where), where.sql(TABLE.schema)

    agree()
    for text in (
        "day >= '1970-01-02'",
        "seen in ('1970-01-01', '2001-09-09T01:46:40')",
        "not day < '1970-01-02'",
    ):
        where = parse_where(text)
        found = table.search().where(where.sql(TABLE.schema)).select(["row"]).to_arrow()["row"].to_pylist()
        assert sorted(found) == fitting(where)
