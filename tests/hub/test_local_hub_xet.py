"""Uploads by Xet, as the client does them unless it is told not to."""

from __future__ import annotations

import hashlib
import json
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from local_hub import xet
from local_hub.plain import ask
from local_hub.server import LocalHub
from local_hub.store import Refused

XET = """
import array
import random

from huggingface_hub import CommitOperationAdd, HfApi

rng = random.Random(0)
files = {
    "floats.safetensors": array.array("f", [rng.random() for _ in range(100_000)]).tobytes(),
    "words.safetensors": bytes(range(256)) * 1000 + rng.randbytes(100_000),
    "zeros.safetensors": bytes(500_000),
    "config.json": b"{}",
}
for repository in ("org/one", "org/two"):
    HfApi().create_repo(repository)
    operations = [CommitOperationAdd(name, content) for name, content in files.items()]
    HfApi().create_commit(repository, operations, commit_message="By Xet")
for name, content in files.items():
    with open(name, "wb") as handle:
        handle.write(content)
"""


def test_the_client_publishes_by_xet(tmp_path: Path, client_env: dict[str, str]) -> None:
    with LocalHub(xet=True) as hub:
        env = {**client_env, "HF_ENDPOINT": hub.endpoint, "HF_TOKEN": hub.token, "HF_HUB_DISABLE_XET": "0"}
        done = subprocess.run(
            [sys.executable, "-c", XET], env=env, cwd=tmp_path, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        for repository in ("org/one", "org/two"):
            published = hub.files(repository)
            assert len(published.pop(".gitattributes")) > 100
            assert published == {
                name: (tmp_path / name).read_bytes() if name != "config.json" else b"{}" for name in published
            }
            assert len(published) == 4
        assert not [one for one in hub.requests if one.method == "PUT" or "lfs/objects" in one.path]


def test_a_server_without_xet_gives_no_token_for_it(local_hub: LocalHub) -> None:
    hub = local_hub
    hub.add_repository("org/model", {})
    path = "/api/models/org/model/xet-write-token/main"
    assert ask(hub, "GET", path, token=hub.token)[0] == 404
    hub.xet = True
    assert ask(hub, "GET", path, token=hub.read_token)[0] == 403
    given = json.loads(ask(hub, "GET", path, token=hub.token)[2])
    assert given["casUrl"] == hub.storage
    for token, status in ((given["accessToken"], 400), (given["accessToken"][:-1], 401), (hub.token, 401)):
        assert ask(hub, "POST", "/v1/shards", body=b"no shard", token=token)[0] == status


def test_formats_of_xet() -> None:
    # A plain chunk, one that repeats itself, and one whose bytes stand in four groups.
    frame = struct.pack("<IBBB", 0x184D2204, 0x60, 0x40, 0)
    repeated = frame + struct.pack("<I", 9) + b"\x2fab\x02\x00\x01\x20cd" + bytes(4)
    grouped = frame + struct.pack("<I", 6 | 1 << 31) + b"aebfcd" + bytes(4)
    packed = b"".join(
        bytes([0]) + len(one).to_bytes(3, "little") + bytes([scheme]) + size.to_bytes(3, "little") + one
        for one, scheme, size in ((b"plain", 0, 5), (repeated, 1, 24), (grouped, 2, 6))
    )
    assert xet.chunks(packed + b"XETBLOB") == [b"plain", b"ab" * 11 + b"cd", b"abcdef"]
    for damaged, message in (
        (b"", "no chunks"),
        (packed[:-1], "Damaged xorb"),
        (packed.replace(b"plain", b"plai"), "something else after them"),
        (packed.replace(frame, b"x" * 7), "no LZ4 frame"),
        (packed.replace(b"ab\x02", b"ab\x09"), "before the beginning"),
    ):
        with pytest.raises(Refused, match=message):
            xet.chunks(damaged)

    digest = hashlib.sha256(b"plainabcdef").digest()
    turned = b"".join(digest[start : start + 8][::-1] for start in range(0, 32, 8))
    parts = [struct.pack("<32sIIII", bytes([7]) * 32, 0, 0, first, first + 1) for first in (0, 2)]
    head = b"HFRepoMetaData".ljust(48, b"\0") + bytes(32) + struct.pack("<II8x", 1 << 30, 2)
    shard = head + b"".join(parts) + turned + bytes(16) + b"\xff" * 32 + bytes(16)
    assert list(xet.assembled(shard, {"07" * 32: packed}.get)) == [b"plainabcdef"]
    with pytest.raises(Refused, match="chunks that are not here"):
        list(xet.assembled(shard, {}.get))
    with pytest.raises(Refused, match="not what it is called"):
        list(xet.assembled(shard.replace(turned, bytes(32)), {"07" * 32: packed}.get))
    with pytest.raises(Refused, match="ends too early"):
        list(xet.assembled(shard[:100], {"07" * 32: packed}.get))
