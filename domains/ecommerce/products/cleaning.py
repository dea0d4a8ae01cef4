"""Texts of shops without markup and promotion, with sizes written one way."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import lru_cache

PROMOTIONS: tuple[str, ...] = (
    "free shipping",
    "free delivery",
    "fast shipping",
    "fast delivery",
    "hot sale",
    "hot selling",
    "big sale",
    "on sale",
    "flash sale",
    "clearance sale",
    "best seller",
    "best selling",
    "bestseller",
    "top seller",
    "limited offer",
    "limited time offer",
    "special offer",
    "new arrival",
    "new arrivals",
    "factory price",
    "factory direct",
    "wholesale price",
    "best price",
    "low price",
    "lowest price",
    "drop shipping",
    "dropshipping",
    "in stock",
    "ready to ship",
    "buy now",
    "shop now",
    "money back guarantee",
    "kostenloser versand",
    "gratis versand",
    "sofort lieferbar",
    "livraison gratuite",
    "envio gratis",
    "envío gratis",
    "spedizione gratuita",
)
"""Phrases that say something of the offer and nothing of the product."""

_PATTERNS = (
    r"up to [0-9]{1,2} ?% off",
    r"[0-9]{1,2} ?% off",
    r"buy [0-9] get [0-9](?: free)?",
    # A year beside "new" dates the offer; New Balance and its like are names.
    r"20[0-9]{2} (?:hot|new(?! (?:balance|era|look|york|rock|yorker|zealand)\b))",
    r"new 20[0-9]{2}",
)
_MARKUP = re.compile(
    r"<!--.*?-->|<(script|style)\b[^<>]*>.*?</\1\s*>|</?[a-zA-Z][^<>]*>|<![a-zA-Z][^<>]*>",
    re.IGNORECASE | re.DOTALL,
)
_AMPERSANDS = re.compile(r"&(?:amp;)+")
_NUMBER = r"(?<![\w.,/-])([0-9]+(?:[.,][0-9]+)?)"
_UNITS = {
    "mm": "mm|MM|millimeters?|millimetres?",
    "cm": "cm|CM|Cm|centimeters?|centimetres?",
    "m": "m|meters?|metres?|mtr",
    "kg": "kg|KG|Kg|kilograms?|kilos?",
    "g": "g|gr|grams?|grammes?",
    "mg": "mg|MG",
    "ml": "ml|ML|mL|milliliters?|millilitres?",
    "l": "l|liters?|litres?|ltr|(?<=[.,][0-9])L|(?<=[.,][0-9] )L",
    "oz": "oz|OZ|ounces?",
    "lb": "lbs?|LBS?|pounds?",
    "inch": "inches|inch|INCH|in\\.|[\"\u2033\u201d]|''",
    "ft": "ft|feet",
    "W": "W|watts?|Watts?",
    "kW": "kW|KW|kw|kilowatts?",
    "V": "V|volts?|Volts?",
    "mAh": "mAh|mah|MAH",
    "Ah": "Ah|AH",
    "Hz": "Hz|HZ|hz|hertz",
    "GB": "GB|Gb|gigabytes?",
    "TB": "TB|terabytes?",
}
_UNIT = re.compile(
    _NUMBER
    + r"[ \u00a0]?(?:"
    + "|".join(f"(?P<u{place}>{words})" for place, words in enumerate(_UNITS.values()))
    + r")(?![\w-]|\.[0-9])"
)
_UNIT_NAMES = tuple(_UNITS)
_TIMES = re.compile(
    r"(?<=[0-9])((?: (?:mm|cm|m|inch|ft))?) ?[xX×✕*] ?"
    r"(?=[0-9]+(?:[.,][0-9]+)?(?:[ xX×✕*a-z\"\u2033]|$))"
)


def clean(text: str, promotions: Sequence[str] = PROMOTIONS) -> str:
    """Return a text without markup, control signs and promotion, spaces made single, sizes written one way.

    Cleaning twice changes nothing. A text that is all promotion stays.

    Example:
        >>> clean("<b>Mug</b> &amp; Lid, 10CM X 8CM, Free Shipping!")
        'Mug & Lid, 10 cm x 8 cm'
    """
    while (shorter := _cleaned(text, promotions)) != text:
        text = shorter
    return text


def _cleaned(text: str, promotions: Sequence[str]) -> str:
    text = strip_markup(text)
    return write_sizes(strip_promotions(text, promotions))


def strip_markup(text: str) -> str:
    """Return a text without tags, comments and character references; ``size < 40`` stays as it is."""
    text = html.unescape(_AMPERSANDS.sub("&", text))
    text = _MARKUP.sub(" ", text)
    # Signs that are not seen: some turn the direction of writing around, soft hyphens tear words apart.
    kinds = ((letter, unicodedata.category(letter)) for letter in text)
    text = "".join(
        " " if kind in ("Cc", "Zl", "Zp") else letter for letter, kind in kinds if kind not in ("Cf", "Cs")
    )
    return " ".join(text.split())


def strip_promotions(text: str, phrases: Iterable[str] = PROMOTIONS) -> str:
    """Return a text without phrases of promotion; one that holds nothing else stays as it is."""
    shorter = _promotion(tuple(phrases)).sub(" ", text)
    if shorter == text:
        return text
    shorter = re.sub(r"[\s!]*([,;|])(?:[\s!]*[,;|!])*", r"\1", shorter)
    shorter = " ".join(re.sub(r"[(\[]\s*[!,;|]*\s*[)\]]", " ", shorter).split()).strip(" ,;|!-–*")
    return shorter if any(letter.isalnum() for letter in shorter) else text


def write_sizes(text: str) -> str:
    """Return a text with numbers and units apart and spelled one way: ``10CM×5 CM`` is ``10 cm x 5 cm``.

    Numbers that are part of a word (``DCD796P2``, ``GSR 12V-15``) stay as they are: they name a model.
    """
    text = _TIMES.sub(r"\1 x ", text)
    text = _UNIT.sub(lambda found: f"{found[1]} {_UNIT_NAMES[int((found.lastgroup or 'u0')[1:])]}", text)
    return _TIMES.sub(r"\1 x ", text)


def words_of(text: str) -> list[str]:
    """Return the words of a text as they are compared: letters and digits, no case, no accents apart."""
    return re.findall(r"[^\W_]+", unicodedata.normalize("NFKC", text).casefold())


@lru_cache(maxsize=16)
def _promotion(phrases: tuple[str, ...]) -> re.Pattern[str]:
    listed = sorted(
        (re.escape(phrase).replace(r"\ ", r"[\s-]+") for phrase in phrases if phrase.strip()), key=len
    )
    words = "|".join([*reversed(listed), *_PATTERNS])
    return re.compile(rf"(?<!\w)(?:{words})(?!\w)", re.IGNORECASE)
