"""What the commands of the program and of every domain share."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer
from verticlip.core import registry
from verticlip.core.answers import Failure
from verticlip.core.commandline import (
    PARTIAL,
    check_file,
    check_folder,
    failure_line,
    finish,
    load_options,
    open_model,
    split_labels,
)
from verticlip.core.errors import ConfigError


def test_labels_are_split_at_commas() -> None:
    assert split_labels(None) is None
    assert split_labels("red, blue sky,") == ["red", "blue sky", ""]


def test_loader_options_are_read_as_yaml() -> None:
    options = load_options(["window=lung", "size=[40, 80]", "frame=3", "name=a=b", "skip="])
    assert options == {
        "show_paths": True, "window": "lung", "size": [40, 80], "frame": 3, "name": "a=b", "skip": None,
    }  # fmt: skip
    for pair, match in (
        ("window", "is not KEY=VALUE"),
        ("a b=1", "is not KEY=VALUE"),
        ("limits=1", "--load limits is not a loader option"),
        ("size=[1", "the value cannot be read"),
    ):
        with pytest.raises(ConfigError, match=match):
            load_options([pair])


def test_a_failure_names_its_input_once() -> None:
    assert failure_line(Failure("a.dcm", "a.dcm: is\ncut")) == "a.dcm: is cut"
    assert failure_line(Failure("a.dcm", "is cut")) == "a.dcm: is cut"


@pytest.mark.parametrize(("failed", "total", "status"), [(1, 2, PARTIAL), (2, 2, 1)])
def test_exit_status(failed: int, total: int, status: int) -> None:
    finish(0, total)
    with pytest.raises(typer.Exit) as end:
        finish(failed, total)
    assert end.value.exit_code == status


def test_models_are_opened_by_what_the_program_hands_down() -> None:
    context = SimpleNamespace(obj=lambda *given: given)
    assert open_model(context, "name", None, "cpu", "auto") == ("name", None, "cpu", "auto")  # type: ignore[arg-type]


def test_a_room_without_commands_has_no_app() -> None:
    plain = registry.Room("none", registry.room("medical").folder, {}, {}, {}, {}, {}, {})
    assert not plain.commands
    assert isinstance(registry.room("medical").command_app("medical"), typer.Typer)
    assert registry.command_groups()["catalog"].name == "ecommerce"


def test_the_line_in_the_list_is_what_a_group_says_of_itself() -> None:
    for group, room in registry.command_groups().items():
        assert room.command_app(group).info.help == room.commands[group].help


def test_a_failure_is_one_safe_line() -> None:
    assert failure_line(Failure("a\n\x1b[2J.dcm", "a\n\x1b[2J.dcm: is\ncut")) == "a\\n\\x1b[2J.dcm: is cut"
    assert failure_line(Failure("caf\udce9.dcm", "is cut")) == "caf\\udce9.dcm: is cut"


def test_a_folder_for_results_is_checked_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_folder(tmp_path)
    check_folder(tmp_path / "new" / "deeper")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("kept")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(ConfigError, match="file is a file. Name a folder"):
            check_folder(place)
    check_file(tmp_path / "new" / "report.json", ".json")
    with pytest.raises(ConfigError, match="file is a file. Name a folder"):
        check_file(tmp_path / "file" / "report.json", ".json")
    (tmp_path / "folder.json").mkdir()
    for place in (tmp_path / "report.txt", tmp_path / "folder.json", tmp_path):
        with pytest.raises(ConfigError, match=r"name a file that ends in .json"):
            check_file(place, ".json")
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(ConfigError, match="may not be written to. Choose another folder"):
        check_folder(tmp_path / "new")
