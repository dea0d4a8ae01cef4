"""Files longer than a model's window are embedded window by window, as if they had been held whole."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from verticlip import Model
from verticlip.core.answers import Failure
from verticlip.core.audio_config import AudioProcessing, MelProcessing
from verticlip.core.config import ModelConfig, ProcessorConfig
from verticlip.core.errors import InputError
from verticlip.core.model import build_model
from verticlip.core.processing import Processor
from verticlip.core.types import Sample
from verticlip.domains.audio.loaders.audio import load_audio, probe_audio
from verticlip.domains.audio.tasks.long_recordings import LongRecording, is_long, read_long, windows_of

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
        InputError, match=r"test/vocoder embeds nothing: it is a part for other models \(vocoder\)\.$"
    ):
        holder.embed(["x"])
    holder.network.config = ModelConfig(
        name="test/vocoder", embed_dim=0, architecture="vocoder", domain="audio"
    )
    with pytest.raises(
        InputError, match=r"\(vocoder\)\. Its tools: verticlip\.domains\.audio and `verticlip "
    ):
        holder.embed(["x"])


def stored(model: Model, **load) -> Model:
    """Return the model with loader options that belong to its weights."""
    audio = AUDIO.model_copy(update={"load": load})
    return Model(model.network, Processor(ProcessorConfig(audio=audio)))


@pytest.mark.parametrize(
    "load", [{"resample": "torchaudio"}, {"channel": 1}, {"normalize": "peak"}, {"mono": False}]
)
def test_loader_options_stored_with_the_weights_hold_for_long_files(model, tmp_path, load):
    path = write(tmp_path, 2.0)
    own = stored(model, **load)
    parts, _ = read_long(own, path)
    windows = parts if isinstance(parts, torch.Tensor) else torch.stack(list(windows_of(own, parts)))
    assert torch.equal(windows, own.processor.fit_audio(own.load(path)))
    torch.testing.assert_close(own.embed([path]).vectors, own.embed([own.load(path)]).vectors)
    assert not torch.equal(windows, model.processor.fit_audio(model.load(path)))


def test_the_callers_options_win_over_the_stored_ones(model, tmp_path):
    path = write(tmp_path, 2.0)
    own = stored(model, channel=1)
    parts, _ = read_long(own, path, channel=0)
    windows = torch.stack(list(windows_of(own, parts)))
    assert torch.equal(windows, own.processor.fit_audio(load_audio(path, rate=8000, channel=0)))


def test_the_limits_of_the_model_hold_for_the_header(model, tmp_path):
    path = write(tmp_path, 2.0)
    generous = Model(model.network, model.processor, limits=model.limits.with_(file_bytes=100))
    assert not is_long(generous, path)
    strict = Model(model.network, model.processor, limits=model.limits.with_(seconds=1.0))
    with pytest.raises(InputError, match=r"^sound\.wav: seconds 2 is over"):
        read_long(strict, path)
    with pytest.raises(InputError, match=str(path)):
        read_long(strict, path, show_paths=True)


def endless_webm(folder: Path, seconds: float) -> Path:
    """Write sound as a live stream does: Matroska without a length."""
    av = pytest.importorskip("av")
    held = io.BytesIO()

    class Pipe:
        write = staticmethod(held.write)

    with av.open(Pipe(), "w", format="webm", options={"live": "1"}) as container:
        track = container.add_stream("libopus", rate=48_000)
        wave = np.random.default_rng(0).normal(0, 0.1, (1, round(seconds * 48_000))).astype(np.float32)
        frame = av.AudioFrame.from_ndarray(wave, format="flt", layout="mono")
        frame.sample_rate = 48_000
        for packet in [*track.encode(frame), *track.encode(None)]:
            container.mux(packet)
    (folder / "live.webm").write_bytes(held.getvalue())
    return folder / "live.webm"


def test_a_file_of_unknown_length_is_read_as_a_long_one(model, tmp_path):
    path = endless_webm(tmp_path, 1.3)
    assert probe_audio(path).frames == 0
    assert is_long(model, path)
    parts, meta = read_long(model, path)
    assert isinstance(parts, LongRecording)
    assert "duration_s" not in meta
    whole = model.processor.fit_audio(load_audio(path, rate=8000))
    assert torch.equal(torch.stack(list(windows_of(model, parts))), whole)
    short = endless_webm(tmp_path, 0.2)
    assert torch.isfinite(model.embed([short]).vectors).all()


def test_labels_without_a_prompt_set_are_sounds_and_no_photos(model):
    assert model.prompts_for(["rain"]).texts("rain") == ["the sound of rain"]


def test_the_length_that_no_header_tells_is_counted_for_a_network_that_sees_wholes(
    model, tmp_path, monkeypatch
):
    path = endless_webm(tmp_path, 1.3)
    network = type(model.network)
    monkeypatch.setattr(network, "sees_whole", lambda self, modality, seconds: seconds <= 1.0)
    assert isinstance(read_long(model, path)[0], LongRecording)
    monkeypatch.setattr(network, "sees_whole", lambda self, modality, seconds: seconds <= 2.0)
    monkeypatch.setattr(network, "inputs_of_whole", lambda self, modality, value, processor: {"is": value})
    whole, meta = read_long(model, path)
    assert isinstance(whole, dict)
    assert len(whole["is"]) / 8000 == pytest.approx(meta["duration_s"]) == pytest.approx(1.3, abs=0.03)
