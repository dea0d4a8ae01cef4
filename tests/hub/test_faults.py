"""Loading through the real client from a server and a cache that fail in every way we know of."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
from local_hub.faults import Corrupt, IgnoreRange, LyingLength, Reset, Stall, Status, Truncate
from verticlip.core.errors import ConfigError, WeightsError
from verticlip.hub import advice
from verticlip.hub import download as downloads
from verticlip.hub.download import fetch
from verticlip.hub.loading import load_model, resolve

NAME = "org/model"
WEIGHTS = r"/model\.safetensors"


def asked(hub, method: str, part: str = "") -> list[str]:
    return [request.path for request in hub.requests if request.method == method and part in request.path]


def said(caplog) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name.startswith("verticlip")]


# What a second attempt mends


@pytest.mark.parametrize(
    "faults",
    [
        (Truncate(0.6),),
        (Truncate(0.6, lie=False),),
        (Reset(0.6),),
        (Stall(9),),
        (LyingLength(10),),
        (LyingLength(-10),),
        (Truncate(0.6), IgnoreRange()),
        (Truncate(0.5), Reset(0.5), Corrupt()),
        (Corrupt(),),
        (Status(code=500, method="GET"),),
        (Status(code=503, method="GET", times=2),),
        (Status(code=429, headers={"Retry-After": "3"}, method="GET"),),
        (Status(code=200, method="GET"),),
        (Status(code=416, method="GET"),),
        (Status(code=500, method="HEAD", times=3),),
        (Status(code=429, headers={"Retry-After": "3"}, method="HEAD", times=2),),
        (Reset(0, method="HEAD"),),
        (Truncate(0, method="HEAD"),),
        (Stall(9, 0, method="HEAD"),),
        (LyingLength(10, method="HEAD"),),
        (LyingLength(-10, method="HEAD"),),
    ],
    ids=lambda faults: " then ".join(
        f"{type(one).__name__} {getattr(one, 'code', '')}{one.method or ''}" for one in faults
    ),
)
def test_trouble_that_passes_is_survived(online, hub, files, faults) -> None:
    hub.fault(WEIGHTS, *faults)
    if any(isinstance(fault, Stall | LyingLength) for fault in faults):
        online.patience(0.5)
    resolved = resolve(NAME)
    expected = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    assert resolved.files == expected
    assert (resolved.revision, resolved.unverified) == (online.commit, ())
    assert (resolved.folder / "model.safetensors").read_bytes() == files["model.safetensors"]
    assert online.leftovers() == []


@pytest.mark.parametrize(
    ("fault", "match"),
    [
        (Truncate(0.6), "the connection breaks off each time before it is whole. Try again later"),
        (Truncate(0.6, lie=False), "another number of bytes than it announced, several times"),
        (Reset(0.6), r"cannot be reached \(the connection to 127.0.0.1:\d+ breaks off\)"),
        (LyingLength(10), "sends 71,014 bytes or more where at most 71,004 are expected. Not fetched"),
        (Corrupt(), r"came damaged from the Hub: it has SHA-256 \w{64}, expected \w{64}. Nothing was loaded"),
        (Status(code=500, method="GET"), r"the Hub has trouble now \(status 500\).*status.huggingface.co"),
        (Status(code=500, method="HEAD"), r"the Hub has trouble now \(status 500\).*give a folder"),
        (Status(code=404, method="GET"), "the Hub answered with status 404"),
        (Status(code=200, method="HEAD"), "what answers at 127.* is not the Hub: the login page"),
        (Status(code=403, method="HEAD"), r"the Hub refuses access \(403\): the repository is disabled, or"),
        (Status(code=429, method="HEAD"), r"too many requests from here \(status 429\). Try again then"),
        (Stall(9, 0, method="HEAD"), "does not answer in time; HF_HUB_DOWNLOAD_TIMEOUT and HF_HUB_ETAG_TIM"),
    ],
    ids=lambda value: type(value).__name__ + (value.method or "") if not isinstance(value, str) else "",
)
def test_trouble_that_stays_is_said_and_a_healthy_server_loads_again(online, hub, fault, match) -> None:
    hub.fault(WEIGHTS, replace(fault, times=None))
    if isinstance(fault, Stall | LyingLength):
        online.patience(0.5)
    with pytest.raises((WeightsError, ConfigError), match=match) as caught:
        resolve(NAME)
    assert caught.value.__cause__ is None
    assert online.leftovers() == []
    cached = online.snapshot(NAME, online.commit) / "model.safetensors"
    assert not cached.exists()
    hub.faults.clear()
    assert resolve(NAME).unverified == ()
    assert cached.exists()


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_repository_without_a_required_file(online, hub, files, name) -> None:
    del files[name]
    hub.add_repository("org/part", files)
    for _ in range(2):
        with pytest.raises(WeightsError, match=f"org/part: {name} is not in the repository at"):
            resolve("org/part")
    online.offline()
    with pytest.raises(WeightsError, match=f"org/part: {name} at "):
        resolve("org/part")


def test_a_server_that_asks_for_an_hour_is_not_waited_for(online, hub, waits) -> None:
    for method in ("HEAD", "GET"):
        hub.fault(WEIGHTS, Status(code=429, headers={"Retry-After": "3600"}, method=method, times=None))
        with pytest.raises(WeightsError, match=r"asks to wait 3,600 s.*With a token .* it answers more"):
            resolve(NAME)
        hub.faults.clear()
    assert waits == online.waits == []


def test_waits_add_up(online, hub) -> None:
    hub.fault(WEIGHTS, Status(code=429, headers={"Retry-After": "25"}, method="GET", times=None))
    with pytest.raises(WeightsError, match="asks to wait 25 s"):
        resolve(NAME)
    assert online.waits == [26.0, 26.0]


def test_an_etag_that_is_a_path_is_refused(online, hub, tmp_path) -> None:
    hub.fault(
        WEIGHTS,
        Status(code=200, headers={"ETag": '"../../../evil"', "X-Repo-Commit": "1" * 40}, method="HEAD"),
    )
    with pytest.raises(WeightsError, match="names it by an ETag that is none. Refused"):
        resolve(NAME)
    assert not list(tmp_path.rglob("evil*"))


def test_a_wrong_etag_is_found_out(online, hub) -> None:
    answer = {"ETag": f'"{"0" * 64}"', "X-Repo-Commit": online.commit, "Content-Length": "71004"}
    hub.fault(WEIGHTS, Status(code=200, headers=answer, method="HEAD", times=None))
    with pytest.raises(WeightsError, match=f"came damaged from the Hub: .* expected {'0' * 64}"):
        fetch(NAME, "model.safetensors", online.commit)
    assert not list(online.cache.rglob("0" * 64))


def test_redirects_in_a_circle(online, hub) -> None:
    circle = f"/{NAME}/resolve/{online.commit}/model.safetensors"
    hub.fault(WEIGHTS, Status(code=302, headers={"Location": circle}, method="HEAD", times=None))
    with pytest.raises(WeightsError, match="redirects in a circle"):
        resolve(NAME)


# Damage in the cache


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:50] + bytes([content[50] ^ 1]) + content[51:],
        lambda content: content[:-7],
        lambda content: b"<!doctype html><title>Sign in</title>",
        lambda content: b"",
    ],
    ids=["flipped", "truncated", "html", "empty"],
)
def test_a_damaged_entry_is_fetched_again_once(online, hub, files, caplog, name, damage) -> None:
    folder = resolve(NAME).folder
    (folder / name).resolve().write_bytes(damage(files[name]))
    hub.forget_requests()
    resolved = resolve(NAME, online.commit)
    assert (resolved.folder / name).read_bytes() == files[name]
    assert len(asked(hub, "GET")) == len(asked(hub, "GET", name)) == 1
    assert said(caplog) == [
        f"org/model: {name} at '{online.commit}': the copy in the Hub's cache is damaged; fetching it again"
    ]
    hub.forget_requests()
    assert load_model(resolve(NAME, online.commit))
    assert hub.requests == []


def test_a_damaged_entry_that_comes_damaged_again_is_refused_and_not_kept(online, hub, files) -> None:
    weights = resolve(NAME).folder / "model.safetensors"
    weights.resolve().write_bytes(b"damaged")
    hub.fault(WEIGHTS, Corrupt(times=None))
    with pytest.raises(
        WeightsError, match=r"came damaged .* it has SHA-256 \w{64}, expected \w{64}"
    ) as caught:
        resolve(NAME)
    assert hashlib.sha256(files["model.safetensors"]).hexdigest() in str(caught.value)
    assert not weights.is_symlink()
    assert len(asked(hub, "GET", "model.safetensors")) == 2


def test_a_damaged_entry_without_a_hub_says_what_to_do(online, hub) -> None:
    weights = resolve(NAME).folder / "model.safetensors"
    weights.resolve().write_bytes(b"damaged")
    hub.fault(WEIGHTS, Status(code=500, times=None))
    with pytest.raises(WeightsError, match=r"the Hub's cache is damaged, and it cannot be fetched again now"):
        resolve(NAME, online.commit)
    online.offline()
    match = (
        r"model.safetensors at '\w{40}': the copy .* is damaged, and offline mode \(HF_HUB_OFFLINE\) forbids"
    )
    with pytest.raises(WeightsError, match=match):
        resolve(NAME, online.commit)


def test_an_entry_that_cannot_be_read_is_said(online, hub, monkeypatch) -> None:
    resolve(NAME)

    def refused(*_: object) -> None:
        raise PermissionError(13, "Permission denied", "/somebody/elses/file")

    monkeypatch.setattr(downloads, "digests_of", refused)
    with pytest.raises(
        WeightsError, match="the Hub's cache cannot be read: Permission denied. Let it be read"
    ):
        resolve(NAME)


def test_a_link_to_nowhere_is_mended(online, hub) -> None:
    weights = resolve(NAME).folder / "model.safetensors"
    weights.resolve().unlink()
    assert load_model(resolve(NAME))


def test_large_files_are_read_once_for_their_hash(online, hub, monkeypatch) -> None:
    resolve(NAME)
    read = []
    original = downloads.digests_of
    monkeypatch.setattr(
        downloads, "digests_of", lambda *given: read.append(given[0].name) or original(*given)
    )
    resolved = resolve(NAME)
    assert resolved.revision
    assert sorted(read) == sorted(resolved.files)


def test_a_cache_without_links_is_verified_by_the_hub_and_then_by_the_record(
    online, hub, caplog, monkeypatch
) -> None:
    from huggingface_hub import constants, file_download

    monkeypatch.setattr(constants, "HF_HUB_DISABLE_SYMLINKS", True)
    monkeypatch.setattr(file_download, "_are_symlinks_supported_in_dir", {})
    resolved = resolve(NAME)
    weights = resolved.folder / "model.safetensors"
    assert not weights.is_symlink()
    assert resolved.unverified == ()
    hub.forget_requests()
    online.offline()
    assert load_model(resolve(NAME))
    weights.write_bytes(b"damaged")
    with pytest.raises(WeightsError, match="is damaged, and offline mode"):
        resolve(NAME)
    online.offline(False)
    assert load_model(resolve(NAME, online.commit))
    assert len(asked(hub, "GET")) == 1
    # Neither the record nor the Hub: it is said, in the log and in the result.
    (online.own_cache / "first-use.json").unlink()
    online.offline()
    caplog.clear()
    assert "model.safetensors" in resolve(NAME).unverified
    assert any("model.safetensors at" in line and "could not be verified" in line for line in said(caplog))


class Broken(OSError):
    """An error of the network: it has no file name."""


@pytest.mark.parametrize(
    ("error", "match"),
    [
        (OSError(28, "No space"), "cannot be kept in the Hub's cache: No space left on device"),
        (PermissionError(13, "no", "/x"), "cache: Permission denied. Free space .* by HF_HOME"),
        (ConnectionRefusedError(111, "refused"), r"the Hub cannot be reached \(ConnectionRefusedError\)"),
        (Broken("an answer of the library"), r"the Hub cannot be reached \(Broken\)"),
    ],
)
def test_a_full_disk_is_not_called_a_network(error: OSError, match: str) -> None:
    found = advice.explain(error, advice.Wanted(NAME, "model.pt", "main"))
    assert isinstance(found, WeightsError)
    with pytest.raises(WeightsError, match=match):
        raise found
