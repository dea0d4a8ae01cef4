"""``verticlip liveness evaluate``, as a user types it."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from liveness.evaluation import make_scores
from liveness.models import make_models
from PIL import Image
from verticlip.domains.liveness.calibration.threshold import Threshold, save_threshold
from verticlip.domains.liveness.evaluation.table import read_scores, write_scores


@pytest.fixture
def table(tmp_path):
    """Scores of a development and a test set."""
    rows = make_scores.population("dev", 4, seed=1) + make_scores.population("test", 4, seed=2)
    write_scores(tmp_path / "scores.csv", rows, paths=True)
    return tmp_path / "scores.csv"


@pytest.fixture
def faces(tmp_path):
    """Pictures of noise and a manifest of them."""
    rng = np.random.default_rng(0)
    rows = make_scores.both_splits()
    path = make_scores.write_manifest(tmp_path, rows)
    for video, *_ in rows:
        pixels = rng.integers(40, 200, (120, 120, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"manifest.csv-{video}.png")
    return path


@pytest.fixture
def small_model(monkeypatch):
    """Any model name stands for a random one."""
    import verticlip.api

    monkeypatch.setattr(verticlip.api, "from_pretrained", lambda name, **options: make_models.handle())


def test_a_score_table_becomes_a_report(run, table, tmp_path):
    status, out, err = run(
        "liveness", "evaluate", "--scores", table, "--resamples", "50", "--out", tmp_path / "report",
        "--trained-on", "casia, msu", "--beside", "OCI-M",
    )  # fmt: skip
    assert (status, err.count("wrote")) == (0, 4)
    assert "max APCER (" in out
    assert "dev_eer: development set of made-up" in out
    assert "Cross-dataset zero-shot: trained on casia, msu" in out
    assert "FLIP-MCL" in out
    assert "mp4" not in out
    found = json.loads((tmp_path / "report" / "report.json").read_text())
    assert found["at_threshold"]["iso"]["bpcer"]["n"] == 24
    kept = read_scores(tmp_path / "report" / "scores.csv")
    assert [row.margin for row in kept] == [row.margin for row in read_scores(table)]
    assert not any(row.path for row in kept)


def test_the_kept_table_gives_the_same_report_again(run, table, tmp_path):
    rows = read_scores(table)
    for part in ("dev", "test"):
        write_scores(tmp_path / f"{part}.csv", [replace(row, split="") for row in rows if row.split == part])
    arguments = ["--dev", tmp_path / "dev.csv", "--resamples", "20", "--json"]
    _, first, _ = run(
        "liveness", "evaluate", "--scores", tmp_path / "test.csv", *arguments, "--out", tmp_path / "a"
    )
    _, again, _ = run(
        "liveness", "evaluate", "--scores", tmp_path / "a" / "scores.csv", "--resamples", "20", "--json"
    )
    first, again = json.loads(first), json.loads(again)
    assert first["at_threshold"] == again["at_threshold"]
    assert first["threshold"] == again["threshold"]


def test_a_threshold_of_another_set(run, table, tmp_path):
    stored = [
        Threshold.at_margin(2.5, rule="dev_apcer=0.01", mode="secure", dataset="ours", n={"bona_fide": 40}),
        Threshold.at_margin(0.5, rule="dev_eer", mode="balanced", dataset="ours", n={"bona_fide": 40}),
    ]
    save_threshold(stored, tmp_path / "threshold.json")
    arguments = (
        "liveness",
        "evaluate",
        "--scores",
        table,
        "--threshold",
        tmp_path / "threshold.json",
        "--json",
    )
    for mode, margin in (("secure", 2.5), ("balanced", 0.5)):
        status, out, _ = run(*arguments, "--mode", mode, "--resamples", "0")
        found = json.loads(out)
        assert (status, found["threshold"]["margin"], found["threshold"]["mode"]) == (0, margin, mode)
        wrong = [row for row in read_scores(table) if row.split == "test" and row.is_live and row.margin is not None and row.margin < margin]  # fmt: skip
        assert found["at_threshold"]["iso"]["bpcer"]["errors"] == len(wrong)


def test_a_model_judges_a_manifest(run, faces, small_model, tmp_path):
    status, out, err = run(
        "liveness", "evaluate", faces, "--model", "some/model", "--resamples", "20", "--out", tmp_path / "report",
        "--worst", "1",
    )  # fmt: skip
    assert status == 0, err
    assert out.splitlines()[0].startswith(("some/model", "WARNING"))
    found = json.loads((tmp_path / "report" / "report.json").read_text())
    assert found["presentations"]["by_species"] == {"bona_fide": 3, "display": 2, "print": 2}
    assert found["fingerprint"]
    rows = read_scores(tmp_path / "report" / "scores.csv")
    assert {row.split for row in rows} == {"dev", "test"}
    assert all(row.margin is not None for row in rows)


def test_a_threshold_of_another_system_stops_before_anything_is_scored(run, faces, small_model, tmp_path):
    from verticlip.domains.liveness.detector import LivenessDetector

    other = LivenessDetector(make_models.handle(), aggregator="median").fingerprint
    stored = Threshold.at_margin(0.5, rule="dev_eer", dataset="ours", n={"bona_fide": 9}, fingerprint=other)
    save_threshold(stored, tmp_path / "threshold.json")
    status, out, err = run(
        "liveness", "evaluate", faces, "--model", "m", "--threshold", tmp_path / "threshold.json"
    )
    assert (status, out) == (1, "")
    assert "made for another detector; different: way frames are combined (mean here, median there)" in err


def test_unreadable_files_are_partial_success(run, faces, small_model):
    broken = next(path for path in faces.parent.glob("*.png") if "test0" in path.name)
    broken.write_bytes(b"no picture")
    status, out, err = run("liveness", "evaluate", faces, "--model", "m", "--resamples", "0")
    assert status == 3
    assert "1 presentations could not be read and are not counted, first test0_2.5." in out
    assert "not read: test0_2.5: not an image of a known format" in err


def test_without_video_ids_paths_are_said_and_not_kept(run, faces, small_model, tmp_path):
    lines = faces.read_text().splitlines()
    rows = [line.split(",") for line in lines]
    faces.write_text("\n".join(",".join([row[0], *row[2:]]) for row in rows) + "\n")
    broken = next(path for path in faces.parent.glob("*.png") if "test0" in path.name)
    broken.write_bytes(b"no picture")
    out = tmp_path / "report"
    status, _, err = run("liveness", "evaluate", faces, "--model", "m", "--resamples", "0", "--out", out)
    assert status == 3
    assert f"not read: {broken.name}: not an image" in err
    assert ".png" not in (out / "report.json").read_text().replace("det.png", "")


def test_subjects_in_two_splits_stop(run, small_model, tmp_path):
    rows = [(video, species, "7", part) for video, species, _, part in make_scores.both_splits()]
    status, _, err = run("liveness", "evaluate", make_scores.write_manifest(tmp_path, rows), "--model", "m")
    assert status == 1
    assert "made-up/7 (dev and test)" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Name a manifest with --model, or a score table with --scores."),
        (["m.csv"], "Name the model that judges the manifest"),
        (["m.csv", "--scores", "TABLE"], "--scores stands instead of a manifest and a model"),
        (["--scores", "TABLE", "--rule", "dev_err"], "Did you mean 'dev_eer'?"),
        (["--scores", "TABLE", "--rule", "dev_eer", "--mode", "secure"], "--rule stands alone"),
        (["--scores", "TABLE", "--mode", "securee"], "Did you mean 'secure'?"),
        (["--scores", "TABLE", "--trained-on", "none,casia"], "either none or data sets"),
        (["--scores", "TABLE", "--beside", "X-Y"], "No published result for 'X-Y'"),
        (["--scores", "TABLE", "--group-by", "age"], "No presentation has a group 'age'"),
        (["--scores", "TABLE", "--out", "TABLE"], "is a file. Name a folder."),
    ],
)
def test_usage(run, table, arguments, message):
    status, out, err = run(
        "liveness", "evaluate", *(table if word == "TABLE" else word for word in arguments)
    )
    assert (status, out) == (1, "")
    assert message in err


def test_never_trained_for_liveness(run, table):
    _, out, _ = run("liveness", "evaluate", "--scores", table, "--trained-on", "none", "--resamples", "0")
    assert "Prompt zero-shot" in out


def test_a_model_that_is_told_the_categories_is_prompt_zero_shot(run, faces, monkeypatch):
    import verticlip.api

    monkeypatch.setattr(verticlip.api, "from_pretrained", lambda name, **_: make_models.handle("contrastive"))
    status, out, err = run(
        "liveness", "evaluate", faces, "--model", "m", "--taxonomy", "default", "--resamples", "0", "--json"
    )
    assert status == 0, err
    assert json.loads(out)["zero_shot"]["kind"] == "prompt zero-shot"


def test_a_trained_model_with_other_texts_is_not_called_untrained(run, faces, small_model):
    arguments = ("liveness", "evaluate", faces, "--model", "m", "--taxonomy", "default", "--resamples", "0", "--json")  # fmt: skip
    status, out, err = run(*arguments)
    assert status == 0, err
    assert json.loads(out)["zero_shot"]["kind"] == "not stated"
    _, out, _ = run(*arguments, "--trained-on", "casia")
    assert json.loads(out)["zero_shot"]["kind"] == "cross-dataset zero-shot"


def test_results_of_another_target_are_warned_of(run, table):
    status, _, err = run("liveness", "evaluate", "--scores", table, "--beside", "OCI-M", "--resamples", "0")
    assert status == 0
    assert "warning: scores: judged on made-up, made-up-too; the target of OCI->M is msu-mfsd" in err


def test_few_shot(run, faces, small_model):
    lines = faces.read_text().splitlines()
    cells = lines[-1].split(",")
    (faces.parent / "shot.png").write_bytes((faces.parent / cells[0]).read_bytes())
    shot = ",".join(["shot.png", "shot", *cells[2:-1], "train"])
    rows = [f"{lines[0]},few_shot", *(f"{line}," for line in lines[1:]), f"{shot},1"]
    faces.write_text("\n".join(rows) + "\n")
    arguments = ("liveness", "evaluate", faces, "--model", "m", "--resamples", "0", "--json")
    status, _, err = run(*arguments)
    assert status == 1
    assert "few_shot" in err
    status, out, err = run(*arguments, "--few-shot")
    assert status == 0, err
    assert json.loads(out)["zero_shot"]["kind"] == "few-shot"


def test_ways_to_take_and_combine_frames_are_part_of_the_system(run, faces, small_model):
    def fingerprint(*options):
        status, out, err = run(
            "liveness", "evaluate", faces, "--model", "m", "--resamples", "0", "--json", *options
        )
        assert status == 0, err
        return json.loads(out)["fingerprint"]

    found = [
        fingerprint(),
        fingerprint("--sampling", "flip_mcio"),
        fingerprint("--aggregator", "min_k"),
        fingerprint("--aggregator", "min_k", "--min-k", "3"),
    ]
    assert len(set(found)) == 4


def test_a_threshold_from_one_set_is_applied_to_another(run, faces, small_model, tmp_path):
    threshold = tmp_path / "threshold.json"
    status, _, err = run(
        "liveness", "calibrate", faces, "--model", "m", "--rule", "dev_eer", "--out", threshold
    )
    assert status == 0, err
    status, out, err = run(
        "liveness",
        "evaluate",
        faces,
        "--model",
        "m",
        "--threshold",
        threshold,
        "--out",
        tmp_path / "a",
        "--json",
    )
    assert status == 0, err
    found, stored = json.loads(out), json.loads(threshold.read_text())["thresholds"][0]
    assert found["threshold"]["margin"] == stored["margin"]
    assert "dev_eer on made-up" in found["threshold"]["source"]
    rows = read_scores(tmp_path / "a" / "scores.csv")
    refused = sum(row.is_live and row.margin < stored["margin"] for row in rows)
    assert found["at_threshold"]["iso"]["bpcer"]["errors"] == refused
    assert {row.split for row in rows} == {"test"}, "the development set is not scored for nothing"
