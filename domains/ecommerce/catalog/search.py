"""Questions to a catalogue: words, a picture, both, or another product of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ....core.errors import ConfigError, InputError, nearest
from ..composed.query import ComposeSettings, compose
from .config import VIEWS, View
from .payload import BOOKKEEPING, shown
from .pictures import picture_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ....core.index.base import Rows, VectorIndex
    from ....core.index.filters import Where
    from .encode import ProductEncoding
    from .further import FurtherHit, FurtherPictures

DEFAULT_VIEW: View = "product"
"""What queries are compared with unless they say: picture and words of a product together, which every
product has."""


@dataclass(frozen=True)
class Found:
    """One product that a query found.

    Attributes:
        rank: from 1. id: of the product.
        score: cosine of query and product in :attr:`view`.
        scores: {view: cosine} for every vector that the product has. Cosines of words with words run higher
            than those of words with pictures: compare them down a column, not along a row.
        view: the vector that placed it.
        payload: fields of the product that have a value; attributes under ``attributes``.
        image: file of the picture that was nearest, else of the product's first one; None where there is
            none or it was not a file.
        picture: number of that picture; 0 is the first.
    """

    rank: int
    id: str
    score: float
    scores: Mapping[str, float]
    view: str
    payload: Mapping[str, Any]
    image: Path | None
    picture: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; times as ISO 8601."""
        return {
            "rank": self.rank,
            "id": self.id,
            "score": self.score,
            "scores": dict(self.scores),
            "view": self.view,
            "picture": self.picture,
            **{name: _plain(value) for name, value in self.payload.items()},
        }


@dataclass(frozen=True)
class SearchOptions:
    """What few searches need.

    Attributes:
        negative: words for what is not wanted; experimental.
        compose: how picture and words become one question; None takes what was fitted for this catalogue,
            else the defaults.
        hide_duplicates: leave out products that a merge marked.
        ef: breadth of an approximate search; None takes the tuned one, 0 searches exactly.
    """

    negative: str | None = None
    compose: ComposeSettings | None = None
    hide_duplicates: bool = True
    ef: int | None = None


@dataclass(frozen=True)
class Question:
    """What is looked for; at least a picture, words or a product.

    Attributes:
        image: path, bytes, picture or sample. text: words; beside a picture or product, the change wanted.
        like: id of a product, which is left out of the answer. negative: words for what is not wanted.
        compose: how picture and words become one query.
    """

    image: Any = None
    text: str | None = None
    like: str | None = None
    negative: str | None = None
    compose: ComposeSettings | None = None


def query_vector(
    question: Question, index: VectorIndex, encoder: ProductEncoding | None, view: View
) -> NDArray[np.float32]:
    """Return the query float32 [1, D], unit length.

    Raises:
        InputError: nothing or too much is asked, an unknown product, or one that lacks the vector.
        ConfigError: a query that needs the model, of a catalogue opened without one.
    """
    if question.image is not None and question.like is not None:
        raise InputError("A query starts from a picture or from a product of the catalogue, not from both.")
    if question.image is None and question.like is None and question.text is None:
        rest = ", and without words nothing to take the negative ones from" if question.negative else ""
        raise InputError(f"There is nothing to search for: give words, a picture or a product id{rest}.")
    if question.like is None:
        return _composed(question, encoder, question.image, None)
    rows = index.get([question.like], columns=["text"], views=VIEWS)
    if not rows.ids:
        raise InputError(f"The catalogue has no product {question.like!r}.")
    if question.text is None and question.negative is None:
        wanted = DEFAULT_VIEW if view == "best" else view
        if not has_view(rows, wanted, 0):
            what = "picture" if wanted == "image" else "text"
            raise InputError(f"Product {question.like!r} has no {what}; search with another view.")
        return np.asarray(rows.vectors[wanted], np.float32)
    if question.text is not None and question.compose is not None and question.compose.method == "encoder":
        # One encoder over both sides reads the picture itself, not what became of it.
        return _composed(question, encoder, picture_of(index, question.like), None)
    # Words change what a product looks like; one without a picture stands for itself.
    start = rows.vectors["image" if has_view(rows, "image", 0) else "product"][0]
    return _composed(question, encoder, torch.from_numpy(np.array(start)), rows.payload["text"][0].as_py())


def _composed(
    question: Question, encoder: ProductEncoding | None, image: Any, reference: str | None
) -> NDArray[np.float32]:
    if encoder is None:
        raise ConfigError(
            "Words and pictures are searched for with the model of the catalogue; open the catalogue with it."
        )
    made = compose(
        encoder,
        image=image,
        text=question.text,
        reference_text=reference or None,
        negative=question.negative,
        settings=question.compose,
    )
    return np.ascontiguousarray(made.float().numpy())


def has_view(rows: Rows, view: str, place: int) -> bool:
    """Return whether one of some rows has a vector in a view."""
    return view not in rows.present or bool(rows.present[view][place])


def find(
    index: VectorIndex,
    query: NDArray[np.float32],
    k: int,
    *,
    further: FurtherPictures,
    narrow: Narrow,
) -> list[Found]:
    """Return the k products nearest to a query [1, D]; a product goes by the nearest of its pictures.

    Raises:
        InputError: k below 1. ConfigError: an unknown view.
    """
    if k < 1:
        raise InputError(f"k is at least 1, got {k}.")
    known = (*VIEWS, "best")
    if narrow.view not in known:
        raise ConfigError(
            f"Unknown view {narrow.view!r}; known: {', '.join(known)}.{nearest(narrow.view, known)}"
        )
    best: dict[str, _Place] = {}
    for view in VIEWS if narrow.view == "best" else (narrow.view,):
        hits = index.search(query, k + len(narrow.leave_out), view=view, where=narrow.where, ef=narrow.ef)[0]
        for name, score in zip(hits.ids, hits.scores.tolist(), strict=True):
            if name not in best or score > best[name].score:
                best[name] = _Place(score, view)
    if narrow.view in ("image", "best"):
        wanted = k + len(narrow.leave_out)
        for name, hit in further.search(query, wanted, fits=lambda ids: narrow.fits(index, ids)).items():
            if name not in best or hit.score > best[name].score:
                best[name] = _Place(hit.score, "image", hit)
    ranked = sorted(best.keys() - set(narrow.leave_out), key=lambda name: (-best[name].score, name))[:k]
    return _described(index, query, {name: best[name] for name in ranked})


@dataclass(frozen=True)
class Narrow:
    """Which products may be answers, and what they are compared by.

    Attributes:
        view: see :meth:`.catalog.Catalog.search`. where: only those that fit. leave_out: never these.
        ef: breadth of an approximate search.
    """

    view: View = DEFAULT_VIEW
    where: Where | None = None
    leave_out: tuple[str, ...] = ()
    ef: int | None = None

    def fits(self, index: VectorIndex, ids: Sequence[str]) -> set[str]:
        """Return those of some products that are there and fit."""
        rows = index.get(ids, columns=[] if self.where is None else self.where.fields())
        if self.where is None:
            return set(rows.ids)
        return {name for name, fit in zip(rows.ids, self.where.mask(rows.payload), strict=True) if fit}


@dataclass(frozen=True)
class _Place:
    score: float
    view: str
    further: FurtherHit | None = None


def _described(index: VectorIndex, query: NDArray[np.float32], ranked: Mapping[str, _Place]) -> list[Found]:
    """Return what is known of products that were found, best first."""
    if not ranked:
        return []
    columns = [name for name in index.schema.names if name not in BOOKKEEPING]
    rows = index.get(list(ranked), columns=columns, views=VIEWS)
    cosines = {view: rows.vectors[view] @ query[0] for view in VIEWS}
    found = []
    for row, (name, cells) in enumerate(zip(rows.ids, rows.payload.to_pylist(), strict=True)):
        place = ranked[name]
        # The score that placed it was computed in another order of sums; one figure is told, not two.
        scores = {view: float(cosines[view][row]) for view in VIEWS if has_view(rows, view, row)}
        scores[place.view] = place.score
        path = cells.get("image_path") if place.further is None else place.further.path
        number = 0 if place.further is None else place.further.number
        image = Path(path) if path else None
        found.append(Found(row + 1, name, place.score, scores, place.view, shown(cells), image, number))
    return found


def _plain(value: Any) -> Any:
    return value.isoformat() if hasattr(value, "isoformat") else value
