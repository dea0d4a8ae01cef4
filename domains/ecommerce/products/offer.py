"""Which attributes tell of an offer instead of the product: price, seller, fame, stock."""

from __future__ import annotations

import re

from .cleaning import words_of
from .fields import KNOWN_NAMES, FieldName, plain_name

_FIELDS: tuple[FieldName, ...] = (
    "price", "currency", "supplier", "image", "images", "updated_at", "deleted",
)  # fmt: skip
_NAMES = frozenset(name for field in _FIELDS for name in KNOWN_NAMES[field].split())

_WORDS_BY_TOPIC = {
    "price": (
        "price prices pricing cost costs msrp rrp discount discounts sale margin markup was tax vat currency "
        "promo promotion voucher coupon uvp mwst marge einkauf währung waehrung prix remise solde coût cout "
        "tva devise"
    ),
    "seller": (
        "vendor seller merchant store shop marketplace dealer distributor retailer verkäufer verkaeufer "
        "händler haendler anbieter fournisseur vendeur marchand boutique magasin revendeur"
    ),
    "fame": "review reviews rank bestseller bewertung bewertungen avis évaluation évaluations",
    "stock": (
        "stock availability inventory warehouse bestand lagerbestand lagerort verfügbarkeit verfuegbarkeit "
        "livraison entrepôt entrepot disponibilité disponibilite"
    ),
    "numbers and addresses": "sku gtin ean upc asin url urls link links split",
}
_WORDS = frozenset(word for words in _WORDS_BY_TOPIC.values() for word in words.split())
_PARTS = re.compile(
    r"price|preis|rabatt|kosten|supplier|lieferant|shipping|versand|(?:image|product)(?:link|url)"
    r"|\w+costs?\b|duplicate of"
)
"""Marks a name wherever it stands in it: compounds are written as one word."""
_RATED = frozenset(
    word
    for words in ("rating ratings average avg mean star stars", "customer user seller product count score")
    for word in words.split()
)
"""Words of the names of customers' ratings; the power rating of a motor is none."""
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def tells_of_the_offer(name: str) -> bool:
    """Return whether an attribute of this name changes while the product stays what it is.

    Names are read word by word, in English, German and French.

    Example:
        >>> [tells_of_the_offer(name) for name in ("unitCost", "Verkaufspreis", "costume", "power rating")]
        [True, True, False, False]
    """
    words = words_of(_HUMP.sub(" ", name))
    return (
        plain_name(name) in _NAMES
        or not _WORDS.isdisjoint(words)
        or _PARTS.search(" ".join(words)) is not None
        or (not {"rating", "ratings"}.isdisjoint(words) and _RATED.issuperset(words))
    )
