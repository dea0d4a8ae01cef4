from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
import make_sonic
from verticlip.core.config import ModelConfig
from verticlip.core.errors import ConfigError, InputError
from verticlip.core.model import build_model
from verticlip.core.objectives.base import build_objective
from verticlip.core.types import Batch, Outputs
from verticlip.domains.audio.clipsonic.model import ClipSonic
from verticlip.domains.audio.clipsonic.targets import (
    level_safely,
    to_log_mels,
    to_targets,
    to_waves,
    wave_targets,
)


def batch(size: int = 3, **changes: torch.Tensor) -> Batch:
    generator = torch.Generator().manual_seed(0)
    given = {
        "target": torch.rand(size, 1, 16, 32, generator=generator) * 2 - 1,
        "noise": torch.randn(size, 1, 16, 32, generator=generator),
        "timesteps": torch.tensor([0, 500, 999])[:size],
        "condition": torch.nn.functional.normalize(torch.randn(size, 8, generator=generator), dim=-1),
        "kept": torch.tensor([True, False, True])[:size],
    }
    return Batch({"mel": {**given, **changes}})


@pytest.fixture(scope="module")
def network() -> ClipSonic:
    return make_sonic.model().network  # pyright: ignore[reportReturnType]


def test_the_model_says_what_it_would_predict_and_what_it_should(network: ClipSonic) -> None:
    found = network(batch(), extras=("prediction", "wanted", "signal_to_noise", "error_scale")).extras
    assert found["prediction"].shape == found["wanted"].shape == (3, 1, 16, 32)
    assert found["signal_to_noise"].shape == (3,)
    assert found["signal_to_noise"][0] > 1e3 > found["signal_to_noise"][1] > found["signal_to_noise"][2]


def test_a_row_without_condition_does_not_depend_on_it(network: ClipSonic) -> None:
    with torch.no_grad():
        first = network(batch(), extras=("prediction",)).extras["prediction"]
        other = torch.nn.functional.normalize(torch.ones(3, 8), dim=-1)
        second = network(batch(condition=other), extras=("prediction",)).extras["prediction"]
    assert torch.allclose(first[1], second[1], atol=1e-6)
    assert not torch.allclose(first[0], second[0], atol=1e-5)


def test_towers_answer_as_those_of_any_model(network: ClipSonic) -> None:
    inputs = make_sonic.processor()("text", ["rain", "dog"])
    outputs = network(Batch({"text": inputs}))
    assert outputs.embeddings["text"].shape == (2, 8)
    assert outputs.extras == {}


def test_what_the_batch_lacks_is_named(network: ClipSonic) -> None:
    with pytest.raises(InputError, match=r"needs inputs\['mel'\]\['target'\]"):
        network(Batch({}), extras=("prediction",))
    with pytest.raises(InputError, match="has no extra 'masks'"):
        network(batch(), extras=("masks",))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"condition": {"modality": "image"}}, "an embedding of 'image', and the towers are"),
        ({"denoiser": {"channels": [8, 16], "attention": [False]}}, "attention has 1 entries"),
        ({"denoiser": {"channels": [8, 10], "attention": [False] * 2, "groups": 4}}, "10 channels do not"),
        ({"vocoder": {"kind": "bigvgan"}}, "generator belongs to kind"),
        (
            {"target": {"sampling_rate": 8000, "frames": 33, "mel": make_sonic.MEL}},
            "frames 33 does not divide by 4",
        ),
        (
            {"target": {"sampling_rate": 8000, "frames": 32, "mel": {**make_sonic.MEL, "log": "db"}}},
            "natural logarithm",
        ),
        ({"colour": "red"}, "colour"),
    ],
)
def test_options_that_do_not_fit_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_model(make_sonic.config(**changes))


def test_weights_have_names_that_stay(network: ClipSonic) -> None:
    names = set(network.state_dict())
    assert {"null_condition", "bridge.audio_mean", "bridge.text_std"} <= names
    assert "denoiser.unet.class_embedding.linear_1.weight" in names
    assert all(name.split(".")[0] in {"towers", "projections", "logit_scale", "denoiser", "bridge", "null_condition"}
               for name in names)  # fmt: skip


def test_targets_and_log_mels_are_inverse(network: ClipSonic) -> None:
    config = network.options.target
    values = torch.linspace(config.low, config.high, 7)
    assert torch.allclose(to_log_mels(to_targets(values, config), config), values, atol=1e-5)
    assert to_targets(torch.tensor([-50.0, 50.0]), config).tolist() == [-1.0, 1.0]


def test_a_wave_comes_back_from_its_targets(network: ClipSonic) -> None:
    config = network.options.target
    time = torch.arange(config.window_samples) / config.sampling_rate
    wave = 0.3 * torch.sin(2 * torch.pi * 700 * time)[None]
    targets = wave_targets(wave, config)
    assert targets.shape == (1, 16, 32)
    found = to_waves(network, targets, generators=[torch.Generator().manual_seed(0)])
    assert found.shape == wave.shape
    loud = targets > 0.5
    assert (wave_targets(found, config) - targets)[loud].abs().mean() < 0.1


def test_loud_sound_is_turned_down_and_quiet_sound_stays() -> None:
    waves = torch.stack([3 * torch.ones(10) * torch.tensor([1.0, -1.0] * 5), 0.1 + torch.zeros(10)])
    waves[1, 0] += 0.01
    found, gains = level_safely(waves)
    assert found[0].abs().max() == pytest.approx(0.999)
    assert gains.tolist() == pytest.approx([0.333, 1.0])
    assert found.mean(dim=1).abs().max() < 1e-6


def outputs(prediction: torch.Tensor, wanted: torch.Tensor, ratio: float) -> Outputs:
    extras = {
        "prediction": prediction,
        "wanted": wanted,
        "signal_to_noise": torch.tensor([ratio]),
        "error_scale": torch.tensor([ratio + 1]),
    }
    return Outputs({}, torch.tensor(1.0), None, {}, extras)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, 4.0),
        ({"weighting": "min_snr"}, 4.0 * 5 / 21),
        ({"weighting": "min_snr", "gamma": 50}, 4.0 * 20 / 21),
    ],
)
def test_the_loss_weighs_by_the_signal_to_noise_ratio(options: dict[str, Any], expected: float) -> None:
    objective = build_objective("clipsonic", options, domain="audio")
    found = objective(outputs(torch.full((1, 1, 2, 2), 2.0), torch.zeros(1, 1, 2, 2), 20.0), Batch({}))
    assert float(found["loss"]) == pytest.approx(expected)


def test_options_of_the_loss_are_checked() -> None:
    with pytest.raises(ConfigError, match="gamma must be over 0"):
        build_objective("clipsonic", {"gamma": 0.0}, domain="audio")
    with pytest.raises(ConfigError, match="weighting"):
        build_objective("clipsonic", {"weighting": "max"}, domain="audio")


def test_a_config_without_towers_is_refused() -> None:
    raw = make_sonic.config().model_dump(mode="json")
    with pytest.raises(ConfigError, match="towers are none"):
        build_model(ModelConfig.model_validate({**raw, "towers": {}, "embed_dim": 0}))
