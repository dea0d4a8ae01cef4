"""Published generators to our own folder: exact, strict, with or without weight normalization."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file
from verticlip.core.checkpoint import load_strict
from verticlip.core.conversion import build_empty
from verticlip.core.errors import ConfigError, WeightsError
from verticlip.core.registry import ModelSpec, PublishedFile, PublishedWeights
from verticlip.domains.audio.clipsonic.bigvgan_convert import convert


@pytest.fixture
def published(small_golden, tmp_path):
    """The two files as their authors publish them, at the sizes of the golden case."""
    case = small_golden / "clipsonic" / "bigvgan"
    torch.save({"generator": load_file(case / "weights.safetensors")}, tmp_path / "bigvgan_generator.pt")
    shutil.copy(case / "config.json", tmp_path / "config.json")
    return {"weights": tmp_path / "bigvgan_generator.pt", "config": tmp_path / "config.json"}


def changed(files, *, drop=(), config=None, **more):
    state = torch.load(files["weights"])["generator"]
    state = {name: value for name, value in state.items() if name not in drop}
    torch.save({"generator": {**state, **more}}, files["weights"])
    if config is not None:
        raw = json.loads(files["config"].read_text())
        files["config"].write_text(json.dumps({**raw, **config}))
    return files


def test_a_published_file_becomes_a_vocoder(published, small_golden):
    done = convert("audio/vocoder", published, {})
    report = done.report.towers["generator"]
    assert done.report.complete
    assert (report.loaded, len(report.dropped)) == (107, 50)
    assert all(name.endswith(".filter") for name in report.dropped)
    assert not any("weight_" in name for name in done.state)
    assert done.config.embed_dim == 0
    assert done.config.licence == "MIT"
    assert done.tokenizer_json is None
    model = build_empty(done.config)
    load_strict(model, done.state, source="test")
    case = small_golden / "clipsonic" / "bigvgan"
    waves = load_file(case / "inputs.safetensors")["waveform"]
    expected = load_file(case / "outputs.safetensors")["generated"]
    assert (model.synthesize(model.log_mel(waves)) - expected).abs().max() < 1e-5


def test_every_form_of_the_weights_is_the_same_model(published, small_golden, tmp_path):
    plain = convert("audio/vocoder", published, {})
    folded = small_golden / "clipsonic" / "bigvgan" / "weights_folded.safetensors"
    newer = {
        name.replace("weight_g", "parametrizations.weight.original0").replace(
            "weight_v", "parametrizations.weight.original1"
        ): value
        for name, value in torch.load(published["weights"])["generator"].items()
    }
    torch.save(newer, tmp_path / "newer.pt")
    for other in (folded, tmp_path / "newer.pt"):
        done = convert("audio/vocoder", {**published, "weights": other}, {})
        assert done.config == plain.config
        assert set(done.state) == set(plain.state)
        assert all(torch.allclose(done.state[name], value) for name, value in plain.state.items())


def test_a_config_without_the_newer_flags_is_of_the_first_version(published):
    raw = json.loads(published["config"].read_text())
    for key in ("use_tanh_at_final", "use_bias_at_final"):
        raw.pop(key)
    published["config"].write_text(json.dumps(raw))
    changed(published, **{"conv_post.bias": torch.zeros(1)})
    generator = convert("audio/vocoder", published, {}).config.options["generator"]
    assert generator["tanh"]
    assert generator["final_bias"]


def test_it_is_saved_and_loaded_by_the_hub(published, tmp_path):
    from verticlip.hub.conversions import convert_files
    from verticlip.hub.loading import ResolvedModel, load_model

    files = (
        PublishedFile("weights", "org/vocoder", "bigvgan_generator.pt"),
        PublishedFile("config", "org/vocoder", "config.json"),
    )
    spec = ModelSpec(
        name="audio/vocoder",
        domain="audio",
        summary="a vocoder",
        modalities=(),
        embed_dim=0,
        weights=PublishedWeights(files=files, converter="bigvgan"),
        licence="MIT",
        intended_use="tests",
    )
    folder = convert_files(spec, published, tmp_path / "out").folder
    network, processor, prompts = load_model(ResolvedModel(folder, "audio/vocoder"))
    assert (processor.modalities, prompts) == ((), None)
    assert network.synthesize(torch.zeros(1, 20, 3)).shape == (1, 1, 96)


def test_files_that_do_not_fit_are_named(published):
    def failing(message, **change):
        files = changed(dict(published), **change)
        with pytest.raises((WeightsError, ConfigError), match=message):
            convert("audio/vocoder", files, {})

    failing("1 unexpected", **{"resblocks.9.convs1.0.bias": torch.zeros(4)})
    failing(
        "1 missing",
        drop=("resblocks.9.convs1.0.bias", "conv_pre.bias", "ups.0.0.bias"),
        **{"conv_pre.bias": torch.zeros(32)},
    )
    failing("no direction beside it", drop=("ups.0.0.weight_v",), **{"ups.0.0.bias": torch.zeros(16)})
    failing(
        "another filter",
        **{
            "activation_post.upsample.filter": torch.zeros(1, 1, 12),
            "ups.0.0.weight_v": torch.zeros(32, 16, 8),
        },
    )
    failing("is not a generator of BigVGAN", drop=("conv_pre.bias",))


def test_roles_and_settings_are_checked(published, tmp_path):
    with pytest.raises(ConfigError, match="needs a 'config' file"):
        convert("audio/vocoder", {"weights": published["weights"]}, {})
    for content, message in (("[]", "holds list"), ("{}", "has no 'num_mels'")):
        path = tmp_path / "other.json"
        path.write_text(content)
        with pytest.raises(ConfigError, match=message):
            convert("audio/vocoder", {**published, "config": path}, {})
    with pytest.raises(ConfigError, match="unknown key 'license'.*Did you mean 'licence'"):
        convert("audio/vocoder", published, {"license": "MIT"})
