"""The prior as a model: sampling, candidates, guidance, and its self-check."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F
from verticlip.core.config import ModelConfig
from verticlip.core.errors import ConfigError, InputError
from verticlip.core.model import build_model
from verticlip.domains.audio.clipsonic.prior import Conditions, DiffusionPrior

NETWORK = {
    "dim": 16,
    "depth": 1,
    "heads": 2,
    "head_dim": 8,
    "mlp_width": 32,
    "text_length": 6,
    "time_steps": 20,
}


def prior(*, network=(), **options):
    config = ModelConfig(
        name="test/prior",
        domain="audio",
        architecture="diffusion_prior",
        embed_dim=0,
        options={"timesteps": 20, **options, "network": {**NETWORK, **dict(network)}},
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build_model(config).eval()


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def texts():
    return F.normalize(torch.randn(3, 16, generator=seeded(1)), dim=-1)


def test_the_room_builds_it():
    model = prior()
    assert isinstance(model, DiffusionPrior)
    assert (model.dim, model.embed_scale, model.modalities) == (16, 4.0, ())


@pytest.mark.parametrize("steps", [2, 7, 20])
def test_a_seed_is_a_sample(texts, steps):
    model = prior()
    first = model.sample(texts, steps=steps, generator=seeded())
    assert first.shape == (3, 16)
    assert torch.equal(first, model.sample(texts, steps=steps, generator=seeded()))
    assert not torch.equal(first, model.sample(texts, steps=steps, generator=seeded(9)))
    unit = model.sample(texts, steps=steps, generator=seeded(), normalize=True)
    assert torch.allclose(unit, F.normalize(first, dim=-1))


def test_the_candidate_next_to_the_text_is_kept(texts):
    model = prior()
    start = torch.randn(12, 16, generator=seeded(5))
    generator = seeded(5)
    kept = model.sample(texts, steps=6, candidates=4, generator=generator)
    after = torch.Generator()
    after.set_state(_state_after_start(5))
    drawn = model.denoise(start, Conditions(texts).repeated(4), steps=6, generator=after) / model.embed_scale
    cosines = F.cosine_similarity(drawn.view(3, 4, 16), texts[:, None], dim=-1)
    assert torch.allclose(F.cosine_similarity(kept, texts, dim=-1), cosines.amax(dim=1), atol=1e-6)


def _state_after_start(seed):
    generator = seeded(seed)
    torch.randn(12, 16, generator=generator)
    return generator.get_state()


def test_without_noise_no_generator_is_needed(texts):
    model, start = prior(), torch.ones(3, 16)
    given = {"steps": 5, "eta": 0.0}
    assert torch.equal(
        model.denoise(start, Conditions(texts), **given), model.denoise(start, Conditions(texts), **given)
    )
    for options in ({"steps": 5}, {"steps": 20, "eta": 0.0}):
        with pytest.raises(ConfigError, match="pass generator="):
            model.denoise(start, Conditions(texts), **options)


def test_guidance_moves_away_from_the_answer_without_text(texts):
    model = prior(guidance=True)
    noisy, times = torch.ones(3, 16), torch.tensor([3, 3, 3])
    with torch.inference_mode():
        plain = model.predict(noisy, times, Conditions(texts))
        none = model.predict(noisy, times, Conditions(texts), guidance=0.0)
        double = model.predict(noisy, times, Conditions(texts), guidance=2.0)
    assert torch.allclose(double - plain, plain - none, atol=1e-5)
    assert model.sample(texts, steps=4, guidance=3.0, generator=seeded()).shape == (3, 16)


def test_guidance_needs_a_prior_that_was_trained_for_it(texts):
    with pytest.raises(InputError, match="guidance 2 would push its answers away"):
        prior().sample(texts, guidance=2.0, generator=seeded(), steps=4)
    with pytest.raises(ConfigError, match="guidance needs null parameters or masked padding"):
        prior(network={"null_parameters": False}, guidance=True)


def test_half_precision_samples_the_same_embeddings(texts):
    encodings = torch.randn(3, 5, 16, generator=seeded(3))
    full = prior().sample(texts, encodings, steps=5, generator=seeded())
    half = prior().bfloat16().sample(texts, encodings, steps=5, generator=seeded())
    assert half.dtype == torch.float32
    assert F.cosine_similarity(full, half, dim=-1).min() > 0.99


def test_hidden_padding_has_the_length_of_training(texts):
    model = prior(network={"padding": "mask", "null_parameters": False})
    encodings = torch.randn(3, 2, 16, generator=seeded(3))
    padded = torch.cat([encodings, torch.zeros(3, 4, 16)], dim=1)
    given = {"steps": 5, "generator": seeded()}
    assert torch.equal(
        model.sample(texts, encodings, **given), model.sample(texts, padded, steps=5, generator=seeded())
    )


def test_results_of_unit_length(texts):
    model = prior(clip="norm", unit_result=True, unit_start=True)
    lengths = model.sample(texts, steps=5, generator=seeded()).norm(dim=-1)
    assert torch.allclose(lengths, torch.ones(3), atol=1e-5)


def test_a_prior_can_be_trained(texts):
    model = prior().train()
    images = F.normalize(torch.randn(3, 16, generator=seeded(2)), dim=-1)
    optimizer = torch.optim.Adam(model.net.parameters(), lr=1e-2)
    losses = []
    for step in range(30):
        times, noise = torch.tensor([2, 9, 15]), torch.randn(3, 16, generator=seeded(step))
        drop = torch.tensor([False, step % 5 == 0, False])
        loss = model.loss(images, Conditions(texts), times=times, noise=noise, drop_text=drop)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])


def test_inputs_that_do_not_fit(texts):
    model = prior()
    with pytest.raises(InputError, match=r"takes text embeddings \[B, 16\], got \[3, 12\]"):
        model.sample(texts[:, :12], generator=seeded(), steps=4)
    with pytest.raises(InputError, match="do not go with 3 embeddings"):
        model.sample(texts, torch.zeros(2, 6, 16), generator=seeded(), steps=4)
    for steps in (1, 21):
        with pytest.raises(ConfigError, match=f"steps must be 2 to 20, got {steps}"):
            model.sample(texts, generator=seeded(), steps=steps)
    with pytest.raises(ConfigError, match="candidates must be at least 1"):
        model.sample(texts, generator=seeded(), steps=4, candidates=0)
    with pytest.raises(ConfigError, match="20 timesteps need as many rows"):
        prior(network={"time_steps": 10})
