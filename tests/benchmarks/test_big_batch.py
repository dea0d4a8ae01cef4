"""The gradient-cache benchmark compares equal gradients."""

from __future__ import annotations

import pytest
import torch
from verticlip.benchmarks import big_batch
from verticlip.core.errors import VerticlipError


def test_gradients_are_those_of_the_whole_batch(monkeypatch):
    monkeypatch.setattr(big_batch, "MICRO_BATCH", 2)
    assert big_batch.check(4)["gradient_error"] < 1e-10


def test_a_wrong_gradient_fails_the_check(monkeypatch):
    def doubled(model, batch):
        big_batch.ours(model, batch)
        model.logit_scale.grad *= 2

    monkeypatch.setitem(big_batch.VARIANTS, "ours", doubled)
    with pytest.raises(VerticlipError, match="Gradients differ by"):
        big_batch.check(4)


def test_the_model_is_seeded():
    first, second = big_batch.TwoTowers(), big_batch.TwoTowers()
    assert torch.equal(first.text.weight, second.text.weight)
