from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
import verticlip
from torch import Tensor
from verticlip.core.config import ModelConfig
from verticlip.core.errors import ConfigError, InputError
from verticlip.core.model import build_model
from verticlip.core.peft import apply_policy, merged
from verticlip.core.recipe import PeftConfig
from verticlip.core.types import Batch
from verticlip.domains.ecommerce.encoders.unified import UnifiedProductEncoder
from verticlip.facade import Model

sys.path.insert(0, str(Path(__file__).parent))
from make_product_models import CAUSAL, IMAGE, make_config, make_model, make_processor

TEXTS = ["red mug", "a blue shoe in white", "owl", "green frog lamp in a"]


@pytest.fixture(scope="module")
def network() -> UnifiedProductEncoder:
    return make_model("unified_product").network


@pytest.fixture(scope="module")
def inputs() -> dict[str, dict[str, Tensor]]:
    pixels = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    return {"image": {"pixels": pixels}, "text": make_processor()("text", TEXTS)}


def rows(inputs: dict, chosen: list[int]) -> dict:
    return {name: {key: value[chosen] for key, value in given.items()} for name, given in inputs.items()}


def close(got: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(got, expected, atol=2e-6, rtol=0)


def test_the_same_inputs_give_the_same_bits(network, inputs):
    with torch.inference_mode():
        first, second = (network.encode_views(inputs) for _ in range(2))
    for view, vectors in first.items():
        assert torch.equal(vectors, second[view])
        close(vectors.norm(dim=1), torch.ones(4))


def test_padding_changes_nothing(network, inputs):
    longer = dict(inputs)
    text = inputs["text"]
    longer["text"] = {
        "input_ids": torch.nn.functional.pad(text["input_ids"], (0, 3), value=5),
        "attention_mask": torch.nn.functional.pad(text["attention_mask"], (0, 3)),
    }
    with torch.inference_mode():
        for view, vectors in network.encode_views(inputs).items():
            close(network.encode_views(longer)[view], vectors)


def test_one_row_alone_is_the_row_among_others(network, inputs):
    with torch.inference_mode():
        whole = network.encode_views(inputs)
        for row in range(4):
            for view, vectors in network.encode_views(rows(inputs, [row])).items():
                close(vectors, whole[view][row : row + 1])


def test_a_masked_side_is_as_good_as_none(network, inputs):
    present = {
        "image": torch.tensor([True, True, False, True]),
        "text": torch.tensor([True, False, True, True]),
    }
    with torch.inference_mode():
        mixed = network.encode_views(inputs, present)
        whole = network.encode_views(inputs)
        close(mixed["product"][1], network.encode("image", rows(inputs, [1])["image"])[0])
        close(mixed["product"][2], network.encode("text", rows(inputs, [2])["text"])[0])
    close(mixed["product"][[0, 3]], whole["product"][[0, 3]])
    assert mixed["image"][2].abs().max() == 0
    assert mixed["text"][1].abs().max() == 0
    other = {name: dict(given) for name, given in inputs.items()}
    other["image"]["pixels"] = inputs["image"]["pixels"].clone()
    other["image"]["pixels"][2] = 100.0
    with torch.inference_mode():
        close(network.encode_views(other, present)["product"], mixed["product"])


def test_the_text_matters_to_the_product_and_not_to_the_picture(network, inputs):
    other = {**inputs, "text": rows(inputs, [1, 2, 3, 0])["text"]}
    with torch.inference_mode():
        first, second = network.encode_views(inputs), network.encode_views(other)
    close(first["image"], second["image"])
    assert (first["product"] - second["product"]).abs().max() > 1e-2


def test_views_of_training_and_inference_agree(network, inputs):
    with torch.inference_mode():
        fast = network.encode_views(inputs)
    slow = network.encode_views(inputs)
    for view, vectors in fast.items():
        close(slow[view].detach(), vectors)


def test_forward_of_pairs(network, inputs):
    sides = {f"{side}{name}": given for side in ("", "right_") for name, given in inputs.items()}
    changed = {f"changed_{name}": given for name, given in rows(inputs, [1, 0, 2, 3]).items()}
    fields = {f"field_{name}": given for name, given in inputs.items()}
    has_text = torch.tensor([True, True, False, True])
    batch = Batch({**sides, **changed, **fields}, extras={"has_text": has_text})
    found = network(batch).embeddings
    assert set(found) == {
        "left",
        "left_image",
        "left_text",
        "right",
        "changed",
        "field_image",
        "field_text",
    }
    close(found["left"][[0, 1, 3]], found["right"][[0, 1, 3]])
    close(found["left"][2], found["left_image"][2])
    close(found["changed"][[1, 0, 2, 3]], found["right"])
    close(found["field_text"][3], found["left_text"][3])
    assert network(batch).logit_scale.shape == ()
    with pytest.raises(InputError, match="keeps no tokens"):
        network(batch, tokens=("image",))
    only = network(Batch({"text": inputs["text"], "right_image": inputs["image"]})).embeddings
    assert set(only) == {"left", "left_text", "right"}
    close(only["left"], only["left_text"])
    plain = network(Batch(inputs), tokens=("image",))
    assert set(plain.embeddings) == {"image", "text"}
    assert plain.tokens["image"].grid == (2, 2)


def test_every_weight_learns(inputs):
    network = make_model("unified_product").network.train()
    pairs = {**inputs, **{f"right_{name}": given for name, given in rows(inputs, [2, 1, 0, 3]).items()}}
    found = network(Batch(pairs)).embeddings
    sum((found[name] * found["right"].detach().roll(1, 0)).sum() for name in found).backward()
    without = {name for name, parameter in network.named_parameters() if parameter.grad is None}
    assert without == {"logit_scale"}


def test_saved_and_loaded_it_answers_the_same(tmp_path):
    model = make_model("unified_product", seed=3)
    loaded = verticlip.from_pretrained(model.save(tmp_path / "model"))
    assert loaded.config == model.config
    for texts in (TEXTS[:1], TEXTS):
        assert torch.equal(loaded.embed(texts).vectors, model.embed(texts).vectors)


def test_zero_shot_classes_work():
    model = make_model("unified_product")
    answers = model.classify(torch.rand(2, 3, 20, 20), ["red mug", "blue shoe"], templates=["a {}"])
    assert [len(answer.scores) for answer in answers] == [2, 2]


def test_a_tower_without_mask_is_padded_to_the_context():
    model = make_model("unified_product", text=CAUSAL)
    alone = model.embed(["red mug"]).vectors
    close(model.embed(["red mug", "a blue shoe in white"]).vectors[:1], alone)


def test_dropout_acts_in_training_only(inputs):
    network = make_model("unified_product", dropout=0.5).network
    with torch.no_grad():
        assert torch.equal(network.encode_views(inputs)["product"], network.encode_views(inputs)["product"])
        network.train()
        first, second = (network.encode_views(inputs)["product"] for _ in range(2))
    assert not torch.equal(first, second)


def test_bad_configs_and_inputs_are_named(network, inputs):
    raw = make_config("unified_product").model_dump(mode="json")
    with pytest.raises(ConfigError, match=r"options: unknown key 'widht'. Did you mean 'width'"):
        build_model(ModelConfig.model_validate({**raw, "options": {"widht": 24}}))
    with pytest.raises(ConfigError, match="not a multiple of heads 7"):
        build_model(ModelConfig.model_validate({**raw, "options": {"width": 24, "heads": 7}}))
    with pytest.raises(ConfigError, match="takes an image and a text tower, got image"):
        build_model(ModelConfig.model_validate({**raw, "towers": {"image": IMAGE}}))
    with pytest.raises(InputError, match="Row 1 has neither picture nor text"):
        network.encode_views(inputs, dict.fromkeys(("image", "text"), torch.tensor([1, 0, 1, 1]).bool()))
    with pytest.raises(InputError, match="one of each per row"):
        network.encode_views({"image": inputs["image"], "text": rows(inputs, [0])["text"]})
    with pytest.raises(InputError, match="got none"):
        network.encode_views({})
    timm = {
        "backend": "timm",
        "architecture": "resnet10t",
        "options": {"channels": [8, 8, 16, 16], "stem_width": 8},
    }
    pooled = build_model(
        ModelConfig.model_validate({**raw, "towers": {"image": timm, "text": raw["towers"]["text"]}})
    )
    assert pooled.joint.inputs["image"].in_features == 16


def test_towers_of_open_clip_are_read_token_by_token():
    raw = make_config("unified_product").model_dump(mode="json")
    image = {"image_size": 16, "patch_size": 8, "width": 32, "layers": 1, "head_width": 16}
    text = {"context_length": 12, "vocab_size": 16, "width": 20, "heads": 2, "layers": 1}
    raw["towers"] = {
        "image": {"backend": "open_clip", "kind": "vision", "output_dim": 12, "options": image},
        "text": {"backend": "open_clip", "kind": "text", "output_dim": 12, "options": text},
    }
    network = build_model(ModelConfig.model_validate(raw)).eval()
    assert network.joint.inputs["image"].in_features == 32
    padded = make_processor(padding="context")
    pixels = torch.rand(2, 3, 16, 16)
    with torch.inference_mode():
        pair = {"image": {"pixels": pixels}, "text": padded("text", TEXTS[:2])}
        whole = network.encode_views(pair)["product"]
        close(network.encode_views(rows(pair, [1]))["product"], whole[1:])


def test_bfloat16_stays_close():
    exact = make_model("unified_product")
    rounded = Model(make_model("unified_product").network, exact.processor, dtype="bfloat16")
    first, second = exact.embed(TEXTS).vectors, rounded.embed(TEXTS).vectors
    assert second.dtype == torch.float32
    assert float((first * second).sum(dim=1).min()) > 0.999


def test_adapters_reach_the_joint_blocks():
    network = make_model("unified_product").network
    names = apply_policy(network, PeftConfig(policy="lora", rank=2))
    assert "joint.blocks.0.attn.in_proj_weight" in names
    assert not network.joint.norm.weight.requires_grad
    text = make_processor()("text", TEXTS)
    before = network.encode("text", text)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.startswith("joint.") and name.endswith(".up"):
                parameter.add_(0.5)
    adapted = network.encode("text", text)
    assert (adapted - before).abs().max() > 1e-2
    close(merged(network).encode("text", text), adapted)
