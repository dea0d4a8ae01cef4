"""InfoNCE over pairs of products: each view of the left product finds the right one among the batch."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from ....core.errors import ConfigError
from ....core.types import Batch, Outputs
from ..encoders.fusing import unit
from .pairs import PairObjective, mean_over, negatives, usable_rows, views_of

LeftView = Literal["left", "left_text", "left_image"]


def matching_loss(logits: Tensor, allowed: Tensor, usable: Tensor) -> tuple[Tensor, Tensor]:
    """Return the cross-entropy of each row and of each column with the diagonal as target, both [B].

    Args:
        logits: [B, B].
        allowed: bool [B, B], symmetric: whether i and j are negatives of each other.
        usable: bool [B]; other rows are no candidates of any column, and their own values mean nothing.
    """
    own = torch.eye(len(logits), dtype=torch.bool, device=logits.device)
    shown = logits.masked_fill(~(own | allowed), -torch.inf)
    target = logits.diagonal()
    by_row = shown.logsumexp(dim=1) - target
    by_column = shown.masked_fill(~(usable[:, None] | own), -torch.inf).logsumexp(dim=0) - target
    return by_row, by_column


class ProductInfoNCE(PairObjective):
    """Mean over views A of the symmetric cross-entropy of ``s <A_i, R_j>``; the diagonal is right.

    Products of the same known group are left out of both sums. Rows that lack a view are left out of its
    mean. Scales to large batches; with few pairs per batch ``esspr`` is the better choice.

    Args:
        views: of the left product, each compared with the whole right product.

    Raises:
        ConfigError: no views.

    Reference: section 4 of arXiv 2302.05093 for the views; van den Oord et al. 2018 for the loss.
    """

    def __init__(self, views: tuple[LeftView, ...] = ("left", "left_text", "left_image")) -> None:
        super().__init__()
        if not views:
            raise ConfigError("views is empty. Name some of left, left_text, left_image.")
        self.views = tuple(dict.fromkeys(views))

    def compute(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        """Return one part per view; they sum to the mean over views. See the base class."""
        found = views_of(outputs, batch, ("right", *self.views))
        allowed = negatives(batch, found["right"], "group")
        parts: dict[str, Tensor] = {}
        for view in self.views:
            usable = usable_rows(batch, view, found[view])
            logits = outputs.logit_scale * unit(found[view]) @ unit(found["right"]).T
            by_row, by_column = matching_loss(logits, allowed, usable)
            parts[view] = mean_over((by_row + by_column) / 2, usable) / len(self.views)
        return parts
