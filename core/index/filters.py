"""Conditions on the payload of an index: ``F("price") < 50``, or as text for a command line.

A row without a value fits no comparison, ``!=`` included; ``~`` keeps exactly the rows that its condition
leaves out.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NoReturn

from ..errors import InputError
from .conditions import And, Compare, Contains, In, Missing, Not, Or, Where
from .literals import Value

__all__ = ["And", "Compare", "Contains", "F", "In", "Missing", "Not", "Or", "Value", "Where", "parse_where"]


class F:
    """A column, to be compared: ``F("price") < 50``.

    Example:
        >>> str((F("brand") == "Acme") | F("tags").contains("sale"))
        "brand = 'Acme' or tags contains 'sale'"
    """

    __hash__ = None  # pyright: ignore[reportAssignmentType]

    def __init__(self, name: str) -> None:
        if not isinstance(name, str) or not name:
            raise InputError(f"F takes the name of a column, got {name!r:.60}.")
        self._name = name

    def __eq__(self, value: Value) -> Where:  # pyright: ignore[reportIncompatibleMethodOverride]
        return Compare(self._name, "=", value)

    def __ne__(self, value: Value) -> Where:  # pyright: ignore[reportIncompatibleMethodOverride]
        return Compare(self._name, "!=", value)

    def __lt__(self, value: Value) -> Where:
        return Compare(self._name, "<", value)

    def __le__(self, value: Value) -> Where:
        return Compare(self._name, "<=", value)

    def __gt__(self, value: Value) -> Where:
        return Compare(self._name, ">", value)

    def __ge__(self, value: Value) -> Where:
        return Compare(self._name, ">=", value)

    def in_(self, values: Iterable[Value]) -> Where:
        """Fit rows whose value is one of ``values``."""
        if isinstance(values, str):
            raise InputError(f"F({self._name!r}).in_ takes a list of values, got the text {values!r:.60}.")
        return In(self._name, tuple(values))

    def contains(self, text: str) -> Where:
        """Fit rows whose text has ``text`` in it, or whose list has it as an entry."""
        return Contains(self._name, text)

    def missing(self) -> Where:
        """Fit rows that have no value."""
        return Missing(self._name)

    def _bare(self, _: object) -> NoReturn:
        raise InputError(
            f"F({self._name!r}) is joined before it is compared. Put parentheses around each comparison: "
            "(F('price') < 50) & (F('color') == 'red')."
        )

    __and__ = __rand__ = __or__ = __ror__ = _bare

    def __invert__(self) -> NoReturn:
        self._bare(None)


def parse_where(text: str) -> Where:
    """Return the condition that a text writes down; see ``filter_text.py`` for the language.

    Example:
        >>> parse_where("category = 'dress' and price < 50 or color in ('red', 'blue')").fields()
        ('category', 'price', 'color')

    Raises:
        InputError: it is not a condition; the message shows where.
    """
    from .filter_text import parse

    return parse(text)
