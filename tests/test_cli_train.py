"""``verticlip train``: listing recipes and running one."""

from __future__ import annotations

import json


def test_recipes_are_listed(run):
    status, out, _ = run("train", "list", "--json")
    rows = [json.loads(line) for line in out.splitlines()]
    assert status == 0
    assert {"medical/tiny", "medical/probe", "medical/lora"} <= {row["name"] for row in rows}
    status, out, _ = run("train", "list")
    assert (status, "medical/unimed-pretrain" in out) == (0, True)


def test_a_run_says_how_good_it_is(run, shapes, tmp_path):
    changes = ["--set", "epochs=1", "--set", "evaluation.min_above_chance=0"]
    changes += ["--set", "model.licence=MIT", "--set", "model.description=For tests."]
    status, out, err = run(
        "train", "run", shapes / "recipe.yaml", "--data", shapes, "--out", tmp_path / "r", *changes
    )
    assert (status, out.strip()) == (0, str(tmp_path / "r" / "model"))
    assert "4 steps; validation score" in err
    assert "chance 0.500" in err


def test_a_start_that_is_not_there_is_one_line(run, shapes, tmp_path):
    recipe = ["train", "run", shapes / "recipe.yaml", "--data", shapes, "--out", tmp_path / "r"]
    status, _, err = run(*recipe, "--set", "start=./nowhere")
    assert status == 1
    assert err.strip() == (
        "error: ./nowhere: does not exist; expected a folder with config.json, processor.json, "
        "model.safetensors."
    )
