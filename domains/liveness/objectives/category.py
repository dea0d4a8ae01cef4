"""Objectives over the categories of a taxonomy.

What they read of a model of :mod:`..models`: ``outputs.extras["category_logits"]`` [B, K] or
``["live_margin"]`` [B], float32; and of the batch

* ``batch.labels`` int64 [B]: class index of the taxonomy, or -1 where only live or attack is known;
* ``batch.extras["live"]`` int64 or bool [B] (``live_or_attack`` alone): 1 for a live person, 0 for an attack,
  -1 where that is unknown too.

Reference: CLIPC8, arXiv 2311.17583 (which of the first two losses it trains with is not public).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from torch import Tensor
from torch.nn import functional as F

from ....core.errors import ConfigError, InputError
from ....core.objectives.base import Needs, Objective
from ....core.objectives.pairwise import DEFAULT_CHUNK, InfoNCE
from ....core.types import Batch, Outputs

LOGITS, MARGIN, CATEGORIES = "category_logits", "live_margin", "category_embeddings"
"""Keys of ``outputs.extras``."""

LIVE = "live"
"""Key of ``batch.extras``."""


def checked_labels(batch: Batch, classes: int, *, unknown: bool = False) -> Tensor:
    """Return ``batch.labels`` as int64 [B], each one of ``classes``, or -1 where ``unknown`` allows it.

    Raises:
        InputError: a label that is no class, or a row without a category.
    """
    if batch.labels is None:
        raise InputError("The objective reads batch.labels, which is None; add labels to the data.")
    labels = batch.labels.long()
    wrong = ((labels < (-1 if unknown else 0)) | (labels >= classes)).nonzero().flatten().tolist()
    if wrong:
        label = int(labels[wrong[0]])
        if label == -1:
            raise InputError(
                f"row {wrong[0]} has no category. Where only live or attack is known, train with the "
                "objective live_or_attack."
            )
        raise InputError(f"row {wrong[0]}: label {label} is none of the {classes} categories of the model.")
    return labels


def checked_smoothing(label_smoothing: float) -> float:
    """Return a label smoothing in [0, 1).

    Raises:
        ConfigError: it is not.
    """
    if not 0 <= label_smoothing < 1:
        raise ConfigError(f"label_smoothing must be in [0, 1), got {label_smoothing}.")
    return label_smoothing


class CategoryCrossEntropy(Objective):
    """Cross-entropy of the category logits against the category of each row.

    Args:
        label_smoothing: probability mass in [0, 1) spread over all categories.

    Returns ``{"loss", "category"}``. A row without a category is refused.
    """

    def __init__(self, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.label_smoothing = checked_smoothing(label_smoothing)
        self.needs = Needs(labels=True, output_extras=(LOGITS,))

    def compute(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        """Return the mean over the rows as the part ``category``."""
        logits = outputs.extras[LOGITS].float()
        labels = checked_labels(batch, logits.shape[1])
        return {"category": F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)}


class CategoryContrast(Objective):
    """Symmetric contrastive loss of pictures and descriptions, where a category is one group of positives.

    A batch always holds several pictures of a category and so the same description several times; the target
    of a row is spread evenly over all columns of its category, in both directions. It is
    :class:`verticlip.core.objectives.pairwise.InfoNCE` with ``positives="labels"``.

    Args:
        label_smoothing: probability mass in [0, 1) spread over all columns.
        descriptions: ``category``: the description of a row is the vector of its category, the mean over the
            category's texts. ``batch``: the data brings a text per row, ``outputs.embeddings["text"]``.
        chunk: tile side of the streaming computation; None holds the [B, B] logits.

    Returns ``{"loss", "contrastive"}``. A row without a category is refused.

    Reference: Yang et al. 2022, UniCL, arXiv 2204.03610, equations 3 and 4.
    """

    def __init__(
        self,
        label_smoothing: float = 0.0,
        *,
        descriptions: Literal["category", "batch"] = "category",
        chunk: int | None = DEFAULT_CHUNK,
    ) -> None:
        super().__init__()
        self.descriptions: Literal["category", "batch"] = descriptions
        self.pairs = InfoNCE(label_smoothing, chunk=chunk, positives="labels")
        if descriptions == "batch":
            self.needs = Needs(modalities=("image", "text"), labels=True, output_extras=(CATEGORIES,))
        else:
            self.needs = Needs(modalities=("image",), labels=True, output_extras=(CATEGORIES,))

    def compute(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        """Return the loss as the part ``contrastive``."""
        categories = outputs.extras[CATEGORIES]
        labels = checked_labels(batch, len(categories))
        embeddings = dict(outputs.embeddings)
        if self.descriptions == "category":
            embeddings["text"] = categories[labels].to(embeddings["image"].dtype)
        return self.pairs.compute(replace(outputs, embeddings=embeddings), replace(batch, labels=labels))


class LiveOrAttack(Objective):
    """For data that says live or attack, and the kind of attack of some rows only.

    A row of a known category counts by the cross-entropy of the category logits. Any other row counts by
    ``-log p_live`` or ``-log(1 - p_live)`` on the same logits, computed from the log-odds, so that it has a
    gradient however sure the model is. A row of which neither is known counts nothing.

    Args:
        use_categories: False counts every row by live or attack alone.
        label_smoothing: of the cross-entropy, probability mass in [0, 1) spread over all categories.

    Returns ``{"loss", "live_or_attack", "category"}``; both parts are sums over their rows divided by the
    number of rows that count, so that every such row has the same weight.
    """

    def __init__(self, *, use_categories: bool = True, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.use_categories = use_categories
        self.label_smoothing = checked_smoothing(label_smoothing)
        self.needs = Needs(
            labels=use_categories,
            output_extras=(LOGITS, MARGIN) if use_categories else (MARGIN,),
            batch_extras=(LIVE,),
        )

    def compute(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        """Return the parts ``live_or_attack`` and, with categories, ``category``."""
        margin = outputs.extras[MARGIN].float()
        live = batch.extras[LIVE].long()
        wrong = ((live < -1) | (live > 1)).nonzero().flatten().tolist()
        if wrong:
            raise InputError(
                f"row {wrong[0]}: batch.extras['live'] is {int(live[wrong[0]])}; it has to be 1, 0 or -1."
            )
        parts: dict[str, Tensor] = {}
        binary, counted = live >= 0, live >= 0
        if self.use_categories:
            logits = outputs.extras[LOGITS].float()
            labels = checked_labels(batch, logits.shape[1], unknown=True)
            binary, counted = binary & (labels < 0), counted | (labels >= 0)
            parts["category"] = F.cross_entropy(
                logits, labels, ignore_index=-1, reduction="sum", label_smoothing=self.label_smoothing
            )
        # -log sigmoid(m) = softplus(-m), and -log(1 - sigmoid(m)) = softplus(m).
        sign = 1.0 - 2.0 * (live == 1).float()
        parts["live_or_attack"] = (F.softplus(sign * margin) * binary).sum()
        rows = counted.sum().clamp(min=1)
        return {name: part / rows for name, part in parts.items()}
