"""How UrbanCLIP judges a CoCa on held-back pairs: ranks, recalls, contrastive and caption loss.

Reference: StupidBuluchacha/UrbanCLIP@main.py (``evaluate``) and utils.py (``get_clip_metrics``). Its
``val_generative_loss`` adds every hundredth batch only and divides by all pairs; that number is here
``published_generative_loss`` and the right ones are ``val_generative_loss`` (words only) and
``val_generative_loss_with_pad``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ....core.errors import InputError
from ....core.inputs import on_device
from ....core.types import Batch
from ....core.validation import judged
from .model import CoCaModel

DEPTHS = (1, 5, 10)
_PUBLISHED_EVERY = 100
_ROWS_AT_ONCE = 1024


@dataclass
class _Sums:
    """Sums over batches; losses are weighted by the pairs of their batch, as in the reference."""

    pairs: int = 0
    contrastive: float = 0.0
    caption: float = 0.0
    with_pad: float = 0.0
    published: float = 0.0
    images: list[Tensor] = field(default_factory=list)
    texts: list[Tensor] = field(default_factory=list)


def evaluate_pairs(
    network: CoCaModel, batches: Iterable[Batch], *, depths: Sequence[int] = DEPTHS
) -> dict[str, float]:
    """Return the reference's evaluation of image-text pairs; row i of a batch is one pair.

    Losses are means over pairs of the means within each batch. They therefore depend on the size of the
    batches, and on that of the last: compare runs of one batch size.

    Args:
        network: any mode; put back as it was.
        batches: ``image`` and ``text`` inputs.
        depths: k of the recalls.

    Returns:
        ``image_to_text_mean_rank``, ``image_to_text_median_rank`` (rounded down), ``image_to_text_R@k`` (a
        share), the same for ``text_to_image``, ``clip_val_loss``, ``val_generative_loss``,
        ``val_generative_loss_with_pad``, ``published_generative_loss`` and ``num_samples``.

    Raises:
        InputError: there are no pairs.
    """
    sums = _Sums()
    with judged(network):
        for number, batch in enumerate(batches):
            _add(sums, network, batch, number)
        if not sums.pairs:
            raise InputError("There are no pairs to evaluate on.")
        scale = network.scale().float().cpu()
    found = retrieval_metrics(torch.cat(sums.images), torch.cat(sums.texts), scale, depths=depths)
    return {
        **found,
        "clip_val_loss": sums.contrastive / sums.pairs,
        "val_generative_loss": sums.caption / sums.pairs,
        "val_generative_loss_with_pad": sums.with_pad / sums.pairs,
        "published_generative_loss": sums.published / sums.pairs,
        "num_samples": sums.pairs,
    }


def _add(sums: _Sums, network: CoCaModel, batch: Batch, number: int) -> None:
    batch = Batch({name: on_device(network, given) for name, given in batch.inputs.items()})
    outputs = network(batch, extras=("caption_logits",))
    images, texts = outputs.embeddings["image"], outputs.embeddings["text"]
    size = len(images)
    logits = outputs.logit_scale * images @ texts.T
    target = torch.arange(size, device=logits.device)
    contrastive = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
    labels = batch.inputs["text"]["input_ids"][:, 1:]
    caption, with_pad = caption_losses(outputs.extras["caption_logits"], labels, network.special.pad)
    sums.pairs += size
    sums.contrastive += float(contrastive) * size
    sums.caption += caption * size
    sums.with_pad += with_pad * size
    if number % _PUBLISHED_EVERY == 0:
        sums.published += with_pad * size
    sums.images.append(images.float().cpu())
    sums.texts.append(texts.float().cpu())


def caption_losses(logits: Tensor, labels: Tensor, pad_id: int) -> tuple[float, float]:
    """Return the mean cross-entropy of a batch over its words, and over its padding as well.

    Args:
        logits: float [B, L, V]. labels: int64 [B, L].

    A batch without any word has the loss 0 over words.
    """
    each = F.cross_entropy(logits.detach().float().flatten(0, 1), labels.flatten(), reduction="none")
    words = labels.flatten() != pad_id
    return float(each[words].mean()) if bool(words.any()) else 0.0, float(each.mean())


def retrieval_metrics(
    images: Tensor, texts: Tensor, scale: Tensor, *, depths: Sequence[int] = DEPTHS
) -> dict[str, float]:
    """Return ranks and recalls of N pairs in both directions, as the reference counts them.

    Ranks begin at 1; among equal logits the earlier one comes first. Equal captions of different images count
    as wrong answers to each other.

    Args:
        images: unit embeddings float32 [N, D]. texts: the same for texts.
        scale: ``exp(logit_scale)``.
    """
    found: dict[str, float] = {}
    directions = (("image_to_text", scale * images, texts), ("text_to_image", texts, scale * images))
    for name, queries, gallery in directions:
        ranks = _ranks(queries, gallery)
        found[f"{name}_mean_rank"] = float(ranks.mean() + 1)
        found[f"{name}_median_rank"] = float(np.floor(np.median(ranks)) + 1)
        for depth in depths:
            found[f"{name}_R@{depth}"] = float(np.mean(ranks < depth))
    return found


def _ranks(queries: Tensor, gallery: Tensor) -> np.ndarray:
    """Return the 0-based place of item i among the answers to query i, int64 [N]."""
    places = torch.arange(len(gallery))
    parts = []
    for start in range(0, len(queries), _ROWS_AT_ONCE):
        logits = queries[start : start + _ROWS_AT_ONCE] @ gallery.T
        own = places[start : start + len(logits), None]
        right = logits.gather(1, own)
        ahead = (logits > right) | ((logits == right) & (places[None] < own))
        parts.append(ahead.sum(dim=1))
    return torch.cat(parts).numpy()
