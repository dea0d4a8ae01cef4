"""Window formulas against their definition, presets, tables and data-driven ranges."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from verticlip.domains.medical.io import windows
from verticlip.domains.medical.loaders.errors import WindowError
from verticlip.domains.medical.loaders.windows import (
    Range,
    Table,
    Window,
    explicit_maps,
    parse_descriptor,
    preset,
    range_of,
)

numbers = st.floats(-3000, 3000, allow_nan=False)


def by_definition(x: float, center: float, width: float, function: str) -> float:
    if function == "SIGMOID":
        return 1 / (1 + math.exp(min(-4 * (x - center) / width, 700)))
    if function == "LINEAR":
        low, high = center - 0.5 - (width - 1) / 2, center - 0.5 + (width - 1) / 2
        inside = (x - (center - 0.5)) / (width - 1) + 0.5 if width > 1 else 0.0
    else:
        low, high = center - width / 2, center + width / 2
        inside = (x - center) / width + 0.5
    return 0.0 if x <= low else 1.0 if x > high else inside


@given(
    st.lists(numbers, min_size=1, max_size=20),
    numbers,
    st.floats(1, 4000),
    st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID"]),
)
def test_formulas(values, center, width, function):
    got = Window(center, width, function).apply(np.array(values))
    expected = [by_definition(value, center, width, function) for value in values]
    assert np.allclose(got, expected, atol=1e-6)
    assert (got >= 0).all()
    assert (got <= 1).all()


def test_width_one_is_a_step():
    assert Window(100, 1).apply(np.array([99.0, 99.5, 99.6, 100.0])).tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((0, 0.5), "below 1"),
        ((0, 0, "LINEAR_EXACT"), "above 0"),
        ((0, -2, "SIGMOID"), "above 0"),
        ((0, float("nan")), "finite"),
        ((0, 10, "LINEER"), "Did you mean 'LINEAR'"),
    ],
)
def test_impossible_windows(arguments, said):
    with pytest.raises(WindowError, match=said):
        Window(*arguments)


def test_presets():
    known = windows()
    assert len(known) == 10
    assert known["brain"] == (40, 80)
    assert known["lung"] == (-600, 1500)
    assert preset("Temporal bone") == preset("temporal-bone")
    assert preset("soft tissue").center == 50
    with pytest.raises(WindowError, match=r"'lungs' is not known.*Did you mean 'lung'"):
        preset("lungs")


@pytest.mark.parametrize(
    "rule", ["percentile", "percentile:5", "percentile:9,1", "percentile:0,101", "percentile:a,b"]
)
def test_percentiles_must_be_two_numbers(rule):
    with pytest.raises(WindowError, match="needs two percentiles"):
        range_of(rule, np.arange(10.0), None)


def test_ranges_follow_the_data():
    values = np.arange(101.0)
    assert range_of("percentile:5,95", values, None) == Range(5, 95, "percentile:5,95")
    assert range_of("minmax", values, values > 40).low == 41
    flat = range_of("minmax", np.full(5, 3.0), None)
    assert flat.apply(np.full(5, 3.0)).tolist() == [0] * 5


def test_foreground_ignores_a_large_background():
    values = np.concatenate([np.zeros(10_000), np.linspace(50, 100, 100)])
    assert range_of("foreground:1,99", values, None).low > 50


@pytest.mark.parametrize("choice", [(1,), (1, 2, "LINEAR", 4), 7])
def test_what_is_no_window(choice):
    with pytest.raises(WindowError, match="A window is"):
        explicit_maps(choice, np.zeros(3))


def test_tables_clamp_at_both_ends():
    table = Table(np.array([10, 20, 30], np.uint16), 5, 8)
    assert table.look_up(np.array([-4, 5, 6, 7, 99])).tolist() == [10, 10, 20, 30, 30]
    assert table.apply(np.array([5.0])).tolist() == [10 / 255]


def test_byte_packed_tables_and_bad_descriptors():
    assert parse_descriptor([4, 0, 8], bytes([1, 2, 3, 4]), first=0, source="x").entries.tolist() == [
        1,
        2,
        3,
        4,
    ]
    with pytest.raises(WindowError, match="declares 65536 entries"):
        parse_descriptor([0, 0, 16], bytes(10), first=0, source="x")
    with pytest.raises(WindowError, match="17 bits"):
        parse_descriptor([1, 0, 17], bytes(10), first=0, source="x")
    with pytest.raises(WindowError, match="expected 3"):
        parse_descriptor([1, 0], bytes(10), first=0, source="x")
