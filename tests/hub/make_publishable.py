"""A folder that may be published: the random model of the tests, as if converted, with probe and card."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from local_hub.server import LocalHub
from verticlip.core.files import sha256_of, write_json_atomic

NAME = "somebody/random"


def make_publishable(source: Path, folder: Path) -> Path:
    """Copy a model folder, say what it was made from, and write its probe and card."""
    from verticlip.hub.card import write_card
    from verticlip.hub.stored_probe import write_probe

    shutil.copytree(source, folder)
    config = json.loads((folder / "config.json").read_text())
    config["description"] = "Random weights for tests."
    write_json_atomic(folder / "config.json", config)
    restate(folder)
    write_probe(folder)
    write_card(folder)
    return folder


def restate(folder: Path) -> None:
    """Write conversion.json anew for the files that are there."""
    loaded = ("config.json", "model.safetensors", "processor.json", "prompts.yaml", "tokenizer.json")
    source = {
        "role": "weights", "repo_id": "somebody/random", "name": "weights.bin", "commit": "a" * 40,
        "sha256": "b" * 64, "bytes": 12, "registered": True,
    }  # fmt: skip
    content = {
        "format": 1, "model": "test/random", "variant": False, "converter": "random", "converter_version": 1,
        "options": {}, "files": [source], "unverified": [],
        "report": {"model": {"loaded": 12, "missing": [], "unexpected": [], "dropped": []}},
        "written": {name: sha256_of(folder / name) for name in loaded},
    }  # fmt: skip
    write_json_atomic(folder / "conversion.json", content)


def contents(folder: Path) -> dict[str, bytes]:
    """Return {name: bytes} of a folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def stored(hub: LocalHub, name: str = NAME) -> dict[str, bytes]:
    """Return what a repository holds, without what the Hub itself puts there."""
    return {path: data for path, data in hub.files(name).items() if path != ".gitattributes"}


def writes(hub: LocalHub) -> list[str]:
    """Return the requests that change a repository, by the last word of their path."""
    return [
        f"{one.method} {one.path.partition('?')[0].rpartition('/')[2]}"
        for one in hub.requests
        if "/api/" in one.path
        and one.method != "GET"
        and not any(word in one.path for word in ("preupload", "validate-yaml", "paths-info"))
    ]


def describe(folder: Path, text: str) -> None:
    """Change the description of a model and what depends on it."""
    from verticlip.hub.card import write_card
    from verticlip.hub.stored_probe import write_probe

    config = json.loads((folder / "config.json").read_text())
    config["description"] = text
    (folder / "config.json").write_text(json.dumps(config))
    restate(folder)
    write_probe(folder)
    write_card(folder)
