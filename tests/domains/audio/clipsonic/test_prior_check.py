"""The self-check of priors."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F
from verticlip.core.config import ModelConfig
from verticlip.core.model import build_model
from verticlip.domains.audio.clipsonic.prior import Conditions
from verticlip.domains.audio.clipsonic.prior_check import Agreement, agreement

NETWORK = {"dim": 16, "depth": 1, "heads": 2, "head_dim": 8, "mlp_width": 32, "text_length": 6}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_a_random_prior_agrees_with_nothing():
    config = ModelConfig(
        name="test/prior",
        domain="audio",
        architecture="diffusion_prior",
        embed_dim=0,
        options={"timesteps": 20, "network": NETWORK},
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        prior = build_model(config).eval()
    texts, images = (F.normalize(torch.randn(4, 16, generator=seeded(seed)), dim=-1) for seed in (1, 2))
    found = agreement(prior, images, Conditions(texts), generator=seeded(), steps=5)
    assert found.text == pytest.approx(float((images * texts).sum(dim=1).mean()), abs=1e-6)
    assert not found.plausible


def test_what_is_plausible():
    assert Agreement(predicted=0.75, text=0.3).plausible
    assert not Agreement(predicted=0.28, text=0.3).plausible
    assert not Agreement(predicted=0.35, text=0.1).plausible
