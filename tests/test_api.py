"""The façade: records, label handling, independence of batch size, saving."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import verticlip
from PIL import Image
from safetensors.torch import load_file, save_file
from verticlip.core.answers import Embeddings, Failure, Prediction
from verticlip.core.errors import ConfigError, InputError, LimitError, VerticlipError, WeightsError
from verticlip.core.limits import Limits
from verticlip.core.prompts import PromptSet
from verticlip.core.types import Sample


@pytest.fixture(scope="module")
def model(model_folder: Path) -> verticlip.Model:
    return verticlip.from_pretrained(model_folder, device="cpu")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("images")
    generator = np.random.default_rng(0)
    for index in range(5):
        pixels = generator.integers(0, 256, (20 + index, 24, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
    return sorted(folder.iterdir())


def test_images_of_every_kind_give_the_same_vector(model, files) -> None:
    array = np.asarray(Image.open(files[0]))
    kinds = [
        files[0],
        Image.open(files[0]),
        array,
        torch.from_numpy(array.copy()).permute(2, 0, 1),
        Sample(torch.from_numpy(array.copy()).permute(2, 0, 1), "image", {"from": "test"}, id="one"),
    ]
    result = model.embed(kinds)
    assert result.vectors.shape == (5, 12)
    assert result.vectors.dtype == torch.float32
    torch.testing.assert_close(result.vectors, result.vectors[:1].expand(5, -1))
    torch.testing.assert_close(result.vectors.norm(dim=1), torch.ones(5))
    assert result.ids == (str(files[0]), None, None, None, "one")
    assert result.metas[0] == {"format": "PNG", "height": 20, "width": 24}
    assert result.metas[4] == {"from": "test"}
    assert (result.modality, result.model, result.revision) == ("image", model.id, model.revision)
    assert result.processor == model.processor.fingerprint
    assert not result.vectors.is_inference()


def test_vectors_match_the_plain_network(model, files) -> None:
    images = [Image.open(path) for path in files]
    expected = model.network.encode("image", model.processor("image", images)).detach()
    torch.testing.assert_close(model.embed(files).vectors, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("size", [1, 2, 3, 8])
def test_results_do_not_depend_on_the_batch_size(model, files, size: int) -> None:
    texts = ["red", "a blue square of red", "an image of a cat", "no tumor", "glioma glioma glioma"]
    for items in (files, texts):
        torch.testing.assert_close(
            model.embed(items, batch_size=size).vectors,
            model.embed(items, batch_size=5).vectors,
            rtol=0,
            atol=1e-6,
        )
    scores = [answer.score for answer in model.classify(files, batch_size=size)]
    assert scores == pytest.approx([model.classify([path])[0].score for path in files], abs=1e-6)


def test_text_and_single_items(model) -> None:
    one = model.embed("red square")
    assert (len(one), one.modality, one.ids) == (1, "text", ("red square",))
    both = model.embed([Sample("red square", "text", id="a"), Sample("blue", "text")])
    assert both.ids == ("a", None)
    torch.testing.assert_close(both.vectors[:1], one.vectors)


def test_a_stacked_array_is_a_batch_and_a_flat_one_is_an_image(model) -> None:
    assert len(model.embed(np.zeros((4, 20, 20, 3), np.uint8))) == 4
    assert len(model.embed(np.zeros((20, 20, 3), np.uint8))) == 1
    assert len(model.embed(torch.zeros(2, 3, 20, 20))) == 2


def test_constant_images_have_finite_vectors(model) -> None:
    vectors = model.embed([np.full((20, 20), level, np.uint8) for level in (0, 128, 255)]).vectors
    assert torch.isfinite(vectors).all()


def test_sixteen_bit_files_keep_their_range(model, tmp_path: Path) -> None:
    ramp = np.linspace(0, 255, 400).astype(np.uint8).reshape(20, 20)
    Image.fromarray(ramp).save(tmp_path / "8.png")
    Image.fromarray(ramp.astype(np.uint16) * 257).save(tmp_path / "16.png")
    vectors = model.embed([tmp_path / "8.png", tmp_path / "16.png"]).vectors
    assert float(vectors[0] @ vectors[1]) > 0.9999


@pytest.mark.parametrize(
    ("items", "options", "match"),
    [
        ([], {}, "the batch is empty"),
        (["red", np.zeros((4, 4), np.uint8)], {}, "mixes image and text. Embed one modality at a time"),
        (["red"], {"modality": "audio"}, "takes image and text, not 'audio'"),
        (["red"], {"modality": "image"}, r"^red: no such file"),
        ([7], {"modality": "text"}, "text 0: int is not a string"),
        ([Sample("x", "text")], {"modality": "image"}, "item 0 is a sample of 'text'; expected 'image'"),
        ([np.zeros((4, 4), np.uint8), object()], {}, "image 1: object is not an image"),
        ([""], {}, "text 0 is empty"),
        (["red " * 40], {}, "has 42 tokens; this model takes 16. Shorten it"),
    ],
)
def test_batches_that_are_refused(model, items, options, match: str) -> None:
    with pytest.raises(InputError, match=match):
        model.embed(items, **options)


def test_an_item_is_named_by_its_place_in_the_whole_call(model) -> None:
    items = [np.zeros((4, 4), np.uint8)] * 5 + [np.zeros((4, 4, 9), np.uint8)]
    with pytest.raises(InputError, match="image 5: shape"):
        model.embed(items, batch_size=2)


def test_a_file_name_is_not_embedded_as_text(model, files) -> None:
    with pytest.raises(InputError, match=r"'0\.png' is a file, and a str is read as text. Pass a Path"):
        model.embed([str(files[0])])
    assert len(model.embed([str(files[0])], modality="image")) == 1


def test_messages_name_a_path_only_when_asked(model, tmp_path: Path) -> None:
    path = tmp_path / "Doe^John.tif"
    Image.fromarray(np.full((8, 8), 7.5, np.float32)).save(path)
    for options, is_named in (({}, False), ({"show_paths": True}, True)):
        with pytest.raises(InputError) as caught:
            model.embed([path], **options)
        assert (str(tmp_path) in str(caught.value)) is is_named


def test_non_finite_embeddings_are_refused(model_folder: Path) -> None:
    broken = verticlip.from_pretrained(model_folder, device="cpu")
    with torch.no_grad():
        next(broken.network.projections["image"].parameters()).fill_(float("inf"))
    with pytest.raises(InputError, match="item 0: its embedding is not finite"):
        broken.embed([np.zeros((4, 4), np.uint8)])
    answers = list(broken.classify_each([Sample(torch.zeros(1, 4, 4), "image", id="one")]))
    assert answers == [Failure("one", "its embedding is not finite")]


@pytest.mark.parametrize("batch_size", [0, -1])
def test_bad_batch_sizes(model, files, batch_size: int) -> None:
    message = f"batch_size is at least 1, got {batch_size}"
    for call in (
        lambda: model.embed(files, batch_size=batch_size),
        lambda: model.embed_each(files, batch_size=batch_size),
        lambda: model.classify_each(files, ["red", "cat"], batch_size=batch_size),
    ):
        with pytest.raises(ConfigError, match=message):
            call()


def test_similarity_is_the_cosine(model, files) -> None:
    images, texts = model.embed(files), model.embed(["red", "blue"])
    cosines = model.similarity(images, texts)
    assert cosines.shape == (5, 2)
    torch.testing.assert_close(cosines, images.vectors @ texts.vectors.T)
    torch.testing.assert_close(model.similarity(images.vectors, texts), cosines)


def test_similarity_refuses_other_models_and_shapes(model, files) -> None:
    from dataclasses import replace

    images = model.embed(files)
    with pytest.raises(InputError, match="come from different models"):
        model.similarity(images, replace(images, revision="other"))
    with pytest.raises(InputError, match=r"Expected \[B1, D\] and \[B2, D\], got \[5, 12\] and \[5, 3\]"):
        model.similarity(images, torch.zeros(5, 3))


def test_predictions_carry_scores_and_origin(model, files) -> None:
    answers = model.classify(files, ["Blue_Square", "cat", "red"])
    assert [answer.id for answer in answers] == [str(path) for path in files]
    for answer in answers:
        assert list(answer.scores) == ["Blue_Square", "cat", "red"]
        assert sum(answer.scores.values()) == pytest.approx(1, abs=1e-6)
        assert answer.score == max(answer.scores.values()) == answer.scores[answer.label]
        assert (answer.model, answer.revision, answer.processor) == (
            model.id, model.revision, model.processor.fingerprint,
        )  # fmt: skip
        assert answer.meta["format"] == "PNG"
        assert json.loads(json.dumps(answer.to_dict()))["label"] == answer.label


def test_scores_follow_the_definition(model, files) -> None:
    prompts = PromptSet.from_labels(["cat", "red"], templates=["an image of {}", "a {}"])
    texts = model.embed(["an image of cat", "a cat", "an image of red", "a red"]).vectors.view(2, 2, -1)
    classes = torch.nn.functional.normalize(texts.mean(dim=1), dim=-1)
    logits = model.network.scale().detach() * model.embed(files).vectors @ classes.T
    answers = model.classify(files, templates=prompts)
    got = torch.tensor([list(answer.scores.values()) for answer in answers])
    torch.testing.assert_close(got, logits.softmax(dim=1), rtol=1e-4, atol=1e-6)
    again = model.classify(files, ["cat", "red"], templates=["an image of {}", "a {}"])
    assert [answer.scores for answer in again] == [pytest.approx(answer.scores) for answer in answers]


def test_the_models_own_classes_and_words_are_used(model, files) -> None:
    own = model.classify(files)
    assert list(own[0].scores) == ["red square", "blue square"]
    spelled = model.classify(files, ["RED", "blue_square"])
    assert list(spelled[0].scores) == ["RED", "blue_square"]
    assert list(spelled[0].scores.values()) == pytest.approx(list(own[0].scores.values()), abs=1e-6)


def test_unknown_labels_use_the_models_templates(model) -> None:
    prompts = model.prompts_for(["glioma_tumor", "red"])
    assert prompts.texts("glioma_tumor") == ["glioma tumor", "an image of glioma tumor"]
    assert "an image of red square" in prompts.texts("red")


def test_class_embeddings_are_computed_once(model_folder: Path, files, monkeypatch) -> None:
    model = verticlip.from_pretrained(model_folder, device="cpu")
    calls = []
    encode = model.network.encode
    monkeypatch.setattr(
        model.network,
        "encode",
        lambda modality, *rest, **more: calls.append(modality) or encode(modality, *rest, **more),
    )
    first = model.classify(files[:1])[0].scores
    count = calls.count("text")
    assert count >= 1
    model.classify(files)
    assert calls.count("text") == count
    with torch.no_grad():
        model.network.projections["text"].weight.mul_(-1)
    assert model.classify(files[:1])[0].scores != first
    assert calls.count("text") == 2 * count


@pytest.mark.parametrize(
    ("labels", "error", "match"),
    [
        ([], InputError, "labels is empty"),
        (["red", " "], InputError, r"Label 1 \(' '\) is empty"),
        (["red", "RED"], InputError, "'red' and 'RED' read the same"),
        (["red", "red square"], InputError, "both mean 'red square'"),
        (["red", "x" * 20_001], LimitError, "characters 20,001 is over the limit of 20,000"),
        (["red", "cat " * 30], InputError, "tokens; this model takes 16"),
        ("red", InputError, "labels must be a list of strings, got the single string 'red'"),
        (["red"], InputError, "A softmax over one label"),
    ],
)
def test_labels_that_are_refused(model, files, labels, error, match: str) -> None:
    with pytest.raises(error, match=match):
        model.classify(files[:1], labels)


def test_a_model_without_classes_needs_labels(model_folder: Path, tmp_path: Path, files) -> None:
    folder = Path(shutil.copytree(model_folder, tmp_path / "bare"))
    (folder / "prompts.yaml").unlink()
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "prompts": None}))
    bare = verticlip.from_pretrained(folder, device="cpu")
    with pytest.raises(InputError, match=r"has no classes of its own. Pass labels="):
        bare.classify(files)
    assert bare.prompts_for(["cat"]).texts("cat") == ["a photo of a cat."]
    with pytest.raises(InputError, match="templates must be a list of sentences"):
        bare.classify(files, ["cat", "dog"], templates="a {}")


def test_sigmoid_models_give_independent_probabilities(model_folder: Path, tmp_path: Path, files) -> None:
    folder = Path(shutil.copytree(model_folder, tmp_path / "sigmoid"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "logit_bias": -2.0}))
    state = load_file(folder / "model.safetensors")
    save_file({**state, "logit_bias": torch.tensor(-2.0)}, folder / "model.safetensors")
    sigmoid = verticlip.from_pretrained(folder, device="cpu")
    scores = sigmoid.classify(files[:1], ["red", "cat"])[0].scores
    words = torch.nn.functional.normalize(
        sigmoid.embed(["cat", "an image of cat"]).vectors.mean(dim=0), dim=0
    )
    logit = sigmoid.network.scale().detach() * (sigmoid.embed(files[:1]).vectors[0] @ words) - 2
    assert scores["cat"] == pytest.approx(float(logit.sigmoid()), rel=1e-4)
    assert sigmoid.classify(files[:1], ["cat"])[0].scores == {"cat": pytest.approx(scores["cat"], abs=1e-6)}


def test_a_bad_file_does_not_stop_the_others(model, files, tmp_path: Path) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"nonsense")
    answers = list(model.classify_each([files[0], bad, files[1]], batch_size=2))
    assert [type(answer) for answer in answers] == [Prediction, Failure, Prediction]
    assert answers[1].id == str(bad)
    assert "not an image of a known format" in answers[1].error
    assert answers[2].scores == pytest.approx(model.classify([files[1]])[0].scores, abs=1e-6)


def test_each_gives_what_the_whole_gives(model, files, tmp_path: Path) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"nonsense")
    found = list(model.embed_each([files[0], bad, files[1]], batch_size=2))
    assert [type(one) for one in found] == [Embeddings, Failure, Embeddings]
    whole = model.embed(files[:2])
    for one, row, name in zip(found[::2], whole.vectors, files, strict=False):
        torch.testing.assert_close(one.vectors, row[None])
        assert (one.ids, one.model, one.modality) == ((str(name),), model.id, "image")
    texts = list(model.embed_each(["red", "a cat"], modality="text"))
    torch.testing.assert_close(texts[1].vectors, model.embed(["a cat"]).vectors)
    with pytest.raises(InputError, match="takes image and text, not 'audio'"):
        model.embed_each(files, modality="audio")


def test_labels_are_refused_before_the_first_answer_is_asked_for(model, files) -> None:
    with pytest.raises(InputError, match="Labels 'red' and 'red' read the same"):
        model.classify_each(files, ["red", "red"])


def test_what_every_file_would_meet_stops_the_others_too(model, files, tmp_path: Path, monkeypatch) -> None:
    with pytest.raises(ConfigError, match="has no loader options; got windw"):
        list(model.classify_each(files, ["red", "cat"], windw="lung"))
    with pytest.raises(ConfigError, match="has no loader options; got windw"):
        model.embed_files([(path.name, path) for path in files], tmp_path / "out.parquet", windw="lung")
    # The run that was meant does not find the leavings of the slip in its way.
    report = model.embed_files([(path.name, path) for path in files], tmp_path / "out.parquet")
    assert report.embedded == len(files)

    def full(*_, **__):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(model.network, "encode", full)
    with pytest.raises(RuntimeError, match="out of memory"):
        list(model.embed_each(files))


def test_zero_shot_takes_a_model_or_its_name(model, model_folder: Path, files) -> None:
    by_name = verticlip.zero_shot(str(model_folder), str(files[0]), ["red", "cat"])
    by_model = verticlip.zero_shot(model, files[0], ["red", "cat"])
    assert by_name[0].scores == pytest.approx(by_model[0].scores, abs=1e-6)


def test_bfloat16_is_close_and_says_so(model, model_folder: Path, files) -> None:
    rounded = verticlip.from_pretrained(model_folder, device="cpu", dtype="bfloat16")
    assert (model.dtype, rounded.dtype) == ("float32", "bfloat16")
    exact, close = model.embed(files).vectors, rounded.embed(files).vectors
    assert not torch.equal(exact, close)
    assert float((exact * close).sum(dim=1).min()) > 0.999


def test_bad_devices_and_dtypes(model_folder: Path) -> None:
    with pytest.raises(
        ConfigError, match="dtype 'float8' is not offered; choose from: auto, float32, bfloat16"
    ):
        verticlip.from_pretrained(model_folder, dtype="float8")
    with pytest.raises(ConfigError, match=r"device 'nonsense' cannot be used here .*Use 'auto' or 'cpu'"):
        verticlip.from_pretrained(model_folder, device="nonsense")
    with pytest.raises(ConfigError, match=r"device 'meta' cannot be used here \(it holds no values\)"):
        verticlip.from_pretrained(model_folder, device="meta")


def test_limits_reach_the_loader(model_folder: Path, files) -> None:
    strict = verticlip.from_pretrained(model_folder, device="cpu", limits=Limits(pixels=100))
    with pytest.raises(LimitError, match=r"0\.png: pixels 480 is over the limit of 100"):
        strict.embed(files)


def test_options_of_a_model_without_a_domain(model, files) -> None:
    with pytest.raises(ConfigError, match="has no loader options; got window"):
        model.load(files[0], window="lung")
    with pytest.raises(ConfigError, match="reads image files only, not 'volume'"):
        model.load(files[0], modality="volume")


def test_a_medical_model_reads_dicom(model_folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("pydicom")
    from pydicom.data import get_testdata_file

    folder = Path(shutil.copytree(model_folder, tmp_path / "medical"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "domain": "medical"}))
    medical = verticlip.from_pretrained(folder, device="cpu")
    path = Path(str(get_testdata_file("CT_small.dcm", download=False)))
    answer = medical.classify([path], window="lung")[0]
    assert answer.meta["modality"] == "CT"
    assert "lung" in str(answer.meta["window"])
    assert medical.load(path, window="bone").value.shape == (1, 128, 128)
    with pytest.raises(VerticlipError, match="lnug"):
        medical.load(path, window="lnug")
    with pytest.raises(InputError) as caught:
        medical.load(tmp_path / "Doe^John.dcm")
    assert "Doe" not in str(caught.value)


def test_saving_and_loading_again(model, model_folder: Path, tmp_path: Path, files) -> None:
    folder = model.save(tmp_path / "copy")
    assert {path.name for path in folder.iterdir()} == {path.name for path in model_folder.iterdir()}
    copy = verticlip.from_pretrained(folder, device="cpu")
    assert torch.equal(copy.embed(files).vectors, model.embed(files).vectors)
    assert copy.prompts == model.prompts
    assert copy.processor.fingerprint == model.processor.fingerprint
    assert copy.revision == model.revision
    model.save(folder)


def test_saving_over_another_model_is_refused(model, model_folder: Path, tmp_path: Path) -> None:
    folder = model.save(tmp_path / "copy")
    other = verticlip.from_pretrained(model_folder, device="cpu")
    with torch.no_grad():
        other.network.logit_scale.add_(0.1)
    with pytest.raises(
        ConfigError, match=r"holds another model. Choose another folder or pass overwrite=True"
    ):
        other.save(folder)
    assert torch.equal(load_file(folder / "model.safetensors")["logit_scale"], model.network.logit_scale)
    other.save(folder, overwrite=True)
    assert torch.equal(load_file(folder / "model.safetensors")["logit_scale"], other.network.logit_scale)
    (folder / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match="holds another model"):
        other.save(folder)


def test_a_model_that_was_built_here(model) -> None:
    built = verticlip.Model(model.network, model.processor)
    assert (built.id, built.revision) == ("random", "unsaved")


def test_damaged_weights_reach_the_user_as_one_error(model_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(model_folder, tmp_path / "damaged"))
    (folder / "model.safetensors").write_bytes(b"short")
    with pytest.raises(WeightsError, match=r"model\.safetensors: not a whole safetensors file"):
        verticlip.from_pretrained(folder)


def test_bulk_embedding_gives_the_same_vectors(model, files, tmp_path: Path) -> None:
    from pyarrow import parquet

    report = model.embed_files([(path.name, path) for path in files], tmp_path / "out.parquet", batch_size=2)
    table = parquet.read_table(report.out)
    got = torch.tensor(table.column("vector").to_pylist())
    torch.testing.assert_close(got, model.embed(files).vectors, rtol=0, atol=1e-6)
    stored = json.loads(table.schema.metadata[b"verticlip"])
    assert (stored["model"], stored["revision"]) == (model.id, model.revision)
    assert stored["processor"] == model.processor.fingerprint


def test_lists_of_models_and_recipes() -> None:
    assert "medical/tiny" in [spec.name for spec in verticlip.list_models()]
    for spec in verticlip.list_recipes():
        assert spec.summary


def test_train_passes_everything_on_and_writes_the_card(monkeypatch, tmp_path: Path) -> None:
    from types import SimpleNamespace

    from verticlip.core import train
    from verticlip.hub import card, stored_probe

    seen: dict[str, object] = {}
    result = SimpleNamespace(model=tmp_path, metrics={})
    monkeypatch.setattr(train, "train", lambda *given, **options: seen.update(options, given=given) or result)
    monkeypatch.setattr(card, "write_card", lambda folder: (folder / "README.md").write_text("card"))
    monkeypatch.setattr(
        stored_probe, "write_probe", lambda folder: (folder / "probe.json").write_text("probe")
    )
    assert verticlip.train("r", "data", tmp_path, overrides=["a=1"], resume=False) is result
    assert seen.pop("given") == ("r", "data", tmp_path)
    assert callable(seen.pop("start")), "how a recipe's start is found"
    assert seen == {"overrides": ["a=1"], "resume": False, "progress": False}
    assert (tmp_path / "README.md").read_text() == "card"
    assert (tmp_path / "probe.json").read_text() == "probe"
