"""Cells of a table as what they mean: ids, prices, flags, times, attributes."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from datetime import date, datetime, timezone
from decimal import Decimal
from typing import Any, Literal

from ....core.errors import InputError
from ....core.index.checks import LONGEST_ID
from .record import Attribute

MOST_ATTRIBUTES = 200
LONGEST_NAME = 100
_LONGEST_ATTRIBUTE = 2000

_TRUE = {"1", "true", "yes", "y", "t", "1.0", "deleted"}
_FALSE = {"", "0", "false", "no", "n", "f", "0.0"}
_SYMBOLS = {
    "US$": "USD",
    "CA$": "CAD",
    "AU$": "AUD",
    "NZ$": "NZD",
    "HK$": "HKD",
    "R$": "BRL",
    "€": "EUR",
    "£": "GBP",
    "₹": "INR",
    "Rs.": "INR",
    "₽": "RUB",
    "₩": "KRW",
    "zł": "PLN",
    "₺": "TRY",
    "₫": "VND",
}
_AMBIGUOUS_SYMBOLS = ("$", "¥", "kr.", "kr")
"""Signs of several currencies: they say that it is a price and no more."""
_NUMBER = re.compile(r"[0-9][0-9.,'’]*|[.,][0-9]+")

Decimals = Literal["auto", ".", ","]


def is_missing(value: Any) -> bool:
    """Return whether a cell is empty: None, NaN, or text of spaces."""
    if isinstance(value, str):
        return not value.strip()
    return value is None or (isinstance(value, (float, Decimal)) and value != value)


def read_id(value: Any) -> tuple[str, str]:
    """Return an id as text and what was changed about it, or "".

    Text stays as it is, leading zeros included; spaces around it go. Whole numbers are written without
    a point, also where a table stored them as 7.0 because others are missing.

    Raises:
        InputError: it is empty, too long, of another kind, or holds control signs.
    """
    changed = ""
    if isinstance(value, bool) or is_missing(value):
        raise InputError("the id is empty. Every product needs one of its own.")
    if isinstance(value, int):
        text = str(value)
    elif isinstance(value, (float, Decimal)):
        if not (math.isfinite(value) and value == int(value) and abs(value) < 2**53):
            raise InputError(f"the id {value!r} is not a whole number. Store ids as text.")
        text, changed = str(int(value)), "the id was stored with decimals, which were left out"
    elif isinstance(value, str):
        text = value.strip()
        if text != value:
            changed = "spaces around the id were left out"
    else:
        raise InputError(f"the id is {type(value).__name__} {value!r:.40}; expected text or a whole number.")
    if len(text) > LONGEST_ID:
        raise InputError(
            f"the id is {len(text):,} characters long, at most {LONGEST_ID:,} are taken: {text[:40]!r} ..."
        )
    if any(ord(letter) < 32 or ord(letter) == 127 or 0xD800 <= ord(letter) < 0xE000 for letter in text):
        raise InputError(f"the id {text[:60]!r} holds control signs. Correct the row.")
    return text, changed


def read_text(value: Any) -> str | None:
    """Return a cell as text, or None for an empty one; a list becomes ``a > b`` or, flat, ``a, b``.

    Raises:
        InputError: it is neither text nor a number.
    """
    if is_missing(value):
        return None
    if isinstance(value, str):
        # A lone surrogate cannot be stored or shown; JSON can spell one.
        return value.strip().encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, (bool, int, float, Decimal)):
        return _number_text(value)
    if isinstance(value, (list, tuple)):
        return ", ".join(text for item in value if (text := read_text(item)) is not None) or None
    if isinstance(value, (date, datetime)):
        return value.isoformat()
    raise InputError(f"{type(value).__name__} {value!r:.40} where text is expected")


def read_category(value: Any) -> str | None:
    """Return a category path as ``A > B``; a list is read from the top.

    Raises:
        InputError: as :func:`read_text`.
    """
    if isinstance(value, (list, tuple)):
        parts = [read_text(item) for item in value]
    else:
        text = read_text(value)
        parts = [] if text is None else [part.strip() for part in text.split(">")]
    return " > ".join(part for part in parts if part) or None


def read_price(value: Any, decimal: Decimals = "auto") -> tuple[float, str | None]:
    """Return a price and the currency written with it, if any.

    ``1.299,00 EUR``, ``$1,299.00``, ``1 299,00 €``, ``12,5`` and ``CHF 1'299.-`` are read. Where both signs
    stand, the last separates decimals; a comma before three digits separates thousands. A single point
    before three digits (``1.299``) may be either: say which with ``decimal``.

    Raises:
        InputError: no number, more than one, negative, or not finite.
    """
    if isinstance(value, bool):
        raise InputError(f"{value!r} is no price")
    if isinstance(value, (int, float, Decimal)):
        number, currency = (float(value) if abs(value) < 1e300 else math.inf), None
    else:
        number, currency = _price_in(str(value).strip(), decimal)
    if not math.isfinite(number):
        raise InputError(f"{value!r:.40} is not a finite number")
    if number < 0:
        raise InputError(f"{value!r:.40} is negative")
    return number, currency


def read_number(value: Any, decimal: Decimals = "auto") -> float:
    """Return a cell as a finite number, which may be negative; text is read as prices are.

    Raises:
        InputError: it is none.
    """
    if isinstance(value, str):
        text = value.strip().replace("\u2212", "-")
        sign, rest = (-1.0, text[1:]) if text.startswith("-") else (1.0, text)
        if not _NUMBER.fullmatch(rest.strip()):
            raise InputError(f"{value!r:.40} is no number")
        return sign * _decimal(rest.strip(), decimal)
    if isinstance(value, bool) or read_attribute(value) != value:
        raise InputError(f"{value!r:.40} is no number")
    return float(value)


def read_currency(value: Any) -> str | None:
    """Return a currency: three letters in capitals, or what a sign stands for."""
    text = read_text(value)
    if text is None:
        return None
    return _SYMBOLS.get(text, text.upper() if re.fullmatch(r"[A-Za-z]{3}", text) else text)


def read_flag(value: Any) -> bool:
    """Return whether a cell says yes.

    Raises:
        InputError: it is neither yes nor no; what is taken out of a catalogue is not guessed.
    """
    if isinstance(value, bool):
        return value
    text = "" if is_missing(value) else str(value).strip().lower()
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    raise InputError(f"deleted is {value!r:.40}; expected yes or no (1, true, yes or 0, false, no, empty).")


def read_time(value: Any) -> datetime:
    """Return a time; one without a zone is taken as UTC, a number as seconds since 1970.

    Raises:
        InputError: it is no time such as ``2024-05-31`` or ``2024-05-31T12:00:00Z``.
    """
    try:
        if isinstance(value, datetime):
            found = value
        elif isinstance(value, date):
            found = datetime(value.year, value.month, value.day)
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            # Seconds of the year 5138 are milliseconds of 1973: shops use either.
            seconds = value / 1000 if abs(value) >= 1e11 else value
            found = datetime.fromtimestamp(seconds, timezone.utc)
        else:
            found = _iso_time(str(value).strip())
        return (found if found.tzinfo else found.replace(tzinfo=timezone.utc)).astimezone(timezone.utc)
    except (ValueError, OverflowError, OSError):
        raise InputError(f"{value!r:.40} is no time such as 2024-05-31T12:00:00Z") from None


def read_attributes(value: Any) -> dict[str, Attribute]:
    """Return {name: value} of an object, JSON text or a list of pairs; objects inside become ``a.b``.

    Raises:
        InputError: it is no object, or one with too many names.
    """
    if is_missing(value):
        return {}
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise InputError('the attributes are not JSON such as {"pattern": "striped"}') from None
    if isinstance(value, (list, tuple)) and all(
        isinstance(item, (list, tuple)) and len(item) == 2 for item in value
    ):
        # How Arrow gives a column of maps.
        value = dict(value)
    if not isinstance(value, Mapping):
        raise InputError(f"the attributes are {type(value).__name__}, expected an object of names and values")
    found: dict[str, Attribute] = {}
    _flatten(value, "", found, 0)
    return found


def read_attribute(value: Any) -> Attribute | None:
    """Return one attribute's value, or None where it has none that can be kept."""
    if is_missing(value) or isinstance(value, (bytes, bytearray, memoryview)):
        return None
    if isinstance(value, bool):
        return value
    if isinstance(value, (int, float, Decimal)):
        return float(value) if abs(value) < 1e300 and math.isfinite(value) else None
    if isinstance(value, (list, tuple)) and len(value) > MOST_ATTRIBUTES:
        return None  # a vector, not what a person would look for
    try:
        text = read_text(value)
    except InputError:
        return None
    return None if text is None else text[:_LONGEST_ATTRIBUTE]


def _flatten(value: Mapping[Any, Any], above: str, found: dict[str, Attribute], depth: int) -> None:
    for key, inner in value.items():
        name = f"{above}{str(key).strip()}"[:LONGEST_NAME]
        if isinstance(inner, Mapping) and depth < 3:
            _flatten(inner, f"{name}.", found, depth + 1)
        elif name and (kept := read_attribute(inner)) is not None:
            found[name] = kept
        if len(found) > MOST_ATTRIBUTES:
            raise InputError(f"there are more than {MOST_ATTRIBUTES} attributes")


def _number_text(value: bool | int | float | Decimal) -> str:
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    return str(value)


def _price_in(text: str, decimal: Decimals) -> tuple[float, str | None]:
    rest, currency = text.replace("\u2212", "-"), None
    for symbol, code in _SYMBOLS.items():
        if symbol in rest:
            rest, currency = rest.replace(symbol, " "), code
    for symbol in _AMBIGUOUS_SYMBOLS:
        rest = rest.replace(symbol, " ")
    code = re.match(r"\s*([A-Za-z]{3})(?![A-Za-z])|.*?(?<![A-Za-z])([A-Za-z]{3})\s*$", rest)
    if code is not None:
        letters = code[1] or code[2]
        currency = letters.upper()
        rest = rest.replace(letters, " ", 1)
    # Thousands may be set apart by spaces of any kind; "12.-" is how whole francs are written.
    rest = re.sub(r"(?<=[0-9])[\s\u00a0\u202f]+(?=[0-9]{3}(?![0-9]))", "", rest.strip())
    rest = re.sub(r"(?<=[0-9])[.,][-\u2013]{1,2}$", "", rest).strip()
    if rest.startswith("-") and _NUMBER.fullmatch(rest[1:].strip()):
        raise InputError(f"{text!r:.40} is negative")
    if not _NUMBER.fullmatch(rest):
        raise InputError(f"{text!r:.40} is no price")
    return _decimal(rest, decimal), currency


def _decimal(text: str, decimal: Decimals) -> float:
    text = text.replace("'", "").replace("’", "")
    points, commas = text.count("."), text.count(",")
    if decimal == "auto":
        decimal = _separator(text, points, commas)
    thousands = "," if decimal == "." else "."
    whole, _, fraction = text.partition(decimal)
    groups = whole.split(thousands)
    grouped = all(len(group) == 3 for group in groups[1:]) and len(groups[0]) <= 3
    if not re.fullmatch(r"[0-9]*", fraction) or (len(groups) > 1 and not (grouped and groups[0])):
        raise InputError(f"{text!r:.40} is no number with {decimal!r} before the decimals")
    return float(f"{''.join(groups) or '0'}.{fraction or '0'}")


def _separator(text: str, points: int, commas: int) -> Decimals:
    """Return what separates the decimals of a number written with these signs."""
    if points and commas:
        return "." if text.rfind(".") > text.rfind(",") else ","
    if points > 1:
        return ","
    if commas > 1:
        return "."
    if commas:
        # 1,299 is thousands; 0,299 and 12,50 are decimals.
        return "." if re.fullmatch(r"[1-9][0-9]{0,2},[0-9]{3}", text) else ","
    if re.fullmatch(r"[1-9][0-9]{0,2}\.[0-9]{3}", text):
        raise InputError(
            f"{text!r} may be thousands or decimals; say which with decimal: ',' or '.' in the field map"
        )
    return "."


def _iso_time(text: str) -> datetime:
    # Python 3.10 knows neither the Z nor fractions of other lengths than 3 and 6.
    match = re.fullmatch(
        r"(\d{4}-\d{2}-\d{2})"
        r"(?:[T ](\d{2}:\d{2}(?::\d{2})?)(?:[.,](\d{1,9}))?\s*(Z|z|UTC|[+-]\d{2}:?\d{2})?)?",
        text,
    )
    if match is None:
        raise ValueError(text)
    day, clock, fraction, zone = match.groups()
    zone = "+00:00" if zone in (None, "Z", "z", "UTC") else zone if ":" in zone else f"{zone[:3]}:{zone[3:]}"
    clock = clock or "00:00"
    clock = clock if clock.count(":") == 2 else f"{clock}:00"
    return datetime.fromisoformat(f"{day}T{clock}.{(fraction or '0')[:6]:0<6}{zone}")
