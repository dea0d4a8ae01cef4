"""Resolving names, folders and Hub repositories; loading strictly; refusing everything unsafe."""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from verticlip.core import registry
from verticlip.core.errors import ConfigError, WeightsError
from verticlip.hub import loading

COMMIT = "0123456789abcdef0123456789abcdef01234567"
IMAGE = torch.linspace(-1, 1, 2 * 3 * 16 * 16).view(2, 3, 16, 16)


@pytest.fixture
def folder(model_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(model_folder, tmp_path / "model"))


def load(folder: Path):
    return loading.load_model(loading.resolve(folder))


def edit_json(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def edit_weights(folder: Path, change) -> None:
    state = load_file(folder / "model.safetensors")
    change(state)
    save_file(state, folder / "model.safetensors")


def test_a_folder_loads_in_evaluation_mode_with_equal_values(folder: Path) -> None:
    network, processor, prompts = load(folder)
    stored = load_file(folder / "model.safetensors")
    assert not network.training
    assert set(processor.modalities) == set(network.modalities) == {"image", "text"}
    assert prompts is not None
    assert all(torch.equal(value, stored[name]) for name, value in network.state_dict().items())
    assert torch.isfinite(network.encode("image", {"pixels": IMAGE})).all()


def test_loading_leaves_the_random_state_alone(folder: Path) -> None:
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    load(folder)
    assert torch.equal(before, torch.random.get_rng_state())


def test_the_revision_of_a_folder_follows_its_weights(folder: Path) -> None:
    first = loading.resolve(folder).revision
    assert first == "sha256:" + hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()[:16]
    edit_weights(folder, lambda state: state["logit_scale"].add_(1))
    assert loading.resolve(folder).revision != first


def test_a_tower_of_timm_loads_too(folder: Path) -> None:
    from verticlip.core.checkpoint import save_weights
    from verticlip.core.config import ModelConfig
    from verticlip.core.model import ContrastiveModel

    config = json.loads((folder / "config.json").read_text())
    config["towers"]["image"] = {
        "backend": "timm", "architecture": "resnet10t", "options": {"channels": [8, 16, 32, 64]},
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    expected = ContrastiveModel(ModelConfig.model_validate(config)).eval()
    save_weights(expected, folder / "model.safetensors")
    network, _, _ = load(folder)
    pixels = {"pixels": torch.rand(2, 3, 64, 64)}
    assert torch.equal(network.encode("image", pixels), expected.encode("image", pixels))


class WithHiddenBuffer(torch.nn.Module):
    def __init__(self, config) -> None:
        super().__init__()
        self.config = config
        self.weight = torch.nn.Parameter(torch.zeros(2))
        self.register_buffer("table", torch.arange(3), persistent=False)


class NeedsValues(WithHiddenBuffer):
    def __init__(self, config) -> None:
        super().__init__(config)
        assert int(torch.arange(4).sum().item()) == 6


@pytest.mark.parametrize("architecture", [WithHiddenBuffer, NeedsValues])
def test_architectures_that_cannot_be_built_without_values(folder: Path, monkeypatch, architecture) -> None:
    edit_json(folder / "config.json", architecture="special", domain="medical")
    monkeypatch.setattr(registry.Room, "function", lambda self, kind, word: architecture)
    save_file({"weight": torch.ones(2)}, folder / "model.safetensors")
    network, _, _ = load(folder)
    assert network.table.tolist() == [0, 1, 2]
    assert network.weight.tolist() == [1, 1]


def test_parameters_are_built_without_values_first(folder: Path, monkeypatch) -> None:
    from verticlip.core import model

    seen = []
    build = model.build_projection
    monkeypatch.setattr(
        model, "build_projection", lambda *given: seen.append(torch.empty(0).is_meta) or build(*given)
    )
    load(folder)
    assert seen == [True, True]


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("medical/tinny", r"No model called 'medical/tinny'\. Did you mean 'medical/tiny'"),
        ("tiny", r"No model called 'tiny'.*Hub repository"),
        ("https://example.org/model", "is a URL"),
        (" ", "The model name is empty"),
        ("./nowhere", r"\./nowhere: does not exist; expected a folder with config.json"),
        ("org/../name", "No model called"),
        ("a/b/c", "No model called"),
    ],
)
def test_names_that_resolve_to_nothing(name: str, match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        loading.resolve(name)


def test_a_file_is_not_a_model_folder(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"")
    with pytest.raises(ConfigError, match="is a file; expected a folder"):
        loading.resolve(path)


def test_a_folder_has_no_revisions(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"has no revision 'main'. Leave revision out"):
        loading.resolve(folder, "main")


@pytest.mark.parametrize("name", loading.REQUIRED_FILES)
def test_a_folder_without_a_required_file(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(WeightsError, match=f"no {name}. A model folder needs"):
        loading.resolve(folder)


def register(monkeypatch, **changes) -> None:
    """Put one more model into the medical room."""
    ref = registry.WeightsRef(**{"repo_id": None, "revision": None, "files": {}, "packaged": None, **changes})
    spec = registry.ModelSpec("medical/test", "medical", "", ("image", "text"), 12, ref, "MIT", "tests")
    monkeypatch.setattr(registry, "models", lambda: {spec.name: spec})


def hashes(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def test_packaged_weights_load_and_are_named_by_their_hash(folder: Path, monkeypatch) -> None:
    files = hashes(folder)
    register(monkeypatch, packaged=str(folder), files=files)
    resolved = loading.resolve("medical/test")
    assert (resolved.id, resolved.revision) == ("medical/test", f"sha256:{files['model.safetensors'][:16]}")
    loading.load_model(resolved)


def test_a_changed_packaged_file_is_refused_with_both_hashes(folder: Path, monkeypatch) -> None:
    files = hashes(folder)
    register(monkeypatch, packaged=str(folder), files=files)
    (folder / "tokenizer.json").write_text("{}")
    got = hashlib.sha256(b"{}").hexdigest()
    with pytest.raises(
        WeightsError, match=f"tokenizer.json has SHA-256 {got}, expected {files['tokenizer.json']}"
    ):
        loading.resolve("medical/test")


def test_a_missing_packaged_file_is_named(folder: Path, monkeypatch) -> None:
    register(monkeypatch, packaged=str(folder), files=hashes(folder))
    (folder / "prompts.yaml").unlink()
    with pytest.raises(WeightsError, match=r"medical/test: prompts.yaml is missing. Reinstall"):
        loading.resolve("medical/test")


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json"])
def test_a_file_without_a_registered_hash_is_not_read(folder: Path, monkeypatch, name: str) -> None:
    files = {key: value for key, value in hashes(folder).items() if key != name}
    register(monkeypatch, packaged=str(folder), files=files)
    with pytest.raises(WeightsError, match=f"states no SHA-256 for {name}; nothing was loaded"):
        loading.resolve("medical/test")


def test_a_registered_model_keeps_its_revision(folder: Path, monkeypatch) -> None:
    register(monkeypatch, packaged=str(folder), files=hashes(folder))
    with pytest.raises(ConfigError, match="is part of this package; it has no revision 'v2'"):
        loading.resolve("medical/test", "v2")
    register(monkeypatch, repo_id="org/name", revision=COMMIT, files=hashes(folder))
    with pytest.raises(
        ConfigError, match=f"pinned to {COMMIT}; .*Load 'org/name' with revision='v2' instead"
    ):
        loading.resolve("medical/test", "v2")


def test_a_registry_entry_without_any_weights(monkeypatch) -> None:
    register(monkeypatch)
    with pytest.raises(ConfigError, match="names no packaged weights and no pinned repository"):
        loading.resolve("medical/test")


def drop(state) -> None:
    del state["logit_scale"]


def add(state) -> None:
    state["surprise"] = torch.zeros(1)


def misshape(state) -> None:
    state["logit_scale"] = torch.zeros(2)


def poison(state) -> None:
    state["logit_scale"] = torch.tensor(float("nan"))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (drop, r"1 missing \(logit_scale\).*different models"),
        (add, r"1 unexpected \(surprise\)"),
        (misshape, r"1 of another shape \(logit_scale \(2,\) instead of \(\)\)"),
        (poison, "tensor 'logit_scale' has NaN or infinite values"),
    ],
)
def test_tensors_that_do_not_fit(folder: Path, change, match: str) -> None:
    edit_weights(folder, change)
    with pytest.raises(WeightsError, match=match):
        load(folder)


def test_damaged_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(WeightsError, match="not a whole safetensors file"):
        load(folder)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"embed_dimm": 3}, "unknown key 'embed_dimm'. Did you mean 'embed_dim'"),
        ({"trust_remote_code": True}, "'trust_remote_code' is never accepted"),
        (
            {"licence": "https://example.org/x"},
            "the URL 'https://example.org/x' at 'licence' is not accepted",
        ),
        ({"licence": "../outside"}, r"'\.\./outside' at 'licence' leaves the folder"),
        ({"embed_dim": 0}, "config.json: a contrastive model needs towers"),
        ({"domain": "medicine"}, "No domain 'medicine'.*Did you mean 'medical'"),
        ({"architecture": "special"}, "architecture 'special' belongs to a domain and 'domain' is not set"),
        ({"architecture": "special", "domain": "medical"}, "has no architecture 'special'"),
    ],
)
def test_configs_that_are_refused(folder: Path, changes: dict, match: str) -> None:
    edit_json(folder / "config.json", **changes)
    with pytest.raises(ConfigError, match=match):
        load(folder)


def test_a_processor_that_misses_a_modality(folder: Path) -> None:
    edit_json(folder / "processor.json", image=None)
    with pytest.raises(ConfigError, match=r"a tower for 'image' and processor.json does not prepare it"):
        load(folder)


def test_a_named_prompt_set_must_be_there(folder: Path) -> None:
    (folder / "prompts.yaml").unlink()
    with pytest.raises(ConfigError, match=r"names prompt set 'random' and there is no prompts.yaml"):
        load(folder)


def test_a_model_without_prompts(folder: Path) -> None:
    (folder / "prompts.yaml").unlink()
    edit_json(folder / "config.json", prompts=None)
    assert load(folder)[2] is None


def test_a_missing_or_damaged_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("[]")
    with pytest.raises(ConfigError, match="not a tokenizer file"):
        load(folder)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ConfigError, match=r"asks for tokenizer.json, which is missing"):
        load(folder)


class Hub(BaseHTTPRequestHandler):
    """Just enough of the Hub's file protocol for one repository, ``org/name``."""

    files: dict[str, bytes]
    requests: list[str]
    commit = COMMIT

    def do_HEAD(self) -> None:
        self.respond(body=False)

    def do_GET(self) -> None:
        self.respond(body=True)

    def respond(self, *, body: bool) -> None:
        type(self).requests.append(self.path)
        prefix, _, rest = self.path.partition("/resolve/")
        revision, _, name = rest.partition("/")
        problem = None
        if prefix == "/org/gated":
            problem = (403, "GatedRepo")
        elif prefix != "/org/name":
            problem = (404, "RepoNotFound")
        elif revision not in ("main", COMMIT):
            problem = (404, "RevisionNotFound")
        elif name not in self.files:
            problem = (404, "EntryNotFound")
        if problem is not None:
            self.send_response(problem[0])
            self.send_header("X-Error-Code", problem[1])
            self.send_header("X-Repo-Commit", self.commit)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        content = self.files[name]
        self.send_response(200)
        self.send_header("X-Repo-Commit", self.commit)
        self.send_header("ETag", f'"{hashlib.sha1(content).hexdigest()}"')
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def hub(model_folder: Path, tmp_path: Path, monkeypatch):
    from huggingface_hub import constants

    class Handler(Hub):
        pass

    Handler.files = {path.name: path.read_bytes() for path in model_folder.iterdir()}
    Handler.files["pytorch_model.bin"] = b"never fetched"
    Handler.requests = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    yield Handler
    server.shutdown()
    server.server_close()


def test_a_repository_is_fetched_file_by_file_at_one_commit(hub, model_folder: Path) -> None:
    resolved = loading.resolve("org/name")
    assert (resolved.id, resolved.revision) == ("org/name", COMMIT)
    network, _, prompts = loading.load_model(resolved)
    assert prompts is not None
    reference = loading.load_model(loading.resolve(model_folder))[0]
    assert torch.equal(
        network.encode("image", {"pixels": IMAGE}), reference.encode("image", {"pixels": IMAGE})
    )
    names = {path.rsplit("/", 1)[1] for path in hub.requests}
    assert names == {*loading.REQUIRED_FILES, *loading.OPTIONAL_FILES}
    assert all(COMMIT in path or path.endswith("main/config.json") for path in hub.requests)


def test_optional_files_may_be_absent_and_the_cache_answers_offline(hub, monkeypatch) -> None:
    from huggingface_hub import constants

    del hub.files["prompts.yaml"]
    config = json.loads(hub.files["config.json"])
    hub.files["config.json"] = json.dumps({**config, "prompts": None}).encode()
    loading.resolve("org/name")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:1")
    resolved = loading.resolve("org/name")
    assert resolved.revision == COMMIT
    assert loading.load_model(resolved)[2] is None


def test_a_repository_without_safetensors(hub) -> None:
    del hub.files["model.safetensors"]
    with pytest.raises(WeightsError, match=r"model.safetensors is not in the repository.*Only safetensors"):
        loading.resolve("org/name")


def test_unknown_repositories_revisions_and_gated_ones(hub) -> None:
    with pytest.raises(ConfigError, match="No model 'org/other' on the Hub"):
        loading.resolve("org/other")
    with pytest.raises(ConfigError, match="org/name: no revision 'v9'"):
        loading.resolve("org/name", "v9")
    with pytest.raises(ConfigError, match="org/gated: its owner grants access one by one"):
        loading.resolve("org/gated")


def test_a_hub_that_names_no_commit(hub) -> None:
    hub.commit = "latest"
    with pytest.raises(WeightsError, match="org/name: the Hub named no commit for revision 'main'"):
        loading.resolve("org/name")


def test_offline_without_a_cache_names_file_and_repository(hub, monkeypatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsError, match=r"org/name at 'main': neither verticlip's files nor another"):
        loading.resolve("org/name")


def test_registered_hub_weights_are_pinned_and_hashed(hub, model_folder: Path, monkeypatch) -> None:
    register(monkeypatch, repo_id="org/name", revision=COMMIT, files=hashes(model_folder))
    assert loading.resolve("medical/test").revision == COMMIT
    hub.files["model.safetensors"] = b"other bytes"
    shutil.rmtree(loading.resolve("medical/test").folder.parents[2])
    with pytest.raises(
        WeightsError, match=r"model.safetensors at '\w+' has SHA-256 \w+, expected \w+. It is whole"
    ):
        loading.resolve("medical/test")
