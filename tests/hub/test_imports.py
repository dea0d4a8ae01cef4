"""Checkpoints of other libraries, from a repository or a folder, become models once and for all."""

from __future__ import annotations

import io
import json
import logging
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
import verticlip
from local_hub.faults import Status
from make_foreign import CARD, clip_files, clip_state, in_pieces
from safetensors.torch import load_file, save
from verticlip.core.errors import ConfigError, WeightsError
from verticlip.core.files import read_json, sha256_of
from verticlip.hub import imports
from verticlip.hub.cache import prune
from verticlip.hub.import_facts import import_facts
from verticlip.hub.trust import all_recorded, forget


def pickled(value: object) -> bytes:
    stream = io.BytesIO()
    torch.save(value, stream)
    return stream.getvalue()


def written(folder: Path, files: Mapping[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VERTICLIP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def embeddings(model: verticlip.Model) -> torch.Tensor:
    picture = torch.linspace(0, 1, 3 * 20 * 31).reshape(3, 20, 31)
    return torch.cat([model.embed(picture).vectors, model.embed(["a", ""]).vectors])


def test_a_repository_is_imported_at_one_commit_and_kept(online, local_hub, caplog) -> None:
    commit = local_hub.add_repository("org/Model", {**clip_files(), "modeling.py": b"raise SystemExit"})
    with caplog.at_level(logging.WARNING):
        model = verticlip.from_pretrained("org/Model", device="cpu")
    assert (
        "org/Model: importing a checkpoint of transformers; weights under CC-BY-NC-4.0, which forbids"
        in caplog.text
    )
    assert (model.id, model.revision) == ("org/Model", commit)
    config = model.config
    assert (config.name, config.domain, config.licence) == ("org/Model", None, "CC-BY-NC-4.0")
    asked = {request.path.rpartition("/")[2] for request in local_hub.requests if request.method == "GET"}
    assert "modeling.py" not in asked
    assert {"config.json", "model.safetensors"} <= asked
    first, before = embeddings(model), len(local_hub.requests)
    online.offline()
    assert torch.equal(embeddings(verticlip.from_pretrained("org/Model", device="cpu")), first)
    assert torch.equal(
        embeddings(verticlip.from_pretrained("org/Model", revision=commit, device="cpu")), first
    )
    assert len(local_hub.requests) == before
    content = read_json(next(online.own_cache.rglob("conversion.json")))
    assert (content["kind"], content["model"], content["unverified"]) == (
        "transformers:clip",
        "org/Model",
        [],
    )
    assert {file["commit"] for file in content["files"]} == {commit}
    assert all(len(file["sha256"]) == 64 for file in content["files"])
    assert prune(dry_run=True) == []


def test_a_repository_of_registered_weights_is_imported_and_its_name_told(online, local_hub, caplog) -> None:
    commit = local_hub.add_repository("patrickjohncyh/fashion-clip", clip_files())
    with caplog.at_level(logging.WARNING):
        model = verticlip.from_pretrained("patrickjohncyh/fashion-clip", device="cpu")
    assert (model.id, model.revision) == ("patrickjohncyh/fashion-clip", commit)
    assert (
        "Load it by name, with its domain and what the registry pins: 'ecommerce/fashion-clip'" in caplog.text
    )


def test_files_in_the_cache_are_imported_without_network(online, local_hub) -> None:
    local_hub.add_repository("org/model", clip_files())
    expected = embeddings(verticlip.from_pretrained("org/model", device="cpu"))
    shutil.rmtree(online.own_cache)
    online.offline()
    assert torch.equal(embeddings(verticlip.from_pretrained("org/model", device="cpu")), expected)


def test_trouble_of_the_server_passes_and_its_silence_is_told(online, local_hub, waits) -> None:
    local_hub.add_repository("org/model", clip_files())
    local_hub.fault("api/models/org/model", Status(code=429, headers={"Retry-After": "7"}))
    verticlip.from_pretrained("org/model", device="cpu")
    assert waits == [7.0]
    commit = local_hub.commit("org/model", {"README.md": b"new"})
    local_hub.fault("api/models/org/model", Status(code=503, times=9))
    with pytest.raises(WeightsError, match="org/model: config.json at .* is not in the cache"):
        verticlip.from_pretrained("org/model", revision=commit, device="cpu")


def test_a_slip_of_ours_is_no_trouble_of_the_network(online, local_hub, monkeypatch) -> None:
    import huggingface_hub

    commit = local_hub.add_repository("org/model", clip_files())
    monkeypatch.delattr(huggingface_hub.hf_api.ModelInfo, "__init__")
    with pytest.raises(TypeError):
        imports.listed("org/model", commit)


@pytest.mark.parametrize("content", ["{", "[]", '{"files": [{"name": "a"}]}', '{"files": 3}', "{}"])
def test_a_damaged_conversion_is_passed_over_and_made_anew(online, local_hub, content: str) -> None:
    commit = local_hub.add_repository("org/model", clip_files())
    expected = embeddings(verticlip.from_pretrained("org/model", device="cpu"))
    (made,) = online.own_cache.rglob("conversion.json")
    known = read_json(made)
    other = made.parent.with_name("0" * 16)
    other.mkdir()
    if content[0] == "{" and content != "{":
        content = json.dumps({**{key: known[key] for key in known if key != "files"}, **json.loads(content)})
    for place in (other, made.parent):
        (place / "conversion.json").write_text(content)
        again = verticlip.from_pretrained("org/model", device="cpu")
        assert again.revision == commit
        assert torch.equal(embeddings(again), expected)
    assert read_json(made) == known
    assert [one.reason for one in prune()] == ["damaged"]


def test_a_damaged_conversion_of_a_folder_is_made_anew(cache, tmp_path) -> None:
    folder = written(tmp_path / "model", clip_files())
    kept = imports.import_folder(folder).folder
    (kept / "conversion.json").write_text("{")
    assert imports.import_folder(folder).folder == kept
    assert read_json(kept / "conversion.json")["written"]


def test_a_folder_of_another_library_is_described_and_not_converted(cache, tmp_path, run) -> None:
    folder = written(tmp_path / "model", clip_files())
    (folder / "model.safetensors").write_bytes(b"not read")
    status, out, err = run("models", "info", str(folder))
    assert (status, err) == (0, "")
    rows = [line.split(maxsplit=1) for line in out.splitlines()]
    assert ["format", "transformers:clip"] in rows
    assert not cache.exists()


def test_a_new_commit_is_a_new_conversion_and_the_old_one_stays(online, local_hub) -> None:
    first = local_hub.add_repository("org/model", clip_files())
    verticlip.from_pretrained("org/model", device="cpu")
    second = local_hub.commit("org/model", {"README.md": b"---\nlicense: mit\n---\n"})
    assert verticlip.from_pretrained("org/model", device="cpu").revision == second
    assert imports.kept_import("org/model", first) is not None
    assert len(list(online.own_cache.rglob("conversion.json"))) == 2
    assert prune(dry_run=True) == []


def test_what_a_repository_is_shows_without_its_weights(online, local_hub) -> None:
    commit = local_hub.add_repository("org/model", in_pieces(clip_files()))
    facts = import_facts("org/model")
    assert facts == {
        "name": "org/model", "commit": commit, "format": "transformers:clip", "modalities": ["image", "text"],
        "embed_dim": 12, "weights": "model.safetensors.index.json", "pickled": False,
        "licence": "CC-BY-NC-4.0", "converted": None,
    }  # fmt: skip
    assert not any("-of-0000" in request.path for request in local_hub.requests)


def test_what_a_repository_in_our_own_format_is(online, local_hub, model_folder) -> None:
    local_hub.add_repository("org/own", {path.name: path.read_bytes() for path in model_folder.iterdir()})
    facts = import_facts("org/own")
    assert (facts["format"], facts["modalities"], facts["embed_dim"]) == ("verticlip", ["image", "text"], 12)
    assert not any(request.path.endswith("model.safetensors") for request in local_hub.requests)


def test_weights_in_pieces_and_pickles_give_the_same_model(cache, tmp_path, caplog) -> None:
    whole = clip_files()
    rest = {name: content for name, content in whole.items() if name != "model.safetensors"}
    folders = [
        written(tmp_path / "whole", whole),
        written(tmp_path / "pieces", in_pieces(whole)),
        written(tmp_path / "pickle", {**rest, "pytorch_model.bin": pickled(clip_state())}),
    ]
    hashes = {path: sha256_of(path) for folder in folders for path in folder.iterdir()}
    found = [embeddings(verticlip.from_pretrained(str(folder), device="cpu")) for folder in folders]
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])
    assert "Its weights are a pickle: only tensors are read from it, and nothing in it is run." in caplog.text
    assert {path: sha256_of(path) for folder in folders for path in folder.iterdir()} == hashes


def test_a_folder_is_converted_once_and_again_when_it_changes(cache, tmp_path) -> None:
    folder = written(tmp_path / "model", clip_files())
    first = imports.import_folder(folder)
    assert imports.import_folder(folder).folder == first.folder
    assert (first.id, first.commit) == (str(folder), None)
    content = read_json(first.folder / "conversion.json")
    assert str(tmp_path) not in json.dumps(content)
    assert content["model"] == "imported/transformers-clip"
    assert not list(first.folder.parent.glob(".staging-*"))
    (folder / "preprocessor_config.json").write_text(
        '{"image_mean": [0.1, 0.2, 0.3], "size": 16, "crop_size": 16}'
    )
    assert imports.import_folder(folder).folder != first.folder
    assert prune(dry_run=True) == []


def test_a_changed_conversion_is_refused(cache, tmp_path) -> None:
    folder = written(tmp_path / "model", clip_files())
    kept = imports.import_folder(folder).folder
    weights = kept / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(
        WeightsError, match="model.safetensors has SHA-256 .* To convert anew, delete the folder"
    ):
        imports.import_folder(folder)


def test_prune_removes_imports_of_forgotten_files_and_other_versions(online, local_hub) -> None:
    local_hub.add_repository("org/model", clip_files())
    verticlip.from_pretrained("org/model", device="cpu")
    assert {one.repo_id for one in all_recorded()} == {"org/model"}
    forget([("org/model", "config.json")])
    (gone,) = prune("org/model")
    assert gone.reason == "made from files that were forgotten"
    verticlip.from_pretrained("org/model", device="cpu")
    record = next(online.own_cache.rglob("conversion.json"))
    record.write_text(json.dumps(read_json(record) | {"converter_version": 0}))
    assert [one.reason for one in prune()] == ["made by another version of the converter"]
    assert not list(online.own_cache.rglob("conversion.json"))


class Canary:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_a_pickle_that_runs_something_is_refused_and_does_not_run(cache, tmp_path) -> None:
    canary = tmp_path / "canary"
    for name in ("pytorch_model.bin", "model.safetensors"):
        files = {key: content for key, content in clip_files().items() if key != "model.safetensors"}
        files[name] = pickled({**clip_state(), "logit_scale": Canary(canary)})
        folder = written(tmp_path / name, files)
        with pytest.raises(WeightsError, match="not a checkpoint that can be read without running its code"):
            verticlip.from_pretrained(str(folder))
    assert not canary.exists()
    assert not list(cache.rglob("*.safetensors"))
    assert not list(cache.rglob(".staging-*"))


def broken(name: str) -> dict[str, bytes]:
    files = clip_files()
    state = clip_state()
    if name == "a tensor too few":
        del state["visual_projection.weight"]
    elif name == "a tensor too many":
        state["text_model.stranger"] = torch.zeros(3)
    elif name == "not finite":
        state["visual_projection.weight"][0, 0] = float("nan")
    elif name == "cut":
        return {**files, "model.safetensors": files["model.safetensors"][:-9]}
    elif name == "a header of 2^40 bytes":
        return {**files, "model.safetensors": (2**40).to_bytes(8, "little") + b"{}"}
    elif name == "a piece that is not there":
        pieces = in_pieces(files)
        del pieces["model-00002-of-00002.safetensors"]
        return pieces
    elif name == "a tensor in two pieces":
        pieces = in_pieces(files)
        return {**pieces, "model-00002-of-00002.safetensors": pieces["model-00001-of-00002.safetensors"]}
    return {**files, "model.safetensors": save(state)}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("a tensor too few", "no CLIP with an image tower and a text tower|missing"),
        ("a tensor too many", r"holds 1 tensors that CLIP does not have \(text_model.stranger\)"),
        ("not finite", "'visual_projection.weight' has NaN or infinite values"),
        ("cut", "not a whole safetensors file|not a checkpoint"),
        ("a header of 2^40 bytes", "not a whole safetensors file|not a checkpoint"),
        ("a piece that is not there", "names model-00002-of-00002.safetensors, which is not there"),
        ("a tensor in two pieces", "stands in another piece as well"),
    ],
)
def test_damaged_weights_leave_nothing_behind(name: str, said: str, cache, tmp_path) -> None:
    folder = written(tmp_path / "model", broken(name))
    with pytest.raises((WeightsError, ConfigError), match=said):
        verticlip.from_pretrained(str(folder))
    assert not list(cache.rglob("conversion.json"))
    assert not list(cache.rglob(".staging-*"))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"auto_map": {"AutoModel": "evil--code.Model"}},
            "'auto_map' names code of the repository, which is never",
        ),
        ({"model_type": "llama"}, "org/model: is a model of type 'llama', not a CLIP, SigLIP or CLAP"),
        ({"model_type": "siglip2"}, "org/model is a SigLIP 2 of variable resolution"),
        ({"text_config": {"vocab_size": 2**40}}, "text_config: vocab_size"),
    ],
)
def test_a_repository_that_asks_too_much_is_refused_before_its_weights(
    changes, said, online, local_hub
) -> None:
    local_hub.add_repository("org/model", clip_files(**changes))
    with pytest.raises(ConfigError, match=said):
        verticlip.from_pretrained("org/model")
    if "text_config" not in changes:
        assert not any(request.path.endswith("model.safetensors") for request in local_hub.requests)
    assert not list(online.own_cache.rglob("conversion.json"))


def test_a_converted_model_is_saved_and_loads_like_any_other(cache, tmp_path) -> None:
    model = verticlip.from_pretrained(str(written(tmp_path / "model", clip_files())), device="cpu")
    again = verticlip.from_pretrained(str(model.save(tmp_path / "mine")), device="cpu")
    assert torch.equal(embeddings(again), embeddings(model))
    state = load_file(tmp_path / "mine" / "model.safetensors")
    assert "towers.image.proj" in state
    assert "towers.text.text_projection" in state


def test_a_clap_is_imported_with_the_converter_of_its_room(cache, tmp_path) -> None:
    from transformers import ClapConfig, ClapFeatureExtractor, ClapModel, ClapProcessor, RobertaTokenizer

    words = ["<s>", "<pad>", "</s>", "<unk>", *"abcdefghijklmnopqrstuvwxyz", "\u0120", "<mask>"]
    tokenizer = RobertaTokenizer(vocab={word: number for number, word in enumerate(words)}, merges=[])
    text = {
        "vocab_size": len(words), "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1,
        "num_attention_heads": 2, "max_position_embeddings": 20, "pad_token_id": 1, "type_vocab_size": 1,
    }  # fmt: skip
    audio = {
        "hidden_size": 64, "patch_embeds_hidden_size": 8, "depths": [1, 1, 1, 1], "num_attention_heads": [1, 1, 1, 1],
        "num_mel_bins": 64, "spec_size": 256, "enable_fusion": False,
    }  # fmt: skip
    torch.manual_seed(0)
    theirs = ClapModel(ClapConfig(text_config=text, audio_config=audio, projection_dim=8)).eval()
    extractor = ClapFeatureExtractor(truncation="rand_trunc", padding="repeatpad")
    theirs.save_pretrained(tmp_path / "clap")
    ClapProcessor(extractor, tokenizer).save_pretrained(tmp_path / "clap")
    (tmp_path / "clap" / "README.md").write_bytes(CARD)
    model = verticlip.from_pretrained(str(tmp_path / "clap"), device="cpu")
    assert (model.config.architecture, model.config.licence) == ("clap", "CC-BY-NC-4.0")
    wave = 0.1 * torch.randn(480_000, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        features = extractor([wave.numpy()], sampling_rate=48_000, return_tensors="pt")
        sound = theirs.get_audio_features(**features).pooler_output
        tokens = tokenizer(
            ["a cat", "z" * 60], padding=True, truncation=True, max_length=18, return_tensors="pt"
        )
        said = theirs.get_text_features(**tokens).pooler_output
    normalize = torch.nn.functional.normalize
    assert (model.embed(wave, modality="audio").vectors - normalize(sound, dim=-1)).abs().max() < 2e-6
    assert (model.embed(["a cat", "z" * 60]).vectors - normalize(said, dim=-1)).abs().max() < 2e-6
