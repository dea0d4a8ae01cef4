"""One score from the scores of a film's frames."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from ....core.errors import ConfigError, InputError, nearest

Aggregator = Literal["mean", "mean_logit", "median", "min_k"]
AGGREGATORS: tuple[Aggregator, ...] = ("mean", "mean_logit", "median", "min_k")


def combine(
    margins: Sequence[float],
    usable: Sequence[bool],
    *,
    aggregator: Aggregator = "mean",
    min_frames: int = 1,
    k: int = 2,
) -> float | None:
    """Return the log-odds of a presentation from those of its frames, or None for a non-response.

    ``mean`` is the mean of the frames' P(live) (FLIP's choice), ``median`` their median, ``min_k`` the mean
    of the ``k`` lowest (one clear attack frame should count), ``mean_logit`` the mean of the log-odds, in
    which single saturated frames weigh more. The result is exact where probabilities round to 0 or 1.

    Example:
        >>> round(combine([3.0, 2.0, -1.0], [True, True, True]), 2)
        0.85
        >>> combine([3.0], [True], min_frames=3) is None
        True

    Args:
        margins: log-odds of live per frame, finite.
        usable: whether a frame passed the gates that block; the others are left out.
        aggregator: see above.
        min_frames: fewer usable frames than this are no answer.
        k: of ``min_k``; with fewer usable frames all of them count.

    Raises:
        InputError: lengths differ, or a score that is none. ConfigError: a setting is out of range.

    Reference:
        Srivatsan et al., FLIP, ICCV 2023: mean of P(real) over the frames of a video.
    """
    chosen = _chosen(margins, usable, aggregator, min_frames, k)
    if chosen is None:
        return None
    taken = [margins[index] for index in chosen]
    if aggregator == "mean_logit":
        return math.fsum(taken) / len(taken)
    # log of the sums of P(live) and of P(attack); the number of frames falls out of their difference.
    return _log_sum([-_softplus(-margin) for margin in taken]) - _log_sum([-_softplus(m) for m in taken])


def _chosen(
    margins: Sequence[float],
    usable: Sequence[bool],
    aggregator: str,
    min_frames: int,
    k: int,
) -> list[int] | None:
    """Return the frames whose scores are averaged; all aggregators are means over some of them."""
    if aggregator not in AGGREGATORS:
        raise ConfigError(
            f"Unknown aggregator {aggregator!r}; known: {', '.join(AGGREGATORS)}."
            f"{nearest(aggregator, AGGREGATORS)}"
        )
    if min_frames < 1 or k < 1:
        raise ConfigError(f"min_frames and k are at least 1, got {min_frames} and {k}.")
    if len(margins) != len(usable):
        raise InputError("margins and usable have one value per frame; their lengths differ.")
    for index, is_usable in enumerate(usable):
        if is_usable and not math.isfinite(margins[index]):
            raise InputError(f"Frame {index}: the log-odds are {margins[index]!r}, not a finite number.")
    indices = [index for index, is_usable in enumerate(usable) if is_usable]
    if len(indices) < min_frames:
        return None
    if aggregator in ("median", "min_k"):
        # By log-odds: probabilities of 1.0 may still differ.
        indices.sort(key=lambda index: margins[index])
        middle = (len(indices) - 1) // 2
        return indices[:k] if aggregator == "min_k" else indices[middle : len(indices) - middle]
    return indices


def _softplus(value: float) -> float:
    return max(value, 0.0) + math.log1p(math.exp(-abs(value)))


def _log_sum(logs: Sequence[float]) -> float:
    top = max(logs)
    return top + math.log(math.fsum(math.exp(value - top) for value in logs))
