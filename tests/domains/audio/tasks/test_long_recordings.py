"""Files longer than a model's window are embedded window by window, as if they had been held whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from verticlip import Model
from verticlip.core.answers import Failure
from verticlip.core.config import AudioProcessing, MelProcessing, ModelConfig, ProcessorConfig
from verticlip.core.errors import InputError
from verticlip.core.model import build_model
from verticlip.core.processing import Processor
from verticlip.core.types import Sample
from verticlip.domains.audio.loaders.audio import load_audio
from verticlip.domains.audio.tasks.long_recordings import LongRecording, read_long, windows_of

AUDIO = AudioProcessing(
    sampling_rate=8000, window_s=0.5, hop_s=0.3, mel=MelProcessing(n_fft=256, hop_length=160, n_mels=16)
)


@pytest.fixture(scope="module")
def model() -> Model:
    torch.manual_seed(0)
    config = ModelConfig(
        name="test/audio",
        domain="audio",
        embed_dim=8,
        towers={
            "audio": {
                "backend": "timm",
                "architecture": "resnet10t",
                "options": {"in_chans": 1, "stem_width": 8},
            }
        },
    )
    return Model(build_model(config).eval(), Processor(ProcessorConfig(audio=AUDIO)))


def write(folder: Path, seconds: float, *, rate: int = 11025, name: str = "sound.wav", seed: int = 0) -> Path:
    wave = np.random.default_rng(seed).normal(0, 0.1, (round(seconds * rate), 2))
    soundfile.write(folder / name, wave, rate, subtype="PCM_16")
    return folder / name


@pytest.mark.parametrize("seconds", [0.5, 0.51, 0.8, 1.1, 1.7, 2.345])
def test_streamed_windows_are_those_of_the_whole(model, tmp_path, seconds):
    path = write(tmp_path, seconds)
    whole = model.processor.fit_audio(load_audio(path, rate=8000))
    streamed = torch.stack(list(windows_of(model, LongRecording(path, {}))))
    assert torch.equal(streamed, whole)


def test_a_file_and_its_samples_have_the_same_embedding(model, tmp_path):
    path = write(tmp_path, 2.0)
    from_file = model.embed([path])
    sample = model.load(path)
    from_memory = model.embed([sample])
    torch.testing.assert_close(from_file.vectors, from_memory.vectors, atol=1e-6, rtol=0)
    assert from_file.metas[0]["duration_s"] == pytest.approx(2.0)
    parts = model.processor.fit_audio(sample)
    means = torch.stack([model.embed([Sample(one[None], "audio")]).vectors[0] for one in parts]).mean(dim=0)
    torch.testing.assert_close(from_file.vectors[0], means / means.norm(), atol=1e-5, rtol=0)


def test_the_same_file_twice_gives_the_same_bits(model, tmp_path):
    path = write(tmp_path, 1.3)
    assert torch.equal(model.embed([path]).vectors, model.embed([path]).vectors)


def test_a_part_of_a_file_is_read_whole(model, tmp_path):
    path = write(tmp_path, 3.0)
    windows, _ = read_long(model, path, start_s=1.0, duration_s=1.0)
    assert isinstance(windows, torch.Tensor)
    assert torch.equal(
        windows, model.processor.fit_audio(load_audio(path, rate=8000, start_s=1.0, duration_s=1.0))
    )
    assert model.embed([path], start_s=1.0, duration_s=1.0).vectors.shape == (1, 8)


def test_short_and_long_files_mix_and_a_bad_one_stops_nothing(model, tmp_path):
    files = [write(tmp_path, 0.2, name="a.wav"), tmp_path / "none.wav", write(tmp_path, 1.5, name="b.wav")]
    (tmp_path / "text.wav").write_text("no sound")
    answers = list(model.embed_each([*files, tmp_path / "text.wav"]))
    assert [isinstance(one, Failure) for one in answers] == [False, True, False, True]
    torch.testing.assert_close(answers[2].vectors, model.embed([files[2]]).vectors, atol=1e-6, rtol=0)


def test_a_recording_over_the_limit_is_refused(model, tmp_path):
    path = write(tmp_path, 2.0)
    strict = Model(model.network, model.processor, limits=model.limits.with_(seconds=1.0))
    with pytest.raises(InputError, match="seconds 2 is over the limit of 1"):
        strict.embed([path])


def test_a_part_without_towers_says_that_it_embeds_nothing():
    class Part(torch.nn.Module):
        modalities = ()

    holder = Model.__new__(Model)
    holder.network, holder.source = Part(), None
    holder.network.config = ModelConfig(name="test/vocoder", embed_dim=0, architecture="vocoder")
    with pytest.raises(
        InputError, match=r"test/vocoder embeds nothing: it is a part for other models \(vocoder\)"
    ):
        holder.embed(["x"])
