"""Exact contrastive losses in square tiles: the N x N logits are never held at once.

Two primitives carry every pairwise objective. :func:`logit_statistics` gives the cross-entropy of
each row and column of the logits and each row's partner logit; every InfoNCE variant is linear in
those. :func:`sigmoid_sum` gives the summed sigmoid loss. Both take ``chunk=None`` for the plain
computation (one matrix, ordinary autograd) and agree with it for any tile side.

Inputs are float32 or float64; :class:`~verticlip.core.objectives.base.Objective` raises half
precision to float32 before it comes here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional as F

from ..errors import ConfigError, InputError, VerticlipError

Positives = Literal["pairs", "labels", "masked"]


@dataclass(frozen=True)
class Pairing:
    """Which columns belong to which row.

    Attributes:
        offset: column of row 0's partner (row i pairs with column ``offset + i``), or None when the
            columns came from elsewhere and hold no partner at all.
        positives: ``"pairs"``: only the partner is a positive. ``"labels"``: every column with the
            row's label is one. ``"masked"``: the partner is the positive and the other columns with
            the row's label are left out, so that copies of one thing do not repel each other.
        row_labels: int64 [R], needed unless ``positives="pairs"``.
        column_labels: int64 [C], likewise.
    """

    offset: int | None = 0
    positives: Positives = "pairs"
    row_labels: Tensor | None = None
    column_labels: Tensor | None = None

    def check(self, rows: int, columns: int) -> None:
        """Raise ``InputError`` when partners or labels do not fit an R x C logit matrix."""
        if self.offset is not None and not 0 <= self.offset <= columns - rows:
            raise InputError(
                f"{rows} rows whose partners start at column {self.offset} need at least "
                f"{self.offset + rows} columns, got {columns}."
            )
        if self.positives == "pairs":
            return
        shapes = [list(labels.shape) for labels in self.labels()]
        if shapes != [[rows], [columns]]:
            raise InputError(
                f"Labels must be [{rows}] for the rows and [{columns}] for the columns, "
                f"got {shapes[0]} and {shapes[1]}."
            )

    def labels(self) -> tuple[Tensor, Tensor]:
        """Return the labels of rows and columns, or raise ``InputError`` when they are missing."""
        if self.row_labels is None or self.column_labels is None:
            raise InputError(f"positives={self.positives!r} needs the label of every row and column.")
        return self.row_labels, self.column_labels

    def partners(self, tile: Tensor, rows: slice, columns: slice) -> Tensor:
        """Return a writable view of the partner entries in ``tile`` (empty when it holds none)."""
        start, stop = self.partner_rows(rows, columns)
        top, left = start - rows.start, start + (self.offset or 0) - columns.start
        return tile[top : top + stop - start, left : left + stop - start].diagonal()

    def partner_rows(self, rows: slice, columns: slice) -> tuple[int, int]:
        """Return ``(start, stop)`` of the rows whose partner lies in this tile."""
        if self.offset is None:
            return rows.start, rows.start
        start = min(max(rows.start, columns.start - self.offset), rows.stop)
        return start, max(start, min(rows.stop, columns.stop - self.offset))

    def hide_(self, tile: Tensor, rows: slice, columns: slice) -> Tensor:
        """Set the logits that ``positives="masked"`` leaves out to minus infinity, in place."""
        if self.positives != "masked":
            return tile
        same = self._same_label(rows, columns)
        self.partners(same, rows, columns).fill_(False)
        return tile.masked_fill_(same, -torch.inf)

    def flip_(self, tile: Tensor, rows: slice, columns: slice) -> Tensor:
        """Change the sign of the positive entries, in place."""
        if self.positives == "labels":
            return tile.mul_(1 - 2 * self._same_label(rows, columns).to(tile.dtype))
        self.partners(tile, rows, columns).neg_()
        return tile

    def _same_label(self, rows: slice, columns: slice) -> Tensor:
        row_labels, column_labels = self.labels()
        return row_labels[rows, None] == column_labels[None, columns]


class LogitStatistics(NamedTuple):
    """Row and column summaries of ``z = scale * query @ keys.T`` [R, C].

    Attributes:
        row_loss: [R], cross-entropy of each row against its partner, ``logsumexp_j z_ij - partner_i``.
        column_loss: [C], the same for each column, or None when columns were not asked for.
        partner: [R], each row's own logit ``z[i, offset + i]``.
    """

    row_loss: Tensor
    column_loss: Tensor | None
    partner: Tensor


def check_chunk(chunk: int | None) -> None:
    """Raise ``ConfigError`` unless ``chunk`` is a positive tile side or None."""
    if chunk is not None and chunk < 1:
        raise ConfigError(f"chunk must be a tile side of at least 1, or None for no tiles; got {chunk}.")


def logit_statistics(
    query: Tensor, keys: Tensor, *, scale: Tensor, pairing: Pairing, columns: bool, chunk: int | None
) -> LogitStatistics:
    """Return the cross-entropies and partner logits of ``scale * query @ keys.T``.

    Args:
        query: [R, D].
        keys: [C, D], C >= offset + R.
        scale: scalar, already exponentiated; any size (maxima are subtracted before ``exp``).
        pairing: where the partners are and which logits are left out; its ``offset`` is a number.
        columns: also reduce over rows, for the column direction of a symmetric loss; R = C.
        chunk: tile side. Peak memory beyond inputs and gradients is about three tiles. None holds
            R x C matrices and allows second derivatives.

    Raises:
        InputError: shapes, partners or labels do not fit together.
        VerticlipError: a second derivative was asked of the tiled form.

    Reference:
        Oord et al. 2018, InfoNCE (eq. 4); tiles with recomputation after Gao et al. 2021
        (gradient cache) and Dao et al. 2022 (running log-sum-exp).
    """
    check_chunk(chunk)
    _check_matrices(query, keys)
    pairing.check(len(query), len(keys))
    if pairing.offset is None:
        raise InputError("InfoNCE needs each row's partner among the columns; pairing.offset is None.")
    if columns and len(query) != len(keys):
        raise InputError(
            f"The column direction needs as many rows as columns; got {len(query)} and {len(keys)}."
        )
    if chunk is not None:
        return LogitStatistics(*_TiledStatistics.apply(query, keys, scale, pairing, columns, chunk))
    everything = slice(0, len(query)), slice(0, len(keys))
    logits = pairing.hide_(scale * query @ keys.T, *everything)
    return LogitStatistics(
        -pairing.partners(logits.log_softmax(1), *everything),
        -logits.T.contiguous().log_softmax(1).diagonal() if columns else None,
        pairing.partners(logits, *everything),
    )


def sigmoid_sum(
    query: Tensor,
    keys: Tensor,
    *,
    scale: Tensor,
    bias: Tensor | None,
    pairing: Pairing,
    chunk: int | None,
) -> Tensor:
    """Return the sum over all pairs of ``softplus(-y z)`` with ``z = scale * query @ keys.T + bias``.

    ``y`` is +1 at the positives of ``pairing`` and -1 elsewhere; with ``pairing.offset=None`` and
    ``positives="pairs"`` every pair is a negative. Arguments as in :func:`logit_statistics`.

    Raises:
        InputError: shapes, partners or labels do not fit together.
        VerticlipError: a second derivative was asked of the tiled form.

    Reference:
        Zhai et al. 2023, Sigmoid Loss for Language Image Pre-Training, section 3.2.
    """
    check_chunk(chunk)
    _check_matrices(query, keys)
    pairing.check(len(query), len(keys))
    bias = scale.new_zeros(()) if bias is None else bias
    if chunk is not None:
        # Gradients are summed on the way forward, so evaluation must say that it wants none.
        return _TiledSigmoid.apply(query, keys, scale, bias, pairing, chunk, torch.is_grad_enabled())
    everything = slice(0, len(query)), slice(0, len(keys))
    signed = pairing.flip_(pairing.hide_(scale * query @ keys.T + bias, *everything), *everything)
    return -F.logsigmoid(-signed).sum()


def _check_matrices(query: Tensor, keys: Tensor) -> None:
    if query.ndim != 2 or keys.ndim != 2 or query.shape[1] != keys.shape[1] or not len(query):
        raise InputError(
            f"Embeddings must be [R, D] and [C, D] with the same D and R >= 1; "
            f"got {list(query.shape)} and {list(keys.shape)}."
        )


def _slices(length: int, chunk: int) -> Iterator[slice]:
    for start in range(0, length, chunk):
        yield slice(start, min(start + chunk, length))


def _no_autocast(tensor: Tensor) -> torch.autocast:
    # Tiles are recomputed in backward, which may run inside a caller's autocast region.
    return torch.autocast(tensor.device.type, enabled=False)


def _refuse_second_derivative() -> None:
    if torch.is_grad_enabled():
        raise VerticlipError(
            "The tiled contrastive loss has no second derivative (create_graph=True was used). "
            "Build the objective with chunk=None to differentiate twice."
        )


def _dot(first: Tensor, second: Tensor, chunk: int) -> Tensor:
    """Return ``(first * second).sum()`` without a temporary of the full size."""
    parts = [(first[rows] * second[rows]).sum() for rows in _slices(len(first), chunk)]
    return torch.stack(parts).sum()


class _LogitGradient:
    """Sums the gradients of query, keys and scale over tiles of the logit gradient ``p``.

    With ``G = p @ keys`` and ``H = p.T @ query`` (no scale), the gradients are ``scale * G``,
    ``scale * H`` and, for the scale, ``sum(query * G) = sum(keys * H)``: a product that nobody
    needs (a locked tower) is not computed.
    """

    def __init__(self, query: Tensor, keys: Tensor, needs: tuple[bool, bool, bool]) -> None:
        self.query, self.keys, self.needs = query, keys, needs
        of_query = needs[0] or (needs[2] and not needs[1])
        self.of_query = torch.zeros_like(query) if of_query else None
        self.of_keys = torch.zeros_like(keys) if needs[1] else None

    def add(self, p: Tensor, rows: slice, columns: slice) -> None:
        if self.of_query is not None:
            self.of_query[rows].addmm_(p, self.keys[columns])
        if self.of_keys is not None:
            self.of_keys[columns].addmm_(p.T, self.query[rows])

    def finish(self, scale: Tensor, chunk: int) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        of_scale = None
        if self.needs[2] and self.of_query is not None:
            of_scale = _dot(self.query, self.of_query, chunk)
        elif self.needs[2] and self.of_keys is not None:
            of_scale = _dot(self.keys, self.of_keys, chunk)
        of_query = self.of_query.mul_(scale) if self.needs[0] and self.of_query is not None else None
        of_keys = self.of_keys.mul_(scale) if self.of_keys is not None else None
        return of_query, of_keys, of_scale


class _TiledStatistics(Function):
    """See :func:`logit_statistics`; backward recomputes each tile from the saved row and column losses.

    A row's loss is ``log(1 + sum_others exp(z_ij - partner_i))``. Summing the others alone, relative
    to the partner, keeps its digits when the model is trained and the sum is tiny; the difference of
    two logits near 100 would be rounded to 4e-6.
    """

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, keys: Tensor, scale: Tensor, pairing: Pairing, columns: bool, chunk: int
    ) -> tuple[Tensor, Tensor | None, Tensor]:
        row_others = query.new_full((len(query),), -torch.inf)
        column_others = row_others.clone() if columns else None
        partner = torch.empty_like(row_others)
        with _no_autocast(query):
            for rows in _slices(len(query), chunk):
                mates = keys[rows.start + pairing.offset : rows.stop + pairing.offset]
                partner[rows] = scale * (query[rows] * mates).sum(1)
            for rows, cols, tile in _tiles(query, keys, scale, pairing, chunk):
                pairing.partners(tile, rows, cols).fill_(-torch.inf)
                others = (tile - partner[rows, None]).logsumexp(1)
                row_others[rows] = torch.logaddexp(row_others[rows], others)
                if column_others is not None:
                    others = tile.sub_(partner[cols]).logsumexp(0)
                    column_others[cols] = torch.logaddexp(column_others[cols], others)
        zero = torch.zeros_like(row_others)
        row_loss = torch.logaddexp(row_others, zero)
        column_loss = None if column_others is None else torch.logaddexp(column_others, zero)
        ctx.save_for_backward(query, keys, scale, row_loss, column_loss, partner)
        ctx.pairing, ctx.chunk = pairing, chunk
        return row_loss, column_loss, partner

    @staticmethod
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, grad_row: Tensor, grad_column: Tensor | None, grad_partner: Tensor
    ) -> tuple[Tensor | None, ...]:
        _refuse_second_derivative()
        query, keys, scale, row_loss, column_loss, partner = ctx.saved_tensors
        at_partner = grad_partner + grad_row * torch.expm1(-row_loss)
        if column_loss is not None and grad_column is not None:
            at_partner = at_partner + grad_column * torch.expm1(-column_loss)
        total = _LogitGradient(query, keys, ctx.needs_input_grad[:3])
        with _no_autocast(query):
            for rows, cols, tile in _tiles(query, keys, scale, ctx.pairing, ctx.chunk):
                p = (tile - partner[rows, None]).sub_(row_loss[rows, None]).exp_().mul_(grad_row[rows, None])
                if column_loss is not None and grad_column is not None:
                    p += tile.sub_(partner[cols]).sub_(column_loss[cols]).exp_().mul_(grad_column[cols])
                own = slice(*ctx.pairing.partner_rows(rows, cols))
                ctx.pairing.partners(p, rows, cols).copy_(at_partner[own])
                total.add(p, rows, cols)
            return *total.finish(scale, ctx.chunk), None, None, None


def _tiles(
    query: Tensor, keys: Tensor, scale: Tensor, pairing: Pairing, chunk: int
) -> Iterator[tuple[slice, slice, Tensor]]:
    """Yield ``(rows, columns, logits)`` tile by tile; the logits may be overwritten."""
    for rows in _slices(len(query), chunk):
        scaled = query[rows] * scale
        for cols in _slices(len(keys), chunk):
            yield rows, cols, pairing.hide_(scaled @ keys[cols].T, rows, cols)


class _TiledSigmoid(Function):
    """See :func:`sigmoid_sum`; no statistic crosses tiles, so forward sums the gradients at once."""

    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        keys: Tensor,
        scale: Tensor,
        bias: Tensor,
        pairing: Pairing,
        chunk: int,
        differentiate: bool,
    ) -> Tensor:
        needs = [differentiate and need for need in ctx.needs_input_grad[:4]]
        gradient = _LogitGradient(query, keys, (needs[0], needs[1], needs[2]))
        of_bias = torch.zeros_like(bias) if needs[3] else None
        loss = query.new_zeros(())
        with _no_autocast(query):
            for rows, cols, tile in _tiles(query, keys, scale, pairing, chunk):
                pairing.flip_(tile.add_(bias), rows, cols)
                loss -= F.logsigmoid(-tile).sum()
                if any(needs):
                    p = pairing.flip_(tile.sigmoid_(), rows, cols)
                    gradient.add(p, rows, cols)
                    if of_bias is not None:
                        of_bias += p.sum()
            ctx.save_for_backward(*gradient.finish(scale, chunk), of_bias)
        return loss

    @staticmethod
    def backward(ctx: Any, grad_loss: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        _refuse_second_derivative()
        saved = [None if tensor is None else tensor * grad_loss for tensor in ctx.saved_tensors]
        return *saved, None, None, None
