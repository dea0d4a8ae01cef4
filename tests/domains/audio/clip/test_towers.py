"""CLIP towers in both layouts that they are shared in, against the libraries they come from."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from verticlip.core.checkpoint import load_strict
from verticlip.core.config import ModelConfig
from verticlip.core.conversion import build_empty
from verticlip.core.errors import WeightsError
from verticlip.domains.audio.clip.towers import clip_processor, clip_towers

sys.path.insert(0, str(Path(__file__).parent))

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
        WeightsError, match=r"other.bin is no CLIP with a Vision Transformer and a text tower. Give"
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
