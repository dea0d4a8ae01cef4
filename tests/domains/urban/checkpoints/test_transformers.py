"""Satellite models in the layouts of transformers, against transformers itself."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from verticlip.core.checkpoint import load_strict
from verticlip.core.conversion import build_empty
from verticlip.core.errors import ConfigError, WeightsError
from verticlip.core.processing import Processor
from verticlip.domains.urban.checkpoints.transformers import convert_clip, convert_siglip

sys.path.insert(0, str(Path(__file__).parents[3]))
sys.path.insert(0, str(Path(__file__).parent))

import make_clip
from make_siglip import TEXT, VISION, saved, siglip, tokenizer

NAME = "urban/git-rsclip-base"


def network(found):
    model = build_empty(found.config)
    load_strict(model, found.state, source="test")
    return model.eval()


@torch.no_grad()
@pytest.mark.parametrize("activation", ["gelu_pytorch_tanh", "gelu"])
def test_siglip_embeds_as_in_transformers(tmp_path, activation):
    text, vision = {**TEXT, "hidden_act": activation}, {**VISION, "hidden_act": activation}
    # One width for both: the towers meet in the space of the image tower.
    text["projection_size"] = VISION["hidden_size"]
    theirs = siglip(text, vision)
    found = convert_siglip(NAME, saved(theirs, tmp_path, text=text, vision=vision), {})
    ours = network(found)
    processor = Processor(found.processor, found.tokenizer_json)
    ids = processor("text", ["a satellite image of a river", "a river"])
    assert ids["input_ids"].tolist()[1] == [3, 7, *[1] * 8], "padded to the full length with </s>"
    expected = theirs.get_text_features(input_ids=ids["input_ids"]).pooler_output
    torch.testing.assert_close(ours.embed("text", ids)[0], expected, atol=1e-5, rtol=1e-5)
    pixels = torch.randn(2, 3, 40, 40, generator=torch.Generator().manual_seed(1))
    expected = theirs.get_image_features(pixel_values=pixels).pooler_output
    torch.testing.assert_close(ours.embed("image", {"pixels": pixels})[0], expected, atol=1e-5, rtol=1e-5)
    assert ours.scale().item() == pytest.approx(117, rel=0.01), "a published scale lies above 100"
    assert found.config.logit_bias == pytest.approx(-12.9)
    assert found.report.complete
    # The pixels that transformers' own image processor makes of a picture.
    import transformers

    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8))
    prepare = transformers.SiglipImageProcessorPil(size={"height": 40, "width": 40}, resample=3)
    expected = torch.as_tensor(np.array(prepare(picture, return_tensors="np")["pixel_values"]))
    torch.testing.assert_close(processor("image", [picture])["pixels"], expected, atol=2e-6, rtol=0)


def test_siglip_files_that_do_not_fit_say_so(tmp_path):
    theirs = siglip({"projection_size": 32})
    files = saved(theirs, tmp_path)
    with pytest.raises(ConfigError, match=r"needs a 'tokenizer' file \(tokenizer.json\)"):
        convert_siglip(NAME, {key: files[key] for key in ("weights", "config")}, {})
    with pytest.raises(WeightsError, match="model.safetensors has embed_dim 32; .* has 768"):
        convert_siglip(NAME, files, {"embed_dim": 768})
    with pytest.raises(WeightsError, match="model.safetensors has image_size 40; .* has 256"):
        convert_siglip(NAME, files, {"image_size": 256})
    other = saved(theirs, tmp_path / "b", vision={**VISION, "image_size": 224})
    with pytest.raises(WeightsError, match="2 x 2 positions of 16 pixels; config.json says 224 pixels"):
        convert_siglip(NAME, other, {})
    other = saved(theirs, tmp_path / "c", vision={**VISION, "hidden_act": "relu"})
    with pytest.raises(ConfigError, match="vision_config has the activation 'relu'; known are gelu_pytorch"):
        convert_siglip(NAME, other, {})
    other = saved(theirs, tmp_path / "d", text={**TEXT, "layer_norm_eps": 0.1})
    with pytest.raises(ConfigError, match="text_config has layer_norm_eps 0.1; expected 1e-06"):
        convert_siglip(NAME, other, {})
    other = saved(theirs, tmp_path / "e", text={**TEXT, "num_attention_heads": 5})
    with pytest.raises(WeightsError, match="a width of 24 does not divide into 5 heads"):
        convert_siglip(NAME, other, {})
    (tmp_path / "tokenizer.json").write_text(tokenizer(41))
    with pytest.raises(WeightsError, match="tokenizer.json has 41 pieces, the word table .* 40 rows"):
        convert_siglip(NAME, files, {})
    state = theirs.state_dict()
    del state["vision_model.head.mlp.fc1.bias"]
    torch.save(state, tmp_path / "short.bin")
    with pytest.raises(
        WeightsError, match=r"short.bin is not a whole checkpoint of SigLIP: image: 1 missing"
    ):
        convert_siglip(NAME, {**files, "weights": tmp_path / "short.bin"}, {})
    clip = make_clip.save(make_clip.open_clip_model(vocabulary=99, context=12), tmp_path / "clip.safetensors")
    with pytest.raises(WeightsError, match="clip.safetensors is no SigLIP: it has no attention pooling"):
        convert_siglip(NAME, {**files, "weights": clip}, {})


@torch.no_grad()
def test_clip_of_transformers_and_its_activation(tmp_path):
    theirs = make_clip.transformers_model(vocabulary=99, context=12)
    weights = make_clip.save(theirs, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(
        json.dumps({"text_config": {}, "vision_config": {"hidden_size": 64}})
    )
    files = {"weights": weights, "config": tmp_path / "config.json"}
    ours = network(convert_clip("urban/clip-rsicd-v2", files, {"quick_gelu": True}))
    pixels = torch.randn(2, 3, make_clip.SIZE, make_clip.SIZE, generator=torch.Generator().manual_seed(1))
    expected = theirs.get_image_features(pixel_values=pixels).pooler_output
    torch.testing.assert_close(ours.embed("image", {"pixels": pixels})[0], expected, atol=1e-5, rtol=1e-5)
    with pytest.raises(ConfigError, match="text_config has the activation 'quick_gelu', .* 'gelu'"):
        convert_clip("urban/clip-rsicd-v2", files, {"quick_gelu": False})
    with pytest.raises(ConfigError, match="quick_gelu"):
        convert_clip("urban/clip-rsicd-v2", files, {})
    other = make_clip.save(make_clip.open_clip_model(vocabulary=99, context=12), tmp_path / "o.safetensors")
    with pytest.raises(WeightsError, match="o.safetensors is no CLIPModel of transformers"):
        convert_clip("urban/clip-rsicd-v2", {"weights": other}, {"quick_gelu": True})
