"""Fitting how pictures and words are combined, by labelled queries of one's own catalogue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ....core.errors import InputError
from ....core.metrics.ranking import Positives, rank_of_best
from ..evaluation.choosing import Choice, choose
from .query import ComposeSettings

ALPHAS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0)
BETAS = (0.0, 0.15, 0.3, 0.4, 0.55, 0.7, 0.85, 1.0)
WEIGHTS = (0.1, 0.3, 0.5, 0.7, 0.9)


@dataclass(frozen=True, eq=False)
class ComposedQueries:
    """Q labelled queries of a picture with words, as vectors float32 [Q, D].

    Attributes:
        image: of the reference pictures. reference_text: of what they show, in words.
        composed_text: of the same words with the change. change: of the change alone.
        positives: rows of the gallery that are right answers.
        exclude: int64 [Q], row of the reference itself, -1 where it is not in the gallery; None: nowhere.
    """

    image: Tensor
    reference_text: Tensor
    composed_text: Tensor
    change: Tensor
    positives: Positives
    exclude: Tensor | None = None


@dataclass(frozen=True)
class CompositionFit:
    """What fitting found.

    Attributes:
        settings: the best ones. before: those that were in use.
        choice: mean reciprocal rank of the first right answer, before, after and held out.
        hit_recall: {k: (before, after)}, share of queries with a right answer among the first k.
        tried: settings that were compared.
    """

    settings: ComposeSettings
    before: ComposeSettings
    choice: Choice
    hit_recall: dict[int, tuple[float, float]]
    tried: int

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        cut = {
            f"hit_recall@{k}": {"before": pair[0], "after": pair[1]} for k, pair in self.hit_recall.items()
        }
        return {
            "settings": self.settings.model_dump(),
            "before": self.before.model_dump(),
            "tried": self.tried,
            "mrr": self.choice.to_dict(),
            **cut,
        }


def candidates(current: ComposeSettings) -> list[ComposeSettings]:
    """Return the settings that are compared, the current ones first.

    Both steps of PDV act on the query through the one number ``(1 - beta) alpha_image + beta alpha_text``,
    so that the grid sets them alike and loses nothing.
    """
    pdv = [{"method": "pdv", "alpha_image": a, "alpha_text": a, "beta": b} for a in ALPHAS for b in BETAS]
    sums = [{"method": "sum", "weight": weight} for weight in WEIGHTS]
    # Words alone are the sum without the picture: a composition has to beat them.
    found = [current.model_copy(update=update) for update in ({"method": "sum", "weight": 0.0}, *sums, *pdv)]
    return [current, *(one for one in found if one != current)]


def fit(
    queries: ComposedQueries,
    gallery: Tensor,
    *,
    current: ComposeSettings | None = None,
    ks: Sequence[int] = (1, 10),
    seed: int = 0,
) -> CompositionFit:
    """Return the settings under which the first right answer stands highest.

    Args:
        queries: of a development set; what is reported as ``held_out`` is for other queries.
        gallery: float [G, D], unit length: the vectors that will be searched.
        current: in use until now; ``pdv`` or ``sum``.
        ks: depths that are reported.
        seed: of the halves and the bootstrap.

    Raises:
        InputError: shapes that disagree, fewer than two queries, or ``method="encoder"``, which has
            nothing to fit.
    """
    current = current or ComposeSettings()
    if current.method == "encoder":
        raise InputError("method 'encoder' has no settings to fit; start from 'pdv' or 'sum'.")
    tried = candidates(current)
    ranks = _ranks(queries, gallery, tried)
    choice = choose(1.0 / (ranks + 1), current=0, seed=seed)
    hits = {k: (float((ranks[0] < k).mean()), float((ranks[choice.best] < k).mean())) for k in ks}
    return CompositionFit(tried[choice.best], current, choice, hits, len(tried))


def _ranks(
    queries: ComposedQueries, gallery: Tensor, settings: Sequence[ComposeSettings]
) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return the 0-based rank of the best right answer, int64 [S, Q].

    A composed query is a sum, and so are its scores: each part is compared with the gallery once.
    """
    parts = [F.normalize(part.float(), dim=-1) for part in (
        queries.image, queries.reference_text, queries.composed_text, queries.change,
    )]  # fmt: skip
    if {part.shape for part in parts} != {(len(queries.positives.counts), gallery.shape[1])}:
        raise InputError(
            f"The parts of the queries are {[tuple(part.shape) for part in parts]}; expected "
            f"{(len(queries.positives.counts), gallery.shape[1])} each."
        )
    found = np.empty((len(settings), len(parts[0])), dtype=np.int64)
    offsets = queries.positives.offsets
    for row in range(len(parts[0])):
        scores = torch.stack([part[row] for part in parts]) @ gallery.float().T
        if queries.exclude is not None and queries.exclude[row] >= 0:
            scores[:, int(queries.exclude[row])] = -torch.inf
        right = torch.from_numpy(queries.positives.ids[offsets[row] : offsets[row + 1]])
        if queries.exclude is not None and bool((right == queries.exclude[row]).any()):
            raise InputError(f"Query {row} has its own reference product as a right answer; take it out.")
        mixed = torch.tensor([_coefficients(one) for one in settings]) @ scores.nan_to_num(neginf=-1e9)
        found[:, row] = rank_of_best(mixed, right).numpy()
    return found


def _coefficients(settings: ComposeSettings) -> list[float]:
    """Return the shares of image, reference text, composed text and change in the query."""
    if settings.method == "sum":
        return [settings.weight, 0.0, 0.0, 1 - settings.weight]
    beta = settings.beta
    step = (1 - beta) * settings.alpha_image + beta * settings.alpha_text
    return [1 - beta, beta - step, step, 0.0]
