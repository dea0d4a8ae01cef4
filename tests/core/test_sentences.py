"""Where sentences end."""

from __future__ import annotations

import pytest
from verticlip.core.sentences import sentences


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("No effusion. Size 1.2 cm. Clear?", ["No effusion.", "Size 1.2 cm.", "Clear?"]),
        ("1. Edema. 2. Effusion.", ["1. Edema.", "2. Effusion."]),
        ("Stable. [Name] agrees.", ["Stable.", "[Name] agrees."]),
        ("Wrapped\nline. Next", ["Wrapped\nline.", "Next"]),
        ("one; Two", ["one; Two"]),
        ("  ", []),
    ],
)
def test_prose(text: str, expected: list[str]) -> None:
    assert sentences(text) == expected


def test_lines_and_other_ends() -> None:
    text = "A nodule of 1.5 cm, e.g. a granuloma. Compare!\n\nNo effusion; Clear lungs"
    assert sentences(text, ends=".!?;", lines=True) == [
        "A nodule of 1.5 cm, e.g. a granuloma.", "Compare!", "No effusion;", "Clear lungs",
    ]  # fmt: skip
    assert sentences("1.\nEdema\n2. Effusion", lines=True) == ["1. Edema", "2. Effusion"]
