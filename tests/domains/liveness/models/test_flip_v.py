"""FLIP-V: a classifier on the image tower alone."""

from __future__ import annotations

import pytest
import torch
from liveness.models import make_models
from verticlip.core.config import ModelConfig
from verticlip.core.errors import ConfigError
from verticlip.core.model import build_model
from verticlip.core.types import Batch
from verticlip.domains.liveness.models.base import liveness_options, score_crops


def ready(**options):
    return make_models.network("flip_v", taxonomy="binary", **options)


def batch():
    generator = torch.Generator().manual_seed(1)
    side = make_models.SIZE
    return Batch({"image": {"pixels": torch.randn(4, 3, side, side, generator=generator)}})


def test_how_it_starts():
    raw = {
        "name": "test/v", "embed_dim": 400, "domain": "liveness", "architecture": "flip_v",
        "towers": make_models.towers(
            text=False, output_dim=None, projection="linear", projection_bias=True, width=200
        ),
        "options": liveness_options("binary"),
    }  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = build_model(ModelConfig.model_validate(raw))
    hidden, classifier = network.projections["image"], network.classifier
    assert float(hidden.weight.detach().std()) == pytest.approx(0.005, rel=0.05)
    assert float(classifier.weight.detach().std()) == pytest.approx(0.01, rel=0.1)
    assert torch.equal(hidden.bias, torch.full((400,), 0.1))
    assert set(classifier.bias.tolist()) == {0.0}
    assert network.options.dropout == 0.5
    assert not network.logit_scale.requires_grad


def test_the_length_of_an_embedding_is_the_root_of_half_of_that_of_its_features():
    network = ready()
    found = network.head(torch.randn(5, 16, generator=torch.Generator().manual_seed(0)))
    lengths = found.hidden.norm(dim=1)
    assert torch.allclose(found.embedding.norm(dim=1), (lengths / 2).sqrt())
    nothing = network.head(torch.full((1, 16), -1e9))
    assert torch.isfinite(nothing.embedding).all()


def test_training_replaces_the_weight_and_inference_does_not():
    network = ready()
    start = network.classifier.weight.detach().clone()
    with torch.inference_mode():
        served = network.crop_logits(batch().inputs["image"], 0)
    assert torch.equal(network.classifier.weight, start)
    network.train()
    logits = network(batch(), extras=("category_logits",)).extras["category_logits"]
    assert torch.allclose(network.classifier.weight.norm(dim=0), torch.ones(12))
    assert torch.allclose(network.classifier.weight, start / start.norm(dim=0))
    logits.square().sum().backward()
    assert network.classifier.weight.grad is not None
    assert network.projections["image"].weight.grad.abs().sum() > 0
    with torch.inference_mode():
        assert torch.allclose(network.eval().crop_logits(batch().inputs["image"], 0), served, atol=1e-5)


def test_the_optimizer_moves_the_replaced_weight():
    network = ready(dropout=0.0).train()
    optimizer = torch.optim.SGD(network.classifier.parameters(), lr=0.1)
    loss = network(batch(), extras=("category_logits",)).extras["category_logits"].square().sum()
    loss.backward()
    replaced, gradient = network.classifier.weight.detach().clone(), network.classifier.weight.grad.clone()
    optimizer.step()
    assert torch.allclose(network.classifier.weight, replaced - 0.1 * gradient)


def test_two_forwards_before_one_backward():
    network = ready().train()
    first = network(batch(), extras=("category_logits",)).extras["category_logits"]
    second = network(batch(), extras=("category_logits",)).extras["category_logits"]
    (first.sum() + second.sum()).backward()
    assert torch.isfinite(network.classifier.weight.grad).all()
    assert not torch.equal(first, second)


def test_scores_and_embeddings():
    handle = make_models.handle("flip_v", taxonomy="binary")
    pictures = make_models.pictures(3)
    scores = score_crops(handle, [pictures])
    assert scores.logits.shape == (3, 2)
    embedded = handle.embed(pictures, modality="image").vectors
    assert torch.allclose(embedded.norm(dim=1), torch.ones(3), atol=1e-5)
    inputs = handle.processor("image", pictures)
    outputs = handle.network(Batch({"image": inputs}), extras=("category_logits", "live_margin"))
    assert torch.allclose(outputs.extras["category_logits"], scores.logits, atol=1e-4)
    assert torch.allclose(outputs.extras["live_margin"].double(), scores.margin, atol=1e-4)
    assert torch.allclose(outputs.embeddings["image"], embedded, atol=1e-5)


def test_patches_for_maps_of_relevance():
    outputs = ready()(batch(), tokens=("image",))
    assert outputs.tokens["image"].tokens.shape == (4, 4, 16)
    assert outputs.tokens["image"].grid == (2, 2)


@pytest.mark.parametrize(
    "towers",
    [
        make_models.towers(),
        make_models.towers(text=False),
        make_models.towers(text=False, output_dim=None, projection="linear"),
    ],
)
def test_other_towers(towers):
    raw = {
        "name": "test/v", "embed_dim": make_models.DIM, "domain": "liveness", "architecture": "flip_v",
        "towers": towers, "options": liveness_options("binary"),
    }  # fmt: skip
    with pytest.raises(ConfigError, match="'flip_v' is one image tower with projection 'linear'"):
        build_model(ModelConfig.model_validate(raw))
