"""What share of every pixel a polygon covers, exactly, for many polygons at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Rings:
    """Outlines of N polygons in pixels: x is the column, y the row, both of pixel corners.

    Attributes:
        points: float64 [V, 2], vertices of all outlines, each closed: its first vertex stands last as well.
        owner: int64 [V], the polygon of each vertex, ascending.
    """

    points: Floats
    owner: Ints


def pixel_windows(rings: Rings, count: int, width: int, height: int) -> Ints:
    """Return int64 [N, 4] (column, row, width, height): pixels of a raster that each polygon may touch.

    Polygons outside of the raster, and those without vertices, get a width and height of 0.
    """
    low: Floats = np.full((count, 2), np.inf)
    high: Floats = np.full((count, 2), -np.inf)
    np.minimum.at(low, rings.owner, rings.points)
    np.maximum.at(high, rings.owner, rings.points)
    seen = np.asarray(np.isfinite(low).all(axis=1) & np.isfinite(high).all(axis=1))
    size = np.array([width, height])
    first = np.clip(np.floor(np.where(seen[:, None], low, 0)), 0, size).astype(np.int64)
    last = np.clip(np.ceil(np.where(seen[:, None], high, 0)), 0, size).astype(np.int64)
    extent = np.maximum(last - first, 0)
    extent[(extent == 0).any(axis=1)] = 0
    return np.concatenate([first, extent], axis=1)


def covered_shares(rings: Rings, polygons: Ints, windows: Ints) -> Floats:
    """Return the covered share of every pixel of some windows, 0 to 1, one window after the other by rows.

    Every edge is cut where it leaves a pixel. A piece covers, in its own pixel, the part to its right, and in
    the pixels to the right of that the whole of its height; sums along each row of these parts, signed by the
    direction of the piece, are the shares. The answer is exact up to rounding, whatever the sizes of polygons
    and pixels.

    Args:
        rings: outlines. polygons: int64 [P], which outline each window looks at.
        windows: int64 [P, 4] (column, row, width, height).

    Returns:
        float64 [sum of width * height].
    """
    # One more column per row takes what lies to the right of the window; with it every row sums to zero, so
    # that one running sum serves all rows.
    lengths = (windows[:, 2] + 1) * windows[:, 3]
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    sums = np.zeros(int(offsets[-1]))
    piece, start, end = _pieces(rings, polygons, windows)
    middle = (start + end) / 2
    rise = end[:, 1] - start[:, 1]
    column, row, width, height = windows[piece].T
    x = np.clip(np.floor(middle[:, 0]) - column, -1, width).astype(np.int64)
    y = (np.floor(middle[:, 1]) - row).astype(np.int64)
    inside = (y >= 0) & (y < height)
    # To the left of the window: the whole height counts from the first column on.
    share = np.where(x < 0, 1.0, np.where(x >= width, 1.0, 1.0 - (middle[:, 0] - np.floor(middle[:, 0]))))
    cell = offsets[piece] + y * (width + 1) + np.maximum(x, 0)
    sums += np.bincount(cell[inside], (rise * share)[inside], minlength=len(sums))
    beyond = inside & (x >= 0) & (x < width)
    sums += np.bincount(cell[beyond] + 1, (rise * (1 - share))[beyond], minlength=len(sums))
    shares = np.abs(np.cumsum(sums))
    last = _last_columns(windows, offsets, len(sums))
    return np.clip(shares[~last], 0.0, 1.0)


def _pieces(rings: Rings, polygons: Ints, windows: Ints) -> tuple[Ints, Floats, Floats]:
    """Return (window, start, end) of all edges cut at pixel borders."""
    same = rings.owner[1:] == rings.owner[:-1]
    edges = np.flatnonzero(same)
    owner = rings.owner[edges]
    # Every window takes the edges of its polygon; one polygon may have several windows.
    first, last = np.searchsorted(owner, polygons, "left"), np.searchsorted(owner, polygons, "right")
    counts = last - first
    window = np.repeat(np.arange(len(polygons)), counts)
    edge = edges[
        np.arange(len(window)) - np.repeat(np.cumsum(counts) - counts, counts) + np.repeat(first, counts)
    ]
    start, end = rings.points[edge], rings.points[edge + 1]
    # Edges above or below of a window say nothing about it.
    top, bottom = windows[window, 1], windows[window, 1] + windows[window, 3]
    near = (np.maximum(start[:, 1], end[:, 1]) > top) & (np.minimum(start[:, 1], end[:, 1]) < bottom)
    window, start, end = window[near], start[near], end[near]
    cuts = [np.zeros(len(window)), np.ones(len(window))]
    owners = [np.arange(len(window))] * 2
    for axis in (0, 1):
        index, place = _crossings(start[:, axis], end[:, axis], windows[window], axis)
        owners.append(index)
        cuts.append((place - start[index, axis]) / (end[index, axis] - start[index, axis]))
    share, index = np.clip(np.concatenate(cuts), 0.0, 1.0), np.concatenate(owners)
    order = np.lexsort((share, index))
    share, index = share[order], index[order]
    points = start[index] + share[:, None] * (end - start)[index]
    joined = index[1:] == index[:-1]
    return window[index[:-1][joined]], points[:-1][joined], points[1:][joined]


def _crossings(start: Floats, end: Floats, windows: Ints, axis: int) -> tuple[Ints, Floats]:
    """Return (edge, place) where edges cross whole numbers on an axis, within the window and its borders."""
    low = np.maximum(np.floor(np.minimum(start, end)) + 1, windows[:, axis])
    high = np.minimum(np.ceil(np.maximum(start, end)) - 1, windows[:, axis] + windows[:, 2 + axis])
    counts = np.maximum(high - low + 1, 0).astype(np.int64)
    index = np.repeat(np.arange(len(start)), counts)
    step = np.arange(len(index)) - np.repeat(np.cumsum(counts) - counts, counts)
    return index, (low[index] + step).astype(np.float64)


def _last_columns(windows: Ints, offsets: Ints, length: int) -> NDArray[np.bool_]:
    """Return which cells are the additional column of their row."""
    rows = np.repeat(windows[:, 2] + 1, windows[:, 3])
    starts = np.cumsum(rows)
    found = np.zeros(length, dtype=bool)
    found[starts[starts > 0] - 1] = True
    return found
