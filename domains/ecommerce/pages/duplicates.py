"""The page of a search for duplicates: every group as a strip of pictures, with evidence and consequence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..duplicates.report import DuplicateReport, Group, Pair, Refusal, Variant
from .markup import Markup, element, joined
from .shell import ProductCard, document, facts, heading, identifier, name_of, photo, words

MOST_GROUPS, MOST_MEMBERS, MOST_PAIRS, MOST_OTHERS = 150, 12, 40, 40
"""How much of a long report becomes part of the page; it says what it leaves out."""


def shown_ids(report: DuplicateReport) -> list[str]:
    """Return the products of which the page needs cards."""
    ids = [one for group in report.groups[:MOST_GROUPS] for one in group.members[:MOST_MEMBERS]]
    for other in (*report.variants[:MOST_OTHERS], *report.refused[:MOST_OTHERS]):
        ids += (other.pair.first, other.pair.second)
    return list(dict.fromkeys(ids))


def duplicates_page(
    report: DuplicateReport, cards: Mapping[str, ProductCard], *, catalog: str, done: str = ""
) -> str:
    """Return the report as HTML.

    Args:
        report: what was found.
        cards: of the products in :func:`shown_ids`; one that is missing is shown by its id.
        catalog: name that the page carries.
        done: what has become of the groups, "" while nothing was changed.
    """
    head = element(
        "header",
        words(catalog, 120, name="p", class_="over"),
        element("h1", "Duplicates"),
        element("p", _summary(report), class_="soft"),
        _numbers(report),
        _notices(report, done),
    )
    body = element("main", _groups(report, cards), *_others(report, cards), id="products", tabindex="-1")
    maker = f"{report.made_by.model}, revision {report.made_by.revision[:12]}"
    foot = element("footer", _rules(report), words(f"Version {report.version}, {maker}", 300, name="p"))
    return document(f"Duplicates in {catalog}", head, body, foot)


def _summary(report: DuplicateReport) -> str:
    if not report.groups:
        return f"{_count(report.products, 'product')} compared; none is there twice."
    return (
        f"{_count(report.products, 'product')} compared. {_count(report.duplicates, 'product')} could be "
        f"marked as duplicates of {_count(len(report.groups), 'other')}."
    )


def _numbers(report: DuplicateReport) -> Markup:
    shown = {
        "groups of one product": len(report.groups),
        "duplicates": report.duplicates,
        "pairs of variants, left alone": len(report.variants),
        "doubtful joins, left alone": len(report.refused),
    }
    rows = (element("li", element("strong", f"{value:,}"), name) for name, value in shown.items())
    return element("ul", *rows, class_="facts")


def _notices(report: DuplicateReport, done: str) -> Markup:
    state = done or (
        "Nothing has been changed. Merging marks the duplicates with the product that is kept; they stay in "
        "the catalogue, and the marks can be taken off again."
    )
    notes = [element("p", note) for note in report.notes]
    notice = element("div", element("strong", "Before you merge"), *notes, class_="notice") if notes else None
    return joined(element("p", state, class_="state"), notice)


def _groups(report: DuplicateReport, cards: Mapping[str, ProductCard]) -> Markup | None:
    if not report.groups:
        return None
    shown = report.groups[:MOST_GROUPS]
    left = len(report.groups) - len(shown)
    rest = element("p", f"{left:,} smaller groups are not shown here.", class_="soft") if left else None
    return joined(*(_group(number, group, cards) for number, group in enumerate(shown, start=1)), rest)


def _group(number: int, group: Group, cards: Mapping[str, ProductCard]) -> Markup:
    shown = group.members[:MOST_MEMBERS]
    strip = [_member(_card(cards, one), one == group.canonical) for one in shown]
    left = len(group.members) - len(shown)
    rest = element("p", f"and {left:,} more", class_="soft") if left else None
    keeps = joined("Merging keeps ", element("code", words(group.canonical, 80)), " and marks ")
    return element(
        "section",
        element("h2", f"Group {number}: {_count(len(group.members), 'product')}", id=f"group-{number}"),
        element("p", keeps, _count(len(group.duplicates), "duplicate"), " of it.", class_="soft"),
        _strip(strip, f"Products of group {number}"),
        rest,
        _evidence(group.pairs),
        class_="group",
        aria_labelledby=f"group-{number}",
    )


def _strip(items: Sequence[Markup], label: str) -> Markup:
    # In the order of tabs, so that the keyboard can scroll what is wider than the page.
    return element("ul", *items, class_="strip", tabindex="0", role="list", aria_label=label)


def _member(card: ProductCard, is_kept: bool) -> Markup:
    return element(
        "li",
        photo(card.picture, name_of(card)),
        element("span", "kept" if is_kept else "duplicate", class_="tag"),
        heading(card),
        facts(card),
        identifier(card.id),
        class_="kept" if is_kept else "marked",
    )


def _plain_member(card: ProductCard, tag: str) -> Markup:
    return element(
        "li",
        photo(card.picture, name_of(card)),
        words(tag, 60, name="span", class_="tag") if tag else None,
        heading(card),
        facts(card),
        identifier(card.id),
    )


def _evidence(pairs: Sequence[Pair]) -> Markup:
    """The evidence as a table that can be folded away."""
    shown = pairs[:MOST_PAIRS]
    left = len(pairs) - len(shown)
    header = ("First", "Second", "Why", "Product", "Picture", "Text")
    rows = (
        element(
            "tr",
            element("td", element("code", words(pair.first, 80))),
            element("td", element("code", words(pair.second, 80))),
            element("td", pair.words()),
            *(element("td", _number(value)) for value in (pair.product, pair.image, pair.text)),
        )
        for pair in shown
    )
    table = element(
        "table",
        element("caption", "Cosines of the vectors, from -1 to 1", class_="unseen"),
        element("thead", element("tr", *(element("th", name, scope="col") for name in header))),
        element("tbody", *rows),
    )
    return element(
        "details",
        element("summary", f"Evidence: {_count(len(pairs), 'pair')}"),
        element("div", table, class_="scroll", tabindex="0", role="region", aria_label="Evidence"),
        element("p", f"{left:,} more pairs are not shown.", class_="soft") if left else None,
    )


def _others(report: DuplicateReport, cards: Mapping[str, ProductCard]) -> list[Markup]:
    """Pairs that look alike and were left alone, with the reason."""
    found: list[Markup] = []
    if report.variants:
        found.append(element("h2", "Variants, left alone", class_="part"))
        found += [_variant(one, cards) for one in report.variants[:MOST_OTHERS]]
        found.append(_left(len(report.variants)))
    if report.refused:
        found.append(element("h2", "Doubtful, left alone", class_="part"))
        found += [_refusal(one, cards) for one in report.refused[:MOST_OTHERS]]
        found.append(_left(len(report.refused)))
    return found


def _left(count: int) -> Markup:
    left = max(0, count - MOST_OTHERS)
    return element("p", f"{left:,} more pairs are not shown.", class_="soft") if left else Markup("")


def _variant(one: Variant, cards: Mapping[str, ProductCard]) -> Markup:
    names = ", ".join(one.differs)
    tags = [", ".join(pair[side] for pair in one.differs.values()) for side in (0, 1)]
    return _apart(f"Alike, but of another {names}", one.pair, cards, tags)


def _refusal(one: Refusal, cards: Mapping[str, ProductCard]) -> Markup:
    if one.reason == "variant":
        said = "Alike, but their groups hold variants of each other"
    else:
        said = f"Alike, but their groups as a whole are not: mean cosine {one.similarity:.3f}"
    return _apart(said, one.pair, cards, ["", ""])


def _apart(said: str, pair: Pair, cards: Mapping[str, ProductCard], tags: Sequence[str]) -> Markup:
    strip = [
        _plain_member(_card(cards, name), tag)
        for name, tag in zip((pair.first, pair.second), tags, strict=True)
    ]
    return element(
        "section",
        element("h3", said),
        element("p", f"{pair.words()}.", class_="soft"),
        _strip(strip, said),
        class_="group",
    )


def _rules(report: DuplicateReport) -> Markup:
    """What was compared and by which numbers."""
    settings, fit = report.settings, report.settings.thresholds.fit
    said: list[str] = []
    if settings.exact:
        said.append("equal files, pixels and titles")
    if settings.perceptual:
        said.append(f"pictures within {settings.bits} of 64 bits of their hash")
    if settings.embedding:
        said.append(f"vectors: {settings.thresholds.words()}")
    measured = (
        f"Thresholds fitted on {fit.pairs:,} labelled pairs. {fit.words()}"
        if fit is not None
        else "Nobody has measured these thresholds."
    )
    return joined(
        element("p", f"Compared: {'; '.join(said)}."),
        element("p", measured) if settings.embedding else None,
    )


def _card(cards: Mapping[str, ProductCard], name: str) -> ProductCard:
    return cards.get(name) or ProductCard(name)


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.3f}"


def _count(number: int, word: str) -> str:
    return f"{number:,} {word}{'' if number == 1 else 's'}"
