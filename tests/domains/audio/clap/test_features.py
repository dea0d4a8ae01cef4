"""Where the pieces of a long recording are taken."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from verticlip.domains.audio.clap.features import piece_starts


@pytest.mark.parametrize("places", [1, 2, 3, 4, 5, 100, 101])
def test_pieces_lie_in_the_thirds_that_numpy_makes(places):
    thirds = np.array_split(np.arange(places), 3)
    middle = [int(third[(len(third) - 1) // 2]) if len(third) else 0 for third in thirds]
    assert piece_starts(places, None) == middle
    drawn = piece_starts(places, torch.Generator().manual_seed(0))
    for start, third in zip(drawn, thirds, strict=True):
        assert start in third if len(third) else start == 0
