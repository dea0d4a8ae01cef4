"""A folder that may be published: the random model of the tests, as if converted, with probe and card."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from verticlip.core.files import sha256_of, write_json_atomic


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
