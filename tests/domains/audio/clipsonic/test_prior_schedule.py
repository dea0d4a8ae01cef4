"""Noise levels and the steps of the samplers."""

from __future__ import annotations

import pytest
import torch
from verticlip.domains.audio.clipsonic.prior_schedule import betas, ddim_times, noise_schedule

SCHEDULES = ("cosine", "linear", "quadratic", "sigmoid")


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_noise_grows_from_nothing_to_everything(schedule):
    beta = betas(schedule, 1000)
    assert beta.dtype == torch.float64
    assert float(beta.min()) > 0
    assert float(beta.max()) <= 0.999
    table = noise_schedule(schedule, 1000)
    assert float(table.signal[0]) > 0.99
    assert float(table.signal[-1]) < 0.03
    assert torch.allclose(table.signal.square() + table.noise.square(), torch.ones(1000))


def test_every_way_back_is_the_way_there():
    table = noise_schedule("cosine", 50)
    generator = torch.Generator().manual_seed(0)
    clean, noise = torch.randn(4, 6, generator=generator), torch.randn(4, 6, generator=generator)
    times = torch.tensor([0, 10, 30, 45])
    noisy = table.noised(clean, times, noise)
    assert torch.allclose(table.x0_of_noise(noisy, times, noise), clean, atol=1e-4)
    assert torch.allclose(
        table.x0_of_velocity(noisy, times, table.velocity(clean, times, noise)), clean, atol=1e-5
    )
    assert torch.allclose(table.noise_of_x0(noisy, times, clean), noise, atol=1e-3)


def test_the_posterior_ends_at_the_clean_sample():
    table = noise_schedule("cosine", 50)
    clean, noisy = torch.ones(1, 3), torch.zeros(1, 3)
    mean, log_variance = table.posterior(clean, noisy, torch.tensor([0]))
    assert torch.allclose(mean, clean)
    assert float(log_variance) == pytest.approx(-46.0517, abs=1e-3)


def test_the_grids_of_both_releases():
    assert ddim_times(10, 100, grid="from_minus_one") == [89, 79, 69, 59, 49, 39, 29, 19, 9, -1]
    assert ddim_times(8, 100, grid="from_zero") == [88, 77, 66, 55, 44, 33, 22, 11, 0]
    assert len(ddim_times(64, 1000, grid="from_zero")) == 65


def test_tables_made_for_inference_can_be_trained_with():
    noise_schedule.cache_clear()
    with torch.inference_mode():
        noise_schedule("linear", 7)
    clean = torch.ones(1, 2, requires_grad=True)
    noise_schedule("linear", 7).noised(clean, torch.tensor([3]), torch.ones(1, 2)).sum().backward()
    assert clean.grad is not None
