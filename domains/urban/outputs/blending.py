"""Overlapping predictions joined into one raster, from north to south, with bounded memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ....core.errors import ConfigError, nearest

Window = Literal["hann", "linear", "flat"]
Sink = Callable[[int, NDArray[np.float32]], None]
"""Takes the first row and float32 [bands, rows, width], NaN where nothing was predicted."""


def blend_window(height: int, width: int, kind: Window = "hann") -> NDArray[np.float32]:
    """Return the weights float32 [height, width] of a tile: full in its middle, small at its edges, never 0.

    Raises:
        ConfigError: unknown kind.
    """
    if kind not in get_args(Window):
        raise ConfigError(
            f"The window {kind!r} is none of hann, linear, flat.{nearest(kind, get_args(Window))}"
        )

    def profile(count: int) -> NDArray[np.float64]:
        position = (np.arange(count) + 0.5) / count
        if kind == "hann":
            return np.sin(np.pi * position) ** 2
        return np.minimum(position, 1 - position) * 2 if kind == "linear" else np.ones(count)

    return np.outer(profile(height), profile(width)).astype(np.float32)


class RowBlender:
    """Weighted mean of overlapping tiles; rows that no later tile can reach are handed on at once.

    Memory holds the rows from the last finished block to the lower edge of the lowest tile so far, whatever
    the height of the raster.

    Args:
        sink: gets finished rows, in order, each once; all of them after :meth:`close`.
        width, height: of the raster.
        bands: values per pixel.
        block_rows: rows are handed on in multiples of this.

    Example:
        >>> import numpy as np
        >>> done = []
        >>> blender = RowBlender(lambda row, values: done.append(values), width=3, height=1)
        >>> blender.add(np.ones((1, 1, 2)), 0, 0)
        >>> blender.add(3 * np.ones((1, 1, 2)), 0, 1)
        >>> blender.close()
        >>> np.concatenate(done, axis=1).tolist()
        [[[1.0, 2.0, 3.0]]]
    """

    def __init__(self, sink: Sink, *, width: int, height: int, bands: int = 1, block_rows: int = 256) -> None:
        if min(width, height, bands, block_rows) < 1:
            raise ConfigError(
                f"A raster of {width} x {height} pixels and {bands} bands has no room for anything."
            )
        self._sink, self.width, self.height = sink, width, height
        self._block = block_rows
        self._top = 0
        self._sums = np.zeros((bands, 0, width), np.float32)
        self._weights = np.zeros((0, width), np.float32)

    @property
    def rows_in_memory(self) -> int:
        """Rows that are held at the moment."""
        return len(self._weights)

    def add(
        self,
        values: NDArray[np.floating],
        row: int,
        column: int,
        *,
        weights: NDArray[np.floating] | None = None,
    ) -> None:
        """Add a tile; what sticks out of the raster is cut off, and what is not finite does not count.

        Args:
            values: float [bands, h, w].
            row, column: pixel of its upper left corner; not above that of the tile before.
            weights: float [h, w], as of :func:`blend_window`; None weighs all alike.

        Raises:
            ConfigError: the tile reaches rows that are finished, or has another number of bands.
        """
        bands, height, width = values.shape
        if bands != len(self._sums):
            raise ConfigError(f"The tile has {bands} bands; the raster has {len(self._sums)}.")
        first, last = max(row, 0), min(row + height, self.height)
        left, right = max(column, 0), min(column + width, self.width)
        if first >= last or left >= right:
            return
        if first < self._top:
            raise ConfigError(
                f"A tile begins in row {first}, and the rows above {self._top} are finished. Add tiles from "
                "north to south."
            )
        self.finish_above(first)
        self._grow(last)
        part = values[:, first - row : last - row, left - column : right - column]
        weight = np.ones((height, width), np.float32) if weights is None else weights
        weight = weight[first - row : last - row, left - column : right - column]
        seen = np.isfinite(part).all(axis=0)
        weight = np.where(seen, weight, 0).astype(np.float32)
        where = slice(first - self._top, last - self._top), slice(left, right)
        self._sums[(slice(None), *where)] += np.where(seen, part, 0).astype(np.float32) * weight
        self._weights[where] += weight

    def finish_above(self, row: int) -> None:
        """Hand on the rows above ``row``, in whole blocks."""
        whole = min(row, self.height) // self._block * self._block
        if whole > self._top:
            self._hand_on(whole)

    def close(self) -> None:
        """Hand on all rows that are left."""
        while self._top < self.height:
            self._hand_on(min(self._top + self._block, self.height))

    def _hand_on(self, end: int) -> None:
        while self._top < end:
            stop = min((self._top // self._block + 1) * self._block, end)
            self._grow(stop)
            count = stop - self._top
            weights = self._weights[:count]
            with np.errstate(invalid="ignore", divide="ignore"):
                rows = np.where(weights > 0, self._sums[:, :count] / weights, np.nan).astype(np.float32)
            self._sink(self._top, rows)
            self._sums, self._weights = self._sums[:, count:].copy(), self._weights[count:].copy()
            self._top = stop

    def _grow(self, end: int) -> None:
        more = end - self._top - len(self._weights)
        if more > 0:
            self._sums = np.pad(self._sums, ((0, 0), (0, more), (0, 0)))
            self._weights = np.pad(self._weights, ((0, more), (0, 0)))
