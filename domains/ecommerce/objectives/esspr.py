"""The loss unit of same-style retrieval: five hinge terms over four views of a product and its match.

B pairs; <., .> is the cosine. L is the left product with picture and text, T its text alone, I its picture
alone, R the right product, X the left one transformed. Row means divide by B, the diagonal included::

    PPM(A) = 1/B^2 sum_ij max(0, <A_i,R_j> - <A_i,R_i> + m1 [i != j])              A in {L, T, I}
    SD     = 1/B^2 sum_ij max(0, <X_i,L_j> - <X_i,L_i> + m2 [i != j])
    LC     = 1/(B K) sum_i sum_{j in top K of <L_i,R_j>} max(0, (<L_i,R_j> - <X_i,R_j>)^2 - m3)

Products of the same known group are no negatives of each other: their entries of PPM and SD are 0.

Reference: arXiv 2302.05093 and the loss code of its repository; margins and weights are not published, the
defaults are this project's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from ....core.config import Config
from ....core.errors import ConfigError, InputError
from ....core.types import Batch, Outputs
from ..encoders.fusing import unit
from .pairs import PairObjective, mean_over, negatives, usable_rows, views_of

Amount = Annotated[float, Field(ge=0)]


class Margins(Config):
    """Margins of the terms, in cosine; that of locality in squared cosine."""

    ppm: Amount = 0.3
    self_distinctiveness: Amount = 0.2
    locality: Amount = 0.01


class TermWeights(Config):
    """Weights of the terms; one of weight 0 is not computed."""

    ppm_image_text: Amount = 1.0
    ppm_text: Amount = 0.5
    ppm_image: Amount = 0.5
    self_distinctiveness: Amount = 0.2
    locality_consistency: Amount = 0.1


@dataclass(frozen=True)
class Term:
    """One term of the loss unit before it is averaged.

    Attributes:
        similarity: cosines [B, B]. values: the hinge of each pair [B, B], or of each neighbor [B, K].
        rows: [B], the mean of each row as the reference divides it.
    """

    similarity: Tensor
    values: Tensor
    rows: Tensor


@dataclass(frozen=True)
class Locality(Term):
    """Locality consistency: further what it compares.

    Attributes:
        moved: cosines [B, B] of the transformed products. neighbors: columns int64 [B, K], nearest first.
        squared: (<L_i,R_j> - <X_i,R_j>)^2 of the neighbors, [B, K].
    """

    moved: Tensor
    neighbors: Tensor
    squared: Tensor


def ranking_hinge(queries: Tensor, keys: Tensor, *, margin: float, allowed: Tensor | None = None) -> Term:
    """Return ``max(0, <q_i,k_j> - <q_i,k_i> + margin)`` off the diagonal, and 0 on it.

    Args:
        queries, keys: [B, D], of any length; row i of one belongs to row i of the other.
        margin: at least 0.
        allowed: bool [B, B], False where j is no negative of i; None: all others are.
    """
    similarity = unit(queries) @ unit(keys).T
    off = ~torch.eye(len(similarity), dtype=torch.bool, device=similarity.device)
    values = (similarity - similarity.diagonal()[:, None] + margin).clamp(min=0)
    values = torch.where(off if allowed is None else off & allowed, values, 0.0)
    return Term(similarity, values, values.mean(dim=1))


def locality(left: Tensor, changed: Tensor, right: Tensor, *, margin: float, top_k: int) -> Locality:
    """Return how far the nearest right products move when the left one is transformed.

    Args:
        left, changed, right: [B, D], of any length.
        margin: squared change that is tolerated.
        top_k: neighbors of each row; among equal ones, lower columns come first.

    Raises:
        InputError: fewer than ``top_k`` rows.
    """
    if len(left) < top_k:
        raise InputError(
            f"locality_consistency looks at the {top_k} nearest products and the batch has {len(left)}. Use "
            f"batches of at least {top_k}, lower top_k, or set its weight to 0."
        )
    keys = unit(right)
    similarity, moved = unit(left) @ keys.T, unit(changed) @ keys.T
    order = similarity.detach().sort(dim=1, descending=True, stable=True).indices
    neighbors = order[:, :top_k]
    squared = (similarity.gather(1, neighbors) - moved.gather(1, neighbors)).square()
    values = (squared - margin).clamp(min=0)
    return Locality(similarity, values, values.mean(dim=1), moved, neighbors, squared)


def loss_terms(
    views: Mapping[str, Tensor],
    *,
    margins: Margins,
    top_k: int,
    names: tuple[str, ...] = tuple(TermWeights.model_fields),
    allowed: Tensor | None = None,
) -> dict[str, Term]:
    """Return the terms called ``names`` of the views [B, D] that they read, such as ``left_text``."""
    found: dict[str, Term] = {}
    for name, view in _PPM.items():
        if name in names:
            found[name] = ranking_hinge(views[view], views["right"], margin=margins.ppm, allowed=allowed)
    if "self_distinctiveness" in names:
        found["self_distinctiveness"] = ranking_hinge(
            views["changed"], views["left"], margin=margins.self_distinctiveness, allowed=allowed
        )
    if "locality_consistency" in names:
        found["locality_consistency"] = locality(
            views["left"], views["changed"], views["right"], margin=margins.locality, top_k=top_k
        )
    return found


_PPM = {"ppm_image_text": "left", "ppm_text": "left_text", "ppm_image": "left_image"}
_TRANSFORMED = ("self_distinctiveness", "locality_consistency")


class SameStyle(PairObjective):
    """The loss unit above as a training objective.

    It needs no large batches; with thousands of pairs per batch ``product_infonce`` learns faster. A row
    whose left product has no text is left out of the mean of PPM(T), one without picture of PPM(I).

    Args:
        margins, weights: of the terms.
        top_k: neighbors that locality consistency looks at; batches are at least as large.

    Raises:
        ConfigError: ``top_k`` below 1, or no weight above 0.

    Example:
        >>> SameStyle(weights=TermWeights(locality_consistency=0)).smallest_batch
        1
    """

    def __init__(
        self,
        margins: Margins = Margins(),
        weights: TermWeights = TermWeights(),
        *,
        top_k: int = 10,
    ) -> None:
        super().__init__()
        if top_k < 1:
            raise ConfigError(f"top_k must be at least 1 neighbor, got {top_k}.")
        self.margins, self.weights, self.top_k = margins, weights, top_k
        self.terms = tuple(name for name in TermWeights.model_fields if getattr(weights, name) > 0)
        if not self.terms:
            raise ConfigError("Every term has weight 0, so there is nothing to learn. Give one a weight.")
        transformed = any(name in self.terms for name in _TRANSFORMED)
        self.sides = ("", "right_", "changed_") if transformed else ("", "right_")
        self.smallest_batch = top_k if "locality_consistency" in self.terms else 1
        read = {view for name, view in _PPM.items() if name in self.terms}
        self.views = ("left", "right", *sorted(read - {"left"}), *(("changed",) if transformed else ()))

    def compute(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        """Return the weighted terms; see the base class.

        Raises:
            InputError: a view is missing, or the batch is smaller than :attr:`smallest_batch`.
        """
        views = views_of(outputs, batch, self.views)
        allowed = negatives(batch, views["left"], "group")
        found = loss_terms(views, margins=self.margins, top_k=self.top_k, names=self.terms, allowed=allowed)
        return {
            name: getattr(self.weights, name)
            * mean_over(term.rows, usable_rows(batch, _PPM.get(name, "left"), term.rows))
            for name, term in found.items()
        }
