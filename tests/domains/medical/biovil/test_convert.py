"""Published files to our own format: exact, strict, and sizes from shapes alone."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from verticlip.core.checkpoint import load_strict
from verticlip.core.conversion import build_empty
from verticlip.core.errors import ConfigError, InputError, WeightsError
from verticlip.core.processing import Processor
from verticlip.domains.medical.biovil.convert import convert, convert_text


@pytest.fixture(scope="module")
def golden(small_golden):
    return small_golden / "biovil"


@pytest.fixture(scope="module")
def published(golden, tmp_path_factory):
    """The files that the authors publish, at the sizes of the grounding case."""
    folder = tmp_path_factory.mktemp("published")
    weights = load_file(golden / "phrase_grounding" / "weights.safetensors")
    parts = {"image": "image_model.", "text": "text_model."}
    states = {
        part: {name.removeprefix(start): value for name, value in weights.items() if name.startswith(start)}
        for part, start in parts.items()
    }
    torch.save(states["image"], folder / "image.pt")
    torch.save(states["text"], folder / "pytorch_model.bin")
    shutil.copy(golden / "phrase_grounding" / "vocab.txt", folder)
    return {"image": folder / "image.pt", "text": folder / "pytorch_model.bin", "vocab": folder / "vocab.txt"}


OPTIONS = {"text_heads": 4, "short_side": 256, "crop": 224}


def built(done):
    model = build_empty(done.config)
    load_strict(model, done.state, source="test")
    return model.eval(), Processor(done.processor, done.tokenizer_json)


def changed(source, path, *, drop=(), **more):
    state = {name: value for name, value in torch.load(source).items() if name not in drop}
    torch.save({**state, **more}, path)
    return path


def test_both_halves_become_one_model(published, golden):
    done = convert("medical/biovil", published, {**OPTIONS, "temporal": False})
    image, text = done.report.towers["image"], done.report.towers["text"]
    assert (image.loaded, len(image.dropped)) == (326, 2)
    assert sorted(image.dropped) == ["encoder.encoder.fc.bias", "encoder.encoder.fc.weight"]
    assert sorted(text.dropped) == ["cls.predictions.decoder.bias", "cls.predictions.decoder.weight"]
    assert done.report.complete
    assert done.config.towers["image"].options == {"channels": [4, 8, 16, 32]}
    assert done.config.embed_dim == 24
    assert done.config.logit_scale == pytest.approx(0.6931472)
    source = torch.load(published["image"])["encoder.encoder.layer2.1.conv2.weight"]
    assert torch.equal(done.state["towers.image.trunk.layer2.1.conv2.weight"], source)
    model, processor = built(done)
    inputs = load_file(golden / "phrase_grounding" / "inputs.safetensors")
    expected = load_file(golden / "phrase_grounding" / "outputs.safetensors")
    config = json.loads((golden / "phrase_grounding" / "config.json").read_text())
    tokens = processor("text", [config["prompt"]])
    assert torch.equal(tokens["input_ids"], inputs["input_ids"])
    assert (model.encode("text", tokens) - expected["text_embedding"]).abs().max() < 1e-5


def test_preprocessing_belongs_to_the_weights(published):
    image = convert("medical/biovil", {"image": published["image"]}, {}).processor.image
    assert (image.short_side, image.size, image.interpolation, image.resampler) == (
        512,
        480,
        "bilinear",
        "pillow",
    )
    assert (image.mean, image.std) == ((0.0,) * 3, (1.0,) * 3)
    assert image.load == {"normalize": "hi-ml"}
    text = convert_text("medical/cxr-bert", published, {"text_heads": 4}).processor.text
    assert (text.strip_end, text.allow_empty, text.overlong, text.clean) == ("!?.", True, "error", "none")
    assert text.allow_special == ("[MASK]",)
    assert text.context_length == 32


def test_the_image_model_of_biovil_t(golden, tmp_path):
    torch.save(load_file(golden / "image_encoder_temporal" / "weights.safetensors"), tmp_path / "t.pt")
    done = convert("medical/biovil-t", {"image": tmp_path / "t.pt"}, {"temporal": True, "grid": [3, 5]})
    assert done.report.towers["image"].loaded == 370
    temporal = {"dim": 64, "grid": [3, 5], "heads": 8, "blocks": 3, "mlp_width": 64}
    assert done.config.options == {"temporal": temporal}
    default = convert("medical/biovil-t", {"image": tmp_path / "t.pt"}, {})
    assert default.processor.image.size == 448
    model, _ = built(done)
    inputs = load_file(golden / "image_encoder_temporal" / "inputs.safetensors")
    expected = load_file(golden / "image_encoder_temporal" / "outputs.safetensors")
    states = model.image_states({"pixels": inputs["current_image"], "previous": inputs["previous_image"]})
    wanted = expected["with_prior_projected_global_embedding"]
    assert (states.embedding - wanted).abs().max() < 1e-4 * wanted.abs().max()


def test_other_containers_give_the_same_model(published, tmp_path):
    plain = convert("medical/biovil", published, OPTIONS)
    image, text = torch.load(published["image"]), torch.load(published["text"])
    torch.save({"state_dict": {f"module.{name}": value for name, value in image.items()}}, tmp_path / "i.pt")
    # One copy of what is tied, as safetensors files have it, and what BERT files hold besides.
    text = {name: value.clone() for name, value in text.items() if name != "cls.predictions.decoder.weight"}
    text["cls.predictions.decoder.bias"] = text.pop("cls.predictions.bias")
    text["bert.pooler.dense.weight"], text["bert.pooler.dense.bias"] = torch.zeros(40, 40), torch.zeros(40)
    text["bert.embeddings.position_ids"] = torch.arange(32)[None]
    save_file(text, tmp_path / "model.safetensors")
    files = {**published, "image": tmp_path / "i.pt", "text": tmp_path / "model.safetensors"}
    other = convert("medical/biovil", files, OPTIONS)
    assert other.config == plain.config
    assert all(torch.equal(other.state[name], value) for name, value in plain.state.items())
    assert set(other.state) == set(plain.state)
    dropped = other.report.towers["text"].dropped
    assert set(dropped) == {
        "bert.pooler.dense.weight",
        "bert.pooler.dense.bias",
        "bert.embeddings.position_ids",
    }


def test_classifier_heads_are_optional(golden, tmp_path):
    weights = load_file(golden / "image_encoder" / "weights.safetensors")
    torch.save(weights, tmp_path / "i.pt")
    done = convert("medical/probe", {"image": tmp_path / "i.pt"}, {})
    assert done.config.options == {"classifier": {"classes": 2, "tasks": 3}}
    model, _ = built(done)
    assert model.class_logits({"pixels": torch.rand(1, 3, 64, 64)}).shape == (1, 2, 3)
    hidden = {name: value for name, value in weights.items() if not name.startswith("classifier.")}
    for task in range(2):
        start = f"classifier.fc_{task}.model."
        hidden |= {f"{start}0.weight": torch.zeros(7, 256), f"{start}3.weight": torch.zeros(4, 7)}
        hidden |= {f"{start}3.bias": torch.zeros(4), f"{start}1.num_batches_tracked": torch.tensor(0)}
        hidden |= {
            f"{start}1.{name}": torch.zeros(7) for name in ("weight", "bias", "running_mean", "running_var")
        }
    torch.save(hidden, tmp_path / "h.pt")
    found = convert("medical/probe", {"image": tmp_path / "h.pt"}, {}).config.options["classifier"]
    assert found == {"classes": 4, "hidden": 7, "tasks": 2}


def test_cxr_bert_general_has_no_joint_space(published, tmp_path):
    head = [name for name in torch.load(published["text"]) if name.startswith("cls_projection_head.")]
    path = changed(published["text"], tmp_path / "general.bin", drop=head)
    files = {"text": path, "vocab": published["vocab"]}
    done = convert_text("medical/cxr-bert-general", files, {"text_heads": 4})
    assert done.config.options == {"joint_space": False}
    assert done.config.embed_dim == 40
    model, processor = built(done)
    tokens = processor("text", ["Left [MASK] opacity"])
    assert model.word_logits(tokens).shape[2] == 59
    with pytest.raises(InputError, match="predicts masked words only"):
        model.encode("text", tokens)
    with pytest.raises(
        WeightsError, match=r"general.bin has no projection head \(it is a CXR-BERT-general\)"
    ):
        convert("medical/biovil", {**published, "text": path}, OPTIONS)


def test_a_converted_model_is_saved_and_loaded(published, tmp_path):
    from verticlip import from_pretrained
    from verticlip.facade import Model

    model, processor = built(convert("medical/biovil", published, OPTIONS))
    folder = Model(model, processor).save(tmp_path / "model")
    again = from_pretrained(folder, device="cpu", dtype="float32")
    inputs = {"pixels": torch.rand(1, 3, 224, 224)}
    assert torch.equal(again.network.encode("image", inputs), model.encode("image", inputs))


def test_files_that_do_not_fit_are_named(published, golden, tmp_path):
    def failing(message, **files):
        given = {**published, **files}
        options = {**OPTIONS, **given.pop("options", {})}
        with pytest.raises(WeightsError, match=message):
            convert("medical/biovil", given, options)

    image, text = published["image"], published["text"]
    extra = changed(image, tmp_path / "extra.pt", **{"encoder.encoder.layer9.0.conv1.weight": torch.zeros(1)})
    failing(r"extra.pt .* is not a whole checkpoint of BioViL: image: 1 unexpected", image=extra)
    lacking = changed(image, tmp_path / "less.pt", drop=["projector.model.3.bias"])
    failing("image: 1 missing", image=lacking)
    stranger = changed(text, tmp_path / "more.bin", **{"bert.adapter.weight": torch.zeros(1)})
    failing("text: 1 unexpected", text=stranger)
    odd = torch.load(text)["bert.embeddings.word_embeddings.weight"] + 1
    untied = changed(text, tmp_path / "untied.bin", **{"cls.predictions.decoder.weight": odd})
    failing("decoder.weight differs from bert.embeddings.word_embeddings.weight", text=untied)
    failing("not an image model of BioViL; it looks like the text tower", image=text)
    failing("is not a CXR-BERT; it looks like the image tower of BioViL", text=image)
    failing("is the image model of BioViL, not of BioViL-T", options={"temporal": True})
    short = tmp_path / "short.txt"
    short.write_text("\n".join(published["vocab"].read_text().split("\n")[:20]))
    failing(r"short.txt has 20 pieces, the word table of pytorch_model.bin 59 rows", vocab=short)
    torch.save(load_file(golden / "image_encoder_temporal" / "weights.safetensors"), tmp_path / "t.pt")
    failing("t.pt ends in 32 values and pytorch_model.bin in 24", image=tmp_path / "t.pt")


def test_roles_and_options_are_checked(published):
    with pytest.raises(ConfigError, match="needs an 'image' file, a 'text' file, or both"):
        convert("medical/biovil", {"vocab": published["vocab"]}, {})
    with pytest.raises(ConfigError, match="needs its 'vocab' file"):
        convert("medical/biovil", {"text": published["text"]}, {})
    with pytest.raises(ConfigError, match="needs a 'text' file"):
        convert_text("medical/x", {"image": published["image"]}, {})
    with pytest.raises(ConfigError, match="unknown key 'corp'.*Did you mean 'crop'"):
        convert("medical/biovil", published, {"corp": 480})
