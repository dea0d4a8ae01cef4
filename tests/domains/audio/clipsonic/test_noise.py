from __future__ import annotations

import pytest
import torch
from verticlip.core.config import parse_config
from verticlip.core.errors import ConfigError
from verticlip.domains.audio.clipsonic.noise import add_noise, clean_of, error_scale, signal_power, wanted
from verticlip.domains.audio.clipsonic.options import NoiseConfig


def test_the_cosine_schedule_is_that_of_diffusers() -> None:
    diffusers = pytest.importorskip("diffusers")
    theirs = diffusers.DDPMScheduler(4000, beta_schedule="squaredcos_cap_v2").alphas_cumprod
    ours = signal_power(NoiseConfig(steps=4000))
    # Theirs multiplies 4000 numbers in float32.
    assert torch.allclose(ours.float(), theirs, rtol=1e-3, atol=1e-6)


def test_the_rescaled_schedule_is_that_of_diffusers_and_ends_in_noise() -> None:
    scheduling = pytest.importorskip("diffusers.schedulers.scheduling_ddim")
    plain = signal_power(NoiseConfig())
    before = torch.cat([torch.ones(1), plain[:-1]])
    betas = scheduling.rescale_zero_terminal_snr(1 - plain / before)
    ours = signal_power(NoiseConfig(zero_terminal=True))
    assert torch.allclose(ours, (1 - betas).cumprod(0), atol=1e-6)
    assert ours[-1] == 0


@pytest.mark.parametrize("prediction", ["epsilon", "v", "x0"])
def test_what_is_predicted_leads_back_to_the_clean_target(prediction: str) -> None:
    config = NoiseConfig(prediction=prediction)  # pyright: ignore[reportArgumentType]
    generator = torch.Generator().manual_seed(0)
    clean, noise = (torch.randn(4, 1, 8, 8, generator=generator) for _ in range(2))
    steps = torch.tensor([0, 10, 500, 900])
    noisy = add_noise(config, clean, noise, steps)
    found = clean_of(config, noisy, wanted(config, clean, noise, steps), steps)
    assert torch.allclose(found, clean, atol=2e-4)


@pytest.mark.parametrize("prediction", ["epsilon", "v", "x0"])
def test_the_error_scale_is_the_error_of_a_prediction_over_that_of_its_target(prediction: str) -> None:
    config = NoiseConfig(prediction=prediction)  # pyright: ignore[reportArgumentType]
    generator = torch.Generator().manual_seed(1)
    clean, noise, off = (torch.randn(3, 1, 8, 8, generator=generator) for _ in range(3))
    steps = torch.tensor([100, 500, 800])
    noisy = add_noise(config, clean, noise, steps)
    said = wanted(config, clean, noise, steps) + 0.1 * off
    error = (clean_of(config, noisy, said, steps) - clean).square().mean(dim=(1, 2, 3))
    ratio, scale = error_scale(config, steps)
    assert torch.allclose((0.1 * off).square().mean(dim=(1, 2, 3)) / error, scale, rtol=1e-3)
    power = signal_power(config)[steps]
    assert torch.allclose(ratio.double(), power / (1 - power))


def test_pure_noise_needs_v() -> None:
    with pytest.raises(ConfigError, match="zero_terminal needs prediction 'v'"):
        parse_config(NoiseConfig, {"zero_terminal": True, "prediction": "epsilon"}, source="options")
