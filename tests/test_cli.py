"""The command line: data on stdout, talk on stderr, and the four exit statuses."""

from __future__ import annotations

import json
import os
import re
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from verticlip import cli
from verticlip.core.errors import DataError


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A labelled folder: red and blue_square, three images each."""
    root = tmp_path_factory.mktemp("labelled")
    for channel, name in ((0, "red"), (2, "blue_square")):
        (root / name).mkdir()
        for index in range(3):
            pixels = np.zeros((20, 24, 3), np.uint8)
            pixels[..., channel] = 100 + 40 * index
            Image.fromarray(pixels).save(root / name / f"{index}.png")
    return root


@pytest.fixture
def with_bad(images: Path, tmp_path: Path) -> Path:
    root = Path(shutil.copytree(images, tmp_path / "labelled"))
    (root / "red" / "bad.png").write_bytes(b"nonsense")
    return root


def rows(out: str) -> list[dict]:
    return [json.loads(line) for line in out.splitlines()]


def test_version_and_help(run) -> None:
    from verticlip import __version__

    assert run("--version") == (0, f"{__version__}\n", "")
    status, out, _ = run("--help")
    assert status == 0
    for command in ("models", "classify", "embed", "train", "evaluate", "verify", "doctor", "demo"):
        assert command in out


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["classify", "x.png"], "Missing option '--model'"),
        (["classify", "--model", "m"], "Missing argument"),
        (["nothing"], "No such command 'nothing'"),
        (
            ["embed", "x", "--model", "m", "--out", "o", "--batch-size", "0"],
            "Invalid value for '--batch-size'",
        ),
        (["train", "run", "r", "--data", "d"], "Missing option '--out'"),
        (["doctor", "--unknown"], "No such option"),
    ],
)
def test_wrong_usage_exits_with_two(run, arguments, match: str) -> None:
    status, out, err = run(*arguments)
    assert (status, out) == (2, "")
    assert match in err


def test_an_error_is_one_line_and_debug_shows_where(run) -> None:
    status, out, err = run("classify", "x.png", "--model", "medical/tinny")
    assert (status, out) == (1, "")
    assert err.startswith("error: No model called 'medical/tinny'. Did you mean 'medical/tiny'?")
    assert err.count("\n") == 1
    status, _, err = run("classify", "x.png", "--model", "medical/tinny", "--debug")
    assert status == 1
    assert "Traceback" in err


def test_unexpected_errors_show_only_their_type(run, monkeypatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("Patient^Name")

    monkeypatch.setattr("verticlip.core.verify.replay", broken)
    status, out, err = run("verify", "core", "case")
    assert (status, out) == (1, "")
    assert err == "error: unexpected RuntimeError. Run the command again with --debug to see where.\n"


def test_warnings_become_notes(run, monkeypatch, tmp_path: Path) -> None:
    def warns(*_: object) -> None:
        warnings.warn("two\nlines", stacklevel=1)
        raise DataError("done")

    monkeypatch.setattr("verticlip.core.verify.replay", warns)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert run("verify", "core", tmp_path)[2] == "note: two lines\nerror: done\n"


def test_models_list_and_info(run, model_folder: Path) -> None:
    status, out, _ = run("models", "list", "--json")
    assert status == 0
    assert rows(out)[0]["name"] == "medical/tiny"
    status, out, _ = run("models", "list")
    assert status == 0
    assert out.splitlines()[1].split()[:2] == ["medical/tiny", "image+text"]
    status, out, _ = run("models", "info", model_folder, "--json")
    assert status == 0
    assert rows(out)[0]["embed_dim"] == 12
    assert rows(out)[0]["revision"].startswith("sha256:")
    assert "Apache-2.0" in run("models", "info", model_folder)[1]
    status, _, err = run("models", "info", "medical/tinny")
    assert status == 1
    assert "Did you mean" in err


def test_classify_prints_one_line_per_file(run, images: Path, model_folder: Path) -> None:
    files = [images / "red" / "0.png", images / "red" / "1.png"]
    status, out, err = run("classify", *files, "--model", model_folder, "--labels", "red, Cat")
    assert (status, err) == (0, "")
    assert [line.split("\t")[0] for line in out.splitlines()] == [str(path) for path in files]
    status, out, _ = run("classify", *files, "-m", model_folder, "--labels", "red, Cat", "--json")
    assert status == 0
    assert [list(row["scores"]) for row in rows(out)] == [["red", "Cat"]] * 2
    assert rows(out)[0]["meta"] == {"format": "PNG", "height": 20, "width": 24}


def test_one_bad_file_gives_three_and_only_bad_ones_give_one(run, with_bad: Path, model_folder: Path) -> None:
    good, bad = with_bad / "red" / "0.png", with_bad / "red" / "bad.png"
    status, out, err = run("classify", good, bad, good, "-m", model_folder, "--json")
    assert status == 3
    assert ["error" in row for row in rows(out)] == [False, True, False]
    assert err.count("\n") == 1
    assert str(bad) in err
    assert "not an image of a known format" in err
    assert run("classify", bad, "-m", model_folder)[0] == 1


def test_classify_with_a_prompt_file(run, images: Path, model_folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "pets.yaml"
    path.write_text(
        "name: pets\nclasses:\n  dog: [dog, a dog]\n  cat: [cat]\ntemplates: ['an image of {}']\n"
    )
    status, out, _ = run(
        "classify", images / "red" / "0.png", "-m", model_folder, "--prompts", path, "--json"
    )
    assert status == 0
    assert list(rows(out)[0]["scores"]) == ["dog", "cat"]
    path.write_text("name: pets\nclasses: {cat: [cat]}\nklasses: {}\n")
    status, _, err = run("classify", images / "red" / "0.png", "-m", model_folder, "--prompts", path)
    assert status == 1
    assert "unknown key 'klasses'" in err


@pytest.mark.parametrize(
    ("extra", "match"),
    [
        (["--labels", "red,,cat"], "Label 1 ('') is empty"),
        (["--labels", "red,red"], "read the same"),
        (["--labels", "x" * 20_001 + ",cat"], "over the limit of 20,000"),
        (["--load", "window"], "--load 'window' is not KEY=VALUE"),
        (["--dtype", "float8"], "dtype 'float8' is not offered"),
        (["--device", "nonsense"], "device 'nonsense' cannot be used"),
        (["--revision", "main"], "is a folder and has no revision"),
        (["--load", "window=lung"], "has no loader options; got window"),
    ],
)
def test_classify_refuses(run, images: Path, model_folder: Path, extra, match: str) -> None:
    status, out, err = run("classify", images / "red" / "0.png", "-m", model_folder, *extra)
    assert (status, out) == (1, "")
    assert match in err
    assert "Traceback" not in err


def test_embed_and_embed_again(run, with_bad: Path, model_folder: Path, tmp_path: Path) -> None:
    from pyarrow import parquet

    out_file = tmp_path / "out.parquet"
    status, out, err = run("embed", with_bad, "-m", model_folder, "--out", out_file)
    assert (status, out) == (3, f"{out_file}\n")
    assert f"1 of 7 inputs failed; reasons in {out_file}.failed.jsonl" in err
    ids = parquet.read_table(out_file).column("id").to_pylist()
    assert ids == [
        "blue_square/0.png",
        "blue_square/1.png",
        "blue_square/2.png",
        "red/0.png",
        "red/1.png",
        "red/2.png",
    ]
    before = out_file.read_bytes()
    status, out, _ = run("embed", with_bad, "-m", model_folder, "--out", out_file, "--json")
    assert status == 3
    assert rows(out)[0] == {
        "out": str(out_file),
        "embedded": 6,
        "failed": 1,
        "failures": f"{out_file}.failed.jsonl",
        "resumed_parts": 1,
    }
    assert out_file.read_bytes() == before
    status, _, err = run("embed", with_bad / "red", "-m", model_folder, "--out", out_file)
    assert status == 1
    assert "Delete it or choose another --out" in err


def test_embed_without_failures(run, images: Path, model_folder: Path, tmp_path: Path) -> None:
    status, _, err = run(
        "embed", images, "-m", model_folder, "--out", tmp_path / "out.parquet", "--workers", 1
    )
    assert (status, err) == (0, "")
    status, _, err = run("embed", tmp_path / "none", "-m", model_folder, "--out", tmp_path / "other.parquet")
    assert status == 1
    assert "none: no such file or folder" in err


def test_train_run_passes_its_options(run, monkeypatch, tmp_path: Path) -> None:
    from types import SimpleNamespace

    seen = {}

    def train(*given: object, **options: object) -> SimpleNamespace:
        seen.update(options, given=given)
        return SimpleNamespace(
            model=tmp_path / "run" / "model", steps=7, resumed_from=3, metrics={"score": 1.0}
        )

    monkeypatch.setattr("verticlip.api.train", train)
    arguments = ["train", "run", "medical/tiny", "--data", tmp_path, "--out", tmp_path / "run"]
    status, out, _ = run(*arguments, "--set", "epochs=1", "--set", "seed=2", "--no-resume", "--json")
    assert status == 0
    assert rows(out) == [
        {"model": str(tmp_path / "run" / "model"), "steps": 7, "resumed_from": 3, "metrics": {"score": 1.0}}
    ]
    assert seen["given"] == ("medical/tiny", tmp_path, tmp_path / "run")
    assert (seen["overrides"], seen["resume"]) == (["epochs=1", "seed=2"], False)
    assert run(*arguments)[1] == f"{tmp_path / 'run' / 'model'}\n"


def test_evaluate_writes_report_and_figure(run, with_bad: Path, model_folder: Path, tmp_path: Path) -> None:
    out_folder = tmp_path / "report"
    arguments = ["evaluate", "zero-shot", "-m", model_folder, "--data", with_bad, "--out", out_folder]
    status, out, err = run(*arguments, "--json")
    assert status == 3
    report = rows(out)[0]
    assert report == json.loads((out_folder / "report.json").read_text())
    assert report["class_names"] == ["blue_square", "red"]
    assert report["rows"] == 6
    for name in ("accuracy", "balanced_accuracy", "macro_f1", "auc", "calibration_error"):
        assert report[name]["low"] <= report[name]["value"] <= report[name]["high"]
    assert np.sum(report["confusion"], axis=1).tolist() == [3, 3]
    assert report["failed"][0]["id"] == "red/bad.png"
    assert Image.open(report["confusion_png"]).format == "PNG"
    assert "red/bad.png: " in err
    status, out, _ = run(*arguments)
    assert status == 3
    assert out.splitlines()[1].startswith("accuracy")


def test_evaluate_matches_folders_to_labels_by_their_words(
    run, images: Path, model_folder: Path, tmp_path
) -> None:
    arguments = ["evaluate", "zero-shot", "-m", model_folder, "--data", images, "--out", tmp_path, "--json"]
    status, out, _ = run(*arguments, "--labels", "Red Square,cat,blue")
    assert status == 0
    assert rows(out)[0]["class_names"] == ["Red Square", "cat", "blue"]
    assert [sum(row) for row in rows(out)[0]["confusion"]] == [3, 0, 3]
    status, _, err = run(*arguments, "--labels", "cat,blue")
    assert status == 1
    assert "The folder 'red' is none of the labels: cat, blue" in err


def test_folders_of_the_brain_data_mean_classes_of_the_medical_prompts() -> None:
    from verticlip.core.prompts import PromptSet
    from verticlip.core.registry import room
    from verticlip.evaluation import match_folders

    prompts = PromptSet.load(room("medical").folder / "prompts" / "tiny.yaml")
    folders = ["glioma_tumor", "meningioma_tumor", "no_tumor", "pituitary_tumor", "RBC", "Platelets"]
    found = match_folders(folders, prompts)
    names = ["glioma", "meningioma", "no tumor", "pituitary tumor", "red blood cell", "platelet"]
    assert [prompts.class_names[found[folder]] for folder in folders] == names
    with pytest.raises(DataError, match=r"'gliom' is none of the labels: .*Did you mean 'glioma'"):
        match_folders(["gliom"], prompts)


def test_json_has_no_infinity(capsys) -> None:
    from verticlip.core.console import print_json

    print_json([{"a": float("nan"), "b": (1.5, float("inf")), "c": Path("x"), "d": None, "e": True}])
    assert rows(capsys.readouterr().out) == [{"a": "nan", "b": [1.5, "inf"], "c": "x", "d": None, "e": True}]


def test_evaluate_asks_for_a_split(run, images: Path, model_folder: Path, tmp_path: Path) -> None:
    root = tmp_path / "split"
    for split in ("train", "test"):
        shutil.copytree(images, root / split)
    arguments = ["evaluate", "zero-shot", "-m", model_folder, "--data", root, "--out", tmp_path / "out"]
    status, _, err = run(*arguments)
    assert status == 1
    assert "has the splits test, train. Choose one" in err
    status, out, _ = run(*arguments, "--split", "test", "--json")
    assert status == 0
    assert (rows(out)[0]["split"], rows(out)[0]["rows"]) == ("test", 6)


def test_evaluate_without_one_usable_image(run, model_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "data" / "red").mkdir(parents=True)
    (tmp_path / "data" / "red" / "bad.png").write_bytes(b"nonsense")
    status, out, err = run(
        "evaluate", "zero-shot", "-m", model_folder, "--data", tmp_path / "data", "--labels", "red,cat"
    )
    assert (status, out) == (1, "")
    assert "none of 1 images could be used. First: " in err


@pytest.fixture
def case(tmp_path: Path) -> Path:
    """A loss whose value is known by hand: softmax over one match of e against three of 1."""
    folder = tmp_path / "case"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"case": "open_clip.clip_loss"}))
    features = torch.eye(4)
    save_file(
        {"image_features": features, "text_features": features.clone(), "logit_scale": torch.tensor(1.0)},
        folder / "inputs.safetensors",
    )
    loss = torch.log(torch.tensor(4.0 - 1.0) + torch.e) - 1
    save_file({"loss": loss}, folder / "outputs.safetensors")
    return folder


def test_verify_prints_each_output(run, case: Path) -> None:
    status, out, err = run("verify", "core", case)
    assert (status, err) == (0, "")
    assert out.splitlines()[1].split()[0] == "loss"
    assert out.splitlines()[1].split()[-1] == "ok"
    status, out, _ = run("verify", "core", case, "--json")
    assert status == 0
    assert rows(out)[0]["status"] == "ok"
    assert rows(out)[0]["error"] <= rows(out)[0]["tolerance"]


def test_verify_fails_over_the_tolerance(run, case: Path) -> None:
    save_file({"loss": torch.tensor(9.0), "more": torch.zeros(1)}, case / "outputs.safetensors")
    status, out, err = run("verify", "core", case)
    assert status == 1
    assert "OVER" in out
    assert "not replayed" in out
    assert "error: core open_clip.clip_loss: 2 of 2 outputs failed." in err
    save_file({"loss": torch.tensor(float("inf"))}, case / "outputs.safetensors")
    status, out, _ = run("verify", "core", case, "--json")
    assert status == 1
    assert rows(out)[0]["error"] == "inf"


def test_doctor(run) -> None:
    status, out, _ = run("doctor", "--json")
    assert status == 0
    facts = rows(out)[0]
    assert set(facts) == {"versions", "devices", "extras", "others", "models", "cache"}
    assert "torchaudio" in facts["others"]
    assert facts["versions"]["torch"] == torch.__version__.split("+")[0]
    assert "cpu" in facts["devices"]
    assert facts["extras"]["medical"]
    assert "medical/tiny" in facts["models"]
    assert "torch" in run("doctor")[1]


def test_demo_classifies_real_files(run, monkeypatch, model_folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("pydicom")
    folder = Path(shutil.copytree(model_folder, tmp_path / "medical"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "domain": "medical"}))
    monkeypatch.setattr(cli, "_DEMO_MODEL", str(folder))
    status, out, err = run("demo", "--json")
    assert status == 0
    assert len(rows(out)) == len(cli._DEMO_FILES) + 1
    assert all(set(row["scores"]) == set(cli._DEMO_LABELS) for row in rows(out))
    assert "not a medical device" in err
    assert "drawn head" in run("demo")[1]


def test_a_name_that_is_not_utf8_is_escaped(run, model_folder: Path, images: Path, tmp_path: Path) -> None:
    path = os.fsdecode(os.fsencode(tmp_path) + b"/na\xefve.png")
    shutil.copy(images / "red" / "0.png", path)
    status, out, err = run("classify", path, "--model", model_folder)
    assert (status, err) == (0, "")
    assert out.startswith(f"{tmp_path}/na\\udcefve.png\t")
    status, out, _ = run("classify", path, "--model", model_folder, "--json")
    assert (status, rows(out)[0]["id"]) == (0, path)


def test_what_the_system_refuses_is_one_line_with_the_place(run, model_folder, images, tmp_path) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    status, out, err = run("embed", images, "--model", model_folder, "--out", in_the_way / "v.parquet")
    assert (status, out) == (1, "")
    assert err.startswith(f"error: {in_the_way}/v.parquet.parts: Not a directory. Check that the folder")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("option", "match"),
    [
        ("window=[1,2", r"--load 'window=\[1,2': the value cannot be read"),
        ("limits=3", "--load limits is not a loader option"),
    ],
)
def test_loader_options_that_cannot_be_used(run, model_folder, images, option: str, match: str) -> None:
    status, out, err = run("classify", images / "red" / "0.png", "--model", model_folder, "--load", option)
    assert (status, out) == (1, "")
    assert re.search(f"^error: {match}", err)


def test_a_failed_input_is_named_once_on_one_line(run, model_folder, tmp_path: Path) -> None:
    path = tmp_path / "two\nlines.png"
    path.write_bytes(b"nonsense")
    status, _, err = run("classify", path, "--model", model_folder)
    assert status == 1
    assert err.count("\n") == err.count("lines.png") == 1
