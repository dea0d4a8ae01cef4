"""Which commit is loaded: branches that move, commits, tags, and what the registry pins."""

from __future__ import annotations

import hashlib

import pytest
from local_hub.faults import Status
from verticlip.core import registry
from verticlip.core.errors import ConfigError, WeightsError
from verticlip.hub import loading
from verticlip.hub.download import MismatchError
from verticlip.hub.loading import load_model, resolve

NAME = "org/model"


def asked(hub, method: str, part: str = "") -> list[str]:
    return [request.path for request in hub.requests if request.method == method and part in request.path]


def said(caplog) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name.startswith("verticlip")]


def register(monkeypatch, commit: str, files: dict[str, bytes], **changes: str) -> None:

    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()} | changes
    ref = registry.WeightsRef(NAME, commit, hashes)
    spec = registry.ModelSpec("medical/test", "medical", "", ("image", "text"), 12, ref, "MIT", "tests")
    monkeypatch.setattr(registry, "models", lambda: {spec.name: spec})


def test_a_registered_repository_is_compared_with_the_registry(online, hub, files, monkeypatch) -> None:
    register(monkeypatch, online.commit, files)
    hub.commit(NAME, {"model.safetensors": b"a later commit"})
    resolved = resolve("medical/test")
    assert (resolved.id, resolved.revision, resolved.unverified) == ("medical/test", online.commit, ())
    load_model(resolved)
    hub.forget_requests()
    (resolved.folder / "model.safetensors").resolve().write_bytes(b"damaged")
    load_model(resolve("medical/test"))
    assert len(asked(hub, "GET")) == 1
    hub.forget_requests()
    register(monkeypatch, online.commit, files, **{"model.safetensors": "0" * 64})
    with pytest.raises(MismatchError, match=f"has SHA-256 .* expected {'0' * 64}. It is whole"):
        resolve("medical/test")
    assert hub.requests == []
    register(monkeypatch, "main", files)
    with pytest.raises(ConfigError, match="names no packaged weights and no pinned repository"):
        resolve("medical/test")


def test_all_files_of_a_load_are_of_one_commit(online, hub, files, monkeypatch) -> None:
    original = loading.fetch

    def moves(*given, **more):
        hub.commit(NAME, {"processor.json": b"{}", "model.safetensors": b"other", "prompts.yaml": b"other"})
        return original(*given, **more)

    monkeypatch.setattr(loading, "fetch", moves)
    resolved = resolve(NAME)
    assert resolved.revision == online.commit
    assert all((resolved.folder / name).read_bytes() == content for name, content in files.items())
    assert {path.split("/")[4] for path in asked(hub, "HEAD")} == {"main", online.commit}


def test_a_full_commit_that_is_cached_needs_no_network(online, hub) -> None:
    resolve(NAME)
    hub.forget_requests()
    load_model(resolve(NAME, online.commit.upper()))
    assert hub.requests == []


def test_a_branch_that_cannot_be_asked_for_stays_where_it_was(online, hub, caplog) -> None:
    resolve(NAME)
    hub.commit(NAME, {"README.md": b"later"})
    hub.fault("/resolve/main/", Status(code=503, times=None))
    assert resolve(NAME).revision == online.commit
    assert said(caplog) == [
        "org/model: the Hub cannot be asked for 'main' now (status 503); using commit "
        f"{online.commit[:7]}, which the cache has of it"
    ]
    hub.faults.clear()
    assert resolve(NAME).revision == hub.commits(NAME)[0].id != online.commit


def test_a_server_that_answers_for_another_commit(online, hub, files) -> None:
    other = hub.commit(NAME, {"processor.json": b"{}"})
    answer = {
        "ETag": f'"{"0" * 40}"',
        "X-Repo-Commit": other,
        "Content-Length": str(len(files["processor.json"])),
    }
    hub.fault(f"{online.commit}/processor.json", Status(code=200, headers=answer, method="HEAD", times=None))
    with pytest.raises(WeightsError, match="processor.json at .*: the server answers for another commit"):
        resolve(NAME, online.commit)


def test_shortened_commits_are_refused(online, hub) -> None:
    with pytest.raises(ConfigError, match=f"is a shortened commit.* Give all 40 digits: {online.commit}"):
        resolve(NAME, online.commit[:10])
    with pytest.raises(
        ConfigError, match="no branch or tag 'abcdef1'. If it is the start of a commit, give all"
    ):
        resolve(NAME, "abcdef1")
    hub.repositories[NAME].tags["2024"] = online.commit
    assert resolve(NAME, "2024").revision == online.commit


@pytest.mark.parametrize("revision", ["../main", "a b", "-x", "main\n", "a\\b", "x?y", "/", "refs/../x"])
def test_revisions_that_cannot_be(online, hub, revision: str) -> None:
    with pytest.raises(ConfigError, match="cannot be a revision"):
        resolve(NAME, revision)
    assert hub.requests == []
