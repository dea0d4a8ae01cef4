"""The worked example: what it makes, that it continues, and what the command prints."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import verticlip
from verticlip.core.errors import ConfigError, InputError
from verticlip.domains.ecommerce.tasks import example
from verticlip.domains.ecommerce.tasks.example import run_example


@pytest.fixture(scope="module")
def model():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield verticlip.from_pretrained("ecommerce/tiny")
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def made(model, tmp_path_factory):
    said: list[str] = []
    return run_example(model, tmp_path_factory.mktemp("shop") / "out", products=20, tell=said.append), said


def test_a_shop_is_taken_in_searched_and_looked_through(made):
    report, said = made
    assert (report.products, report.rejected) == (23, 4)
    assert said[-1] == "23 of 27 rows taken in, 0 unchanged; 4 rejected, 1 without their picture"
    assert report.best["red striped dress"] == "D-000"
    assert report.best["the picture of N-003"] in ("N-003", "S-003")
    assert report.hit_recall_at_5 >= 0.9
    assert report.duplicates >= report.copies == 2
    for name in report.files.values():
        assert (report.folder / name).exists(), name
    assert json.loads((report.folder / "example.json").read_text()) == report.to_dict()


def test_pages_show_pictures_and_name_no_folder_of_this_machine(made):
    report, _ = made
    for page in sorted(report.folder.glob("*.html")):
        text = page.read_text(encoding="utf-8")
        assert text.count('src="data:image/') >= 4, page.name
        assert "<script" not in text
        assert str(report.folder.parent) not in text


def test_started_again_it_continues(model, made):
    report, _ = made
    said: list[str] = []
    again = run_example(model, report.folder, products=20, tell=said.append)
    assert again == report
    assert said[-1] == "0 of 27 rows taken in, 23 unchanged; 4 rejected, 0 without their picture"


def test_the_command_prints_files_and_what_they_amount_to(run, made, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, stdout, stderr = run("catalog", "example", "--out", "mine")
    assert status == 0, stderr
    assert "mine/duplicates.html" in stdout
    assert "of the labelled queries find a right product among five" in stderr
    monkeypatch.setattr(example, "run_example", lambda *_, **__: made[0])
    status, stdout, _ = run("catalog", "example", "--out", "mine", "--json")
    assert status == 0
    assert json.loads(stdout)["files"]["listed twice"] == "duplicates.html"


def test_what_cannot_be_made_is_refused(model, tmp_path: Path, run):
    with pytest.raises(InputError, match="at least 10 products, got 3"):
        run_example(model, tmp_path / "few", products=3)
    (tmp_path / "used" / "catalog").mkdir(parents=True)
    (tmp_path / "used" / "catalog" / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="not an empty folder"):
        run_example(model, tmp_path / "used", products=10)
    (tmp_path / "file").write_text("")
    status, _, stderr = run("catalog", "example", "--out", str(tmp_path / "file"))
    assert status != 0
    assert "is a file" in stderr
