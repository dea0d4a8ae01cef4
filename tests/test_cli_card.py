from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import verticlip


@pytest.fixture
def folder(tmp_path) -> Path:
    return shutil.copytree(
        Path(verticlip.__file__).parent / "domains/liveness/weights/minifasnet-v2", tmp_path / "m"
    )


def test_a_card_is_written_checked_and_shown(run, folder):
    card = folder / "README.md"
    text = card.read_text()
    assert run("hub", "card", folder, "--check") == (0, "", f"{card}: agrees with its folder\n")
    card.write_text(text.replace("apache-2.0", "mit", 1))
    status, out, err = run("hub", "card", folder, "--check")
    assert status == 1
    assert "license is 'mit'; the folder's records give 'apache-2.0'." in out
    assert err == f"{card}: 1 problems\n"
    status, out, _ = run("hub", "card", folder, "--dry-run")
    assert (status, out) == (0, text)
    assert "mit" in card.read_text().splitlines()[1]
    status, out, _ = run("hub", "card", folder, "--json")
    assert (status, json.loads(out)) == (0, {"card": str(card)})
    assert card.read_text() == text


def test_problems_as_json_and_a_missing_card(run, folder):
    (folder / "README.md").unlink()
    status, out, _ = run("hub", "card", folder, "--check", "--json")
    assert status == 1
    assert json.loads(out)["problems"] == ["There is no card; write one: verticlip hub card FOLDER."]


def test_a_folder_that_is_no_model_is_refused(run, tmp_path):
    status, out, err = run("hub", "card", tmp_path)
    assert (status, out) == (1, "")
    assert "config.json: no such file" in err
    assert not (tmp_path / "README.md").exists()
