"""MixGen: pairs of a batch averaged, pictures by their pixels and captions by joining them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .errors import ConfigError


def mix_pairs(
    pixels: Tensor, captions: Sequence[str], *, share: float, generator: torch.Generator
) -> tuple[Tensor, list[str]]:
    """Return a batch in which some rows are half of themselves and half of another row.

    Rows are drawn in disjoint pairs. The first of a pair becomes the mean of both pictures and
    ``"<its caption> <the other caption>"``; the second stays as it is.

    Args:
        pixels: float [B, C, H, W], normalized or not. captions: B texts.
        share: of the rows that become mixed, 0 to 0.5; rounded down to whole pairs.
        generator: draws the pairs.

    Returns:
        New pixels [B, C, H, W] and B captions.

    Raises:
        ConfigError: ``share`` is out of range.

    Reference:
        Hao et al. 2022, MixGen: A New Multi-Modal Data Augmentation, with lambda 0.5.
    """
    if not 0 <= share <= 0.5:
        raise ConfigError(f"The share of mixed rows is between 0 and 0.5, got {share:g}.")
    pairs = int(share * len(captions))
    drawn = torch.randperm(len(captions), generator=generator)[: 2 * pairs]
    first, second = drawn[:pairs], drawn[pairs:]
    mixed = pixels.clone()
    mixed[first] = 0.5 * pixels[first] + 0.5 * pixels[second]
    joined = list(captions)
    for one, other in zip(first.tolist(), second.tolist(), strict=True):
        joined[one] = f"{captions[one]} {captions[other]}"
    return mixed, joined
