"""What all pages share: one file that loads nothing, runs nothing and reads well anywhere."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ....core.errors import ConfigError
from ....core.files import atomic_path
from .markup import Markup, cut, element, joined
from .style import STYLE
from .thumbnails import Thumbnail

TITLE_LETTERS, VALUE_LETTERS, ID_LETTERS = 300, 120, 120
"""Where a page cuts what products say; a title of 5,000 words stays one card among others."""
_MAX_FACTS = 8


@dataclass(frozen=True)
class ProductCard:
    """A product as a page shows it.

    Attributes:
        id: of the catalogue. title: may be empty. facts: {what: value} in the order shown.
        picture: None shows that there is none.
    """

    id: str
    title: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)
    picture: Thumbnail | None = None


def document(title: str, *body: str | None) -> str:
    """Return a whole page.

    A browser that opens it loads nothing from anywhere, runs no script and applies no style but ours,
    whatever stands in the data: the page's own policy says so.
    """
    digest = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="referrer", content="no-referrer"),
        element("meta", name="robots", content="noindex"),
        element("title", cut(title, 120)),
        element("style", Markup(STYLE)),
    )
    skip = element("a", "Skip to the products", class_="skip", href="#products")
    return f"<!DOCTYPE html>\n{element('html', head, element('body', skip, *body), lang='en')}\n"


def check_page(path: Path, option: str = "--html") -> None:
    """Raise ``ConfigError`` where a page cannot be written, before anything is worked out for it."""
    if path.suffix.lower() not in (".html", ".htm") or path.is_dir():
        raise ConfigError(f"{option} {path}: name a file that ends in .html.")


def write_page(path: Path, page: str) -> Path:
    """Write a page as UTF-8 through a temporary name, and return where."""
    with atomic_path(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return path


def words(text: str, letters: int = TITLE_LETTERS, *, name: str = "bdi", **attributes: str) -> Markup:
    """Return foreign words as an element that keeps their writing direction to itself."""
    return element(name, cut(text, letters), dir="auto", **attributes)


def photo(picture: Thumbnail | None, described: str) -> Markup:
    """Return a picture in a square, or a square that says there is none."""
    if picture is None:
        return element("div", "No picture", class_="photo none")
    shown = element(
        "img",
        src=picture.uri,
        alt=cut(described, VALUE_LETTERS),
        width=picture.width,
        height=picture.height,
        decoding="async",
    )
    return element("div", shown, class_="photo")


def name_of(card: ProductCard) -> str:
    """Return what a product is called: its title, or its id where it has none."""
    return card.title if card.title.strip() else f"Product {card.id}"


def heading(card: ProductCard, level: str = "h3") -> Markup:
    """Return the title of a product, or words that say it has none."""
    if card.title.strip():
        return words(card.title, name=level, class_="title")
    return element(level, "No title", class_="title soft")


def facts(card: ProductCard) -> Markup | None:
    """Return what is known of a product as a list of terms, or None."""
    known = {name: value for name, value in card.facts.items() if value.strip()}
    return definitions(dict(list(known.items())[:_MAX_FACTS]))


def definitions(pairs: Mapping[str, str | Markup]) -> Markup | None:
    """Return {term: words} as a list of definitions, or None for an empty one."""
    if not pairs:
        return None
    rows = (
        joined(
            element("dt", words(name, 40)),
            element("dd", value if isinstance(value, Markup) else words(value, VALUE_LETTERS)),
        )
        for name, value in pairs.items()
    )
    return element("dl", *rows)


def identifier(product_id: str) -> Markup:
    """Return an id in letters of equal width."""
    return element("p", words(product_id, ID_LETTERS), class_="id")


def bar(share: float) -> Markup:
    """Return a bar that is filled to ``share`` of 1; decoration, the number stands beside it."""
    width = round(100 * min(max(share, 0.0), 1.0), 1)
    filled = element("rect", width=f"{width:g}%", height="100%")
    return element("svg", filled, class_="bar", aria_hidden="true", focusable="false")
