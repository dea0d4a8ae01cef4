"""Fitting settings of one's own catalogue by labelled queries: share of the picture, and composition."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ....core.errors import DataError, InputError
from ....core.metrics.ranking import Positives, rank_of_best
from ..catalog.config import VIEWS
from ..composed.fitting import ComposedQueries, CompositionFit, fit
from ..composed.query import (
    PLAIN_REFERENCE,
    ComposeSettings,
    QueryEncoder,
    compose,
    encode_words,
    joined,
    shortened,
)
from ..encoders.fusing import Fusion, FusionWeights, fuse
from .choosing import Choice, choose
from .queries import LabelledQuery

if TYPE_CHECKING:
    from ....core.index.base import VectorIndex
    from ..catalog.catalog import Catalog

SHARES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
"""Shares of the picture that are compared."""
LEAST_OF_CATEGORY = 30
"""Queries of a category below which it gets the general share: fewer say little."""
MOST_PRODUCTS = 200_000
"""Products that fitting holds in memory; of more, a sample with all right answers."""


@dataclass(frozen=True, eq=False)
class Gallery:
    """Products that fitting searches: vectors float32 [G, D] each, zeros where one is missing; categories."""

    ids: tuple[str, ...]
    categories: tuple[str | None, ...]
    image: Tensor
    text: Tensor
    product: Tensor

    def places(self) -> dict[str, int]:
        """Return {id: row}."""
        return {name: place for place, name in enumerate(self.ids)}


@dataclass(frozen=True)
class ShareFit:
    """The best shares of picture and text in a product's vector.

    Attributes:
        fusion: shares that surely do better than those in use, else these; with those of categories.
        before: shares in use. best: share for all products that is best on the queries given.
        choice: mean reciprocal rank with one share for all products.
        categories: {category: what its own share gives its queries}, where it has one in ``fusion``.
    """

    fusion: Fusion
    before: Fusion
    best: Fusion
    choice: Choice
    categories: dict[str, Choice]

    @property
    def worthwhile(self) -> bool:
        """Whether queries that nothing was chosen by surely gain."""
        return self.fusion != self.before

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "fusion": self.fusion.model_dump(),
            "before": self.before.model_dump(),
            "best": self.best.model_dump(),
            "worthwhile": self.worthwhile,
            "mrr": self.choice.to_dict(),
            "categories": {name: one.to_dict() for name, one in self.categories.items()},
        }


def read_gallery(index: VectorIndex, keep: set[str], *, most: int = MOST_PRODUCTS, seed: int = 0) -> Gallery:
    """Return the vectors of all products, or of a sample that has those in ``keep``; in the order of ids.

    Raises:
        DataError: the index has no products.
    """
    names = sorted(name for rows in index.scan(columns=[], views=()) for name in rows.ids)
    if not names:
        raise DataError("The catalogue has no products.")
    if len(names) > most:
        others = [name for name in names if name not in keep]
        drawn = np.random.default_rng(seed).permutation(len(others))[: max(0, most - len(keep))]
        names = sorted(keep & set(names) | {others[place] for place in drawn.tolist()})
    parts: dict[str, list[Tensor]] = {view: [] for view in VIEWS}
    categories: list[str | None] = []
    for start in range(0, len(names), 4096):
        rows = index.get(names[start : start + 4096], columns=["category"], views=VIEWS)
        categories += rows.payload.column("category").to_pylist()
        for view in VIEWS:
            vectors = torch.from_numpy(np.array(rows.vectors[view], dtype=np.float32))
            if view in rows.present:
                vectors[~torch.from_numpy(np.array(rows.present[view]))] = 0
            parts[view].append(vectors)
    return Gallery(tuple(names), tuple(categories), *(torch.cat(parts[view]) for view in VIEWS))


def positives_of(queries: Sequence[LabelledQuery], gallery: Gallery) -> tuple[list[LabelledQuery], Positives]:
    """Return the queries that have a right answer in the gallery, and which rows are right.

    Raises:
        DataError: none has.
    """
    places = gallery.places()
    lists, kept = [], []
    for one in queries:
        rows = sorted(places[name] for name in one.right if name in places and name != one.like)
        if rows and (one.like is None or one.like in places):
            lists.append(rows)
            kept.append(one)
    if not kept:
        raise DataError("No labelled query has a right answer in the catalogue; check the ids.")
    return kept, Positives.from_lists(lists)


def fit_composition(
    catalog: Catalog, queries: Sequence[LabelledQuery], *, current: ComposeSettings, seed: int = 0
) -> CompositionFit | None:
    """Return the best composition for the queries of a picture or product with words; None without any.

    Raises:
        DataError: as :func:`positives_of`. InputError: fewer than two such queries, or an unreadable one.
    """
    composed = [one for one in queries if one.is_composed]
    if not composed:
        return None
    gallery = read_gallery(catalog.index, _named(composed))
    kept, positives = positives_of(composed, gallery)
    encoder: QueryEncoder = catalog.encoder
    places = gallery.places()
    images, said = [], []
    for one in kept:
        if one.like is not None:
            row = places[one.like]
            start = gallery.image[row] if bool(gallery.image[row].any()) else gallery.product[row]
            images.append(start)
            text = catalog.index.get([one.like], columns=["text"]).payload["text"][0].as_py()
            said.append(shortened(encoder, text or PLAIN_REFERENCE, str(one.text)))
        else:
            images.append(compose(encoder, image=one.image)[0])
            said.append(PLAIN_REFERENCE)
    changes = [str(one.text) for one in kept]
    exclude = torch.tensor([-1 if one.like is None else places[one.like] for one in kept])
    parts = ComposedQueries(
        image=torch.stack(images),
        reference_text=encode_words(encoder, said),
        composed_text=encode_words(encoder, [joined(*pair) for pair in zip(said, changes, strict=True)]),
        change=encode_words(encoder, changes),
        positives=positives,
        exclude=exclude,
    )
    return fit(parts, gallery.product, current=current, seed=seed)


def fit_share(
    catalog: Catalog, queries: Sequence[LabelledQuery], *, current: Fusion, seed: int = 0
) -> ShareFit | None:
    """Return the best shares of the picture in products' vectors; None without queries of one side.

    First one share for all products is chosen. A category with at least :data:`LEAST_OF_CATEGORY` queries
    gets another one where its queries surely gain by it, and only if all queries together gain by the shares
    of categories as well. Apply the result with :func:`..catalog.mixing.mixed_anew`.

    Queries of a picture with words are left to :func:`fit_composition`. A product that asks has the same
    shares itself; a query belongs to the category of the product that asks, else of its right answers.

    Args:
        current: shares in use.

    Raises:
        DataError: as :func:`positives_of`. InputError: fewer than two queries, or one that cannot be read.
    """
    plain = [one for one in queries if not one.is_composed]
    if not plain:
        return None
    gallery = read_gallery(catalog.index, _named(plain))
    kept, positives = positives_of(plain, gallery)
    if len(kept) < 2:
        raise InputError(f"{len(kept)} labelled queries cannot choose a share; give at least 2, better 200.")
    asked = _asked(catalog, kept, gallery)
    tried = [current, *(Fusion(image=share, text=1 - share) for share in SHARES)]
    scores = np.stack([_reciprocal_ranks(one, gallery, asked, positives) for one in tried])
    choice = choose(scores, current=0, seed=seed)
    chosen = choice.best if choice.worthwhile else 0
    rows = _rows_by_category(kept, gallery, positives)
    categories, own = {}, {}
    for category, places in rows.items():
        found = choose(scores[:, places], current=chosen, seed=seed)
        if found.best != chosen and found.worthwhile:
            categories[category] = found
            better = tried[found.best].of(category)
            own[category] = FusionWeights(image=better.image, text=better.text)
    general, best = tried[chosen], tried[choice.best]
    mixed = general.model_copy(update={"by_category": {**general.by_category, **own}})
    # Each was measured as if all products had the share; what counts is all of them side by side.
    if own and _reciprocal_ranks(mixed, gallery, asked, positives).mean() > scores[chosen].mean():
        return ShareFit(mixed, current, best, choice, categories)
    return ShareFit(general, current, best, choice, {})


_Asked = list[Tensor | int]
"""Of each query its vector, or the row of the product that asks."""


def _asked(catalog: Catalog, queries: Sequence[LabelledQuery], gallery: Gallery) -> _Asked:
    places = gallery.places()
    needs_model = any(one.like is None for one in queries)
    encoder: QueryEncoder | None = catalog.encoder if needs_model else None
    return [
        compose(encoder, image=one.image, text=one.text)[0]
        if encoder is not None and one.like is None
        else places[str(one.like)]
        for one in queries
    ]


def _reciprocal_ranks(
    fusion: Fusion, gallery: Gallery, asked: _Asked, positives: Positives
) -> NDArray[np.float64]:
    """Return 1 / rank of the first right answer of each query, float [Q]."""
    present = {"image": gallery.image.any(dim=1), "text": gallery.text.any(dim=1)}
    shares = fusion.shares(len(gallery.ids), gallery.categories)
    product = fuse(gallery.image, gallery.text, shares, present)
    found = np.empty(len(asked))
    for row, one in enumerate(asked):
        scores = product @ (product[one] if isinstance(one, int) else one)
        if isinstance(one, int):
            scores[one] = -torch.inf
        right = torch.from_numpy(positives.ids[positives.offsets[row] : positives.offsets[row + 1]])
        found[row] = 1.0 / (1 + int(rank_of_best(scores[None], right)))
    return found


def _rows_by_category(
    queries: Sequence[LabelledQuery], gallery: Gallery, positives: Positives
) -> dict[str, list[int]]:
    """Return {category: its queries}, of categories with enough of them."""
    places = gallery.places()
    rows: defaultdict[str, list[int]] = defaultdict(list)
    for row, one in enumerate(queries):
        right = positives.ids[positives.offsets[row] : positives.offsets[row + 1]].tolist()
        tells = right if one.like is None else [places[one.like]]
        named = Counter(category for place in tells if (category := gallery.categories[place]))
        if named:
            rows[named.most_common(1)[0][0]].append(row)
    return {category: places for category, places in rows.items() if len(places) >= LEAST_OF_CATEGORY}


def _named(queries: Sequence[LabelledQuery]) -> set[str]:
    return {name for one in queries for name in (*one.right, *([one.like] if one.like else []))}
