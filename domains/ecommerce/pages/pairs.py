"""The page beside a table of pairs to label: every pair as two pictures, numbered like the rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..duplicates.labels import Candidate
from .markup import Markup, element
from .shell import ProductCard, document, facts, heading, identifier, name_of, photo, words

MOST_SHOWN = 500
"""Pairs on the page; the table has all."""


def pairs_page(pairs: Sequence[Candidate], cards: Mapping[str, ProductCard], *, catalog: str) -> str:
    """Return pairs to label as HTML; the number of a pair is that of its row in the table.

    Args:
        pairs: in the order of the table. cards: of the products of the first :data:`MOST_SHOWN` pairs.
        catalog: name that the page carries.
    """
    shown = pairs[:MOST_SHOWN]
    left = len(pairs) - len(shown)
    head = element(
        "header",
        words(catalog, 120, name="p", class_="over"),
        element("h1", "Is it the same product?"),
        element(
            "p",
            "Write yes or no into the column “duplicate” of the table; a line you are not sure of stays "
            "empty. The same product in another color or size is a no.",
            class_="soft",
        ),
    )
    body = [_pair(number, pair, cards) for number, pair in enumerate(shown, start=1)]
    if left:
        body.append(element("p", f"{left:,} more pairs are in the table.", class_="soft"))
    return document(
        f"Pairs to label in {catalog}", head, element("main", *body, id="products", tabindex="-1")
    )


def _pair(number: int, pair: Candidate, cards: Mapping[str, ProductCard]) -> Markup:
    products = [_product(cards.get(name) or ProductCard(name)) for name in (pair.first, pair.second)]
    return element(
        "section",
        element("h2", f"Pair {number:,}"),
        element(
            "ul", *products, class_="strip wide", role="list", tabindex="0", aria_label=f"Pair {number:,}"
        ),
        class_="group",
    )


def _product(card: ProductCard) -> Markup:
    return element(
        "li", photo(card.picture, name_of(card)), heading(card, "h3"), facts(card), identifier(card.id)
    )
