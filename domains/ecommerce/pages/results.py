"""The page of a search: what was asked, and the products found, as pictures in a grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from .markup import Markup, element, joined
from .shell import (
    ProductCard,
    bar,
    definitions,
    document,
    facts,
    heading,
    identifier,
    name_of,
    photo,
    words,
)
from .thumbnails import Thumbnail

_VIEWS = {"image": "picture", "text": "text", "product": "product"}
_ASKED_LETTERS = 400


@dataclass(frozen=True)
class Asked:
    """What was looked for; what is empty was not said.

    Attributes:
        text: words. without: words the products should not fit. like: id of a product.
        picture: of the query. where: filter as typed. method: how picture and words were put together.
        view: which vectors were compared.
    """

    text: str = ""
    without: str = ""
    like: str = ""
    picture: Thumbnail | None = None
    where: str = ""
    method: str = ""
    view: str = ""


@dataclass(frozen=True)
class ResultCard:
    """A product that was found.

    Attributes:
        rank: from 1. score: cosine. scores: cosine by view. matched: view that counted, or "".
    """

    product: ProductCard
    rank: int
    score: float
    scores: Mapping[str, float] = field(default_factory=dict)
    matched: str = ""


def results_page(asked: Asked, found: Sequence[ResultCard], *, catalog: str, about: str = "") -> str:
    """Return the page of a search as HTML.

    Args:
        asked: the query.
        found: best first.
        catalog: name that the page carries. about: a line at its foot, of model and version for one.
    """
    count = {0: "No product", 1: "1 product"}.get(len(found), f"{len(found):,} products")
    head = element(
        "header",
        words(catalog, 120, name="p", class_="over"),
        element("h1", *_headline(asked)),
        element("p", f"{count} found{', best first' if len(found) > 1 else ''}", class_="soft"),
        _panel(asked),
    )
    if found:
        body = element("ol", *(element("li", _card(one)) for one in found), class_="grid")
    else:
        body = element(
            "div",
            element("h2", "Nothing fits"),
            element("p", "Use other words, a wider filter, or check that the catalogue holds such products."),
            class_="empty",
        )
    foot = element("footer", words(about, 300, name="p")) if about else None
    return document(
        f"Search: {_plain(asked)}", head, element("main", body, id="products", tabindex="-1"), foot
    )


def _plain(asked: Asked) -> str:
    return asked.text or (f"like {asked.like}" if asked.like else "by picture" if asked.picture else "all")


def _headline(asked: Asked) -> tuple[Markup | str, ...]:
    """What the page is about, in the words of the one who asked."""
    start: str | Markup = ""
    if asked.like:
        start = joined("Like ", words(asked.like, 80))
    elif asked.picture is not None:
        start = "Like this picture"
    if not asked.text:
        return (start or "Search",)
    asked_for = joined("“", words(asked.text, 160), "”")
    return (start, ", and ", asked_for) if start else (asked_for,)


def _panel(asked: Asked) -> Markup | None:
    """The query in full, with its picture."""
    said: dict[str, str | Markup] = {}
    if asked.text:
        said["Words"] = words(asked.text, _ASKED_LETTERS)
    if asked.without:
        said["Without"] = words(asked.without, _ASKED_LETTERS)
    if asked.like:
        said["Like product"] = element("code", words(asked.like, 120))
    if asked.where:
        said["Only where"] = element("code", words(asked.where, _ASKED_LETTERS))
    if asked.method:
        said["Picture and words"] = words(asked.method, 120)
    if asked.view:
        said["Compared by"] = _VIEWS.get(asked.view, asked.view)
    if not said and asked.picture is None:
        return None
    picture = None if asked.picture is None else photo(asked.picture, "Picture that was searched with")
    return element("section", picture, definitions(said), class_="asked", aria_label="What was asked")


def _card(one: ResultCard) -> Markup:
    product = one.product
    framed = element(
        "div",
        photo(product.picture, name_of(product)),
        element("span", element("span", "Rank ", class_="unseen"), str(one.rank), class_="rank"),
        class_="frame",
    )
    score = element(
        "div", "score ", element("strong", f"{one.score:.3f}"), bar(max(one.score, 0.0)), class_="score"
    )
    body = element(
        "div",
        heading(product, "h2"),
        score,
        _views(one),
        facts(product),
        identifier(product.id),
        class_="body",
    )
    return element("article", framed, body, class_="card")


def _views(one: ResultCard) -> Markup | None:
    """Scores by view; the one that counted stands out, in words for who cannot see the color."""
    if len(one.scores) < 2:
        return None
    rows = []
    for view, score in one.scores.items():
        best = view == one.matched
        said = f"{_VIEWS.get(view, view)} {score:.2f}"
        hint = element("span", " (matched)", class_="unseen") if best else None
        rows.append(element("li", said, hint, class_="best" if best else None))
    return element("ul", *rows, class_="views", aria_label="Scores by view")
