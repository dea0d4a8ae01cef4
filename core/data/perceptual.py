"""Perceptual hashes of pictures, and which of many hashes differ in few bits, without comparing all pairs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError

MAX_BITS = 11
"""Largest distance that :func:`near_hashes` looks for; beyond it, most pairs are pictures of other things."""
_SIDE, _LOW = 32, 8
_BANDS = 4
_BLOCK = 4_000_000
"""Pairs of hashes that are compared at once: 64 MB."""


def dct_hash(image: NDArray[Any]) -> int:
    """Return the 64-bit DCT hash of a grey image.

    The image is averaged down to 32 x 32; bit ``8 * row + column`` tells whether that coefficient of its
    64 lowest frequencies lies above their median. Robust to resizing, compression, brightness and contrast;
    not to cropping or turning. Mirrored pictures meet with ``dct_hash(image[:, ::-1])``. It sees no color.

    Args:
        image: float or integer [H, W].

    Raises:
        InputError: not a finite, non-empty two-dimensional array.

    Reference: Zauner 2010, "Implementation and Benchmarking of Perceptual Image Hash Functions"; the median
    over all 64 coefficients as in the imagehash package.
    """
    pixels = np.ascontiguousarray(image, dtype=np.float32)
    if pixels.ndim != 2 or not pixels.size or not np.isfinite(pixels).all():
        raise InputError(f"A grey image [H, W] of finite values is needed, got shape {np.shape(image)}.")
    from PIL import Image

    small = np.asarray(Image.fromarray(pixels).resize((_SIDE, _SIDE), Image.Resampling.BOX))
    steps, frequencies = np.arange(_SIDE), np.arange(_LOW)
    basis = np.cos(np.pi * (2 * steps + 1) * frequencies[:, None] / (2 * _SIDE))
    # Rounded, so that a flat picture has zeros and not the noise of their sums.
    low = np.round(basis @ small.astype(np.float64) @ basis.T, 6)
    bits = (low > np.median(low)).ravel()
    return int(np.packbits(bits, bitorder="little").view("<u8")[0])


def hamming(first: NDArray[np.uint64], second: NDArray[np.uint64]) -> NDArray[np.uint8]:
    """Return in how many bits hashes differ, uint8 of the arrays' common shape."""
    # numpy counts bits only since 2.0; sums of 2, 4 and 8 bits at a time do the same.
    bits = np.bitwise_xor(first, second)
    bits -= (bits >> np.uint64(1)) & np.uint64(0x5555555555555555)
    pairs = np.uint64(0x3333333333333333)
    bits = (bits & pairs) + ((bits >> np.uint64(2)) & pairs)
    bits = (bits + (bits >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return ((bits * np.uint64(0x0101010101010101)) >> np.uint64(56)).astype(np.uint8)


def near_hashes(
    hashes: NDArray[np.uint64], max_distance: int, others: NDArray[np.uint64] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Return all pairs of 64-bit hashes at most ``max_distance`` bits apart.

    Hashes are cut into four bands; two hashes within d bits differ in at most d // 4 bits in one of them, so
    only hashes that share a band, or nearly so, are compared. 200,000 random hashes at 6 bits take seconds
    and 40 million comparisons instead of 20 thousand million.

    Args:
        hashes: uint64 [N].
        max_distance: 0 to 11.
        others: uint64 [M]; compare with these instead of with each other.

    Returns:
        positions int64 [P, 2], sorted, and distances uint8 [P]. Without ``others`` the first of a pair is
        below the second; equal hashes are pairs like all others, so 1,000 equal ones are half a million.

    Raises:
        InputError: ``max_distance`` is outside [0, 11].
    """
    if not 0 <= max_distance <= MAX_BITS:
        raise InputError(f"max_distance is from 0 to {MAX_BITS} of 64 bits, got {max_distance}.")
    left = np.ascontiguousarray(hashes, dtype=np.uint64)
    right = left if others is None else np.ascontiguousarray(others, dtype=np.uint64)
    found = []
    for rows, columns in _candidates(left, right, max_distance):
        keep = hamming(left[rows], right[columns]) <= max_distance
        if others is None:
            keep &= rows < columns
        found.append(rows[keep] * len(right) + columns[keep])
    # A pair is found once for every band it shares.
    numbers = np.unique(np.concatenate(found)) if found else np.empty(0, dtype=np.int64)
    pairs = np.stack(np.divmod(numbers, max(1, len(right))), axis=1)
    return pairs, hamming(left[pairs[:, 0]], right[pairs[:, 1]])


def _candidates(
    left: NDArray[np.uint64], right: NDArray[np.uint64], distance: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield positions of pairs that agree in a band but for ``distance // 4`` bits, in bounded blocks."""
    width = 64 // _BANDS
    masks = _masks(width, distance // _BANDS)
    for band in range(_BANDS):
        shift = np.uint64(band * width)
        ones = ((left >> shift) & np.uint64(0xFFFF)).astype(np.int64)
        twos = ((right >> shift) & np.uint64(0xFFFF)).astype(np.int64)
        order = np.argsort(twos, kind="stable")
        ends = np.concatenate([[0], np.cumsum(np.bincount(twos, minlength=1 << width))])
        for mask in masks:
            keys = ones ^ mask
            counts = ends[keys + 1] - ends[keys]
            yield from _expanded(ends[keys], counts, order)


def _expanded(
    starts: NDArray[np.int64], counts: NDArray[np.int64], order: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield (row, ``order[starts[row] + n]``) for n below ``counts[row]``."""
    rows = np.flatnonzero(counts)
    if not len(rows):
        return
    totals = np.cumsum(counts[rows])
    first = 0
    while first < len(rows):
        before = totals[first - 1] if first else 0
        last = max(first + 1, int(np.searchsorted(totals, before + _BLOCK, side="right")))
        part = rows[first:last]
        repeats = counts[part]
        steps = np.arange(repeats.sum()) - np.repeat(np.cumsum(repeats) - repeats, repeats)
        yield np.repeat(part, repeats), order[np.repeat(starts[part], repeats) + steps]
        first = last


def _masks(width: int, bits: int) -> list[int]:
    """Return all numbers of ``width`` bits with at most ``bits`` of them set."""
    found = [0]
    for _ in range(bits):
        found = sorted({mask | (1 << place) for mask in found for place in range(width)} | set(found))
    return found
