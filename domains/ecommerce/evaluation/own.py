"""Measuring one's own catalogue: labelled queries, products of the same kind, and the index itself."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ....core.errors import ConfigError, DataError, InputError, nearest
from ....core.metrics.bootstrap import Bootstrap, Estimate
from ..catalog.config import VIEWS, View
from ..catalog.payload import BOOKKEEPING, attribute_column, attribute_name
from ..catalog.search import Question, has_view, query_vector
from ..composed.query import ComposeSettings, QueryEncoder
from ..composed.stored import load_settings
from .esspr import DIRECTIONS
from .queries import LabelledQuery
from .results import TaskResult
from .vectors import graded

if TYPE_CHECKING:
    from ....core.index.base import Hits, VectorIndex
    from ..catalog.catalog import Catalog

DEPTH = 100
"""How far down a list MRR looks."""
KS = (1, 5, 10)
_SIDES = {"i": "image", "t": "text", "m": "product"}

Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class QueryResults:
    """What labelled queries found. ``notes``: queries that were left out, and why."""

    tasks: tuple[TaskResult, ...]
    notes: tuple[str, ...]


def evaluate_queries(
    catalog: Catalog,
    queries: Sequence[LabelledQuery],
    *,
    ks: Sequence[int] = KS,
    view: View = "product",
    directions: Sequence[str] = (),
    compose: ComposeSettings | None = None,
) -> QueryResults:
    """Return how well labelled queries find their right answers.

    Args:
        catalog: opened with its model, unless all queries are products of it without words.
        ks: depths, 1 or more.
        view: what queries are compared with; not ``best``.
        directions: query side and product side, as in ``i-m`` (i picture, t text, m both); each is a row of
            its own. None measures the queries as they are asked.
        compose: how picture and words become one query; None takes those of the catalogue.

    Raises:
        ConfigError: an unknown direction or view. InputError: a depth below 1.
        DataError: no query is left.
    """
    if view not in VIEWS:
        raise ConfigError(f"Labelled queries are compared with one of {', '.join(VIEWS)}, not {view!r}.")
    _check_depths(ks)
    known = _known(catalog.index, {name for one in queries for name in one.right} | _likes(queries))
    usable, notes = _usable(queries, known)
    if not directions:
        rows = {one.name: row for one, row in _whole(catalog, usable, view, compose)}
        return QueryResults(
            (_measured(catalog, f"queries to {view}", usable, rows, (view, ks)),), tuple(notes)
        )
    # A picture with words is one product here, as in eSSPR; a change of a product is no direction.
    plain = [one for one in usable if one.like is None or one.text is None]
    if len(plain) < len(usable):
        notes.append(f"{len(usable) - len(plain)} queries change a product by words; no direction asks them.")
    tasks = []
    for direction in directions:
        if direction not in DIRECTIONS and direction not in ("m-i", "m-t"):
            raise ConfigError(
                f"No direction {direction!r}; there are: {', '.join((*DIRECTIONS, 'm-i', 'm-t'))}."
                f"{nearest(direction, DIRECTIONS)}"
            )
        asked, given = (_SIDES[letter] for letter in direction.split("-"))
        rows = {one.name: row for one in plain if (row := _side(catalog, one, asked)) is not None}
        kept = [one for one in plain if one.name in rows]
        if len(kept) < len(plain):
            notes.append(f"{direction}: {len(plain) - len(kept)} queries lack that side; left out.")
        if kept:
            tasks.append(_measured(catalog, direction, kept, rows, (given, ks)))
    if not tasks:
        raise DataError(f"No query has the side that {', '.join(directions)} start from.")
    return QueryResults(tuple(tasks), tuple(notes))


def _likes(queries: Sequence[LabelledQuery]) -> set[str]:
    return {one.like for one in queries if one.like is not None}


def _known(index: VectorIndex, names: set[str]) -> set[str]:
    return set(index.get(sorted(names), columns=[]).ids)


def _usable(queries: Sequence[LabelledQuery], known: set[str]) -> tuple[list[LabelledQuery], list[str]]:
    """Return the queries that the catalogue can answer, and what to say of the others."""
    names = [one.name for one in queries]
    twice = [name for name in names if names.count(name) > 1] if len(set(names)) < len(names) else []
    if twice:
        raise DataError(f"Two labelled queries are called {twice[0]!r}; give each another id.")
    lost = [one for one in queries if one.like is not None and one.like not in known]
    empty = [
        one
        for one in queries
        if one not in lost and not any(name in known and name != one.like for name in one.right)
    ]
    kept = [one for one in queries if one not in lost and one not in empty]
    notes = []
    if lost:
        notes.append(f"{len(lost)} queries are like a product that is not in the catalogue; left out.")
    if empty:
        notes.append(f"{len(empty)} queries have no right answer in the catalogue; left out.")
    if not kept:
        raise DataError(
            f"None of {len(queries)} queries has a right answer in the catalogue; check that the ids are its "
            "own."
        )
    return kept, notes


def _whole(
    catalog: Catalog, queries: Sequence[LabelledQuery], view: View, compose: ComposeSettings | None
) -> list[tuple[LabelledQuery, Vectors]]:
    settings = compose or load_settings(catalog.folder)
    needs_model = any(one.text or one.image or one.without for one in queries)
    encoder = catalog.encoder if needs_model else None
    found = []
    for one in queries:
        question = Question(one.image, one.text, one.like, one.without, settings)
        try:
            found.append((one, query_vector(question, catalog.index, encoder, view)[0]))
        except InputError as error:
            raise InputError(f"Query {one.name}: {error}") from None
    return found


def _side(catalog: Catalog, one: LabelledQuery, side: str) -> Vectors | None:
    """Return one side of a query, float32 [D], or None where it has none."""
    if one.like is not None:
        rows = catalog.index.get([one.like], columns=[], views=VIEWS)
        return rows.vectors[side][0] if has_view(rows, side, 0) else None
    encoder: QueryEncoder = catalog.encoder
    lacks = {"image": one.image is None, "text": one.text is None}
    if lacks.get(side, lacks["image"] or lacks["text"]):
        return None
    image = None if one.image is None or side == "text" else encoder.prepare_image(one.image)
    text = one.text if side != "image" else None
    vectors = encoder.encode([image], [text])
    return getattr(vectors, side)[0].float().numpy()


def _measured(
    catalog: Catalog,
    name: str,
    queries: Sequence[LabelledQuery],
    rows: Mapping[str, Vectors],
    how: tuple[str, Sequence[int]],
) -> TaskResult:
    view, ks = how
    depth = max(DEPTH, *ks)
    matrix = np.stack([rows[one.name] for one in queries]).astype(np.float32)
    # Exactly: what is measured is the model; what the index misses is told by index_recall.
    hits = catalog.index.search(matrix, depth + 1, view=view, ef=0)
    ranked = {
        one.name: [found for found in hit.ids if found != one.like][:depth]
        for one, hit in zip(queries, hits, strict=True)
    }
    judged = {
        one.name: {found: grade for found, grade in one.right.items() if found != one.like} for one in queries
    }
    rankings = graded(ranked, judged)
    bootstrap = Bootstrap(len(rankings))
    metrics = {f"hit_recall@{k}": bootstrap.mean(rankings.hit_recall_at(k)) for k in ks}
    metrics |= {f"Recall@{k}": bootstrap.mean(rankings.recall_at(k)) for k in ks}
    metrics |= {f"NDCG@{k}": bootstrap.mean(rankings.ndcg(k)) for k in ks}
    metrics[f"MRR@{depth}"] = bootstrap.mean(rankings.reciprocal_rank(depth))
    return TaskResult(name, len(rankings), len(catalog), metrics, {})


def evaluate_same(
    catalog: Catalog,
    field: str,
    *,
    ks: Sequence[int] = KS,
    view: View = "image",
    sample: int = 1000,
    seed: int = 0,
) -> TaskResult:
    """Return how many of the nearest products share a field with each product: category, brand, color.

    Every product asks with its own vector and is no answer itself. ``mAP@k`` divides by min(k, right
    answers).

    Args:
        field: column or attribute; products without a value neither ask nor count as right.
        ks: depths. view: vectors that are compared.
        sample: products that ask, drawn by ``seed``.

    Raises:
        ConfigError: an unknown view. InputError: an unknown field, or a depth below 1.
        DataError: no two products share a value.
    """
    if view not in VIEWS:
        raise ConfigError(f"Products are compared by one of {', '.join(VIEWS)}, not {view!r}.")
    _check_depths(ks)
    index = catalog.index
    column = _column(field, index)
    value_of = _values(index, column, view)
    counts: dict[Any, int] = {}
    for value in value_of.values():
        counts[value] = counts.get(value, 0) + 1
    asking = sorted(name for name, value in value_of.items() if counts[value] > 1)
    if not asking:
        raise DataError(f"No two products with a {view} vector share a value of {field!r}.")
    drawn = np.random.default_rng(seed).permutation(len(asking))[:sample]
    names = [asking[place] for place in sorted(drawn.tolist())]
    deepest = max(ks)
    right = np.zeros((len(names), deepest))
    for row, hit in enumerate(_neighbors(index, names, deepest, view)):
        found = [name for name in hit.ids if name != names[row]][:deepest]
        right[row, : len(found)] = [value_of.get(name) == value_of[names[row]] for name in found]
    possible = np.array([counts[value_of[name]] - 1 for name in names], dtype=np.float64)
    bootstrap = Bootstrap(len(names), seed=seed)
    metrics: dict[str, Estimate] = {}
    for k in ks:
        kept = right[:, :k]
        precision = np.cumsum(kept, axis=1) / np.arange(1, k + 1)
        metrics[f"P@{k}"] = bootstrap.mean(kept.sum(axis=1) / k)
        metrics[f"mAP@{k}"] = bootstrap.mean((precision * kept).sum(axis=1) / np.minimum(possible, k))
        metrics[f"hit_recall@{k}"] = bootstrap.mean(kept.any(axis=1))
    return TaskResult(f"same {field} by {view}", len(names), len(catalog), metrics, {})


def _values(index: VectorIndex, column: str, view: str) -> dict[str, Any]:
    """Return {id: value} of the products that have a value and a vector."""
    found = {}
    for rows in index.scan(columns=[column], views=(view,)):
        values = rows.payload.column(column).to_pylist()
        for place, (name, value) in enumerate(zip(rows.ids, values, strict=True)):
            if value is not None and has_view(rows, view, place):
                found[name] = value
    return found


def _column(field: str, index: VectorIndex) -> str:
    names = [name for name in index.schema.names if name not in BOOKKEEPING]
    for name in (field, attribute_column(field)):
        if name in names:
            return name
    known = [attribute_name(name) for name in names]
    raise InputError(
        f"No field or attribute {field!r}; there are: {', '.join(known)}.{nearest(field, known)}"
    )


def _neighbors(index: VectorIndex, names: Sequence[str], k: int, view: str) -> list[Hits]:
    """Return the exact k + 1 nearest rows of stored rows, themselves among them."""
    found: list[Hits] = []
    for start in range(0, len(names), 256):
        rows = index.get(names[start : start + 256], columns=[], views=(view,))
        found += index.search(np.asarray(rows.vectors[view]), k + 1, view=view, ef=0)
    return found


@dataclass(frozen=True)
class IndexRecall:
    """How well the index answers, measured against the exact search.

    Attributes:
        view: vectors. kind: what answers now. recall: recall@k of the exact answer, mean over queries.
        k, queries: of the measurement. exact_ms, index_ms: median time of one query.
    """

    view: str
    kind: str
    recall: float
    k: int
    queries: int
    exact_ms: float
    index_ms: float

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return dict(vars(self))


def index_recall(
    catalog: Catalog, *, k: int = 10, sample: int = 300, seed: int = 0
) -> tuple[IndexRecall, ...]:
    """Return how well the index answers in each view that has vectors.

    Products that are drawn ask with their own vector, one at a time; they are no answer themselves.

    Raises:
        InputError: k or the sample below 1.
    """
    _check_depths([k])
    if sample < 1:
        raise InputError(f"sample is at least 1, got {sample}.")
    index = catalog.index
    kinds = index.stats().kind
    found = []
    for view in VIEWS:
        names = [
            name
            for rows in index.scan(columns=[], views=(view,))
            for place, name in enumerate(rows.ids)
            if has_view(rows, view, place)
        ]
        if len(names) < 2:
            continue
        drawn = np.random.default_rng(seed).permutation(len(names))[:sample]
        asking = sorted(names[place] for place in drawn.tolist())
        exact, exact_ms = _timed(index, asking, k, view, ef=0)
        answered, index_ms = _timed(index, asking, k, view, ef=None)
        shares = [
            len(set(mine) & set(right)) / len(right) for mine, right in zip(answered, exact, strict=True)
        ]
        kind = kinds.get(view, "")
        found.append(IndexRecall(view, kind, float(np.mean(shares)), k, len(asking), exact_ms, index_ms))
    return tuple(found)


def _timed(
    index: VectorIndex, names: Sequence[str], k: int, view: str, *, ef: int | None
) -> tuple[list[list[str]], float]:
    """Return (the k nearest other rows of each, median milliseconds of one query)."""
    rows = index.get(names, columns=[], views=(view,))
    vectors = np.asarray(rows.vectors[view])
    answers, times = [], []
    for place, name in enumerate(rows.ids):
        start = time.perf_counter()
        hit = index.search(vectors[place : place + 1], k + 1, view=view, ef=ef)[0]
        times.append(time.perf_counter() - start)
        answers.append([found for found in hit.ids if found != name][:k])
    return answers, 1000 * float(np.median(times))


def _check_depths(ks: Sequence[int]) -> None:
    if not ks or min(ks) < 1:
        raise InputError(f"k is at least 1, got {list(ks)}.")
