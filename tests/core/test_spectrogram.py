"""Mel spectrograms against formulas and, where it is installed, librosa."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from verticlip.core.audio_config import MelProcessing
from verticlip.core.errors import InputError
from verticlip.core.spectrogram import frames_of, hz_to_mel, log_mel, mel_filters, mel_to_hz

CLAP = MelProcessing(n_fft=1024, hop_length=480, n_mels=64, f_min=50, f_max=14000)
VOCODER = MelProcessing(
    n_fft=1024,
    hop_length=256,
    n_mels=80,
    padding="half_reflect",
    power=1,
    magnitude_offset=1e-9,
    log="ln",
    floor=1e-5,
)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 0.1


@pytest.mark.parametrize("scale", ["slaney", "htk"])
def test_the_mel_scale_and_its_inverse_agree(scale):
    hz = torch.tensor([0.0, 10.0, 999.0, 1000.0, 1001.0, 8000.0, 22050.0])
    torch.testing.assert_close(mel_to_hz(hz_to_mel(hz, scale=scale), scale=scale), hz.double())
    assert float(hz_to_mel(torch.tensor([1000.0]), scale=scale)) == pytest.approx(
        15.0 if scale == "slaney" else 999.985, abs=1e-2
    )


def test_a_filter_has_unit_area_with_slaney_norm_and_unit_height_without():
    config = MelProcessing(n_fft=4096, hop_length=480, n_mels=20)
    step = 16000 / 4096
    area = mel_filters(config, 16000).double().sum(dim=1) * step
    torch.testing.assert_close(area[5:], torch.ones(15, dtype=torch.float64), rtol=0.01, atol=0)
    plain = mel_filters(config.model_copy(update={"norm": "none"}), 16000)
    assert 0.9 < float(plain.max()) <= 1.0


@pytest.mark.parametrize(
    "config", [CLAP, VOCODER, CLAP.model_copy(update={"scale": "htk", "norm": "none", "padding": "constant"})]
)
def test_equals_librosa(config):
    librosa = pytest.importorskip("librosa")
    rate, wave = 48000, noise(24000)
    signal = wave.numpy()
    options = {"pad_mode": "constant" if config.padding == "constant" else "reflect", "center": True}
    if config.padding == "half_reflect":
        half = (config.n_fft - config.hop_length) // 2
        signal, options = np.pad(signal, half, mode="reflect"), {"center": False}
    spectrum = np.abs(librosa.stft(signal, n_fft=config.n_fft, hop_length=config.hop_length, **options)) ** 2
    spectrum = np.sqrt(spectrum + config.magnitude_offset) if config.power == 1 else spectrum
    filters = librosa.filters.mel(
        sr=rate,
        n_fft=config.n_fft,
        n_mels=config.n_mels,
        fmin=config.f_min,
        fmax=config.f_max,
        htk=config.scale == "htk",
        norm="slaney" if config.norm == "slaney" else None,
    )
    np.testing.assert_allclose(mel_filters(config, rate).numpy(), filters, atol=1e-6 * filters.max())
    expected = np.maximum(filters @ spectrum, config.floor)
    expected = np.log(expected) if config.log == "ln" else 10 * np.log10(expected)
    np.testing.assert_allclose(log_mel(wave, config, rate).numpy(), expected.T, atol=2e-4)


def test_batches_of_any_size_give_the_same_rows():
    waves = noise(9, 4800)
    whole = log_mel(waves, CLAP, 48000)
    assert whole.shape == (9, frames_of(4800, CLAP), 64)
    for row in (0, 5, 8):
        torch.testing.assert_close(log_mel(waves[row], CLAP, 48000), whole[row], atol=1e-5, rtol=0)


@settings(max_examples=25, deadline=None)
@given(samples=st.integers(600, 5000), padding=st.sampled_from(["reflect", "constant", "half_reflect"]))
def test_frames_are_counted_without_a_transform(samples, padding):
    config = MelProcessing(n_fft=512, hop_length=128, n_mels=8, padding=padding)
    assert log_mel(noise(samples), config, 16000).shape == (frames_of(samples, config), 8)


def test_silence_is_the_floor_and_a_tone_peaks_in_its_filter():
    assert torch.all(log_mel(torch.zeros(2400), CLAP, 48000) == -100.0)
    tone = torch.sin(2 * math.pi * 3000 * torch.arange(48000) / 48000)
    centre = mel_to_hz(torch.linspace(*[float(hz_to_mel(torch.tensor([f]))) for f in (50.0, 14000.0)], 66))[
        1:-1
    ]
    peak = int(log_mel(tone, CLAP, 48000).mean(dim=0).argmax())
    assert abs(float(centre[peak]) - 3000) < 200


def test_a_recording_too_short_to_reflect_is_refused():
    with pytest.raises(InputError, match=r"100 samples is too short: reflecting needs more than 512"):
        log_mel(torch.zeros(100), CLAP, 48000)


def test_filters_made_for_inference_first_can_be_trained_with():
    config = MelProcessing(n_fft=96, hop_length=32, n_mels=5)
    with torch.inference_mode():
        log_mel(torch.zeros(960), config, 8000)
    wave = noise(960).requires_grad_()
    log_mel(wave, config, 8000).sum().backward()
    assert torch.isfinite(wave.grad).all()


def test_the_bins_of_an_odd_transform_end_below_half_the_rate():
    filters = mel_filters(MelProcessing(n_fft=255, hop_length=64, n_mels=3, norm="none"), 8000)
    # Triangles over bins at k / 255 of the rate: the peak lies at the bin next to its centre.
    centre = mel_to_hz(torch.linspace(0.0, float(hz_to_mel(torch.tensor([4000.0]))), 5))[1:-1]
    bins = torch.arange(128) * 8000 / 255
    assert torch.equal(filters.argmax(dim=1), (bins[None] - centre[:, None].float()).abs().argmin(dim=1))
