"""The two training losses of ConceptCLIP: image-text alignment and concept-patch alignment.

Notation: ``v``, ``t`` unit embeddings; ``p_im`` the unit vector of patch m of image i; ``c_n`` the
unit mean of one concept's token vectors; ``s_c``, ``b_c`` the concept scale and bias.

Reference:
    Nie et al. 2026, An explainable biomedical foundation model via large-scale concept-enhanced
    vision-language pre-training (arXiv 2501.15579); values checked against the authors' training code.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from ....core.errors import ConfigError, InputError
from ....core.objectives.base import (
    Exchange,
    Needs,
    Objective,
    check_equal_batches,
    gather,
    neighbor_blocks,
    world,
)
from ....core.objectives.pairwise import Sigmoid
from ....core.types import Batch, Outputs

Reduction = Literal["max", "lse"]
Beyond = Literal["error", "last"]

DEFAULT_BUDGET = 1 << 24
"""Scores held at once (64 MiB in float32) while the best patch of each concept is looked for."""

_OUTPUTS = ("image_concepts", "text_concepts", "concept_scale", "concept_bias")


@dataclass(frozen=True)
class Concepts:
    """The concepts of a batch of captions.

    Attributes:
        vectors: float [Nc, D], unit length, in caption order.
        caption: int64 [Nc], index of the caption each concept belongs to.
    """

    vectors: Tensor
    caption: Tensor


def pool_spans(text_concepts: Tensor, spans: Tensor, *, beyond: Beyond = "error") -> tuple[Tensor, Tensor]:
    """Return the mean token vector of each span, float [B, K, D], and which spans exist, bool [B, K].

    Args:
        text_concepts: float [B, L, D], one vector per position; position 0 is the start token.
        spans: int64 [B, K, 2], [start, end) counted without the start token; -1 where there is none.
        beyond: ``"last"`` reads the last position in place of every one behind it, as the published
            training code does: an end token or padding, once for each token that is not there.

    Raises:
        InputError: shapes disagree, a span is empty, or it reaches past the text (``"error"``).
    """
    if spans.ndim != 3 or spans.shape[2] != 2 or len(spans) != len(text_concepts):
        raise InputError(
            f"concept_spans: expected [{len(text_concepts)}, K, 2], got {list(spans.shape)}. "
            "One list of [start, end) per caption, filled up with -1."
        )
    start, end = spans.unbind(dim=-1)
    exists = start >= 0
    length = text_concepts.shape[1]
    outside = (end + 1 > length) & (beyond == "error")
    bad = (exists & ((end <= start) | outside)).nonzero()
    if len(bad):
        row, which = bad[0].tolist()
        raise InputError(
            f"concept_spans: caption {row}, span {which} is {spans[row, which].tolist()}; the text has "
            f"{length - 1} positions after the start token. Drop spans that do not fit."
        )
    position = torch.arange(length, device=spans.device)
    times = ((position > start[..., None]) & (position <= end[..., None])).to(text_concepts.dtype)
    # The last position stands for itself and for all tokens of the span behind it.
    times[..., -1] = (end - start.clamp(min=length - 2)).clamp(min=0).to(times)
    times = times * exists[..., None]
    return times / times.sum(-1, keepdim=True).clamp(min=1) @ text_concepts, exists


def collect_concepts(text_concepts: Tensor, spans: Tensor, *, beyond: Beyond = "error") -> Concepts:
    """Return the unit concept vectors of a batch; arguments and errors as in :func:`pool_spans`."""
    pooled, exists = pool_spans(text_concepts, spans, beyond=beyond)
    return Concepts(F.normalize(pooled[exists], dim=-1), exists.nonzero()[:, 0])


def best_patches(patches: Tensor, concepts: Tensor, *, budget: int = DEFAULT_BUDGET) -> tuple[Tensor, Tensor]:
    """Return the largest cosine of each concept with a patch of each image, and that patch.

    No more than ``budget`` cosines are held at once, and nothing of that size is kept for the
    gradient, which flows through the winning patch only.

    Args:
        patches: float [B, P, D], of any length and any float type.
        concepts: float [N, D], unit length.

    Returns:
        Cosines in the type of ``concepts`` [B, N] and patch indices int64 [B, N].

    Raises:
        InputError: shapes disagree, or there is no patch.
    """
    if patches.ndim != 3 or not patches.shape[1] or patches.shape[2] != concepts.shape[-1]:
        raise InputError(
            f"Patches must be [B, P >= 1, D] and concepts [N, D] with the same D; got "
            f"{list(patches.shape)} and {list(concepts.shape)}."
        )
    return _BestPatch.apply(patches, concepts, budget)


class _BestPatch(Function):
    """See :func:`best_patches`; backward reads the winning patches again instead of keeping scores."""

    @staticmethod
    def forward(ctx: Any, patches: Tensor, concepts: Tensor, budget: int) -> tuple[Tensor, Tensor]:
        shape = (len(patches), len(concepts))
        best, index = concepts.new_zeros(shape), torch.zeros(shape, dtype=torch.long, device=concepts.device)
        with torch.autocast(concepts.device.type, enabled=False):
            for images in _slices(len(patches), budget // max(1, patches.shape[1] * len(concepts))):
                unit = F.normalize(patches[images].to(concepts.dtype), dim=-1)
                best[images], index[images] = (unit @ concepts.T).max(dim=1)
        ctx.save_for_backward(patches, concepts, best, index)
        ctx.budget = budget
        ctx.mark_non_differentiable(index)
        return best, index

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Tensor | None, Tensor | None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        patches, concepts, best, index = ctx.saved_tensors
        of_patches = torch.empty_like(patches) if ctx.needs_input_grad[0] else None
        of_concepts = torch.zeros_like(concepts)
        count, width = len(concepts), concepts.shape[1]
        with torch.autocast(concepts.device.type, enabled=False):
            for images in _slices(len(patches), ctx.budget // max(1, (count + patches.shape[1]) * width)):
                rows, winners = (
                    patches[images].to(concepts.dtype),
                    index[images, :, None].expand(-1, -1, width),
                )
                chosen = rows.gather(1, winners)
                lengths = chosen.norm(dim=-1, keepdim=True).clamp(min=1e-12)
                chosen = chosen / lengths
                of_cosine = gradient[images, :, None]
                of_concepts += (of_cosine * chosen).sum(0)
                if of_patches is not None:
                    # d cos / d x = (c - cos x/|x|) / |x|
                    step = of_cosine * (concepts - best[images, :, None] * chosen) / lengths
                    of_patches[images] = (
                        torch.zeros_like(rows).scatter_add_(1, winners, step).to(patches.dtype)
                    )
        return of_patches, of_concepts, None


def _slices(length: int, size: int) -> Iterator[slice]:
    for start in range(0, length, max(1, size)):
        yield slice(start, start + max(1, size))


class PatchConceptAlignment(Objective):
    """Each concept of a caption should find a patch in its own image, and none in the others.

    ``u_in = s_c max_m cos(p_im, c_n) + b_c`` for every image i and concept n, and
    ``loss = weight / Nc * sum_in softplus(-y_in u_in)`` with ``y = +1`` when the concept belongs to
    the image's own caption. Captions without concepts contribute nothing; a batch without any gives 0.
    A concept that two captions share is still a negative across them.

    Args:
        weight: factor of the part ``pc_align``.
        reduction: ``"max"`` as above. ``"lse"`` joins the concepts of a caption first,
            ``g_ij = log mean_k exp(u_i,jk)``, and divides the sum over images and captions by the
            number of images; captions without concepts are left out of it.
        exchange: how several processes see each other's concepts, as in the sigmoid loss. The concepts
            of every other process are negatives, divided by that process's own ``Nc`` (``"max"``), so
            the value depends on how a batch is spread over processes.
        budget: scores held at once, see :func:`best_patches`.
        beyond: what a span behind the text is, see :func:`pool_spans`. ``"last"`` is only for
            comparison with the published training code, with the collate ``concept_spans_all``.

    Returns ``{"loss", "pc_align"}``. Reads ``batch.extras["concept_spans"]`` int64 [B, K, 2], see
    :func:`pool_spans`, and the concept outputs of the ``conceptclip`` architecture.

    Reference:
        Nie et al. 2026, region-concept alignment; the published training code for "lse".
    """

    needs = Needs(output_extras=_OUTPUTS, batch_extras=("concept_spans",))

    def __init__(
        self,
        weight: float = 1.0,
        *,
        reduction: Reduction = "max",
        exchange: Exchange = "bidir",
        budget: int = DEFAULT_BUDGET,
        beyond: Beyond = "error",
    ) -> None:
        super().__init__()
        if weight < 0:
            raise ConfigError(f"weight must be 0 or more, got {weight}.")
        if budget < 1:
            raise ConfigError(f"budget must be at least 1 score, got {budget}.")
        self.weight, self.budget = float(weight), budget
        self.reduction: Reduction = reduction
        self.exchange: Exchange = exchange
        self.beyond: Beyond = beyond

    def compute(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        """Return the part ``pc_align``, already weighted."""
        return {"pc_align": self.weight * self.alignment(outputs, batch.extras["concept_spans"])}

    def alignment(self, outputs: Outputs, spans: Tensor) -> Tensor:
        """Return the unweighted loss, a scalar in at least float32."""
        outputs = _in_full_precision(outputs)
        patches, states = outputs.extras["image_concepts"], outputs.extras["text_concepts"]
        if len(patches) != len(states):
            raise InputError(f"{len(patches)} images and {len(states)} captions; they come in pairs.")
        own = collect_concepts(states, spans, beyond=self.beyond)
        total = _nothing(outputs)
        if len(own.vectors):
            total = total + self.between(outputs, own, paired=True)
        rank, size = world()
        if size == 1:
            return total
        check_equal_batches(len(patches), patches.device)
        for owner, theirs, block in _others(own, self.exchange):
            total = total + 0.0 * block.sum()
            if owner != rank and len(theirs.vectors):
                total = total + self.between(outputs, theirs, paired=False)
        return total

    def between(self, outputs: Outputs, concepts: Concepts, *, paired: bool) -> Tensor:
        """Return the loss of one block of concepts against the images of ``outputs``.

        Args:
            outputs: with the extras this objective needs.
            concepts: at least one.
            paired: caption j belongs to image j; otherwise every pair is a negative.
        """
        patches = outputs.extras["image_concepts"]
        cosines, _ = best_patches(patches, concepts.vectors, budget=self.budget)
        logits = outputs.extras["concept_scale"] * cosines + outputs.extras["concept_bias"]
        owner, count = concepts.caption, len(concepts.vectors)
        if self.reduction == "lse":
            logits, owner = _joined(logits, owner)
            count = len(patches)
        image = torch.arange(len(patches), device=owner.device)
        positive = (image[:, None] == owner) & paired
        return -F.logsigmoid(torch.where(positive, logits, -logits)).sum() / count


class ConceptClipLoss(PatchConceptAlignment):
    """Image-text sigmoid loss plus ``weight`` times :class:`PatchConceptAlignment`.

    The second stage of training uses weight 0.5; the first stage is the core objective ``sigmoid``.
    Arguments as in :class:`PatchConceptAlignment`. Returns ``{"loss", "it_align", "pc_align"}``.
    """

    needs = replace(PatchConceptAlignment.needs, modalities=("image", "text"))

    def __init__(
        self,
        weight: float = 0.5,
        *,
        reduction: Reduction = "max",
        exchange: Exchange = "bidir",
        budget: int = DEFAULT_BUDGET,
        beyond: Beyond = "error",
    ) -> None:
        super().__init__(weight, reduction=reduction, exchange=exchange, budget=budget, beyond=beyond)
        self._pairs = Sigmoid(exchange)

    def compute(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        """Return the parts ``it_align`` and ``pc_align``."""
        parts = super().compute(outputs, batch)
        return {"it_align": self._pairs.compute(outputs, batch)["contrastive"], **parts}


def _in_full_precision(outputs: Outputs) -> Outputs:
    """Raise what the loss is computed from to float32; patches stay, they are raised piece by piece."""
    extras = dict(outputs.extras)
    dtype = torch.promote_types(extras["text_concepts"].dtype, torch.float32)
    for name in ("text_concepts", "concept_scale", "concept_bias"):
        extras[name] = extras[name].to(dtype)
    return replace(outputs, extras=extras)


def _nothing(outputs: Outputs) -> Tensor:
    """Return 0 that depends on every input, so that no parameter is without gradient on one process."""
    extras = outputs.extras
    ends = [extras["image_concepts"][:, :1].float().sum(), extras["text_concepts"][:, :1].sum()]
    return 0.0 * (sum(ends) + extras["concept_scale"] + extras["concept_bias"]).to(
        extras["concept_scale"].dtype
    )


def _joined(logits: Tensor, caption: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``log mean exp`` over the concepts of each caption [B, J], and the J caption indices."""
    present, column = caption.unique(return_inverse=True)
    # One column block per caption: few concepts each, so padding them is cheap.
    members = column[:, None] == torch.arange(len(present), device=caption.device)
    counts = members.sum(0)
    blocks = logits.new_full((len(logits), len(present), int(counts.max())), -torch.inf)
    slot = (members.cumsum(0) - 1).gather(1, column[:, None])[:, 0]
    blocks[:, column, slot] = logits
    return blocks.logsumexp(-1) - counts.to(logits.dtype).log(), present


def _others(own: Concepts, exchange: Exchange) -> Iterator[tuple[int, Concepts, Tensor]]:
    """Yield (rank, its concepts, the tensor that has to enter the loss) for the other processes.

    Blocks of all processes are padded to one size to travel; the captions travel without gradient.
    """
    device = own.vectors.device
    sizes = gather(torch.tensor([len(own.vectors)], device=device), with_grad=False).tolist()
    longest = max(sizes)
    if not longest:
        return
    missing = longest - len(own.vectors)
    vectors = F.pad(own.vectors, (0, 0, 0, missing))
    captions = gather(F.pad(own.caption, (0, missing)), with_grad=False).split(longest)
    if exchange == "gather":
        blocks: Iterator[tuple[int, Tensor]] = enumerate(gather(vectors, with_grad=True).split(longest))
    else:
        blocks = neighbor_blocks(vectors, exchange)
    for rank, block in blocks:
        yield rank, Concepts(block[: sizes[rank]], captions[rank][: sizes[rank]]), block
