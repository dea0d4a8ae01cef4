"""CLIP towers in both layouts that they are shared in, against the libraries they come from."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from verticlip.core.checkpoint import load_strict
from verticlip.core.clip_layout import clip_processor, clip_towers
from verticlip.core.config import ModelConfig
from verticlip.core.conversion import build_empty
from verticlip.core.errors import WeightsError

sys.path.insert(0, str(Path(__file__).parents[1]))

import make_clip

SIZE, VOCABULARY = make_clip.SIZE, 100


def open_clip_model():
    return make_clip.open_clip_model(vocabulary=VOCABULARY, context=12)


def transformers_model():
    return make_clip.transformers_model(vocabulary=VOCABULARY, context=12)


def ours(state):
    found = clip_towers(state, source="clip.safetensors")
    config = ModelConfig.model_validate({"name": "a/b", "embed_dim": found.embed_dim, "towers": found.towers})
    network = build_empty(config)
    load_strict(network, {"logit_scale": torch.tensor(0.0), **found.state}, source="clip")
    return network.eval(), found


def inputs():
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randn(2, 3, SIZE, SIZE, generator=generator)
    ids = torch.randint(1, VOCABULARY - 1, (2, 12), generator=generator)
    ids[0, 5], ids[0, 6:], ids[1, 11] = VOCABULARY - 1, 0, VOCABULARY - 1
    return pixels, ids


@torch.no_grad()
def test_the_layout_of_open_clip():
    theirs, (pixels, ids) = open_clip_model(), inputs()
    network, found = ours(theirs.state_dict())
    assert torch.allclose(
        network.embed("image", {"pixels": pixels})[0], theirs.encode_image(pixels), atol=1e-5
    )
    assert torch.allclose(network.embed("text", {"input_ids": ids})[0], theirs.encode_text(ids), atol=1e-5)
    assert found.report.complete
    assert set(found.report.towers) == {"image", "text", "scalars"}
    prefixed = {
        name if name.startswith(("visual.", "logit_scale")) else f"text.{name}": tensor
        for name, tensor in theirs.state_dict().items()
    }
    assert set(ours(prefixed)[1].state) == set(found.state)


@torch.no_grad()
def test_the_layout_of_transformers():
    theirs, (pixels, ids) = transformers_model(), inputs()
    network, found = ours(theirs.state_dict())
    image, text = theirs.get_image_features(pixels), theirs.get_text_features(ids)
    image, text = (getattr(one, "pooler_output", one) for one in (image, text))
    assert torch.allclose(network.embed("image", {"pixels": pixels})[0], image, atol=1e-5)
    assert torch.allclose(network.embed("text", {"input_ids": ids})[0], text, atol=1e-5)
    assert found.towers["text"]["vocab_size"] == VOCABULARY
    assert found.report.complete


def test_the_processor_is_that_of_clip():
    processor = clip_processor(clip_towers(open_clip_model().state_dict(), source="clip").towers)
    assert (processor.image.size, processor.image.interpolation, processor.image.resampler) == (
        32,
        "bicubic",
        "pillow",
    )
    assert processor.text.tokenizer == "open_clip_bpe"


def test_other_files_are_refused():
    state = open_clip_model().state_dict()
    with pytest.raises(
        WeightsError, match=r"other.bin is no CLIP with an image tower and a text tower. Give"
    ):
        clip_towers({"a": torch.zeros(1)}, source="other.bin")
    with pytest.raises(WeightsError, match=r"holds 1 tensors that CLIP does not have \(head.weight\)"):
        clip_towers({**state, "head.weight": torch.zeros(1)}, source="clip")
    broken = transformers_model().state_dict()
    del broken["text_model.encoder.layers.1.self_attn.k_proj.weight"]
    with pytest.raises(WeightsError, match="self_attn.k_proj.weight is missing"):
        clip_towers(broken, source="clip")
    odd = {**state, "visual.positional_embedding": torch.zeros(4, make_clip.WIDTH)}
    with pytest.raises(WeightsError, match="3 image positions are no square"):
        clip_towers(odd, source="clip")


def resnet_model(layers=(1, 2, 1, 1), size=64):
    from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg

    torch.manual_seed(0)
    vision = CLIPVisionCfg(layers=list(layers), width=16, image_size=size, head_width=64)
    text = CLIPTextCfg(context_length=12, vocab_size=VOCABULARY, width=64, heads=1, layers=2)
    return CLIP(make_clip.DIMENSION, vision, text, quick_gelu=True).eval()


@torch.no_grad()
def test_a_resnet_with_attention_pooling():
    theirs, (_, ids) = resnet_model(), inputs()
    # Statistics of real weights are not those that a fresh network starts with.
    for name, value in theirs.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            value.uniform_(0.5, 1.5)
    network, found = ours(theirs.state_dict())
    pixels = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    assert torch.allclose(
        network.embed("image", {"pixels": pixels})[0], theirs.encode_image(pixels), atol=1e-5
    )
    assert torch.allclose(network.embed("text", {"input_ids": ids})[0], theirs.encode_text(ids), atol=1e-5)
    assert found.towers["image"]["options"] == {
        "image_size": 64, "layers": [1, 2, 1, 1], "width": 16, "head_width": 64,
    }  # fmt: skip
    assert clip_processor(found.towers).image.size == 64
    assert found.report.complete
    state = theirs.state_dict()
    del state["visual.layer2.1.bn3.running_var"]
    with pytest.raises(WeightsError, match="1 tensors are missing, first visual.layer2.1.bn3.running_var"):
        clip_towers(state, source="clip")
    wide = {**theirs.state_dict(), "visual.attnpool.c_proj.weight": torch.zeros(24, 32)}
    with pytest.raises(WeightsError, match="its attention pooling does not fit a stem of 16"):
        clip_towers(wide, source="clip")


def test_heads_follow_the_width_of_a_head():
    state = make_clip.open_clip_model(width=128, vocabulary=VOCABULARY, context=12).state_dict()
    found = clip_towers(state, source="clip", image_head_width=32)
    assert (found.towers["image"]["heads"], found.towers["text"]["heads"]) == (4, 2)
    with pytest.raises(WeightsError, match="clip: a width of 128 is no multiple of 80 values per head"):
        clip_towers(state, source="clip", image_head_width=80)
