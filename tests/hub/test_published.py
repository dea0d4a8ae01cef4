"""Published checkpoints: fetched, trusted on first use, converted once, loaded from the conversion."""

from __future__ import annotations

import hashlib
import json
import logging
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
import verticlip
from safetensors.torch import load_file, save_file
from verticlip.core import registry
from verticlip.core.errors import ConfigError, VerticlipError, WeightsError
from verticlip.core.registry import ModelSpec, PublishedFile, PublishedWeights
from verticlip.hub import conversions, loading, published
from verticlip.hub.advice import UnknownRevisionError

FIRST, SECOND = "1" * 40, "2" * 40
OPTIONS = {
    "image_size": 32,
    "image_head_width": 16,
    "text_head_width": 10,
    "context_length": 32,
}


class Hub(BaseHTTPRequestHandler):
    """Just enough of the Hub's file protocol: repositories with commits; ``main`` is the last one."""

    commits: dict[str, dict[str, dict[str, bytes]]]
    gated: set[str]
    requests: list[str]

    def do_HEAD(self) -> None:
        self.respond(body=False)

    def do_GET(self) -> None:
        self.respond(body=True)

    def respond(self, *, body: bool) -> None:
        type(self).requests.append(f"{self.command} {self.path}")
        repository, _, rest = self.path.removeprefix("/").partition("/resolve/")
        revision, _, name = rest.partition("/")
        known = self.commits.get(repository, {})
        commit = list(known)[-1] if known and revision in ("main", "v1.1") else revision
        if repository in self.gated:
            return self.refuse(403, "GatedRepo")
        if not known:
            return self.refuse(404, "RepoNotFound")
        if commit not in known:
            return self.refuse(404, "RevisionNotFound")
        if name not in known[commit]:
            return self.refuse(404, "EntryNotFound", commit)
        content = known[commit][name]
        self.send_response(200)
        self.send_header("X-Repo-Commit", commit)
        self.send_header("ETag", f'"{hashlib.sha1(content).hexdigest()}"')
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content)
        return None

    def refuse(self, status: int, reason: str, commit: str = "") -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", reason)
        self.send_header("X-Repo-Commit", commit)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def case(small_golden: Path) -> Path:
    return small_golden / "unimed_clip" / "tiny_b16"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.setenv("VERTICLIP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def hub(case: Path, cache: Path, tmp_path: Path, monkeypatch):
    from huggingface_hub import constants

    class Handler(Hub):
        pass

    weights, vocabulary = (case / "weights.safetensors").read_bytes(), (case / "vocab.txt").read_bytes()
    Handler.commits = {
        "org/model": {FIRST: {"model.pt": weights, "vocab.txt": vocabulary}},
        "org/text": {FIRST: {"vocab.txt": vocabulary}},
    }
    Handler.gated, Handler.requests = set(), []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    template = endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    yield Handler
    server.shutdown()
    server.server_close()


def register(monkeypatch, *files: PublishedFile, **changes) -> ModelSpec:
    """Put one published model with tiny weights into the registry."""
    if not files:
        files = (
            PublishedFile("weights", "org/model", "model.pt"),
            PublishedFile("vocab", "org/text", "vocab.txt"),
        )
    weights = PublishedWeights(files, "unimed", OPTIONS)
    spec = ModelSpec(
        "medical/test", "medical", "a test", ("image", "text"), 24, weights, "CC-BY-NC-4.0", "Research only."
    )
    spec = replace(spec, **changes)
    monkeypatch.setattr(registry, "models", lambda: {spec.name: spec})
    return spec


def get(hub: type[Hub], name: str) -> list[str]:
    return [line for line in hub.requests if line.startswith("GET") and line.endswith(name)]


def test_the_first_load_fetches_and_converts_and_later_ones_read_the_conversion(
    hub, cache, case, monkeypatch
) -> None:
    register(monkeypatch)
    model = verticlip.from_pretrained("medical/test", device="cpu")
    assert (model.id, model.revision) == ("medical/test", FIRST)
    stored = load_file(case / "weights.safetensors")
    ours = model.network.state_dict()
    assert torch.equal(ours["towers.image.proj"], stored["visual.proj"])
    assert torch.equal(ours["projections.text.2.weight"], stored["text_encoder.proj.2.weight"])
    assert (model.config.licence, model.config.description) == ("CC-BY-NC-4.0", "a test")
    assert model.embed(["a chest x ray"]).vectors.shape == (1, 24)
    assert len(get(hub, "model.pt")) == len(get(hub, "vocab.txt")) == 1
    hub.requests.clear()
    again = verticlip.from_pretrained("medical/test", device="cpu")
    assert again.revision == FIRST
    assert hub.requests == []


def test_conversion_json_says_where_everything_came_from(hub, cache, case, monkeypatch) -> None:
    register(monkeypatch)
    folder = loading.resolve("medical/test").folder
    assert cache in folder.parents
    record = json.loads((folder / "conversion.json").read_text())
    digest = hashlib.sha256((case / "weights.safetensors").read_bytes()).hexdigest()
    weights = record["files"][0]
    assert (weights["role"], weights["repo_id"], weights["name"]) == ("weights", "org/model", "model.pt")
    assert (weights["commit"], weights["sha256"], weights["registered"]) == (FIRST, digest, None)
    assert record["converter_version"] == 1
    assert record["report"]["image"]["missing"] == []
    assert record["report"]["image"]["loaded"] == 44
    assert set(record["written"]) == {"config.json", "processor.json", "tokenizer.json", "model.safetensors"}


def test_licence_and_intended_use_are_said_once(hub, cache, monkeypatch, caplog) -> None:
    register(monkeypatch)
    loading.resolve("medical/test")
    said = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert said == [
        "medical/test: weights under CC-BY-NC-4.0, which forbids commercial use. Intended use: Research only."
    ]
    caplog.clear()
    loading.resolve("medical/test")
    assert not caplog.records


def test_another_converter_version_or_option_converts_anew(hub, cache, monkeypatch) -> None:
    from verticlip.domains.medical.unimed import convert

    spec = register(monkeypatch)
    first = loading.resolve("medical/test").folder
    monkeypatch.setattr(convert, "VERSION", 2)
    second = loading.resolve("medical/test").folder
    options = {**OPTIONS, "context_length": 16}
    register(monkeypatch, weights=replace(spec.weights, options=options))
    third = loading.resolve("medical/test").folder
    assert len({first, second, third}) == 3
    assert json.loads((second / "conversion.json").read_text())["converter_version"] == 2
    assert len(get(hub, "model.pt")) == 1


def test_a_moved_branch_changes_nothing_and_a_named_commit_is_another_model(hub, cache, case, monkeypatch):
    register(monkeypatch)
    first = loading.resolve("medical/test")
    changed = load_file(case / "weights.safetensors")
    changed["visual.proj"] += 1
    save_file(changed, cache / "changed")
    hub.commits["org/model"][SECOND] = {"model.pt": (cache / "changed").read_bytes()}
    monkeypatch.setattr(conversions, "FORMAT", 2)  # so that it is fetched and converted anew
    assert loading.resolve("medical/test").revision == FIRST
    other = loading.resolve("medical/test", SECOND)
    assert other.revision == SECOND
    assert other.folder != first.folder
    # The vocabulary's repository has no such commit; it keeps its own revision.
    assert [file["commit"] for file in json.loads((other.folder / "conversion.json").read_text())["files"]] == [
        SECOND, FIRST,
    ]  # fmt: skip


def test_another_content_at_the_recorded_commit_is_refused(hub, cache, tmp_path, monkeypatch) -> None:
    import shutil

    spec = register(monkeypatch)
    loading.resolve("medical/test")
    shutil.rmtree(cache / "converted")
    shutil.rmtree(tmp_path / "hf")
    hub.commits["org/model"][FIRST]["model.pt"] += b"x"
    with pytest.raises(
        WeightsError, match=r"model.pt at main has SHA-256 \w+; on 20\d\d-.*forget medical/test \(it"
    ):
        loading.resolve("medical/test")
    assert [first.name for first in published.forget_first_use(spec)] == ["model.pt", "vocab.txt"]
    with pytest.raises(WeightsError, match="not a whole safetensors file"):
        loading.resolve("medical/test")


def test_a_damaged_download_is_fetched_again_once(hub, cache, tmp_path, monkeypatch, caplog) -> None:
    import shutil

    register(monkeypatch)
    loading.resolve("medical/test")
    shutil.rmtree(cache / "converted")
    (downloaded,) = (tmp_path / "hf").rglob("model.pt")
    downloaded.resolve().write_bytes(b"damaged")
    hub.requests.clear()
    caplog.clear()
    assert loading.resolve("medical/test").unverified == ()
    assert len(get(hub, "model.pt")) == len([line for line in hub.requests if "GET" in line]) == 1
    assert "the copy in the Hub's cache is damaged; fetching it again" in caplog.text


def test_a_rewritten_history_is_said(hub, cache, tmp_path, monkeypatch) -> None:
    import shutil

    register(monkeypatch)
    loading.resolve("medical/test")
    shutil.rmtree(cache / "converted")
    shutil.rmtree(tmp_path / "hf")
    hub.commits["org/model"] = {SECOND: hub.commits["org/model"][FIRST]}
    with pytest.raises(WeightsError, match=f"commit {FIRST}, recorded on .* is gone"):
        loading.resolve("medical/test")


def test_a_registered_hash_is_compared(hub, cache, case, monkeypatch) -> None:
    digest = hashlib.sha256((case / "weights.safetensors").read_bytes()).hexdigest()
    vocabulary = PublishedFile("vocab", "org/text", "vocab.txt")
    weights = PublishedFile("weights", "org/model", "model.pt", revision="v1.1", sha256=digest)
    register(monkeypatch, weights, vocabulary)
    folder = loading.resolve("medical/test").folder
    assert json.loads((folder / "conversion.json").read_text())["files"][0]["registered"] is True
    register(monkeypatch, replace(weights, sha256="0" * 64), vocabulary, name="medical/other")
    with pytest.raises(WeightsError, match=f"has SHA-256 {digest}; the registry states {'0' * 64}"):
        loading.resolve("medical/other")


def test_a_damaged_conversion_is_refused_and_a_half_one_made_again(hub, cache, monkeypatch) -> None:
    register(monkeypatch)
    folder = loading.resolve("medical/test").folder
    (folder / "conversion.json").unlink()
    assert loading.resolve("medical/test").folder == folder
    weights = folder / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(
        WeightsError, match=r"model.safetensors has SHA-256.*To convert anew, delete the folder"
    ):
        loading.resolve("medical/test")


def test_a_revision_is_refused_where_weights_come_from_two_repositories(hub, cache, monkeypatch) -> None:
    register(
        monkeypatch,
        PublishedFile("image", "org/model", "model.pt"),
        PublishedFile("text", "org/text", "vocab.txt"),
    )
    with pytest.raises(ConfigError, match="come from org/model and org/text, so revision 'v2' is not clear"):
        loading.resolve("medical/test", "v2")


def test_the_repository_of_published_weights_names_the_model(hub, cache, monkeypatch) -> None:
    register(monkeypatch)
    with pytest.raises(VerticlipError, match="org/model.* Load it by name, .*: 'medical/test'"):
        loading.resolve("org/model")
    # What is wrong stays what it is, for those who ask by the kind of the error.
    with pytest.raises(UnknownRevisionError, match="no revision 'v9'.* Load it by name") as caught:
        loading.resolve("org/model", "v9")
    assert caught.value.__cause__ is None


def test_a_gated_repository_says_where_to_ask(hub, cache, monkeypatch) -> None:
    spec = register(monkeypatch)
    page = "https://huggingface.co/org/model"
    register(monkeypatch, weights=replace(spec.weights, gated=page))
    hub.gated.add("org/model")
    refused = rf"grants access one by one. Ask at {page}, then run: hf auth login"
    with pytest.raises(ConfigError, match=refused):
        loading.resolve("medical/test")
    assert hub.requests == []
    monkeypatch.setenv("HF_TOKEN", "hf_of_somebody_without_access")
    with pytest.raises(ConfigError, match=refused):
        loading.resolve("medical/test")
    assert hub.requests


def test_offline_names_the_missing_file_and_the_other_way(hub, cache, monkeypatch) -> None:
    from huggingface_hub import constants

    register(monkeypatch)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    match = r"org/model: model.pt at 'main' is not in the cache.*verticlip models convert"
    with pytest.raises(WeightsError, match=match):
        loading.resolve("medical/test")


def test_two_threads_convert_once(hub, cache, monkeypatch) -> None:
    calls = []
    room = registry.room("medical")
    convert = room.function("converters", "unimed")

    def counted(*given):
        calls.append(given[0])
        return convert(*given)

    spec = register(monkeypatch)
    function = registry.Room.function
    monkeypatch.setattr(
        registry.Room,
        "function",
        lambda self, kind, word: counted if kind == "converters" else function(self, kind, word),
    )
    threads = [threading.Thread(target=published.resolve_published, args=(spec,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert calls == ["medical/test"]


def test_facts_are_known_without_fetching(hub, cache, monkeypatch) -> None:
    spec = register(monkeypatch)
    facts = published.published_facts(spec)
    assert facts["converted"] is None
    assert facts["files"][0]["sha256"] == "recorded at first use"
    assert hub.requests == []
    folder = loading.resolve("medical/test").folder
    facts = published.published_facts(spec)
    assert facts["converted"] == str(folder)
    assert facts["files"][0]["commit"] == FIRST


def test_forgetting_holds_for_every_revision(hub, cache, tmp_path, monkeypatch) -> None:
    import shutil

    spec = register(monkeypatch)
    hub.commits["org/model"][SECOND] = dict(hub.commits["org/model"][FIRST])
    loading.resolve("medical/test", SECOND)
    shutil.rmtree(cache / "converted")
    shutil.rmtree(tmp_path / "hf")
    hub.commits["org/model"][SECOND]["model.pt"] += b"x"
    with pytest.raises(WeightsError, match="verticlip models forget medical/test"):
        loading.resolve("medical/test", SECOND)
    assert (SECOND, "model.pt") in [(one.revision, one.name) for one in published.forget_first_use(spec)]
    with pytest.raises(WeightsError, match="not a whole safetensors file"):
        loading.resolve("medical/test", SECOND)


def test_a_killed_conversion_is_swept_by_the_next_one(hub, cache, monkeypatch) -> None:
    from verticlip.domains.medical.unimed import convert

    register(monkeypatch)
    made: list[Path] = []

    def killed(*given, **named) -> None:
        made.extend((cache / "converted" / "medical--test").iterdir())
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        # A kill leaves no time to clean up.
        patch.setattr(conversions, "_write", killed)
        patch.setattr(conversions.shutil, "rmtree", lambda *_, **__: None)
        with pytest.raises(KeyboardInterrupt):
            loading.resolve("medical/test")
    assert [path.is_dir() for path in made] == [True]
    folder = loading.resolve("medical/test").folder
    assert list(folder.parent.iterdir()) == [folder]
    monkeypatch.setattr(convert, "VERSION", 2)
    assert loading.resolve("medical/test").folder != folder


def test_what_no_load_reads_is_pruned(hub, cache, monkeypatch) -> None:
    from verticlip.domains.medical.unimed import convert
    from verticlip.hub.cache import prune

    spec = register(monkeypatch)
    first = loading.resolve("medical/test").folder
    monkeypatch.setattr(convert, "VERSION", 2)
    second = loading.resolve("medical/test").folder
    other = loading.resolve("medical/test", FIRST).folder
    (found,) = prune(dry_run=True)
    assert (found.folder, found.reason) == (first, "made by another version of the converter")
    assert found.bytes > 10_000
    assert first.is_dir()
    assert prune() == [found]
    assert not first.exists()
    assert second.is_dir()
    assert other.is_dir()
    assert prune() == []
    published.forget_first_use(spec)
    assert {one.reason for one in prune("medical/test")} == {"made from files that were forgotten"}
    assert not second.exists()
    (cache / "converted" / "medical--gone" / "x").mkdir(parents=True)
    (cache / "converted" / "medical--gone" / "x" / "conversion.json").write_text("{}")
    assert [(one.model, one.reason) for one in prune()] == [("medical/gone", "not a model of the registry")]
