"""From scores over time to events: hysteresis, merging, and a shortest length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Event:
    """One label heard from ``start_s`` to ``end_s``; ``score`` is the highest in between."""

    start_s: float
    end_s: float
    label: str
    score: float


def find_events(
    cells: NDArray[np.float32],
    labels: Sequence[str],
    *,
    cell_s: float,
    duration_s: float,
    thresholds: tuple[float, float],
    merge_s: float = 0.0,
    min_s: float = 0.0,
) -> tuple[Event, ...]:
    """Return events by beginning, then label.

    An event is a run of cells at or above the lower threshold that reaches the higher one somewhere. Runs
    of a label with less than ``merge_s`` between them are joined first, and what is shorter than ``min_s``
    is left out last.

    Args:
        cells: float32 [M, K], scores of stretches of ``cell_s`` seconds.
        labels: K.
        duration_s: of the recording; no event lasts longer.
        thresholds: (of the beginning, of the continuation).

    Example:
        >>> rows = np.array([[0.1], [0.4], [0.9], [0.4], [0.1]], np.float32)
        >>> find_events(rows, ["rain"], cell_s=1, duration_s=5, thresholds=(0.5, 0.3))[0].end_s
        4.0
    """
    high, low = thresholds
    found: list[Event] = []
    for column, label in enumerate(labels):
        scores = cells[:, column]
        # A threshold of 0 must not turn silence, whose score is exactly 0, into an event.
        runs = _runs((scores >= low) & (scores > 0))
        runs = [(start, stop) for start, stop in runs if scores[start:stop].max() >= high]
        merged: list[tuple[int, int]] = []
        for start, stop in runs:
            if merged and (start - merged[-1][1]) * cell_s < merge_s:
                merged[-1] = (merged[-1][0], stop)
            else:
                merged.append((start, stop))
        for start, stop in merged:
            begin, end = round(start * cell_s, 6), round(min(stop * cell_s, duration_s), 6)
            if end - begin >= min_s:
                found.append(Event(begin, end, label, round(float(scores[start:stop].max()), 6)))
    return tuple(sorted(found, key=lambda event: (event.start_s, labels.index(event.label))))


def _runs(chosen: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return [start, stop) of each run of True."""
    steps = np.diff(np.concatenate(([False], chosen, [False])).astype(np.int8))
    return list(zip((steps == 1).nonzero()[0].tolist(), (steps == -1).nonzero()[0].tolist(), strict=True))
