"""What is kept of a recording that passes window by window, and scores of windows as scores over time."""

from __future__ import annotations

from array import array
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from ..loaders.stream import AudioWindow

ENVELOPE_PER_HOP = 8
"""Stretches of the waveform per hop of which the lowest and the highest sample are kept."""


class Track:
    """What is remembered of a recording while it passes.

    Args:
        window, hop: in samples; the hop is a multiple of :data:`ENVELOPE_PER_HOP`.

    Attributes:
        starts: sample at which each window begins.
        samples: seen so far.
    """

    def __init__(self, window: int, hop: int) -> None:
        self.window, self.hop = window, hop
        self.starts: list[int] = []
        self.samples = 0
        # One growing block: small ones that stay, between large ones that go, would pin the memory of these.
        self._extremes = array("f")

    @property
    def envelope(self) -> NDArray[np.float32]:
        """Lowest and highest sample of each stretch so far, float32 [E, 2]."""
        return np.array(self._extremes, np.float32).reshape(-1, 2)

    def windows(self, parts: Iterator[AudioWindow]) -> Iterator[Tensor]:
        """Yield the windows [T]; the last one ends with the recording unless it is the only one."""
        before: Tensor | None = None
        for part in parts:
            values = part.values[0]
            start = part.start
            self._remember(start, values, is_last=part.last)
            if before is not None and len(values) < self.window:
                joined = torch.cat([before[: self.hop], values])
                values = joined[-self.window :]
                start = self.samples - len(values)
            self.starts.append(start)
            yield values
            before = values

    def _remember(self, start: int, values: Tensor, *, is_last: bool) -> None:
        """Add lowest and highest sample of the new hop, or of all that is left, to the envelope."""
        self.samples = start + len(values)
        new = values if is_last else values[: self.hop]
        part = self.hop // ENVELOPE_PER_HOP
        whole = -(-len(new) // self.hop) * self.hop
        padded = F.pad(new, (0, whole - len(new)))
        blocks = padded.view(-1, part)
        extremes = torch.stack([blocks.amin(dim=1), blocks.amax(dim=1)], dim=1)
        self._extremes.frombytes(extremes.numpy().tobytes())


def batches(windows: Iterator[Tensor], size: int) -> Iterator[list[Tensor]]:
    """Yield up to ``size`` windows at a time."""
    batch: list[Tensor] = []
    for window in windows:
        batch.append(window)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def cell_scores(
    starts: NDArray[np.int64], scores: NDArray[np.float32], samples: int, sizes: tuple[int, int]
) -> NDArray[np.float32]:
    """Return the mean score [M, K] over the windows that cover at least half of each cell of one hop."""
    window, hop = sizes
    count = max(1, -(-samples // hop))
    total = np.zeros((count + 1, scores.shape[1]))
    covering = np.zeros(count + 1)
    first = np.clip((starts + hop // 2) // hop, 0, count - 1)
    stop = np.clip((starts + window + hop // 2) // hop, first + 1, count)
    np.add.at(total, first, scores)
    np.subtract.at(total, stop, scores)
    np.add.at(covering, first, 1)
    np.subtract.at(covering, stop, 1)
    means = total.cumsum(axis=0)[:count] / np.maximum(covering.cumsum(), 1)[:count, None]
    return np.clip(means, 0.0, 1.0).astype(np.float32)
