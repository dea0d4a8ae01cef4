"""Spectrograms of bounded size: the same for any blocks, channels that do not cancel, pictures of any title."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from verticlip.core.errors import InputError
from verticlip.domains.audio.tasks.separation_pictures import Sketch, save_sketches

RATE = 4000


def _sketch(wave: torch.Tensor, block: int) -> Sketch:
    sketch = Sketch(RATE, len(wave))
    for part in wave.split(block, dim=-1):
        sketch.add(part)
    return sketch


@pytest.mark.parametrize("seconds", [0.001, 0.05, 3.0, 150.0])
def test_any_blocks_give_the_same_picture_of_bounded_size(seconds: float) -> None:
    wave = torch.randn(1, max(1, round(seconds * RATE)), generator=torch.Generator().manual_seed(0))
    whole = _sketch(wave, wave.shape[-1]).power()
    parts = _sketch(wave, 7777).power()
    assert whole.shape[0] == 192
    assert whole.shape[1] <= 2048
    assert np.isfinite(whole).all()
    if seconds < 100:
        np.testing.assert_allclose(parts, whole, rtol=1e-4)
    else:
        # Columns are joined in pairs when there are many; which frames are left over depends on the blocks.
        assert abs(parts.shape[1] - whole.shape[1]) <= 1
        assert parts.mean() == pytest.approx(whole.mean(), rel=0.01)


def test_channels_of_opposite_sign_do_not_cancel() -> None:
    wave = torch.randn(1, RATE, generator=torch.Generator().manual_seed(1))
    one = _sketch(wave, 1000).power()
    two = _sketch(torch.cat([wave, -wave]), 1000).power()
    np.testing.assert_allclose(two, one, rtol=1e-4)


def test_a_name_of_stray_bytes_can_be_drawn(tmp_path: Path) -> None:
    sketch = _sketch(torch.ones(1, 100), 100)
    save_sketches([sketch, sketch], [os.fsdecode(b"caf\xe9"), "a $formula$\n"], tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"
    with pytest.raises(InputError, match="2 spectrograms and 1 titles"):
        save_sketches([sketch, sketch], ["one"], tmp_path / "b.png")
