"""How sure a separator is, on channels that would cancel when they are averaged."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from verticlip.domains.audio.tasks.separation import separate
from verticlip.domains.audio.tasks.separation_measures import Measures

sys.path.insert(0, str(Path(__file__).parents[1] / "clipsep"))

import make_separator


def test_channels_of_opposite_sign_are_separated_as_one_channel_is():
    model = make_separator.model()
    wave = make_separator.wave("low", 2.0) + make_separator.wave("hiss", 2.0)
    one = separate(model, wave, ["low", "hiss"], array_rate=make_separator.RATE)
    two = separate(model, np.stack([wave, -wave]), ["low", "hiss"], array_rate=make_separator.RATE)
    torch.testing.assert_close(two.targets[:, 0], one.targets[:, 0], atol=1e-5, rtol=0)
    torch.testing.assert_close(two.targets[:, 1], -one.targets[:, 0], atol=1e-5, rtol=0)
    for first, second in zip(one.answers, two.answers, strict=True):
        assert first.verdict == second.verdict != "silent"
        assert second.energy_db == pytest.approx(first.energy_db, abs=0.02)
        assert second.confidence == pytest.approx(first.confidence, abs=0.01)


def test_the_loudest_window_is_one_of_the_loudest_channel():
    generator = torch.Generator().manual_seed(0)
    estimates = 0.1 * torch.randn(2, 3, 40, generator=generator)
    estimates[0, 1, 16:24] += 2.0
    estimates[1, 2, 36:] += 2.0
    measures = Measures(2, 8, channels=3)
    for start in range(0, 40, 5):
        measures.add(estimates.sum(dim=0)[:, start : start + 5], estimates[..., start : start + 5])
    assert torch.equal(measures.loudest[0, 0], estimates[0, 1, 16:24])
    assert torch.equal(measures.loudest[1, 0], estimates[1, 2, 32:40])


def test_energies_are_those_of_all_channels():
    mixture = torch.tensor([[1.0, 0.0], [0.0, -1.0]])
    measures = Measures(1, 0, channels=2)
    measures.add(mixture, 0.5 * mixture[None])
    answer = measures.answers(["x"], [None])[0]
    assert answer.energy_db == pytest.approx(-6.02)
    assert answer.certainty == 0.5
