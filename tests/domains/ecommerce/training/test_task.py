from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
import verticlip
from PIL import Image
from verticlip.core.errors import ConfigError, DataError
from verticlip.core.model import build_model
from verticlip.core.recipe import LoadedRecipe, load_recipe
from verticlip.core.start import Start
from verticlip.core.train import train
from verticlip.domains.ecommerce.encoders.product import ProductEncoder
from verticlip.domains.ecommerce.training.task import prepare

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "encoders"))
from make_product_models import make_model
from make_shop import make_shop

RECIPES = Path(verticlip.__file__).parent / "domains" / "ecommerce" / "recipes"
SMALL = [
    "model.embed_dim=24",
    "image.size=48",
    "model.towers.image.image_size=48",
    *(
        f"model.towers.{tower}.{key}={value}"
        for tower in ("image", "text")
        for key, value in {"width": 24, "layers": 1, "heads": 2, "mlp_width": 48}.items()
    ),
    "tokenizer.vocab_size=400",
    "batch_size=12",
    "epochs=2",
    "optim.warmup_steps=2",
    "optim.lr=0.003",
    "data.validation.fraction=0.25",
]
UNIFIED = [*SMALL, "model.options.width=24", "model.options.layers=1", "model.options.heads=2"]
IN_PIECES = [*SMALL, "micro_batch=5"]
OVERRIDES = {"same-style": UNIFIED, "same-style-infonce": IN_PIECES, "gcl": IN_PIECES}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    make_shop(folder / "pairs", styles=48, missing=True)
    return folder


def recipe(name: str, *changes: str) -> LoadedRecipe:
    loaded = load_recipe(RECIPES / f"{name}.yaml")
    return LoadedRecipe(loaded.recipe.with_([*OVERRIDES[name], *changes]), loaded.prompts)


def check_model(result, data):
    metrics = json.loads((result.model / "metrics.json").read_text())
    assert "MRR over directions" in result.summary
    report = metrics["validation"]["sources"]["pairs"]
    assert set(report["directions"]) == {"i-i", "i-t", "i-m", "t-t", "t-m", "m-m"}
    assert metrics["baseline"]["step"] == 0
    # Two of three products that lack something lack the picture; the third still has attributes.
    assert (metrics["products"], metrics["with_picture"]) == (96, 94)
    encoder = ProductEncoder(verticlip.from_pretrained(result.model))
    picture = Image.open(data / "pairs" / "images" / "004a.png")
    made = encoder.encode_product(image=picture, text="red round mug")
    assert made.shape == (1, 24)
    assert float(made.norm()) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("name", sorted(path.stem for path in RECIPES.glob("*.yaml")))
def test_models_of_recipes_can_be_built_as_shipped_and_have_what_a_card_needs(name):
    model = load_recipe(RECIPES / f"{name}.yaml").recipe.model
    if model is None:
        pytest.skip("it begins with weights that are there")
    assert model.licence
    assert model.description
    with torch.device("meta"):
        build_model(model)


@pytest.mark.parametrize("name", ["same-style-infonce", "gcl"])
def test_recipes_train_and_their_models_encode_products(name, data, tmp_path):
    result = train(recipe(name), data, tmp_path / "run")
    assert result.steps == 6
    check_model(result, data)


def test_batches_hold_what_the_objective_reads(data):
    found = prepare(recipe("same-style", "augment={}"), data, None)
    batch = next(iter(found.loader))
    parts = {f"{side}{part}" for side in ("", "right_", "changed_") for part in ("image", "text")}
    assert set(batch.inputs) == parts
    assert set(batch.extras) == {"group", "query", "scores", *(_flag(name) for name in parts)}
    assert batch.inputs["image"]["pixels"].shape == (12, 3, 48, 48)
    assert not torch.equal(batch.inputs["image"]["pixels"], batch.inputs["changed_image"]["pixels"])
    words, fewer = (batch.inputs[f"{side}text"]["attention_mask"].sum() for side in ("", "changed_"))
    assert fewer < words
    assert len(batch.extras["group"].unique()) == 12
    for identifier, score in zip(batch.ids, batch.extras["scores"].tolist(), strict=True):
        assert score == 1 + int(identifier.split("/")[1][:3])
    again = next(iter(prepare(recipe("same-style", "augment={}"), data, None).loader))
    for name, given in batch.inputs.items():
        for key, tensor in given.items():
            assert torch.equal(tensor, again.inputs[name][key])


def test_sides_follow_the_objective(data):
    weights = "{self_distinctiveness: 0, locality_consistency: 0}"
    without = prepare(recipe("same-style", f"objective.options.weights={weights}"), data, None)
    assert set(next(iter(without.loader)).inputs) == {"image", "text", "right_image", "right_text"}
    ranking = next(iter(prepare(recipe("gcl"), data, None).loader))
    assert set(ranking.inputs) == {"image", "text", "field_image", "field_text"}


def test_products_that_lack_something(data):
    found = prepare(recipe("same-style"), data, None)
    assert found.stock.counts() == {"products": 96, "with_picture": 94, "with_text": 96}
    names = ["pairs/000a", "pairs/001b", "pairs/002a"]
    pixels, has = found.stock.images(names)
    assert has.tolist() == [False, False, True]
    assert pixels[0].abs().max() == 0
    assert pixels[2].max() > 0


def test_pairs_of_a_group_stay_on_one_side(data):
    found = prepare(recipe("same-style"), data, None)
    sides = {}
    for record in found.manifest.records:
        pair = found.pairs[record.id]
        sides.setdefault(pair.group, set()).add(record.split)
    assert {len(found) for found in sides.values()} == {1}
    assert found.validation_loss(None, type("Objective", (), {"smallest_batch": 99})()) is None


def test_an_interrupted_run_goes_on_at_the_next_batch(data, tmp_path):
    changes = ["epochs=2", "checkpoint_steps=1", "model.towers.text.dropout=0.0"]
    whole = train(recipe("same-style-infonce", *changes), data, tmp_path / "whole")

    from verticlip.core.train import Run
    from verticlip.core.trainee import KeepState

    class Stop(Exception):
        pass

    run = Run(recipe("same-style-infonce", *changes), data, tmp_path / "cut", resume=True)
    save = KeepState._save

    def stopping(self, trainer):
        save(self, trainer)
        if trainer.global_step == 4:
            raise Stop

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(KeepState, "_save", stopping)
        with pytest.raises(Stop):
            run.fit(progress=False)
    resumed = train(recipe("same-style-infonce", *changes), data, tmp_path / "cut")
    assert resumed.resumed_from == 4
    first, second = ((one.model / "model.safetensors").read_bytes() for one in (whole, resumed))
    assert first == second


def test_a_start_of_two_towers_learns_to_fuse(data, tmp_path):
    model = make_model("contrastive")
    start = Start(model.network, model.processor, None, "test/contrastive", "abc")
    # Words that the start does not know are one token to it; texts are cut to its context.
    begin = "start={model: test/contrastive, new: [fusion]}"
    changes = [begin, "model=null", "image=null", "text=null"]
    loaded = load_recipe(RECIPES / "same-style-infonce.yaml")
    rest = [one for one in SMALL if not one.startswith(("model.", "image.", "tokenizer."))]
    changed = LoadedRecipe(
        loaded.recipe.with_([*rest, *changes, "micro_batch=null", "evaluation.select=last"]), None
    )
    result = train(changed, data, tmp_path / "run", start=lambda settings: start)
    trained = verticlip.from_pretrained(result.model)
    assert trained.config.architecture == "fused_product"
    assert trained.config.domain == "ecommerce"
    assert trained.processor.fingerprint == model.processor.fingerprint
    assert trained.network.shares().tolist() != pytest.approx([0.9, 0.1], abs=1e-6)
    assert result.metrics["start"]["new"] == ["fusion"]


@pytest.mark.slow
def test_training_finds_what_random_weights_do_not(data, tmp_path):
    changes = ["epochs=18", "data.validation.fraction=0.33", "evaluation.every_epochs=18"]
    result = train(recipe("same-style", *changes), data, tmp_path / "run")
    check_model(result, data)
    before = result.metrics["baseline"]["sources"]["pairs"]["directions"]
    after = result.metrics["validation"]["sources"]["pairs"]["directions"]
    for direction in ("i-t", "t-m"):
        assert after[direction]["mrr"]["value"] > before[direction]["mrr"] + 0.1, direction


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["objective.name=infonce", "objective.options={}"], "trains with esspr, product_infonce or gcl"),
        (["batch_size=8"], "batch_size 8 is below the 10 neighbors"),
        (["options.token_drop=1.5"], "options: token_drop"),
        (["options.template=fashoin"], "no text template 'fashoin'. Did you mean 'fashion'"),
        (["model.architecture=contrastive", "model.options={}"], "trains architecture unified_product or"),
        (["tokenizer.vocab_file=vocab.txt"], "leave tokenizer.vocab_file out"),
    ],
)
def test_recipes_that_do_not_fit(data, changes, message):
    with pytest.raises(ConfigError, match=message):
        prepare(recipe("same-style", *changes), data, None)


def test_data_that_do_not_fit(data, tmp_path):
    folder = make_shop(tmp_path / "data" / "pairs", styles=24)
    for picture in sorted((folder / "images").glob("*.png"))[:6]:
        picture.write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"6 of 48 pictures cannot be read.* More than 5%"):
        prepare(recipe("same-style"), tmp_path / "data", None)
    sources = "[{name: pairs, reader: csv, path: pairs/products.csv, columns: {path: image, id: id}}]"
    with pytest.raises(DataError, match="have the reader product_pairs"):
        prepare(recipe("same-style", f"data.sources={sources}"), tmp_path / "data", None)
    make_shop(tmp_path / "few" / "pairs", styles=16)
    table = tmp_path / "few" / "pairs" / "pairs.csv"
    first, *rows = table.read_text().splitlines()
    table.write_text("\n".join([f"{first},split", *(f"{row},train" for row in rows[1:]), f"{rows[0]},val"]))
    found = prepare(recipe("same-style"), tmp_path / "few", None)
    with pytest.raises(DataError, match="has 1 right products"):
        found.evaluate(None, None, settings=None)


def _flag(name: str) -> str:
    side, part = (
        (name[: -len("image")], "image") if name.endswith("image") else (name[: -len("text")], "text")
    )
    return f"{side}has_{part}"
