"""From frames to videos, as FLIP does it: probabilities are averaged, and so, apart from them, logits."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from ....core.errors import InputError


@dataclass(frozen=True, eq=False)
class VideoScores:
    """Videos in the order in which their first frames come.

    Attributes:
        ids: V names. labels: int64 [V].
        scores: float64 [V], mean over the frames that got a response; NaN where none did.
        frames, missing: frames of each video, and those without a response.
    """

    ids: tuple[Hashable, ...]
    scores: NDArray[np.float64]
    labels: NDArray[np.int64]
    frames: tuple[int, ...]
    missing: tuple[int, ...]

    @property
    def responses(self) -> list[float | None]:
        """The scores, with None for a video of which no frame got a response."""
        return [None if np.isnan(score) else float(score) for score in self.scores]


def video_means(
    scores: Sequence[float | None] | NDArray[np.floating] | Tensor,
    videos: Sequence[Hashable],
    labels: Sequence[int],
) -> VideoScores:
    """Return the mean score of each video.

    Args:
        scores: F frame scores; None = the frame got no response and is left out and counted. Of a float32
            tensor or array the mean is taken in float32, as the reference does.
        videos: F ids; frames of a video need not stand together.
        labels: F times 0 or 1, the same for all frames of a video.

    Raises:
        InputError: lengths differ, there are no frames, or a video has frames of both labels.
    """
    rows = _rows_of(videos, len(scores), labels)
    given = list(scores.numpy() if isinstance(scores, Tensor) else scores)
    means, missing = [], []
    for indices in rows.values():
        kept = [score for row in indices if (score := given[row]) is not None]
        means.append(float(sum(kept) / len(kept)) if kept else np.nan)
        missing.append(len(indices) - len(kept))
    return VideoScores(
        ids=tuple(rows),
        scores=np.asarray(means, dtype=np.float64),
        labels=np.asarray([labels[indices[0]] for indices in rows.values()], dtype=np.int64),
        frames=tuple(map(len, rows.values())),
        missing=tuple(missing),
    )


@dataclass(frozen=True)
class VideoLoss:
    """Of the mean logits of each video.

    Attributes:
        loss: mean cross-entropy over videos. top1: fraction of videos whose largest mean logit is right.
    """

    loss: float
    top1: float


def video_loss(logits: Tensor, videos: Sequence[Hashable], labels: Sequence[int]) -> VideoLoss:
    """Return loss and accuracy of the mean LOGITS per video, not of the mean probabilities.

    Args:
        logits: float [F, K] of frames.
        videos: F ids. labels: F class indices, the same for all frames of a video.

    Raises:
        InputError: logits are not [F, K], lengths differ, or a video has frames of two labels.
    """
    if logits.ndim != 2:
        raise InputError(f"logits must be [frames, classes], got {list(logits.shape)}.")
    rows = _rows_of(videos, len(logits), labels)
    means = torch.stack([logits[indices].sum(dim=0) / len(indices) for indices in rows.values()])
    targets = torch.tensor([int(labels[indices[0]]) for indices in rows.values()])
    losses = F.cross_entropy(means, targets, reduction="none").double()
    return VideoLoss(float(losses.mean()), float((means.argmax(dim=1) == targets).double().mean()))


def _rows_of(videos: Sequence[Hashable], count: int, labels: Sequence[int]) -> dict[Hashable, list[int]]:
    if not count or not len(videos) == len(labels) == count:
        raise InputError(
            f"{count} frames, {len(videos)} video ids and {len(labels)} labels; expected equal, at least one."
        )
    rows: dict[Hashable, list[int]] = {}
    for row, video in enumerate(videos):
        rows.setdefault(video, []).append(row)
    for video, indices in rows.items():
        if len({labels[row] for row in indices}) > 1:
            raise InputError(f"Video {video!r} has frames of both labels; one video shows one thing.")
    return rows
