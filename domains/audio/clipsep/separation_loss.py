"""The loss of our own separators: the energy of what a soft mask gets wrong, in decibels.

With S a source's spectrum, X the mixture's and m a mask on linear frequencies, the estimate m X misses
``|S - m X|^2 = |S|^2 - 2 m Re(S conj(X)) + m^2 |X|^2``. Summed over bins, the last two can be taken on the
network's own rows: gather ``Re(S conj(X))`` and ``|X|^2`` to rows once, without gradient, and no mask is ever
brought to linear frequencies. The square of an interpolated mask is at most the interpolated square, so the
sum on rows is an upper bound of the error, and equal where neighboring rows agree.

A source of the batch that is silent stands for a query that nothing in the mixture answers.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ....core.errors import ConfigError, InputError
from ....core.objectives.base import Needs, Objective
from ....core.types import Batch, Outputs

_SILENT = 1e-4
"""Share of the mixture's energy under which a source counts as absent."""
_READS = ("query_logits", "mixture_energy", "shared_energy", "source_energy")


class SeparationLoss(Objective):
    """``error + absence + shape``, for masks of sources that are there and of queries for what is not.

    Args:
        ceiling_db: separation beyond this many decibels earns nothing, so that easy mixtures do not lead.
        absent_weight: of ``10 log10(|m X|^2 / |X|^2)`` for queries that nothing answers.
        absent_db: quieter than this is quiet enough.
        shape_weight: of the cross-entropy of each mask with ``clamp(Re(S conj(X)) / |X|^2, 0, 1)``, the best
            soft mask, over bins weighted by the fourth root of their energy. The decibels alone leave a mask
            that is zero everywhere where it is.

    Returns ``{"loss", "error", "absence", "shape"}``.

    Reference:
        Le Roux et al. 2019, arXiv 1811.02508 (the measure); Erdogan et al. 2015, phase-sensitive masks;
        Wisdom et al. 2020, arXiv 2006.12701, equation 2 (the ceiling).
    """

    needs = Needs(output_extras=_READS)

    def __init__(
        self,
        *,
        ceiling_db: float = 20.0,
        absent_weight: float = 0.15,
        absent_db: float = 15.0,
        shape_weight: float = 2.0,
    ) -> None:
        super().__init__()
        if min(ceiling_db, absent_db) <= 0 or min(absent_weight, shape_weight) < 0:
            raise ConfigError(
                "SeparationLoss: ceiling_db and absent_db are over 0 and weights at least 0; got ceiling_db "
                f"{ceiling_db:g}, absent_db {absent_db:g}, absent_weight {absent_weight:g}, "
                f"shape_weight {shape_weight:g}."
            )
        self.ceiling, self.floor = 10 ** (-ceiling_db / 10), 10 ** (-absent_db / 10)
        self.absent_weight, self.shape_weight = absent_weight, shape_weight

    def compute(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        """Return the parts ``error``, ``absence`` and ``shape``."""
        logits, mixture, shared, source = (outputs.extras[name].float() for name in _READS)
        if logits.shape != shared.shape:
            raise InputError(
                f"query_logits {list(logits.shape)} and shared_energy {list(shared.shape)} do not agree: the "
                "batch needs one query for each source, in the same order."
            )
        masks = logits.sigmoid()
        whole = mixture.sum(dim=(2, 3)).clamp(min=torch.finfo(torch.float32).eps)
        kept = (mixture * masks.square()).sum(dim=(2, 3))
        missed = (source + kept - 2 * (shared * masks).sum(dim=(2, 3))).clamp(min=0.0)
        present = source > _SILENT * whole
        error = 10 * (missed / source.where(present, whole) + self.ceiling).log10()
        absence = 10 * (kept / whole + self.floor).log10()
        return {
            "error": _mean_where(error, present),
            "absence": self.absent_weight * _mean_where(absence, ~present),
            "shape": self.shape_weight * _shape(logits, mixture, shared),
        }


def _mean_where(values: Tensor, chosen: Tensor) -> Tensor:
    return (values * chosen).sum() / chosen.sum().clamp(min=1)


def _shape(logits: Tensor, mixture: Tensor, shared: Tensor) -> Tensor:
    """Return the cross-entropy with the best soft masks; each mixture counts the same."""
    tiny = torch.finfo(torch.float32).tiny
    best = (shared / mixture.clamp(min=tiny)).clamp(0.0, 1.0)
    weight = mixture.sqrt().sqrt()
    weight = weight / weight.mean(dim=(2, 3), keepdim=True).clamp(min=tiny)
    entropy = F.binary_cross_entropy_with_logits(logits, best, reduction="none")
    return (weight * entropy).mean()
