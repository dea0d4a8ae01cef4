from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file


@pytest.fixture
def folder(model_folder, tmp_path) -> Path:
    copied = tmp_path / "model"
    shutil.copytree(model_folder, copied)
    return copied


def test_a_certificate_is_printed_written_and_checked(run, tmp_path):
    status, out, err = run("hub", "verify", "ecommerce/tiny")
    assert status == 0, err
    printed = json.loads(out)
    assert (printed["schema"], printed["verdict"]) == ("verticlip.certificate/1", "verified")
    assert "\necommerce/tiny at sha256:" in err
    assert err.splitlines()[-1].startswith(
        "  note: no golden case of a reference implementation runs its timm"
    )
    assert "bert, answers" in err, "what the case runs of this model"
    assert "image.embedding" in err
    assert "unimed_clip/tiny_b16" in err

    path = tmp_path / "certificate.json"
    status, out, err = run("hub", "verify", "ecommerce/tiny", "--out", path)
    assert (status, out) == (0, "")
    assert f"wrote {path}" in err
    status, out, err = run("hub", "verify", "--check", path)
    assert (status, out) == (0, "")
    assert "whole" in err
    assert "the files here are those of the certificate" in err
    status, out, _ = run("hub", "verify", "--check", path, "--json")
    assert json.loads(out)["differences"] == []

    path.write_text(path.read_text().replace('"verified"', '"incomplete"'))
    status, out, err = run("hub", "verify", "--check", path)
    assert (status, out) == (1, "")
    assert "altered after it was made" in err


def test_a_folder_gets_a_probe_and_fails_once_it_is_changed(run, folder, tmp_path):
    assert run("hub", "verify", folder, "--strict", "--json")[0] == 1
    status, out, err = run("hub", "verify", folder, "--json")
    assert status == 0, "incomplete is no failure"
    assert json.loads(out)["verdict"] == "incomplete"
    assert err == ""
    status, out, err = run("hub", "probe", folder)
    assert status == 0
    assert "text.embedding" in out
    assert "probe.json and probe.safetensors hold" in err
    status, out, _ = run("hub", "probe", folder, "--json")
    assert json.loads(out)["model"] == "random"
    status, _, err = run("hub", "verify", folder, "--out", tmp_path / "c.json")
    assert status == 0
    assert "random at sha256:" in err
    assert ": verified\n" in err

    state = load_file(folder / "model.safetensors")
    state["logit_scale"] = state["logit_scale"] + 0.01
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    status, out, err = run("hub", "verify", folder)
    assert status == 1
    assert json.loads(out)["verdict"] == "failed"
    assert "DIFFERS" in err
    assert "over" in err
    (tmp_path / "failed.json").write_text(out)
    status, _, err = run("hub", "verify", folder, "--check", tmp_path / "failed.json")
    assert status == 1, "an honest certificate of a model that failed"
    assert "the files here are those of the certificate" in err
    assert "outputs differ" in err
    status, _, err = run("hub", "verify", folder, "--check", tmp_path / "c.json")
    assert status == 1
    assert "model.safetensors has SHA-256" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "Name a model, a folder or a Hub repository"),
        (("medical/tiny", "--out", "certificate.txt"), "name a file that ends in .json"),
        (("liveness/flip-mcl",), "verticlip models convert liveness/flip-mcl"),
        (("--check", "missing.json"), "missing.json: no such file"),
        (("--check", "c.json", "--revision", "main"), "leave --revision, --goldens and --out away"),
        (("medical/tiny", "--goldens", "nowhere"), "nowhere: no such folder"),
        (("medical/tiny", "--revision", "main"), "it has no revision 'main'"),
    ],
)
def test_wrong_use_is_told(run, arguments, message):
    status, out, err = run("hub", "verify", *arguments)
    assert (status != 0, out) == (True, "")
    assert message in err


def test_a_probe_needs_a_model_folder(run, tmp_path):
    status, _, err = run("hub", "probe", tmp_path / "none")
    assert status == 1
    assert "no such folder. Give a model folder." in err
    status, _, err = run("hub", "probe", tmp_path)
    assert status == 1
    assert "config.json" in err
