"""Repositories with bad intent: nothing of them is run, followed, or fetched beyond its bounds."""

from __future__ import annotations

import json
import pickle
import shutil
import struct
from pathlib import Path

import pytest
from local_hub.faults import Status
from verticlip.core.errors import ConfigError, WeightsError
from verticlip.hub import loading
from verticlip.hub.loading import load_model, resolve

NAME = "org/model"


def asked(hub, method: str, part: str = "") -> list[str]:
    return [request.path for request in hub.requests if request.method == method and part in request.path]


def test_only_files_of_known_names_are_fetched(online, hub, files) -> None:
    commit = hub.add_repository("org/evil", files | {"pytorch_model.bin": b"x", "code.py": b"x"})
    content = hub.repositories["org/evil"].commit("main").files
    for name in ("../evil", "a/../../evil", "new\nline", "nul\0"):
        # No client can commit these; a server that lists them anyway changes nothing.
        content[name] = content["code.py"]
    resolved = resolve("org/evil")
    names = {path.partition("/resolve/")[2].partition("/")[2] for path in asked(hub, "HEAD")}
    assert names <= {*loading.REQUIRED_FILES, *loading.OPTIONAL_FILES}
    assert {path.name for path in online.snapshot("org/evil", commit).iterdir()} == set(files)
    assert resolved.revision == commit


def test_a_config_that_is_too_large_is_not_fetched(online, hub, files) -> None:
    hub.add_repository("org/huge", files | {"config.json": b" " * 9_000_000})
    with pytest.raises(
        WeightsError, match=r"has 9,000,000 bytes; files of its kind may have 8,388,608. Not fetched"
    ):
        resolve("org/huge")
    assert asked(hub, "GET", "config.json") == []


def test_a_small_file_that_does_not_end_is_cut_off(online, hub, files) -> None:
    commit = hub.add_repository("org/endless", files | {"processor.json": b" " * 300_000})
    answer = {"ETag": f'"{"0" * 40}"', "X-Repo-Commit": commit, "Content-Length": "100"}
    hub.fault("processor.json", Status(code=200, headers=answer, method="HEAD", times=None))
    with pytest.raises(WeightsError, match="sends 300,000 bytes or more where at most 100 are expected"):
        resolve("org/endless", commit)
    assert online.leftovers() == []


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"auto_map": {"AutoModel": "other/repo--model.Evil"}}, "unknown key 'auto_map'"),
        ({"_name_or_path": "other/repo"}, "unknown key '_name_or_path'"),
        ({"custom_pipeline": "other/repo"}, "unknown key 'custom_pipeline'"),
        ({"trust_remote_code": True}, "'trust_remote_code' is never accepted"),
        ({"prompts": "https://example.org/x"}, "the URL .* is not accepted"),
        ({"prompts": "../../x"}, "leaves the folder"),
    ],
)
def test_a_config_that_names_code_or_other_places_is_refused_unasked(
    online, hub, files, changes, match
) -> None:

    config = json.dumps({**json.loads(files["config.json"]), **changes}).encode()
    hub.add_repository("org/evil", files | {"config.json": config})
    with pytest.raises(ConfigError, match=match):
        load_model(resolve("org/evil"))
    assert all(f"/{part}" not in request.path for request in hub.requests for part in ("other", "example"))


class Canary:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.write_text, (self.path, "sang")


def test_pickles_are_neither_fetched_nor_run(online, hub, files, tmp_path: Path) -> None:

    canary = tmp_path / "canary"
    pickled = pickle.dumps(Canary(canary))
    weights = files.pop("model.safetensors")
    hub.add_repository("org/pickle", files | {"pytorch_model.bin": pickled})
    with pytest.raises(WeightsError, match="model.safetensors is not in the repository.*Only safetensors"):
        resolve("org/pickle")
    assert not asked(hub, "HEAD", "pytorch_model") + asked(hub, "GET", "pytorch_model")
    hub.add_repository("org/renamed", files | {"model.safetensors": pickled})
    with pytest.raises(WeightsError, match="not a whole safetensors file"):
        load_model(resolve("org/renamed"))
    local = tmp_path / "local"
    shutil.copytree(resolve("org/renamed").folder, local)
    (local / "model.safetensors").rename(local / "pytorch_model.bin")
    with pytest.raises(WeightsError, match="no model.safetensors. A model folder needs"):
        resolve(local)
    assert weights
    assert not canary.exists()


def test_weights_that_are_hostile_as_files(online, hub, files) -> None:

    header = json.dumps({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    twice = header[:-1] + b"," + header[1:]
    good = files["model.safetensors"]
    cases = {
        "header": (struct.pack("<Q", 2**40) + b"{}", "its header would be 1,099,511,627,776 bytes long"),
        "twice": (struct.pack("<Q", len(twice)) + twice + bytes(4), "the key 'a' stands twice"),
        "trailing": (good + b"more", "not a whole safetensors file"),
        "short": (b"\1", "it is shorter than 8 bytes"),
    }
    for name, (content, match) in cases.items():
        hub.add_repository(f"org/{name}", files | {"model.safetensors": content})
        with pytest.raises(WeightsError, match=match):
            load_model(resolve(f"org/{name}"))


def test_a_local_folder_may_hold_links_and_is_taken_as_it_is(model_folder: Path, tmp_path: Path) -> None:
    # The user made the folder; the Hub's own cache consists of links to elsewhere.
    folder = tmp_path / "model"
    folder.mkdir()
    for path in model_folder.iterdir():
        (folder / path.name).symlink_to(path)
    resolved = resolve(folder)
    assert resolved.files == {}
    load_model(resolved)
