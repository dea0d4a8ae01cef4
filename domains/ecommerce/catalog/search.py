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

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ....core.index.base import Rows, VectorIndex
    from ....core.index.filters import Where
    from .encode import ProductEncoding

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
        image: file of its picture, or None where there is none or it was not a file.
    """

    rank: int
    id: str
    score: float
    scores: Mapping[str, float]
    view: str
    payload: Mapping[str, Any]
    image: Path | None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; times as ISO 8601."""
        return {
            "rank": self.rank,
            "id": self.id,
            "score": self.score,
            "scores": dict(self.scores),
            "view": self.view,
            **{name: _plain(value) for name, value in self.payload.items()},
        }


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
    view: View,
    where: Where | None = None,
    leave_out: Sequence[str] = (),
    ef: int | None = None,
) -> list[Found]:
    """Return the k products nearest to a query [1, D]; arguments as in :meth:`.catalog.Catalog.search`."""
    if k < 1:
        raise InputError(f"k is at least 1, got {k}.")
    if view not in (*VIEWS, "best"):
        known = (*VIEWS, "best")
        raise ConfigError(f"Unknown view {view!r}; known: {', '.join(known)}.{nearest(view, known)}")
    best: dict[str, tuple[float, str]] = {}
    for one in VIEWS if view == "best" else (view,):
        hits = index.search(query, k + len(leave_out), view=one, where=where, ef=ef)[0]
        for name, score in zip(hits.ids, hits.scores.tolist(), strict=True):
            if name not in leave_out and (name not in best or score > best[name][0]):
                best[name] = (score, one)
    ranked = sorted(best, key=lambda name: (-best[name][0], name))[:k]
    return _described(index, query, [(name, *best[name]) for name in ranked])


def _described(
    index: VectorIndex, query: NDArray[np.float32], ranked: Sequence[tuple[str, float, str]]
) -> list[Found]:
    """Return what is known of products that were found: (id, score, view), best first."""
    if not ranked:
        return []
    columns = [name for name in index.schema.names if name not in BOOKKEEPING]
    rows = index.get([name for name, _, _ in ranked], columns=columns, views=VIEWS)
    cosines = {view: rows.vectors[view] @ query[0] for view in VIEWS}
    places = {name: place for place, name in enumerate(rows.ids)}
    cells = rows.payload.to_pylist()
    found = []
    for rank, (name, score, view) in enumerate(ranked, start=1):
        place = places[name]
        # The score that placed it was computed in another order of sums; one figure is told, not two.
        scores = {one: float(cosines[one][place]) for one in VIEWS if has_view(rows, one, place)}
        scores[view] = score
        path = cells[place].get("image_path")
        found.append(
            Found(rank, name, score, scores, view, shown(cells[place]), Path(path) if path else None)
        )
    return found


def _plain(value: Any) -> Any:
    return value.isoformat() if hasattr(value, "isoformat") else value
