from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from verticlip.core.checkpoint import read_weights
from verticlip.core.errors import ConfigError, DataError
from verticlip.core.recipe import dump_recipe, load_recipe
from verticlip.core.train import train
from verticlip.core.training_data import prepare_data


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def run(shapes: Path, out: Path, *overrides: str, **options):
    return train(shapes / "recipe.yaml", shapes, out, overrides=overrides, **options)


@pytest.fixture(scope="module")
def finished(shapes, tmp_path_factory):
    torch.set_num_threads(1)
    return run(shapes, tmp_path_factory.mktemp("runs") / "a")


def test_a_run_learns_and_leaves_a_whole_folder(finished):
    names = {path.name for path in finished.folder.iterdir()}
    assert {
        "recipe.yaml",
        "words.yaml",
        "manifest.jsonl",
        "metrics.jsonl",
        "curves.png",
        "run.json",
        "model",
    } <= names
    model = {path.name for path in finished.model.iterdir()}
    assert model == {
        "config.json", "metrics.json", "model.safetensors", "processor.json", "prompts.yaml", "recipe.yaml", "tokenizer.json",
    }  # fmt: skip
    rows = [json.loads(line) for line in (finished.folder / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [0, 16, 32, 48, 64, 80]
    assert rows[0]["train_loss"] is None
    assert finished.metrics["validation"]["score"] >= 0.8 > rows[0]["score"]
    assert finished.metrics["baseline"] == rows[0]
    accuracy = finished.metrics["validation"]["sources"]["shapes"]["accuracy"]
    assert accuracy["low"] <= accuracy["value"] <= accuracy["high"]
    assert "manifest.jsonl" not in model, "a model folder carries no list of the data"


def test_a_finished_run_is_not_trained_again(shapes, finished):
    again = run(shapes, finished.folder)
    assert again.resumed_from == again.steps == finished.steps
    assert again.metrics == finished.metrics


def test_the_resolved_recipe_reads_back(finished):
    loaded = load_recipe(finished.folder / "recipe.yaml")
    assert dump_recipe(loaded.recipe) == (finished.folder / "recipe.yaml").read_text()


def test_the_same_recipe_gives_the_same_weights(shapes, finished, tmp_path):
    again = run(shapes, tmp_path / "b")
    assert_same_weights(again.model, finished.model)


def assert_same_weights(first: Path, second: Path) -> None:
    ours, theirs = (read_weights(folder / "model.safetensors") for folder in (first, second))
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert torch.equal(tensor, theirs[name]), name


KILLED = """
import sys, torch
torch.set_num_threads(1)
from verticlip.core.train import train
train(sys.argv[1] + "/recipe.yaml", sys.argv[1], sys.argv[2])
"""


@pytest.mark.slow
def test_a_killed_run_ends_as_if_it_had_not_been(shapes, finished, tmp_path):
    out = tmp_path / "killed"
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(shapes), str(out)], env={**os.environ})
    checkpoint = out / "checkpoints" / "last.ckpt"
    deadline = time.monotonic() + 120
    while not (checkpoint.is_file() and _steps(checkpoint) >= 5) and time.monotonic() < deadline:
        assert process.poll() is None, "the run ended before it could be killed"
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (out / "model").exists()
    resumed = run(shapes, out)
    assert 0 < resumed.resumed_from < resumed.steps == finished.steps
    assert resumed.resumed_from % 4 != 0 or resumed.resumed_from >= 5
    assert_same_weights(resumed.model, finished.model)
    drop = ("seconds",)
    rows = [
        [
            {k: v for k, v in json.loads(line).items() if k not in drop}
            for line in path.read_text().splitlines()
        ]
        for path in (out / "metrics.jsonl", finished.folder / "metrics.jsonl")
    ]
    assert rows[0] == rows[1]


def _steps(checkpoint: Path) -> int:
    return int(torch.load(checkpoint, weights_only=True)["global_step"])


@pytest.mark.parametrize("stop_after", [3, 8, 9])
def test_resuming_inside_an_epoch_and_at_its_end_is_exact(
    shapes, finished, tmp_path, monkeypatch, stop_after
):
    """Stops by an exception after a number of steps, then continues: no process start, so it is quick."""
    from verticlip.core.objectives.pairwise import InfoNCE

    original, calls = InfoNCE.forward, []

    def failing(self, outputs, batch):
        # The validation loss asks the objective as well.
        calls.extend([1] * self.training)
        if len(calls) > stop_after:
            raise KeyboardInterrupt
        return original(self, outputs, batch)

    monkeypatch.setattr(InfoNCE, "forward", failing)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        run(shapes, tmp_path / "stopped")
    monkeypatch.setattr(InfoNCE, "forward", original)
    resumed = run(shapes, tmp_path / "stopped")
    assert resumed.resumed_from == stop_after
    assert_same_weights(resumed.model, finished.model)


def test_a_folder_of_another_run_is_not_mixed(shapes, finished, tmp_path):
    with pytest.raises(ConfigError, match="holds a run of another recipe .* --no-resume"):
        run(shapes, finished.folder, "optim.lr=0.02")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("keep")
    with pytest.raises(ConfigError, match="not empty and not a run folder"):
        run(shapes, tmp_path / "mine", resume=False)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "keep"


def test_a_run_killed_while_it_claims_its_folder_can_go_on(shapes, tmp_path, monkeypatch):
    from verticlip.core import train as module

    write = module.write_text_atomic

    def killed(path, text):
        if path.name == "words.yaml":
            raise KeyboardInterrupt
        write(path, text)

    monkeypatch.setattr(module, "write_text_atomic", killed)
    with pytest.raises(KeyboardInterrupt):
        run(shapes, tmp_path / "k")
    monkeypatch.undo()
    torch.set_num_threads(1)
    result = run(shapes, tmp_path / "k", resume=True)
    assert (result.model / "recipe.yaml").is_file()


def test_no_resume_starts_again(shapes, tmp_path):
    first = run(shapes, tmp_path / "c", "epochs=1", "evaluation.min_above_chance=0")
    second = run(shapes, tmp_path / "c", "epochs=2", "evaluation.min_above_chance=0", resume=False)
    assert (first.steps, second.steps, second.resumed_from) == (4, 8, 0)


def test_a_loss_that_is_not_finite_stops_the_run(shapes, tmp_path, monkeypatch):
    from verticlip.core.objectives.pairwise import InfoNCE

    monkeypatch.setattr(
        InfoNCE, "forward", lambda self, outputs, batch: {"loss": outputs.logit_scale * float("nan")}
    )
    with pytest.raises(
        DataError, match="The loss is nan at step 0. Lower optim.lr or look at these samples: shapes/"
    ):
        run(shapes, tmp_path / "nan")
    assert not (tmp_path / "nan" / "model").exists()


def test_a_result_at_chance_fails(shapes, tmp_path):
    with pytest.raises(DataError, match="chance is 0.500 and the recipe asks for 0.49 more"):
        run(
            shapes,
            tmp_path / "low",
            "optim.lr=1e-9",
            "optim.warmup_steps=0",
            "epochs=1",
            "evaluation.min_above_chance=0.49",
        )
    assert not (tmp_path / "low" / "model").exists()


def test_early_stop(shapes, tmp_path):
    options = [
        "evaluation.every_epochs=1",
        "evaluation.patience=1",
        "epochs=50",
        "optim.lr=1e-9",
        "checkpoint_steps=100",
    ]
    result = run(shapes, tmp_path / "stop", *options, "evaluation.min_above_chance=0", "optim.ema_decay=null")
    assert result.steps < 50 * 4


@pytest.mark.parametrize(("frozen", "learns"), [("text", "image"), ("image", "text")])
def test_a_frozen_tower_stays(shapes, tmp_path, frozen, learns):
    from verticlip.core.model import ContrastiveModel

    options = ["epochs=1", "evaluation.min_above_chance=0", "optim.ema_decay=null"]
    result = run(shapes, tmp_path / "f", f"freeze=[{frozen}]", *options)
    data = prepare_data(load_recipe(shapes / "recipe.yaml"), shapes)
    torch.manual_seed(3)
    fresh = ContrastiveModel(data.model_config).state_dict()
    trained = read_weights(result.model / "model.safetensors")
    # The image tower has batch norm, whose statistics must stay as well.
    assert all(torch.equal(trained[name], fresh[name]) for name in fresh if f".{frozen}." in name)
    assert not torch.equal(trained[f"projections.{learns}.weight"], fresh[f"projections.{learns}.weight"])


def test_an_unknown_tower_cannot_be_frozen(shapes, tmp_path):
    with pytest.raises(ConfigError, match="freeze: the model has no 'audio'"):
        run(shapes, tmp_path / "g", "freeze=[audio]")


@pytest.mark.parametrize(
    ("override", "error", "message"),
    [
        ("optim.lrr=1", ConfigError, "no setting 'optim.lrr'. Did you mean 'lr'"),
        ("epochs", ConfigError, "is not key=value"),
        ("optim.lr=[", ConfigError, "'\\[' is not a YAML value"),
        ("optim.lr.high=1", ConfigError, "no setting 'optim.lr.high'"),
        ("epochs=0", ConfigError, "greater than or equal to 1"),
        ("objective.name=infonse", ConfigError, "infonse"),
        ("data.sources=[{name: a, path: nowhere}]", DataError, "nowhere does not exist"),
        ("data.sources=[{name: a, path: photos, reader: dicoms}]", ConfigError, "none of folder, csv, jsonl"),
        ("data.sources=[{name: a, path: photos, labels: {circle: disc}}]", ConfigError, "no class 'disc'"),
        (
            "data.sources=[{name: a, path: photos, labels: {circles: circle}}]",
            ConfigError,
            "Did you mean 'circles'",
        ),
        ("data.sources=[{name: a, path: ../photos}]", ConfigError, "leaves the folder"),
        ("model.towers.image.options={checkpoint_path: x}", ConfigError, "is refused"),
    ],
)
def test_bad_recipes_fail_before_anything_is_written(shapes, tmp_path, override, error, message):
    with pytest.raises(error, match=message):
        run(shapes, tmp_path / "x", override)
    assert not (tmp_path / "x").exists() or not any((tmp_path / "x").iterdir())


def test_unknown_recipes_and_missing_prompts(shapes, tmp_path):
    with pytest.raises(ConfigError, match="No recipe called 'medical/tinny'. Did you mean 'medical/tiny'"):
        train("medical/tinny", shapes, tmp_path)
    (tmp_path / "r.yaml").write_text(
        (shapes / "recipe.yaml").read_text().replace("prompts: words", "prompts: other")
    )
    with pytest.raises(ConfigError, match=r"prompt set 'other' not found; looked for other.yaml in"):
        train(tmp_path / "r.yaml", shapes, tmp_path / "out")
    with pytest.raises(DataError, match="no such data folder"):
        train(shapes / "recipe.yaml", tmp_path / "none", tmp_path / "out")


def test_unreadable_images_are_left_out_until_there_are_too_many(shapes, tmp_path, caplog):
    import shutil

    shutil.copytree(shapes, tmp_path / "d")
    (tmp_path / "d" / "photos" / "circle" / "0.png").write_bytes(b"not a picture")
    data = prepare_data(load_recipe(tmp_path / "d" / "recipe.yaml"), tmp_path / "d")
    assert len(data.manifest) == 47
    assert "1 of 48 images cannot be read" in caplog.text
    for number in range(1, 9):
        (tmp_path / "d" / "photos" / "circle" / f"{number}.png").write_bytes(b"not a picture")
    with pytest.raises(DataError, match=r"9 of 48 images cannot be read.*More than 5% stops a run"):
        prepare_data(load_recipe(tmp_path / "d" / "recipe.yaml"), tmp_path / "d")


def test_a_source_without_validation_images_gets_some_and_its_test_part_is_left_alone(shapes, tmp_path):
    import shutil

    for part in ("circle", "square"):
        for number, path in enumerate(sorted((shapes / "photos" / part).iterdir())):
            where = tmp_path / "photos" / ("test" if number < 4 else "train") / part
            where.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, where)
    for name in ("recipe.yaml", "words.yaml"):
        shutil.copy(shapes / name, tmp_path)
    data = prepare_data(load_recipe(tmp_path / "recipe.yaml"), tmp_path)
    found = {
        split: {record.path for record in data.manifest if record.split == split}
        for split in data.manifest.splits
    }
    assert {name: len(paths) for name, paths in found.items()} == {"test": 8, "train": 30, "val": 10}
    assert all("/test/" in path for path in found["test"])
    assert all(record.split == "train" for record in data.loader.records)


def test_packaged_recipes_are_valid():
    loaded = load_recipe("medical/tiny")
    assert loaded.recipe.name == "medical/tiny"
    assert loaded.recipe.with_(["epochs=3"]).epochs == 3
    assert loaded.recipe.digest != loaded.recipe.with_(["epochs=3"]).digest


def test_modality_batches_name_the_source(shapes, tmp_path):
    import shutil

    shutil.copytree(shapes, tmp_path / "d")
    for path in (tmp_path / "d" / "photos").rglob("*.png"):
        inverted = tmp_path / "d" / "negatives" / path.relative_to(tmp_path / "d" / "photos")
        inverted.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(255 - np.asarray(Image.open(path))).save(inverted)
    words = {"photos": "a photo", "negatives": "a negative"}
    sources = [{"name": name, "path": name, "modality_captions": [text]} for name, text in words.items()]
    loaded = load_recipe(tmp_path / "d" / "recipe.yaml")
    recipe = loaded.recipe.with_([f"data.sources={json.dumps(sources)}"]).with_(["data.modality_share=0.9"])
    data = prepare_data(type(loaded)(recipe, loaded.prompts), tmp_path / "d")
    known = {
        name: _token_rows(data.processor("text", [text, f"a picture of a {text}"]))
        for name, text in words.items()
    }
    named = 0
    for batch in data.loader:
        origins = [record.split("/")[0] for record in batch.ids]
        if batch.labels.tolist() == [list(words).index(origin) for origin in origins]:
            rows = _token_rows(batch.inputs["text"], unique=False)
            assert all(row in known[origin] for row, origin in zip(rows, origins, strict=True))
            named += 1
    assert named >= 0.6 * len(data.loader)
    with pytest.raises(ConfigError, match="modality_share needs modality_captions"):
        loaded.recipe.with_(["data.modality_share=0.5"])


def _token_rows(inputs: dict, *, unique: bool = True):
    rows = [tuple(row[row > 0].tolist()) for row in inputs["input_ids"]]
    return set(rows) if unique else rows


def test_schedules_warm_up_fall_and_stay():
    from verticlip.core.objectives.base import build_objective
    from verticlip.core.optim_config import OptimConfig
    from verticlip.core.trainee import make_optimizer

    model, objective = torch.nn.Linear(2, 2), build_objective("infonce")

    def factors(**settings: object) -> list[float]:
        config = OptimConfig.model_validate({"lr": 2.0, "warmup_steps": 4, **settings})
        made = make_optimizer(model, objective, config, 20)  # pyright: ignore[reportArgumentType]
        factor = made["lr_scheduler"]["scheduler"].lr_lambdas[0]
        return [factor(step) for step in range(20)]

    linear = factors(schedule="linear", decay_steps=14, final_share=0.1)
    assert linear[:4] == [0.25, 0.5, 0.75, 1.0]
    assert linear[9] == pytest.approx(0.55)
    assert linear[14:] == pytest.approx([0.1] * 6)
    cosine = factors(final_share=0.1)
    assert cosine[12] == pytest.approx(0.55)
    assert factors(schedule="cosine", decay_steps=14)[14:] == pytest.approx([0.0] * 6)
    assert set(factors(schedule="constant")[4:]) == {1.0}


def test_rates_fall_in_steps_at_shares_of_the_run():
    from verticlip.core.optim_config import OptimConfig
    from verticlip.core.trainee import make_optimizer

    config = OptimConfig(lr=0.1, name="sgd", nesterov=False, schedule="steps", milestones=(0.4, 0.6, 0.88))
    made = make_optimizer(torch.nn.Linear(2, 2), None, config, 50)  # pyright: ignore[reportArgumentType]
    factor = made["lr_scheduler"]["scheduler"].lr_lambdas[0]
    rates = [factor(step) for step in range(50)]
    assert [rates[step] for step in (0, 19, 20, 29, 30, 43, 44, 49)] == pytest.approx(
        [1, 1, 0.1, 0.1, 0.01, 0.01, 0.001, 0.001]
    )
    assert made["optimizer"].param_groups[0]["nesterov"] is False
    for wrong in ({"schedule": "steps"}, {"milestones": (0.5,)}):
        with pytest.raises(ValueError, match="schedule steps needs them"):
            OptimConfig.model_validate({"lr": 0.1, **wrong})


def test_adam_takes_weight_decay_as_part_of_the_gradient():
    from verticlip.core.optim_config import OptimConfig
    from verticlip.core.trainee import make_optimizer

    def trained(name: str) -> tuple[torch.Tensor, torch.Tensor]:
        torch.manual_seed(0)
        model = torch.nn.Linear(3, 2)
        config = OptimConfig.model_validate(
            {"name": name, "lr": 0.1, "weight_decay": 0.5, "decay": "all", "betas": (0.9, 0.999)}
        )
        optimizer = make_optimizer(model, None, config, 5)["optimizer"]  # pyright: ignore[reportArgumentType]
        before = model.weight.detach().clone()
        for _ in range(3):
            optimizer.zero_grad()
            model(torch.ones(1, 3)).sum().backward()
            optimizer.step()
        return before, model.weight.detach()

    before, after = trained("adam")
    expected, mean, square = before.clone(), torch.zeros_like(before), torch.zeros_like(before)
    for step in range(1, 4):
        gradient = 1 + 0.5 * expected
        mean = 0.9 * mean + 0.1 * gradient
        square = 0.999 * square + 0.001 * gradient.square()
        expected = expected - 0.1 * (mean / (1 - 0.9**step)) / ((square / (1 - 0.999**step)).sqrt() + 1e-6)
    torch.testing.assert_close(after, expected)
    assert not torch.allclose(trained("adamw")[1], after, atol=1e-3)
