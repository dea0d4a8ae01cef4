"""``verticlip liveness check``, as a user types it."""

from __future__ import annotations

import json

import pytest
from liveness import make_captures as captures
from liveness.models import make_models
from PIL import Image
from verticlip.domains.liveness.calibration.threshold import Threshold, save_threshold
from verticlip.domains.liveness.commands.options import read_sampling
from verticlip.domains.liveness.detector import LivenessDetector
from verticlip.domains.liveness.result import LivenessResult


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Pictures, and any model name stands for a random one."""
    import verticlip.api

    monkeypatch.setattr(verticlip.api, "from_pretrained", lambda name, **options: make_models.handle())
    place = tmp_path / "pictures"
    place.mkdir()
    Image.fromarray(captures.texture(1)).save(place / "a.png")
    Image.fromarray(captures.texture(2, low=0, high=30)).save(place / "dark.png")
    Image.fromarray(captures.texture(3, side=40)).save(place / "small.png")
    (place / "notes.txt").write_text("no picture")
    return place


@pytest.fixture
def threshold(tmp_path):
    """A file of two modes: secure refuses all, convenient accepts all."""
    made = LivenessDetector(make_models.handle()).fingerprint
    several = [
        Threshold.at_margin(
            margin, rule=rule, mode=mode, dataset="branch", n={"bona_fide": 3}, fingerprint=made
        )
        for margin, rule, mode in (
            (30.0, "dev_apcer=0.01", "secure"),
            (-30.0, "dev_bpcer=0.01", "convenient"),
        )
    ]
    return save_threshold(several, tmp_path / "threshold.json")


def test_a_folder_in_words(run, folder, threshold):
    status, out, err = run(
        "liveness", "check", folder, "--model", "m", "--threshold", threshold, "--mode", "secure"
    )
    assert status == 0
    lines = out.splitlines()
    assert lines[0].startswith(f"{folder}/a.png: ATTACK  P(live) ")
    assert lines[0].endswith("< 1.0000 (secure)")
    assert "dark.png: ATTACK" in out
    assert "failed, reported only: luma" in out
    assert f"{folder}/small.png: NO RESPONSE" in out
    assert "failed: face_size 40 px (at least 80)" in out
    assert "notes.txt" not in out
    assert "threshold: secure, dev_apcer=0.01 on branch: 3 bona fide, 0 attacks" in err


def test_json_and_report(run, folder, threshold, tmp_path):
    report = tmp_path / "report.json"
    status, out, err = run(
        "liveness", "check", folder, "--model", "m", "--threshold", threshold, "--mode", "convenient", "--json",
        "--out", report,
    )  # fmt: skip
    assert status == 0
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row["decision"] for row in rows] == ["live", "live", "no_response"]
    stored = json.loads(report.read_text())
    assert [row["decision"] for row in stored["results"]] == ["live", "live", "no_response"]
    assert stored["threshold"]["mode"] == "convenient"
    assert stored["fingerprint"]["digest"] == rows[0]["fingerprint"]
    assert "pixels" not in report.read_text()
    assert LivenessResult.from_dict(rows[0]).to_dict() == rows[0]
    assert f"wrote {report}" in err


def test_without_a_threshold_it_is_said_loudly(run, folder):
    status, out, err = run("liveness", "check", folder / "a.png", "--model", "m")
    assert status == 0
    assert "(uncalibrated)" in out
    assert "warning: no threshold was calibrated" in err


def test_bad_files_do_not_stop_the_others(run, folder):
    missing = folder / "missing.png"
    status, out, err = run("liveness", "check", missing, folder / "a.png", "--model", "m")
    assert status == 3
    assert "a.png" in out
    assert f"failed: {missing}: " in err
    status, out, _ = run("liveness", "check", missing, "--model", "m", "--json")
    assert status == 1
    assert json.loads(out)["id"] == str(missing)


def test_an_end_user_reads_the_decision_only(run, folder, threshold):
    status, out, _ = run(
        "liveness", "check", folder, "--model", "m", "--threshold", threshold, "--mode", "secure", "--explain",
        "end_user",
    )  # fmt: skip
    assert status == 0
    assert out.splitlines() == [
        "a.png: The check was not passed.",
        "dark.png: The check was not passed.",
        "small.png: The check could not be completed. Please try again.",
    ]


def test_maps_are_drawn_when_asked(run, folder, tmp_path):
    status, _, _ = run(
        "liveness", "check", folder / "a.png", "--model", "m", "--maps", tmp_path / "maps", "--json"
    )
    assert status == 0
    assert [path.name for path in (tmp_path / "maps").iterdir()] == ["0001-a.png"]


def test_gates_and_numbers(run, folder):
    status, out, _ = run(
        "liveness", "check", folder / "small.png", "--model", "m", "--gate", "face_size=30", "--gate",
        "sharpness=off", "--threshold", "0.000001", "--temperature", "2.5", "--json",
    )  # fmt: skip
    assert status == 0
    row = json.loads(out)
    assert (row["decision"], row["temperature"], row["threshold"]["mode"]) == ("live", 2.5, "custom")
    assert "sharpness" not in [check["name"] for check in row["quality"]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--mode", "secure"], "'secure' needs a threshold that was calibrated"),
        (["--mode", "secur"], "Did you mean 'secure'?"),
        (["--threshold", "none.json"], "neither a number nor a file"),
        (["--threshold", "test_eer"], "for evaluation only"),
        (["--gate", "sharpnes=3"], "Did you mean 'sharpness'?"),
        (["--gate", "sharpness"], "is not KEY=VALUE"),
        (["--out", "report.txt"], "name a file that ends in .json"),
        (["--maps", "maps", "--explain", "end_user"], "--maps is for operators"),
        (["--temperature", "cold"], "neither a number nor a file"),
        (
            ["--sampling", "flip"],
            "known are equidistant, every=SECONDS, flip_mcio, all. Did you mean 'flip_mcio'?",
        ),
        (["--sampling", "every"], "write --sampling every=0.5"),
        (["--sampling", "all=3"], "write --sampling all"),
        (["--sampling", "every=soon"], "--sampling: seconds: "),
        (["--sampling", "every=0.5", "--frames", "3"], "--frames counts equidistant frames"),
        (["--aggregator", "max"], "Unknown aggregator 'max'"),
        (["--yunet", "none.onnx"], "none.onnx"),
    ],
)
def test_usage(run, folder, arguments, message):
    status, out, err = run("liveness", "check", folder / "a.png", "--model", "m", *arguments)
    assert (status, out) == (1, "")
    assert message in err


def test_frames_and_how_they_count(run, folder, tmp_path):
    report = tmp_path / "r.json"
    status, _, _ = run(
        "liveness", "check", folder / "a.png", "--model", "m", "--sampling", "every=0.25", "--aggregator", "min_k",
        "--min-k", "3", "--out", report,
    )  # fmt: skip
    assert status == 0
    made = json.loads(report.read_text())["fingerprint"]
    assert (made["sampling"], made["aggregator"]) == ("every 0.25 s", "min_k 3")
    assert read_sampling(400).max_frames == 400
    assert read_sampling(None) is None


def test_the_model_of_the_package_stands_in(run, folder, monkeypatch):
    import verticlip.api

    asked = []
    made = make_models.handle()
    monkeypatch.setattr(verticlip.api, "from_pretrained", lambda name, **options: asked.append(name) or made)
    status, _, err = run("liveness", "check", folder / "a.png")
    assert (status, asked) == (0, ["liveness/minifasnet-v2"])
    assert "model: liveness/minifasnet-v2 (no --model was given)" in err
    assert "warning: no threshold was calibrated" in err
    status, _, err = run("liveness", "check", folder / "a.png", "--mode", "balanced")
    assert status == 1
    assert "verticlip liveness calibrate MANIFEST --model" in err


def test_an_empty_folder(run, folder, tmp_path):
    (tmp_path / "empty").mkdir()
    status, _, err = run("liveness", "check", tmp_path / "empty", "--model", "m")
    assert status == 1
    assert "no picture or film in this folder" in err
