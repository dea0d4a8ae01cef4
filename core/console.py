"""What the command line prints: data to standard output, talk to standard error."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def shown(text: str) -> str:
    """Return text as one line that is safe on a terminal: what cannot be printed becomes an escape.

    A file name may hold a line break, a tab or codes that repaint the screen or turn the writing
    direction around.
    """
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode("ascii") for letter in text
    )


def say(text: str) -> None:
    """Print a line to standard error."""
    print(shown(text), file=sys.stderr, flush=True)


def print_json(rows: Iterable[Mapping[str, Any]]) -> None:
    """Print one JSON object per line."""
    for row in rows:
        print(json.dumps(_json_value(row), ensure_ascii=False), flush=True)


def _json_value(value: Any) -> Any:
    """Return what JSON can hold: it has no infinity, no NaN and none of our types; those become text."""
    if isinstance(value, Mapping):
        return {str(key): _json_value(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_json_value(inner) for inner in value]
    if (
        value is None
        or isinstance(value, (str, bool, int))
        or (isinstance(value, float) and math.isfinite(value))
    ):
        return value
    return str(value)


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print aligned columns; a header of empty names is left out."""
    table = [tuple(map(shown, row)) for row in ([header, *rows] if any(header) else rows)]
    widths = [max(len(row[column]) for row in table) for column in range(len(header))] if table else []
    for row in table:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def plain(value: Any) -> str:
    """Return a value as a table shows it."""
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def number(value: float | None) -> str:
    """Return three significant digits, or a dash for nothing."""
    return "-" if value is None else f"{value:.3g}"
