"""Linear probes by recipe: fitted on frozen embeddings, saved, and used on the command line."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import verticlip
from verticlip.core import probe
from verticlip.core.data import Record
from verticlip.core.errors import ConfigError, DataError
from verticlip.core.heads.classifiers import LinearProbe
from verticlip.core.heads.pointer import HeadPointer, read_pointer, save_pointed_head

RECIPE = """
kind: probe
name: shapes-probe
summary: circles or squares
seed: 3
start: {model: MODEL}
data:
  sources: [{name: shapes, path: photos, origin: drawn}]
  validation: {fraction: 0.25}
probe: {fractions: [0.25, 1.0], seeds: [0, 1]}
"""


@pytest.fixture(scope="module")
def recipe(shapes, model_folder) -> Path:
    path = shapes / "probe.yaml"
    path.write_text(RECIPE.replace("MODEL", str(model_folder)))
    return path


@pytest.fixture(scope="module")
def finished(recipe, shapes, tmp_path_factory):
    return verticlip.train(recipe, shapes, tmp_path_factory.mktemp("probes") / "a")


def test_shares_and_seeds_are_fitted_and_judged(finished):
    small, whole = finished.metrics["probes"]
    assert (small["fraction"], small["training_images"]) == (0.25, 8)
    assert (whole["fraction"], whole["training_images"]) == (1.0, 36)
    assert len(small["seeds"]["balanced_accuracy"]) == 2
    assert len(whole["seeds"]["balanced_accuracy"]) == 1, "all labels are the same for every seed"
    assert small["mean"]["auc"] == pytest.approx(np.mean(small["seeds"]["auc"]))
    report = whole["report"]
    assert report["accuracy"]["low"] <= report["accuracy"]["value"] <= report["accuracy"]["high"]
    assert report["rows"] == 12
    assert finished.metrics["classes"] == ["circle", "square"]
    assert finished.metrics["chance"] == 0.5
    assert "chance 0.500" in finished.summary


def test_a_share_has_whole_groups_also_where_they_hold_several_classes():
    # Patients with a sick and a healthy side: half of the labels must not have one side of a patient.
    records = [Record(id=f"{n}", path=f"{n}.png", label="ab"[n % 2], group=f"p{n // 2}") for n in range(40)]
    training = probe._Embedded(records, torch.eye(40), np.arange(40) % 2)
    for seed in range(3):
        part = probe._share(training, ["a", "b"], fraction=0.25, seed=seed)
        assert len(part.records) == 10
        sides = [sum(one.group == group for one in part.records) for group in {r.group for r in part.records}]
        assert set(sides) == {2}
    small = probe._share(training, ["a", "b"], fraction=0.001, seed=0)
    assert {record.label for record in small.records} == {"a", "b"}


def test_the_saved_head_gives_the_reported_score(finished, shapes, model_folder):
    model = verticlip.from_pretrained(model_folder)
    rows = [json.loads(line) for line in (finished.folder / "manifest.jsonl").read_text().splitlines()]
    rows = [row for row in rows if row["split"] == "val"]
    answers = model.classify([shapes / row["path"] for row in rows], head=finished.model)
    hits = np.mean([answer.label == row["label"] for answer, row in zip(answers, rows, strict=True)])
    assert hits == pytest.approx(finished.metrics["probes"][-1]["report"]["accuracy"]["value"])
    pointer = read_pointer(finished.model)
    assert (pointer.model, pointer.revision) == (str(model_folder), model.revision)


def test_a_finished_probe_is_read_and_another_is_not_mixed_with_it(recipe, shapes, finished):
    again = verticlip.train(recipe, shapes, finished.folder)
    assert again.metrics == finished.metrics
    with pytest.raises(ConfigError, match="holds a run of another recipe .* --no-resume"):
        verticlip.train(recipe, shapes, finished.folder, overrides=["seed=4"])


def test_the_card_says_what_it_is(finished):
    card = (finished.model / "README.md").read_text()
    assert "A linear classifier on the embeddings of `random` (sha256:" in card
    assert "Classes: circle, square." in card
    assert not re.search(r"\{\w+\}", card), "a placeholder was left"
    assert "| 25 % | 8 |" in card


def test_choosing_the_strength_looks_at_training_rows_only(recipe, shapes, tmp_path, monkeypatch):
    seen = []
    original = LinearProbe.fit.__func__

    def fit(cls, embeddings, targets, names, **options):
        if options.get("validation") is not None:
            seen.append(len(embeddings) + len(options["validation"][0]))
        return original(cls, embeddings, targets, names, **options)

    monkeypatch.setattr(LinearProbe, "fit", classmethod(fit))
    result = verticlip.train(recipe, shapes, tmp_path / "a", overrides=["probe.fractions=[1.0]"])
    assert seen == [36]
    fixed = verticlip.train(recipe, shapes, tmp_path / "b", overrides=["probe.c=0.316"])
    assert len(seen) == 1
    assert fixed.metrics["probes"][-1]["c"] == [0.316]
    assert result.metrics["probes"][-1]["c"][0] > 0


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ("probe.fractions=[0]", ConfigError, "greater than 0"),
        ("probe.fractions=[1.5]", ConfigError, "less than or equal to 1"),
        ("image={size: 8}", ConfigError, "reads images as its model does"),
        ("evaluation.min_above_chance=0.6", DataError, "the recipe asks for 0.6 more"),
        ("start=null", ConfigError, "a probe needs start"),
        ("data.sources=[{name: a, path: photos/circle}]", DataError, "no usable rows"),
    ],
)
def test_bad_probes_say_what_is_wrong(recipe, shapes, tmp_path, change, error, message):
    with pytest.raises(error, match=message):
        verticlip.train(recipe, shapes, tmp_path / "x", overrides=[change])
    assert not (tmp_path / "x" / "head").exists()


def run(monkeypatch, capsys, *arguments) -> tuple[int, str, str]:
    from verticlip import cli

    monkeypatch.setattr(sys, "argv", ["verticlip", *map(str, arguments)])
    try:
        cli.main()
        status = 0
    except SystemExit as stop:
        status = int(stop.code or 0)
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_the_round_trip_on_the_command_line(recipe, shapes, tmp_path, monkeypatch, capsys):
    out = tmp_path / "run"
    status, printed, said = run(monkeypatch, capsys, "train", "run", recipe, "--data", shapes, "--out", out)
    assert (status, printed.strip()) == (0, str(out / "head"))
    assert "balanced accuracy" in said
    files = sorted((shapes / "photos" / "circle").glob("*.png"))[:4]
    status, printed, _ = run(monkeypatch, capsys, "classify", *files, "--head", out / "head", "--json")
    rows = [json.loads(line) for line in printed.splitlines()]
    assert status == 0
    assert all(set(row["scores"]) == {"circle", "square"} for row in rows)
    head = ["--head", out / "head", "--model", "medical/tiny"]
    status, _, said = run(monkeypatch, capsys, "classify", *files, *head)
    assert status == 1
    assert "Load that model, or fit the head again." in said
    status, _, said = run(monkeypatch, capsys, "classify", *files, "--head", shapes)
    assert (status, "holds no trained head" in said) == (1, True)
    labelled = ["--head", out / "head", "--labels", "a,b"]
    status, _, said = run(monkeypatch, capsys, "classify", *files, *labelled)
    assert (status, "Leave labels and templates out" in said) == (1, True)


def test_a_commit_and_a_hash_are_not_compared():
    pointer = HeadPointer(model="org/name", revision="a" * 40, processor="p")
    pointer.check("./copy", "sha256:0123", "p")
    with pytest.raises(ConfigError, match="fitted on org/name"):
        pointer.check("./copy", "sha256:0123", "q")
    with pytest.raises(ConfigError, match="fitted on org/name"):
        pointer.check("org/name", "b" * 40, "p")


def test_a_damaged_pointer_is_an_error(tmp_path):
    head = LinearProbe(torch.eye(2), torch.zeros(2), ["a", "b"], c=1.0)
    save_pointed_head(head, HeadPointer(model=None, revision="r", processor="p"), tmp_path / "model" / "head")
    assert read_pointer(tmp_path / "model" / "head").locate(tmp_path / "model" / "head") == str(
        (tmp_path / "model").resolve()
    )
    (tmp_path / "model" / "head" / "model.json").write_text('{"model": "a", "revision": "r"}')
    with pytest.raises(ConfigError, match="processor"):
        read_pointer(tmp_path / "model" / "head")


@pytest.mark.data
def test_the_packaged_recipe_on_real_images(data_dir, tmp_path):
    """A tenth of the brain images, so that it is quick; the numbers are those of a small sample."""
    import shutil

    for folder in sorted((data_dir / "medical" / "brain_mri" / "train").iterdir()):
        target = tmp_path / "data" / "brain_mri" / "train" / folder.name
        target.mkdir(parents=True)
        for path in sorted(folder.iterdir())[::12]:
            shutil.copy(path, target)
    result = verticlip.train(
        "medical/probe", tmp_path / "data", tmp_path / "out", overrides=["probe.fractions=[1.0]"]
    )
    assert result.metrics["probes"][-1]["mean"]["balanced_accuracy"] > 0.6
    assert result.metrics["start"]["id"] == "medical/tiny"
