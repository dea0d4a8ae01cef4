"""Transforms and the log-frequency axis."""

from __future__ import annotations

import math

import pytest
import torch
from verticlip.core.errors import InputError
from verticlip.domains.audio.clipsep.spectra import Spectra


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0)) * 0.1


def test_a_window_of_65535_samples_has_256_frames():
    spectra = Spectra()
    spectrum = spectra.stft(noise(65_535))
    assert spectrum.shape == (513, 256)
    assert spectrum.dtype == torch.complex64
    assert spectra.frames(65_535) == 256
    assert (spectra.bins, spectra.height) == (513, 256)


@pytest.mark.parametrize("samples", [256, 1000, 16_001])
def test_there_and_back_keeps_the_wave(samples):
    spectra, wave = Spectra(), noise(2, 3, samples)
    back = spectra.istft(spectra.stft(wave), length=samples)
    assert back.shape == wave.shape
    assert float((back - wave).abs().max()) < 1e-6


def test_without_a_length_whole_hops_come_back():
    spectra = Spectra()
    assert spectra.istft(spectra.stft(noise(65_535))).shape == (65_280,)


def test_silent_bins_of_a_loud_frame_stay_silent():
    # A steady level holds nothing above the lowest bins. In float32 its rounding would show at 1e-6.
    magnitude = Spectra().stft(torch.ones(16_000)).abs()
    assert float(magnitude[10:, 8:-8].max()) < 1e-10


def test_without_centring_frames_begin_at_their_samples():
    for settings in ({}, {"n_fft": 512, "hop_length": 128, "win_length": 400}):
        spectra, wave = Spectra(**settings), noise(2, 5000)
        half = spectra.n_fft // 2
        padded = torch.nn.functional.pad(wave, (half, half))
        torch.testing.assert_close(
            spectra.stft(padded, centered=False), spectra.stft(wave), atol=1e-7, rtol=0
        )


def test_the_transform_is_that_of_librosa():
    librosa = pytest.importorskip("librosa")
    wave = noise(20_000)
    for settings in ({}, {"n_fft": 512, "hop_length": 128, "win_length": 400}):
        spectra = Spectra(**settings)
        theirs = librosa.stft(
            wave.numpy(), n_fft=spectra.n_fft, hop_length=spectra.hop_length, win_length=spectra.win_length
        )
        assert float((spectra.stft(wave) - torch.from_numpy(theirs)).abs().max()) < 1e-6


def test_rows_lie_where_the_published_model_has_them():
    # A ramp over frequency, warped, reads off the frequency of every row.
    hertz = torch.linspace(0, 8000, 513)[None, None, :, None].expand(1, 1, 513, 4)
    rows = Spectra().warp(hertz)[0, 0, :, 0]
    wanted = {0: 0.0, 1: 4.80, 2: 9.67, 64: 458.8, 128: 1444.0, 192: 3559.0, 255: 8000.0}
    for row, frequency in wanted.items():
        assert float(rows[row]) == pytest.approx(frequency, rel=2e-3, abs=1e-3)


def test_a_smooth_mask_survives_both_ways():
    spectra = Spectra()
    rows = torch.linspace(0, math.pi, 256).sin()[None, None, :, None].expand(1, 2, 256, 8)
    back = spectra.warp(spectra.unwarp(rows))
    assert float((back - rows).abs().max()) < 2e-2
    assert torch.allclose(spectra.unwarp(torch.ones(1, 1, 256, 8)), torch.ones(1, 1, 513, 8))


def test_linear_frequency_leaves_out_the_highest_bin():
    spectra = Spectra(log_frequency=False)
    magnitude = noise(1, 1, 513, 4).abs()
    assert spectra.height == 512
    assert torch.equal(spectra.warp(magnitude), magnitude[:, :, :512])
    mask = spectra.unwarp(magnitude[:, :, :512])
    assert mask.shape == (1, 1, 513, 4)
    assert torch.equal(mask[:, :, 512], mask[:, :, 511])


def test_a_mixture_is_the_sum_of_its_sources():
    spectra, waves = Spectra(), noise(2, 3, 4096)
    mixture, sources = spectra.mix(waves)
    assert mixture.shape == (2, 1, 513, 17)
    assert sources.shape == (2, 3, 513, 17)
    assert torch.allclose(mixture[:, 0], spectra.stft(waves.sum(dim=1)).abs(), atol=1e-5)


def test_silence_is_the_logarithm_of_epsilon():
    spectra = Spectra(epsilon=1e-4)
    warped, log = spectra.log_magnitude(torch.zeros(1, 1, 513, 4))
    assert torch.allclose(warped, torch.full_like(warped, 1e-4), rtol=1e-4)
    assert float(log.max()) == pytest.approx(spectra.silence, rel=1e-4)
    assert not log.requires_grad


def test_another_number_of_rows_is_refused():
    with pytest.raises(InputError, match=r"magnitudes must be \[B, N, 513, T\], got \[1, 1, 512, 4\]"):
        Spectra().warp(torch.zeros(1, 1, 512, 4))
    with pytest.raises(InputError, match=r"masks must be \[B, N, 256, T\], got \[256, 4\]"):
        Spectra().unwarp(torch.zeros(256, 4))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"win_length": 2048}, "win_length 2048 is over n_fft 1024"),
        ({"hop_length": 700}, "over half of win_length"),
    ],
)
def test_transforms_that_cannot_be_undone_are_refused(settings, said):
    with pytest.raises(ValueError, match=said):
        Spectra(**settings)
