"""Antialiased bilinear resize: the numbers of ``torch.nn.functional.interpolate`` in less time.

Resizing is most of what loading a large native image costs. Both passes are sums of a few
neighbours; torch makes the one along rows first, over every row of the file. Here whole rows are
joined first, and the other pass sees only the few that are left.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor
from torch.nn import functional as F


def resize_bilinear(pixels: Tensor, size: tuple[int, int]) -> Tensor:
    """Return float32 [T, C, h, w] of float32 [T, C, H, W], antialiased, without aligned corners.

    Equal to ``interpolate(pixels, size, mode="bilinear", antialias=True)`` to rounding (1e-6 of the
    largest value).
    """
    height, width = pixels.shape[-2:]
    if size[0] < height and pixels.numel():
        indices, weights = _joined_rows(height, size[0])
        planes = pixels.reshape(-1, height, width)
        rows = [F.embedding_bag(indices, one, per_sample_weights=weights, mode="sum") for one in planes]
        pixels = torch.stack(rows).reshape(*pixels.shape[:-2], size[0], width)
    return F.interpolate(pixels, size=size, mode="bilinear", antialias=True, align_corners=False)


@functools.lru_cache(maxsize=64)
def _joined_rows(inputs: int, outputs: int) -> tuple[Tensor, Tensor]:
    """Return which rows make each new one and with what weight, int64 and float32 [outputs, taps].

    A triangle as wide as the step on either side of the new row's centre, summing to one. In float32
    step by step as torch does it: its rounding of the centres shows in the fourth digit.
    """
    step = torch.tensor(inputs, dtype=torch.float32) / outputs
    centers = step * (torch.arange(outputs, dtype=torch.float32) + 0.5)
    first = (centers - step + 0.5).long().clamp(min=0)
    last = (centers + step + 0.5).long().clamp(max=inputs)
    taps = torch.arange(int((last - first).max()))
    indices = first[:, None] + taps
    distances = (taps + (first[:, None] - centers[:, None]) + 0.5) * (1 / step)
    weights = (1 - distances.abs()).clamp(min=0)
    weights[indices >= last[:, None]] = 0
    return indices.clamp(max=inputs - 1), weights / weights.sum(dim=1, keepdim=True)
