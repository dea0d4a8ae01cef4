from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from verticlip.core.config import parse_config
from verticlip.core.errors import ConfigError, InputError
from verticlip.domains.audio.clipsonic.noise import levels
from verticlip.domains.audio.clipsonic.options import NoiseConfig
from verticlip.domains.audio.clipsonic.sampling import (
    SAMPLERS,
    SamplingSettings,
    make_scheduler,
    sample_targets,
)

pytest.importorskip("diffusers")


class Oracle:
    """A network that knows the one clean target, and says so in its own way."""

    device = torch.device("cpu")

    def __init__(self, clean: torch.Tensor, **noise: Any) -> None:
        self.clean, self.calls = clean, 0
        self.noise = parse_config(NoiseConfig, noise, source="options")
        mel = SimpleNamespace(n_mels=clean.shape[0])
        self.options = SimpleNamespace(
            noise=self.noise,
            target=SimpleNamespace(mel=mel),
            denoiser=SimpleNamespace(multiple=4),
        )

    def drive(self, conditions: torch.Tensor, kept: torch.Tensor | None = None) -> torch.Tensor:
        return conditions if kept is None else torch.zeros_like(conditions)

    def denoiser(self, noisy: torch.Tensor, steps: torch.Tensor, driven: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        signal, noise = levels(self.noise, steps)
        clean = torch.nn.functional.pad(self.clean, (0, noisy.shape[-1] - self.clean.shape[1]))
        clean = clean.expand_as(noisy)
        found = (noisy - signal * clean) / noise
        said = {"x0": clean, "epsilon": found, "v": signal * found - noise * clean}
        return said[self.noise.prediction]


def sample(network: Oracle, sampler: str, steps: int = 12, frames: int = 10, **changes: Any) -> torch.Tensor:
    settings = SamplingSettings(steps, sampler=cast("Any", sampler), **changes)
    generators = [torch.Generator().manual_seed(row) for row in range(2)]
    return sample_targets(
        cast("Any", network), torch.zeros(2, 3), settings, frames=frames, generators=generators
    )


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("prediction", ["epsilon", "v", "x0"])
def test_every_sampler_finds_the_clean_target(sampler: str, prediction: str) -> None:
    clean = torch.rand(4, 10, generator=torch.Generator().manual_seed(9)) * 1.6 - 0.8
    found = sample(Oracle(clean, prediction=prediction), sampler)
    assert found.shape == (2, 4, 10)
    assert torch.allclose(found, clean.expand_as(found), atol=2e-2)


@pytest.mark.parametrize("sampler", ["ddim", "ddpm"])
def test_a_schedule_that_ends_in_noise_can_be_sampled(sampler: str) -> None:
    clean = torch.zeros(4, 8) + 0.3
    found = sample(Oracle(clean, zero_terminal=True), sampler)
    assert torch.allclose(found[..., :8], clean.expand(2, 4, 8), atol=2e-2)
    with pytest.raises(ConfigError, match="Use sampler 'ddim'"):
        sample(Oracle(clean, zero_terminal=True), "dpm")


def test_both_halves_of_guidance_are_one_call_a_step() -> None:
    network = Oracle(torch.zeros(4, 10))
    sample(network, "dpm", steps=7)
    assert network.calls == 7


def test_values_stay_within_the_range_of_the_target() -> None:
    found = sample(Oracle(torch.full((4, 10), 3.0)), "dpm")
    assert found.max() == 1


def test_the_scheduler_has_the_schedule_of_the_model() -> None:
    config = NoiseConfig(steps=1000)
    scheduler = make_scheduler(config, SamplingSettings(5))
    from verticlip.domains.audio.clipsonic.noise import signal_power

    assert torch.allclose(scheduler.alphas_cumprod.double(), signal_power(config), atol=1e-5)
    assert scheduler.timesteps[0] == 999
    assert len(scheduler.timesteps) == 5


def test_rows_and_generators_have_to_agree() -> None:
    with pytest.raises(InputError, match="with B generators"):
        sample_targets(
            cast("Any", Oracle(torch.zeros(4, 8))),
            torch.zeros(2, 3),
            SamplingSettings(2),
            frames=8,
            generators=[torch.Generator()],
        )
