"""How far a reduced precision drifts, also on weights with the outlier channels that trained models have."""

from __future__ import annotations

import copy

import torch
from torch import Tensor
from torch.nn import functional as F

from ..core.blocks import TransformerTower


def with_outliers(
    tower: TransformerTower, *, channels: int = 6, gain: float = 20.0, seed: int = 0
) -> TransformerTower:
    """Return a copy of ``tower`` where every block norm has a few much larger gains.

    Random weights have no outlier channels, so they flatter every reduced precision. Here
    ``channels`` seeded channels of each of the two norms of every block are multiplied by ``gain``.
    """
    stressed = copy.deepcopy(tower)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parts in stressed.parts():
            for norm in parts.norms:
                chosen = torch.randperm(len(norm.weight), generator=generator)[:channels]
                norm.weight[chosen] *= gain
    return stressed


def agreement(got: Tensor, expected: Tensor) -> dict[str, float]:
    """Return the least cosine between rows of two float [B, D] embeddings, plain and centred.

    Centred means after subtracting the mean of ``expected`` from both: embeddings of random
    weights share a large common part that hides differences.
    """
    got, expected = got.double(), expected.double()
    mean = expected.mean(dim=0)
    return {
        "min_cosine": F.cosine_similarity(got, expected).min().item(),
        "min_centred_cosine": F.cosine_similarity(got - mean, expected - mean).min().item(),
    }
