"""Our CLAP gives what transformers gives, for recordings and for texts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from verticlip.core.checkpoint import load_strict
from verticlip.core.config import ModelConfig
from verticlip.core.conversion import build_empty
from verticlip.core.errors import ConfigError, InputError
from verticlip.core.model import build_model
from verticlip.core.processing import Processor
from verticlip.domains.audio.clap.convert import convert
from verticlip.domains.audio.clap.features import fused_features

TEXTS = ["rain on a tin roof", "a dog", "This is a sound of a dog barking"]


def built(files):
    done = convert("audio/clap", files, {})
    network = build_empty(done.config)
    load_strict(network, done.state, source="test")
    return network.eval(), Processor(done.processor, done.tokenizer_json)


def recordings(*lengths):
    return [np.random.default_rng(length).uniform(-0.5, 0.5, length).astype("float32") for length in lengths]


@pytest.mark.parametrize("fusion", [False, True])
def test_recordings(clap_files, fusion):
    files, reference, extractor = clap_files(fusion=fusion)
    network, processor = built(files)
    assert network.fuses == fusion
    waves = recordings(8000, 3000, 777)
    theirs = extractor(waves, sampling_rate=8000, return_tensors="pt")["input_features"]
    ours = processor("audio", waves)
    assert (ours["features"] - theirs[:, :1]).abs().max() < 1e-4
    with torch.inference_mode():
        short = torch.zeros(3, 1, dtype=torch.bool)
        expected = reference.get_audio_features(theirs.float(), is_longer=short).pooler_output
        assert (network.encode("audio", ours) - expected).abs().max() < 1e-5
        states = network.encode_tokens("audio", ours)
        maps = reference.audio_model(theirs.float(), is_longer=short).last_hidden_state
    assert (states.tokens - maps.flatten(2).transpose(1, 2)).abs().max() < 1e-5


def test_texts_and_both_scales(clap_files):
    import transformers

    files, reference, _ = clap_files(fusion=False)
    network, processor = built(files)
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(files["tokenizer"]), pad_token="<pad>"
    )
    theirs = tokenizer(TEXTS, padding=True, return_tensors="pt")
    ours = processor("text", TEXTS)
    assert torch.equal(ours["input_ids"], theirs["input_ids"])
    with torch.inference_mode():
        expected = reference.get_text_features(
            theirs["input_ids"], attention_mask=theirs["attention_mask"]
        ).pooler_output
        assert (network.encode("text", ours) - expected).abs().max() < 1e-5
    assert network.logit_scale.item() == reference.logit_scale_a.item()
    assert network.logit_scale_text.item() == reference.logit_scale_t.item()


@pytest.mark.parametrize("length", [8001, 8039, 8040, 8100, 30_000])
def test_long_recordings_with_fusion(clap_files, monkeypatch, length):
    files, reference, extractor = clap_files(fusion=True)
    network, processor = built(files)
    (wave,) = recordings(length)
    # The middle of each third, as ours.
    monkeypatch.setattr(np.random, "choice", lambda places: places[(len(places) - 1) // 2])
    theirs = extractor(wave, sampling_rate=8000, return_tensors="pt")
    ours = fused_features(torch.from_numpy(wave), processor.config.audio)
    assert (ours["features"] - theirs["input_features"]).abs().max() < 1e-4
    longer = length >= 8040
    assert bool(ours["is_longer"]) == longer
    with torch.inference_mode():
        marked = torch.tensor([[longer]])
        expected = reference.get_audio_features(theirs["input_features"].float(), is_longer=marked)
        assert (network.encode("audio", ours) - expected.pooler_output).abs().max() < 1e-5
        plain = network.encode("audio", {"features": ours["features"]})
    assert torch.equal(plain, network.encode("audio", ours).detach()) == (not longer)


def test_short_recordings_stand_in_every_channel(clap_files):
    files, _, _ = clap_files(fusion=True)
    _, processor = built(files)
    (wave,) = recordings(3000)
    fused = fused_features(torch.from_numpy(wave), processor.config.audio)
    assert fused["features"].shape == (1, 4, 201, 64)
    assert torch.equal(fused["features"][:, 3:], processor("audio", [wave])["features"])
    assert not fused["is_longer"].any()


def test_random_pieces_come_from_a_seed(clap_files):
    files, _, _ = clap_files(fusion=True)
    _, processor = built(files)
    (wave,) = recordings(40_000)

    def pieces(seed):
        generator = torch.Generator().manual_seed(seed)
        return fused_features(torch.from_numpy(wave), processor.config.audio, generator=generator)["features"]

    assert torch.equal(pieces(1), pieces(1))
    assert not torch.equal(pieces(1), pieces(2))


def test_a_window_cannot_be_fused(clap_files):
    files, _, _ = clap_files(fusion=True)
    network, processor = built(files)
    inputs = processor("audio", recordings(8000))
    with pytest.raises(InputError, match="fused from 4 spectrograms, and features have 1 channels"):
        network.encode("audio", {**inputs, "is_longer": torch.tensor([[True]])})


def test_other_towers_are_refused(clap_files):
    files, _, _ = clap_files(fusion=False)
    config = convert("audio/clap", files, {}).config.model_dump()
    bert = {"backend": "bert", "vocab_size": 9, "width": 8, "layers": 1, "heads": 2, "mlp_width": 8}
    for change, message in (
        ({"towers": {**config["towers"], "text": bert}}, "not 'text' as 'bert'"),
        ({"towers": {"image": config["towers"]["audio"]}}, "not 'image' as 'clap_audio_model'"),
        ({"options": {"fusion": True}}, r"takes no options, got \['fusion'\]"),
    ):
        with pytest.raises(ConfigError, match=message):
            build_model(ModelConfig.model_validate({**config, **change}))


def test_a_model_that_fuses_sees_a_long_file_as_one(clap_files, tmp_path, monkeypatch):
    import soundfile
    from verticlip import Model
    from verticlip.core.types import Sample
    from verticlip.domains.audio.clap import model as module

    files, _, _ = clap_files(fusion=True)
    network, processor = built(files)
    holder = Model(network, processor)
    (wave,) = recordings(30_000)
    soundfile.write(tmp_path / "long.wav", wave, 8000, subtype="FLOAT")
    with torch.inference_mode():
        expected = network.encode("audio", fused_features(torch.from_numpy(wave), processor.config.audio))
    from_file = holder.embed([tmp_path / "long.wav"]).vectors
    assert torch.equal(from_file, expected)
    assert torch.equal(holder.embed([Sample(torch.from_numpy(wave)[None], "audio")]).vectors, expected)
    # What is too long to be shrunk to one window is seen window by window.
    monkeypatch.setattr(module, "FUSED_S", 2.0)
    in_windows = holder.embed([Sample(torch.from_numpy(wave)[None], "audio")]).vectors
    assert float((in_windows - expected).abs().max()) > 1e-4
