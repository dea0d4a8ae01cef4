"""Text in tables that people open in a spreadsheet: it is shown there, and never run as a formula."""

from __future__ import annotations

import re

_RUNS = re.compile(r"'*[=+\-@\t\r\n]")
"""What a spreadsheet may run, and what would look like it once a quote is taken off."""


def as_cell(text: str) -> str:
    """Return a text as a cell that no spreadsheet runs: what could be a formula gets a quote before it.

    Use it for texts, not for numbers; :func:`from_cell` gives back what went in, whatever it was.

    Reference: OWASP, "CSV Injection".

    Example:
        >>> as_cell("=HYPERLINK(1)"), as_cell("Red mug"), from_cell(as_cell("-20 cm"))
        ("'=HYPERLINK(1)", 'Red mug', '-20 cm')
    """
    return f"'{text}" if _RUNS.match(text) else text


def from_cell(cell: str) -> str:
    """Return the text of a cell that :func:`as_cell` wrote; other cells stay as they are."""
    return cell[1:] if cell.startswith("'") and _RUNS.match(cell, 1) else cell
