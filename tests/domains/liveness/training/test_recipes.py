from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
import verticlip
from verticlip.core.model import build_model
from verticlip.core.recipe import LoadedRecipe, load_recipe
from verticlip.core.start import fill
from verticlip.core.train import train
from verticlip.domains.liveness import RECIPES as registered
from verticlip.domains.liveness.models.base import LivenessModel, liveness_options
from verticlip.domains.liveness.training.options import LivenessTrainingConfig

sys.path.insert(0, str(Path(__file__).parent))
from make_presentations import make_set
from make_start import OVERRIDES, RECIPES, SMALL, make_start

MINE = ("clipc8", "clipc8-pairs", "flip-it", "flip-mcl", "flip-v", "minifasnet")


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Two data sets in one manifest."""
    folder = tmp_path_factory.mktemp("data")
    tables = [
        make_set(folder, dataset=name, name=f"{name}.csv", subjects=8, seed=seed).read_text().splitlines()
        for seed, name in enumerate(("one", "two"))
    ]
    (folder / "presentations.csv").write_text("\n".join([*tables[0], *tables[1][1:]]))
    return folder


@pytest.mark.parametrize("name", MINE)
def test_recipes_train_at_reduced_size_and_their_models_load(name, data, tmp_path):
    start = make_start()
    loaded = load_recipe(RECIPES / f"{name}.yaml")
    recipe = LoadedRecipe(loaded.recipe.with_([*SMALL, *OVERRIDES[name]]), loaded.prompts)
    result = train(recipe, data, tmp_path / "run", start=lambda settings: start)
    assert result.steps == 4
    rows = result.metrics["rows_per_batch"]
    assert rows == {f"{one}, {kind}": 2 for one in ("one", "two") for kind in ("live", "attack")}
    assert result.metrics["validation"]["loss"] is not None
    model = verticlip.from_pretrained(result.model)
    assert isinstance(model.network, LivenessModel)
    assert model.config.domain == "liveness"
    before = start.network.state_dict()
    if name != "minifasnet":
        after = model.network.state_dict()
        moved = [key for key in before if key in after and not torch.equal(before[key], after[key])]
        assert any(key.startswith("towers.image") for key in moved)
        assert any(key.startswith("towers.text") for key in moved) == (name != "flip-v")
    if name.startswith("flip"):
        assert model.processor.config.image.mean == (0.485, 0.456, 0.406)


@pytest.mark.parametrize("name", MINE)
def test_recipes_say_what_a_card_needs_and_settle_the_published_figures(name):
    recipe = load_recipe(RECIPES / f"{name}.yaml").recipe
    options = LivenessTrainingConfig.model_validate(recipe.options)
    assert recipe.name == f"liveness/{name}"
    assert recipe.summary
    if name == "minifasnet":
        assert (recipe.optim.lr, recipe.optim.weight_decay, recipe.batch_size) == (0.1, 5e-4, 1024)
        assert options.crop is not None
        assert (options.crop.scale, options.crop.size, options.crop.shift) == (2.7, 80, True)
    else:
        optim = recipe.optim
        assert (optim.name, optim.lr, optim.weight_decay, optim.decay) == ("adam", 1e-6, 1e-6, "all")
        assert (optim.schedule, optim.clip_norm, optim.ema_decay) == ("constant", None, None)
        assert recipe.epochs * options.steps_per_epoch == 4000


def test_every_recipe_can_be_named():
    assert set(registered) == {path.stem for path in RECIPES.glob("*.yaml")}
    assert set(MINE) | {"tiny"} == set(registered)
    for name, summary in registered.items():
        assert load_recipe(f"liveness/{name}").recipe.name == f"liveness/{name}"
        assert summary


@pytest.mark.parametrize("name", ["flip-v", "minifasnet"])
def test_models_of_recipes_can_be_built_as_shipped(name):
    recipe = load_recipe(RECIPES / f"{name}.yaml").recipe
    assert recipe.model is not None
    crop = LivenessTrainingConfig.model_validate(recipe.options).crop
    assert crop is not None
    shared = liveness_options(str(recipe.options["taxonomy"]), [crop], **recipe.model.options)
    with torch.device("meta"):
        model = build_model(recipe.model.model_copy(update={"options": shared}))
    assert isinstance(model, LivenessModel)


def test_flip_v_takes_over_the_image_tower_of_the_start():
    start = make_start()
    loaded = load_recipe(RECIPES / "flip-v.yaml").recipe.with_(OVERRIDES["flip-v"])
    assert loaded.model is not None
    assert loaded.start is not None
    config = loaded.model.model_copy(update={"options": liveness_options("binary")})
    report = fill(build_model(config), start, loaded.start)
    assert set(report.new) == {
        "projections.image.weight", "projections.image.bias", "classifier.weight", "classifier.bias",
    }  # fmt: skip
    assert all(name.startswith("towers.text.") or name == "towers.image.proj" for name in report.dropped)
