"""The vocoder: sizes, bounded memory without a seam, and what it refuses."""

from __future__ import annotations

import math

import pytest
import torch
from verticlip.core.config import ModelConfig
from verticlip.core.errors import ConfigError, InputError
from verticlip.core.model import build_model
from verticlip.domains.audio.clipsonic.bigvgan import (
    BigVgan,
    Generator,
    GeneratorConfig,
    PeriodicActivation,
    lowpass,
    vocoder_mel,
)

SIZES = {
    "n_mels": 8,
    "channels": 16,
    "rates": (4, 2),
    "kernels": (8, 4),
    "block_kernels": (3, 7),
    "block_dilations": ((1, 3), (1, 5)),
}


def vocoder(*, seed=0, **sizes):
    generator = {**SIZES, **sizes}
    hop = math.prod(generator["rates"])
    mel = vocoder_mel(generator["n_mels"], n_fft=64 + hop % 2, hop_length=hop, win_length=64)
    options = {"sampling_rate": 8000, "mel": mel.model_dump(), "generator": generator}
    config = ModelConfig(
        name="test/vocoder", domain="audio", architecture="bigvgan", embed_dim=0, options=options
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build_model(config)
        for parameter in model.parameters():
            if parameter.ndim == 3:
                torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


def test_the_room_builds_it():
    model = vocoder()
    assert isinstance(model, BigVgan)
    assert (model.sampling_rate, model.mel.n_mels, model.modalities) == (8000, 8, ())


@pytest.mark.parametrize("samples", [64, 800, 803])
def test_a_waveform_comes_back_at_its_length(samples):
    model = vocoder()
    mel = model.log_mel(torch.rand(2, samples) - 0.5)
    assert mel.shape == (2, 8, samples // 8)
    waves = model.synthesize(mel)
    assert waves.shape == (2, 1, samples // 8 * 8)
    assert waves.dtype == torch.float32
    assert waves.abs().max() <= 1


@pytest.mark.parametrize(
    "sizes",
    [
        {},
        {"block": "2", "activation": "snake", "log_scale": False},
        {"rates": (3, 5), "kernels": (5, 11), "tanh": False, "final_bias": False},
    ],
)
def test_pieces_are_what_the_whole_gives(sizes):
    model = vocoder(**sizes)
    mel = torch.randn(1, 8, 150, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        whole = model.generator(mel)
    for chunk in (1, 17, 149, 150, 1000):
        assert (model.synthesize(mel, chunk_frames=chunk) - whole).abs().max() < 1e-5


def test_pieces_see_every_frame_they_depend_on():
    model = vocoder(tanh=False)
    generator, frames = model.generator, 120
    mel = torch.randn(1, 8, frames, generator=torch.Generator().manual_seed(2))
    mel[..., 60] = torch.nan
    with torch.inference_mode():
        touched = generator(mel).isnan().flatten().nonzero()
    hop, context = generator.config.frame_samples, generator.config.context_frames
    assert 60 - context <= int(touched.min()) // hop < 60 < int(touched.max()) // hop <= 60 + context


def test_a_published_size_needs_little_context():
    config = GeneratorConfig(n_mels=128, channels=1536, rates=(8, 4, 2, 2, 2, 2), kernels=(16, 8, 4, 4, 4, 4))
    assert config.frame_samples == 512
    assert 20 < config.context_frames < 32


def test_memory_does_not_grow_with_length():
    model = vocoder()
    sizes = []
    model.generator.conv_pre.register_forward_hook(lambda _, given, __: sizes.append(given[0].shape[2]))
    model.synthesize(torch.zeros(1, 8, 1000), chunk_frames=50)
    assert len(sizes) == 20
    assert max(sizes) <= 50 + 2 * model.generator.config.context_frames


def test_mels_of_any_float_type_are_taken():
    model = vocoder()
    mel = torch.randn(1, 8, 12, generator=torch.Generator().manual_seed(4))
    assert torch.equal(model.synthesize(mel.double()), model.synthesize(mel))
    assert model.bfloat16().synthesize(mel).dtype == torch.float32


def test_the_filter_passes_constants_and_cuts_the_upper_half():
    taps = lowpass(torch.device("cpu"), torch.float32).flatten()
    assert float(taps.sum()) == pytest.approx(1.0, abs=1e-6)
    assert torch.allclose(taps, taps.flip(0), atol=1e-7)
    response = torch.fft.rfft(taps, 512).abs()
    assert response[:60].min() > 0.9
    assert response[210:].max() < 0.02


def test_an_activation_keeps_length_and_does_not_alias():
    config = GeneratorConfig(**SIZES)
    activation = PeriodicActivation(1, config)
    time = torch.arange(1024)
    tone = torch.sin(2 * math.pi * 0.4 * time)[None, None]
    with torch.inference_mode():
        clean = torch.fft.rfft(activation(tone)[0, 0, 200:712] * torch.hann_window(512)).abs()
        naive = tone + torch.sin(tone).square()
        folded = torch.fft.rfft(naive[0, 0, 200:712] * torch.hann_window(512)).abs()
    # The second harmonic of 0.4 lies at 0.8 and would come back at 0.2 of the rate.
    assert clean[100:106].max() < 0.5 * folded[100:106].max()


def test_an_activation_used_for_inference_first_can_be_trained():
    lowpass.cache_clear()
    generator = Generator(GeneratorConfig(**SIZES))
    with torch.inference_mode():
        generator(torch.zeros(1, 8, 4))
    generator(torch.randn(1, 8, 4)).square().sum().backward()
    assert generator.conv_pre.weight.grad is not None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kernels": (8,)}, "2 rates need as many kernels, got 1"),
        ({"kernels": (7, 4)}, "a kernel of 7 does not upsample by exactly 4"),
        ({"block_dilations": ((1, 3),)}, "2 block_kernels need as many block_dilations, got 1"),
        ({"block_kernels": (4, 7)}, "block kernel 4 must be odd"),
        ({"channels": 2}, "channels 2 cannot be halved 2 times"),
    ],
)
def test_sizes_that_do_not_fit(change, message):
    with pytest.raises(ConfigError, match=message):
        vocoder(**change)


def test_a_mel_of_another_hop_is_refused():
    options = vocoder().options.model_dump()
    options["mel"]["hop_length"] = 16
    config = ModelConfig(name="v", domain="audio", architecture="bigvgan", embed_dim=0, options=options)
    with pytest.raises(ConfigError, match="a frame every 16 samples, the generator makes 8"):
        build_model(config)
    options["mel"]["hop_length"], options["mel"]["n_mels"] = 8, 9
    with pytest.raises(ConfigError, match="mel has 9 bands, the generator takes 8"):
        build_model(config.model_copy(update={"options": options}))


def test_mels_that_cannot_be_used():
    model = vocoder()
    for shape in [(1, 9, 4), (8, 4), (1, 8, 0)]:
        with pytest.raises(InputError, match=r"takes log-mels \[B, 8, frames\]"):
            model.synthesize(torch.zeros(shape))
    with pytest.raises(InputError, match="NaN or infinite"):
        model.synthesize(torch.full((1, 8, 4), torch.nan))
    with pytest.raises(ConfigError, match="chunk_frames must be at least 1, got 0"):
        model.synthesize(torch.zeros(1, 8, 4), chunk_frames=0)
    with pytest.raises(InputError, match="too short"):
        model.log_mel(torch.zeros(1, 20))
