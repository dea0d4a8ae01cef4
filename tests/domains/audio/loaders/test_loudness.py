"""Loudness of the standard's own test signals, and of what it does not define."""

from __future__ import annotations

import math

import pytest
import torch
from verticlip.core.errors import ConfigError, InputError
from verticlip.domains.audio.loaders.loudness import _k_weighting, loudness, set_level


def tone(rate: int, hz: float = 997.0, seconds: float = 3.0) -> torch.Tensor:
    return torch.sin(2 * math.pi * hz * torch.arange(round(rate * seconds)) / rate)[None]


@pytest.mark.parametrize(("rate", "near"), [(16_000, 0.06), (44_100, 0.01), (48_000, 0.001), (192_000, 0.01)])
def test_the_reference_tone(rate, near) -> None:
    # BS.1770: a 0 dB sine of 997 Hz in one channel reads -3.01 LUFS; the table is for 48 kHz.
    assert loudness(tone(rate), rate) == pytest.approx(-3.01, abs=near)
    assert loudness(0.1 * tone(rate), rate) == pytest.approx(-23.01, abs=near)


def test_the_filters_are_those_of_the_table() -> None:
    shelf, cut = _k_weighting(48_000)
    assert shelf[0] == pytest.approx([1.53512485958697, -2.69169618940638, 1.19839281085285], abs=1e-12)
    assert shelf[1] == pytest.approx([1.0, -1.69065929318241, 0.73248077421585], abs=1e-12)
    assert cut[0] == pytest.approx([1.0, -2.0, 1.0], abs=1e-12)
    assert cut[1] == pytest.approx([1.0, -1.99004745483398, 0.99007225036621], abs=1e-12)


def test_two_channels_are_three_decibels_more() -> None:
    stereo = tone(48_000).repeat(2, 1)
    assert loudness(stereo, 48_000) == pytest.approx(0.0, abs=0.02)


def test_low_tones_count_less_and_high_ones_more() -> None:
    assert loudness(tone(48_000, 30.0), 48_000) < -9
    assert loudness(tone(48_000, 5000.0), 48_000) == pytest.approx(0.3, abs=0.3)


def test_pauses_do_not_count() -> None:
    signal = tone(16_000, seconds=4.0)
    paused = torch.cat([signal, torch.zeros(1, 16_000 * 6)], dim=1)
    quiet = torch.cat([signal, 0.01 * signal], dim=1)
    for waves in (paused, quiet):
        assert loudness(waves, 16_000) == pytest.approx(loudness(signal, 16_000), abs=0.35)


def test_another_implementation_agrees() -> None:
    meter = pytest.importorskip("pyloudnorm", reason="only compared where it is installed")
    noise = 0.1 * torch.randn(2, 50_000, generator=torch.Generator().manual_seed(0))
    noise[:, 20_000:26_000] *= 0.05
    for rate in (16_000, 44_100):
        theirs = meter.Meter(rate).integrated_loudness(noise.T.double().numpy())
        # It builds both filters from rounded frequencies (1500 and 38 Hz), which shows at low rates.
        assert loudness(noise, rate) == pytest.approx(theirs, abs=0.15)


def test_levels_and_limits() -> None:
    signal = 0.02 * tone(16_000)
    made, gain_db = set_level(signal, 16_000, normalize="lufs")
    assert loudness(made, 16_000) == pytest.approx(-23.0, abs=1e-3)
    assert gain_db == pytest.approx(-23.0 - loudness(signal, 16_000))
    silence = torch.zeros(1, 16_000)
    assert loudness(silence, 16_000) == -math.inf
    for kind in ("peak", "rms", "lufs"):
        assert set_level(silence, 16_000, normalize=kind) == (silence, 0.0)
    with pytest.raises(InputError, match=r"the recording has 0.1 s. Use normalize='rms'"):
        set_level(signal[:, :1600], 16_000, normalize="lufs")
    with pytest.raises(ConfigError, match="known: peak, rms, lufs"):
        set_level(signal, 16_000, normalize="loud")


@pytest.mark.parametrize("rate", [1000, 2000, 3363])
def test_rates_that_loudness_is_not_defined_at(rate) -> None:
    waves = tone(rate, 200.0)
    with pytest.raises(InputError, match=rf"not defined at {rate} Hz: it weighs tones around 1682 Hz"):
        set_level(waves, rate, normalize="lufs")
    assert float(set_level(waves, rate, normalize="peak")[0].abs().max()) == pytest.approx(1.0)


@pytest.mark.parametrize("rate", [3400, 4000, 8000])
def test_low_rates_reach_the_target(rate) -> None:
    waves, _ = set_level(0.1 * tone(rate, 300.0), rate, normalize="lufs")
    assert loudness(waves, rate) == pytest.approx(-23.0, abs=0.01)


@pytest.mark.parametrize("kind", ["peak", "rms", "lufs"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_level_that_is_no_number_is_no_silence(kind, value) -> None:
    waves = tone(16_000)
    waves[0, 100] = value
    with pytest.raises(InputError, match="no level that could be set"):
        set_level(waves, 16_000, normalize=kind)
