"""Networks trained one by one become the model that is used."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from liveness.minifasnet.make_networks import pictures
from verticlip.core.config import ModelConfig
from verticlip.core.errors import ConfigError
from verticlip.domains.liveness.minifasnet.checkpoints import CATEGORIES
from verticlip.domains.liveness.minifasnet.joining import join_networks
from verticlip.domains.liveness.minifasnet.model import MiniFASNetModel
from verticlip.domains.liveness.models.base import liveness_options


def trained(architecture: str, scale: float, taxonomy: Any = CATEGORIES, classes: int = 3) -> MiniFASNetModel:
    options = liveness_options(taxonomy)
    options["crops"] = [{"scale": scale, "size": 80, "shift": True}]
    options["networks"] = [{"architecture": architecture, "fourier": True, "classes": classes}]
    config = ModelConfig(
        name=f"t/{scale}", domain="liveness", architecture="minifasnet", embed_dim=0, options=options
    )
    model = MiniFASNetModel(config)
    with torch.no_grad():
        model.networks[0].model.prob.weight.normal_()
    return model.eval()


def test_two_networks_answer_together():
    near, far = trained("MiniFASNetV2", 2.7), trained("MiniFASNetV1SE", 4.0)
    joined = join_networks([near, far], name="mine/both")
    assert [crop.scale for crop in joined.crops] == [2.7, 4.0]
    assert joined.config.name == "mine/both"
    assert not any("FTGenerator" in name for name in joined.state_dict())
    one, two = {"pixels": pictures(2, seed=1)}, {"pixels": pictures(2, seed=2)}
    with torch.inference_mode():
        found = joined.liveness_scores([one, two]).softmax(dim=1)
        expected = (near.crop_logits(one, 0).softmax(1) + far.crop_logits(two, 0).softmax(1)) / 2
    torch.testing.assert_close(found, expected)


def test_one_network_without_its_branch_shares_nothing():
    model = trained("MiniFASNetV2SE", 1.0)
    joined = join_networks([model], name="mine/one")
    batch = {"pixels": pictures(2)}
    with torch.inference_mode():
        before = model.crop_logits(batch, 0).clone()
        joined.networks[0].prob.weight.zero_()
        torch.testing.assert_close(model.crop_logits(batch, 0), before)
    assert sum(one.numel() for one in joined.networks.parameters()) == 453_792


def test_what_cannot_be_joined():
    with pytest.raises(ConfigError, match="no network to join"):
        join_networks([], name="x")
    with pytest.raises(ConfigError, match="tells spoof, live apart, t/2.7 attack_a, live, attack_b"):
        join_networks(
            [trained("MiniFASNetV2", 2.7), trained("MiniFASNetV2", 4.0, "binary", classes=2)], name="x"
        )
