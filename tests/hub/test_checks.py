"""What is found about a folder before it is published: every problem at once, and no false alarms."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from make_publishable import make_publishable, restate
from safetensors.torch import load_file, save_file
from verticlip.core.errors import ConfigError
from verticlip.core.files import write_json_atomic
from verticlip.hub import secrets
from verticlip.hub.card import check_card
from verticlip.hub.checks import check_folder
from verticlip.hub.checks_content import content_problems
from verticlip.hub.checks_origin import origin_problems
from verticlip.hub.folder_facts import FolderFacts
from verticlip.hub.folder_files import take_snapshot
from verticlip.hub.packaged import packaged_models

TOKEN = "hf_" + "AbCdEfGhIjKlMnOpQrStUvWxYz01234567"
PASSWORD = "password" + "=hunter22"


@pytest.fixture(scope="module")
def made_once(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_publishable(model_folder, tmp_path_factory.mktemp("checked") / "model")


@pytest.fixture
def folder(made_once: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made_once, tmp_path / "model"))


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """A packaged model that was trained here."""
    return Path(shutil.copytree(packaged_models()["medical/tiny"][1], tmp_path / "tiny"))


def codes(folder: Path, level: str = "error") -> set[tuple[str, str]]:
    """Return {(code, file)} of the findings of one level."""
    return {(one.code, one.file) for one in check_folder(folder) if one.level == level}


def change(path: Path, **values: object) -> None:
    content = json.loads(path.read_text())
    write_json_atomic(path, {**content, **values})


def rewrite(folder: Path) -> None:
    """Write what depends on the other files anew."""
    from verticlip.hub.card import write_card
    from verticlip.hub.stored_probe import write_probe

    restate(folder)
    write_probe(folder)
    write_card(folder)


def test_a_folder_in_order_has_no_findings(folder) -> None:
    assert check_folder(folder) == []


@pytest.mark.parametrize("name", sorted(packaged_models()))
def test_every_packaged_model_may_be_published(name) -> None:
    found = check_folder(packaged_models()[name][1], for_repository=f"acme/{name.replace('/', '-')}")
    assert [one for one in found if one.level == "error"] == []


def test_everything_is_found_at_once(folder) -> None:
    (folder / "notes.txt").write_text("hello")
    (folder / "scan.dcm").write_bytes(b"\0" * 128 + b"DICM")
    (folder / ".env").write_text("HF_TOKEN=x")
    (folder / "README.md").unlink()
    (folder / "old.pt").write_bytes(b"x")
    (folder / "probe.safetensors").unlink()
    assert codes(folder) == {
        ("data-sample", "scan.dcm"), ("hidden", ".env"), ("missing", "README.md"), ("code", "old.pt"),
        ("missing", "probe.safetensors"),
    }  # fmt: skip
    assert codes(folder, "notice") == {("not-published", "notes.txt")}
    assert [one.level for one in check_folder(folder)] == ["error"] * 5 + ["notice"]


def test_no_such_folder(tmp_path) -> None:
    with pytest.raises(ConfigError, match="does not exist; give the folder of a model"):
        check_folder(tmp_path / "none")
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="is a file; give the folder of a model"):
        check_folder(tmp_path / "file")


def test_folders_inside_stay_behind_unless_they_hold_data(folder) -> None:
    (folder / "head").mkdir()
    (folder / "head" / "head.json").write_text("{}")
    assert codes(folder) == set()
    assert codes(folder, "notice") == {("not-published", "head")}
    (folder / "head" / "photo.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    assert codes(folder) == {("data-sample", "head/photo.jpg")}


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("a.npy", b"\x93NUMPY", "data-sample"),
        ("a.csv", b"id,label\n", "data-sample"),
        ("notes", b"\x89PNG\r\n", "data-sample"),
        ("notes", b"RIFF\0\0\0\0WAVEfmt ", "data-sample"),
        ("notes", b"\x80\x04\x95", "code"),
        ("notes", b"PK\x03\x04", "code"),
        ("a.py", b"import os", "code"),
        ("a\nb", b"", "file-name"),
        ("a\\..\\b", b"", "file-name"),
        ("\u202efdp.txt", b"", "file-name"),
    ],
)
def test_files_are_known_by_their_content_and_their_name(folder, name, content, code) -> None:
    (folder / name).write_bytes(content)
    assert {found for found, _ in codes(folder)} == {code}
    assert all(one.file.isprintable() for one in check_folder(folder))


def test_links_and_pipes_are_refused_and_not_read(folder, tmp_path) -> None:
    (tmp_path / "elsewhere.json").write_text((folder / "config.json").read_text())
    (folder / "config.json").unlink()
    (folder / "config.json").symlink_to(tmp_path / "elsewhere.json")
    (folder / "data").symlink_to(tmp_path)
    os.mkfifo(folder / "LICENSE.txt")
    found = codes(folder)
    assert {("link", "config.json"), ("link", "data"), ("special-file", "LICENSE.txt")} <= found
    assert ("missing", "config.json") in found
    assert "config.json" not in take_snapshot(folder).files


def test_weights_have_to_fit_the_config(folder) -> None:
    state = load_file(folder / "model.safetensors")
    save_file({f"{name}.x": value for name, value in state.items()}, folder / "model.safetensors")
    found = {one.code: one.message for one in check_folder(folder)}
    assert "tensors do not fit the config" in found["does-not-load"]
    state[next(iter(state))].flatten()[0] = torch.nan
    save_file(state, folder / "model.safetensors")
    assert "NaN or infinite" in {one.code: one.message for one in check_folder(folder)}["does-not-load"]


def test_a_probe_has_to_reproduce_and_to_be_of_these_files(folder) -> None:
    state = load_file(folder / "model.safetensors")
    name = next(key for key in state if key.startswith("towers.image") and state[key].ndim > 1)
    save_file({**state, name: state[name] * 1.5}, folder / "model.safetensors", metadata={"format": "pt"})
    restate(folder)
    found = {one.code: one for one in check_folder(folder)}
    assert "model.safetensors" in found["probe-stale"].message
    assert "over; off by" in found["probe-differs"].message
    assert "verticlip hub probe" in found["probe-differs"].advice


def test_notes_in_a_header_are_told_and_searched(folder) -> None:
    state = load_file(folder / "model.safetensors")
    save_file(state, folder / "model.safetensors", metadata={"format": "pt", "from": "/home/ann/run3"})
    assert ("local-path", "model.safetensors") in codes(folder)
    assert ("metadata", "model.safetensors") in codes(folder, "notice")


@pytest.mark.parametrize(
    ("licence", "code"),
    [
        ("", "licence-missing"),
        ("unknown", "licence-unknown"),
        ("Apache 2", "licence-unknown"),
        ("other", "licence-unknown"),
        ("Apache-2.0\nlicense: mit", "licence-unknown"),
        ("MIT", "licence-differs"),
    ],
)
def test_a_licence_is_stated_known_and_the_one_of_the_card(folder, licence, code) -> None:
    change(folder / "config.json", licence=licence)
    assert code in {found for found, _ in codes(folder)}


def test_a_licence_without_commercial_use_is_told(folder) -> None:
    change(folder / "config.json", licence="CC-BY-NC-ND-4.0")
    rewrite(folder)
    assert codes(folder) == set()
    assert {code for code, _ in codes(folder, "notice")} == {"licence-non-commercial", "licence-no-changes"}


def test_weights_whose_authors_grant_access_are_published_privately_only(folder) -> None:
    change(folder / "conversion.json", model="medical/conceptclip")
    facts = [FolderFacts(take_snapshot(folder), private=private) for private in (False, True)]
    found = [[one.level for one in origin_problems(one) if one.code == "gated"] for one in facts]
    assert found == [["error"], ["notice"]]


def test_the_licence_of_somebody_elses_weights_cannot_be_changed(folder) -> None:
    change(folder / "conversion.json", model="liveness/flip-mcl")
    found = {one.code: one for one in check_folder(folder) if one.level == "error"}
    assert "liveness/flip-mcl is under unknown" in found["licence-differs"].message


def test_converted_weights_name_their_sources_and_are_unchanged(folder) -> None:
    change(folder / "conversion.json", files=[])
    assert ("conversion", "conversion.json") in codes(folder)
    restate(folder)
    with (folder / "prompts.yaml").open("a") as handle:
        handle.write("\n")
    found = {one.code: one.message for one in check_folder(folder)}
    assert found["conversion-changed"] == "These were changed since: prompts.yaml."
    (folder / "conversion.json").unlink()
    assert ("origin", "") in codes(folder)


def origin(folder: Path) -> set[str]:
    """Return the codes of what is found about licence and origin, without loading the model."""
    return {one.code for one in origin_problems(FolderFacts(take_snapshot(folder))) if one.level == "error"}


def test_trained_weights_need_metrics_with_baseline_and_intervals(trained) -> None:
    metrics = trained / "metrics.json"
    whole = json.loads(metrics.read_text())
    assert origin(trained) == set()
    write_json_atomic(metrics, {**whole, "recipe": "0" * 16})
    assert origin(trained) == {"metrics-recipe"}
    write_json_atomic(metrics, {**whole, "baseline": {}})
    assert origin(trained) == {"metrics-baseline"}
    write_json_atomic(metrics, {**whole, "validation": {"score": 0.5}, "further": {}})
    assert "metrics-interval" in origin(trained)
    metrics.unlink()
    assert origin(trained) == {"metrics-missing"}


def test_a_damaged_recipe(trained) -> None:
    (trained / "recipe.yaml").write_text("a: &x [1]\nb: *x\n")
    assert "recipe" in origin(trained)
    found = content_problems(FolderFacts(take_snapshot(trained)))
    assert ("syntax", "recipe.yaml") in {(one.code, one.file) for one in found}


def test_a_card_has_to_be_the_one_of_the_folder(folder) -> None:
    card = folder / "README.md"
    card.write_text(card.read_text().replace("16,593 float32 numbers", "17 float32 numbers"))
    assert ("card", "README.md") in codes(folder)
    card.write_text("# no metadata")
    assert ("card", "README.md") in codes(folder)


@pytest.mark.parametrize(
    "code",
    [
        "<script>x</script>",
        "<img src=x onerror=y>",
        "[a](javascript:x)",
        "<svg/onload=x>",
        "\\``` <img src=x> \\```",
    ],
)
def test_a_card_holds_nothing_that_runs(folder, code) -> None:
    with (folder / "README.md").open("a") as handle:
        handle.write(f"\n## Note\n\n{code}\n")
    assert codes(folder) == {("card-code", "README.md")}


def test_a_note_may_say_anything_else(folder) -> None:
    with (folder / "README.md").open("a") as handle:
        handle.write(
            "\n## Note\n\nErrors < 0.1, see <https://example.org> and [here](https://example.org).\n"
        )
    assert codes(folder) == set()


def test_files_that_are_too_large_empty_or_no_text(folder, monkeypatch) -> None:
    (folder / "LICENSE.txt").write_bytes(b"")
    (folder / "threshold.json").write_bytes(b'{"a": 1, "a": 2}')
    (folder / "prompts.yaml").write_bytes(b"name: \xff\xfe")
    found = codes(folder)
    assert {("empty", "LICENSE.txt"), ("syntax", "threshold.json"), ("encoding", "prompts.yaml")} <= found
    (folder / "threshold.json").write_bytes(b'{"a": NaN}')
    assert ("syntax", "threshold.json") in codes(folder)
    (folder / "LICENSE.txt").write_bytes(b"x" * 9_000_000)
    assert ("too-large", "LICENSE.txt") in codes(folder)


@pytest.mark.parametrize("secret", [TOKEN, PASSWORD])
def test_secrets_are_told_and_never_repeated(folder, secret) -> None:
    change(folder / "config.json", description=secret)
    told = [one for one in check_folder(folder) if one.code == "secret"]
    assert told
    assert all(secret[8:] not in f"{one.message}{one.advice}" for one in told)
    assert any("description" in one.message for one in told)


def test_a_home_folder_forbids_publishing_and_any_other_path_is_told(folder) -> None:
    change(folder / "config.json", description="Random, of /data/README.")
    rewrite(folder)
    assert codes(folder) == set()
    assert ("local-path", "config.json") in codes(folder, "notice")
    change(folder / "config.json", description="Random, of /home/ann/x.")
    rewrite(folder)
    assert ("local-path", "config.json") in codes(folder)


def test_a_card_that_grows_without_bound_when_it_is_read_is_not_read(folder) -> None:
    card = folder / "README.md"
    bomb = "".join(f"x{n}: &x{n} [{', '.join([f'*x{n - 1}'] * 9)}]\n" for n in range(1, 12))
    card.write_text(card.read_text().replace("---\n", f"---\nx0: &x0 [a]\n{bomb}", 1))
    assert ("card", "README.md") in codes(folder)
    assert check_card(card.read_text(), folder)[0].startswith("The card does not begin with metadata")


def test_the_names_of_this_computer_are_found_unless_they_are_meant(folder, monkeypatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "gpu-box-17.lab.example")
    monkeypatch.setattr("getpass.getuser", lambda: "annette")
    monkeypatch.setenv("HOME", "/home/annette")
    assert secrets.computer_names() == ("annette", "gpu-box-17", "gpu-box-17.lab.example")
    change(folder / "config.json", description="Trained by Annette on gpu-box-17.")
    rewrite(folder)
    assert {code for code, _ in codes(folder)} == {"computer-name"}
    found = check_folder(folder, for_repository="annette/random")
    assert found
    assert all("annette" not in one.message for one in found)
    change(folder / "config.json", description="Trained by Annette.")
    rewrite(folder)
    assert check_folder(folder, for_repository="annette/random") == []


def test_a_vocabulary_may_hold_paths_and_no_keys(folder) -> None:
    path = folder / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    words = tokenizer["model"]["vocab"]
    vocabulary = {**words, "/usr/bin/python": len(words), "password=hunter22": len(words) + 1}
    path.write_text(json.dumps({**tokenizer, "model": {**tokenizer["model"], "vocab": vocabulary}}))
    assert not {code for code, file in codes(folder) if file == path.name}
    vocabulary[TOKEN] = len(vocabulary)
    path.write_text(json.dumps({**tokenizer, "model": {**tokenizer["model"], "vocab": vocabulary}}))
    assert ("secret", "tokenizer.json") in codes(folder)
