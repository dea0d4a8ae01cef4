"""FLIP's checkpoints and general CLIPs, converted: same answers, and nothing runs that lies in a file."""

from __future__ import annotations

import json
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from liveness.models import flip_oracle as oracle
from verticlip.core.checkpoint import load_strict
from verticlip.core.conversion import build_empty
from verticlip.core.errors import ConfigError, WeightsError
from verticlip.core.processing import Processor
from verticlip.core.prompts import PromptSet
from verticlip.domains.liveness.faces.crop import CropConfig
from verticlip.domains.liveness.models.base import score_crops
from verticlip.domains.liveness.models.checkpoints import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    convert_flip,
    convert_open_clip,
    convert_transformers,
)
from verticlip.domains.liveness.models.flip_mcl import FlipMCL
from verticlip.domains.liveness.taxonomy import load_taxonomy
from verticlip.facade import Model

sys.path.insert(0, str(Path(__file__).parents[3]))

import make_clip

CLIP = oracle.sizes(
    context_length=77, vocab_size=49_408, transformer_width=8, transformer_heads=1, vision_layers=1
)
NAME = "liveness/test"


def weights(kind="flip_it"):
    """Return random weights of a variant under FLIP's names, float32."""
    generator = torch.Generator().manual_seed(0)
    clip = oracle.clip_state(CLIP, generator)
    state = {f"model.{name}": one for name, one in clip.items()}
    if kind == "flip_mcl":
        sizes = {"ssl_mlp_dim": 10, "ssl_emb_dim": 6}
        made = oracle.projector_state(CLIP, sizes, generator)
        state |= {f"image_mlp.{name}": one for name, one in made.items()}
    if kind == "flip_v":
        visual = {name: one for name, one in clip.items() if name.startswith("visual.")}
        state = {name.replace("visual.", "backbone.vit."): one for name, one in visual.items()}
        hidden = oracle.normal((12, CLIP["vision_width"]), 0.3, generator), torch.full((12,), 0.1)
        for alias in ("embedder.bottleneck_layer_fc", "embedder.bottleneck_layer.0"):
            state |= dict(zip((f"{alias}.weight", f"{alias}.bias"), hidden, strict=True))
        state["classifier.classifier_layer.weight"] = oracle.normal((2, 12), 0.5, generator)
        state["classifier.classifier_layer.bias"] = torch.tensor([0.1, -0.2])
    return {name: one.float() if one.is_floating_point() else one for name, one in state.items()}


def checkpoint(path, state):
    """Write a training checkpoint as FLIP does, numbers of numpy included."""
    judged = [np.float64(0.3), np.float32(91.0), np.float64(0.05), np.float64(0.04), 0.99, np.float64(0.5)]
    content = {
        "epoch": 12, "state_dict": state, "valid_arg": [*judged, np.float64(0.95), np.int64(1)],
        "best_model_EER": np.float64(0.04), "best_model_ACER": 100.0, "best_model_ACC": 0.0,
        "threshold": np.float64(0.51),
    }  # fmt: skip
    torch.save(content, path)
    return path


def loaded(converted):
    network = build_empty(converted.config)
    load_strict(network, converted.state, source="converted")
    return Model(network.eval(), Processor(converted.processor, converted.tokenizer_json))


def noise(count=2, side=16):
    generator = np.random.default_rng(0)
    return [generator.integers(0, 256, (side, side, 3), dtype=np.uint8) for _ in range(count)]


def normalized(pictures):
    """Return what FLIP's network sees of pictures of its own size."""
    pixels = np.stack(pictures).transpose(0, 3, 1, 2) / 255
    mean, std = (np.array(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
    return torch.from_numpy((pixels - mean) / std)


@pytest.mark.parametrize(("kind", "architecture"), [("flip_it", "categories"), ("flip_mcl", "flip_mcl")])
def test_models_that_read_text(tmp_path, kind, architecture):
    path = checkpoint(tmp_path / "casia_flip_mcl_checkpoint_run_0.pth.tar", weights(kind))
    options = {"text_head_width": 8}
    converted = convert_flip(NAME, {"weights": path}, options)
    assert converted.report.complete
    assert converted.config.architecture == architecture
    model = loaded(converted)
    assert model.network.taxonomy == load_taxonomy("binary")
    assert model.network.crops == (CropConfig(scale=1.0, align=True),)
    pictures = noise()
    found = score_crops(model, [pictures]).logits
    state = {name.removeprefix("model."): one.double() for name, one in weights("flip_it").items()}
    ids = model.processor("text", list(model.network.taxonomy.texts))["input_ids"]
    texts = oracle.text_features(state, CLIP, ids).split([6, 6])
    images = oracle.image_features(state, CLIP, normalized(pictures))[1]
    expected = oracle.logits_of(state, images, texts)
    assert torch.allclose(found.double(), expected, atol=1e-4)
    if isinstance(model.network, FlipMCL):
        assert (model.network.options.ssl_width, model.network.options.ssl_dim) == (10, 6)


def test_the_model_without_text(tmp_path):
    path = checkpoint(tmp_path / "casiaflip_v_checkpoint_run_0.pth.tar", weights("flip_v"))
    converted = convert_flip(NAME, {"weights": path}, {"crops": "wcs"})
    assert converted.report.towers["image"].dropped == ("backbone.vit.proj",)
    assert converted.report.towers["head"].dropped == (
        "embedder.bottleneck_layer.0.weight",
        "embedder.bottleneck_layer.0.bias",
    )
    assert converted.processor.text is None
    model = loaded(converted)
    assert model.network.crops == (CropConfig(scale=None),)
    state = {
        name.replace("backbone.vit.", "visual."): one.double() for name, one in weights("flip_v").items()
    }
    features = oracle.image_features(state, CLIP, normalized(noise()))[0]
    hidden = features @ state["embedder.bottleneck_layer_fc.weight"].T
    hidden = (hidden + state["embedder.bottleneck_layer_fc.bias"]).clamp(min=0)
    embedding = hidden / (2 * hidden.norm(dim=1, keepdim=True)).sqrt()
    last = state["classifier.classifier_layer.weight"]
    expected = embedding @ (last / last.norm(dim=0)).T + state["classifier.classifier_layer.bias"]
    assert torch.allclose(score_crops(model, [noise()]).logits.double(), expected, atol=1e-4)


def test_a_flip_v_file_may_lack_what_is_not_used(tmp_path):
    state = weights("flip_v")
    for name in list(state):
        if name == "backbone.vit.proj" or "bottleneck_layer_fc" in name:
            del state[name]
    whole = convert_flip(NAME, {"weights": checkpoint(tmp_path / "a.pth.tar", weights("flip_v"))}, {})
    lean = convert_flip(NAME, {"weights": checkpoint(tmp_path / "b.pth.tar", state)}, {})
    assert lean.config == whole.config
    assert all(torch.equal(lean.state[name], one) for name, one in whole.state.items())


def test_pixels_as_flip_was_trained(tmp_path):
    converted = convert_flip(NAME, {"weights": checkpoint(tmp_path / "a.pth.tar", weights())}, {})
    image = converted.processor.image
    assert (image.size, image.resize, image.interpolation) == (16, "squash", "bicubic")
    assert (image.resampler, image.mean, image.std) == ("pillow", IMAGENET_MEAN, IMAGENET_STD)
    prompts = PromptSet.model_validate(yaml.safe_load(converted.prompts_yaml))
    assert prompts == load_taxonomy("binary").prompts()
    assert converted.config.prompts == "binary"


def test_weights_without_a_training_checkpoint_and_a_large_scale(tmp_path):
    state = weights()
    state["model.logit_scale"] = torch.tensor(4.61)
    torch.save(state, tmp_path / "plain.pth")
    converted = convert_flip(NAME, {"weights": tmp_path / "plain.pth"}, {"taxonomy": "default"})
    assert float(converted.state["logit_scale"]) == pytest.approx(4.61)
    assert converted.config.logit_scale < 4.606
    assert len(loaded(converted).network.taxonomy.categories) == 9


class Bomb:
    """What runs code when a careless reader unpickles it."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.write_text, (self.path, "gone off")


@pytest.mark.parametrize("protocol", ["zip", "plain"])
def test_code_in_a_checkpoint_is_refused(tmp_path, protocol):
    path, trace = tmp_path / "casia.pth.tar", tmp_path / "trace"
    content = {"state_dict": weights(), "threshold": Bomb(trace)}
    if protocol == "zip":
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content, protocol=2))
    with pytest.raises(
        WeightsError, match=r"casia.pth.tar: not a checkpoint .* without running its code \(it asks for \w+"
    ):
        convert_flip(NAME, {"weights": path}, {})
    assert not trace.exists()


def without(state, name):
    return {key: one for key, one in state.items() if key != name}


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (without(weights(), "model.visual.ln_post.bias"), "1 tensors are missing, first visual.ln_post.bias"),
        (without(weights(), "model.logit_scale"), "model.logit_scale is missing"),
        (
            without(weights("flip_mcl"), "image_mlp.bn2.bias"),
            r"projector is not whole.*\(image_mlp.bn2.bias\)",
        ),
        ({**weights("flip_mcl"), "image_mlp.layer4.bias": torch.zeros(1)}, r"\(image_mlp.layer4.bias\)"),
        ({**weights(), "head.weight": torch.zeros(2)}, r"no checkpoint of FLIP.* It holds 'head.weight'"),
        ({**weights(), "model.head.weight": torch.zeros(2)}, "holds 1 tensors that CLIP does not have"),
        ({"linear.weight": torch.zeros(2)}, r"no checkpoint of FLIP, whose tensors are called model\.\.\."),
        (without(weights("flip_v"), "classifier.classifier_layer.bias"), "head: 1 missing .classifier.bias"),
        (
            without(weights("flip_v"), "backbone.vit.ln_pre.bias"),
            "not a whole checkpoint of FLIP-V: image: 1 mis",
        ),
        ({**weights("flip_v"), "extra.bias": torch.zeros(2)}, r"other: 1 unexpected \(extra.bias\)"),
        (
            {**weights("flip_v"), "embedder.bottleneck_layer.0.bias": torch.zeros(12)},
            "embedder.bottleneck_layer.0.bias and its second name hold different values",
        ),
    ],
)
def test_other_files_are_refused(tmp_path, state, said):
    with pytest.raises(WeightsError, match=f"a.pth.tar.*{said}"):
        convert_flip(NAME, {"weights": checkpoint(tmp_path / "a.pth.tar", state)}, {})


def test_settings_that_do_not_fit_the_file(tmp_path):
    files = {"weights": checkpoint(tmp_path / "a.pth.tar", weights("flip_v"))}
    with pytest.raises(WeightsError, match="has the live class last; in taxonomy 'default' it is not"):
        convert_flip(NAME, files, {"taxonomy": "default"})
    three = load_taxonomy("binary").model_dump(mode="json")
    three["categories"].insert(0, {**three["categories"][0], "id": "mask"})
    (tmp_path / "three.json").write_text(json.dumps(three))
    with pytest.raises(WeightsError, match="tells 2 classes apart; taxonomy 'binary' has 3"):
        convert_flip(NAME, files, {"taxonomy": str(tmp_path / "three.json")})
    with pytest.raises(WeightsError, match=r"sees pictures of 16 pixels; liveness/test of 224"):
        convert_flip(NAME, files, {"image_size": 224})
    with pytest.raises(ConfigError, match="converter options: unknown key 'crop'. Did you mean 'crops'"):
        convert_flip(NAME, files, {"crop": "mcio"})
    with pytest.raises(ConfigError, match="crops: .*'mcio' or 'wcs'"):
        convert_flip(NAME, files, {"crops": "oulu"})
    with pytest.raises(ConfigError, match="needs a 'weights' file"):
        convert_flip(NAME, {}, {})
    shared = convert_flip(
        NAME,
        {"weights": checkpoint(tmp_path / "b.pth.tar", {f"module.{k}": v for k, v in weights().items()})},
        {},
    )
    assert shared.report.complete


def test_flip_weights_in_open_clip_give_the_same_answers(tmp_path):
    theirs = make_clip.open_clip_model(vocabulary=49_408)
    state = {f"model.{name}": one for name, one in theirs.state_dict().items() if name != "attn_mask"}
    converted = convert_flip(NAME, {"weights": checkpoint(tmp_path / "a.pth.tar", state)}, {})
    model = loaded(converted)
    inputs = model.processor("image", noise(side=make_clip.SIZE))["pixels"]
    ids = model.processor("text", list(model.network.taxonomy.texts))["input_ids"]
    with torch.no_grad():
        images, texts = theirs.encode_image(inputs), theirs.encode_text(ids)
        expected = oracle.logits_of(theirs.state_dict(), images, texts.split([6, 6]))
    found = score_crops(model, [noise(side=make_clip.SIZE)]).logits
    assert torch.allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("layout", ["open_clip", "transformers"])
def test_a_general_clip_answers_by_texts(tmp_path, layout):
    if layout == "open_clip":
        path = make_clip.save(make_clip.open_clip_model(), tmp_path / "clip.safetensors")
        convert = convert_open_clip
    else:
        path = make_clip.save(make_clip.transformers_model(), tmp_path / "model.safetensors")
        convert = convert_transformers
    crop = {"scale": 3.0}
    converted = convert(
        "liveness/clip", {"weights": path}, {"quick_gelu": True, "crops": [crop], "average": "normalise_each"}
    )
    assert converted.config.architecture == "categories"
    assert (converted.config.prompts, converted.processor.image.resize) == ("default", "squash")
    model = loaded(converted)
    assert model.network.crops == (CropConfig(scale=3.0),)
    pictures = noise(3, side=40)
    scores = score_crops(model, [pictures])
    general = model.classify(pictures, templates=load_taxonomy("default").prompts())
    for row, one in enumerate(general):
        names = load_taxonomy("default").ids
        assert [one.scores[name] for name in names] == pytest.approx(
            scores.probabilities[row].tolist(), abs=1e-5
        )
    default = convert("liveness/clip", {"weights": path}, {"quick_gelu": True, "resize": "shortest"})
    assert loaded(default).network.crops == (CropConfig(scale=2.0, square=True),)
    assert default.processor.image.resize == "shortest"
    with pytest.raises(ConfigError, match="No taxonomy called 'defualt'"):
        convert("liveness/clip", {"weights": path}, {"quick_gelu": True, "taxonomy": "defualt"})
    with pytest.raises(ConfigError, match="quick_gelu"):
        convert("liveness/clip", {"weights": path}, {})
