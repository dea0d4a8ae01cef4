"""Who may do what at the tests' Hub, and that a commit there is whole or nothing."""

from __future__ import annotations

import hashlib
import json
import socket
import threading

import pytest
from local_hub.plain import ask, commit_lines, file_item
from local_hub.server import LocalHub

WEIGHTS = bytes(range(256)) * 1000
SHA = hashlib.sha256(WEIGHTS).hexdigest()
FILES = {"config.json": b"{}", "model.safetensors": WEIGHTS, "README.md": b"# Small\n"}


@pytest.fixture
def hub(local_hub: LocalHub) -> LocalHub:
    """A server with one public repository."""
    local_hub.add_repository("org/model", FILES)
    return local_hub


# Who may do what


@pytest.mark.parametrize(
    ("token", "private", "gated", "disabled", "missing"),
    [
        (None, (401, "RepoNotFound"), (401, "GatedRepo"), (403, None), (401, "RepoNotFound")),
        ("stranger_token", (404, "RepoNotFound"), (403, "GatedRepo"), (403, None), (404, "RepoNotFound")),
        ("read_token", (200, None), (200, None), (403, None), (404, "RepoNotFound")),
        ("token", (200, None), (200, None), (403, None), (404, "RepoNotFound")),
    ],
)
def test_access_follows_the_token(hub: LocalHub, token, private, gated, disabled, missing) -> None:
    for name in ("private", "gated", "disabled"):
        hub.add_repository(f"org/{name}", FILES, private=name == "private", gated=name == "gated")
    hub.repositories["org/disabled"].disabled = True

    def got(name: str) -> tuple[int, str | None]:
        status, headers, _ = ask(
            hub, "GET", f"/org/{name}/resolve/main/config.json", token=getattr(hub, token or "", None)
        )
        return status, headers["X-Error-Code"]

    assert [got(name) for name in ("private", "gated", "disabled", "missing", "model")] == [
        private,
        gated,
        disabled,
        missing,
        (200, None),
    ]


def test_a_wrong_token_is_refused_even_for_what_is_public(hub: LocalHub) -> None:
    for path in ("/org/model/resolve/main/config.json", "/api/models/org/model", "/api/whoami-v2"):
        status, headers, _ = ask(hub, "GET", path, token="hf_wrong")
        assert (status, headers["X-Error-Message"]) == (401, "Invalid credentials in Authorization header")


@pytest.mark.parametrize(
    ("token", "repo_id", "status", "message"),
    [
        (None, "org/model", 401, "Invalid username or password."),
        ("read_token", "org/model", 403, "you must use a write token"),
        ("stranger_token", "org/model", 403, "don't have the rights"),
        ("token", "not-mine/model", 403, "don't have the rights"),
    ],
)
def test_writing_needs_the_right(hub: LocalHub, token, repo_id: str, status: int, message: str) -> None:
    if repo_id not in hub.repositories:
        hub.add_repository(repo_id, FILES)
    token = token and getattr(hub, token)
    namespace, name = repo_id.split("/")
    for method, path, body in (
        ("POST", "/api/repos/create", {"organization": namespace, "name": "new"}),
        ("DELETE", "/api/repos/delete", {"organization": namespace, "name": name}),
        ("PUT", f"/api/models/{repo_id}/settings", {"visibility": "private"}),
        ("POST", f"/api/models/{repo_id}/preupload/main", {"files": []}),
        ("POST", f"/api/models/{repo_id}/commit/main", b""),
        ("POST", f"/api/models/{repo_id}/branch/new", {}),
        ("POST", f"/{repo_id}.git/info/lfs/objects/batch", {"operation": "upload", "objects": []}),
        ("GET", f"/api/models/{repo_id}/auth-check/write", None),
    ):
        got, headers, _ = ask(hub, method, path, body=body, token=token)
        assert (got, path) == (status, path)
        assert message in headers["X-Error-Message"]
    assert sorted(hub.repositories) == sorted({"org/model", repo_id})
    assert not hub.repositories[repo_id].private
    assert len(hub.commits(repo_id)) == 2


def test_who_a_token_belongs_to(hub: LocalHub) -> None:
    def role(token: str) -> tuple[str, str, list[str]]:
        user = json.loads(ask(hub, "GET", "/api/whoami-v2", token=token)[2])
        return user["name"], user["auth"]["accessToken"]["role"], [one["name"] for one in user["orgs"]]

    assert role(hub.token) == ("somebody", "write", ["org"])
    assert role(hub.read_token) == ("somebody", "read", ["org"])
    assert role(hub.stranger_token) == ("stranger", "write", [])
    assert ask(hub, "GET", "/api/whoami-v2")[0] == 401


def test_errors_say_what_is_not_there(hub: LocalHub) -> None:
    def code(path: str) -> tuple[int, str | None, str | None]:
        status, headers, _ = ask(hub, "HEAD", path)
        return status, headers["X-Error-Code"], headers["X-Repo-Commit"]

    head = hub.commits("org/model")[0].id
    assert code("/org/model/resolve/main/no.json") == (404, "EntryNotFound", head)
    assert code("/org/model/resolve/v9/config.json") == (404, "RevisionNotFound", None)
    assert code(f"/org/model/resolve/{'0' * 40}/config.json") == (404, "RevisionNotFound", None)
    assert code("/api/models/org/model/xet-read-token/main") == (404, None, None)


# Commits are whole or nothing


@pytest.mark.parametrize(
    ("item", "status", "message"),
    [
        (("lfsFile", {"path": "b.bin", "algo": "sha256", "oid": "0" * 64, "size": 3}), 400, "does not exist"),
        (("lfsFile", {"path": "b.bin", "algo": "sha256", "oid": SHA, "size": 3}), 400, "another size"),
        (("deletedFile", {"path": "no.txt"}), 404, "A file with this name doesn't exist"),
        (("deletedFolder", {"path": "no/"}), 404, "A folder with this name doesn't exist"),
        (("file", {"path": "x.txt", "content": "%%%"}), 400, "not base64"),
        (file_item("../x.txt", b"x"), 400, "Invalid path"),
        (file_item("/x.txt", b"x"), 400, "Invalid path"),
        (file_item(".git/config", b"x"), 400, "Invalid path"),
        (file_item("config.json/x", b"x"), 400, "Both a file and a folder: config.json"),
        (("symlink", {"path": "x"}), 400, "holds no 'symlink'"),
    ],
)
def test_a_commit_with_one_bad_part_changes_nothing(hub: LocalHub, item, status: int, message: str) -> None:
    hub.repositories["org/model"].objects.add(SHA)
    before = hub.commits("org/model")
    body = commit_lines(file_item("good.txt", b"good"), item)
    got, headers, _ = ask(hub, "POST", "/api/models/org/model/commit/main", body=body, token=hub.token)
    assert got == status
    assert message in headers["X-Error-Message"]
    assert hub.commits("org/model") == before
    assert hub.files("org/model") == FILES


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"not json", "Each line"),
        (b'{"key": "file"}', "Each line"),
        (b"", "begins with a header"),
        (b'{"key": "header", "value": {"summary": ""}}', "begins with a header"),
    ],
)
def test_a_damaged_commit_is_refused(hub: LocalHub, body: bytes, message: str) -> None:
    status, headers, _ = ask(hub, "POST", "/api/models/org/model/commit/main", body=body, token=hub.token)
    assert status == 400
    assert message in headers["X-Error-Message"]


def test_a_commit_may_name_the_parent_it_expects(online) -> None:
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.errors import HfHubHTTPError

    def commit(content: bytes, **options) -> None:
        files = [CommitOperationAdd("a.txt", content)]
        HfApi().create_commit("org/model", files, commit_message="A", **options)

    online.login()

    first = online.hub.add_repository("org/model", FILES)
    commit(b"1", parent_commit=first)
    with pytest.raises(HfHubHTTPError, match="412"):
        commit(b"2", parent_commit=first)
    assert online.hub.files("org/model")["a.txt"] == b"1"
    with pytest.raises(HfHubHTTPError, match="Pull requests"):
        commit(b"2", create_pr=True)


def test_an_object_that_is_not_what_it_is_called_is_not_kept(hub: LocalHub) -> None:
    oid = hashlib.sha256(b"right").hexdigest()
    body = {"operation": "upload", "objects": [{"oid": oid, "size": 5}], "transfers": ["basic"]}
    _, _, answer = ask(hub, "POST", "/org/model.git/info/lfs/objects/batch", body=body, token=hub.token)
    actions = json.loads(answer)["objects"][0]["actions"]
    upload = actions["upload"]["href"].removeprefix(hub.storage)
    assert actions["verify"]["href"] == f"{hub.endpoint}/org/model.git/info/lfs/objects/verify"

    def verified() -> int:
        path = "/org/model.git/info/lfs/objects/verify"
        return ask(hub, "POST", path, body={"oid": oid, "size": 5}, token=hub.token)[0]

    assert ask(hub, "PUT", upload, body=b"wrong")[0] == 400
    assert ask(hub, "PUT", upload, body=b"righ")[0] == 400
    # A client that dies in the middle.
    with socket.create_connection(("127.0.0.1", int(hub.storage.rsplit(":", 1)[1]))) as raw:
        raw.sendall(f"PUT {upload} HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nrig".encode())
    assert ask(hub, "PUT", upload.replace("Signature=", "Signature=0"), body=b"right")[0] == 403
    assert ask(hub, "PUT", upload, body=b"right", token=hub.token)[0] == 400
    assert verified() == 404
    assert ask(hub, "PUT", upload, body=b"right")[0] == 200
    assert verified() == 200


def test_commits_from_many_threads_are_all_there(hub: LocalHub) -> None:
    def commit(number: int) -> None:
        for step in range(5):
            body = commit_lines(file_item(f"{number}/{step}.txt", b"x"))
            answer = ask(hub, "POST", "/api/models/org/model/commit/main", body=body, token=hub.token)
            assert answer[0] == 200

    threads = [threading.Thread(target=commit, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(hub.files("org/model")) == len(FILES) + 30
    assert len(hub.commits("org/model")) == 32
