"""The worked example: what it makes, that it continues, and what the command prints."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import verticlip
from verticlip.core.errors import ConfigError
from verticlip.domains.liveness.calibration.threshold import load_threshold
from verticlip.domains.liveness.protocols.manifest import read_manifest
from verticlip.domains.liveness.protocols.subjects import check_disjoint
from verticlip.domains.liveness.tasks import example
from verticlip.domains.liveness.tasks.example import NO_EVIDENCE, run_example


@pytest.fixture(scope="module")
def model():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield verticlip.from_pretrained("liveness/tiny")
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def made(model, tmp_path_factory):
    said: list[str] = []
    return run_example(model, tmp_path_factory.mktemp("example") / "out", things=10, tell=said.append), said


def test_the_way_from_manifest_to_answers(made):
    report, said = made
    assert said[0] == NO_EVIDENCE
    assert [line[:2] for line in said if line[0].isdigit()] == ["1.", "2.", "3.", "4."]
    assert "60 presentations, no subject in two splits" in "\n".join(said)
    assert "max APCER" in said[-2]
    assert report.notes[0] == NO_EVIDENCE
    for name in report.files.values():
        assert (report.folder / name).exists(), name
    assert {"manifest", "thresholds", "report", "scores", "answers"} <= set(report.files)
    assert json.loads((report.folder / "example.json").read_text()) == report.to_dict()


def test_splits_are_disjoint_and_hold_every_kind(made):
    report, _ = made
    entries = read_manifest(report.folder / "manifest.csv")
    check_disjoint(entries, by_content=True)
    assert {entry.split for entry in entries} == {"dev", "test"}
    for split in ("dev", "test"):
        assert report.presentations[split]["bona_fide"] == 10
        assert sum(report.presentations[split].values()) == 30
    assert set(report.presentations["dev"]) == set(report.presentations["test"])


def test_the_threshold_is_that_of_the_development_set(made):
    report, _ = made
    stored = load_threshold(report.folder / "threshold.json", mode="balanced")
    assert stored.value == report.threshold
    found = json.loads((report.folder / "report" / "report.json").read_text())
    assert found["at_threshold"]["oracle_threshold"] is False
    assert found["at_threshold"]["iso"]["apcer_max"] == report.apcer_max
    assert found["at_threshold"]["iso"]["bpcer"]["n"] == 10


def test_answers_hold_no_pixels_and_no_folder_of_this_machine(made):
    report, _ = made
    text = (report.folder / "answers.jsonl").read_text()
    rows = [json.loads(line) for line in text.splitlines()]
    assert {row["id"]: row["decision"] for row in rows} == report.decisions
    assert len(rows) == len(report.presentations["test"])
    assert all("pixels_png" not in row and row.get("embedding") is None for row in rows)
    for name in ("answers.jsonl", "example.json", "manifest.csv", "report/report.json", "threshold.json"):
        assert str(report.folder.parent) not in (report.folder / name).read_text()


def test_started_again_it_continues(model, made):
    report, _ = made
    said: list[str] = []
    again = run_example(model, report.folder, things=10, tell=said.append)
    assert again == report
    assert not any("simulated" in line for line in said[1:])


def test_a_folder_named_relative_to_here(model, made, monkeypatch):
    report, _ = made
    monkeypatch.chdir(report.folder.parent)
    again = run_example(model, report.folder.name, things=10)
    assert again.to_dict() == report.to_dict()


def test_too_few_things(model, tmp_path: Path):
    with pytest.raises(ConfigError, match="things is 9; with fewer than 10"):
        run_example(model, tmp_path, things=9)


def test_the_command_prints_files_decisions_and_the_caution(run, made, tmp_path, monkeypatch):
    report, _ = made
    monkeypatch.setattr(example, "run_example", lambda model, out, tell: report)
    status, out, err = run("liveness", "example", "--out", tmp_path / "x")
    assert status == 0
    assert "threshold.json" in out
    assert all(name in out for name in report.decisions)
    assert err.rstrip().endswith(NO_EVIDENCE)
    status, out, _ = run("liveness", "example", "--out", tmp_path / "x", "--json")
    assert json.loads(out)["threshold"] == report.threshold
    (tmp_path / "file").touch()
    status, _, err = run("liveness", "example", "--out", tmp_path / "file")
    assert (status, "is a file. Name a folder" in err) == (1, True)
