"""Recordings to windows."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from verticlip.core.audio_config import AudioProcessing, MelProcessing
from verticlip.core.config import ProcessorConfig
from verticlip.core.errors import ConfigError, InputError
from verticlip.core.processing import Processor
from verticlip.core.types import Sample
from verticlip.core.waves import channel_mean, cut_windows, pad_wave, quantize, to_wave, window_starts

MEL = MelProcessing(n_fft=256, hop_length=80, n_mels=16)
CONFIG = AudioProcessing(sampling_rate=8000, window_s=0.5, hop_s=0.2, mel=MEL)


@pytest.mark.parametrize(
    ("dtype", "values", "expected"),
    [
        (np.int8, [-128, 64], [-1.0, 0.5]),
        (np.uint8, [0, 128, 192], [-1.0, 0.0, 0.5]),
        (">i2", [-32768, 16384], [-1.0, 0.5]),
        (np.int32, [-(2**31), 2**30], [-1.0, 0.5]),
        (np.float64, [-1.0, 0.5], [-1.0, 0.5]),
        (np.longdouble, [-1.0, 0.5], [-1.0, 0.5]),
        (np.float16, [-1.0, 0.5], [-1.0, 0.5]),
    ],
)
def test_every_usual_type_of_samples_is_scaled(dtype, values, expected):
    found = to_wave(np.array(values, dtype=dtype), 8000)
    assert found.dtype == torch.float32
    assert found.tolist() == expected


def test_the_mean_of_channels_does_not_depend_on_how_they_lie_or_are_cut():
    waves = torch.randn(7, 1000, generator=torch.Generator().manual_seed(0))
    whole = channel_mean(waves)
    assert torch.equal(channel_mean(waves.T.contiguous().T), whole)
    assert torch.equal(torch.cat([channel_mean(part) for part in waves.split(13, dim=1)]), whole)
    torch.testing.assert_close(whole, waves.double().mean(dim=0).float())


def test_channels_are_averaged_and_integers_scaled():
    stereo = np.stack([np.full(100, 0.5), np.full(100, -0.25)])
    assert torch.equal(to_wave(stereo, 8000), torch.full((100,), 0.125))
    assert torch.equal(to_wave(np.array([-32768, 16384], dtype=np.int16), 8000), torch.tensor([-1.0, 0.5]))
    sample = Sample(torch.ones(1, 50), "audio", {"sampling_rate": 8000})
    assert to_wave(sample, 8000).shape == (50,)


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (
            Sample(torch.ones(1, 9), "audio", {"sampling_rate": 44100}),
            "is at 44100 Hz and the model takes 8000 Hz",
        ),
        (Sample(torch.ones(3, 4, 4), "image"), "a sample of 'image'; expected audio"),
        (torch.zeros(0), "has no samples"),
        (torch.tensor([0.0, float("nan")]), "samples that are not finite"),
        (torch.zeros(2, 3, 4), r"float32 \[2, 3, 4\]; expected shape \[T\] or \[C, T\]"),
        (torch.zeros(9, dtype=torch.int64), "an array of int64; expected floats"),
        (np.zeros(9, dtype=np.complex64), "an array of complex64"),
        (np.array(["a"]), "an array of <U1"),
        (torch.zeros(9, dtype=torch.bool), "an array of bool"),
        (torch.zeros(1000, 2), r"1000 channels of 2 samples; is it \[T, C\]"),
        ("dog.wav", "str is no recording"),
    ],
)
def test_what_is_no_recording_is_named(item, message):
    with pytest.raises(InputError, match=f"clip.*{message}"):
        to_wave(item, 8000, name="clip")


@given(samples=st.integers(1, 30_000))
def test_windows_cover_every_sample_and_the_last_ends_with_the_recording(samples):
    starts = window_starts(samples, CONFIG)
    assert starts[0] == 0
    assert starts == sorted(set(starts))
    assert all(b - a <= CONFIG.hop_samples for a, b in itertools.pairwise(starts))
    if samples > CONFIG.window_samples:
        assert starts[-1] + CONFIG.window_samples == samples
    windows = cut_windows(torch.arange(samples).float(), CONFIG)
    assert windows.shape == (len(starts), CONFIG.window_samples)
    assert windows[:, 0].tolist() == starts


def test_short_recordings_are_padded_or_repeated():
    wave = torch.arange(1.0, 1501.0)
    padded = pad_wave(wave, CONFIG)
    assert torch.equal(padded[:1500], wave)
    assert not padded[1500:].any()
    repeated = pad_wave(wave, CONFIG.model_copy(update={"padding": "repeat"}))
    assert torch.equal(repeated[:3000], wave.repeat(2))
    assert not repeated[3000:].any()


def test_the_processor_gives_features_of_single_windows_and_refuses_more():
    processor = Processor(ProcessorConfig(audio=CONFIG))
    features = processor("audio", [torch.rand(100), torch.rand(4000)])["features"]
    assert features.shape == (2, 1, 51, 16)
    assert processor.fit_audio(torch.rand(10_000)).shape == (5, 4000)
    with pytest.raises(InputError, match=r"audio 1 is longer than the 0\.5 s .* Model\.embed"):
        processor("audio", [torch.rand(100), torch.rand(4001)])
    with pytest.raises(InputError, match="has no 'audio'"):
        Processor(ProcessorConfig()).fit_audio(torch.rand(9))


def test_features_can_be_standardized_by_window_or_by_constants():
    loud = Processor(ProcessorConfig(audio=CONFIG.model_copy(update={"standardize": 1e-3})))
    features = loud("audio", [torch.randn(4000)])["features"]
    assert abs(float(features.mean())) < 1e-4
    assert float(features.std()) == pytest.approx(1, abs=0.01)
    plain = Processor(ProcessorConfig(audio=CONFIG))
    moved = Processor(ProcessorConfig(audio=CONFIG.model_copy(update={"mean": -30.0, "std": 20.0})))
    wave = torch.randn(4000) * 0.1
    expected = (plain("audio", [wave])["features"] + 30) / 20
    torch.testing.assert_close(moved("audio", [wave])["features"], expected)


def test_quantizing_is_16_bits():
    wave = torch.linspace(-1.2, 1.2, 999)
    steps = quantize(wave) * 32767
    torch.testing.assert_close(steps, steps.round(), atol=1e-2, rtol=0)
    assert float(quantize(wave).abs().max()) == 1.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hop_s": 0.6}, "hop_s 0.6 leaves gaps between windows of 0.5 s"),
        ({"window_s": 0.01, "hop_s": None}, "a window of 80 samples is too short for n_fft 256"),
        ({"mel": {**MEL.model_dump(), "f_max": 5000}}, "f_max 5000 Hz is over half of 8000 Hz"),
        ({"mel": {**MEL.model_dump(), "win_length": 512}}, "win_length 512 is over n_fft 256"),
        ({"mel": {**MEL.model_dump(), "f_min": 900, "f_max": 800}}, "f_max 800 Hz is not over f_min 900 Hz"),
    ],
)
def test_settings_that_contradict_each_other(change, message):
    from verticlip.core.config import parse_config

    with pytest.raises(ConfigError, match=message):
        parse_config(AudioProcessing, {**CONFIG.model_dump(), **change}, source="processor.json")
