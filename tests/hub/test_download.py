"""Fetching one file: access, offline mode, networks without the Hub, names, and what is said on the way."""

from __future__ import annotations

import logging
import os
import socket

import pytest
from verticlip.core.errors import ConfigError, WeightsError
from verticlip.hub.download import fetch
from verticlip.hub.loading import resolve, stored_facts

NAME = "org/model"


def said(caplog) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name.startswith("verticlip")]


def test_private_gated_and_unknown_repositories(online, hub, files, caplog) -> None:
    hub.add_repository("org/private", files, private=True)
    hub.add_repository("org/gated", files, gated=True)
    absent = "on the Hub \\(or it is private, and no token is set\\)"
    for name in ("org/private", "org/other"):
        with pytest.raises(ConfigError, match=f"No model '{name}' {absent}.*hf auth login"):
            resolve(name)
    with pytest.raises(ConfigError, match="Did you mean 'medical/tiny'"):
        resolve("medicl/tiny")
    with pytest.raises(ConfigError, match=r"no token is set\). Check the name"):
        resolve("org/tinny")
    page = f"Ask at {hub.endpoint}/org/gated, then run: hf auth login"
    with pytest.raises(ConfigError, match=page + r" \(or set HF_TOKEN\).$"):
        resolve("org/gated")
    online.login(hub.stranger_token)
    with pytest.raises(ConfigError, match=page + ".*The token in use has no access yet."):
        resolve("org/gated")
    with pytest.raises(ConfigError, match="the token in use may not read it"):
        resolve("org/private")
    messages = []
    for token in ("hf_wrong_token", "hf_\x01wrong_token", "hf_wrong_tokén"):
        online.login(token)
        for name in (NAME, "org/private", "org/gated"):
            with pytest.raises((ConfigError, WeightsError), match="the token in use") as caught:
                resolve(name)
            assert caught.value.__cause__ is None
            messages.append(str(caught.value))
    online.login()
    assert resolve("org/private").revision
    assert resolve("org/gated").revision
    # Large files are on another host: no token goes there.
    assert any(request.to == "storage" for request in hub.requests)
    assert all(
        request.headers["Authorization"] is None for request in hub.requests if request.to == "storage"
    )
    assert not any(secret in text for text in messages + said(caplog) for secret in ("wrong_tok", hub.token))


def test_offline_names_file_repository_commit_and_the_way(online, hub) -> None:
    online.offline()
    for revision, at in ((None, "main"), (online.commit, online.commit)):
        nothing = (
            f"org/model at '{at}': neither verticlip's files nor another library's are in the cache, and "
            "offline mode .* hf download org/model"
        )
        with pytest.raises(WeightsError, match=nothing):
            resolve(NAME, revision)
    online.offline(False)
    fetch(NAME, "processor.json", online.commit)
    online.offline()
    match = (
        rf"org/model: config.json at '{online.commit}' is not in the cache, and offline mode .* hf download "
        rf"org/model config.json --revision {online.commit}"
    )
    with pytest.raises(WeightsError, match=match):
        resolve(NAME, online.commit)


def test_a_cache_that_another_program_filled_loads_offline(online, hub, files, caplog) -> None:
    from huggingface_hub import snapshot_download

    del files["prompts.yaml"]
    files["config.json"] = files["config.json"].replace(b'"prompts": "random"', b'"prompts": null')
    commit = hub.add_repository("org/plain", files)
    snapshot_download("org/plain")
    online.offline()
    assert resolve("org/plain").revision == commit
    assert said(caplog) == [
        f"org/plain: loaded without asking whether commit {commit[:7]} has a {name} too"
        for name in ("prompts.yaml", "threshold.json")
    ]
    (online.snapshot("org/plain", commit) / "tokenizer.json").unlink()
    with pytest.raises(WeightsError, match=r"tokenizer.json at '\w+' is not in the cache, and offline mode"):
        resolve("org/plain")


def test_a_network_without_the_hub(online, hub, monkeypatch) -> None:
    from huggingface_hub import constants
    from huggingface_hub.utils import _http

    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    template = "/{repo_id}/resolve/{revision}/{filename}"
    with monkeypatch.context() as patch:
        patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", f"http://hub.invalid{template}")
        patch.setattr(constants, "ENDPOINT", "http://user:secret@hub.invalid")
        patch.setattr(socket, "getaddrinfo", unknown)
        with pytest.raises(
            WeightsError, match=r"\(the name hub.invalid is not known to DNS\). Go online once"
        ):
            resolve(NAME)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", f"http://127.0.0.1:1{template}")
    with pytest.raises(WeightsError, match=r"takes no connection\). Go online"):
        resolve(NAME)
    monkeypatch.setenv("http_proxy", "http://user:secret@127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", f"http://hub.invalid{template}")
    _http.close_session()
    with pytest.raises(WeightsError, match=r"A proxy is set by http_proxy; check it") as caught:
        resolve(NAME)
    assert "secret" not in str(caught.value)
    assert hub.requests == []


def test_a_large_file_is_told_with_its_size_before_it_is_fetched(online, hub, caplog, capfd) -> None:
    caplog.set_level(logging.INFO, logger="verticlip")
    commit = hub.add_repository("org/large", {"model.safetensors": bytes(1_500_000), "config.json": b"{}"})
    fetch("org/large", "model.safetensors", commit)
    fetch("org/large", "config.json", commit)
    fetch("org/large", "model.safetensors", commit)
    assert said(caplog) == ["org/large: fetching model.safetensors (1.5 MB)"]
    # Nobody sits at a terminal here, so there is no bar.
    assert capfd.readouterr() == ("", "")


def test_bars_are_shown_on_a_terminal_and_obey_the_clients_switch(online, hub, monkeypatch) -> None:
    import io
    import sys

    from huggingface_hub.utils import disable_progress_bars, enable_progress_bars

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    fetch(NAME, "model.safetensors", online.commit)
    assert "100%" in screen.getvalue()
    disable_progress_bars()
    try:
        screen.truncate(0)
        fetch(NAME, "tokenizer.json", online.commit)
        assert screen.getvalue().strip("\0") == ""
    finally:
        enable_progress_bars()


@pytest.mark.parametrize(
    "name",
    ["../evil", "a/../../evil", "/etc/passwd", "a\\..\\b", "a\0b", "a\nb", "a//b", "", "C:x", "x?y", "a/"],
)
def test_names_that_leave_the_repository_are_never_asked_for(online, hub, name: str) -> None:
    with pytest.raises(ConfigError, match="is not the name of a file inside a repository"):
        fetch(NAME, name, online.commit)
    assert hub.requests == []


@pytest.mark.parametrize("name", ["org/a--b", "org/a.git", "org/" + "a" * 100])
def test_names_that_no_repository_has(online, hub, name: str) -> None:
    with pytest.raises(ConfigError, match="cannot be a Hub repository: 'org/name' has letters, digits"):
        resolve(name)
    assert hub.requests == []


def test_facts_of_a_model_need_no_weights(online, hub, run) -> None:
    status, out, err = run("models", "info", NAME)
    assert (status, err) == (0, "")
    assert ["revision", online.commit] in map(str.split, out.splitlines())
    assert not [one.path for one in hub.requests if "safetensors" in one.path]
    facts = stored_facts(NAME, online.commit)
    assert (facts["modalities"], facts["embed_dim"], facts["licence"]) == (
        ["image", "text"],
        12,
        "Apache-2.0",
    )
    with pytest.raises(ConfigError, match="no revision 'v9'"):
        stored_facts(NAME, "v9")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_in_the_cache_is_not_waited_for(online, hub) -> None:
    commit = resolve(NAME).revision
    path = fetch(NAME, "config.json", commit).path.resolve()
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(WeightsError, match="config.json at .*is no file. Delete it"):
        fetch(NAME, "config.json", commit)
    path.unlink()
    assert fetch(NAME, "config.json", commit).path.is_file()


def test_what_a_commit_lacks_is_asked_for_once(online, hub, caplog) -> None:
    commit = resolve(NAME).revision
    hub.forget_requests()
    assert resolve(NAME, commit).revision == commit
    assert hub.requests == []
    online.offline()
    resolve(NAME)
    assert said(caplog) == []
