"""The faults of the tests' Hub are what they say, and what the real client makes of each."""

from __future__ import annotations

import hashlib
import threading
import time
from pathlib import Path

import pytest
from local_hub.faults import (
    Corrupt,
    FaultQueues,
    IgnoreRange,
    LyingLength,
    Reset,
    Slow,
    Stall,
    Status,
    Truncate,
    fault_from_json,
)
from local_hub.plain import announced, ask, place, raw
from local_hub.server import LocalHub

# The client's own habit.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>' to upload raw bytes:DeprecationWarning")

WEIGHTS = bytes(range(256)) * 1000
SHA = hashlib.sha256(WEIGHTS).hexdigest()
CONFIG = b'{"name": "small"}\n'
FILES = {"config.json": CONFIG, "model.safetensors": WEIGHTS, "README.md": b"# Small\n"}


@pytest.fixture
def hub(local_hub: LocalHub) -> LocalHub:
    """A server with one public repository."""
    local_hub.add_repository("org/model", FILES)
    return local_hub


# Faults, byte by byte


@pytest.mark.parametrize(
    ("fault", "size", "content", "end"),
    [
        (Truncate(0.6), 256000, WEIGHTS[:153600], "closed"),
        (Truncate(0.0), 256000, b"", "closed"),
        (Truncate(0.6, lie=False), 153600, WEIGHTS[:153600], "closed"),
        (Reset(0.25), 256000, WEIGHTS[:64000], "reset"),
        (LyingLength(10), 256010, WEIGHTS, "closed"),
        (LyingLength(-10), 255990, WEIGHTS, "closed"),
        (Corrupt(0.5), 256000, WEIGHTS[:128000] + b"\xff" + WEIGHTS[128001:], "closed"),
        (Corrupt(1.0), 256000, WEIGHTS[:-1] + b"\x00", "closed"),
        (Stall(0.1), 256000, WEIGHTS, "closed"),
        (Slow(2_000_000), 256000, WEIGHTS, "closed"),
        ((Corrupt(0.0), Truncate(0.5)), 256000, b"\xff" + WEIGHTS[1:128000], "closed"),
    ],
)
def test_a_fault_is_what_it_says(hub: LocalHub, fault, size: int, content: bytes, end: str) -> None:
    path = place(hub)
    hub.fault("model.safetensors", fault)
    head, got, ended = raw(hub, path)
    assert head.startswith(b"HTTP/1.1 200 OK")
    assert (announced(head), ended) == (size, end)
    assert got == content
    assert hub.faults.waiting == 0
    assert raw(hub, path)[1] == WEIGHTS


def test_a_range_can_be_ignored(hub: LocalHub) -> None:
    path = place(hub)
    hub.fault("model.safetensors", IgnoreRange())
    assert raw(hub, path)[1] == WEIGHTS
    assert hub.faults.waiting == 1
    head, content, _ = raw(hub, path, Range="bytes=10-")
    assert (head[9:12], content) == (b"200", WEIGHTS)
    assert raw(hub, path, Range="bytes=10-")[1] == WEIGHTS[10:]


def test_stalling_and_trickling_take_their_time(hub: LocalHub) -> None:
    path = place(hub)
    for fault in (Stall(0.3, 0.9), Slow(256_000 / 0.3)):
        hub.fault("model.safetensors", fault)
        start = time.monotonic()
        assert raw(hub, path)[1] == WEIGHTS
        assert 0.29 < time.monotonic() - start < 3


def test_a_stall_ends_with_the_server(hub: LocalHub) -> None:
    path = place(hub)
    hub.fault("model.safetensors", Stall(600))
    answers: list[bytes] = []
    thread = threading.Thread(target=lambda: answers.append(raw(hub, path)[1]))
    thread.start()
    while not any(one.to == "storage" and one.sent for one in hub.requests):
        time.sleep(0.01)
    start = time.monotonic()
    hub.stop()
    thread.join(5)
    assert time.monotonic() - start < 2
    assert answers == [WEIGHTS[:128000]]
    with pytest.raises(ConnectionRefusedError):
        raw(hub, path)


def test_faults_come_in_their_order_and_only_to_whom_they_concern(hub: LocalHub) -> None:
    of_head = Status(500, method="HEAD")
    hub.fault("config.json", Status(503, {"Retry-After": "7"}, times=2), Status(401), of_head)
    path = "/org/model/resolve/main/config.json"
    assert ask(hub, "GET", "/org/model/resolve/main/README.md")[0] == 200
    status, headers, _ = ask(hub, "HEAD", path)
    assert (status, headers["Retry-After"]) == (503, "7")
    assert [ask(hub, "GET", path)[0] for _ in range(3)] == [503, 401, 200]
    assert [ask(hub, method, path)[0] for method in ("GET", "HEAD", "HEAD")] == [200, 500, 200]
    hub.fault("config.json", Status(404, times=None))
    assert {ask(hub, "GET", path)[0] for _ in range(4)} == {404}
    hub.faults.clear()
    assert ask(hub, "GET", path)[0] == 200


def test_a_request_can_be_lost_before_or_after_it_is_carried_out(hub: LocalHub) -> None:
    path, body = "/api/repos/create", {"organization": "org", "name": "lost"}
    for at, there in ((0, False), (1, True)):
        hub.fault(path, Reset(at, method="POST"))
        with pytest.raises(ConnectionResetError):
            ask(hub, "POST", path, body=body, token=hub.token)
        assert ("org/lost" in hub.repositories) == there
    hub.fault("/resolve/", Truncate(0, method="HEAD"), Stall(0.2, 0, method="HEAD"))
    assert raw(hub, "/org/model/resolve/main/config.json", "HEAD") == (b"", b"", "closed")
    start = time.monotonic()
    assert ask(hub, "HEAD", "/org/model/resolve/main/config.json")[0] == 200
    assert time.monotonic() - start > 0.19


def test_metadata_can_lie_about_the_length(hub: LocalHub) -> None:
    hub.fault("/resolve/", LyingLength(7, method="HEAD", times=2))
    regular = ask(hub, "HEAD", "/org/model/resolve/main/config.json")[1]
    large = ask(hub, "HEAD", "/org/model/resolve/main/model.safetensors")[1]
    assert regular["Content-Length"] == str(len(CONFIG) + 7)
    assert large["X-Linked-Size"] == str(len(WEIGHTS) + 7)


def test_faults_that_make_no_sense_are_refused() -> None:
    queues = FaultQueues()
    with pytest.raises(TypeError, match="Expected faults"):
        queues.add("x", 3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no content"):
        queues.add("x", (Status(500), Truncate()))
    assert fault_from_json({"fault": "Truncate", "at": 0.3, "times": None}) == Truncate(0.3, times=None)
    with pytest.raises(ValueError, match="one of Status, Truncate"):
        fault_from_json({"fault": "Nothing"})
    with pytest.raises(ValueError, match="unexpected keyword argument 'code'"):
        fault_from_json({"fault": "Truncate", "code": 3})


# What the real client makes of them: the facts that loading and publishing build on


def download(name: str = "model.safetensors") -> bytes:
    from huggingface_hub import hf_hub_download

    return Path(hf_hub_download("org/model", name)).read_bytes()


@pytest.mark.parametrize(
    ("pattern", "faults", "requests"),
    [
        ("/lfs/", (Truncate(0.6),), ["200", "206 bytes=153600-"]),
        ("/lfs/", (Truncate(0.6), IgnoreRange()), ["200", "200 bytes=153600-"]),
        ("/lfs/", (Stall(60),), ["200", "206 bytes=128000-"]),
        ("/lfs/", (Status(429, {"Retry-After": "7"}),), ["429", "200"]),
        ("/resolve/", (Status(500),), ["200"]),
        ("/resolve/", (Status(429),), ["200"]),
    ],
)
def test_the_client_recovers(online, hub: LocalHub, pattern: str, faults, requests: list[str]) -> None:
    hub.fault(pattern, *faults)
    if any(isinstance(fault, Stall) for fault in faults):
        online.patience(0.5)
    assert download() == WEIGHTS
    assert hub.faults.waiting == 0
    got = [one for one in hub.requests if one.method == "GET"]
    assert [" ".join(filter(None, (str(one.status), one.headers["Range"]))) for one in got] == requests
    assert not online.leftovers()
    if requests[0] == "429":
        assert online.waits == [8]


@pytest.mark.parametrize(
    ("pattern", "faults", "error"),
    [
        ("/lfs/", (Reset(),), "ReadError"),
        ("/lfs/", (Truncate(0, times=None),), "RemoteProtocolError"),
        ("/lfs/", (Truncate(0.6, lie=False),), "OSError"),
        ("/lfs/", (LyingLength(-10),), "OSError"),
        ("/resolve/", (LyingLength(10, method="HEAD"),), "OSError"),
        ("/lfs/", (Status(500),), "HfHubHTTPError"),
        ("/resolve/", (Status(503, times=None),), "LocalEntryNotFoundError"),
        ("/resolve/", (Reset(0, method="HEAD"),), "ReadError"),
        ("/resolve/", (Truncate(0, method="HEAD"),), "RemoteProtocolError"),
    ],
)
def test_the_client_gives_up(online, hub: LocalHub, pattern: str, faults, error: str) -> None:
    hub.fault(pattern, *faults)
    with pytest.raises(Exception, match=".") as caught:
        download()
    assert type(caught.value).__name__ == error
    assert not online.leftovers()
    assert not list(online.cache.glob("*/blobs/*"))
    hub.faults.clear()
    assert download() == WEIGHTS


def test_the_client_keeps_a_wrong_content_under_the_right_hash(online, hub: LocalHub) -> None:
    hub.fault("/lfs/", Corrupt())
    assert download() != WEIGHTS
    assert [path.name for path in online.cache.glob("*/blobs/*")] == [SHA]


def additions():
    from huggingface_hub import CommitOperationAdd

    return [CommitOperationAdd(path, content) for path, content in FILES.items() if path != "README.md"]


def test_the_client_retries_uploads_and_not_the_commit(online) -> None:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    online.login()
    api = HfApi()

    hub = online.hub
    hub.add_repository("org/model", {})
    hub.fault("/preupload/", Status(503))
    hub.fault("/objects/batch", Status(429, {"Retry-After": "3"}))
    hub.fault("/upload/", Reset(0, method="PUT"))
    hub.fault("/objects/verify", Status(500))
    hub.fault("/commit/", Status(500), Reset(1, method="POST"))
    with pytest.raises(HfHubHTTPError, match="500"):
        api.create_commit("org/model", additions(), commit_message="First")
    assert online.waits == [1, 4, 1, 1]
    assert hub.files("org/model") == {}
    with pytest.raises(Exception, match="reset by peer"):
        api.create_commit("org/model", additions(), commit_message="First")
    # It was carried out and the answer lost: publishing again adds nothing.
    assert sorted(hub.files("org/model")) == ["config.json", "model.safetensors"]
    head = hub.commits("org/model")[0].id
    assert api.create_commit("org/model", additions(), commit_message="First").oid == head
    assert hub.faults.waiting == 0
