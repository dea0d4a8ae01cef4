from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
import verticlip
from verticlip.core.config import ModelConfig
from verticlip.core.errors import ConfigError
from verticlip.core.model import build_model
from verticlip.core.types import Batch
from verticlip.domains.ecommerce.encoders.fusing import Fusion, FusionWeights, fuse, fuse_fields, unit

sys.path.insert(0, str(Path(__file__).parent))
from make_product_models import make_config, make_model, make_processor


def make_inputs():
    pixels = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    return {"image": {"pixels": pixels}, "text": make_processor()("text", ["red mug", "owl", "a shoe"])}


def test_it_begins_with_the_published_shares():
    network = make_model("fused_product").network
    torch.testing.assert_close(network.shares(), torch.tensor([0.9, 0.1]))
    found = network.encode_views(make_inputs())
    expected = unit(0.9 * found["image"] + 0.1 * found["text"])
    torch.testing.assert_close(found["product"], expected, atol=1e-6, rtol=0)


def test_shares_are_learned_or_fixed():
    network = make_model("fused_product").network
    network.encode_views(make_inputs())["product"].sum().backward()
    assert network.fusion.grad.abs().max() > 0
    fixed = make_model("fused_product", learn=False, image_share=0.6).network
    assert "fusion" in fixed.state_dict()
    assert "fusion" not in dict(fixed.named_parameters())
    torch.testing.assert_close(fixed.shares(), torch.tensor([0.6, 0.4]))


def test_it_takes_the_weights_of_any_two_towers():
    plain = make_model("contrastive").network
    fused = build_model(make_config("fused_product"))
    missing, unexpected = fused.load_state_dict(plain.state_dict(), strict=False)
    assert (missing, unexpected) == (["fusion"], [])
    inputs = make_inputs()
    for name, given in inputs.items():
        torch.testing.assert_close(fused.encode(name, given), plain.encode(name, given))


def test_rows_without_a_side():
    network = make_model("fused_product").network
    present = {"image": torch.tensor([True, False, True]), "text": torch.tensor([True, True, False])}
    found = network.encode_views(make_inputs(), present)
    torch.testing.assert_close(found["product"][1], found["text"][1])
    torch.testing.assert_close(found["product"][2], found["image"][2])
    assert found["text"][2].abs().max() == 0
    found["product"].sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)


def test_forward_of_one_product_each_is_that_of_two_towers():
    outputs = make_model("fused_product").network(Batch(make_inputs()))
    assert set(outputs.embeddings) == {"image", "text"}


def test_saved_and_loaded(tmp_path):
    model = make_model("fused_product", image_share=0.7)
    loaded = verticlip.from_pretrained(model.save(tmp_path / "model"))
    assert torch.equal(loaded.network.fusion, model.network.fusion)
    raw = make_config("fused_product").model_dump(mode="json")
    with pytest.raises(ConfigError, match="image_share"):
        build_model(ModelConfig.model_validate({**raw, "options": {"image_share": 1.5}}))


def test_the_closest_category_counts():
    fusion = Fusion(
        by_category={
            "Home": FusionWeights(image=0.5, text=0.5),
            "Home > Tools > Drills": FusionWeights(image=0.2, text=0.8),
        }
    )
    assert fusion.of("Home > Tools").text == 0.5
    assert fusion.of("Home>Tools > Drills > Hammer Drills").text == 0.8
    assert fusion.of("Homeware").text == 0.1
    assert fusion.of(None).text == 0.1
    with pytest.raises(ValueError, match="both 0"):
        Fusion(image=0, text=0)


def test_zero_vectors_stay_finite():
    zeros, flags = torch.zeros(2, 3, requires_grad=True), torch.tensor([True, True])
    made = fuse(zeros, zeros, torch.tensor([0.9, 0.1]), {"image": flags, "text": flags})
    made.sum().backward()
    assert torch.isfinite(made).all()
    assert torch.isfinite(zeros.grad).all()


def test_a_missing_field_leaves_its_share_to_the_others():
    image, text, brand = torch.eye(6)[:2], 3 * torch.eye(6)[2:4], torch.eye(6)[4:]
    yes, some, no = torch.ones(2).bool(), torch.tensor([True, False]), torch.zeros(2).bool()
    shares = torch.tensor([0.9, 0.1, 0.5])
    two = fuse_fields([(image, yes), (text, yes), (brand, no)], shares)
    torch.testing.assert_close(two, unit(0.9 * image + 0.1 * unit(text)))
    mixed = fuse_fields([(image, some), (text, ~some), (brand, some)], shares)
    torch.testing.assert_close(mixed[0], unit(0.9 * image[0] + 0.5 * brand[0]))
    torch.testing.assert_close(mixed[1], unit(text[1]))
    per_row = torch.tensor([[0.9, 0.1], [0.2, 0.8]])
    both = {"image": yes, "text": yes}
    torch.testing.assert_close(
        fuse_fields([(image, yes), (text, yes)], per_row), fuse(image, text, per_row, both)
    )
