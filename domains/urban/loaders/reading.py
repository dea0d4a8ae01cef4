"""Pixels of one open file: windows that may stick out, masks, smaller copies."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .header import Header
from .masks import MaskRule, valid_pixels

Window = tuple[float, float, float, float]
"""(column, row, width, height) in pixels; fractions resample."""
_ROUNDING = 1e-6


@dataclass(frozen=True)
class Channels:
    """Bands of one file that are read together.

    Attributes:
        header: of the file.
        indexes: band numbers from 1.
        rule: how missing pixels are marked.
        column: of the file's left edge in the raster it is part of.
        row: of its upper edge.
    """

    header: Header
    indexes: tuple[int, ...]
    rule: MaskRule
    column: int = 0
    row: int = 0


@dataclass(frozen=True)
class Pixels:
    """What was read.

    Attributes:
        values: [C, H, W] as stored.
        valid: bool [H, W], True where a pixel holds data.
        complete: all are known to be valid.
    """

    values: NDArray[Any]
    valid: NDArray[np.bool_]
    complete: bool = False


@dataclass(frozen=True)
class _Axis:
    """One axis of a window cut to the file: the part of the file, and the output cells it fills.

    ``low`` to ``high`` in pixels of the file give the cells ``first`` to ``last``; cells up to ``begin`` and
    ``end`` lie partly outside and repeat their neighbor.
    """

    low: float
    high: float
    first: int
    last: int
    begin: int
    end: int


def _cut(start: float, length: float, limit: int, cells: int) -> _Axis | None:
    low, high = max(start, 0.0), min(start + length, float(limit))
    if low >= high:
        return None
    if low == start and high == start + length:
        return _Axis(low, high, 0, cells, 0, cells)
    step = length / cells
    near, far = (low - start) / step, (high - start) / step
    begin, end = math.ceil(near - 0.5 - _ROUNDING), math.ceil(far - 0.5 - _ROUNDING)
    first, last = math.ceil(near - _ROUNDING), math.floor(far + _ROUNDING)
    if begin >= end:
        return None
    if first >= last:
        # The file covers no cell wholly: what there is of it fills those whose center it holds.
        return _Axis(low, high, begin, end, begin, end)
    return _Axis(max(start + first * step, low), min(start + last * step, high), first, last, begin, end)


def read_pixels(
    dataset: Any, channels: Channels, *, window: Window, size: tuple[int, int], resampling: str
) -> Pixels | None:
    """Return a window of one file brought to ``size``, or None when the file holds no pixel of it.

    Cells outside of the file are 0 and not valid. No pixel outside of the window is decoded but for the
    blocks it cuts.

    Args:
        dataset: open rasterio dataset of the file, or a warped view of it.
        channels: which bands, and how missing pixels are marked.
        window: in pixels of the dataset.
        size: (rows, columns) of the output.
        resampling: a word of :data:`.options.Resampling`, used where the window is not read as stored.
    """
    column, row, width, height = window
    if column >= 0 and row >= 0 and column + width <= dataset.width and row + height <= dataset.height:
        return _read(dataset, channels, (column, row, column + width, row + height), size, resampling)
    across = _cut(column, width, dataset.width, size[1])
    down = _cut(row, height, dataset.height, size[0])
    if across is None or down is None:
        return None
    shape = (down.last - down.first, across.last - across.first)
    found = _read(dataset, channels, (across.low, down.low, across.high, down.high), shape, resampling)
    if shape == size:
        return found
    values = np.zeros((found.values.shape[0], *size), found.values.dtype)
    valid = np.zeros(size, np.bool_)
    place = np.s_[down.begin : down.end, across.begin : across.end]
    margins = (
        (down.first - down.begin, down.end - down.last),
        (across.first - across.begin, across.end - across.last),
    )
    if any(map(any, margins)):
        values[(slice(None), *place)] = np.pad(found.values, ((0, 0), *margins), mode="edge")
        valid[place] = np.pad(found.valid, margins, mode="edge")
    else:
        values[(slice(None), *place)], valid[place] = found.values, found.valid
    return Pixels(values, valid)


def _read(
    dataset: Any,
    channels: Channels,
    box: tuple[float, float, float, float],
    shape: tuple[int, int],
    resampling: str,
) -> Pixels:
    """Return the pixels of a box (left, top, right, bottom) inside of the file."""
    from rasterio.enums import Resampling
    from rasterio.windows import Window as PixelWindow

    left, top, right, bottom = box
    width, height = right - left, bottom - top
    as_stored = shape == (height, width) and left == int(left) and top == int(top)
    window = PixelWindow(left, top, width, height)  # pyright: ignore[reportCallIssue]
    options: dict[str, Any] = {"window": window}
    rule, indexes = channels.rule, list(channels.indexes)
    if rule.alpha:
        indexes.append(rule.alpha)
    if not as_stored:
        options |= {"out_shape": (len(indexes), *shape), "resampling": Resampling[resampling]}
    values = dataset.read(indexes, **options)
    alpha = dataset_mask = None
    if rule.alpha:
        values, alpha = values[:-1], values[-1]
    elif rule.dataset_mask:
        if not as_stored:
            options["out_shape"] = shape
        dataset_mask = dataset.read_masks(channels.indexes[0], **options)
    colored = bool(channels.header.palette) and channels.indexes == (1,)
    if rule.always_valid and not colored:
        return Pixels(values, np.ones(shape, np.bool_), complete=True)
    valid = valid_pixels(values, rule, alpha=alpha, dataset_mask=dataset_mask)
    return _colored(values[0], valid, channels.header) if colored else Pixels(values, valid)


def _colored(numbers: NDArray[Any], valid: NDArray[np.bool_], header: Header) -> Pixels:
    """Return the colors that numbers of a palette stand for; a number beyond its end stands for none."""
    table = np.asarray([*header.palette, (0, 0, 0, 0)], np.uint8)
    colors = np.moveaxis(table[np.minimum(numbers.astype(np.intp), len(table) - 1)], -1, 0)
    return Pixels(np.ascontiguousarray(colors[:3]), valid & (colors[3] != 0))
