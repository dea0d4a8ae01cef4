"""Two-tower objectives: InfoNCE, the sigmoid loss and continuously weighted InfoNCE (CWCL).

``a``, ``t`` are the unit embeddings [B, D] of the two modalities, ``z = s a t^T`` the logits.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ..errors import ConfigError, InputError
from ..types import Batch, Outputs
from .base import (
    Exchange,
    Needs,
    Objective,
    check_equal_batches,
    gather,
    neighbor_blocks,
    register_objective,
    world,
)
from .streaming import Pairing, Positives, check_chunk, logit_statistics, sigmoid_sum

DEFAULT_CHUNK = 512
"""Tile side with the least memory and time in ``benchmarks/infonce.py``."""


def pair_of(embeddings: Mapping[str, Tensor], modalities: tuple[str, str]) -> tuple[Tensor, Tensor]:
    """Return the two embeddings [B, D], checked to have the same shape.

    Raises:
        InputError: the shapes differ or are not [B, D].
    """
    first, second = (embeddings[name] for name in modalities)
    if first.ndim != 2 or first.shape != second.shape or not len(first):
        raise InputError(
            f"Paired embeddings must both be [B, D] with B >= 1; got {modalities[0]} {list(first.shape)} "
            f"and {modalities[1]} {list(second.shape)}."
        )
    return first, second


def info_nce(
    query: Tensor,
    keys: Tensor,
    *,
    scale: Tensor,
    pairing: Pairing,
    label_smoothing: float = 0.0,
    symmetric: bool = True,
    chunk: int | None = DEFAULT_CHUNK,
) -> Tensor:
    """Return InfoNCE of ``z = scale * query @ keys.T``, averaged over rows (and columns).

    Row i contributes ``logsumexp_j z_ij - sum_j p_ij z_ij``; its target ``p`` is ``1 - e`` shared
    evenly by the row's positives plus ``e / C`` everywhere.

    Args:
        query: [R, D].
        keys: [C, D]. With ``symmetric`` R = C.
        scale: scalar, already exponentiated.
        pairing: the positives.
        label_smoothing: ``e`` in [0, 1).
        symmetric: average the row and the column direction; otherwise rows only, as for one
            process's rows against everybody's columns.
        chunk: tile side, or None to hold the whole matrix.

    Reference:
        Radford et al. 2021 (figure 3); label smoothing as in Jia et al. 2021 (ALIGN); several
        positives as in Yang et al. 2022 (UniCL, eq. 3 and 4).
    """
    stats = logit_statistics(query, keys, scale=scale, pairing=pairing, columns=symmetric, chunk=chunk)
    loss = stats.row_loss.mean()
    if stats.column_loss is not None:
        loss = (loss + stats.column_loss.mean()) / 2
    # Further targets only move weight between logits. The positives are symmetric, so both
    # directions have the same mean target and one correction serves both.
    target = stats.partner
    if pairing.positives == "labels":
        target = scale * (query * _mean_of_same_label(keys, pairing)).sum(1)
        loss = loss + (stats.partner - target).mean()
    if label_smoothing:
        everywhere = scale * torch.dot(query.mean(0), keys.mean(0))
        loss = loss + label_smoothing * (target.mean() - everywhere)
    return loss


def _mean_of_same_label(keys: Tensor, pairing: Pairing) -> Tensor:
    """Return for each row the mean key [R, D] over the columns of the row's label."""
    row_labels, column_labels = pairing.labels()
    classes, index = torch.cat((row_labels, column_labels)).unique(return_inverse=True)
    of_row, of_column = index.split((len(row_labels), len(column_labels)))
    sums = keys.new_zeros(len(classes), keys.shape[1]).index_add(0, of_column, keys)
    counts = torch.bincount(of_column, minlength=len(classes)).clamp(min=1)
    return (sums / counts[:, None])[of_row]


def _gather_pair(first: Tensor, second: Tensor, *, with_grad: bool) -> tuple[Tensor, Tensor, int]:
    """Return the pair of all ranks [W B, D] and the row at which this rank's own block starts."""
    check_equal_batches(len(first), first.device)
    offset = world()[0] * len(first)
    return gather(first, with_grad=with_grad), gather(second, with_grad=with_grad), offset


def _with_unused_bias(loss: Tensor, bias: Tensor | None) -> Tensor:
    # A bias cancels in a softmax. Distributed training still waits for its (zero) gradient.
    return loss if bias is None else loss + 0.0 * bias


@register_objective("infonce")
class InfoNCE(Objective):
    """Symmetric InfoNCE (the CLIP loss) between two modalities.

    Args:
        label_smoothing: probability mass in [0, 1) spread over all columns.
        local_loss: with several processes, each scores its own rows against all columns, so no
            process holds the full problem. Otherwise each computes the whole loss.
        gather_with_grad: gradients of gathered rows travel back to their rank: parameter gradients
            averaged over ranks are then those of one process. Without it (and without
            ``local_loss``) they are ``1 / world_size`` of it.
        chunk: tile side of the streaming computation; None holds the [B, B] logits.
        positives: ``"pairs"``: row i pairs with column i alone. ``"labels"``: all rows of one
            ``batch.labels`` class are each other's positives (for class-labelled data).
            ``"masked"``: pairs, with other rows of the same label left out of the negatives.
        modalities: the two keys of ``outputs.embeddings``.

    Returns ``{"loss", "contrastive"}``. Identical embeddings give ``ln B``, a batch of one gives 0.

    Raises:
        ConfigError: label smoothing out of range or together with ``"masked"``; a local loss
            without gathered gradients, which would drop the other ranks' share of each gradient.

    Example:
        >>> import torch
        >>> eye = torch.eye(4)
        >>> outputs = Outputs({"image": eye, "text": eye}, logit_scale=torch.tensor(100.0))
        >>> round(float(InfoNCE()(outputs, Batch({}))["loss"]), 6)
        0.0

    Reference:
        See :func:`info_nce`.
    """

    def __init__(
        self,
        label_smoothing: float = 0.0,
        *,
        local_loss: bool = True,
        gather_with_grad: bool = True,
        chunk: int | None = DEFAULT_CHUNK,
        positives: Positives = "pairs",
        modalities: tuple[str, str] = ("image", "text"),
    ) -> None:
        super().__init__()
        check_chunk(chunk)
        if not 0 <= label_smoothing < 1:
            raise ConfigError(f"label_smoothing must be in [0, 1), got {label_smoothing}.")
        if label_smoothing and positives == "masked":
            raise ConfigError(
                'label_smoothing puts weight on columns that positives="masked" leaves out; '
                "choose one of the two."
            )
        if local_loss and not gather_with_grad:
            raise ConfigError(
                "local_loss=True needs gather_with_grad=True: without it each rank loses the gradient "
                "that other ranks' rows send to its columns. Set local_loss=False to gather without gradient."
            )
        self.label_smoothing = label_smoothing
        self.local_loss = local_loss
        self.gather_with_grad = gather_with_grad
        self.chunk = chunk
        self.positives: Positives = positives
        self.modalities = modalities
        self.needs = Needs(modalities=modalities, labels=positives != "pairs")

    def compute(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        """Return the loss as the part ``contrastive``."""
        first, second = pair_of(outputs.embeddings, self.modalities)
        labels = None if self.positives == "pairs" else batch.labels
        if world()[1] == 1:
            loss = self._loss(first, second, outputs.logit_scale, Pairing(0, self.positives, labels, labels))
        else:
            loss = self._distributed(first, second, labels, outputs.logit_scale)
        return {"contrastive": _with_unused_bias(loss, outputs.logit_bias)}

    def _distributed(self, first: Tensor, second: Tensor, labels: Tensor | None, scale: Tensor) -> Tensor:
        all_first, all_second, offset = _gather_pair(first, second, with_grad=self.gather_with_grad)
        all_labels = None if labels is None else gather(labels, with_grad=False)
        if not self.local_loss:
            return self._loss(
                all_first, all_second, scale, Pairing(0, self.positives, all_labels, all_labels)
            )
        pairing = Pairing(offset, self.positives, labels, all_labels)
        rows = self._loss(first, all_second, scale, pairing, symmetric=False)
        columns = self._loss(second, all_first, scale, pairing, symmetric=False)
        return (rows + columns) / 2

    def _loss(
        self, query: Tensor, keys: Tensor, scale: Tensor, pairing: Pairing, *, symmetric: bool = True
    ) -> Tensor:
        return info_nce(
            query,
            keys,
            scale=scale,
            pairing=pairing,
            label_smoothing=self.label_smoothing,
            symmetric=symmetric,
            chunk=self.chunk,
        )


@register_objective("sigmoid")
class Sigmoid(Objective):
    """Pairwise sigmoid loss (SigLIP): each pair is its own yes/no question.

    ``loss = (1/B) sum_ij softplus(-y_ij (z_ij + bias))``; divided by B, not by the number of pairs.
    A model made for it starts at scale 10 and bias -10; without a bias the loss uses 0.

    Args:
        exchange: how several processes see each other's second modality; all four give the same
            loss and gradients. ``"bidir"`` passes blocks round the ring both ways, ``"shift"`` one
            way, ``"reduce"`` broadcasts one rank at a time, ``"gather"`` holds all blocks at once.
        chunk: tile side of the streaming computation; None holds the [B, B] logits.
        positives: as in :class:`InfoNCE`.
        modalities: the two keys of ``outputs.embeddings``; the second one travels.

    Returns ``{"loss", "contrastive"}``.

    Reference:
        Zhai et al. 2023, Sigmoid Loss for Language Image Pre-Training, sections 3.2 and 3.3.
    """

    def __init__(
        self,
        exchange: Exchange = "bidir",
        *,
        chunk: int | None = DEFAULT_CHUNK,
        positives: Positives = "pairs",
        modalities: tuple[str, str] = ("image", "text"),
    ) -> None:
        super().__init__()
        check_chunk(chunk)
        self.exchange: Exchange = exchange
        self.chunk = chunk
        self.positives: Positives = positives
        self.modalities = modalities
        self.needs = Needs(modalities=modalities, labels=positives != "pairs")

    def compute(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        """Return the loss as the part ``contrastive``."""
        first, second = pair_of(outputs.embeddings, self.modalities)
        labels = None if self.positives == "pairs" else batch.labels
        rank, size = world()
        if size == 1:
            total = self._sum(outputs, second, Pairing(0, self.positives, labels, labels))
            return {"contrastive": total / len(first)}
        check_equal_batches(len(first), first.device)
        all_labels = None if labels is None else gather(labels, with_grad=False)
        if self.exchange == "gather":
            pairing = Pairing(rank * len(first), self.positives, labels, all_labels)
            total = self._sum(outputs, gather(second, with_grad=True), pairing)
            return {"contrastive": total / len(first)}
        total = self._sum(outputs, second, Pairing(0, self.positives, labels, labels))
        for owner, block in neighbor_blocks(second, self.exchange):
            if owner == rank:
                total = total + 0.0 * block.sum()
                continue
            theirs = None if all_labels is None else all_labels.split(len(first))[owner]
            total = total + self._sum(outputs, block, Pairing(None, self.positives, labels, theirs))
        return {"contrastive": total / len(first)}

    def _sum(self, outputs: Outputs, keys: Tensor, pairing: Pairing) -> Tensor:
        return sigmoid_sum(
            outputs.embeddings[self.modalities[0]],
            keys,
            scale=outputs.logit_scale,
            bias=outputs.logit_bias,
            pairing=pairing,
            chunk=self.chunk,
        )


@register_objective("cwcl")
class CWCL(Objective):
    """Continuously weighted InfoNCE: a frozen modality ``p`` grades how similar two rows are.

    ``w_ij = (<p_i, p_j> + 1) / 2`` without gradient. Frozen rows have targets ``w_ij / sum_j w_ij``
    over the trained columns ``q``; trained rows have their partner alone. The loss is the sum of
    both directions, so with ``w`` the identity it is twice InfoNCE.

    A CLIP-like tower keeps all cosines within about 0.5 to 0.9, which makes ``w`` nearly uniform:
    look at its spread before relying on this objective.

    Args:
        modalities: ``(frozen, trained)`` keys of ``outputs.embeddings``.
        chunk: tile side of the streaming computation; None holds the [B, B] logits.

    Returns ``{"loss", "weighted", "plain"}``.

    Reference:
        Srinivasa et al. 2023, CWCL: Cross-Modal Transfer with Continuously Weighted Contrastive
        Loss (formula as restated in follow-up work).
    """

    def __init__(
        self, modalities: tuple[str, str] = ("image", "text"), *, chunk: int | None = DEFAULT_CHUNK
    ) -> None:
        super().__init__()
        check_chunk(chunk)
        self.modalities = modalities
        self.chunk = chunk
        self.needs = Needs(modalities=modalities)

    def compute(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        """Return the parts ``weighted`` (frozen rows) and ``plain`` (trained rows)."""
        frozen, trained = pair_of(outputs.embeddings, self.modalities)
        scale = outputs.logit_scale
        all_frozen, all_trained, offset = _gather_pair(frozen, trained, with_grad=True)
        pairing = Pairing(offset)
        rows = logit_statistics(
            frozen, all_trained, scale=scale, pairing=pairing, columns=False, chunk=self.chunk
        )
        target = scale * _graded_target(frozen, all_frozen.detach(), all_trained)
        weighted = (rows.row_loss + rows.partner - target).mean()
        plain = info_nce(trained, all_frozen, scale=scale, pairing=pairing, symmetric=False, chunk=self.chunk)
        return {"weighted": _with_unused_bias(weighted, outputs.logit_bias), "plain": plain}


def _graded_target(rows: Tensor, frozen: Tensor, trained: Tensor) -> Tensor:
    """Return ``sum_j w_ij <rows_i, trained_j> / sum_j w_ij`` [R] without the [R, N] weights.

    The weight is affine in ``<rows_i, frozen_j>``, so the sum over j folds into one [D, D] product.
    """
    anchor = rows.detach()
    total = (anchor @ frozen.sum(0) + len(frozen)) / 2
    mixed = (anchor @ (frozen.T @ trained) + trained.sum(0)) / 2
    return (rows * mixed).sum(1) / total
