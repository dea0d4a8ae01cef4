"""Published priors to our own folder, whatever wraps them and whichever release wrote them."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file
from verticlip.core.checkpoint import load_strict
from verticlip.core.conversion import build_empty
from verticlip.core.errors import ConfigError, WeightsError
from verticlip.domains.audio.clipsonic.prior_convert import RELEASES, convert

CONFIG = {
    "prior": {
        "clip": {"make": "openai", "model": "ViT-L/14"},
        "net": {"dim": 32, "depth": 2, "max_text_len": 12, "attn_dropout": 0.05, "ff_dropout": 0.05},
        "image_embed_dim": 32,
        "timesteps": 100,
        "sample_timesteps": 64,
        "cond_drop_prob": 0.0,
        "loss_type": "l2",
        "predict_x_start": True,
        "beta_schedule": "cosine",
        "condition_on_text_encodings": True,
    }
}


class Scheduler:
    """What trainers put beside the weights; its class is not there when the file is read."""

    def __init__(self):
        self.step = 3


@pytest.fixture
def published(tmp_path):
    def files(state, config=CONFIG):
        # A folder each: what was read before stays mapped to its file.
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        torch.save(state, folder / "best.pth")
        (folder / "prior_config.json").write_text(json.dumps(config))
        return {"weights": folder / "best.pth", "config": folder / "prior_config.json"}

    return files


@pytest.fixture(scope="module")
def newest(small_golden):
    return load_file(small_golden / "clipsonic" / "diffusion_prior" / "weights.safetensors")


@pytest.fixture(scope="module")
def release_1_1(small_golden):
    return load_file(small_golden / "clipsonic" / "diffusion_prior_v1_1" / "weights.safetensors")


def built(done):
    model = build_empty(done.config)
    load_strict(model, done.state, source="test")
    return model.eval()


def test_everything_is_read_from_the_tensors(published, newest):
    done = convert("audio/prior", published(newest), {})
    report = done.report.towers["prior"]
    assert done.report.complete
    assert len(report.dropped) == 15
    options = done.config.options
    assert options["network"] == {
        "attention": "cosine",
        "bias_factor": 1,
        "stable_norms": "last",
        "padding": "table",
        "null_parameters": True,
        "dim": 32,
        "depth": 2,
        "heads": 4,
        "head_dim": 16,
        "mlp_width": 128,
        "text_length": 12,
        "text_tokens": 1,
        "image_tokens": 1,
        "norm_in": False,
        "norm_out": True,
        "project_out": True,
        "normformer": True,
        "rotary": True,
        "self_conditioning": False,
        "attention_dropout": 0.05,
        "mlp_dropout": 0.05,
        "time_steps": 100,
        "time_tokens": 1,
    }
    assert (options["timesteps"], options["grid"], options["guidance"]) == (100, "from_minus_one", False)
    assert "release 1.10.5" in done.config.description
    assert built(done).sample(
        torch.eye(32)[:2], generator=torch.Generator().manual_seed(0), steps=3
    ).shape == (2, 32)


def test_a_release_is_told_by_its_tensors_or_by_argument(published, newest, release_1_1):
    def network(state, **options):
        return convert("audio/prior", published(state), options).config.options

    found = network(release_1_1)
    assert (found["network"]["attention"], found["network"]["bias_factor"]) == ("scaled_dot", 128)
    assert (found["grid"], found["network"]["null_parameters"]) == ("from_zero", False)
    assert network(release_1_1, release="1.1.0") == found
    assert network(release_1_1, release="1.4.3")["network"]["attention"] == "cosine"
    assert network(release_1_1, release="0.23.1")["network"]["bias_factor"] == 1024
    bare = {name: value for name, value in release_1_1.items() if "null_text" not in name}
    assert network(bare)["network"]["bias_factor"] == 1024
    assert network(bare)["network"]["text_length"] == 12
    older = {
        name.removesuffix(".g") + ".gamma" if name.endswith(".g") else name: value
        for name, value in bare.items()
        if not name.startswith("noise_scheduler.")
    }
    older |= {name.removesuffix("gamma") + "beta": torch.zeros(1) for name in older if name.endswith("gamma")}
    older |= {"betas": torch.zeros(100), "sqrt_alphas_cumprod": torch.zeros(100)}
    oldest = network(older)["network"]
    assert (oldest["bias_factor"], oldest["stable_norms"], oldest["padding"]) == (1, "none", "mask")
    assert next(iter(RELEASES)) == "0.2"
    with pytest.raises(ConfigError, match="release '0.1' is older than '0.2'"):
        network(older, release="0.1")
    with pytest.raises(WeightsError, match="prior of release 1.1.0|of release 0.23.3"):
        network(newest, release="1.1.0")


def test_a_file_without_config_has_the_defaults_of_its_time(published, release_1_1):
    bare = {name: value for name, value in release_1_1.items() if "null_text" not in name}
    files = {"weights": published(bare)["weights"]}
    options = convert("audio/prior", files, {}).config.options
    assert (options["timesteps"], options["network"]["text_length"], options["guidance"]) == (100, 77, False)
    given = convert("audio/prior", published(bare), {}).config.options
    assert given["network"]["text_length"] == 12


def test_averaged_weights_win_whatever_wraps_them(published, release_1_1):
    averaged = {
        name: value + 1 if name.startswith("net.learned") else value for name, value in release_1_1.items()
    }
    plain = convert("audio/prior", published(averaged), {})
    beside = {"optimizer": {"state": {0: {"step": 3}}}, "scheduler": Scheduler(), "version": "1.1.0"}
    clip = {"clip.clip.logit_scale": torch.tensor(1.0)}
    both = {f"online_model.{name}": value for name, value in release_1_1.items()}
    both |= {f"ema_model.{name}": value for name, value in averaged.items()}
    both |= {"initted": torch.tensor(True), "step": torch.tensor(7)}
    for wrapped in (
        {**averaged, **clip},
        {"ema_model": averaged, "model": release_1_1, **beside},
        {"ema": both, "model": release_1_1, **beside},
        {"model": {f"diffusion_prior.{name}": value for name, value in averaged.items()}, **beside},
        {f"module.{name}": value for name, value in averaged.items()},
    ):
        done = convert("audio/prior", published(wrapped), {})
        assert done.config == plain.config
        assert set(done.state) == set(plain.state)
        assert all(torch.equal(done.state[name], value) for name, value in plain.state.items())


def test_objectives_and_clipping_of_the_config(published, newest):
    def options(**change):
        config = {"prior": {**CONFIG["prior"], **change}}
        return convert("audio/prior", published(newest, config), {}).config.options

    assert options(cond_drop_prob=0.1)["guidance"]
    assert not options(cond_drop_prob=0.1, image_cond_drop_prob=0.0)["guidance"]
    noise = options(predict_x_start=False)
    assert (noise["objective"], noise["clip"]) == ("noise", "values")
    velocity = options(predict_v=True, sampling_clamp_l2norm=True, sampling_final_clamp_l2norm=True)
    assert (velocity["objective"], velocity["clip"], velocity["unit_result"]) == ("v", "norm", True)


def test_files_that_do_not_fit_are_named(published, newest, release_1_1, tmp_path):
    def failing(message, state, error=WeightsError):
        with pytest.raises(error, match=message):
            convert("audio/prior", published(state), {})

    failing("is not a diffusion prior: it has no 'net.learned_query'", {"weight": torch.zeros(2)})
    failing("1 unexpected", {**newest, "net.adapter.weight": torch.zeros(2)})
    lacking = {name: value for name, value in newest.items() if not name.endswith("layers.1.0.to_q.weight")}
    failing("1 missing", lacking)
    turned = "net.causal_transformer.layers.0.0.rotary_emb.freqs"
    failing("not the usual rotation", {**newest, turned: newest[turned] * 2})
    with pytest.raises(ConfigError, match="needs a 'weights' file"):
        convert("audio/prior", {"config": tmp_path / "c.json"}, {})
    with pytest.raises(ConfigError, match="holds list, not settings"):
        convert("audio/prior", published(newest, []), {})
    for change, message in (
        ({"timesteps": "many"}, "prior_config.json: timesteps"),
        ({"net": 3}, "holds int, not settings"),
        ({"net": {"attn_dropout": 2}}, "prior_config.json: attn_dropout"),
        ({"beta_schedule": "square"}, "schedule"),
    ):
        with pytest.raises(ConfigError, match=message):
            convert("audio/prior", published(newest, change), {})
    with pytest.raises(ConfigError, match="release"):
        convert("audio/prior", published(newest), {"release": "newest"})
    with pytest.raises(ConfigError, match="100 rows|got 100"):
        built(convert("audio/prior", published(newest, {"timesteps": 1000}), {}))
