from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F
from verticlip.core.config import ModelConfig
from verticlip.core.conversion import build_empty
from verticlip.core.errors import ConfigError, InputError
from verticlip.core.heatmaps import as_groundable
from verticlip.core.model import build_model
from verticlip.core.types import Batch
from verticlip.domains.medical.conceptclip.convert import BACKBONE
from verticlip.domains.medical.conceptclip.model import EXTRAS, ConceptClip


@pytest.fixture
def inputs(processor, picture):
    images = processor("image", [picture, 255 - picture])
    texts = processor("text", ["chest x ray with pleural effusion", "brain mri"])
    return images, texts


def without_heads(converted, **changes):
    raw = converted.config.model_dump()
    raw["options"] = {**raw["options"], **changes}
    return ModelConfig.model_validate(raw)


def test_it_is_built_by_its_name_with_exact_gelu(network):
    assert isinstance(network, ConceptClip)
    assert network.config.architecture == "conceptclip"
    blocks = network.towers["image"].model.blocks
    assert all(block.mlp.act.approximate == "none" for block in blocks)
    assert network.image_proj[1].approximate == network.text_proj[1].approximate == "none"


def test_encode_and_tokens(network, inputs):
    images, texts = inputs
    unit = network.encode("image", images)
    torch.testing.assert_close(unit.norm(dim=1), torch.ones(2))
    patches = network.encode_tokens("image", images)
    assert (patches.tokens.shape, patches.grid) == ((2, 16, 48), (4, 4))
    projected = network.encode_tokens("image", images, project=True)
    torch.testing.assert_close(projected.tokens, network.project_patches(patches.tokens))
    tokens = network.encode_tokens("text", texts)
    assert tokens.tokens.shape[-1] == 40
    torch.testing.assert_close(
        network.encode_tokens("text", texts, project=True).tokens, network.project_tokens(tokens.tokens)
    )


def test_padding_does_not_change_an_answer_whatever_the_mask(network, processor):
    short = processor("text", ["brain mri"])
    ids = F.pad(short["input_ids"], (0, 9))
    want = network.encode("text", short)
    torch.testing.assert_close(network.encode("text", {"input_ids": ids}), want, atol=3e-7, rtol=0)
    everything = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    torch.testing.assert_close(network.encode("text", everything), want, atol=3e-7, rtol=0)


def test_forward_gives_the_extras_that_are_asked_for(network, inputs):
    images, texts = inputs
    batch = Batch({"image": images, "text": texts})
    outputs = network(batch, extras=EXTRAS)
    assert set(outputs.extras) == set(EXTRAS)
    assert outputs.tokens == {}
    assert outputs.extras["image_concepts"].shape == (2, 16, 48)
    torch.testing.assert_close(outputs.extras["concept_scale"], network.concept_logit_scale.exp())
    assert set(network(batch).extras) == set()
    assert set(network(batch, tokens=("text",), extras=("image_concepts",)).tokens) == {"text"}
    with pytest.raises(InputError, match=r"gives no extra 'image_concept'.*Did you mean 'image_concepts'"):
        network(batch, extras=("image_concept",))
    # An extra that cannot be made is said to be missing, not left out in silence.
    with pytest.raises(InputError, match="'text_concepts' needs 'text' in the batch, which has image"):
        network(Batch({"image": batch.inputs["image"]}), extras=("text_concepts",))
    with pytest.raises(InputError, match="'image_concepts' needs 'image' in the batch, which has text"):
        network(Batch({"text": batch.inputs["text"]}), extras=("image_concepts",))


def test_similarity_modes(network, inputs):
    images, texts = inputs
    left, right = network.encode("image", images), network.encode("text", texts)
    cosines = left @ right.T
    torch.testing.assert_close(network.similarity(left, right), cosines)
    scale, bias = network.scale(), network.logit_bias
    torch.testing.assert_close(
        network.similarity(left, right, mode="softmax"), (scale * cosines).softmax(dim=1)
    )
    torch.testing.assert_close(
        network.similarity(left, right, mode="sigmoid"), torch.sigmoid(scale * cosines + bias)
    )
    with pytest.raises(ConfigError, match=r"no mode 'sigmoids'.*Did you mean 'sigmoid'"):
        network.similarity(left, right, mode="sigmoids")


def test_both_scales_are_clamped(converted):
    fresh = build_model(converted.config)
    with torch.no_grad():
        fresh.logit_scale.fill_(9.0)
        fresh.concept_logit_scale.fill_(-1.0)
    fresh.clamp_scale_()
    assert fresh.logit_scale.item() == pytest.approx(math.log(100))
    assert fresh.concept_logit_scale.item() == 0.0
    assert fresh.concept_logit_bias.item() == -10.0


def test_phrase_maps_read_the_concept_inside_its_sentence(network, processor, inputs):
    images, _ = inputs
    texts = processor("text", ["a scan of lung with lung nodule", "brain mri"])
    maps, scores = network.phrase_maps(
        images, texts, phrases=["lung nodule", "brain mri"], processor=processor
    )
    assert (maps.shape, scores.shape) == ((2, 2, 4, 4), (2, 2))
    torch.testing.assert_close(scores, maps.flatten(2).amax(dim=2))
    low, high = network.map_range
    assert low <= maps.min() <= maps.max() <= high
    assert as_groundable(network) is network
    states = network.encode_tokens("text", texts, project=True).tokens
    ids = texts["input_ids"][0].tolist()
    start = ids.index(processor("text", ["nodule"])["input_ids"][0, 1].item())
    concept = states[0, start - 1 : start + 1].mean(0)
    patches = F.normalize(network.encode_tokens("image", images, project=True).tokens, dim=-1)
    want = network.concept_scale() * patches @ F.normalize(concept, dim=0) + network.concept_bias()
    torch.testing.assert_close(maps[:, 0].flatten(1), want)
    with pytest.raises(InputError, match="Phrase 1, 'glioma', is not in the text"):
        network.phrase_maps(images, texts, phrases=["lung nodule", "glioma"], processor=processor)
    with pytest.raises(InputError, match="1 phrases for 2 texts"):
        network.phrase_maps(images, texts, phrases=["lung"], processor=processor)


def test_an_image_of_another_size_is_refused(network):
    with pytest.raises(InputError, match=r"expected \[B, 3, 32 x 32\], got \[1, 3, 40, 40\]"):
        network.encode("image", {"pixels": torch.zeros(1, 3, 40, 40)})
    with pytest.raises(InputError, match=r"got None"):
        network.encode("image", {})


def test_weights_of_the_first_stage_have_no_local_answers(converted, inputs):
    network = build_model(without_heads(converted, concept_heads=False)).eval()
    images, _ = inputs
    assert network.encode("image", images).shape == (2, 48)
    assert not [name for name, _ in network.named_parameters() if "concept" in name or "image_proj" in name]
    network.clamp_scale_()
    for call in (
        lambda: network.encode_tokens("image", images, project=True),
        lambda: network(Batch({"image": images}), extras=("image_concepts",)),
        lambda: network(Batch({"image": images}), extras=("concept_scale",)),
        network.concept_bias,
    ):
        with pytest.raises(InputError, match="has no concept heads: these are weights of the first"):
            call()


def test_bad_configs_are_named(converted):
    raw = converted.config.model_dump()
    with pytest.raises(ConfigError, match=r"needs the towers 'image' and 'text'.*got image \(timm\)"):
        ConceptClip(ModelConfig.model_validate({**raw, "towers": {"image": raw["towers"]["image"]}}))
    with pytest.raises(ConfigError, match=r"unknown key 'concept_head'. Did you mean 'concept_heads'"):
        build_model(without_heads(converted, concept_head=False))


def test_a_saved_model_gives_the_same_answers(model, tmp_path, picture):
    import verticlip

    model.save(tmp_path / "saved")
    again = verticlip.from_pretrained(tmp_path / "saved")
    torch.testing.assert_close(again.embed(picture).vectors, model.embed(picture).vectors, atol=1e-6, rtol=0)
    assert torch.equal(again.network.image_proj[2].weight, model.network.image_proj[2].weight)


def test_the_published_size_has_the_published_number_of_parameters():
    config = ModelConfig.model_validate(
        {
            "name": "medical/conceptclip", "domain": "medical", "architecture": "conceptclip",
            "embed_dim": 1152, "logit_bias": -10.0,
            "towers": {
                "image": {
                    "backend": "timm", "architecture": BACKBONE, "projection": "none",
                    "options": {
                        "img_size": 384, "patch_size": 14, "embed_dim": 1152, "depth": 27, "num_heads": 16,
                        "mlp_ratio": 4304.5 / 1152,
                    },
                },
                "text": {
                    "backend": "bert", "projection": "linear", "vocab_size": 30522, "width": 768, "layers": 12,
                    "heads": 12, "mlp_width": 3072, "pooling": "mean",
                },
            },
        }
    )  # fmt: skip
    network = build_empty(config)
    assert sum(parameter.numel() for parameter in network.parameters()) == 542_868_036
    assert network.patch_grid == (27, 27)
