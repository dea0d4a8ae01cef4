"""transformers loads what is exported for it and answers as the model does."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).parent))

import make_exports as make
from PIL import Image
from verticlip.core.errors import ConfigError, WeightsError
from verticlip.core.processing import Processor
from verticlip.hub.export import export, subject_of
from verticlip.hub.export import transformers as module
from verticlip.hub.export.report import ExportRefused

TEXTS = ["a photo of a cat", "Red   shirt!", "a very long sentence about a small house on a hill"]


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
    # Sizes of which a whole number of pixels is cropped on either side.
    sizes = ((64, 48), (32, 90), (32, 32), (24, 24))
    small = [Image.fromarray(rng.integers(0, 256, (3, 4, 3), dtype=np.uint8)) for _ in sizes]
    return [one.resize(size, Image.Resampling.BICUBIC) for one, size in zip(small, sizes, strict=True)]


def there(folder):
    """The model and processor that a stranger gets, who knows nothing but the folder."""
    from transformers import AutoModel, AutoProcessor

    return AutoModel.from_pretrained(folder).eval(), AutoProcessor.from_pretrained(folder)


def unit(output):
    return F.normalize(output.pooler_output, dim=-1)


def encode(subject, modality, items):
    with torch.no_grad():
        return subject.network.encode(modality, subject.processor(modality, items))


def by_torch(subject):
    """The same model with pictures prepared as transformers prepares them by itself."""
    config = subject.processor.config
    image = config.image.model_copy(update={"resampler": "torch", "center": "floor"})
    config = config.model_copy(update={"image": image})
    return replace(subject, processor=Processor(config, subject.processor.tokenizer_json))


MODELS = {
    "clip": (make.clip, "CLIPModel"),
    "clip, torch's kernel": (lambda: by_torch(make.word_clip()), "CLIPModel"),
    "clip of a recipe": (make.trained_clip, "CLIPModel"),
    "clip, squashed": (lambda: make.word_clip({"resize": "squash"}), "CLIPModel"),
    "clip, larger before the crop": (lambda: make.word_clip({"short_side": 40}), "CLIPModel"),
    "siglip": (make.siglip, "SiglipModel"),
    "siglip, plain texts": (lambda: make.siglip("whitespace"), "SiglipModel"),
}


@pytest.mark.parametrize("kind", MODELS)
def test_transformers_answers_as_the_model(kind, tmp_path):
    from transformers import AutoImageProcessor

    make_one, name = MODELS[kind]
    subject = make_one()
    report = export(subject, tmp_path / "out", "transformers")
    assert report.passed
    model, processor = there(tmp_path / "out")
    assert type(model).__name__ == name
    inputs = processor(
        text=TEXTS, images=photographs(), padding="max_length", truncation=True, return_tensors="pt"
    )
    with torch.no_grad():
        output = model(**inputs)
        image = unit(model.get_image_features(pixel_values=inputs["pixel_values"]))
    ours, words = encode(subject, "image", photographs()), encode(subject, "text", TEXTS)
    assert torch.allclose(output.text_embeds, words, atol=2e-5)
    assert torch.allclose(image, output.image_embeds, atol=1e-6)
    if subject.processor.config.image.resampler == "torch":
        assert torch.allclose(image, ours, atol=2e-5)
        assert torch.allclose(output.logits_per_image, subject.network.logits(ours, words), atol=1e-3)
    else:
        assert F.cosine_similarity(image, ours).min() > 0.999
        by_pillow = AutoImageProcessor.from_pretrained(tmp_path / "out", backend="pil")
        exact = by_pillow(photographs(), return_tensors="pt")
        with torch.no_grad():
            image = unit(model.get_image_features(pixel_values=exact["pixel_values"]))
        assert torch.allclose(image, ours, atol=2e-5)
    assert F.cosine_similarity(image[0], image[1], dim=0) < 0.999
    assert F.cosine_similarity(words[0], words[1], dim=0) < 0.999


@pytest.mark.parametrize("fusion", [False, True])
def test_transformers_hears_as_the_model(fusion, tmp_path):
    subject = make.clap(fusion=fusion)
    with torch.no_grad():
        subject.network.logit_scale_text.fill_(2.0)
    report = export(subject, tmp_path / "out", "transformers")
    model, processor = there(tmp_path / "out")
    assert type(model).__name__ == "ClapModel"
    rng = np.random.default_rng(0)
    waves = [rng.normal(0, 0.1, count).astype(np.float32) for count in (8000, 3000)]
    sound = processor(audio=waves, sampling_rate=8000, return_tensors="pt")
    words = processor(text=TEXTS, padding=True, return_tensors="pt")
    with torch.no_grad():
        if fusion:
            sound["is_longer"] = torch.zeros(2, 1, dtype=torch.bool)
        audio, text = unit(model.get_audio_features(**sound)), unit(model.get_text_features(**words))
    assert torch.allclose(audio, encode(subject, "audio", waves), atol=2e-4)
    assert torch.allclose(text, encode(subject, "text", TEXTS), atol=2e-5)
    assert model.logit_scale_a.item() == subject.network.logit_scale.item()
    assert model.logit_scale_t.item() == 2.0
    assert any("at random as a longer one" in note for note in report.notes) == fusion


def test_the_folder_runs_nothing_and_names_nobody(tmp_path):
    report = export(make.word_clip(), tmp_path / "out", "transformers")
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {
        "config.json", "model.safetensors", "preprocessor_config.json", "tokenizer.json", "tokenizer_config.json",
        "README.md", "report.json", "modules.json", "sentence_bert_config.json",
    }  # fmt: skip
    for name in names - {"tokenizer.json", "model.safetensors"}:
        text = (tmp_path / "out" / name).read_text()
        assert "auto_map" not in text
        assert str(tmp_path) not in text
    assert json.loads((tmp_path / "out" / "report.json").read_text())["passed"]
    assert any("begins one pixel earlier" in note for note in report.notes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda: make.subject({"image": make.RESNET, "text": make.out(make.CLIP_TEXT)}), "the ResNet of CLIP and a"),
        (lambda: make.clip(logit_bias=-10.0), "adds a bias to its logits; a CLIPModel has none"),
        (
            lambda: make.subject({"image": make.linear(make.VIT, projection_bias=True), "text": make.out(make.CLIP_TEXT)}),
            "its image projection is not one matrix without a bias",
        ),
        (lambda: make.clip(processing=make.processor({"resize": "longest"})), "into a square with bars"),
        (lambda: make.clip(processing=make.processor({"stretch": (1, 99)})), "stretches the values"),
        (lambda: make.clip(processing=make.processor({"short_side": 20})), "resizes to 20 pixels, less than the 32"),
        (lambda: make.clip(processing=make.processor(text={"strip_end": "."})), "off the end of texts"),
        (
            lambda: make.subject({"image": make.out(make.VIT), "text": make.BERT}),
            "VisionTextDualEncoderModel, .* reads its pooler; this model's has none",
        ),
        (make.coca, "its architecture 'coca' has parts and rules of its own"),
    ],
)  # fmt: skip
def test_what_transformers_has_no_class_for(change, message, tmp_path):
    with pytest.raises(ConfigError, match=f"test/small cannot be exported to transformers: .*{message}"):
        export(change(), tmp_path / "out", "transformers")
    assert not list(tmp_path.iterdir())


def test_other_spectrograms_are_refused(tmp_path):
    subject = make.clap(fusion=False)
    config = subject.processor.config
    audio = config.audio.model_copy(update={"quantize": True})
    changed = Processor(config.model_copy(update={"audio": audio}), subject.processor.tokenizer_json)
    with pytest.raises(ConfigError, match="in a way that ClapFeatureExtractor does not know"):
        export(replace(subject, processor=changed), tmp_path / "out", "transformers")


def tampered(monkeypatch, change):
    made = module.transformers_layout

    def layout(config, text=None):
        found = made(config, text)

        def rename(state):
            renamed = found.rename(state)
            change(renamed)
            return renamed

        return type(found)(found.settings, rename)

    monkeypatch.setattr(module, "transformers_layout", layout)


def test_a_tensor_that_differs_is_refused_and_nothing_stays(tmp_path, monkeypatch):
    name = "text_projection.weight"
    tampered(monkeypatch, lambda state: state.update({name: state[name] + 0.01}))
    with pytest.raises(ExportRefused, match="text embedding, its tokens is off by .* Nothing was written"):
        export(make.word_clip(), tmp_path / "out", "transformers")
    assert not list(tmp_path.iterdir())


def test_a_tensor_that_is_missing_is_not_drawn_at_random(tmp_path, monkeypatch):
    tampered(monkeypatch, lambda state: state.pop("text_projection.weight"))
    with pytest.raises(
        WeightsError, match=r"with 1 missing keys \(text_projection.weight\). Nothing was written"
    ):
        export(make.word_clip(), tmp_path / "out", "transformers")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["siglip", "clap"])
def test_import_gives_the_same_tensors_back(kind, tmp_path, monkeypatch):
    from verticlip.hub.imports import import_folder
    from verticlip.hub.loading import load_model

    monkeypatch.setenv("VERTICLIP_CACHE", str(tmp_path / "cache"))
    subject = make.clap(fusion=True) if kind == "clap" else MODELS[kind][0]()
    export(subject, tmp_path / "out", "transformers")
    same_tensors(subject, load_model(import_folder(tmp_path / "out"))[0])


def same_tensors(subject, network):
    ours, theirs = subject.network.state_dict(), network.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize(("first", "second"), [("transformers", "open_clip"), ("open_clip", "transformers")])
def test_a_clip_goes_from_one_library_to_the_other(first, second, tmp_path, monkeypatch):
    import open_clip

    monkeypatch.setenv("VERTICLIP_CACHE", str(tmp_path / "cache"))
    subject = make.clip()
    export(subject, tmp_path / "first", first)
    imported = subject_of(tmp_path / "first")
    same_tensors(subject, imported.network)
    report = export(imported, tmp_path / "second", second)
    assert report.passed
    assert any("an odd number of pixels is cropped" in note for note in report.notes)
    pictures = photographs()
    if second == "open_clip":
        model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{tmp_path / 'second'}")
        tokens = open_clip.get_tokenizer(f"local-dir:{tmp_path / 'second'}")(TEXTS)
        with torch.no_grad():
            pixels = torch.stack([preprocess(picture) for picture in pictures])
            image, text = (
                model.eval().encode_image(pixels, normalize=True), model.encode_text(tokens, normalize=True)
            )  # fmt: skip
        assert torch.allclose(image, encode(subject, "image", pictures), atol=2e-5)
    else:
        model, processor = there(tmp_path / "second")
        tokens = processor.tokenizer(TEXTS, padding="max_length", return_tensors="pt")
        with torch.no_grad():
            text = unit(model.get_text_features(**tokens))
    assert torch.allclose(text, encode(subject, "text", TEXTS), atol=2e-5)


def test_a_siglip_goes_from_one_library_to_the_other(tmp_path, monkeypatch, timm_knows):
    monkeypatch.setenv("VERTICLIP_CACHE", str(tmp_path / "cache"))
    subject = make.siglip()
    export(subject, tmp_path / "first", "open_clip")
    assert export(tmp_path / "first", tmp_path / "second", "transformers").passed
    model, processor = there(tmp_path / "second")
    tokens = processor.tokenizer(TEXTS, padding="max_length", return_tensors="pt")
    with torch.no_grad():
        assert torch.allclose(
            unit(model.get_text_features(**tokens)), encode(subject, "text", TEXTS), atol=2e-5
        )


def test_transformers_loads_it_from_a_hub(tmp_path, online):
    subject = make.siglip()
    export(subject, tmp_path / "out", "transformers")
    files = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    online.hub.add_repository("org/model", files)
    model, processor = there("org/model")
    tokens = processor.tokenizer(TEXTS, padding="max_length", return_tensors="pt")
    with torch.no_grad():
        assert torch.allclose(
            unit(model.get_text_features(**tokens)), encode(subject, "text", TEXTS), atol=2e-5
        )


@pytest.mark.parametrize("size", [32, 48, 49, 224, 336, 384])
def test_at_every_size_some_picture_of_the_trial_is_cropped_at_another_pixel(size):
    from verticlip.core.config import ImageProcessing
    from verticlip.hub.export.comparing import crop_notes, cropped_alike, pictures

    config = ImageProcessing(size=size, resize="shortest", center="round")
    alike = [cropped_alike(config, image, "transformers") for image in pictures(size)]
    assert set(alike) == {False, True}
    # A short side of its own may leave none; what half of all pictures meet is said all the same.
    none = torch.zeros(0, 4)
    assert "no picture of the trial" in crop_notes(config, "transformers", none, none)[0]
    assert crop_notes(config, "open_clip", none, none) == ()
