"""What the losses over pairs of products share: which views they read, and who is whose negative.

Row i of every tensor belongs to pair i of the batch. ``batch.extras`` may hold

* ``group`` int64 [B]: products of one group are the same product; -1 where that is not known;
* ``query`` int64 [B]: rows of one query have several right answers;
* ``<prefix>has_image`` and ``<prefix>has_text`` bool [B]: which products have a picture and a text.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ....core.errors import InputError
from ....core.objectives.base import Needs, Objective
from ....core.types import Batch, Outputs


class PairObjective(Objective):
    """Base of the losses over pairs of products.

    Attributes:
        sides: prefixes of the products that a batch has to have, see :mod:`..encoders.views`.
        smallest_batch: rows below which the loss is not defined.
    """

    sides: tuple[str, ...] = ("", "right_")
    smallest_batch: int = 1


def views_of(outputs: Outputs, batch: Batch, names: tuple[str, ...]) -> dict[str, Tensor]:
    """Return the embeddings [B, D] called ``names``.

    Raises:
        InputError: one is missing, or they are not of one shape.
    """
    Needs(modalities=names).check(outputs, batch)
    found = {name: outputs.embeddings[name] for name in names}
    first = found[names[0]]
    for name, vectors in found.items():
        if vectors.ndim != 2 or vectors.shape != first.shape or not len(vectors):
            raise InputError(
                f"Views must all be [B, D] with B >= 1; got {names[0]} {list(first.shape)} and {name} "
                f"{list(vectors.shape)}."
            )
    return found


def usable_rows(batch: Batch, view: str, like: Tensor) -> Tensor:
    """Return bool [B]: which rows have the view, such as ``left_text``; all where the batch does not say."""
    for part in ("image", "text"):
        if view.endswith(f"_{part}"):
            prefix = "" if view.startswith("left") else f"{view.removesuffix(part)}"
            flags = batch.extras.get(f"{prefix}has_{part}")
            if flags is not None:
                return flags.to(like.device).bool()
    return torch.ones(len(like), dtype=torch.bool, device=like.device)


def negatives(batch: Batch, like: Tensor, *names: str) -> Tensor:
    """Return bool [B, B]: whether column j is no match of row i; False on the diagonal.

    Args:
        like: any tensor [B, ...] on the device of the loss.
        names: of the extras in which equal values, from 0, say that rows belong together.

    Raises:
        InputError: an extra that is not one integer per row.
    """
    allowed = ~torch.eye(len(like), dtype=torch.bool, device=like.device)
    for name in names:
        if name not in batch.extras:
            continue
        marks = batch.extras[name].to(like.device)
        if marks.shape != (len(like),) or marks.is_floating_point():
            raise InputError(
                f"batch.extras[{name!r}] must be one integer for each of the {len(like)} rows, got "
                f"{marks.dtype} {list(marks.shape)}."
            )
        together = (marks[:, None] == marks) & (marks >= 0)
        allowed &= ~together
    return allowed


def mean_over(rows: Tensor, usable: Tensor) -> Tensor:
    """Return the mean of ``rows`` [B] where ``usable``; 0, with a gradient of 0, where no row is."""
    return torch.where(usable, rows, 0.0).sum() / usable.sum().clamp(min=1)
