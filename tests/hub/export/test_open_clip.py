"""open_clip loads what is exported for it and answers as the model does."""

from __future__ import annotations

import json
import logging
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).parent))

import make_exports as make
from PIL import Image
from verticlip.core.config import ModelConfig, ProcessorConfig, TimmTower
from verticlip.core.errors import ConfigError, WeightsError
from verticlip.core.files import read_json, sha256_of
from verticlip.core.layouts import to_open_clip
from verticlip.core.layouts.siglip_towers import ImageSizes, image_tower
from verticlip.core.registry import room
from verticlip.facade import Model
from verticlip.hub.export import export, exportable
from verticlip.hub.export import open_clip as module
from verticlip.hub.export.comparing import cropped_alike
from verticlip.hub.export.report import ExportRefused

TEXTS = ["a photo of a cat", "red shirt", "a very long sentence about a small house on a hill"]


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def timm_knows(monkeypatch):
    make.teach_timm(monkeypatch)


def photographs():
    rng = np.random.default_rng(3)
    sizes = ((70, 45), (33, 90), (32, 32), (20, 25))
    small = [Image.fromarray(rng.integers(0, 256, (3, 4, 3), dtype=np.uint8)) for _ in sizes]
    return [one.resize(size, Image.Resampling.BICUBIC) for one, size in zip(small, sizes, strict=True)]


def answers_there(name):
    """Embeddings of pictures and texts as a stranger gets them: by open_clip alone."""
    import open_clip

    model, _, preprocess = open_clip.create_model_and_transforms(name)
    tokenizer = open_clip.get_tokenizer(name)
    model.eval()
    with torch.no_grad():
        pixels = torch.stack([preprocess(picture) for picture in photographs()])
        return (
            model.encode_image(pixels, normalize=True),
            model.encode_text(tokenizer(TEXTS), normalize=True),
            model,
        )


def answers_here(subject):
    with torch.no_grad():
        return (
            subject.network.encode("image", subject.processor("image", photographs())),
            subject.network.encode("text", subject.processor("text", TEXTS)),
        )


def timm_tower(projection_bias):
    tower = {"backend": "timm", "architecture": "test_resnet", "projection_bias": projection_bias}
    return make.subject({"image": make.linear(tower), "text": make.out(make.CLIP_TEXT)})


MODELS = {
    "clip": make.clip,
    "resnet": lambda: make.subject({"image": make.RESNET, "text": make.out(make.CLIP_TEXT)}),
    "timm": lambda: timm_tower(False),
    "timm with bias": lambda: timm_tower(True),
    "projection behind": lambda: make.subject(
        {"image": make.linear(make.VIT), "text": make.linear(make.CLIP_TEXT, projection_bias=True)}
    ),
    "logit bias": lambda: make.clip(logit_bias=-9.0),
    "longest": lambda: make.clip(
        processing=make.processor({"resize": "longest", "interpolation": "bilinear"})
    ),
    "siglip": make.siglip,
    "siglip, plain texts": lambda: make.siglip("whitespace"),
    "coca": make.coca,
}


@pytest.mark.parametrize("kind", MODELS)
def test_open_clip_answers_as_the_model(kind, tmp_path, timm_knows):
    subject = MODELS[kind]()
    report = export(subject, tmp_path / "out", "open_clip")
    assert report.passed
    assert len(report.checks) == 6
    image, text, model = answers_there(f"local-dir:{tmp_path / 'out'}")
    here = answers_here(subject)
    assert torch.allclose(image, here[0], atol=2e-5)
    assert torch.allclose(text, here[1], atol=2e-5)
    assert model.logit_scale.exp().item() == pytest.approx(subject.network.scale().item(), rel=1e-6)
    if subject.network.logit_bias is None:
        assert model.logit_bias is None
    else:
        assert model.logit_bias.item() == subject.network.logit_bias.item()
    # Answers differ from input to input, else the comparison would say nothing.
    assert F.cosine_similarity(image[0], image[1], dim=0) < 0.9999
    assert F.cosine_similarity(text[0], text[1], dim=0) < 0.9999


def test_the_folder_says_what_it_is(tmp_path):
    report = export(make.clip(), tmp_path / "out", "open_clip")
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"open_clip_config.json", "open_clip_model.safetensors", "README.md", "report.json"}
    assert report.files == {name: sha256_of(tmp_path / "out" / name) for name in names - {"report.json"}}
    stored = json.loads((tmp_path / "out" / "report.json").read_text())
    assert stored == json.loads(json.dumps(report.to_dict()))
    assert stored["passed"]
    page = (tmp_path / "out" / "README.md").read_text()
    assert "Licence of the weights: MIT" in page
    assert yaml.safe_load(page.split("---")[1])["license"] == "mit"
    assert str(tmp_path) not in (tmp_path / "out" / "README.md").read_text()


def test_the_page_shows_the_text_of_others_as_text(tmp_path):
    licence = "x\n---\n<script>a</script> [b](http://c)"
    export(make.word_clip(licence=licence), tmp_path / "out", "open_clip")
    page = (tmp_path / "out" / "README.md").read_text()
    head = yaml.safe_load(page.split("---\n")[1])
    assert head == {
        "library_name": "open_clip", "pipeline_tag": "zero-shot-image-classification", "license": "other",
        "license_name": head["license_name"],
    }  # fmt: skip
    assert page.count("\n---\n") == 1
    assert "&lt;script&gt;a&lt;/script&gt; \\[b\\]" in page


def test_pictures_by_another_kernel_are_said_and_bounded(tmp_path):
    report = export(make.trained_clip(), tmp_path / "out", "open_clip")
    names = [check.name for check in report.checks]
    assert "image embedding, its pixels, 1 - cosine" in names
    assert any("resizes by the kernel of Pillow" in note for note in report.notes)
    image, _, _ = answers_there(f"local-dir:{tmp_path / 'out'}")
    assert F.cosine_similarity(image, answers_here(make.trained_clip())[0]).min() > 0.998


@pytest.mark.parametrize(
    ("towers", "settings", "message"),
    [
        ({"text": make.BERT}, {}, "its text tower is one of BERT. open_clip builds such towers from the config"),
        (
            {"image": {"backend": "timm", "architecture": "resnet18d", "projection": "linear",
                       "options": {"channels": [8, 8, 16, 16]}}},
            {},
            r"timm's resnet18d with channels=\[8, 8, 16, 16\]. open_clip builds backbones of timm by name alone",
        ),
        ({"image": {**make.VIT, "projection": "mlp"}}, {}, "its image projection is an 'mlp'"),
        ({"image": make.linear(make.VIT, output_dim=8)}, {}, "a second matrix behind that of the tower"),
        ({"image": make.linear(make.VIT, projection_bias=True)}, {}, "its image projection has a bias"),
        ({"image": make.out(make.VIT, channels=1)}, {}, "takes 1 channels; open_clip's takes 3"),
        ({"image": make.out(make.VIT, quick_gelu=True)}, {}, "the activation quick_gelu and the other gelu"),
        ({"image": None}, {}, "open_clip holds an image and a text tower; this model has text"),
        ({}, {"image": {"standardize": 0.1}}, "takes each picture's own mean and deviation; that of open_clip"),
        ({}, {"image": {"stretch": (1, 99)}}, "stretches the values of each picture"),
        ({}, {"image": {"trim_border": 0.1}}, "trims dark borders"),
        ({}, {"image": {"short_side": 40}}, "it resizes pictures to 40 pixels and crops 32"),
        ({}, {"text": {"strip_end": "."}}, "takes '.' off the end of texts"),
        ({}, {"text": {"clean": "canonicalize"}}, "takes punctuation out of texts before OpenAI's tokenizer"),
    ],
)  # fmt: skip
def test_what_open_clip_has_no_words_for(towers, settings, message, tmp_path):
    chosen = {"image": make.out(make.VIT), "text": make.out(make.CLIP_TEXT), **towers}
    subject = make.subject(
        {name: tower for name, tower in chosen.items() if tower}, make.processor(**settings)
    )
    with pytest.raises(ConfigError, match=f"test/small cannot be exported to open_clip: .*{message}"):
        export(subject, tmp_path / "out", "open_clip")
    assert not list(tmp_path.iterdir())


def test_crops_of_another_pixel_are_said_and_left_out_of_the_comparison(tmp_path):
    subject = make.word_clip({"center": "floor"})
    report = export(subject, tmp_path / "out", "open_clip")
    said = next(note for note in report.notes if "an odd number of pixels is cropped" in note)
    assert "the model begins one pixel earlier than open_clip" in said
    figure = float(re.search(r"1 - cosine up to (\S+),", said)[1])
    assert 1e-5 < figure < 0.2
    image, _, _ = answers_there(f"local-dir:{tmp_path / 'out'}")
    here = answers_here(subject)[0]
    # 38 of the 70 rows go from the first after shrinking, an even number; 26 of 58 and none of the others.
    alike = [cropped_alike(subject.processor.config.image, one, "open_clip") for one in photographs()]
    assert set(alike) == {False, True}
    assert torch.allclose(image[alike], here[alike], atol=2e-5)
    assert not torch.allclose(image, here, atol=2e-5)


def test_texts_that_the_model_takes_as_they_come_are_mended_there_and_that_is_said(tmp_path):
    words = {"tokenizer": "tokenizer_json", "clean": "none"}
    subject = make.subject(
        {"image": make.out(make.VIT), "text": make.out({**make.CLIP_TEXT, "vocab_size": 64})},
        make.processor(text=words),
    )
    report = export(subject, tmp_path / "out", "open_clip")
    assert any("the model takes them as they come" in note for note in report.notes)
    _, text, _ = answers_there(f"local-dir:{tmp_path / 'out'}")
    assert torch.allclose(text, answers_here(subject)[1], atol=2e-5)


@pytest.mark.parametrize("name", ["medical/tiny", "urban/tiny", "audio/tiny-tagger", "liveness/tiny"])
def test_why_the_packaged_models_cannot_go_there(name):
    folder = room(name.split("/")[0]).folder / "weights" / name.split("/")[1]
    config = ModelConfig.model_validate(read_json(folder / "config.json"))
    reasons = exportable(config, ProcessorConfig.model_validate(read_json(folder / "processor.json")))
    assert reasons["open_clip"]
    assert reasons["transformers"]
    wanted = {"audio/tiny-tagger": "has audio and text", "liveness/tiny": "'categories' has parts and rules"}
    assert wanted.get(name, "timm") in reasons["open_clip"]


@pytest.mark.parametrize(
    ("sizes", "activation", "name"),
    [
        ((224, 16, 768, 12, 12, 3072), "gelu", "vit_base_patch16_siglip_224"),
        ((256, 32, 768, 12, 12, 3072), "gelu_tanh", "vit_base_patch32_siglip_256"),
        ((384, 14, 1152, 27, 16, 4304), "gelu", "vit_so400m_patch14_siglip_384"),
        ((224, 16, 768, 12, 12, 3072), "gelu_tanh", None),
    ],
)
def test_published_siglips_have_a_name_in_timm(sizes, activation, name):
    tower = TimmTower.model_validate(image_tower(ImageSizes(*sizes), activation=activation))
    assert to_open_clip.timm_name(tower)[0] == name


def test_a_tensor_that_differs_is_refused_and_nothing_stays(tmp_path, monkeypatch):
    made = to_open_clip.open_clip_layout

    def wrong(config, image_size=None):
        layout = made(config, image_size)

        def rename(state):
            renamed = layout.rename(state)
            renamed["visual.ln_post.bias"] = renamed["visual.ln_post.bias"] + 0.01
            return renamed

        return type(layout)(layout.settings, rename)

    monkeypatch.setattr(module, "open_clip_layout", wrong)
    with pytest.raises(
        ExportRefused, match="image embedding, our pixels is off by .* Nothing was written"
    ) as error:
        export(make.clip(), tmp_path / "out", "open_clip")
    assert [check.status for check in error.value.report.checks].count("over") == 2
    assert not list(tmp_path.iterdir())


def test_weights_that_are_not_finite_are_refused(tmp_path):
    subject = make.clip()
    with torch.no_grad():
        subject.network.towers["image"].proj[0, 0] = torch.nan
    with pytest.raises(WeightsError, match="visual.proj has non-finite values"):
        export(subject, tmp_path / "out", "open_clip")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("repo_id", ["name", "a/b/c", "../x", "org/..", "https://x/y"])
def test_only_a_repository_may_be_named(repo_id, tmp_path):
    with pytest.raises(ConfigError, match="is no repository of the Hub. Give 'org/name'"):
        export(make.word_clip(), tmp_path / "out", "open_clip", repo_id=repo_id)


def test_a_folder_with_something_in_it_is_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="is not empty"):
        export(make.word_clip(), tmp_path, "open_clip")
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_an_unknown_format_is_named(tmp_path):
    with pytest.raises(ConfigError, match="Unknown export format 'openclip'.* Did you mean 'open_clip'"):
        export(make.word_clip(), tmp_path / "out", "openclip")


def test_a_loaded_model_is_exported_and_no_path_is_told(tmp_path):
    import verticlip

    subject = make.word_clip()
    model = Model(subject.network, subject.processor, dtype="bfloat16")
    model.save(tmp_path / "mine")
    loaded = verticlip.from_pretrained(tmp_path / "mine", device="cpu")
    for given, name in ((model, "a"), (loaded, "b"), (tmp_path / "mine", "c")):
        report = export(given, tmp_path / name, "open_clip")
        assert report.model == "test/small"
        assert str(tmp_path) not in (tmp_path / name / "report.json").read_text()
    with pytest.raises(ConfigError, match="A loaded model has its revision"):
        export(loaded, tmp_path / "d", "open_clip", revision="main")


def test_random_numbers_and_logging_stay_as_they_were(tmp_path):
    torch.manual_seed(7)
    wanted = torch.rand(1)
    torch.manual_seed(7)
    handlers = list(logging.getLogger().handlers)
    export(make.clip(), tmp_path / "out", "open_clip")
    assert torch.equal(torch.rand(1), wanted)
    assert logging.getLogger().handlers == handlers


@pytest.mark.parametrize("kind", ["resnet", "logit bias"])
def test_import_gives_the_same_tensors_back(kind, tmp_path, monkeypatch):
    from verticlip.hub.imports import import_folder
    from verticlip.hub.loading import load_model

    monkeypatch.setenv("VERTICLIP_CACHE", str(tmp_path / "cache"))
    subject = MODELS[kind]()
    export(subject, tmp_path / "out", "open_clip")
    network, processor, _ = load_model(import_folder(tmp_path / "out"))
    ours, theirs = subject.network.state_dict(), network.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert processor.config.image == subject.processor.config.image


def publish(hub, folder, repo_id):
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    hub.add_repository(repo_id, files)


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_open_clip_loads_it_from_a_hub(kind, tmp_path, online, timm_knows):
    subject = MODELS[kind]()
    export(subject, tmp_path / "out", "open_clip", repo_id="org/model")
    publish(online.hub, tmp_path / "out", "org/model")
    image, text, _ = answers_there("hf-hub:org/model")
    here = answers_here(subject)
    assert torch.allclose(image, here[0], atol=2e-5)
    assert torch.allclose(text, here[1], atol=2e-5)


def test_without_a_name_no_other_tokenizer_is_taken_from_a_hub(tmp_path, online, timm_knows):
    import open_clip

    export(make.siglip(), tmp_path / "out", "open_clip")
    publish(online.hub, tmp_path / "out", "org/model")
    open_clip.create_model("hf-hub:org/model")
    before = len(online.hub.requests)
    with pytest.raises(Exception, match="export again with repo_id"):
        open_clip.get_tokenizer("hf-hub:org/model")
    asked = {request.path.split("?")[0] for request in online.hub.requests[before:]}
    assert all("org/model" in path for path in asked)


def test_the_program_hands_the_repository_on(tmp_path, run):
    subject = make.word_clip()
    Model(subject.network, subject.processor).save(tmp_path / "mine")
    status, _, error = run(
        "hub", "export", tmp_path / "mine", tmp_path / "x", "--to", "onnx", "--repo-id", "a/b"
    )
    assert status == 1
    assert "--repo-id is for open_clip" in error
    status, out, _ = run(
        "hub", "export", tmp_path / "mine", tmp_path / "out", "--to", "open_clip", "--repo-id", "a/b"
    )
    assert status == 0
    assert "token ids of its tokenizer" in out
    config = read_json(tmp_path / "out" / "open_clip_config.json")
    assert config["model_cfg"]["text_cfg"]["hf_tokenizer_name"] == "a/b"
    assert "hf-hub:a/b" in (tmp_path / "out" / "README.md").read_text()
