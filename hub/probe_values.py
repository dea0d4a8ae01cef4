"""What a stored probe keeps of a large output; see :mod:`.stored_probe`."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

_KEPT_VALUES = 2048
_SUMS = 8


def thinned(tensor: Tensor) -> Tensor:
    """Return a tensor, or [n] of one with more than a few thousand values: every k-th, then sums of all.

    The sums give each value a fixed random weight and are divided by the root of their number, so that they
    are about as large as values are, rounding included, and no value can change without moving them.
    """
    flat = tensor.flatten()
    if len(flat) <= _KEPT_VALUES:
        return tensor.clone()
    step = -(-len(flat) // _KEPT_VALUES)
    while math.gcd(step, len(flat)) > 1:
        # A common divisor would leave out whole columns or channels.
        step += 1
    return torch.cat([flat[::step], _weighted_sums(flat)])


def _weighted_sums(flat: Tensor) -> Tensor:
    """Return float32 [_SUMS]: sums of all values [n] under weights that are always the same."""
    values = flat.double().numpy()
    # The stream of this generator is fixed by NumPy's policy; that of torch may change between versions.
    stream, words = np.random.PCG64(0), -(-len(values) // 4)
    sums = []
    for _ in range(_SUMS):
        numbers = stream.random_raw(words).astype("<u8").view("<i2")[: len(values)]
        # Even in [-sqrt 3, sqrt 3]: of variance 1.
        sums.append(float((numbers * values).sum()) * math.sqrt(3.0 / len(values)) / 2**15)
    return torch.tensor(sums)
