"""Ranking-weighted contrast: pairs of a query and a document that count by how relevant they are.

With ``z = s <q_i, d_j>`` and ``l_i`` the mean of the cross-entropies of row i and of column i, the loss is
``mean_i w_i l_i``; ``w`` is a function of the relevance score of pair i, from 1 to 100. A document of several
fields is ``normalize(sum_f w_f normalize(e_f))``; a field that is missing counts nothing.

Reference: arXiv 2404.08535. Its training code is not public: weight functions and normalization are this
project's definition, as is that other documents of the same query are no negatives.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from ....core.errors import InputError
from ....core.types import Batch, Outputs
from ..encoders.fusing import FusionWeights, fuse, unit
from .contrast import LeftView, matching_loss
from .pairs import PairObjective, negatives, usable_rows, views_of

WeightFunction = Literal["constant", "linear", "inverse_rank"]
WEIGHT_FUNCTIONS: tuple[WeightFunction, ...] = get_args(WeightFunction)
HIGHEST = 100.0


def score_weights(scores: Tensor, function: WeightFunction) -> Tensor:
    """Return the weight of each pair, same shape, in (0, 1].

    Args:
        scores: relevance from 1 to 100.
        function: ``constant`` 1; ``linear`` s / 100; ``inverse_rank`` 1 / (101 - s).

    Raises:
        InputError: a score outside 1 to 100.
    """
    if not bool(((scores >= 1) & (scores <= HIGHEST)).all()):
        odd = scores[~((scores >= 1) & (scores <= HIGHEST))].flatten()[0]
        raise InputError(f"Relevance scores run from 1 to 100, got {float(odd):g}. Rescale them.")
    if function == "linear":
        return scores / HIGHEST
    return torch.ones_like(scores) if function == "constant" else 1 / (HIGHEST + 1 - scores)


class RankingWeighted(PairObjective):
    """The weighted loss above. ``batch.extras["scores"]`` float [B] holds the relevance of each pair.

    Args:
        weight: from score to weight.
        normalize_by_weights: divide by the sum of the weights instead of by the number of pairs, so that a
            batch of weak pairs counts as much as one of strong pairs.
        query: view of the left product that asks.
        document: ``fields``: picture and text of the right product, weighed by ``fields``; ``product``: its
            embedding as the model makes it.
        fields: shares of picture and text in a document.
    """

    def __init__(
        self,
        weight: WeightFunction = "linear",
        normalize_by_weights: bool = False,
        *,
        query: LeftView = "left",
        document: Literal["fields", "product"] = "fields",
        fields: FusionWeights = FusionWeights(),
    ) -> None:
        super().__init__()
        self.weight: WeightFunction = weight
        self.normalize_by_weights = normalize_by_weights
        self.query: LeftView = query
        self.document, self.fields = document, fields
        self.sides = ("", "field_") if document == "fields" else ("", "right_")

    def documents(self, outputs: Outputs, batch: Batch) -> Tensor:
        """Return the unit embeddings [B, D] of the documents."""
        if self.document == "product":
            return unit(views_of(outputs, batch, ("right",))["right"])
        parts = views_of(outputs, batch, ("field_image", "field_text"))
        present = {
            name: usable_rows(batch, f"field_{name}", parts[f"field_{name}"]) for name in ("image", "text")
        }
        shares = parts["field_image"].new_tensor([self.fields.image, self.fields.text])
        return fuse(parts["field_image"], parts["field_text"], shares, present)

    def compute(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        """Return the loss under ``ranking``; see the base class.

        Raises:
            InputError: a view or the scores are missing, or scores are outside 1 to 100.
        """
        if "scores" not in batch.extras:
            raise InputError("gcl reads batch.extras['scores'], which is missing. Give each pair a weight.")
        queries = views_of(outputs, batch, (self.query,))[self.query]
        documents = self.documents(outputs, batch)
        usable = usable_rows(batch, self.query, queries)
        allowed = negatives(batch, queries, "group", "query")
        logits = outputs.logit_scale * unit(queries) @ documents.T
        by_row, by_column = matching_loss(logits, allowed, usable)
        scores = batch.extras["scores"].to(queries)
        weights = torch.where(usable, score_weights(scores, self.weight), 0.0)
        losses = torch.where(usable, (by_row + by_column) / 2, 0.0)
        total = weights.sum() if self.normalize_by_weights else usable.sum()
        return {"ranking": (weights * losses).sum() / total.clamp(min=1e-12)}
