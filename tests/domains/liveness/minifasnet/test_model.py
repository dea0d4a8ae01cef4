"""The architecture: from cropped pictures to scores, one network or several."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from liveness.minifasnet.make_networks import pictures, random_network, save_released
from safetensors.torch import load_file
from verticlip.core.config import ModelConfig, ProcessorConfig
from verticlip.core.conversion import build_empty
from verticlip.core.errors import ConfigError, InputError
from verticlip.core.model import build_model
from verticlip.core.processing import Processor
from verticlip.core.types import Batch
from verticlip.domains.liveness.minifasnet.checkpoints import CATEGORIES, convert
from verticlip.domains.liveness.minifasnet.model import MiniFASNetModel
from verticlip.domains.liveness.minifasnet.network import MultiFTNet, NetworkConfig
from verticlip.domains.liveness.minifasnet.spectrum import fourier_target
from verticlip.domains.liveness.models.base import liveness_options, score_crops
from verticlip.domains.liveness.objectives.fourier import FourierSupervision
from verticlip.domains.liveness.taxonomy import load_taxonomy
from verticlip.facade import Model


def to_arrays(batch: torch.Tensor) -> list[np.ndarray]:
    """Return pictures uint8 [H, W, 3] of a batch [B, 3, H, W]."""
    return [one.permute(1, 2, 0).contiguous().numpy() for one in batch]


def converted_model(files) -> Model:
    found = convert("liveness/test", files, {})
    network = build_empty(found.config)
    network.load_state_dict(found.state, assign=True)
    return Model(network.eval(), Processor(found.processor))


@pytest.fixture
def networks():
    return [random_network(NetworkConfig(architecture=word)) for word in ("MiniFASNetV2", "MiniFASNetV1SE")]


@pytest.fixture
def ensemble(networks, tmp_path) -> Model:
    return converted_model(
        {
            "v2": save_released(networks[0], tmp_path / "2.7_80x80_MiniFASNetV2.pth"),
            "v1se": save_released(networks[1], tmp_path / "4_0_0_80x80_MiniFASNetV1SE.pth"),
        }
    )


def training_config(**network) -> ModelConfig:
    crops = [{"scale": 2.7, "size": 80, "shift": True}]
    networks = [{"architecture": "MiniFASNetV2SE", "fourier": True, **network}]
    options = {**liveness_options(CATEGORIES), "crops": crops, "networks": networks}
    return ModelConfig(name="t", domain="liveness", architecture="minifasnet", embed_dim=0, options=options)


def test_the_reference_case_through_the_model(small_golden, tmp_path):
    case = small_golden / "clipc8" / "minifasnet"
    path = tmp_path / "2.7_80x80_MiniFASNetV2.pth"
    torch.save(load_file(case / "weights.safetensors"), path)
    model = converted_model({"v2": path})
    shown = load_file(case / "inputs.safetensors")["image_bgr_0_255"].to(torch.uint8).flip(1)
    scores = score_crops(model, [to_arrays(shown)])
    expected = load_file(case / "outputs.safetensors")
    torch.testing.assert_close(scores.logits, expected["logits"], atol=1e-4, rtol=0)
    torch.testing.assert_close(scores.p_live.float(), expected["probabilities"][:, 1], atol=1e-4, rtol=0)


def test_an_ensemble_is_the_mean_of_probabilities(ensemble, networks):
    near, far = pictures(3, seed=1), pictures(3, seed=2)
    scores = score_crops(ensemble, [to_arrays(near), to_arrays(far)], batch_size=2)
    with torch.inference_mode():
        each = [
            network(shown.flip(1).float()).softmax(dim=1)
            for network, shown in zip(networks, (near, far), strict=True)
        ]
    expected = (each[0] + each[1]) / 2
    torch.testing.assert_close(scores.probabilities.float(), expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(scores.p_live.float(), expected[:, 1], atol=1e-5, rtol=0)
    assert not torch.equal(
        scores.probabilities, score_crops(ensemble, [to_arrays(far), to_arrays(near)]).probabilities
    )


def test_bytes_and_floats_give_the_same(ensemble):
    shown = pictures(2)
    network = ensemble.network
    assert isinstance(network, MiniFASNetModel)
    made = ensemble.processor("image", to_arrays(shown))
    with torch.inference_mode():
        bytes_in = network.crop_logits({"pixels": shown}, 0)
        floats_in = network.crop_logits(made, 0)
    torch.testing.assert_close(bytes_in, floats_in, atol=1e-4, rtol=0)


def test_fused_or_not(ensemble):
    network = ensemble.network
    shown = {"pixels": pictures(2)}
    with torch.no_grad():
        plain = network.crop_logits(shown, 1)
    with torch.inference_mode():
        fused = network.crop_logits(shown, 1)
    torch.testing.assert_close(plain, fused, atol=1e-4, rtol=0)


def test_changed_weights_are_noticed(ensemble):
    network, shown = ensemble.network, {"pixels": pictures(2)}

    def answers() -> torch.Tensor:
        with torch.inference_mode():
            return network.crop_logits(shown, 0).clone()

    before = answers()
    with torch.no_grad():
        network.networks[0].prob.weight.mul_(2)
    torch.testing.assert_close(answers(), 2 * before, atol=1e-3, rtol=0)
    state = {name: value.clone() for name, value in network.state_dict().items()}
    state["networks.0.prob.weight"] /= 2
    network.load_state_dict(state, assign=True)
    torch.testing.assert_close(answers(), before, atol=1e-4, rtol=0)
    twin = copy.deepcopy(network)
    with torch.inference_mode():
        assert torch.equal(twin.crop_logits(shown, 0), answers())
    assert len(network.state_dict()) == 334 + 370 + 1
    network.double()
    assert answers().dtype == torch.float64


def test_a_crop_of_another_size_is_resized(ensemble):
    network = ensemble.network
    large = np.repeat(np.repeat(to_arrays(pictures(1))[0], 2, axis=0), 2, axis=1)
    assert network.prepare_crop(ensemble.processor, [large], 0)["pixels"].shape == (1, 3, 80, 80)
    with pytest.raises(InputError, match="picture 1 has dtype float32"):
        network.prepare_crop(ensemble.processor, [large, large.astype(np.float32)], 0)


def test_what_cannot_be_scored(ensemble):
    with pytest.raises(InputError, match="looks at 2 crops"):
        score_crops(ensemble, [to_arrays(pictures(1))])
    with torch.inference_mode(), pytest.raises(InputError, match="reads 'pixels'; the inputs have: x"):
        ensemble.network.crop_logits({"x": pictures(1)}, 0)
    with torch.inference_mode(), pytest.raises(InputError, match=r"reads pictures \[B, 3, 80, 80\]"):
        ensemble.network.crop_logits({"pixels": pictures(1, 64, 64)}, 0)
    batch = Batch({"image": {"pixels": pictures(2)}})
    with pytest.raises(
        ConfigError, match="2 networks, each with a crop of its own. Train them one by one, then use join_"
    ):
        ensemble.network(batch, extras=("category_logits",))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"networks": []}, "networks: .*at least 1"),
        ({"crops": [{"size": 80}] * 2}, "1 networks need as many crops, got 2"),
        ({"crops": [{"size": 64}]}, "network 0 reads 80 x 80 pixels and its crop has size 64"),
        ({"crops": [{}]}, "its crop has size None"),
        (
            {"taxonomy": load_taxonomy("binary").model_dump(mode="json")},
            "3 classes apart, the taxonomy has 2",
        ),
        ({"networks": [{"architecture": "MiniFASNetV3"}]}, "networks.0.architecture"),
    ],
)
def test_options_that_do_not_fit(change, message):
    config = training_config()
    with pytest.raises(ConfigError, match=message):
        build_model(config.model_copy(update={"options": {**config.options, **change}}))


def test_training_learns_class_and_spectrum():
    torch.manual_seed(0)
    model = build_model(training_config(dropout=0.0)).train()
    assert isinstance(model, MiniFASNetModel)
    assert model.fourier_size == (10, 10)
    shown = pictures(6)
    batch = Batch(
        {"image": {"pixels": shown.float() / 255}},
        labels=torch.tensor([0, 1, 2, 0, 1, 2]),
        extras={"fourier_target": fourier_target(shown, model.fourier_size)},
    )
    objective = FourierSupervision()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    losses = []
    for _ in range(8):
        outputs = model(batch, extras=objective.needs.output_extras)
        found = objective(outputs, batch)
        optimizer.zero_grad()
        found["loss"].backward()
        optimizer.step()
        losses.append({name: float(value.detach()) for name, value in found.items()})
    assert losses[0]["category"] == pytest.approx(0.5 * np.log(3), rel=0.1)
    assert losses[-1]["loss"] < 0.8 * losses[0]["loss"]
    assert losses[-1]["fourier"] < losses[0]["fourier"]
    branch = model.networks[0]
    assert isinstance(branch, MultiFTNet)
    assert branch.FTGenerator.ft[0].weight.grad.abs().sum() > 0
    with torch.inference_mode():
        fused = model.eval().crop_logits({"pixels": shown}, 0)
        torch.testing.assert_close(fused, branch(shown.flip(1).float()), atol=1e-3, rtol=1e-3)


def test_extras_that_the_model_does_not_have():
    model = build_model(training_config(fourier=False))
    batch = Batch({"image": {"pixels": pictures(2)}})
    assert model(batch).extras == {}
    assert model.eval()(batch, extras=("category_logits",)).extras["category_logits"].shape == (2, 3)
    with pytest.raises(InputError, match="has no 'fourier_map'; it has: category_logits. The Fourier branch"):
        model(batch, extras=("fourier_map",))
    with pytest.raises(InputError, match=r"reads inputs\['image'\]"):
        model(Batch({}), extras=("category_logits",))
    assert isinstance(model, MiniFASNetModel)
    assert model.fourier_size is None


def test_a_model_is_saved_and_loaded(ensemble, tmp_path):
    import verticlip

    folder = ensemble.save(tmp_path / "model")
    loaded = verticlip.from_pretrained(folder)
    crops = [to_arrays(pictures(2, seed=3)), to_arrays(pictures(2, seed=4))]
    assert torch.equal(score_crops(loaded, crops).logits, score_crops(ensemble, crops).logits)
    assert ProcessorConfig.model_validate(loaded.processor.config.model_dump()).image is not None
