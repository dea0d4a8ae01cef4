"""Files of transformers to our own folder: exact, strict, and preprocessing that belongs to the weights."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from verticlip.core.checkpoint import load_strict
from verticlip.core.conversion import build_empty
from verticlip.core.errors import ConfigError, InputError, LimitError, WeightsError
from verticlip.core.processing import Processor
from verticlip.domains.audio.clap.convert import byte_level_tokenizer, convert


@pytest.fixture
def files(clap_files):
    return dict(clap_files(fusion=False)[0])


def edited(files, role, folder, **change):
    raw = json.loads(files[role].read_text())
    path = folder / f"{role}.json"
    path.write_text(json.dumps({**raw, **change}))
    return {**files, role: path}


def test_everything_finds_its_place(clap_files, files):
    done = convert("audio/clap", files, {})
    source = torch.load(files["weights"])
    assert done.report.complete
    assert done.report.towers["text"].loaded + done.report.towers["audio"].loaded + 2 + 2 == len(source)
    assert set(done.report.towers["text"].dropped) == {
        "text_model.embeddings.position_ids",
        "text_model.embeddings.token_type_ids",
    }
    assert torch.equal(done.state["projections.audio.linear1.bias"], source["audio_projection.linear1.bias"])
    assert (done.config.embed_dim, done.config.architecture, done.config.licence) == (
        24,
        "clap",
        "Apache-2.0",
    )
    assert done.config.logit_scale == pytest.approx(float(source["logit_scale_a"]))


def test_a_config_that_states_only_what_is_not_default(clap_files, files, tmp_path):
    short = clap_files(fusion=False)[1].config.to_diff_dict()
    assert len(json.dumps(short)) < len(files["config"].read_text())
    path = tmp_path / "config.json"
    path.write_text(json.dumps(short))
    done, whole = (
        convert("audio/clap", {**files, "config": config}, {}) for config in (path, files["config"])
    )
    load_strict(build_empty(done.config), done.state, source="test")
    assert done.processor == whole.processor


def test_safetensors_and_older_files_are_the_same_model(files, tmp_path):
    plain = convert("audio/clap", files, {})
    state = {name: value.clone() for name, value in torch.load(files["weights"]).items()}
    save_file(state, tmp_path / "model.safetensors")
    less = {
        name: value for name, value in state.items() if not name.endswith(("position_ids", "token_type_ids"))
    }
    torch.save(less, tmp_path / "less.bin")
    for other in (tmp_path / "model.safetensors", tmp_path / "less.bin"):
        done = convert("audio/clap", {**files, "weights": other}, {})
        assert done.config == plain.config
        assert all(torch.equal(done.state[name], value) for name, value in plain.state.items())


def test_preprocessing_belongs_to_the_weights(clap_files, files, tmp_path):
    audio = convert("audio/clap", files, {"hop_s": 0.5}).processor.audio
    assert (audio.sampling_rate, audio.window_s, audio.hop_s, audio.padding) == (8000, 1.0, 0.5, "repeat")
    assert (audio.mel.n_fft, audio.mel.hop_length, audio.mel.n_mels) == (512, 40, 64)
    assert (audio.mel.f_min, audio.mel.f_max, audio.mel.scale, audio.mel.norm) == (
        50,
        3500,
        "slaney",
        "slaney",
    )
    assert not audio.quantize
    fused = convert("audio/clap", clap_files(fusion=True)[0], {}).processor.audio
    assert (fused.mel.scale, fused.mel.norm) == ("htk", "none")
    padded = convert("audio/clap", edited(files, "preprocessor", tmp_path, padding="pad"), {})
    assert padded.processor.audio.padding == "zeros"
    text = padded.processor.text
    assert (text.context_length, text.pad_id, text.clean, text.overlong) == (38, 1, "none", "error")


def test_texts_that_a_text_tower_cannot_take(files):
    done = convert("audio/clap", files, {})
    processor = Processor(done.processor, done.tokenizer_json)
    with pytest.raises(InputError, match="Shorten it"):
        processor("text", ["a dog barking " * 20])
    with pytest.raises(InputError, match="contains '<mask>'"):
        processor("text", ["a <mask> barking"])
    with pytest.raises((InputError, LimitError)):
        processor("text", [""])
    cut = convert("audio/clap", files, {"overlong": "truncate"})
    ids = Processor(cut.processor, cut.tokenizer_json)("text", ["a dog barking " * 20])["input_ids"]
    assert ids.shape == (1, 38)
    assert int(ids[0, -1]) == 2


def test_a_vocabulary_and_merges_are_a_tokenizer(files, tmp_path):
    whole = Tokenizer.from_file(str(files["tokenizer"]))
    model = json.loads(whole.to_str())["model"]
    (tmp_path / "vocab.json").write_text(json.dumps(model["vocab"]))
    merges = "\n".join(" ".join(pair) for pair in model["merges"])
    (tmp_path / "merges.txt").write_text(f"#version: 0.2\n{merges}\n")
    roles = {role: path for role, path in files.items() if role != "tokenizer"}
    done = convert(
        "audio/clap", {**roles, "vocab": tmp_path / "vocab.json", "merges": tmp_path / "merges.txt"}, {}
    )
    made = Tokenizer.from_str(done.tokenizer_json)
    for text in ("Rain on a tin roof!", "un été à Zürich", "a dog  barking <mask>"):
        assert made.encode(text).ids == whole.encode(text).ids
    with pytest.raises(InputError, match="not the vocabulary of a RoBERTa"):
        byte_level_tokenizer(files["config"], tmp_path / "merges.txt")
    with pytest.raises(ConfigError, match="needs a 'tokenizer' file, or 'vocab' and 'merges'"):
        convert("audio/clap", roles, {})


def test_it_is_loaded_by_the_hub_and_asks_as_the_paper_does(files, tmp_path):
    from verticlip import from_pretrained
    from verticlip.core.registry import ModelSpec, PublishedFile, PublishedWeights
    from verticlip.hub.conversions import convert_files

    published = tuple(PublishedFile(role, "org/clap", path.name) for role, path in files.items())
    spec = ModelSpec(
        name="audio/clap",
        domain="audio",
        summary="sound and text",
        modalities=("audio", "text"),
        embed_dim=24,
        weights=PublishedWeights(files=published, converter="clap"),
        licence="Apache-2.0",
        intended_use="tests",
    )
    folder = convert_files(spec, files, tmp_path / "out").folder
    model = from_pretrained(folder, device="cpu", dtype="float32")
    assert len(model.prompts.class_names) == 50
    assert model.prompts_for(["glass harmonica"]).texts("glass harmonica") == [
        "This is a sound of glass harmonica"
    ]
    inputs = {"features": torch.rand(1, 1, 201, 64)}
    again = from_pretrained(model.save(tmp_path / "again"), device="cpu", dtype="float32")
    with torch.inference_mode():
        assert torch.equal(again.network.encode("audio", inputs), model.network.encode("audio", inputs))


def test_files_that_do_not_fit_are_named(files, tmp_path):
    def failing(message, error=WeightsError, drop=(), **more):
        state = {name: value for name, value in torch.load(files["weights"]).items() if name not in drop}
        torch.save({**state, **more}, tmp_path / "other.bin")
        with pytest.raises(error, match=message):
            convert("audio/clap", {**files, "weights": tmp_path / "other.bin"}, {})

    failing("other.bin is not a CLAP model with both towers", drop=["audio_projection.linear1.weight"])
    failing("audio: 1 missing", drop=["audio_model.audio_encoder.norm.bias"])
    failing("1 unexpected", **{"vision_model.norm.bias": torch.zeros(2)})
    words = "text_model.embeddings.word_embeddings.weight"
    failing("the tokenizer has .* pieces, the word table of other.bin 7 rows", **{words: torch.zeros(7, 32)})


@pytest.mark.parametrize(
    ("role", "change", "message"),
    [
        ("config", {"model_type": "clip"}, "describes a model of type 'clip', not a 'clap'"),
        ("config", {"projection_hidden_act": "gelu"}, "projection_hidden_act 'gelu' is not supported"),
        ("preprocessor", {"truncation": "cut"}, "asks for truncation 'cut'"),
        ("preprocessor", {"padding": "repeat"}, "and padding 'repeat'"),
        ("preprocessor", {"top_db": 80}, "asks for top_db"),
        ("preprocessor", {"frequency_max": 9000}, "over half of 8000 Hz"),
    ],
)
def test_settings_that_are_not_supported(files, tmp_path, role, change, message):
    with pytest.raises(ConfigError, match=message):
        convert("audio/clap", edited(files, role, tmp_path, **change), {})


def test_roles_and_options_are_checked(files, tmp_path):
    with pytest.raises(ConfigError, match="needs a 'preprocessor' file"):
        convert("audio/clap", {role: path for role, path in files.items() if role != "preprocessor"}, {})
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(ConfigError, match="list.json holds list, not settings"):
        convert("audio/clap", {**files, "config": tmp_path / "list.json"}, {})
    with pytest.raises(ConfigError, match="unknown key 'hop'.*Did you mean 'hop_s'"):
        convert("audio/clap", files, {"hop": 2})
