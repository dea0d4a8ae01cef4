"""Rate conversion: clean, exact in length, differentiable where it says so, equal to what it re-derives."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from verticlip.core.errors import ConfigError, InputError
from verticlip.domains.audio.loaders.resampling import METHODS, Converter, _kernel, converted_length, resample

CLEAN = ["soxr_hq", "soxr_vhq", "soxr_mq", "kaiser64"]


def sine(hz: float, rate: int, seconds: float = 1.0) -> torch.Tensor:
    time = torch.arange(round(rate * seconds), dtype=torch.float64) / rate
    return torch.sin(2 * math.pi * hz * time).float()


def level_db(waves: torch.Tensor) -> float:
    """Return the level of the middle, away from where the recording begins and ends."""
    quarter = waves.shape[-1] // 4
    return 10 * math.log10(float(waves[..., quarter:-quarter].double().square().mean()) * 2 + 1e-30)


@pytest.mark.parametrize("method", CLEAN)
@pytest.mark.parametrize(("from_rate", "to_rate"), [(44_100, 16_000), (48_000, 16_000)])
def test_a_tone_above_the_new_limit_is_gone(method, from_rate, to_rate) -> None:
    aliased = resample(
        sine(1.06 * to_rate / 2, from_rate), from_rate=from_rate, to_rate=to_rate, method=method
    )
    assert level_db(aliased) < -100


def test_the_short_filter_lets_it_through() -> None:
    aliased = resample(sine(8480.0, 44_100), from_rate=44_100, to_rate=16_000, method="torchaudio")
    assert -20 < level_db(aliased) < -5


@pytest.mark.parametrize("method", CLEAN)
@pytest.mark.parametrize(("from_rate", "to_rate"), [(44_100, 16_000), (16_000, 48_000), (22_050, 16_000)])
def test_tones_below_it_are_kept(method, from_rate, to_rate) -> None:
    for share in (0.03, 0.2, 0.4):
        hz = share * min(from_rate, to_rate)
        error = resample(sine(hz, from_rate), from_rate=from_rate, to_rate=to_rate, method=method) - sine(
            hz, to_rate
        )
        assert level_db(error) < -45


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("samples", [1, 2, 441, 1000, 12_345])
def test_lengths(method, samples) -> None:
    for from_rate, to_rate in [(44_100, 16_000), (8_000, 44_100), (16_000, 16_000), (11_025, 16_000)]:
        made = resample(torch.zeros(2, samples), from_rate=from_rate, to_rate=to_rate, method=method)
        assert made.shape == (
            2,
            converted_length(samples, from_rate=from_rate, to_rate=to_rate, method=method),
        )


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("from_rate", "to_rate"), [(44_100, 16_000), (16_000, 44_100), (48_000, 16_000), (16_000, 16_000)]
)
def test_the_blocks_do_not_matter(method, from_rate, to_rate) -> None:
    rng = np.random.default_rng(1)
    values = rng.standard_normal((from_rate, 2)).astype(np.float32)
    joined = []
    for sizes in ([len(values)], [1, 7, 5000, 1], [997] * 45):
        converter, at, made = Converter(from_rate, to_rate, channels=2, method=method), 0, []
        for size in [*sizes, len(values)]:
            made.append(converter.push(values[at : at + size], last=at + size >= len(values)))
            at += size
            if at >= len(values):
                break
        joined.append(np.concatenate(made))
    assert np.array_equal(joined[0], joined[1])
    assert np.array_equal(joined[0], joined[2])
    whole = resample(torch.from_numpy(values.T.copy()), from_rate=from_rate, to_rate=to_rate, method=method)
    assert np.abs(joined[0].T - whole.numpy()).max() < 2e-6


@pytest.mark.parametrize("method", ["kaiser64", "torchaudio"])
def test_the_sincs_have_gradients_and_take_batches(method) -> None:
    waves = torch.randn(2, 3, 400, requires_grad=True, generator=torch.Generator().manual_seed(0))
    made = resample(waves, from_rate=3, to_rate=2, method=method)
    assert made.shape == (2, 3, 267)
    made.square().sum().backward()
    assert waves.grad is not None
    assert bool(torch.isfinite(waves.grad).all())
    alone = resample(waves[1, 2].detach(), from_rate=3, to_rate=2, method=method)
    assert torch.allclose(made[1, 2], alone, atol=1e-6)


def test_the_short_filter_by_hand() -> None:
    # Two samples to one: an impulse at 6 reads the windowed sinc backwards, cut off at 0.99 of the new limit.
    waves = torch.zeros(13)
    waves[6] = 1.0
    made = resample(waves, from_rate=2, to_rate=1, method="torchaudio")
    for index, value in enumerate(made.tolist()):
        time = (6 - 2 * index) / 2 * 0.99
        window = math.cos(math.pi * time / 12) ** 2 if abs(time) < 6 else 0.0
        expected = (math.sin(math.pi * time) / (math.pi * time) if time else 1.0) * window * 0.99 / 2
        assert value == pytest.approx(expected, abs=1e-6)


def test_the_short_filter_equals_the_library() -> None:
    try:
        from torchaudio import functional
    except Exception:  # absent, or it refuses this torch with a RuntimeError
        pytest.skip("torchaudio cannot be imported here")
    waves = torch.randn(2, 3000, generator=torch.Generator().manual_seed(0))
    for from_rate, to_rate in [(32_000, 48_000), (44_100, 16_000), (16_000, 8_000)]:
        # In float32 the library computes the filter in float32 as well, 1e-5 off.
        theirs = functional.resample(waves.double(), from_rate, to_rate).float()
        assert torch.allclose(
            resample(waves, from_rate=from_rate, to_rate=to_rate, method="torchaudio"), theirs, atol=3e-6
        )
        theirs = functional.resample(
            waves.double(),
            from_rate,
            to_rate,
            lowpass_filter_width=64,
            rolloff=0.9475937167399596,
            resampling_method="sinc_interp_kaiser",
            beta=14.769656459379492,
        ).float()
        assert torch.allclose(
            resample(waves, from_rate=from_rate, to_rate=to_rate, method="kaiser64"), theirs, atol=3e-6
        )


def test_what_cannot_be_converted() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'kaiser64'"):
        resample(torch.zeros(9), from_rate=2, to_rate=1, method="kaiser")
    with pytest.raises(InputError, match="has no gradient"):
        resample(torch.zeros(9, requires_grad=True), from_rate=2, to_rate=1, method="soxr_hq")
    with pytest.raises(InputError, match="share no large divisor"):
        resample(torch.zeros(9), from_rate=44_100, to_rate=44_099, method="kaiser64")
    assert resample(torch.zeros(44_100), from_rate=44_100, to_rate=44_099, method="soxr_hq").shape == (
        44_099,
    )


@pytest.mark.parametrize("method", ["kaiser64", "torchaudio"])
def test_filters_made_while_answering_serve_training_as_well(method) -> None:
    _kernel.cache_clear()
    with torch.inference_mode():
        resample(torch.zeros(1, 100), from_rate=7, to_rate=5, method=method)
    waves = torch.randn(1, 100, requires_grad=True)
    resample(waves, from_rate=7, to_rate=5, method=method).sum().backward()
    assert waves.grad is not None
