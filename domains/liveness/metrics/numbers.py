"""Numbers in strict JSON, which has no word for infinity."""

from __future__ import annotations

import math

from ....core.errors import InputError


def json_number(value: float | None) -> float | str | None:
    """Return a number as JSON can hold it: infinities as the words ``Infinity`` and ``-Infinity``.

    pydantic writes and reads the same words (``ser_json_inf_nan="strings"``). NaN becomes None.
    """
    if value is None or math.isnan(value):
        return None
    return float(value) if math.isfinite(value) else ("Infinity" if value > 0 else "-Infinity")


def read_number(value: object, name: str) -> float:
    """Return a number that :func:`json_number` wrote, or that a user typed; infinities are allowed.

    Raises:
        InputError: it is none.
    """
    try:
        number = float(value)  # pyright: ignore[reportArgumentType]
    except (TypeError, ValueError):
        number = math.nan
    if math.isnan(number) or isinstance(value, bool):
        raise InputError(f"{name} is {value!r:.40}; expected a number, Infinity or -Infinity.")
    return number
