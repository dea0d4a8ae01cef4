"""Cells that a spreadsheet would run are written as text and read back as they were."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from verticlip.core.spreadsheet import as_cell, from_cell


@pytest.mark.parametrize("text", ["=1+1", "+49 30", "-5", "@SUM(1)", "\t=1", "\r=1", "\n=1", "'=1", "''-1"])
def test_what_could_be_a_formula_gets_a_quote(text):
    assert as_cell(text) == f"'{text}"
    assert from_cell(as_cell(text)) == text


@pytest.mark.parametrize("text", ["", "A-17", "Red mug", "'quoted'", "a=b", "'", "''"])
def test_other_texts_stay_as_they_are(text):
    assert as_cell(text) == from_cell(text) == text


@given(st.text(alphabet="'=-a\t ", max_size=6))
def test_every_text_comes_back(text):
    assert from_cell(as_cell(text)) == text
    assert not as_cell(text).startswith(tuple("=+-@\t\r\n"))
