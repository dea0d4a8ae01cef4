"""Product models in the layouts of open_clip and transformers: parity, activations, files of other kinds."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from verticlip.core import registry
from verticlip.core.checkpoint import load_strict
from verticlip.core.conversion import build_empty
from verticlip.core.errors import ConfigError, WeightsError
from verticlip.core.processing import Processor
from verticlip.core.registry import PublishedWeights
from verticlip.domains.ecommerce.checkpoints.open_clip import convert, convert_siglip
from verticlip.domains.ecommerce.checkpoints.transformers import convert_clip
from verticlip.hub.published import how_by_hand, notice

sys.path.insert(0, str(Path(__file__).parents[3]))
sys.path.insert(0, str(Path(__file__).parent))

import make_clip
import make_open_clip_siglip as made

NAME = "ecommerce/marqo-fashion-siglip"
OPTIONS = {"activation": "gelu", "clean": "canonicalize"}

ARCHITECTURES = {
    "ecommerce/marqo-fashion-siglip": ("ViT-B-16-SigLIP", "gelu"),
    "ecommerce/marqo-fashion-clip": ("ViT-B-16", False),
    "ecommerce/marqo-ecommerce-b": ("ViT-B-16-SigLIP", "gelu"),
    "ecommerce/marqo-ecommerce-l": ("ViT-L-16-SigLIP-256", "gelu"),
    "ecommerce/fashion-clip": ("ViT-B-32-quickgelu", True),
    "ecommerce/open-fashion-clip": ("ViT-B-32", False),
    "ecommerce/siglip-vit-b16-webli": ("ViT-B-16-SigLIP", "gelu"),
    "ecommerce/clip-vit-b16-laion2b": ("ViT-B-16", False),
}
"""{model: (open_clip's architecture, its activation)}."""


def published(name: str) -> PublishedWeights:
    weights = registry.model_spec(name).weights
    assert isinstance(weights, PublishedWeights)
    return weights


def network(found):
    model = build_empty(found.config)
    load_strict(model, found.state, source="test")
    return model.eval()


def test_every_model_states_its_activation_licence_and_revision():
    specs = {
        name: spec
        for name, spec in registry.room("ecommerce").models.items()
        if isinstance(spec.weights, PublishedWeights)
    }
    assert set(specs) == set(ARCHITECTURES)
    for name, (_, activation) in ARCHITECTURES.items():
        options = published(name).options
        assert options.get("activation", options.get("quick_gelu")) == activation, name
        spec = specs[name]
        assert all((spec.intended_use, spec.paper, spec.licence, spec.summary)), name
        for file in published(name).files:
            assert len(file.revision or "") == 40 or file.page.startswith("https://"), name


@pytest.mark.parametrize("architecture", sorted({one for one, _ in ARCHITECTURES.values()}))
def test_registered_sizes_are_those_of_the_architecture(architecture):
    import open_clip

    settings = open_clip.get_model_config(architecture)
    for name in (name for name, (one, _) in ARCHITECTURES.items() if one == architecture):
        options = published(name).options
        assert options["embed_dim"] == settings["embed_dim"] == registry.model_spec(name).embed_dim
        assert options["image_size"] == settings["vision_cfg"]["image_size"]
        if "clean" in options:
            assert options["clean"] == settings["text_cfg"]["tokenizer_kwargs"]["clean"]
            assert "act_kwargs" not in settings["text_cfg"], "open_clip's own GELU is the exact one"
            assert settings["text_cfg"]["width"] // settings["text_cfg"]["heads"] == 64
        else:
            assert bool(settings.get("quick_gelu")) is options["quick_gelu"]


@torch.no_grad()
def test_a_siglip_answers_as_open_clip_does(tmp_path):
    from open_clip.tokenizer import get_clean_fn
    from open_clip.transform import PreprocessCfg, image_transform_v2
    from tokenizers import Tokenizer

    theirs = made.siglip()
    found = convert_siglip(NAME, made.saved(theirs, tmp_path), OPTIONS)
    ours, processor = network(found), Processor(found.processor, found.tokenizer_json)
    assert found.report.complete
    assert found.config.domain == "ecommerce"
    assert found.config.logit_bias == pytest.approx(-12.9)
    assert ours.scale().item() == pytest.approx(117, rel=0.01), "a published scale lies above 100"

    normal = torch.nn.functional.normalize
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8))
    settings = PreprocessCfg(
        size=made.SIZE, mean=(0.5,) * 3, std=(0.5,) * 3, interpolation="bicubic", resize_mode="squash"
    )
    pixels = image_transform_v2(settings, is_train=False)(picture)[None]
    torch.testing.assert_close(processor("image", [picture])["pixels"], pixels, atol=1e-6, rtol=0)
    have = ours.encode("image", {"pixels": pixels})
    assert float((have - normal(theirs.encode_image(pixels), dim=-1)).abs().max()) < 1e-5

    texts = ["A red_Dress, with &quot;LOGO&quot;!", "t-shirt"]
    clean = get_clean_fn("canonicalize")
    plain = Tokenizer.from_str(found.tokenizer_json)
    plain.no_truncation()
    plain.enable_padding(length=made.CONTEXT, pad_id=1, pad_token="</s>")
    expected = torch.tensor([plain.encode(clean(text)).ids for text in texts])
    ids = processor("text", texts)
    assert ids["input_ids"].tolist() == expected.tolist()
    have = ours.encode("text", ids)
    assert float((have - normal(theirs.encode_text(expected), dim=-1)).abs().max()) < 1e-5


@torch.no_grad()
def test_the_other_gelu_answers_differently(tmp_path):
    files = made.saved(made.siglip(), tmp_path)
    pixels = {"pixels": torch.randn(1, 3, made.SIZE, made.SIZE, generator=torch.Generator().manual_seed(1))}
    one, other = (
        network(convert_siglip(NAME, files, {**OPTIONS, "activation": activation})).embed("image", pixels)[0]
        for activation in ("gelu", "gelu_tanh")
    )
    assert float((one - other).abs().max()) > 1e-5
    with pytest.raises(ConfigError, match="activation"):
        convert_siglip(NAME, files, {"clean": "canonicalize"})
    with pytest.raises(ConfigError, match="clean"):
        convert_siglip(NAME, files, {"activation": "gelu"})


def test_siglip_files_that_do_not_fit_say_so(tmp_path):
    theirs = made.siglip()
    files = made.saved(theirs, tmp_path)
    with pytest.raises(WeightsError, match=r"has embed_dim 64; ecommerce/marqo-fashion-siglip has 768"):
        convert_siglip(NAME, files, published(NAME).options)
    with pytest.raises(WeightsError, match="has image_size 48; .* has 256"):
        convert_siglip(NAME, files, {**OPTIONS, "image_size": 256})
    with pytest.raises(ConfigError, match=r"needs a 'tokenizer' file \(tokenizer.json\)"):
        convert_siglip(NAME, {"weights": files["weights"]}, OPTIONS)
    with pytest.raises(WeightsError, match="a width of 64 is no multiple of 48 values per head"):
        convert_siglip(NAME, files, {**OPTIONS, "text_head_width": 48})
    (tmp_path / "other.json").write_text(made.tokenizer(41))
    with pytest.raises(WeightsError, match=r"other.json has 41 pieces, the word table .* 40 rows"):
        convert_siglip(NAME, {**files, "tokenizer": tmp_path / "other.json"}, OPTIONS)
    state = theirs.state_dict()
    del state["visual.trunk.norm.bias"]
    state["text.extra"] = torch.zeros(1)
    torch.save(state, tmp_path / "short.bin")
    with pytest.raises(WeightsError, match=r"short.bin is not a whole checkpoint of SigLIP: .*1 missing"):
        convert_siglip(NAME, {**files, "weights": tmp_path / "short.bin"}, OPTIONS)
    clip = make_clip.save(make_clip.open_clip_model(vocabulary=99, context=12), tmp_path / "clip.safetensors")
    with pytest.raises(WeightsError, match="clip.safetensors is no SigLIP of open_clip"):
        convert_siglip(NAME, {**files, "weights": clip}, OPTIONS)


@torch.no_grad()
def test_open_fashion_clip_keeps_its_weights_under_a_name_of_its_own(tmp_path):
    theirs = make_clip.open_clip_model(vocabulary=99, context=12)
    torch.save({"CLIP": theirs.state_dict(), "epoch": 3}, tmp_path / "finetuned_clip.pt")
    options = {**published("ecommerce/open-fashion-clip").options, "embed_dim": 24, "image_size": 32}
    files = {"weights": tmp_path / "finetuned_clip.pt"}
    found = convert("ecommerce/open-fashion-clip", files, {**options, "quick_gelu": True})
    pixels = torch.randn(1, 3, make_clip.SIZE, make_clip.SIZE, generator=torch.Generator().manual_seed(1))
    expected = theirs.encode_image(pixels)
    torch.testing.assert_close(
        network(found).embed("image", {"pixels": pixels})[0], expected, atol=1e-5, rtol=1e-5
    )
    assert found.config.domain == "ecommerce"
    with pytest.raises(WeightsError, match="finetuned_clip.pt: 'CLIP' is .*not a tensor"):
        convert("ecommerce/open-fashion-clip", files, {**options, "entry": "state_dict"})


@torch.no_grad()
def test_fashion_clip_answers_as_transformers_does(tmp_path):
    theirs = make_clip.transformers_model(vocabulary=99, context=12)
    weights = make_clip.save(theirs, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"text_config": {}, "vision_config": {}}))
    files = {"weights": weights, "config": tmp_path / "config.json"}
    options = {**published("ecommerce/fashion-clip").options, "embed_dim": 24, "image_size": 32}
    found = convert_clip("ecommerce/fashion-clip", files, options)
    pixels = torch.randn(1, 3, make_clip.SIZE, make_clip.SIZE, generator=torch.Generator().manual_seed(1))
    expected = theirs.get_image_features(pixel_values=pixels).pooler_output
    torch.testing.assert_close(
        network(found).embed("image", {"pixels": pixels})[0], expected, atol=1e-5, rtol=1e-5
    )
    gelu = {"text_config": {"hidden_act": "gelu"}, "vision_config": {"hidden_act": "gelu"}}
    (tmp_path / "config.json").write_text(json.dumps(gelu))
    with pytest.raises(ConfigError, match="text_config has the activation 'gelu', ecommerce/fashion-clip is"):
        convert_clip("ecommerce/fashion-clip", files, options)


@pytest.mark.slow
@torch.no_grad()
@pytest.mark.parametrize("name", ["ecommerce/marqo-fashion-siglip", "ecommerce/marqo-fashion-clip"])
def test_parity_at_the_published_size(name, tmp_path):
    import open_clip

    torch.manual_seed(0)
    theirs = open_clip.create_model(ARCHITECTURES[name][0], pretrained=None).eval()
    weights = make_clip.save(theirs, tmp_path / "open_clip_model.safetensors")
    weights_of = published(name)
    files = {"weights": weights}
    if weights_of.converter == "open_clip_siglip":
        files["tokenizer"] = tmp_path / "tokenizer.json"
        files["tokenizer"].write_text(made.tokenizer(32_000))
    found = registry.room("ecommerce").function("converters", weights_of.converter)(
        name, files, weights_of.options
    )
    ours, normal = network(found), torch.nn.functional.normalize
    pixels = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    assert (
        float(
            (ours.encode("image", {"pixels": pixels}) - normal(theirs.encode_image(pixels), dim=-1))
            .abs()
            .max()
        )
        < 1e-5
    )
    ids = torch.randint(2, 30_000, (1, theirs.context_length), generator=torch.Generator().manual_seed(2))
    have = ours.encode("text", {"input_ids": ids})
    assert float((have - normal(theirs.encode_text(ids), dim=-1)).abs().max()) < 1e-5


def test_what_users_are_told():
    by_hand = how_by_hand(registry.model_spec("ecommerce/open-fashion-clip"))
    assert "Download finetuned_clip.pt from https://github.com/aimagelab/open-fashion-clip" in by_hand
    said = notice(registry.model_spec("ecommerce/marqo-fashion-siglip"))
    assert "Apache-2.0" in said
    assert "Not for recognizing people" in said
