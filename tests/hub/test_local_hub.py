"""The Hub of the tests itself: it speaks the protocol to the real client, and refuses what the Hub refuses."""

from __future__ import annotations

import hashlib
import http.client
import json
import re
import signal
import subprocess
import sys
import traceback
from pathlib import Path

import pytest
from local_hub.faults import Status
from local_hub.plain import ask, commit_lines, file_item, place
from local_hub.server import LocalHub
from local_hub.store import git_blob

# The client's own habit.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>' to upload raw bytes:DeprecationWarning")

WEIGHTS = bytes(range(256)) * 1000
SHA = hashlib.sha256(WEIGHTS).hexdigest()
CONFIG = b'{"name": "small"}\n'
CARD = b"---\nlicense: apache-2.0\ntags: [small]\n---\n# Small\n"
FILES = {"config.json": CONFIG, "model.safetensors": WEIGHTS, "README.md": CARD, "words/a.txt": b"a\n"}


@pytest.fixture
def hub(local_hub: LocalHub) -> LocalHub:
    """A server with one public repository."""
    local_hub.add_repository("org/model", FILES)
    return local_hub


@pytest.fixture
def api(online):
    """The real client with the token that may write."""
    from huggingface_hub import HfApi

    online.login()
    return HfApi()


def additions(files: dict[str, bytes]):
    from huggingface_hub import CommitOperationAdd

    return [CommitOperationAdd(path, content) for path, content in files.items()]


def paths(hub: LocalHub) -> list[tuple[str, str, int]]:
    return [(one.method, re.sub(r"[0-9a-f]{64}", "OID", one.path), one.status) for one in hub.requests]


# Publishing and loading with the real client


def test_a_repository_is_published_in_one_commit_and_loaded_again(online, api) -> None:
    from huggingface_hub import hf_hub_download, snapshot_download

    hub = online.hub
    url = api.create_repo("org/new", private=True)
    assert (url, url.repo_id) == (f"{hub.endpoint}/org/new", "org/new")
    commit = api.create_commit("org/new", additions(FILES), commit_message="First", commit_description="All")
    assert hub.repositories["org/new"].private
    assert hub.commits("org/new")[0].id == commit.oid
    assert [one.title for one in hub.commits("org/new")] == ["First", "initial commit"]
    attributes = hub.files("org/new").pop(".gitattributes")
    assert b"*.safetensors filter=lfs" in attributes
    assert hub.files("org/new") == {**FILES, ".gitattributes": attributes}
    assert paths(hub)[1:] == [
        ("POST", "/api/validate-yaml", 200),
        ("POST", "/api/models/org/new/preupload/main", 200),
        ("POST", "/org/new.git/info/lfs/objects/batch", 200),
        ("PUT", f"/upload/org/new/OID/{len(WEIGHTS)}", 200),
        ("POST", "/org/new.git/info/lfs/objects/verify", 200),
        ("POST", "/api/models/org/new/commit/main", 200),
    ]

    api.update_repo_settings("org/new", private=False)
    online.logout()
    hub.forget_requests()
    weights, config = (
        Path(hf_hub_download("org/new", name)) for name in ("model.safetensors", "config.json")
    )
    assert (weights.read_bytes(), config.read_bytes()) == (WEIGHTS, CONFIG)
    # The cache names contents by what the server calls them.
    assert weights.resolve().name == SHA
    assert config.resolve().name == git_blob(CONFIG)
    assert weights.parent == online.snapshot("org/new", commit.oid)
    assert paths(hub) == [
        ("HEAD", "/org/new/resolve/main/model.safetensors", 302),
        ("GET", "/lfs/org/new/OID/model.safetensors", 200),
        ("HEAD", "/org/new/resolve/main/config.json", 200),
        ("GET", "/org/new/resolve/main/config.json", 200),
    ]
    folder = Path(snapshot_download("org/new", revision=commit.oid))
    assert (folder / "words/a.txt").read_bytes() == b"a\n"


def test_what_has_not_changed_is_not_published_again(online, api) -> None:
    hub = online.hub
    api.create_repo("org/new")
    first = api.create_commit("org/new", additions(FILES), commit_message="First")
    hub.forget_requests()
    second = api.create_commit("org/new", additions(FILES), commit_message="Second")
    assert second.oid == first.oid
    assert not [one for one in hub.requests if "/commit/" in one.path or one.to == "storage"]
    third = api.create_commit("org/new", additions({**FILES, "config.json": b"{}"}), commit_message="Third")
    assert hub.files("org/new", third.oid)["config.json"] == b"{}"
    assert hub.files("org/new", first.oid)["config.json"] == CONFIG


def test_a_large_file_is_uploaded_in_parts(online, api) -> None:
    hub = online.hub
    hub.part_size = 100_000
    api.create_repo("org/new")
    hub.fault("/2[?]Signature", Status(500))
    api.create_commit("org/new", additions({"model.safetensors": WEIGHTS}), commit_message="First")
    assert hub.files("org/new")["model.safetensors"] == WEIGHTS
    puts = [(one.path.rsplit("/", 1)[1], one.status) for one in hub.requests if one.method == "PUT"]
    assert puts == [("1", 200), ("2", 500), ("2", 200), ("3", 200)]


def test_the_client_reads_what_a_repository_holds(online, hub: LocalHub) -> None:
    from huggingface_hub import HfApi

    api, head = HfApi(), hub.commits("org/model")[0].id
    info = api.model_info("org/model", files_metadata=True)
    assert (info.sha, info.private, info.tags, info.gated) == (head, False, ["small"], False)
    assert info.siblings is not None
    sizes = {one.rfilename: (one.size, one.lfs.sha256 if one.lfs else None) for one in info.siblings}
    assert sizes["model.safetensors"] == (len(WEIGHTS), SHA)
    assert sizes["config.json"] == (len(CONFIG), None)
    assert api.model_info("org/model", revision=head[:8]).sha == head
    assert sorted(api.list_repo_files("org/model")) == sorted(FILES)
    assert [one.path for one in api.get_paths_info("org/model", ["words", "no", "config.json"])] == [
        "words",
        "config.json",
    ]
    assert api.list_repo_refs("org/model").branches[0].target_commit == head
    assert [one.commit_id for one in api.list_repo_commits("org/model")] == [
        one.id for one in hub.commits("org/model")
    ]
    assert [one.id for one in api.list_models(search="MOD", author="org")] == ["org/model"]


def test_a_listing_comes_in_pages(online, local_hub: LocalHub) -> None:
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFolder

    names = [f"folder/{number}.txt" for number in range(7)]
    local_hub.add_repository("org/many", dict.fromkeys([*names, "a.safetensors"], b"x"))
    local_hub.page_size = 3
    tree = list(HfApi().list_repo_tree("org/many", recursive=True, expand=True))
    assert [one.path for one in tree] == ["a.safetensors", "folder", *names]
    assert isinstance(tree[1], RepoFolder)
    assert tree[0].lfs.sha256 == hashlib.sha256(b"x").hexdigest()
    assert len([one for one in local_hub.requests if "/tree/" in one.path]) == 3
    assert [one.path for one in HfApi().list_repo_tree("org/many", "folder")] == names


def test_branches_tags_and_deleting(online, api) -> None:
    from huggingface_hub import CommitOperationDelete
    from huggingface_hub.errors import RepositoryNotFoundError

    hub = online.hub
    first = hub.add_repository("org/model", FILES)
    api.create_tag("org/model", tag="v1")
    api.create_branch("org/model", branch="pr/1")
    deletions = [CommitOperationDelete("words/"), CommitOperationDelete("config.json")]
    api.create_commit("org/model", deletions, commit_message="Less", revision="pr/1")
    assert sorted(hub.files("org/model", "pr/1")) == ["README.md", "model.safetensors"]
    assert hub.files("org/model") == FILES
    assert api.model_info("org/model", revision="v1").sha == first
    api.delete_branch("org/model", branch="pr/1")
    api.delete_tag("org/model", tag="v1")
    refs = api.list_repo_refs("org/model")
    assert ([one.name for one in refs.branches], refs.tags) == (["main"], [])
    api.delete_repo("org/model")
    assert not hub.repositories
    with pytest.raises(RepositoryNotFoundError):
        api.delete_repo("org/model")


def test_a_repository_that_exists_is_a_conflict(online, api) -> None:
    from huggingface_hub.errors import HfHubHTTPError

    api.create_repo("org/new")
    with pytest.raises(HfHubHTTPError, match=r"409(.|\n)*already created"):
        api.create_repo("org/new")
    assert api.create_repo("org/new", exist_ok=True).repo_id == "org/new"


def test_a_card_with_wrong_metadata_is_refused_before_anything_is_uploaded(online, api) -> None:
    api.create_repo("org/new")
    index = (
        b"---\nmodel-index: [{name: x, results: [{task: {type: t}, metrics: [{type: acc}]}]}]\ntags: 3\n---\n"
    )
    with pytest.raises(ValueError, match=r'"tags" must be(.|\n)*dataset\.type(.|\n)*metrics\[0\]\.value'):
        api.create_commit("org/new", additions({**FILES, "README.md": index}), commit_message="x")
    with pytest.warns(UserWarning, match="empty or missing yaml metadata"):
        api.create_commit("org/new", additions({"README.md": b"# No metadata"}), commit_message="x")
    with pytest.raises(ValueError, match="YAML"):
        api.create_commit("org/new", additions({"README.md": b"---\na: [\n---\n"}), commit_message="x")
    assert [one.title for one in online.hub.commits("org/new")] == ["x", "initial commit"]


def test_regular_files_may_be_redirected_on_the_same_origin(online, hub: LocalHub) -> None:
    from huggingface_hub import hf_hub_download

    hub.redirect_regular = True
    path = Path(hf_hub_download("org/model", "config.json"))
    assert path.read_bytes() == CONFIG
    assert path.parent.name == hub.commits("org/model")[0].id
    assert [(one.method, one.status) for one in hub.requests] == [("HEAD", 307), ("HEAD", 200), ("GET", 200)]


# Ranges


@pytest.mark.parametrize(
    ("wanted", "status", "start", "stop"),
    [
        ("bytes=0-", 206, 0, 256000),
        ("bytes=100-199", 206, 100, 200),
        ("bytes=255999-", 206, 255999, 256000),
        ("bytes=250000-999999", 206, 250000, 256000),
        ("bytes=-10", 206, 255990, 256000),
        ("bytes=9-3", 200, 0, 256000),
        ("bytes=1-2,5-6", 200, 0, 256000),
        ("words=1-2", 200, 0, 256000),
    ],
)
def test_a_range_is_answered_with_just_that(hub: LocalHub, wanted, status, start, stop) -> None:
    got, headers, content = ask(hub, "GET", place(hub), Range=wanted)
    assert (got, content) == (status, WEIGHTS[start:stop])
    assert headers["Content-Length"] == str(stop - start)
    assert headers["ETag"] == f'"{SHA}"'
    assert headers["Content-Range"] == (f"bytes {start}-{stop - 1}/256000" if status == 206 else None)


def test_a_range_beyond_the_end_is_refused(hub: LocalHub) -> None:
    for wanted in ("bytes=256000-", "bytes=-0"):
        status, headers, _ = ask(hub, "GET", place(hub), Range=wanted)
        assert (status, headers["Content-Range"]) == (416, "bytes */256000")


def test_a_range_of_what_has_changed_is_answered_with_the_whole(hub: LocalHub) -> None:
    same = ask(hub, "GET", place(hub), Range="bytes=9-", If_Range=f'"{SHA}"')
    other = ask(hub, "GET", place(hub), Range="bytes=9-", If_Range='"0"')
    assert (same[0], other[0]) == (206, 200)
    assert (same[2], other[2]) == (WEIGHTS[9:], WEIGHTS)


def test_metadata_of_both_kinds_of_files(hub: LocalHub) -> None:
    head = hub.commits("org/model")[0].id
    status, headers, content = ask(hub, "HEAD", "/org/model/resolve/main/config.json")
    assert (status, content) == (200, b"")
    assert headers["ETag"] == f'"{git_blob(CONFIG)}"'
    assert (headers["X-Repo-Commit"], headers["Content-Length"]) == (head, str(len(CONFIG)))
    status, headers, _ = ask(hub, "HEAD", "/org/model/resolve/main/model.safetensors")
    assert (headers["X-Linked-Etag"], headers["X-Linked-Size"]) == (f'"{SHA}"', str(len(WEIGHTS)))
    assert headers["X-Repo-Commit"] == head
    assert headers["X-Xet-Hash"] is None


def test_storage_takes_signed_addresses_and_no_token(hub: LocalHub) -> None:
    path = place(hub)
    assert ask(hub, "GET", path)[0] == 200
    assert ask(hub, "GET", path[:-4] + "0000")[0] == 403
    assert ask(hub, "GET", path.replace("model.safetensors", "other"))[0] == 403
    assert ask(hub, "GET", path, token=hub.token)[0] == 400


def test_no_token_reaches_the_storage(online, api) -> None:
    from huggingface_hub import hf_hub_download

    online.hub.add_repository("org/model", FILES, private=True)
    assert Path(hf_hub_download("org/model", "model.safetensors")).read_bytes() == WEIGHTS
    headers = {one.to: one.headers["Authorization"] for one in online.hub.requests}
    assert headers == {"hub": f"Bearer {online.hub.token}", "storage": None}


def test_plain_lfs_clients_find_objects_too(hub: LocalHub) -> None:
    wanted = {"operation": "download", "objects": [{"oid": SHA, "size": 1}, {"oid": "0" * 64, "size": 1}, {}]}
    _, _, content = ask(hub, "POST", "/org/model.git/info/lfs/objects/batch", body=wanted)
    found, missing, wrong = json.loads(content)["objects"]
    assert ask(hub, "GET", found["actions"]["download"]["href"].removeprefix(hub.storage))[2] == WEIGHTS
    assert (missing["error"]["code"], wrong["error"]["code"]) == (404, 422)


def test_a_mistake_of_the_server_is_not_silent(hub: LocalHub, monkeypatch) -> None:
    shown = []
    monkeypatch.setattr(traceback, "print_exc", lambda: shown.append(True))
    status, headers, _ = ask(hub, "POST", "/api/models/org/model/tag/main", body={}, token=hub.token)
    assert (status, headers["X-Error-Message"], shown) == (500, "KeyError: 'tag'", [True])
    assert ask(hub, "GET", "/no/such/page")[0] == 404
    assert ask(hub, "POST", "/api/repos/create", body=b"{", token=hub.token)[0] == 400


# As a program


def test_the_program_keeps_its_state(root: Path, tmp_path: Path, client_env: dict[str, str]) -> None:
    def start(*options: str) -> tuple[subprocess.Popen, str]:
        program = subprocess.Popen(
            [sys.executable, str(root / "tests/hub/local_hub"), "--folder", str(tmp_path / "state"), "--token", "hf_x", *options],
            stdout=subprocess.PIPE, text=True, env={**client_env, "PYTHONDONTWRITEBYTECODE": "1"},
        )  # fmt: skip
        assert program.stdout is not None
        return program, program.stdout.readline().strip().removeprefix("HF_ENDPOINT=http://")

    def request(endpoint: str, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(endpoint, timeout=5)
        connection.request(method, path, body, {"Authorization": "Bearer hf_x"})
        answer = connection.getresponse()
        return answer.status, answer.read()

    rule = {"path": "create", "faults": [{"fault": "Status", "code": 503}]}
    program, endpoint = start("--fault", json.dumps(rule))
    try:
        create = json.dumps({"organization": "org", "name": "kept", "visibility": "private"}).encode()
        assert request(endpoint, "POST", "/api/repos/create", create)[0] == 503
        assert request(endpoint, "POST", "/api/repos/create", create)[0] == 200
        body = commit_lines(file_item("config.json", CONFIG))
        assert request(endpoint, "POST", "/api/models/org/kept/commit/main", body)[0] == 200
    finally:
        program.send_signal(signal.SIGTERM)
        assert program.wait(5) == 0
    program, endpoint = start()
    try:
        assert request(endpoint, "GET", "/org/kept/resolve/main/config.json") == (200, CONFIG)
        assert json.loads(request(endpoint, "GET", "/api/models/org/kept")[1])["private"]
    finally:
        program.send_signal(signal.SIGINT)
        assert program.wait(5) == 0
