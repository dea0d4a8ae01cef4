"""Satellite CLIPs in open_clip's layout: parity with open_clip, and the activation of every published file."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

import pytest
import torch
from verticlip.core import registry
from verticlip.core.checkpoint import load_strict
from verticlip.core.conversion import build_empty
from verticlip.core.errors import ConfigError, WeightsError
from verticlip.core.registry import PublishedWeights
from verticlip.domains.urban.checkpoints.open_clip import convert
from verticlip.domains.urban.checkpoints.transformers import convert_clip
from verticlip.hub.published import how_by_hand, notice

sys.path.insert(0, str(Path(__file__).parents[3]))

import make_clip

ACTIVATIONS = {
    "urban/remoteclip-rn50": ("RN50-quickgelu", True),
    "urban/remoteclip-vit-b32": ("ViT-B-32-quickgelu", True),
    "urban/remoteclip-vit-l14": ("ViT-L-14-quickgelu", True),
    "urban/georsclip-vit-b32": ("ViT-B-32-quickgelu", True),
    "urban/georsclip-vit-b32-ret2": ("ViT-B-32-quickgelu", True),
    "urban/georsclip-vit-b32-rsicd": ("ViT-B-32-quickgelu", True),
    "urban/georsclip-vit-l14": ("ViT-L-14-quickgelu", True),
    "urban/georsclip-vit-l14-336": ("ViT-L-14-336-quickgelu", True),
    "urban/georsclip-vit-h14": ("ViT-H-14", False),
    "urban/skyclip-vit-l14-top30": ("ViT-L-14-quickgelu", True),
    "urban/skyclip-vit-l14-top50": ("ViT-L-14-quickgelu", True),
    "urban/skyclip-vit-l14-top30-laion-rs": ("ViT-L-14-quickgelu", True),
    "urban/skyclip-vit-l14-top30-multi-objects": ("ViT-L-14-quickgelu", True),
    "urban/skyclip-vit-b32-top50": ("ViT-B-32", False),
    "urban/clip-laion-rs-vit-l14": ("ViT-L-14-quickgelu", True),
    "urban/clip-rsicd-v2": ("ViT-B-32-quickgelu", True),
    "urban/clip-rsicd": ("ViT-B-32-quickgelu", True),
    "urban/openai-clip-vit-b32": ("ViT-B-32-quickgelu", True),
    "urban/openai-clip-vit-l14": ("ViT-L-14-quickgelu", True),
}
"""{model: (open_clip's architecture, quick GELU)}: what section 13 of the survey found for each file."""


def published(name: str) -> PublishedWeights:
    weights = registry.model_spec(name).weights
    assert isinstance(weights, PublishedWeights)
    return weights


def network(found):
    model = build_empty(found.config)
    load_strict(model, found.state, source="test")
    return model.eval()


def pixels(size: int) -> torch.Tensor:
    return torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(1))


def test_every_clip_of_the_room_states_its_activation():
    with_word = {
        name
        for name, spec in registry.room("urban").models.items()
        if isinstance(spec.weights, PublishedWeights) and "quick_gelu" in spec.weights.options
    }
    assert with_word == set(ACTIVATIONS)
    for name, (_, quick) in ACTIVATIONS.items():
        assert published(name).options["quick_gelu"] is quick, name


@pytest.mark.parametrize("architecture", sorted({one for one, _ in ACTIVATIONS.values()}))
def test_the_registered_sizes_are_those_of_the_architecture(architecture, monkeypatch):
    import open_clip
    from open_clip.model import CLIP
    from verticlip.core.layouts import open_clip as converter

    with torch.device("meta"):
        theirs = CLIP(**open_clip.get_model_config(architecture))
    state = theirs.state_dict()
    del state["logit_scale"]
    monkeypatch.setattr(converter, "read_clip", lambda *_, **__: state)
    for name in (name for name, (one, _) in ACTIVATIONS.items() if one == architecture):
        weights, spec = published(name), registry.model_spec(name)
        if weights.converter != "open_clip":
            continue
        found = convert(name, {"weights": Path("weights.pt")}, weights.options)
        assert found.config.embed_dim == spec.embed_dim
        assert spec.modalities == tuple(found.config.towers)
        empty = build_empty(found.config)
        assert spec.parameters == sum(value.numel() for value in empty.parameters())
        wanted = {key: value.shape for key, value in empty.state_dict().items()}
        assert {key: value.shape for key, value in found.state.items()} == wanted
        for tower in found.config.towers.values():
            assert tower.quick_gelu is architecture.endswith("quickgelu")
        image, theirs_image = found.config.towers["image"], theirs.visual
        if hasattr(theirs_image, "transformer"):
            assert image.heads == theirs_image.transformer.resblocks[0].attn.num_heads
        else:
            assert (
                image.options["width"] * 32 // image.options["head_width"] == theirs_image.attnpool.num_heads
            )
        assert found.config.towers["text"].heads == theirs.transformer.resblocks[0].attn.num_heads
        assert found.processor.image.size == theirs_image.image_size == weights.options["image_size"] or (
            found.processor.image.size == theirs_image.image_size[0]
        )


@torch.no_grad()
def test_the_wrong_activation_loads_and_answers_differently(tmp_path):
    theirs = make_clip.open_clip_model(vocabulary=99, context=12)
    path = make_clip.save(theirs, tmp_path / "RemoteCLIP-ViT-B-32.safetensors")
    expected = theirs.encode_image(pixels(make_clip.SIZE))
    right = network(convert("urban/x", {"weights": path}, {"quick_gelu": True}))
    wrong = network(convert("urban/x", {"weights": path}, {"quick_gelu": False}))
    given = {"pixels": pixels(make_clip.SIZE)}
    torch.testing.assert_close(right.embed("image", given)[0], expected, atol=1e-5, rtol=1e-5)
    assert float((wrong.embed("image", given)[0] - expected).abs().max()) > 1e-3
    with pytest.raises(ConfigError, match="quick_gelu"):
        convert("urban/x", {"weights": path}, {})


@pytest.mark.slow
@torch.no_grad()
@pytest.mark.parametrize(
    "name", ["urban/remoteclip-vit-b32", "urban/skyclip-vit-b32-top50", "urban/remoteclip-rn50"]
)
def test_parity_at_the_published_size(name, tmp_path):
    import open_clip
    from open_clip.model import CLIP

    architecture, _ = ACTIVATIONS[name]
    torch.manual_seed(0)
    theirs = CLIP(**open_clip.get_model_config(architecture)).eval()
    # As SkyCLIP's trainer leaves it: distributed names, and optimizer and scaler beside the weights.
    state = {f"module.{key}": value for key, value in theirs.state_dict().items()}
    optimizer = {"state": {}, "param_groups": [{"lr": 1e-9}]}
    torch.save(
        {"epoch": 20, "name": "x", "state_dict": state, "optimizer": optimizer}, tmp_path / "epoch_20.pt"
    )
    found = convert(name, {"weights": tmp_path / "epoch_20.pt"}, published(name).options)
    ours = network(found)
    assert found.report.complete
    normal = torch.nn.functional.normalize
    ids = open_clip.tokenize(["a satellite image of a river"])
    both = (
        (ours.encode("image", {"pixels": pixels(224)}), theirs.encode_image(pixels(224))),
        (ours.encode("text", {"input_ids": ids}), theirs.encode_text(ids)),
    )
    for have, want in both:
        assert float((have - normal(want, dim=-1)).abs().max()) < 1e-5
    assert ours.scale().item() == pytest.approx(1 / 0.07, rel=1e-5)


def test_files_of_other_kinds_say_so(tmp_path):
    theirs = make_clip.open_clip_model(vocabulary=99, context=12)
    path = make_clip.save(theirs, tmp_path / "small.safetensors")
    with pytest.raises(
        WeightsError, match=r"small.safetensors has embed_dim 24; urban/remoteclip-vit-b32 has 512"
    ):
        convert("urban/remoteclip-vit-b32", {"weights": path}, published("urban/remoteclip-vit-b32").options)
    with pytest.raises(WeightsError, match="has image_size 32; urban/x has 336"):
        convert("urban/x", {"weights": path}, {"quick_gelu": True, "image_size": 336})
    with pytest.raises(ConfigError, match="urban/x: the converter needs a 'weights' file"):
        convert("urban/x", {}, {"quick_gelu": True})
    with zipfile.ZipFile(tmp_path / "SkyCLIP.zip", "w") as archive:
        archive.writestr("SkyCLIP/epoch_20.pt", b"x")
    with pytest.raises(
        WeightsError, match="SkyCLIP.zip is the download itself. Unpack it and give SkyCLIP/epoch_20"
    ):
        convert("urban/x", {"weights": tmp_path / "SkyCLIP.zip"}, {"quick_gelu": True})
    # A CoCa has the same image and text names, and more.
    state = {**theirs.state_dict(), "text_decoder.text_projection": torch.zeros(2, 2)}
    torch.save(state, tmp_path / "coca.bin")
    with pytest.raises(
        WeightsError, match=r"coca.bin holds 1 tensors that CLIP does not have \(text_decoder"
    ):
        convert("urban/x", {"weights": tmp_path / "coca.bin"}, {"quick_gelu": True})


def test_what_users_are_told():
    sky = how_by_hand(registry.model_spec("urban/skyclip-vit-l14-top30"))
    assert "Download epoch_20.pt from https://opendatasharing" in sky
    assert "SkyCLIP_ViT_L14_top30pct.zip" in sky
    assert "--file weights=epoch_20.pt" in sky
    said = notice(registry.model_spec("urban/remoteclip-vit-b32"))
    assert "weights under no stated licence. Intended use: Research" in said
    for spec in registry.room("urban").models.values():
        if isinstance(spec.weights, PublishedWeights):
            assert all((spec.intended_use, spec.paper, spec.licence)), spec.name
            if "urban/georsclip" in spec.name or "urban/remoteclip" in spec.name:
                assert all(len(file.revision or "") == 40 for file in spec.weights.files)
    assert convert_clip is registry.room("urban").function("converters", "transformers_clip")
