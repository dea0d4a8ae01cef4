"""What a payload may hold, and what becomes of columns that nearly fit."""

from __future__ import annotations

from datetime import datetime, timezone
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from verticlip.core.errors import InputError
from verticlip.core.index.columns import column_kind, conform, pick_columns, to_columns, to_moment, to_schema


def test_a_schema_survives_json(schema: pa.Schema) -> None:
    assert to_schema(to_columns(schema)).equals(schema)
    assert [column.model_dump() for column in to_columns(schema)][:2] == [
        {"name": "title", "type": "string"},
        {"name": "price", "type": "double"},
    ]
    assert [column_kind(field.type) for field in schema] == [
        "text",
        "number",
        "number",
        "flag",
        "tags",
        "time",
    ]


@pytest.mark.parametrize(
    ("values", "to", "wanted"),
    [
        (pa.array([1, None], pa.int8()), pa.int64(), [1, None]),
        (pa.array([2**53]), pa.float64(), [2.0**53]),
        (pa.array([1.5], pa.float32()), pa.float64(), [1.5]),
        (pa.array([Decimal("1.25")]), pa.float64(), [1.25]),
        (pa.array(["a", None], pa.large_string()), pa.string(), ["a", None]),
        (pa.array(["a", "a"]).dictionary_encode(), pa.string(), ["a", "a"]),
        (pa.array([["a"]], pa.large_list(pa.large_string())), pa.list_(pa.string()), [["a"]]),
        (pa.nulls(2), pa.bool_(), [None, None]),
        (
            pa.array([1], pa.timestamp("s")),
            pa.timestamp("us", "UTC"),
            [datetime.fromtimestamp(1, timezone.utc)],
        ),
        (
            pa.array([1000], pa.timestamp("ns", "Asia/Tokyo")),
            pa.timestamp("us"),
            [datetime(1970, 1, 1, 0, 0, 0, 1)],
        ),
    ],
)
def test_what_means_the_same_is_cast(values: Any, to: pa.DataType, wanted: list[Any]) -> None:
    table = conform(pa.table({"x": values}), pa.schema([("x", to)]), len(wanted))
    assert table["x"].type == to
    assert table["x"].to_pylist() == wanted


@pytest.mark.parametrize(
    ("values", "to", "message"),
    [
        (pa.array(["5"]), pa.float64(), "is string and does not fit double .cast it first"),
        (pa.array(["5"]).dictionary_encode(), pa.int64(), "does not fit int64"),
        (pa.array([5]), pa.string(), "is int64 and does not fit string"),
        (pa.array([1.0]), pa.int64(), "is double and does not fit int64"),
        (pa.array([1]), pa.bool_(), "does not fit bool"),
        (pa.array([True]), pa.int64(), "is bool and does not fit int64"),
        (pa.array([2**53 + 1]), pa.float64(), "is int64 and does not fit double .Integer value"),
        (pa.array([1], pa.timestamp("ns")), pa.timestamp("us"), "would lose data"),
        (pa.array(["2026-01-31"]), pa.timestamp("us"), "does not fit timestamp"),
        (pa.array([[1]]), pa.list_(pa.string()), "does not fit list"),
    ],
)
def test_what_means_something_else_is_refused(values: Any, to: pa.DataType, message: str) -> None:
    with pytest.raises(InputError, match=f"'x' .*{message}"):
        conform(pa.table({"x": values}), pa.schema([("x", to)]), 1)


def test_columns_are_picked_by_name(schema: pa.Schema) -> None:
    assert pick_columns(schema, None) is schema
    assert pick_columns(schema, ["tags", "price"]).names == ["tags", "price"]
    with pytest.raises(InputError, match="no payload column 'tag'. Did you mean 'tags'"):
        pick_columns(schema, ["tag"])


def test_a_column_may_not_stand_twice() -> None:
    table = pa.table([[1], [2]], names=["x", "x"])
    with pytest.raises(InputError, match="stands twice"):
        conform(table, pa.schema([("x", pa.int64())]), 1)


def test_moments_without_zone_are_utc() -> None:
    noon = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)
    for text in ("2026-01-31T12:00:00", "2026-01-31T12:00:00Z", " 2026-01-31 14:00:00+02:00"):
        assert to_moment(text) == noon
    assert to_moment(datetime(2026, 1, 31, 12)) == noon
    with pytest.raises(ValueError, match="Invalid isoformat"):
        to_moment("soon")
