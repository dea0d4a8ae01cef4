"""Fitting settings of one's own catalogue by labelled queries: share of the picture, and composition."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ....core.errors import DataError, InputError
from ....core.metrics.ranking import Positives
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
from .choosing import Choice, choose
from .queries import LabelledQuery

if TYPE_CHECKING:
    from ....core.index.base import VectorIndex
    from ..catalog.catalog import Catalog

SHARES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
"""Shares of the picture that are compared."""
MOST_PRODUCTS = 200_000
"""Products that fitting holds in memory; of more, a sample with all right answers."""


@dataclass(frozen=True, eq=False)
class Gallery:
    """Vectors of the products that fitting searches: float32 [G, D] each, zeros where one is missing."""

    ids: tuple[str, ...]
    image: Tensor
    text: Tensor
    product: Tensor

    def places(self) -> dict[str, int]:
        """Return {id: row}."""
        return {name: place for place, name in enumerate(self.ids)}


@dataclass(frozen=True)
class ShareFit:
    """The best share of the picture in a product's vector. ``choice``: mean reciprocal rank."""

    share: float
    before: float
    choice: Choice

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {"image_share": self.share, "before": self.before, "mrr": self.choice.to_dict()}


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
    for start in range(0, len(names), 4096):
        rows = index.get(names[start : start + 4096], columns=[], views=VIEWS)
        for view in VIEWS:
            vectors = torch.from_numpy(np.array(rows.vectors[view], dtype=np.float32))
            if view in rows.present:
                vectors[~torch.from_numpy(np.array(rows.present[view]))] = 0
            parts[view].append(vectors)
    return Gallery(tuple(names), *(torch.cat(parts[view]) for view in VIEWS))


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
    catalog: Catalog, queries: Sequence[LabelledQuery], *, current: float, seed: int = 0
) -> ShareFit | None:
    """Return the best share of the picture in a product's vector; None without queries of one side.

    Queries of a picture with words are left to :func:`fit_composition`. A product that asks has the same
    share itself.

    Args:
        current: share in use.

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
    places = gallery.places()
    shares = [current, *(share for share in SHARES if abs(share - current) > 1e-9)]
    needs_model = any(one.like is None for one in kept)
    encoder: QueryEncoder | None = catalog.encoder if needs_model else None
    asked = [
        None
        if one.like is not None or encoder is None
        else compose(encoder, image=one.image, text=one.text)[0]
        for one in kept
    ]
    scores = np.empty((len(shares), len(kept)))
    for number, share in enumerate(shares):
        # A product of one side is that side, whatever the share.
        product = F.normalize(share * gallery.image + (1 - share) * gallery.text, dim=-1)
        alone = ~(gallery.image.any(dim=1) & gallery.text.any(dim=1))
        product[alone] = gallery.product[alone]
        for row, one in enumerate(kept):
            own = None if one.like is None else places[one.like]
            query = asked[row] if own is None else product[own]
            found = product @ torch.as_tensor(query)
            if own is not None:
                found[own] = -torch.inf
            right = torch.from_numpy(positives.ids[positives.offsets[row] : positives.offsets[row + 1]])
            best = found[right].max()
            first = right[found[right] == best].min()
            before = (found > best) | ((found == best) & (torch.arange(len(found)) < first))
            scores[number, row] = 1.0 / (1 + int(before.sum()))
    choice = choose(scores, current=0, seed=seed)
    return ShareFit(shares[choice.best], current, choice)


def _named(queries: Sequence[LabelledQuery]) -> set[str]:
    return {name for one in queries for name in (*one.right, *([one.like] if one.like else []))}
