"""Whether a diffusion prior does what it is for: the check of a converted checkpoint."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from .prior import Conditions, DiffusionPrior


@dataclass(frozen=True)
class Agreement:
    """Mean cosines with the true image embeddings of captioned images.

    Attributes:
        predicted: of the embeddings that the prior makes from the captions.
        text: of the caption embeddings themselves, about 0.3 for CLIP.
    """

    predicted: float
    text: float

    @property
    def plausible(self) -> bool:
        """Whether the prior does what it is for; about 0.75 is attainable, a wrong variant is near 0."""
        return self.predicted > max(self.text, 0.4)


def agreement(
    prior: DiffusionPrior,
    image_embed: Tensor,
    conditions: Conditions,
    *,
    generator: torch.Generator,
    steps: int = 64,
) -> Agreement:
    """Return how well a prior finds the images of captions.

    Files of the reference do not say which release wrote them, and a prior that is run with another
    release's attention gives near-random vectors without any error.

    Args:
        image_embed: embeddings float [B, D] of B images. conditions: of their captions.
        generator: see :meth:`DiffusionPrior.sample`.
    """
    texts, images = conditions.text_embed.float().cpu(), image_embed.float().cpu()
    made = prior.sample(texts, conditions.text_encodings, steps=steps, generator=generator)
    return Agreement(
        float(F.cosine_similarity(made, images, dim=-1).mean()),
        float(F.cosine_similarity(texts, images, dim=-1).mean()),
    )
