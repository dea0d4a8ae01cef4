"""Objectives of FLIP.

Reference: Srivatsan et al. 2023, FLIP: Cross-domain Face Anti-spoofing with Language Guidance,
arXiv 2309.16649, section 3.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ....core.errors import ConfigError, InputError
from ....core.objectives.base import Needs, Objective
from ....core.types import Batch, Outputs
from .category import LOGITS, CategoryCrossEntropy, checked_labels

PROMPT_VIEWS = ("prompt_view_1", "prompt_view_2")
"""Keys of ``batch.extras``: int64 [B, n] rows of ``text_embeddings``, -1 at the end of shorter ones, as
``models.flip_mcl.draw_prompt_views`` makes them."""

_TEXTS = "text_embeddings"
_IMAGES = ("view_1_embeddings", "view_2_embeddings")
_PROJECTIONS = ("view_1_projections", "view_2_projections")


class FlipClassification(CategoryCrossEntropy):
    """Cross-entropy of the two-class logits of FLIP-V and FLIP-IT: no smoothing, class 0 the attack.

    Returns ``{"loss", "category"}``.
    """

    def __init__(self) -> None:
        super().__init__()


def simclr_logits(first: Tensor, second: Tensor, *, temperature: float = 0.1) -> Tensor:
    """Return the logits [2B, 2B - 1] of each view against all others, its partner in column 0.

    Args:
        first, second: projections [B, D] of two views of B pictures, of any length.
        temperature: cosines are divided by it.

    Returns:
        Rows of the first view, then of the second; behind the partner the others stand in their order.

    Reference: Chen et al. 2020, SimCLR, arXiv 2002.05709, equation 1.
    """
    both = F.normalize(torch.cat([first, second]), dim=1)
    count, rows = len(first), torch.arange(len(both), device=both.device)
    partner = rows.roll(count)
    cosines = both @ both.T
    others = (rows[:, None] != rows) & (partner[:, None] != rows)
    negatives = cosines[others].view(len(both), len(both) - 2)
    return torch.cat([cosines[rows, partner, None], negatives], dim=1) / temperature


def mean_of_rows(vectors: Tensor, rows: Tensor) -> Tensor:
    """Return for each row of indices the mean [B, D] of ``vectors`` [P, D] that it names.

    Args:
        vectors: [P, D].
        rows: int64 [B, n] in [0, P); an index counts as often as it stands there, -1 not at all.

    Raises:
        InputError: an index out of range, or a row that names none.
    """
    if rows.ndim != 2 or bool((rows < -1).any()) or bool((rows >= len(vectors)).any()):
        raise InputError(f"Views of texts are indices [B, n] of {len(vectors)} texts, -1 where a row ends.")
    used = (rows >= 0).to(vectors.dtype)
    counts = used.sum(dim=1, keepdim=True)
    if bool((counts == 0).any()):
        raise InputError(f"View of texts {int(counts.flatten().argmin())} is empty; each needs one text.")
    return (vectors[rows.clamp(min=0)] * used[:, :, None]).sum(dim=1) / counts


class FlipMCLLoss(Objective):
    """Cross-entropy, SimCLR between two views, and agreement of both views with two sets of texts.

    With ``v`` embeddings of the views and ``t`` means of two subsets of the raw text embeddings of the row's
    category, the last part is the mean of ``(cos(v_1, t_1) - cos(v_2, t_2))^2``.

    Args:
        temperature: of SimCLR.
        classification_weight, simclr_weight, consistency_weight: of the parts; FLIP has 1 for each.

    Returns ``{"loss", "classification", "simclr", "consistency"}``. Reads of a
    :class:`...models.flip_mcl.FlipMCL` all its extras, and of the batch labels, both views and
    :data:`PROMPT_VIEWS`. With several processes each contrasts its own rows.
    """

    def __init__(
        self,
        temperature: float = 0.1,
        *,
        classification_weight: float = 1.0,
        simclr_weight: float = 1.0,
        consistency_weight: float = 1.0,
    ) -> None:
        super().__init__()
        if not temperature > 0:
            raise ConfigError(f"temperature must be positive, got {temperature}.")
        self.temperature = temperature
        self.weights = {
            "classification": classification_weight,
            "simclr": simclr_weight,
            "consistency": consistency_weight,
        }
        for name, weight in self.weights.items():
            if weight < 0:
                raise ConfigError(f"{name}_weight must be 0 or more, got {weight}.")
        self.needs = Needs(
            labels=True,
            output_extras=(LOGITS, _TEXTS, *_IMAGES, *_PROJECTIONS),
            batch_extras=PROMPT_VIEWS,
        )

    def compute(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        """Return the three weighted parts."""
        found = {name: outputs.extras[name].float() for name in self.needs.output_extras}
        labels = checked_labels(batch, found[LOGITS].shape[1])
        contrast = simclr_logits(*(found[name] for name in _PROJECTIONS), temperature=self.temperature)
        first, second = (
            F.cosine_similarity(found[image], mean_of_rows(found[_TEXTS], batch.extras[rows]), dim=1)
            for image, rows in zip(_IMAGES, PROMPT_VIEWS, strict=True)
        )
        parts = {
            "classification": F.cross_entropy(found[LOGITS], labels),
            "simclr": F.cross_entropy(contrast, contrast.new_zeros(len(contrast), dtype=torch.int64)),
            "consistency": (first - second).square().mean(),
        }
        return {name: self.weights[name] * part for name, part in parts.items()}
