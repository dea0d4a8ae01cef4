"""Training with captions that are true of more samples than their own.

Captions on what a sample shows ("a dark, smooth area", "a red garment") fit many samples of a batch. Taken as
wrong answers for all but their own, they would teach the text tower to tell equal things apart. A room writes
down, as bits of integers, what each caption claims, what holds of each sample, and what may hold: these say,
for every caption and every sample of a batch, whether the one is true of the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..errors import ConfigError, DataError
from ..processing import Processor
from ..types import Batch, Outputs
from .base import Needs, Objective, check_equal_batches, gather, world
from .pairwise import pair_of

BITS = ("claims", "holds", "may")


def collate_claims(
    extras: Sequence[dict[str, Any]],
    captions: Sequence[str],
    processor: Processor,
    generator: torch.Generator,
) -> dict[str, Tensor]:
    """Return what is claimed by the captions and what holds of the samples of a batch.

    Args:
        extras: of each row: ``claims`` {caption: bits}, ``holds`` and ``may``, as the reader of the
            room gives them.
        captions: the one drawn for each row.
        processor: not used.
        generator: not used.

    Returns:
        ``claims``, ``holds``, ``may``: int64 [B].

    Raises:
        DataError: a row without claims: its reader is not one that keeps them.
    """
    rows = []
    for own, caption in zip(extras, captions, strict=True):
        try:
            rows.append((own["claims"][caption], own["holds"], own["may"]))
        except KeyError as missing:
            raise DataError(
                f"The rows have no {missing} to hold captions against. Use a reader that keeps the claims of "
                "captions (such as eurosat or clothing), or leave data.collate out."
            ) from None
    return dict(zip(BITS, torch.tensor(rows, dtype=torch.int64).T.contiguous(), strict=True))


def truth(claims: Tensor, holds: Tensor, may: Tensor) -> tuple[Tensor, Tensor]:
    """Return which captions are true of which samples, and which are undecided; both bool [N, M].

    Args:
        claims: int64 [M], bits of captions.
        holds: int64 [N], bits that are true of samples.
        may: int64 [N], those and the bits that may be.
    """
    is_true = (claims & ~holds[:, None]) == 0
    return is_true, ((claims & ~may[:, None]) == 0) & ~is_true


class ClaimContrast(Objective):
    """InfoNCE in which every true caption of the batch is right for a sample, and the other way round.

    With logits ``z = s a t^T``, row i has the target ``(1 - e) / n_i`` at each of its n_i true captions and
    ``e / m_i`` at each of the m_i that are true or wrong; undecided ones are left out of the softmax. Columns
    likewise; the loss is the mean of both directions.

    Args:
        label_smoothing: ``e`` in [0, 1).
        modalities: the two keys of ``outputs.embeddings``: samples, captions.

    Returns ``{"loss", "contrastive"}``.

    Raises:
        ConfigError: label smoothing out of range.
    """

    def __init__(
        self, label_smoothing: float = 0.0, *, modalities: tuple[str, str] = ("image", "text")
    ) -> None:
        super().__init__()
        if not 0 <= label_smoothing < 1:
            raise ConfigError(f"label_smoothing must be in [0, 1), got {label_smoothing}.")
        self.label_smoothing = label_smoothing
        self.modalities = modalities
        self.needs = Needs(modalities=modalities, batch_extras=BITS)

    def compute(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        """Return the loss as the part ``contrastive``."""
        samples, captions = pair_of(outputs.embeddings, self.modalities)
        bits = [batch.extras[name] for name in BITS]
        if world()[1] > 1:
            check_equal_batches(len(samples), samples.device)
            samples, captions = gather(samples, with_grad=True), gather(captions, with_grad=True)
            bits = [gather(one, with_grad=False) for one in bits]
        is_true, undecided = truth(*bits)
        logits = outputs.logit_scale * samples @ captions.T
        loss = (self._rows(logits, is_true, undecided) + self._rows(logits.T, is_true.T, undecided.T)) / 2
        if outputs.logit_bias is not None:
            # It cancels in a softmax; distributed training still waits for its (zero) gradient.
            loss = loss + 0.0 * outputs.logit_bias
        return {"contrastive": loss}

    def _rows(self, logits: Tensor, is_true: Tensor, undecided: Tensor) -> Tensor:
        log_shares = logits.masked_fill(undecided, float("-inf")).log_softmax(1).masked_fill(undecided, 0.0)
        right, decided = is_true.to(logits.dtype), (~undecided).to(logits.dtype)
        target = (1 - self.label_smoothing) * right / right.sum(1, keepdim=True)
        target = target + self.label_smoothing * decided / decided.sum(1, keepdim=True)
        return -(target * log_shares).sum(1).mean()
