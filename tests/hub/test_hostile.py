"""Folders and repositories made to do harm: refused in loading and in publishing, with the canary untouched."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import zipfile
from pathlib import Path

import pytest
import verticlip
import yaml
from make_publishable import restate
from safetensors.torch import load_file
from verticlip.core.errors import ConfigError, VerticlipError, WeightsError
from verticlip.core.files import write_json_atomic
from verticlip.core.tensor_header import read_header
from verticlip.hub.checks import check_folder
from verticlip.hub.publish import publish

NAME = "somebody/random"
TOKEN = "hf_" + "AbCdEfGhIjKlMnOpQrStUvWxYz01234567"


@pytest.fixture
def canary(tmp_path: Path):
    """A file that nothing may touch; a pickle that runs deletes it."""
    path = tmp_path / "canary"
    path.write_text("alive")
    yield path
    assert path.read_text() == "alive"


@pytest.fixture
def hub(writable):
    return writable


class Kills:
    """What a pickle of it does when it is read."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self):
        return os.remove, (str(self.canary),)


def pickles(canary: Path) -> dict[str, bytes]:
    """Return malicious checkpoints: a plain pickle, an old one, and one as ``torch.save`` packs it."""
    state = {"weight": Kills(canary)}
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(state, protocol=2))
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/byteorder", "little")
    return {
        "plain": pickle.dumps(state, protocol=4),
        "text": pickle.dumps(state, protocol=0),
        "packed": packed.getvalue(),
    }


def test_the_canary_dies_of_these_pickles(tmp_path) -> None:
    for content in (pickles(tmp_path / "mine")[name] for name in ("plain", "text")):
        (tmp_path / "mine").write_text("alive")
        pickle.loads(content)
        assert not (tmp_path / "mine").exists()


def errors(folder: Path) -> set[str]:
    return {one.code for one in check_folder(folder) if one.level == "error"}


@pytest.mark.parametrize("kind", ["plain", "text", "packed"])
@pytest.mark.parametrize("name", ["pytorch_model.bin", "open_clip_pytorch_model.bin", "model.safetensors"])
def test_a_malicious_pickle_instead_of_weights_is_never_read(folder, canary, kind, name) -> None:
    (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(pickles(canary)[kind])
    with pytest.raises(VerticlipError):
        verticlip.from_pretrained(folder)
    with pytest.raises(ConfigError, match="cannot be published"):
        publish(folder, NAME, dry_run=True, token="none")
    found = {(one.code, one.file) for one in check_folder(folder)}
    assert (("safetensors", name) if name == "model.safetensors" else ("code", name)) in found


@pytest.mark.parametrize("kind", ["plain", "packed"])
@pytest.mark.parametrize("name", ["notes", "weights.json", "LICENSE.txt", "head/head.dat"])
def test_a_pickle_beside_the_weights_is_refused_by_any_name(folder, canary, kind, name) -> None:
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(pickles(canary)[kind])
    assert ("code", name) in {(one.code, one.file) for one in check_folder(folder)}


def header(entries: str, data: bytes = b"") -> bytes:
    raw = entries.encode()
    return struct.pack("<Q", len(raw)) + raw + data


ONE = '"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}'
BROKEN = {
    "names that stand twice": (header(f"{{{ONE},{ONE}}}", b"\0" * 4), "stands twice"),
    "bytes at the end": (header(f"{{{ONE}}}", b"\0" * 4 + b"tail"), "4 bytes follow"),
    "a header of 2**40 bytes": (struct.pack("<Q", 2**40) + b"{}", "1,099,511,627,776 bytes"),
    "a header of 2**64 - 1 bytes": (struct.pack("<Q", 2**64 - 1) + b"{}", "bytes long"),
    "a header longer than the file": (struct.pack("<Q", 99) + b"{}", "99 bytes long, the file has 10"),
    "no header": (b"\0\0", "shorter than 8 bytes"),
    "nothing": (b"", "shorter than 8 bytes"),
    "a list": (header("[]"), "no table"),
    "no JSON": (header("{"), "not JSON"),
    "deep JSON": (header("[" * 100_000), "safetensors"),
    "a gap": (
        header('{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}', b"\0" * 8),
        "starts at byte 4",
    ),
    "tensors on each other": (
        header(f'{{{ONE},"b":{{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}}}', b"\0" * 4),
        "starts at byte 0 instead of 4",
    ),
    "a shape that lies": (
        header('{"a":{"dtype":"F32","shape":[9],"data_offsets":[0,4]}}', b"\0" * 4),
        "takes 4 bytes",
    ),
    "a negative shape": (
        header('{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}', b"\0" * 4),
        "cannot be",
    ),
    "an unknown type": (
        header('{"a":{"dtype":"PICKLE","shape":[1],"data_offsets":[0,4]}}', b"\0" * 4),
        "'PICKLE'",
    ),
    "a type that is a list": (
        header('{"a":{"dtype":["F32"],"shape":[1],"data_offsets":[0,4]}}', b"\0" * 4),
        "'F32'",
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_unsound_weights_are_refused_in_loading_and_publishing(folder, what) -> None:
    content, said = BROKEN[what]
    path = folder / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=said):
        read_header(path)
    with pytest.raises(WeightsError, match=r"model\.safetensors"):
        verticlip.from_pretrained(folder)
    assert {"safetensors", "does-not-load"} <= errors(folder)


def test_names_that_stand_twice_in_whole_weights(folder) -> None:
    """The library takes the last of them without a word."""
    path = folder / "model.safetensors"
    content = path.read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    raw = content[8 : 8 + length].decode().rstrip()
    name = json.dumps(next(key for key in json.loads(raw) if key != "__metadata__"))
    entry = json.dumps(json.loads(raw)[json.loads(name)])
    path.write_bytes(header(f"{raw[:-1]},{name}:{entry}}}", content[8 + length :]))
    assert load_file(path)
    with pytest.raises(WeightsError, match="stands twice"):
        verticlip.from_pretrained(folder)
    assert "safetensors" in errors(folder)


def test_our_header_reader_takes_what_the_library_writes(folder) -> None:
    found = read_header(folder / "model.safetensors")
    state = load_file(folder / "model.safetensors")
    assert {name: shape for name, (_, shape) in found.tensors.items()} == {
        name: tuple(tensor.shape) for name, tensor in state.items()
    }


REMOTE = [
    {"auto_map": {"AutoModel": "evil/repo--model.Model"}},
    {"trust_remote_code": True},
    {"_name_or_path": "evil/repo"},
    {"options": {"trust_remote_code": True}},
    {"options": {"decoder_name": "evil/repo"}},
    {"options": {"pretrained": "hf-hub:evil/repo"}},
    {"options": {"weights": "https://evil.example/x.bin"}},
    {"options": {"tokenizer": "evil/repo"}},
    {"options": {"file": "../../etc/passwd"}},
    {"towers": {"image": {"backend": "timm", "architecture": "hf-hub:evil/repo"}}},
    {"towers": {"image": {"backend": "timm", "architecture": "resnet10t", "options": {"pretrained": True}}}},
    {
        "towers": {
            "text": {
                "backend": "open_clip", "kind": "text", "output_dim": 12, "options": {"hf_model_name": "evil/repo"}
            }
        }
    },
    {"towers": {"text": {"backend": "evil.module:Class"}}},
    {"architecture": "evil.module:Class"},
    {"domain": "../evil"},
]  # fmt: skip


@pytest.mark.parametrize("changes", REMOTE, ids=lambda changes: json.dumps(changes)[:60])
def test_a_config_that_names_code_or_another_repository(folder, canary, changes, monkeypatch) -> None:
    config = json.loads((folder / "config.json").read_text())
    for key, value in changes.items():
        config[key] = {**config[key], **value} if isinstance(config.get(key), dict) else value
    write_json_atomic(folder / "config.json", config)
    restate(folder)
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("the network was asked"))
    assert errors(folder) & {"remote-code", "does-not-load"}
    if "options" not in changes or "trust_remote_code" in str(changes) or "://" in str(changes):
        with pytest.raises(VerticlipError):
            verticlip.from_pretrained(folder)


def test_a_processor_or_tokenizer_that_names_code(folder) -> None:
    for name in ("processor.json", "tokenizer.json"):
        content = json.loads((folder / name).read_text())
        write_json_atomic(folder / name, {**content, "auto_map": {"AutoProcessor": "evil/repo--x.Y"}})
    assert {(one.code, one.file) for one in check_folder(folder)} >= {
        ("remote-code", "processor.json"),
        ("remote-code", "tokenizer.json"),
    }
    with pytest.raises(ConfigError):
        verticlip.from_pretrained(folder)


def test_links_out_of_the_folder_are_not_published(hub, folder, canary) -> None:
    (folder / "LICENSE.txt").symlink_to(canary)
    (folder / "threshold.json").symlink_to("/etc/passwd")
    with pytest.raises(ConfigError, match=r"LICENSE\.txt: A link: it may lead anywhere"):
        publish(folder, NAME)
    assert not hub.requests


def test_a_repository_with_names_that_leave_it_writes_nothing_outside(
    hub, online, folder, tmp_path, canary
) -> None:
    content = {path.name: path.read_bytes() for path in folder.iterdir()}
    evil = {"../canary": b"dead", "../../canary": b"dead", "/canary": b"dead", "a/../../canary": b"dead"}
    hub.add_repository("evil/model", {**content, **evil}, hostile=True)
    before = {path for path in tmp_path.rglob("*") if not path.is_relative_to(online.cache.parent)}
    model = verticlip.from_pretrained("evil/model")
    assert model.embed(["a red cat"]).vectors.shape == (1, 12)
    assert {path for path in tmp_path.rglob("*") if not path.is_relative_to(online.cache.parent)} == before
    assert not [path for path in tmp_path.rglob("canary") if path != canary]


def test_publishing_into_such_a_repository_names_and_leaves_them(hub, folder, tmp_path, canary) -> None:
    publish(folder, NAME)
    hub_commit = hub.store.commit
    with hub.store.lock:
        entries = {"../canary": hub.store.entry("../canary", b"dead")}
        hub_commit(hub.repositories[NAME], "main", add=entries, delete=(), title="Evil", checked=False)
    done = publish(folder, NAME)
    assert done.changes is not None
    assert done.changes.kept == ("../canary",)
    assert not done.changed


INJECTIONS = [
    "---\nlicense: mit\n---\n# Mine",
    "{config} {0} {config.__class__} {{x}}",
    "</description><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "[here](javascript:alert(1)) ![x](https://evil.example/pixel.png)",
    "```\n# Out of the fence\n```python\nimport os",
    "| a | b |\n| --- | --- |\n| 1 | 2 |",
    "# Not a heading of ours\n\n## Results on validation\n\nAccuracy 1.000",
    "license: mit\nmodel-index: []",
    "!!python/object/apply:os.system ['true']",
    "`backticks` and **stars** and _lines_",
    "line\r\nbreaks\u2028and\u0000more",
]


@pytest.mark.parametrize("text", INJECTIONS)
def test_a_description_cannot_write_the_card(folder, text) -> None:
    """Either the folder is refused, or the text stands in the card as text and changes nothing else."""
    from verticlip.hub.card import render_card, write_card
    from verticlip.hub.stored_probe import write_probe

    before = render_card(folder)
    config = json.loads((folder / "config.json").read_text())
    write_json_atomic(folder / "config.json", {**config, "description": text})
    try:
        restate(folder)
        write_probe(folder)
        write_card(folder)
    except VerticlipError:
        return
    card = (folder / "README.md").read_text()
    clean, dirty = (_headings(one) for one in (before, card))
    assert dirty == clean
    if not errors(folder):
        assert _header(card) == _header(before)
        assert "<script>" not in card
        assert "<img" not in card


@pytest.mark.parametrize(
    "licence", ["mit\n---\n# Mine", "mit\nlicense: gpl-3.0", "{x}", "<b>mit</b>", "`mit`", "[mit]"]
)
def test_a_licence_cannot_write_the_card(folder, licence) -> None:
    config = json.loads((folder / "config.json").read_text())
    write_json_atomic(folder / "config.json", {**config, "licence": licence})
    assert "licence-unknown" in errors(folder)


@pytest.mark.parametrize("name", ["a\nb", "a: b", "../a", "<b>", "{x}", "a`b", "---", "a b", ""])
def test_a_name_cannot_write_the_card(folder, name) -> None:
    config = json.loads((folder / "config.json").read_text())
    write_json_atomic(folder / "config.json", {**config, "name": name})
    with pytest.raises(ConfigError, match="name"):
        verticlip.from_pretrained(folder)
    assert "does-not-load" in errors(folder)


def _headings(card: str) -> list[str]:
    """Return the headings outside of code."""
    lines, inside = [], False
    for line in card.splitlines():
        if line.startswith("```"):
            inside = not inside
        elif line.startswith("#") and not inside:
            lines.append(line)
    return lines


def _header(card: str) -> dict[str, object]:
    return yaml.safe_load(card.split("---\n")[1])


@pytest.mark.parametrize("place", ["description", "options", "file", "note"])
def test_a_token_is_refused_wherever_it_stands_and_never_shown(hub, folder, run, place) -> None:
    config = json.loads((folder / "config.json").read_text())
    if place == "description":
        write_json_atomic(folder / "config.json", {**config, "description": f"Made with {TOKEN}."})
    elif place == "options":
        write_json_atomic(folder / "config.json", {**config, "options": {"nested": [{"key": TOKEN}]}})
    elif place == "file":
        (folder / "prompts.yaml").write_text((folder / "prompts.yaml").read_text() + f"# {TOKEN}\n")
    else:
        (folder / "README.md").write_text((folder / "README.md").read_text() + f"\n## Note\n\n{TOKEN}\n")
    status, out, err = run("hub", "push", folder, NAME)
    assert status == 1
    assert "It holds a Hugging Face token" in out
    assert TOKEN not in out + err
    assert not hub.requests
