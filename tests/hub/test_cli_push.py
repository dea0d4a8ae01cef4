"""``verticlip hub push`` as a user types it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from local_hub.faults import Status
from verticlip.hub import packaged

NAME = "somebody/random"


@pytest.fixture
def hub(writable):
    return writable


def test_push_prints_files_address_commit_and_how_to_load_it(hub, folder, run) -> None:
    status, out, err = run("hub", "push", folder, NAME)
    commit = hub.repositories[NAME].branches["main"]
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].split() == ["file", "bytes", "sha256"]
    assert any(line.startswith("model.safetensors") and line.endswith("added") for line in lines)
    assert lines[-3:] == [
        f"{hub.endpoint}/{NAME} (public)",
        f"commit {commit}",
        f'verticlip.from_pretrained("{NAME}", revision="{commit}")',
    ]
    status, out, err = run("hub", "push", folder, NAME)
    assert (status, err) == (0, "")
    assert f"{hub.endpoint}/{NAME} (public; nothing changed)\ncommit {commit}\n" in out


def test_json_says_everything_on_one_line(hub, folder, run) -> None:
    (folder / "notes.txt").write_text("mine")
    status, out, _ = run("hub", "push", folder, NAME, "--json", "--private", "--message", "First")
    row = json.loads(out)
    assert (status, row["private"], row["changed"], row["dry_run"]) == (0, True, True, False)
    assert row["commit"] == hub.repositories[NAME].branches["main"]
    assert row["load"] == f'verticlip.from_pretrained("{NAME}", revision="{row["commit"]}")'
    assert len(row["files"]["config.json"]["sha256"]) == 64
    assert [(one["code"], one["level"]) for one in row["findings"]] == [("not-published", "notice")]
    assert hub.commits(NAME)[0].title == "First"


def test_a_dry_run_changes_nothing_and_needs_no_token(hub, online, folder, run) -> None:
    online.logout()
    status, out, err = run("hub", "push", folder, NAME, "--dry-run")
    assert status == 0
    assert f"{hub.endpoint}/{NAME} (would be committed; dry run, nothing was changed)" in out
    assert "from_pretrained" not in out
    assert "note: There is no such repository" in err
    assert not hub.repositories


def test_every_finding_is_told_with_what_to_do(hub, folder, run) -> None:
    (folder / "photo.png").write_bytes(b"\x89PNG\r\n")
    (folder / "a\x1b[2Jb.txt").write_text("")
    (folder / "probe.json").unlink()
    (folder / "notes.txt").write_text("")
    status, out, err = run("hub", "push", folder, NAME)
    assert status == 1
    assert "error   probe.json: The file is missing. [missing]\n        Write one: verticlip hub probe" in out
    assert "error   photo.png: It looks like data (image); a model folder holds none. [data-sample]" in out
    assert "\x1b" not in out
    assert "notice  notes.txt: Not a file of a model" in out
    assert err == "error: 3 errors: nothing was published.\n"
    status, out, err = run("hub", "push", folder, NAME, "--json")
    assert (status, len(json.loads(out)["findings"])) == (1, 4)
    assert not hub.requests


def test_errors_are_one_line_and_never_show_a_token(hub, online, folder, run) -> None:
    online.logout()
    status, _, err = run("hub", "push", folder, NAME)
    assert status == 1
    assert err.startswith(f"error: There is no token to publish {NAME} with. Run: hf auth login")
    online.login(hub.read_token)
    status, out, err = run("hub", "push", folder, NAME)
    assert (status, err.count("\n")) == (1, 1)
    assert "this token may not create it. Use one with write access" in err
    assert hub.read_token not in out + err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "Write: verticlip hub push FOLDER org/name"),
        (("somewhere",), "Write: verticlip hub push FOLDER org/name"),
        (("somewhere", "acme"), "'acme' is no name of a repository"),
        (("nowhere", "acme/x"), "nowhere: does not exist; give the folder of a model"),
        (("somewhere", "--packaged", "acme"), "--packaged publishes the models of this package"),
    ],
)
def test_wrong_usage(run, arguments, said) -> None:
    status, _, err = run("hub", "push", *arguments)
    assert status == 1
    assert said in err


@pytest.fixture
def two(model_folder, made_once, tmp_path, monkeypatch) -> list[str]:
    """A package of two models."""
    from dataclasses import replace

    known = packaged.packaged_models()
    names = ["medical/tiny", "urban/tiny"]
    specs = {}
    for name in names:
        folder = Path(shutil.copytree(made_once, tmp_path / name.replace("/", "-")))
        weights = replace(
            known[name][0].weights,
            files={one: packaged_hash(folder / one) for one in ("config.json", "model.safetensors")},
        )
        specs[name] = (replace(known[name][0], weights=weights), folder)
    monkeypatch.setattr(packaged, "packaged_models", lambda: specs)
    return names


def packaged_hash(path: Path) -> str:
    from verticlip.core.files import sha256_of

    return sha256_of(path)


def test_the_models_of_the_package_are_published_and_their_pins_printed(hub, two, run) -> None:
    status, out, err = run("hub", "push", "--packaged", "somebody")
    assert status == 0
    assert err.endswith("2 models are published under somebody.\n")
    for name in two:
        repository = f"somebody/{name.replace('/', '-')}"
        commit = hub.repositories[repository].branches["main"]
        assert f'# {name}\nWeightsRef(\n    repo_id="{repository}",\n    revision="{commit}",\n' in out
    status, out, _ = run("hub", "push", "--packaged", "somebody", "--json")
    rows = [json.loads(line) for line in out.splitlines()]
    assert [(row["model"], row["changed"]) for row in rows] == [(name, False) for name in two]
    assert "WeightsRef(" in rows[0]["weights_ref"]


def test_nothing_of_the_package_is_published_before_all_of_it_is_valid(hub, two, run, tmp_path) -> None:
    (tmp_path / "urban-tiny" / "photo.png").write_bytes(b"\x89PNG\r\n")
    status, out, err = run("hub", "push", "--packaged", "somebody")
    assert (status, err) == (1, "error: 1 error: nothing was published.\n")
    assert "error   somebody/urban-tiny: photo.png: It looks like data" in out
    (tmp_path / "urban-tiny" / "photo.png").unlink()
    hub.add_repository("somebody/urban-tiny", {"pytorch_model.bin": b"x"})
    status, _, err = run("hub", "push", "--packaged", "somebody")
    assert status == 1
    assert "somebody/urban-tiny holds files that verticlip did not publish" in err
    assert set(hub.repositories) == {"somebody/urban-tiny"}


def test_a_push_of_the_package_that_breaks_off_has_told_what_is_public(hub, two, run) -> None:
    hub.fault("/models/somebody/urban-tiny/commit/main", Status(500, method="POST"))
    status, out, err = run("hub", "push", "--packaged", "somebody")
    assert status == 1
    assert "# medical/tiny\nWeightsRef(" in out
    assert "# urban/tiny" not in out
    assert "somebody/urban-tiny: the Hub answers with status 500" in err


def test_nothing_of_the_package_is_published_where_one_cannot_be_looked_at(hub, two, run) -> None:
    hub.fault("/api/models/somebody/urban-tiny", Status(500, times=9, method="GET"))
    status, _, err = run("hub", "push", "--packaged", "somebody")
    assert status == 1
    assert "somebody/urban-tiny: the Hub answers with status 500" in err
    assert err.endswith("Nothing was published.\n")
    assert not hub.repositories


def test_a_model_of_the_package_that_was_changed_is_not_published(hub, two, run, tmp_path) -> None:
    with (tmp_path / "medical-tiny" / "config.json").open("a") as handle:
        handle.write(" ")
    status, _, err = run("hub", "push", "--packaged", "somebody", "--dry-run")
    assert status == 1
    assert "medical/tiny: config.json has SHA-256" in err
