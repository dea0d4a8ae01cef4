"""``verticlip liveness calibrate``, as a user types it."""

from __future__ import annotations

import json

import pytest
from liveness import make_captures as captures
from liveness.models import make_models
from verticlip.domains.liveness.calibration.threshold import load_thresholds


@pytest.fixture
def manifest(tmp_path, monkeypatch):
    """A development set, and any model name stands for a random one."""
    import verticlip.api

    monkeypatch.setattr(verticlip.api, "from_pretrained", lambda name, **options: make_models.handle())
    return captures.write_set(tmp_path)


def test_thresholds_are_chosen_stored_and_used(run, manifest, tmp_path):
    out_file = tmp_path / "made" / "threshold.json"
    status, out, err = run(
        "liveness", "calibrate", manifest, "--model", "m", "--out", out_file, "--mode", "balanced", "--mode",
        "convenient", "--rule", "dev_bpcer=0.2",
    )  # fmt: skip
    assert status == 0
    assert [one.name for one in load_thresholds(out_file)] == ["balanced", "convenient", "dev_bpcer=0.2"]
    lines = out.splitlines()
    assert lines[0].startswith("mode        rule")
    assert lines[1].startswith("balanced    dev_eer")
    assert "n 6)" in lines[1]
    assert "warning: dev_eer on 6 bona fide presentations" in err
    assert "expect them to be worse on any other" in err
    assert f"wrote {out_file}" in err
    picture = manifest.parent / "dev0-print.png"
    status, out, err = run(
        "liveness", "check", picture, "--model", "m", "--threshold", out_file, "--mode", "balanced", "--json"
    )
    assert status == 0
    assert json.loads(out)["threshold"]["provenance"].startswith("dev_eer on drawn: 6 bona fide, 12 attacks")
    assert "on that set: max APCER" in err


def test_json(run, manifest, tmp_path):
    status, out, _ = run(
        "liveness", "calibrate", manifest, "--model", "m", "--out", tmp_path / "t.json", "--rule", "dev_eer",
        "--temperature", "--json",
    )  # fmt: skip
    assert status == 0
    said = json.loads(out)
    assert [one["rule"] for one in said["thresholds"]] == ["dev_eer"]
    assert said["thresholds"][0]["achieved"]["bpcer"]["n"] == 6
    assert said["files"][0].endswith("t.json")


def test_a_manifest_without_splits(run, manifest, tmp_path):
    text = manifest.read_text().replace(",split,", ",").replace(",dev,", ",")
    manifest.write_text(text)
    arguments = (
        "liveness",
        "calibrate",
        manifest,
        "--model",
        "m",
        "--out",
        tmp_path / "t.json",
        "--mode",
        "balanced",
    )
    status, _, err = run(*arguments)
    assert status == 1
    assert "no column 'split'" in err
    assert run(*arguments, "--split", "dev")[0] == 0


def test_people_of_the_test_set_stop_it(run, manifest, tmp_path):
    other = tmp_path / "other.csv"
    other.write_text(manifest.read_text().replace(",dev,", ",test,"))
    status, _, err = run(
        "liveness", "calibrate", manifest, "--model", "m", "--out", tmp_path / "t.json", "--test", other
    )
    assert status == 1
    assert "drawn/s0 (dev and test)" in err
    assert not (tmp_path / "t.json").exists()


def test_both_manifests_start_from_the_root(run, manifest, tmp_path):
    apart = tmp_path / "lists"
    apart.mkdir()
    captures.write_set(tmp_path, split="test", first=50)
    for name in ("dev.csv", "test.csv"):
        (tmp_path / name).rename(apart / name)
    arguments = (
        "liveness", "calibrate", apart / "dev.csv", "--model", "m", "--out", tmp_path / "t.json", "--mode",
        "balanced", "--test", apart / "test.csv",
    )  # fmt: skip
    assert run(*arguments)[0] == 1
    assert run(*arguments, "--root", tmp_path)[0] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "t.txt"], "name a file that ends in .json"),
        (["--out", "temperature.json", "--temperature"], "this name is for the temperature"),
        (["--out", "t.json", "--mode", "securest"], "Did you mean 'secure'?"),
        (["--out", "t.json", "--rule", "fixed=0.5"], "not found on a development set"),
    ],
)
def test_usage(run, manifest, arguments, message):
    status, out, err = run("liveness", "calibrate", manifest, "--model", "m", *arguments)
    assert (status, out) == (1, "")
    assert message in err
