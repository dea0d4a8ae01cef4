from __future__ import annotations

import ast
import importlib.util
import json
import logging
import re
import shutil
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("onnxruntime", reason="the export extra is not installed")
pytest.importorskip("onnxscript", reason="the export extra is not installed")

sys.path.insert(0, str(Path(__file__).parent))

import export_models
from verticlip.core.config import ImageProcessing, ProcessorConfig
from verticlip.core.errors import ConfigError
from verticlip.core.files import sha256_of
from verticlip.core.processing import Processor
from verticlip.facade import Model
from verticlip.hub.export import bundle, onnx
from verticlip.hub.export.bundle import GraphFile, Port
from verticlip.hub.export.dispatch import subject_of
from verticlip.hub.export.report import ExportRefused

BATCHES = ("batch of 3", "batch of 1", "batch of 8")


def facts_of(folder):
    return json.loads((folder / "verticlip.json").read_text(encoding="utf-8"))


def reader_of(folder):
    """The program of the folder, as somebody without verticlip imports it."""
    spec = importlib.util.spec_from_file_location("reader", folder / "reader.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Model(folder)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A model of both towers, its folder and its report."""
    out = tmp_path_factory.mktemp("onnx") / "out"
    subject = export_models.case("timm and bert")
    return subject, out, onnx.export(subject, out)


def test_a_folder_has_all_that_it_takes(exported):
    subject, out, report = exported
    names = {"image.onnx", "text.onnx", "processor.json", "tokenizer.json", "prompts.yaml", "verticlip.json"}
    assert set(report.files) == names | {"README.md", "reader.py"}
    assert {path.name for path in out.iterdir()} == {*report.files, "report.json"}
    assert all(sha256_of(out / name) == value for name, value in report.files.items())
    assert json.loads((out / "report.json").read_text()) == report.to_dict()
    facts = facts_of(out)
    assert (facts["model"], facts["revision"], facts["opset"]) == ("test/small", "0" * 40, 20)
    assert facts["logit_scale"] == pytest.approx(1 / 0.07, rel=1e-6)
    assert facts["logit_bias"] is None
    assert facts["processor"] == subject.processor.config.model_dump(mode="json")
    assert [one["name"] for one in facts["classes"]] == ["cat", "dog"]
    assert facts["classes"][1]["weights"] == [0.25] * 4 or sum(facts["classes"][1]["weights"]) == 1
    assert all(report.files[name] == value for name, value in facts["files"].items())
    image, text = facts["parts"]["image"], facts["parts"]["text"]
    assert image["inputs"] == {"pixels": {"dtype": "float32", "shape": ["batch", 3, 32, 32]}}
    tokens = {"dtype": "int64", "shape": ["batch", "length"]}
    assert text["inputs"] == {"input_ids": tokens, "attention_mask": tokens}
    assert image["unit_length"]
    assert image["meaning"] == "unit embeddings float32 [B, 16]"
    page = (out / "README.md").read_text()
    assert "`pixels` float32 [batch, 3, 32, 32]" in page
    assert "licence of the weights: MIT" in page


def test_every_part_is_compared_on_several_batches(exported):
    _, _, report = exported
    assert report.passed
    kinds = [f"{part} embedding, {kind}" for part in ("image", "text") for kind in BATCHES]
    found = {check.name: check for check in report.checks}
    assert all(found[kind].tolerance == 1e-5 and found[kind].error < 5e-6 for kind in kinds)
    assert all(found[f"{kind}, 1 - cosine"].error < 1e-11 for kind in kinds)


def test_the_runtime_answers_as_the_model_on_other_sizes(exported):
    import onnxruntime

    subject, out, _ = exported
    session = onnxruntime.InferenceSession(str(out / "text.onnx"))
    texts = ["a small dog", "river", "a photo of the red house beside an old"] * 4
    inputs = subject.processor("text", texts[:11])
    got = session.run(["embedding"], {name: value.numpy() for name, value in inputs.items()})[0]
    with torch.inference_mode():
        expected = subject.network.encode("text", inputs).numpy()
    assert got.dtype == np.float32
    assert got.shape == (11, 16)
    assert np.abs(got - expected).max() < 1e-6
    assert np.abs(np.linalg.norm(got, axis=1) - 1).max() < 1e-6


def test_the_same_model_gives_the_same_bytes_no_word_and_no_place_of_this_machine(
    exported, tmp_path, capfd, caplog
):
    subject, out, report = exported
    before = {name: value.clone() for name, value in subject.network.state_dict().items()}
    subject.network.train()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = onnx.export(subject, tmp_path / "again", towers=["text"])
    assert subject.network.training
    subject.network.eval()
    assert all(torch.equal(value, before[name]) for name, value in subject.network.state_dict().items())
    assert capfd.readouterr() == ("", "")
    assert [one for one in caplog.records if one.levelno > logging.DEBUG] == []
    assert again.files["text.onnx"] == report.files["text.onnx"]
    for path in [*out.iterdir(), *(tmp_path / "again").iterdir()]:
        content = path.read_bytes()
        for secret in (str(Path(__file__).parents[3]), str(tmp_path), "site-packages", "core/transformer"):
            assert secret.encode() not in content, (path.name, secret)


CASES = [
    ("vit and clip_text", "text", ["batch", "length"]),
    ("siglip of open_clip", "text", ["batch", 12]),
    ("biovil-t", "image", ["batch", 3, 32, 32]),
    ("unified_product", "product", ["batch", "length"]),
]


@pytest.mark.parametrize(("name", "part", "shape"), CASES)
def test_architectures(tmp_path, name, part, shape):
    report = onnx.export(export_models.case(name), tmp_path / "out", towers=[part])
    assert report.passed
    inputs = facts_of(tmp_path / "out")["parts"][part]["inputs"]
    assert inputs["input_ids" if "input_ids" in inputs else "pixels"]["shape"] == shape
    # The text tower of CLIP finds the end by its number and reads no mask.
    assert name != "vit and clip_text" or set(inputs) == {"input_ids"}


def test_a_clap_that_fuses_takes_whole_recordings_and_windows(tmp_path):
    subject = export_models.clap(fusion=True)
    report = onnx.export(subject, tmp_path / "out", towers=["audio"])
    assert report.passed
    assert "is_longer" in report.notes[0]
    model = reader_of(tmp_path / "out")
    wave = torch.randn(3 * 8000, generator=torch.Generator().manual_seed(1)) * 0.2
    whole = subject.network.inputs_of_whole("audio", wave, subject.processor)
    assert bool(whole["is_longer"].all())
    windows = subject.processor("audio", [wave[:16000].numpy()])["features"]
    four = {"features": windows.expand(-1, 4, -1, -1), "is_longer": torch.tensor([[False]])}
    with torch.no_grad():
        for inputs, own in ((whole, whole), (four, {"features": windows})):
            got = model.run("audio", {name: value.numpy() for name, value in inputs.items()})
            assert np.abs(got - subject.network.encode("audio", own).numpy()).max() < 1e-6


def test_a_liveness_model_gives_its_logits(tmp_path):
    pytest.importorskip("cv2", reason="the liveness extra is not installed")
    report = onnx.export(subject_of("liveness/minifasnet-v2"), tmp_path / "out")
    assert [check.name for check in report.checks] == [f"logits logits, {kind}" for kind in BATCHES]
    part = facts_of(tmp_path / "out")["parts"]["logits"]
    assert part["inputs"]["pixels"] == {"dtype": "uint8", "shape": ["batch", 3, 80, 80]}
    assert part["meaning"].startswith("logits float32 [B, 3] of the categories: ")
    assert not part["unit_length"]


def test_the_texts_of_the_categories_are_part_of_the_logits(tmp_path):
    pytest.importorskip("cv2", reason="the liveness extra is not installed")
    subject = export_models.liveness("categories")
    onnx.export(subject, tmp_path / "out", towers=["logits"])
    assert facts_of(tmp_path / "out")["parts"]["logits"]["inputs"]["pixels"]["shape"] == ["batch", 3, 32, 32]
    pixels = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = subject.network.crop_logits({"pixels": pixels}, 0).numpy()
    got = reader_of(tmp_path / "out").run("logits", {"pixels": pixels.numpy()})
    assert np.abs(got - expected).max() < 1e-4
    assert np.ptp(got) > 1e-3


def test_separators_give_masks_and_vocoders_waves(tmp_path):
    made = onnx.export(export_models.separator(), tmp_path / "masks")
    part = facts_of(tmp_path / "masks")["parts"]["masks"]
    assert part["inputs"]["queries"]["shape"] == ["batch", 1, 8]
    assert made.notes[0].startswith("masks.onnx takes windows of 32 frames.")
    onnx.export(export_models.vocoder(), tmp_path / "waves")
    waves = facts_of(tmp_path / "waves")["parts"]["waves"]
    assert waves["inputs"]["mel"]["shape"] == ["batch", 8, "mel_2"]
    found = reader_of(tmp_path / "waves").run("waves", {"mel": np.full((1, 8, 5), -11.5, np.float32)})
    assert found.shape == (1, 1, 20)


@pytest.fixture
def drawn_before(exported, monkeypatch):
    """Let the files of :func:`exported` stand for those that would be drawn of another model."""
    _, out, _ = exported
    parts = facts_of(out)["parts"]

    def draw_all(subject, folder, names):
        drawn = []
        for graph in onnx.graphs_of(subject, names):
            part = parts[graph.name]
            shutil.copy(out / part["file"], folder)
            inputs = {
                name: Port(port["dtype"], tuple(port["shape"])) for name, port in part["inputs"].items()
            }
            file = GraphFile(part["file"], graph.name, inputs, part["output"], part["meaning"], unit=True)
            drawn.append((graph, file))
        return drawn

    monkeypatch.setattr(onnx, "draw_all", draw_all)


def test_an_export_that_answers_otherwise_is_refused_and_nothing_is_left(tmp_path, drawn_before, monkeypatch):
    subject = export_models.case("timm and bert")
    encode = subject.network.encode
    monkeypatch.setattr(subject.network, "encode", lambda *given: encode(*given) - 2e-5)
    with pytest.raises(ExportRefused) as caught:
        onnx.export(subject, tmp_path / "out", towers=["image"])
    assert not list(tmp_path.iterdir())
    said = "does not agree with the model: image embedding, batch of 3 is off by 2"
    assert said in str(caught.value)
    assert "where 1e-05 is allowed" in str(caught.value)
    over = [check for check in caught.value.report.checks if check.status == "over"]
    assert {check.name for check in over} == {f"image embedding, {kind}" for kind in BATCHES}
    assert all(check.error == pytest.approx(2e-5, rel=0.05) for check in over)


@pytest.mark.parametrize(
    ("wrong", "row"),
    [
        (('each // 2 if config["center"] == "floor" else round(each / 2)', "each // 2"), "reader.py, pixels"),
        (('.translate(str.maketrans("", "", string.punctuation))', ""), "reader.py, token ids"),
    ],
)
def test_a_reader_that_prepares_otherwise_is_refused(tmp_path, drawn_before, monkeypatch, wrong, row):
    settings = {"image": {"resampler": "pillow"}, "text": {"clean": "canonicalize", "overlong": "truncate"}}
    case = export_models.CASES["timm and bert"]["towers"]
    subject = export_models.subject(case, export_models.processor(**settings))
    assert onnx.export(subject, tmp_path / "right").passed
    source = (tmp_path / "right" / "reader.py").read_text()
    assert source.count(wrong[0]) == 1
    program = tmp_path / "own"
    program.mkdir()
    (program / "reader.py").write_text(source.replace(*wrong))
    monkeypatch.setattr(bundle, "__file__", str(program / "bundle.py"))
    with pytest.raises(ExportRefused, match=re.escape(f"{row} is off by")):
        onnx.export(subject, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_openai_s_tokenizer_and_the_crop_of_transformers_travel_with_the_reader(
    tmp_path, drawn_before, exported
):
    case = export_models.CASES["timm and bert"]["towers"]
    vocabulary = {**case["text"], "vocab_size": 49408}
    words = {"tokenizer": "open_clip_bpe", "overlong": "truncate"}
    processor = export_models.processor({"center": "floor", "resampler": "pillow"}, words)
    subject = export_models.subject({**case, "text": vocabulary}, processor)
    for name in ("towers", "projections"):
        drawn = getattr(exported[0].network, name)["image"]
        getattr(subject.network, name)["image"].load_state_dict(drawn.state_dict())
    onnx.export(subject, tmp_path / "out", towers=["image"])
    reader = reader_of(tmp_path / "out")
    reader.facts["parts"]["text"] = {"inputs": {"input_ids": {"shape": ["batch", "length"]}}}
    texts = ["a photo of a cat", "Red shirt, 42 &amp; more", "a harbour " * 9]
    expected, got = subject.processor("text", texts), reader.tokens(texts)
    assert all(np.array_equal(got[name], expected[name].numpy()) for name in got)
    picture = np.arange(35 * 48 * 3, dtype=np.uint8).reshape(35, 48, 3)
    assert (
        np.abs(reader.pixels(picture) - subject.processor("image", [picture])["pixels"][0].numpy()).max()
        < 1e-5
    )


def test_a_model_whose_answer_depends_on_padding_is_refused(tmp_path):
    settings = dict(export_models.CASES["coca"])
    options = {**settings["options"], "pad_to_context": False}
    subject = export_models.subject(
        settings["towers"], export_models.processor(), **{**_without_towers(settings), "options": options}
    )
    with pytest.raises(ExportRefused, match="text embedding, batch of 1 is off by"):
        onnx.export(subject, tmp_path / "out", towers=["text"])
    assert not list(tmp_path.iterdir())


def _without_towers(settings):
    return {key: value for key, value in settings.items() if key != "towers"}


def test_what_torch_cannot_export_is_refused_with_its_reason(tmp_path, monkeypatch):
    subject = export_models.case("bert of its first token")
    encode = subject.network.encode

    def looks_at_values(modality, inputs):
        found = encode(modality, inputs)
        return found if float(found.sum()) > 0 else -found

    monkeypatch.setattr(subject.network, "encode", looks_at_values)
    with pytest.raises(
        ConfigError, match="The part 'text' of test/small cannot be exported to ONNX: Could not"
    ):
        onnx.export(subject, tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_parts_that_do_not_exist_and_models_without_any(tmp_path):
    subject = export_models.case("bert of its first token")
    with pytest.raises(ConfigError, match=r"no part 'txt' to export; it has: text\. Did you mean 'text'\?"):
        onnx.export(subject, tmp_path / "out", towers=["txt"])
    config, processor = subject.config, ProcessorConfig(image=ImageProcessing(size=32))
    assert onnx.reason(config, subject.processor.config) == ""
    assert onnx.reason(config, processor).startswith("its processor prepares no 'text'")
    bare = config.model_copy(update={"towers": {}, "architecture": "diffusion_prior", "domain": "audio"})
    assert "'diffusion_prior' has no towers" in onnx.reason(bare, processor)
    assert not list(tmp_path.iterdir())


def test_modules_that_no_file_holds_are_named(tmp_path):
    from verticlip.hub.export.graphs import left_out

    network = export_models.case("coca").network
    file = GraphFile("image.onnx", "image", {}, "embedding", "", modules=frozenset({"towers", "projections"}))
    count = sum(parameter.numel() for parameter in network.decoder.parameters())
    assert left_out(network, [file]) == (f"Not part of the export: decoder ({count:,} parameters).",)


def test_the_reader_needs_neither_torch_nor_verticlip(exported):
    _, out, _ = exported
    tree = ast.parse((out / "reader.py").read_text())
    found = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    found |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level == 0}
    assert {name.split(".")[0] for name in found} <= {
        *sys.stdlib_module_names, "numpy", "onnxruntime", "openvino", "PIL", "tokenizers", "ftfy",
    }  # fmt: skip
    assert not any(isinstance(node, ast.ImportFrom) and node.level for node in ast.walk(tree))


def test_the_reader_answers_as_the_model(exported):
    from PIL import Image

    subject, out, _ = exported
    own, reader = Model(subject.network, subject.processor, prompts=subject.prompts), reader_of(out)
    rows, columns = np.mgrid[0:120, 0:90]
    smooth = np.stack([rows * 2, columns * 2, rows + columns], axis=-1).astype(np.uint8)
    alpha = np.dstack([smooth, np.where(rows > 60, 255, 90).astype(np.uint8)])
    pictures = [Image.fromarray(smooth), Image.fromarray(smooth[..., 0]), Image.fromarray(alpha)]
    texts = ["a small  dog", "river &amp; house", "a photo of\tthe “red” house"]
    assert np.abs(reader.embed_texts(texts) - own.embed(texts).vectors.numpy()).max() < 1e-6
    got, expected = reader.embed_images(pictures), own.embed(pictures).vectors.numpy()
    assert (got * expected).sum(axis=1).min() > 0.9999
    scores = reader.probabilities(expected, reader.class_embeddings())
    for row, answer in zip(scores, own.classify(pictures), strict=True):
        assert row == pytest.approx(list(answer.scores.values()), abs=1e-5)


@pytest.mark.parametrize(
    "image",
    [
        {"resize": "shortest", "short_side": 40},
        {"resize": "shortest", "short_side": 24, "interpolation": "bilinear"},
        {"resize": "longest", "resampler": "pillow"},
        {"resize": "squash", "standardize": 0.05, "trim_border": 0.12},
        {"resize": "squash", "stretch": (1.0, 99.0), "channels": 1, "mean": (0.5,), "std": (0.25,)},
    ],
)
def test_the_reader_prepares_pictures_as_the_processor(exported, image):
    _, out, _ = exported
    config = ProcessorConfig(image=ImageProcessing(size=32, **image))
    reader = reader_of(out)
    reader.facts["processor"] = config.model_dump(mode="json")
    rows, columns = np.mgrid[0:80, 0:111]
    picture = np.stack([rows * 3, columns * 2, rows + columns], axis=-1).astype(np.uint8)
    picture[:15], picture[:, :20] = 0, 0
    got, expected = reader.pixels(picture), Processor(config)("image", [picture])["pixels"][0].numpy()
    assert got.shape == expected.shape
    assert got.dtype == np.float32
    # One level of 8 bits, in units of the smallest deviation.
    level = 1.01 / 255 / (min(config.image.std) if config.image.standardize is None else 0.05)
    assert np.abs(got - expected).max() < level


@pytest.mark.parametrize(
    "changes",
    [
        {"padding": "repeat", "standardize": 1.0},
        {"padding": "zeros", "quantize": True, "hop_s": 0.2, "mean": -4.0, "std": 2.0},
    ],
)
def test_the_reader_prepares_recordings_as_the_processor(exported, tmp_path, changes):
    from verticlip.core.spectrogram import mel_filters

    _, out, _ = exported
    audio = export_models.audio_processing(**changes)
    processor = export_models.processor(audio=audio)
    reader = reader_of(out)
    reader.folder = tmp_path
    reader.facts["processor"] = processor.config.model_dump(mode="json")
    np.save(tmp_path / "mel_filters.npy", mel_filters(audio.mel, audio.sampling_rate).numpy())
    generator = np.random.default_rng(0)
    for samples in (900, 4000, 9001):
        wave = generator.normal(0, 0.2, samples).astype(np.float32)
        expected = processor.finish_audio(processor.fit_audio(wave))["features"].numpy()
        got = reader.features(wave)["features"]
        assert got.shape == expected.shape
        assert np.abs(got - expected).max() < 2e-4


def test_the_reader_says_what_it_cannot_use(exported):
    _, out, _ = exported
    reader = reader_of(out)
    with pytest.raises(KeyError, match="no part 'audio'; it has: image, text"):
        reader.run("audio", {})
    with pytest.raises(ValueError, match="a text has 15 tokens, the model takes 12"):
        reader.tokens(["river " * 13])
    with pytest.raises(ValueError, match="a text is empty"):
        reader.tokens(["  "])
