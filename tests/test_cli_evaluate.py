"""``verticlip evaluate``: sets, prompts, pairs and folders from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def colon(tmp_path: Path) -> Path:
    """A fabricated LC25000_colon of four images."""
    for index, name in enumerate(("colon_aca", "colon_n")):
        folder = tmp_path / "data" / "LC25000_colon" / name
        folder.mkdir(parents=True)
        for number in range(2):
            pixels = np.full((20, 20, 3), 60 * index + 30 * number, np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}.png")
    return tmp_path / "data"


@pytest.fixture
def words(tmp_path: Path) -> Path:
    """A prompt set for LC25000_colon in words the random model knows."""
    path = tmp_path / "words.yaml"
    path.write_text(
        "name: words\ntemplates: ['{}', 'an image of {}']\n"
        "classes: {Benign colonic tissue: [no tumor], Colon adenocarcinoma: [tumor]}\n"
    )
    return path


def rows(out: str) -> list[dict]:
    return [json.loads(line) for line in out.splitlines()]


def test_sets_are_listed(run) -> None:
    status, out, err = run("evaluate", "sets")
    assert status == 0
    assert out.splitlines()[1].startswith("chexpert-5x200  X-ray")
    assert len(out.splitlines()) == 1 + 23 + 7 + 2, "a header, and the sets of three rooms"
    assert "--json" in err
    status, out, _ = run("evaluate", "sets", "--json")
    listed = {row["set"]: row for row in rows(out)}
    assert listed["PCAM"]["classes"] == ["Lymph node", "Lymph node containing metastatic tumor tissue"]
    assert "123_0.png" in listed["PCAM"]["expects"]


def test_prompts_are_listed_and_shown(run) -> None:
    status, out, _ = run("evaluate", "prompts")
    assert status == 0
    assert any(line.startswith("chest-xray-findings ") for line in out.splitlines())
    assert {"name", "modality", "summary"} == set(rows(run("evaluate", "prompts", "--json")[1])[0])
    status, out, _ = run("evaluate", "prompts", "dr_regular", "--json")
    assert [row["class"] for row in rows(out)] == [
        "no_dr",
        "mild_dr",
        "moderate_dr",
        "severe_dr",
        "full_stage4_dr",
    ]
    assert "microaneurysms" in run("evaluate", "prompts", "dr_regular")[1]
    status, _, err = run("evaluate", "prompts", "dr_regulr")
    assert status == 1
    assert "Did you mean 'dr_regular'?" in err


def test_one_set(run, colon: Path, words: Path, model_folder: Path, tmp_path: Path) -> None:
    (colon / "LC25000_colon" / "colon_n" / "bad.png").write_bytes(b"nonsense")
    arguments = [
        "evaluate",
        "set",
        "LC25000_colon",
        "-m",
        model_folder,
        "--data",
        colon,
        "--out",
        tmp_path / "out",
    ]
    status, out, err = run(*arguments, "--prompts", words)
    assert status == 3
    assert out.splitlines()[1].startswith("accuracy  ")
    assert "colon_n/bad.png" in err
    assert "4 images; report in" in err
    status, out, _ = run(*arguments, "--prompts", words, "--json")
    assert rows(out)[0] == json.loads((tmp_path / "out" / "report.json").read_text())
    assert rows(out)[0]["prompt_set"] == "words 1"
    bank = tmp_path / "bank.json"
    bank.write_text(json.dumps({"colon adenocarcinoma": ["tumor"], "benign colonic tissue": ["no tumor"]}))
    status, out, _ = run(*arguments, "--bank", bank, "--ensemble", "raw", "--json")
    assert (rows(out)[0]["prompt_set"], rows(out)[0]["ensemble"]) == ("LC25000_colon of bank.json 1", "raw")
    status, _, err = run(*arguments, "--bank", bank, "--prompts", words)
    assert (status, err) == (1, "error: Give --prompts or --bank, not both.\n")


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("LC25000_color", "No evaluation set called 'LC25000_color'. Did you mean 'LC25000_colon'?"),
        ("BACH", "no files of BACH. Expected the table microscopy_ground_truth.csv"),
    ],
)
def test_what_is_not_there_shows_before_a_model_is_loaded(run, colon: Path, name: str, match: str) -> None:
    status, out, err = run("evaluate", "set", name, "-m", "no/such-model", "--data", colon)
    assert (status, out) == (1, "")
    assert match in err


def test_all_sets(run, colon: Path, model_folder: Path, tmp_path: Path) -> None:
    arguments = ["evaluate", "all", "-m", model_folder, "--data", colon, "--out", tmp_path / "out"]
    status, out, err = run(*arguments, "--json")
    assert status == 0
    assert list(rows(out)[0]["sets"]) == ["LC25000_colon"]
    assert err.count(" was not measured. ") == 20
    status, _, err = run(*arguments, "--sets", "PCAM,LC25000_lung")
    assert status == 1
    assert "no set could be measured." in err


def test_all_sets_of_a_real_model(run, colon: Path, tmp_path: Path) -> None:
    arguments = ["evaluate", "all", "-m", "medical/tiny", "--data", colon, "--out", tmp_path / "out"]
    status, out, err = run(*arguments, "--sets", "PCAM,LC25000_colon", "--device", "cpu")
    assert status == 0
    assert out.splitlines()[1].split()[:3] == ["LC25000_colon", "pathology", "4"]
    assert out.splitlines()[2].startswith("average of 1 sets")
    assert "PCAM was not measured. " in err
    assert json.loads((tmp_path / "out" / "table.json").read_text())["sets"]["LC25000_colon"]["images"] == 4


def test_pairs(run, colon: Path, model_folder: Path, tmp_path: Path) -> None:
    folder = colon / "LC25000_colon"
    table = tmp_path / "pairs.csv"
    table.write_text("image,text\ncolon_aca/0.png,red cat\ncolon_n/0.png,blue dog\n")
    arguments = ["evaluate", "retrieval", "-m", model_folder, "--pairs", table, "--images", folder]
    status, out, err = run(*arguments, "--out", tmp_path / "out")
    assert status == 0
    assert [line.split()[0] for line in out.splitlines()] == [
        "metric",
        "recall@1",
        "mrr",
        "median_rank",
        "mean_rank",
    ]
    assert "2 images, 2 texts; report in" in err
    status, out, _ = run(*arguments, "--out", tmp_path / "out", "--json")
    assert rows(out)[0] == json.loads((tmp_path / "out" / "retrieval.json").read_text())
    status, _, err = run(*arguments, "--out", tmp_path / "out", "--long-text", "first")
    assert status == 1
    assert "long_text is 'error', 'max' or 'mean'" in err


def test_a_folder_with_a_shipped_prompt_set(run, colon: Path, tmp_path: Path) -> None:
    data = tmp_path / "folders"
    for folder, name in (("colon_aca", "Colon adenocarcinoma"), ("colon_n", "normal_colon")):
        (data / name).mkdir(parents=True)
        for number in range(2):
            (colon / "LC25000_colon" / folder / f"{number}.png").rename(data / name / f"{number}.png")
    arguments = [
        "evaluate",
        "zero-shot",
        "-m",
        "medical/tiny",
        "--data",
        data,
        "--out",
        tmp_path / "out",
        "--json",
    ]
    status, out, _ = run(*arguments, "--prompts", "LC25000_colon")
    assert status == 0
    assert rows(out)[0]["class_names"] == ["Colon adenocarcinoma", "normal_colon"]
    status, _, err = run(*arguments, "--prompts", "LC25000_kolon")
    assert status == 1
    assert "Did you mean 'LC25000_colon'?" in err
