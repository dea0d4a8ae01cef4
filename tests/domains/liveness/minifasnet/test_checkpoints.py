"""Released files to our own folder."""

from __future__ import annotations

import pickle

import pytest
import torch
from liveness.minifasnet.make_networks import random_network, save_released
from verticlip.core.errors import ConfigError, WeightsError
from verticlip.domains.liveness.minifasnet.checkpoints import convert
from verticlip.domains.liveness.minifasnet.network import MultiFTNet, NetworkConfig
from verticlip.domains.liveness.taxonomy import load_taxonomy

V2, V1SE = "2.7_80x80_MiniFASNetV2.pth", "4_0_0_80x80_MiniFASNetV1SE.pth"


@pytest.fixture
def released(tmp_path):
    """The two files of the authors' demonstration, with other values."""
    return {
        "v2": save_released(random_network(NetworkConfig(architecture="MiniFASNetV2")), tmp_path / V2),
        "v1se": save_released(random_network(NetworkConfig(architecture="MiniFASNetV1SE")), tmp_path / V1SE),
    }


def test_two_files_become_one_ensemble(released):
    converted = convert("liveness/minifasnet", released, {})
    options = converted.config.options
    assert [crop["scale"] for crop in options["crops"]] == [2.7, 4.0]
    assert all(crop["shift"] and crop["size"] == 80 and not crop["align"] for crop in options["crops"])
    assert [network["architecture"] for network in options["networks"]] == ["MiniFASNetV2", "MiniFASNetV1SE"]
    kinds = [category["kind"] for category in options["taxonomy"]["categories"]]
    assert kinds == ["attack", "live", "attack"]
    loaded = {part: row["loaded"] for part, row in converted.report.to_dict().items()}
    assert loaded == {"networks.0": 334, "networks.1": 370}
    source = torch.load(released["v1se"], weights_only=True)
    assert torch.equal(
        converted.state["networks.1.conv_5.model.1.se_module.fc2.weight"],
        source["module.conv_5.model.1.se_module.fc2.weight"],
    )


def test_what_a_name_does_not_say_is_stated(tmp_path):
    network = random_network(NetworkConfig(architecture="MiniFASNetV2", height=96, width=96))
    path = save_released(network, tmp_path / "mine.pth")
    with pytest.raises(ConfigError, match="the name does not say what crop the network reads.*sources="):
        convert("x", {"v2": path}, {})
    options = {"sources": {"v2": {"scale": None, "size": 96}}}
    crop = convert("x", {"v2": path}, options).config.options["crops"][0]
    assert (crop["scale"], crop["size"], crop["shift"]) == (None, 96, False)
    with pytest.raises(WeightsError, match=r"covers 6 x 6, pictures of 80 x 80 pixels need 5 x 5"):
        convert("x", {"v2": path}, {"sources": {"v2": {"scale": 1.0, "size": 80}}})


def test_a_stated_scale_wins_over_the_name(released):
    options = {"sources": {"v2": {"scale": 3.0}}}
    crops = convert("x", {"v2": released["v2"]}, options).config.options["crops"]
    assert crops[0]["scale"] == 3.0
    assert crops[0]["size"] == 80


def test_whole_pictures(tmp_path):
    network = random_network(NetworkConfig(architecture="MiniFASNetV1"))
    path = save_released(network, tmp_path / "org_1_80x80_MiniFASNetV1.pth")
    assert convert("x", {"v1": path}, {}).config.options["crops"][0]["scale"] is None
    network = random_network(NetworkConfig(architecture="MiniFASNetV1", width=60))
    path = save_released(network, tmp_path / "org_1_80x60_MiniFASNetV1.pth")
    with pytest.raises(ConfigError, match="reads 80 x 60 pixels; only square crops"):
        convert("x", {"v1": path}, {})


def test_a_training_checkpoint(tmp_path):
    network = MultiFTNet(NetworkConfig(architecture="MiniFASNetV2SE", fourier=True))
    path = save_released(network, tmp_path / "2.7_80x80_MiniFASNetV2SE.pth")
    converted = convert("x", {"v2": path}, {})
    assert converted.config.options["networks"][0]["architecture"] == "MiniFASNetV2SE"
    assert not any("FTGenerator" in name for name in converted.state)


def test_files_that_contradict_their_name(tmp_path):
    path = save_released(random_network(NetworkConfig(architecture="MiniFASNetV1SE")), tmp_path / V2)
    with pytest.raises(ConfigError, match="by its name a MiniFASNetV2, by its tensors a MiniFASNetV1SE"):
        convert("x", {"v2": path}, {})


def test_files_that_do_not_fit(tmp_path, released):
    with pytest.raises(ConfigError, match="no 'v3' file for the option of that name; the converter got: v2"):
        convert("x", {"v2": released["v2"]}, {"sources": {"v3": {"scale": 1.0}}})
    with pytest.raises(ConfigError, match="no file was given"):
        convert("x", {}, {})
    other = tmp_path / "1_80x80_Other.pth"
    torch.save({"module.weight": torch.zeros(3)}, other)
    with pytest.raises(WeightsError, match="is not a network of MiniFASNet: it has no 'conv_3"):
        convert("x", {"v2": other}, {})
    state = torch.load(released["v2"], weights_only=True)
    missing = {name: value for name, value in state.items() if "conv_4.model.3.project" not in name}
    torch.save({**missing, "module.extra": torch.zeros(1)}, released["v2"])
    with pytest.raises(WeightsError, match=r"networks.0: 6 missing.*; .*1 unexpected"):
        convert("x", {"v2": released["v2"]}, {})


def test_code_in_a_checkpoint_does_not_run(tmp_path, capsys):
    class Hostile:
        def __reduce__(self):
            return (print, ("ran",))

    path = tmp_path / V2
    path.write_bytes(pickle.dumps({"module.x": Hostile()}, protocol=2))
    with pytest.raises(WeightsError, match="not a checkpoint that can be read without running its code"):
        convert("x", {"v2": path}, {})
    assert not capsys.readouterr().out


def test_a_pruning_of_other_widths(tmp_path, released):
    state = torch.load(released["v2"], weights_only=True)
    state["module.conv_3.model.1.conv.conv.weight"] = torch.zeros(20, 64, 1, 1)
    torch.save(state, released["v2"])
    with pytest.raises(WeightsError, match="20 channels wide where MiniFASNetV1 has 26 and V2 has 13"):
        convert("x", {"v2": released["v2"]}, {})


def test_half_precision_is_no_released_file(released):
    state = {name: value.half() for name, value in torch.load(released["v2"], weights_only=True).items()}
    torch.save(state, released["v2"])
    with pytest.raises(WeightsError, match="tensors that are not float32"):
        convert("x", {"v2": released["v2"]}, {})


def test_sizes_that_make_no_sense(tmp_path):
    network = random_network(NetworkConfig(architecture="MiniFASNetV2"))
    path = save_released(network, tmp_path / "2.7_9999x9999_MiniFASNetV2.pth")
    with pytest.raises(ConfigError, match="2.7_9999x9999_MiniFASNetV2.pth: height: .*1024"):
        convert("x", {"v2": path}, {})
    path = save_released(network, tmp_path / "0_80x80_MiniFASNetV2.pth")
    with pytest.raises(ConfigError, match="0_80x80_MiniFASNetV2.pth: scale: .*greater than 0"):
        convert("x", {"v2": path}, {})
    network = random_network(NetworkConfig(architecture="MiniFASNetV2", classes=2))
    path = save_released(network, tmp_path / "2.7_80x80_MiniFASNetV2.pth")
    with pytest.raises(ConfigError, match="tells 2 classes apart, the taxonomy has 3"):
        convert("x", {"v2": path}, {})
    binary = load_taxonomy("binary").model_dump(mode="json")
    found = convert("x", {"v2": path}, {"taxonomy": binary})
    assert found.config.options["taxonomy"]["name"] == "binary"
