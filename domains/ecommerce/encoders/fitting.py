"""Shares of picture and text, fitted to pairs that are known to be one style, category by category."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ....core.errors import InputError
from ....core.metrics.ranking import Positives, positive_ranks
from .fusing import Fusion, FusionWeights, fuse
from .product import ProductVectors

LEAST_PAIRS = 30
"""Pairs of a category below which it gets the general shares: fewer say little."""
STEPS = 20


@dataclass(frozen=True)
class FusionFit:
    """Fitted shares.

    Attributes:
        fusion: general shares, and those of categories that do better with their own.
        before, after: mean reciprocal rank of the right product with the default shares, and fitted.
        pairs: {category: pairs it was fitted on}; ``""`` counts all.
    """

    fusion: Fusion
    before: float
    after: float
    pairs: dict[str, int]


def fit_fusion(
    left: ProductVectors,
    right: ProductVectors,
    *,
    categories: Sequence[str | None] | None = None,
    least_pairs: int = LEAST_PAIRS,
) -> FusionFit:
    """Return the shares with which left products find their right ones best among all right ones.

    Shares are compared in steps of 1/20. What is fitted is also what is measured: test the result on other
    pairs before relying on the gain.

    Args:
        left, right: N pairs, row by row.
        categories: path of each pair; categories with at least ``least_pairs`` may get shares of their own.
        least_pairs: at least 2.

    Raises:
        InputError: fewer than two pairs, or lists of unequal length.
    """
    if len(left) != len(right) or len(left) < 2:
        raise InputError(f"Fitting needs two or more pairs; got {len(left)} left and {len(right)} right.")
    if categories is not None and len(categories) != len(left):
        raise InputError(f"There are {len(categories)} categories for {len(left)} pairs. Give one each.")
    default = FusionWeights()
    grid = [FusionWeights(image=step / STEPS, text=1 - step / STEPS) for step in range(STEPS + 1)]
    # Equal scores go to the shares nearest to the default ones.
    grid.sort(key=lambda one: abs(one.image - default.image))
    found = np.stack([_reciprocal_ranks(left, right, one) for one in grid])
    general = int(found.mean(axis=1).argmax())
    chosen = np.full(len(left), general)
    pairs, by_category = {"": len(left)}, {}
    for category, rows in _rows_by_category(categories).items():
        own = int(found[:, rows].mean(axis=1).argmax())
        if len(rows) >= max(2, least_pairs):
            pairs[category] = len(rows)
            if found[own, rows].mean() > found[general, rows].mean():
                by_category[category] = grid[own]
                chosen[rows] = own
    before = _reciprocal_ranks(left, right, default)
    return FusionFit(
        Fusion(image=grid[general].image, text=grid[general].text, by_category=by_category),
        before=float(before.mean()),
        after=float(found[chosen, np.arange(len(left))].mean()),
        pairs=pairs,
    )


def _rows_by_category(categories: Sequence[str | None] | None) -> dict[str, list[int]]:
    rows: defaultdict[str, list[int]] = defaultdict(list)
    for row, category in enumerate(categories or ()):
        if category:
            rows[category].append(row)
    return rows


def _reciprocal_ranks(
    left: ProductVectors, right: ProductVectors, weights: FusionWeights
) -> NDArray[np.float64]:
    """Return 1 / rank of each left product's own right one, float [N]."""
    queries, gallery = (_products(side, weights) for side in (left, right))
    own = Positives.from_lists([[row] for row in range(len(left))])
    return 1.0 / (positive_ranks(queries, gallery, own) + 1)


def _products(vectors: ProductVectors, weights: FusionWeights) -> Tensor:
    shares = torch.tensor([weights.image, weights.text])
    present = {"image": vectors.has_image, "text": vectors.has_text}
    return fuse(vectors.image, vectors.text, shares, present)
