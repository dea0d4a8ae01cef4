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
    p_live: Sequence[float],
    usable: Sequence[bool],
    *,
    aggregator: Aggregator = "mean",
    min_frames: int = 1,
    k: int = 2,
) -> float | None:
    """Return P(live) of a presentation from those of its frames, or None for a non-response.

    ``mean`` is the mean of the probabilities (FLIP's choice), ``median`` their median, ``min_k`` the mean of
    the ``k`` lowest (one clear attack frame should count), ``mean_logit`` the probability of the mean
    log-odds, in which single saturated frames weigh more.

    Example:
        >>> round(combine([3.0, 2.0, -1.0], [0.95, 0.88, 0.27], [True, True, True]), 2)
        0.7
        >>> combine([3.0], [0.95], [True], min_frames=3) is None
        True

    Args:
        margins: log-odds of live per frame, finite.
        p_live: P(live) per frame, in [0, 1].
        usable: whether a frame passed the gates that block; the others are left out.
        aggregator: see above.
        min_frames: fewer usable frames than this are no answer.
        k: of ``min_k``; with fewer usable frames all of them count.

    Raises:
        InputError: lengths differ, or a score that is none. ConfigError: a setting is out of range.

    Reference:
        Srivatsan et al., FLIP, ICCV 2023: mean of P(real) over the frames of a video.
    """
    chosen = _chosen(margins, p_live, usable, aggregator, min_frames, k)
    if chosen is None:
        return None
    if aggregator == "mean_logit":
        return _sigmoid(math.fsum(margins[index] for index in chosen) / len(chosen))
    return math.fsum(p_live[index] for index in chosen) / len(chosen)


def combine_margins(
    margins: Sequence[float],
    usable: Sequence[bool],
    *,
    aggregator: Aggregator = "mean",
    min_frames: int = 1,
    k: int = 2,
) -> float | None:
    """Return the log-odds of what :func:`combine` returns, exact where the probabilities round to 0 or 1.

    Raises:
        InputError, ConfigError: as :func:`combine`.
    """
    chosen = _chosen(margins, None, usable, aggregator, min_frames, k)
    if chosen is None:
        return None
    taken = [margins[index] for index in chosen]
    if aggregator == "mean_logit":
        return math.fsum(taken) / len(taken)
    # log of the sums of P(live) and of P(attack); the number of frames falls out of their difference.
    return _log_sum([-_softplus(-margin) for margin in taken]) - _log_sum([-_softplus(m) for m in taken])


def _chosen(
    margins: Sequence[float],
    p_live: Sequence[float] | None,
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
    if len(margins) != len(usable) or (p_live is not None and len(p_live) != len(margins)):
        raise InputError("margins, p_live and usable have one value per frame; their lengths differ.")
    for index, is_usable in enumerate(usable):
        if is_usable and not math.isfinite(margins[index]):
            raise InputError(f"Frame {index}: the log-odds are {margins[index]!r}, not a finite number.")
        if is_usable and p_live is not None and not 0 <= p_live[index] <= 1:
            raise InputError(f"Frame {index}: P(live) is {p_live[index]!r}, outside of [0, 1].")
    indices = [index for index, is_usable in enumerate(usable) if is_usable]
    if len(indices) < min_frames:
        return None
    if aggregator in ("median", "min_k"):
        # By log-odds: probabilities of 1.0 may still differ.
        indices.sort(key=lambda index: margins[index])
        middle = (len(indices) - 1) // 2
        return indices[:k] if aggregator == "min_k" else indices[middle : len(indices) - middle]
    return indices


def _sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value)) if value >= 0 else math.exp(value) / (1 + math.exp(value))


def _softplus(value: float) -> float:
    return max(value, 0.0) + math.log1p(math.exp(-abs(value)))


def _log_sum(logs: Sequence[float]) -> float:
    top = max(logs)
    return top + math.log(math.fsum(math.exp(value - top) for value in logs))
