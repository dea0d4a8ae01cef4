"""Pairs of one style from what shoppers clicked: counted over sessions, then held to rules.

Two products are a candidate pair when they were clicked after the same query, or from the same trigger
product, within one session; a trigger and what was clicked from it are one, too. A candidate becomes a pair
when it occurs in enough sessions, both products are of one leaf category, their texts are about the same
thing, and they are neither one listing nor one picture. What each rule took out is counted.

The published rule is not known beyond "category and relevance"; the thresholds are this project's.

Reference: arXiv 2302.05093, abstract.
"""

from __future__ import annotations

import csv
import io
import itertools
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field, model_validator

from ....core.config import Config
from ....core.data.leakage import difference_hash
from ....core.errors import DataError, InputError
from ....core.files import write_text_atomic
from ....core.pixels import to_pixels
from ..loaders.image import load_image
from ..products.cleaning import clean, words_of
from ..products.record import Product
from .tables import cell, rows_of

if TYPE_CHECKING:
    from ..encoders.product import ProductEncoder

_TEXTS_AT_ONCE = 256

Relevance = Callable[[Sequence[tuple[str, str]]], Sequence[float]]
"""From pairs of titles to how much they are about the same thing, from 0 (or -1) to 1."""


class ClickColumns(Config):
    """Columns of a click log. Each row is one click."""

    session: str = "session"
    clicked: str = "clicked"
    query: str | None = "query"
    """What had been searched for; None where the log does not say. The cell may be empty."""
    trigger: str | None = "trigger"
    """Product that the click came from, such as the one whose page recommended it."""


class MiningConfig(Config):
    """When two clicked products are a pair."""

    min_sessions: int = Field(default=2, ge=1)
    """Distinct sessions in which they were clicked together."""
    relevance: tuple[float, float] = (0.3, 1.0)
    """Least and largest relevance of the titles, both included."""
    same_category: bool = True
    """Whether both have to be of one leaf category; one without a category is of none."""
    allow_duplicates: bool = False
    """Whether pairs may show the same picture."""
    listing_attribute: str = "listing_id"
    """Attribute that names the listing, where several products (sizes, colors) are one."""
    most_pairs: int = Field(default=20, ge=1)
    """Per product: those seen in most sessions are kept."""
    hub_pairs: int = Field(default=500, ge=1)
    """Products in more pairs than this are bought with everything and say nothing; they are dropped."""
    most_clicks: int = Field(default=50, ge=2)
    """Products clicked after one query in one session; beyond, the session is no shopper's."""

    @model_validator(mode="after")
    def _range_runs_upwards(self) -> MiningConfig:
        if self.relevance[0] > self.relevance[1]:
            raise ValueError(f"relevance runs from low to high, got {list(self.relevance)}")
        return self


@dataclass(frozen=True)
class Click:
    """One click: ``session`` and ``clicked`` product, after a ``query`` or from a ``trigger``, or both."""

    session: str
    clicked: str
    query: str | None = None
    trigger: str | None = None


@dataclass(frozen=True)
class MinedPair:
    """Two products of one style, ``left`` before ``right`` in order of ids, and the sessions that say so."""

    left: str
    right: str
    sessions: int


@dataclass
class MiningReport:
    """What was counted and what each rule took out.

    Attributes:
        clicks, sessions: that were read. crowds: queries of a session with too many clicks, not counted.
        candidates: pairs that were clicked together at all.
        removed: {rule: pairs}, in the order of the rules. kept: pairs that are left. products: of these.
    """

    clicks: int = 0
    sessions: int = 0
    crowds: int = 0
    candidates: int = 0
    removed: dict[str, int] = field(default_factory=dict)
    kept: int = 0
    products: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)

    def lines(self) -> list[str]:
        """Return the report for people, one line each."""
        first = f"{self.clicks} clicks of {self.sessions} sessions make {self.candidates} candidate pairs."
        crowds = [f"{self.crowds} queries with too many clicks were not counted."] if self.crowds else []
        rules = [f"{count} removed: {rule}" for rule, count in self.removed.items() if count]
        return [first, *crowds, *rules, f"{self.kept} pairs of {self.products} products are left."]


def read_clicks(path: str | Path, columns: ClickColumns | None = None) -> Iterator[Click]:
    """Yield the clicks of a log (CSV, TSV, JSON lines or Parquet).

    Raises:
        DataError: a column is missing, a row has no session or product, or no row says what led to it.
    """
    names = columns or ClickColumns()
    # Either reason for a click will do; a column that was named has to be there.
    optional = [name for name in ("query", "trigger") if name not in names.model_fields_set]
    needed = [name for key, name in names if name is not None and key not in optional]
    clicks = reasons = 0
    for where, row in rows_of(Path(path), needed):
        session, clicked = cell(row, names.session), cell(row, names.clicked)
        if session is None or clicked is None:
            raise DataError(f"{where}: no {names.session if session is None else names.clicked}. Fill it in.")
        click = Click(session, clicked, cell(row, names.query), cell(row, names.trigger))
        clicks += 1
        reasons += click.query is not None or click.trigger is not None
        yield click
    if clicks and not reasons:
        raise DataError(
            f"{Path(path).name}: none of {clicks} clicks has a {names.query or 'query'} or a "
            f"{names.trigger or 'trigger'}. Name the columns: ClickColumns(query=..., trigger=...)."
        )


def mine_pairs(
    clicks: Iterable[Click],
    products: Iterable[Product] | Mapping[str, Product],
    *,
    config: MiningConfig | None = None,
    relevance: Relevance | None = None,
    picture_hash: Callable[[Product], int | None] | None = None,
) -> tuple[list[MinedPair], MiningReport]:
    """Return pairs of one style, most sessions first, and what became of the others.

    The clicks of the log are in memory while it is counted. The same log in another order gives the same.

    Args:
        clicks: of :func:`read_clicks`.
        products: those of the catalogue, by id or one after the other.
        config: thresholds.
        relevance: of two titles; None is :func:`title_overlap`, see also :func:`encoder_relevance`.
        picture_hash: of a product's picture; None is the difference hash of its file.

    Example:
        >>> shop = [Product("1", title="red owl mug"), Product("2", title="owl mug, red")]
        >>> log = [Click(day, one, query="owl mug") for day in ("mon", "tue") for one in ("1", "2")]
        >>> pairs, report = mine_pairs(log, shop, config=MiningConfig(same_category=False))
        >>> pairs
        [MinedPair(left='1', right='2', sessions=2)]
    """
    settings = config or MiningConfig()
    report = MiningReport()
    counts = _count(clicks, settings, report)
    report.candidates = len(counts)
    wanted = {one for pair in counts for one in pair}
    listed = products.values() if isinstance(products, Mapping) else products
    known = {one.id: one for one in listed if one.id in wanted and not one.deleted}
    hashes = _Hashes(picture_hash or _hash_of_file)
    rules: list[tuple[str, Callable[[list[tuple[str, str]]], list[bool]]]] = [
        ("in too few sessions", _each(lambda pair: counts[pair] >= settings.min_sessions)),
        ("not in the catalogue", _each(lambda pair: pair[0] in known and pair[1] in known)),
        ("of another category", _each(lambda pair: _one_category(known, pair, settings))),
        ("one listing", _each(lambda pair: not _one_listing(known, pair, settings.listing_attribute))),
        ("relevance out of range", lambda some: _relevant(known, some, settings, relevance or title_overlap)),
        ("the same picture", _each(lambda pair: settings.allow_duplicates or hashes.differ(known, pair))),
    ]
    kept = sorted(counts)
    for rule, fits in rules:
        flags = fits(kept)
        report.removed[rule] = flags.count(False)
        kept = list(itertools.compress(kept, flags))
    kept = _without_hubs(kept, settings, report)
    pairs = _strongest(kept, counts, settings, report)
    report.kept = len(pairs)
    report.products = len({one for pair in pairs for one in (pair.left, pair.right)})
    return pairs, report


def write_pairs(path: str | Path, pairs: Sequence[MinedPair]) -> None:
    """Write the table of pairs that training reads; ``weight`` is the number of sessions, at most 100.

    The file appears whole or not at all.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["left_id", "right_id", "weight"])
    writer.writerows([pair.left, pair.right, min(pair.sessions, 100)] for pair in pairs)
    write_text_atomic(path, buffer.getvalue())


def title_overlap(pairs: Sequence[tuple[str, str]]) -> list[float]:
    """Return the share of the words of either title that both have (Jaccard), from 0 to 1.

    Markup and promotion are taken out first.
    """
    found = []
    for first, second in pairs:
        one, other = (set(words_of(clean(title))) for title in (first, second))
        found.append(len(one & other) / len(one | other) if one or other else 0.0)
    return found


def encoder_relevance(encoder: ProductEncoder) -> Relevance:
    """Return the cosine of titles as a frozen model sees them, for :func:`mine_pairs`.

    Each title is embedded once. Cosines of one model are not those of another: look at some pairs before
    setting the range.
    """

    def cosines(pairs: Sequence[tuple[str, str]]) -> list[float]:
        titles = sorted({title for pair in pairs for title in pair})
        if not titles:
            return []
        place = {title: row for row, title in enumerate(titles)}
        parts = [
            encoder.encode_texts(titles[start : start + _TEXTS_AT_ONCE]).numpy()
            for start in range(0, len(titles), _TEXTS_AT_ONCE)
        ]
        vectors = np.concatenate(parts)
        left, right = (vectors[[place[pair[side]] for pair in pairs]] for side in (0, 1))
        return (left * right).sum(axis=1).tolist()

    return cosines


def _count(clicks: Iterable[Click], settings: MiningConfig, report: MiningReport) -> Counter[tuple[str, str]]:
    """Return {pair of ids: sessions in which they were clicked together}."""
    together: defaultdict[tuple[str, str, str], set[str]] = defaultdict(set)
    sessions: set[str] = set()
    for click in clicks:
        report.clicks += 1
        sessions.add(click.session)
        if click.query is not None:
            together[click.session, "query", " ".join(click.query.casefold().split())].add(click.clicked)
        if click.trigger is not None:
            # The trigger itself belongs to what was clicked from it.
            together[click.session, "trigger", click.trigger] |= {click.trigger, click.clicked}
    report.sessions = len(sessions)
    by_session: defaultdict[str, set[tuple[str, str]]] = defaultdict(set)
    for (session, _, _), members in together.items():
        if len(members) > settings.most_clicks:
            report.crowds += 1
        else:
            by_session[session].update(itertools.combinations(sorted(members), 2))
    return Counter(pair for pairs in by_session.values() for pair in pairs)


def _each(fits: Callable[[tuple[str, str]], bool]) -> Callable[[list[tuple[str, str]]], list[bool]]:
    return lambda pairs: [fits(pair) for pair in pairs]


def _one_category(known: Mapping[str, Product], pair: tuple[str, str], settings: MiningConfig) -> bool:
    if not settings.same_category:
        return True
    first, second = (known[one].category_leaf for one in pair)
    return first is not None and second is not None and first.casefold() == second.casefold()


def _one_listing(known: Mapping[str, Product], pair: tuple[str, str], attribute: str) -> bool:
    first, second = (known[one].attributes.get(attribute) for one in pair)
    return first is not None and first == second


def _relevant(
    known: Mapping[str, Product],
    pairs: list[tuple[str, str]],
    settings: MiningConfig,
    relevance: Relevance,
) -> list[bool]:
    """Return which pairs have titles that are relevant to each other; one without title has none."""
    titles = [(known[first].title or "", known[second].title or "") for first, second in pairs]
    told = [row for row, pair in enumerate(titles) if all(pair)]
    values = relevance([titles[row] for row in told])
    if len(values) != len(told):
        raise InputError(f"relevance gave {len(values)} values for {len(told)} pairs of titles.")
    low, high = settings.relevance
    # Cosines of equal titles may end a little above 1.
    fits = {row for row, value in zip(told, values, strict=True) if low <= value <= high + 1e-6}
    return [row in fits for row in range(len(pairs))]


class _Hashes:
    """Hashes of pictures, each made once."""

    def __init__(self, make: Callable[[Product], int | None]) -> None:
        self._make = make
        self._made: dict[str, int | None] = {}

    def differ(self, known: Mapping[str, Product], pair: tuple[str, str]) -> bool:
        """Return whether two pictures are not one; where one cannot be read they are taken as different."""
        for one in pair:
            if one not in self._made:
                self._made[one] = self._make(known[one])
        first, second = (self._made[one] for one in pair)
        return first is None or second is None or first != second


def _hash_of_file(product: Product) -> int | None:
    if product.image is None or product.image.path is None:
        return None
    try:
        sample = load_image(product.image.path, shortest_side=1)
    except (InputError, OSError):
        return None
    return difference_hash(to_pixels(sample).mean(dim=0).numpy())


def _without_hubs(
    pairs: list[tuple[str, str]], settings: MiningConfig, report: MiningReport
) -> list[tuple[str, str]]:
    degree = Counter(one for pair in pairs for one in pair)
    kept = [pair for pair in pairs if max(degree[one] for one in pair) <= settings.hub_pairs]
    report.removed["of a product in very many pairs"] = len(pairs) - len(kept)
    return kept


def _strongest(
    pairs: list[tuple[str, str]],
    counts: Mapping[tuple[str, str], int],
    settings: MiningConfig,
    report: MiningReport,
) -> list[MinedPair]:
    """Return the pairs with most sessions, at most so many of each product."""
    degree: Counter[str] = Counter()
    kept: list[MinedPair] = []
    for left, right in sorted(pairs, key=lambda pair: (-counts[pair], pair)):
        if max(degree[left], degree[right]) < settings.most_pairs:
            degree.update((left, right))
            kept.append(MinedPair(left, right, counts[left, right]))
    report.removed["enough pairs of the product already"] = len(pairs) - len(kept)
    return kept
