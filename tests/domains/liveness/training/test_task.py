from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import verticlip
import yaml
from PIL import Image
from verticlip.core.errors import ConfigError, DataError
from verticlip.core.recipe import LoadedRecipe, load_recipe
from verticlip.core.train import Run, train
from verticlip.domains.liveness.protocols.flip_lists import write_lists
from verticlip.domains.liveness.training.task import prepare

sys.path.insert(0, str(Path(__file__).parent))
from make_presentations import draw, make_set
from make_start import RECIPES, make_start

PLAIN = """
name: liveness/plain
domain: liveness
task: liveness
options: {taxonomy: default, crop: {scale: null}, steps_per_epoch: 4, turns: category}
model:
  name: liveness/plain
  domain: liveness
  architecture: categories
  description: small
  licence: MIT
  embed_dim: 16
  towers:
    image: {backend: timm, architecture: resnet10t, options: {channels: [8, 8, 16, 16], stem_width: 8}}
    text: {backend: bert, vocab_size: 400, width: 16, layers: 1, heads: 2, mlp_width: 32, pooling: mean}
image: {size: 32, resize: squash, mean: [0.5, 0.5, 0.5], std: [0.25, 0.25, 0.25]}
text: {context_length: 64}
tokenizer: {vocab_size: 400}
data: {sources: [{name: drawn, reader: presentations, path: presentations.csv, licence: CC0-1.0}]}
augment: {flip_horizontal: 0.5, brightness: 0.2}
objective: {name: category}
optim: {lr: 3.0e-3, weight_decay: 0.05}
batch_size: 6
epochs: 2
"""
NAME = "presentations.csv"


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    make_set(folder, name=NAME, frames=2)
    return folder


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    path = tmp_path_factory.mktemp("recipe") / "plain.yaml"
    path.write_text(PLAIN)
    return load_recipe(path)


def changed(loaded: LoadedRecipe, *changes: str) -> LoadedRecipe:
    return LoadedRecipe(loaded.recipe.with_(changes), None)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as handle:
        return list(csv.DictReader(handle))


def write_rows(path: Path, rows: list[dict[str, str]]) -> None:
    with path.open("w", newline="") as handle:
        writer = csv.DictWriter(handle, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


@pytest.fixture(scope="module")
def learned(plain, data, no_curves, tmp_path_factory):
    """A run that is long enough to learn something."""
    loaded = changed(plain, "epochs=5", "options.steps_per_epoch=10", "evaluation.every_epochs=5")
    return train(loaded, data, tmp_path_factory.mktemp("learned") / "run")


def test_a_run_learns_and_its_model_answers(learned):
    result = learned
    metrics = json.loads((result.model / "metrics.json").read_text())
    assert "1 - lowest ACER" in result.summary
    found = metrics["validation"]["sources"]["drawn"]
    assert (found["presentations"], found["frames"]) == (9, 18)
    assert found["score"] > 0.8 > 0.7 > metrics["baseline"]["score"]
    assert set(found["iso"]["apcer"]) == {"print", "display"}
    assert metrics["selected_on"] == "dev"
    assert metrics["subjects"] == {"train": 9, "dev": 3}
    assert metrics["rows_per_batch"] == {"drawn, live": 3, "drawn, attack": 3}
    model = verticlip.from_pretrained(result.model)
    # The whole taxonomy lies with the weights.
    assert [one["id"] for one in model.config.options["taxonomy"]["categories"]] == metrics["classes"]
    assert model.config.options["crops"][0]["scale"] is None


def test_batches_are_balanced_and_hold_what_objectives_read(plain, data):
    found = prepare(plain, data, None)
    batch = next(iter(found.loader))
    assert batch.inputs["image"]["pixels"].shape == (6, 3, 32, 32)
    assert set(batch.inputs) == {"image"}
    assert int(batch.extras["live"].sum()) == 3
    names = {found.class_names[label] for label in batch.labels.tolist()}
    assert names == {"live", "print_photo", "screen_replay"}
    assert len(found.loader) == 4
    text = prepare(
        changed(plain, "objective={name: category_contrast, options: {descriptions: batch}}"), data, None
    )
    assert next(iter(text.loader)).inputs["text"]["input_ids"].shape[0] == 6


def test_an_interrupted_run_ends_as_if_it_had_not_been(plain, data, tmp_path):
    loaded = changed(plain, "checkpoint_steps=2", "evaluation.every_epochs=2")
    whole = train(loaded, data, tmp_path / "whole")

    class Stop(Exception):
        pass

    def stop(objective, inputs):
        stepped[0] += run.model.training
        if stepped[0] == 7:
            raise Stop

    run, stepped = Run(loaded, data, tmp_path / "cut", resume=True), [0]
    run.objective.register_forward_pre_hook(stop)
    with pytest.raises(Stop):
        run.fit(progress=False)
    resumed = train(loaded, data, tmp_path / "cut")
    assert resumed.resumed_from == 6
    first, second = ((one.model / "model.safetensors").read_bytes() for one in (whole, resumed))
    assert first == second


def test_people_in_two_splits_stop_the_run(plain, data, tmp_path):
    rows = rows_of(data / NAME)
    for row in rows:
        if row["video_id"] == "00_print":
            row["split"] = "dev"
    write_rows(data / "leaking.csv", rows)
    with pytest.raises(
        DataError, match=r"1 subjects stand in more than one split: drawn/s00 \(train and dev\)"
    ):
        prepare(
            changed(
                plain, "data.sources=[{name: drawn, reader: presentations, path: leaking.csv, licence: x}]"
            ),
            data,
            None,
        )
    # Two sources of one data set are one as far as its people go.
    live = [row for row in rows_of(data / NAME) if row["label"] == "live"]
    attacks = [row for row in rows_of(data / NAME) if row["label"] == "attack"]
    for row in attacks:
        row["split"] = "dev" if row["split"] == "train" else "train"
    write_rows(data / "live.csv", live)
    write_rows(data / "attacks.csv", attacks)
    sources = ", ".join(
        f"{{name: {name}, reader: presentations, path: {name}.csv, licence: x}}"
        for name in ("live", "attacks")
    )
    with pytest.raises(DataError, match="subjects stand in more than one split: drawn/s00"):
        prepare(changed(plain, f"data.sources=[{sources}]"), data, None)


def test_development_people_are_held_out_where_there_are_none(plain, data):
    rows = rows_of(data / NAME)
    for row in rows:
        row["split"] = "train" if row["subject"] < "s10" else "test"
    write_rows(data / "no_dev.csv", rows)
    loaded = changed(
        plain,
        "data.sources=[{name: drawn, reader: presentations, path: no_dev.csv, licence: x}]",
        "data.validation.fraction=0.2",
    )
    found = prepare(loaded, data, None)
    subjects = {
        split: {entry.subject for entry in found.entries.values() if entry.split == split}
        for split in ("train", "dev", "test")
    }
    assert not subjects["train"] & subjects["dev"]
    assert len(subjects["train"] | subjects["dev"]) == 10
    assert subjects["test"] == {"s10", "s11"}
    used = {identifier for batch in found.loader for identifier in batch.ids}
    assert {found.entries[name].split for name in used} == {"train"}
    assert {found.entries[one.id].split for part in found.validation.values() for one in part} == {"dev"}


def test_the_target_stays_out(plain, data, tmp_path):
    make_set(tmp_path, dataset="one", name="one.csv", subjects=8, seed=1)
    make_set(tmp_path, dataset="two", name="two.csv", subjects=8, seed=2)
    sources = ", ".join(
        f"{{name: {name}, reader: presentations, path: {name}.csv, licence: x}}" for name in ("one", "two")
    )
    both = [f"data.sources=[{sources}]", "batch_size=12"]
    found = prepare(changed(plain, *both), tmp_path, None)
    assert found.facts["rows_per_batch"] == {
        f"{name}, {kind}": 3 for name in ("one", "two") for kind in ("live", "attack")
    }
    with pytest.raises(DataError, match="24 training or development presentations are of 'two'"):
        prepare(changed(plain, *both, "options.target=[two]"), tmp_path, None)
    with pytest.raises(ConfigError, match="options.target 'twoo'.*Did you mean 'two'.*rows are one, two"):
        prepare(changed(plain, *both, "options.target=[twoo]"), tmp_path, None)
    # A target that no row is of is fine where it is a public set.
    prepare(changed(plain, *both, "options.target=[siw-m]"), tmp_path, None)


def test_the_target_stays_out_by_all_its_names(plain, tmp_path):
    make_set(tmp_path, dataset="oulu", name=NAME)
    with pytest.raises(DataError, match="36 training or development presentations are of 'oulu-npu'"):
        prepare(changed(plain, "options.target=[OULU-NPU]"), tmp_path, None)


def test_two_names_of_a_data_set_are_one_part_of_a_batch(plain, tmp_path):
    make_set(tmp_path, dataset="oulu", name="oulu.csv", subjects=8)
    make_set(tmp_path, dataset="oulu-npu", name="npu.csv", subjects=16, splits=("train",), seed=1)
    rows = [row for row in rows_of(tmp_path / "npu.csv") if row["subject"] >= "s08"]
    write_rows(tmp_path / NAME, rows_of(tmp_path / "oulu.csv") + rows)
    found = prepare(plain, tmp_path, None)
    assert found.facts["rows_per_batch"] == {"oulu-npu, live": 3, "oulu-npu, attack": 3}


def few_shot_set(folder: Path) -> None:
    """Write a set of 8 people, and another whose tested people are also in shots, each four times."""
    make_set(folder, dataset="source", name="source.csv", subjects=8, splits=("train",))
    make_set(folder, dataset="aim", name="aim.csv", subjects=4, splits=("test",), seed=1)
    make_set(folder, dataset="shots", name="shots.csv", subjects=4, splits=("train",), seed=2)
    shots = [{**row, "dataset": "aim", "few_shot": "target"} for row in rows_of(folder / "shots.csv")]
    for row in shots:
        row["video_id"] += " (shot)"
    others = rows_of(folder / "source.csv") + rows_of(folder / "aim.csv")
    write_rows(folder / NAME, [*({**row, "few_shot": ""} for row in others), *shots])


def test_shots_of_the_target_train_only_where_that_is_asked_for(plain, tmp_path, caplog):
    few_shot_set(tmp_path)
    changes = ["batch_size=8", "data.validation.fraction=0.3"]
    with pytest.raises(DataError, match=r"4 subjects .*aim/s00 \(train and test\).*by the option few_shot"):
        prepare(changed(plain, *changes), tmp_path, None)
    changes += ["options.few_shot=true", "options.target=[aim]"]
    found = prepare(changed(plain, *changes), tmp_path, None)
    shots = {name for name in found.entries if name.endswith("(shot)")}
    # All of them train, whatever was drawn for development, and none is judged.
    assert len(shots) == 12
    assert {found.entries[name].split for name in shots} == {"train"}
    assert shots & {name for batch in found.loader for name in batch.ids}
    assert list(found.validation) == found.facts["judged_on"] == ["source"]
    assert "aim" not in caplog.text
    assert "12 training presentations are shots of aim" in found.facts["notes"][-1]
    # The other rows of the target are kept out as ever.
    rows = rows_of(tmp_path / NAME)
    for row in rows:
        row["split"] = "train" if row["video_id"] == "00_print" else row["split"]
    write_rows(tmp_path / NAME, [row for row in rows if row["subject"] != "s00" or row["split"] == "train"])
    with pytest.raises(DataError, match="1 training or development presentations are of 'aim'"):
        prepare(changed(plain, *changes), tmp_path, None)


def test_a_run_of_flip_with_shots_can_be_trained(plain, tmp_path):
    """From the folder of FLIP: lists, frames and a development part of the sources' people."""
    frames = {"casia": [], "msu": []}
    for subject in range(1, 7):
        frames["casia"] += [
            f"casia/train/real/{subject}_{one}_frame{n}.png" for one in (1, 2) for n in (0, 1)
        ]
        frames["casia"] += [
            f"casia/train/fake/{subject}_{one}_frame{n}.png" for one in (3, 7) for n in (0, 1)
        ]
    for client in range(1, 21):
        name = f"client{client:03d}_android_SD"
        frames["msu"] += [f"msu/train/real/real_{name}_scene01_frame{n}.png" for n in (0, 1)]
        frames["msu"] += [f"msu/train/fake/attack_{name}_printed_photo_scene01_frame{n}.png" for n in (0, 1)]
    generator = np.random.default_rng(0)
    for dataset, names in frames.items():
        for name in names:
            (tmp_path / "MCIO/frame" / name).parent.mkdir(parents=True, exist_ok=True)
            kind = "print" if "fake" in name else "bona_fide"
            Image.fromarray(draw(kind, generator)).save(tmp_path / "MCIO/frame" / name)
        write_lists(dataset, names, tmp_path)
    options = "{layout: flip, target: M, sources: [C], protocol: 3, shots: 5, celeb: false, partial: true, dev_share: 0.4}"
    source = f"{{name: flip, reader: presentations, path: ., licence: x, options: {options}}}"
    flip = [
        f"data.sources=[{source}]",
        "options.taxonomy=binary",
        "options.target=[msu-mfsd]",
        "batch_size=8",
    ]
    with pytest.raises(DataError, match="by the option few_shot"):
        prepare(changed(plain, *flip), tmp_path, None)
    result = train(
        changed(plain, *flip, "options.few_shot=true", "options.turns=none", "epochs=1"),
        tmp_path,
        tmp_path / "run",
    )
    assert result.metrics["judged_on"] == ["casia-fasd"]
    assert result.metrics["rows_per_batch"]["msu-mfsd, live"] == 2
    assert any("10 training presentations are shots of msu" in note for note in result.metrics["notes"])


def test_each_data_set_is_judged_by_itself(plain, tmp_path, caplog):
    for seed, name in enumerate(("one", "two", "three")):
        make_set(tmp_path, dataset=name, name=f"{name}.csv", subjects=8, seed=seed)
    rows = [row for name in ("one", "two", "three") for row in rows_of(tmp_path / f"{name}.csv")]
    # One has no development part, another only live presentations there.
    for row in rows:
        row["split"] = "train" if row["dataset"] == "two" else row["split"]
    rows = [
        row for row in rows if row["dataset"] != "three" or row["split"] == "train" or row["label"] == "live"
    ]
    write_rows(tmp_path / NAME, rows)
    found = prepare(changed(plain, "batch_size=12"), tmp_path, None)
    assert {name: len(records) for name, records in found.validation.items()} == {"one": 6}
    assert found.facts["judged_on"] == ["one"]
    assert "no live of two; no attack of three, two. The model is chosen without regard" in caplog.text
    write_rows(tmp_path / NAME, [row for row in rows if row["dataset"] != "one"])
    with pytest.raises(DataError, match=r"there are no live of two; no attack of three, two\. Give rows"):
        prepare(changed(plain, "batch_size=8"), tmp_path, None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["batch_size=7", "options.live_share=0.01"], "batch_size 7 cannot be divided among 1 data sets"),
        (["options.taxonomy=defualt"], "No taxonomy called 'defualt'. Did you mean 'default'"),
        (["options.taxonomy=null"], "options.taxonomy missing"),
        (["options.changes=flop"], "options.changes 'flop'.*Did you mean 'flip'"),
        (["options.changes=flip"], "leave augment out"),
        (["options.architecture=flip_mcl"], "for a start and a recipe without model"),
        (["model.architecture=contrastive"], "task liveness trains categories"),
        (["options.detector=yolo"], "options: detector"),
        (["options.last_blocks=1", "peft.policy=lora"], "options.last_blocks and peft.policy lora both say"),
        (
            ["data.sources=[{name: drawn, reader: presentations, path: presentations.csv}]"],
            "Source 'drawn': licence missing.*the model inherits them",
        ),
        (["objective={name: fourier, options: {}}"], "is for architecture minifasnet"),
        (["objective={name: infonce, options: {}}"], "trains with category, .* not with 'infonce'"),
    ],
)
def test_recipes_that_do_not_fit(plain, data, changes, message):
    with pytest.raises(ConfigError, match=message):
        prepare(changed(plain, *changes), data, None)


def test_data_that_do_not_fit(plain, data, tmp_path):
    make_set(tmp_path / "odd", name=NAME, species=("bona_fide", "prnt"))
    with pytest.raises(ConfigError, match="'prnt' is neither a category nor a species.*Did you mean 'print'"):
        prepare(plain, tmp_path / "odd", None)
    mapped = "data.sources=[{name: drawn, reader: presentations, path: presentations.csv, licence: x, labels: {prnt: print_photo, bona_fide: live}}]"
    assert set(prepare(changed(plain, mapped), tmp_path / "odd", None).categories.values()) == {0, 1}
    make_set(tmp_path / "lives", name=NAME, species=("bona_fide",))
    with pytest.raises(DataError, match="'drawn' has no attack to train with"):
        prepare(plain, tmp_path / "lives", None)
    make_set(tmp_path / "open", name=NAME, species=("bona_fide", "unspecified"))
    with pytest.raises(DataError, match="9 of 18 training presentations have no category.*live_or_attack"):
        prepare(plain, tmp_path / "open", None)
    found = prepare(changed(plain, "objective.name=live_or_attack"), tmp_path / "open", None)
    assert set(found.categories.values()) == {0, -1}
    assert found.facts["notes"]
    with pytest.raises(DataError, match="have the reader presentations"):
        prepare(
            changed(
                plain,
                f"data.sources=[{{name: drawn, reader: csv, path: {NAME}, columns: {{path: path}}, licence: x}}]",
            ),
            data,
            None,
        )
    make_set(tmp_path / "bad", name=NAME)
    for picture in sorted((tmp_path / "bad" / "drawn").glob("0[0-3]_print*")):
        picture.write_bytes(b"no picture " + picture.name.encode())
    with pytest.raises(DataError, match="4 of 36 presentations cannot be read.* More than 5%"):
        prepare(plain, tmp_path / "bad", None)


@pytest.mark.parametrize("policy", ["last_blocks", "visual", "lora"])
def test_what_learns(policy, data, tmp_path):
    changes = {
        "last_blocks": ["options.last_blocks=1"],
        "visual": ["freeze=[text]"],
        "lora": ["peft.policy=lora", "peft.rank=2", "optim.lr=0.01"],
    }[policy]
    start = make_start()
    loaded = load_recipe(RECIPES / "clipc8.yaml")
    small = [
        "options.steps_per_epoch=2",
        "epochs=1",
        "batch_size=6",
        "optim.lr=0.001",
        "evaluation.min_above_chance=-1",
    ]
    result = train(changed(loaded, *small, *changes), data, tmp_path / "run", start=lambda settings: start)
    before, after = start.network.state_dict(), verticlip.from_pretrained(result.model).network.state_dict()
    learned = {name for name, tensor in before.items() if not torch.equal(tensor, after[name])}
    layers = {
        f"{tower}.{n}"
        for tower in ("image", "text")
        for n in (0, 1)
        if any(f"towers.{tower}.transformer.resblocks.{n}." in name for name in learned)
    }
    assert (
        layers
        == {
            "last_blocks": {"image.1", "text.1"},
            "visual": {"image.0", "image.1"},
            "lora": {"image.0", "image.1", "text.0", "text.1"},
        }[policy]
    )
    if policy == "lora":
        assert all("attn" in name or name == "logit_scale" for name in learned)


def test_crops_that_were_cut_for_another_model_stop_the_run(plain, data, tmp_path):
    from verticlip.domains.liveness.cropped import save_crop
    from verticlip.domains.liveness.faces.crop import CropConfig
    from verticlip.domains.liveness.frames.picture import read_picture

    make_set(tmp_path, name=NAME)
    for path in sorted((tmp_path / "drawn").glob("*.png")):
        save_crop(path, read_picture(path), CropConfig(scale=2.7))
    with pytest.raises(
        DataError, match=r"36 of 36 presentations cannot be read.*with other settings \(scale 2.7\)"
    ):
        prepare(plain, tmp_path, None)
    assert len(prepare(changed(plain, "options.crop={scale: 2.7}"), tmp_path, None).loader) == 4


def test_sources_can_be_balanced_as_one_domain_each(plain, tmp_path):
    # A set of attacks alone can be trained with beside one of live presentations, in one source.
    make_set(tmp_path, dataset="faces", name="faces.csv", species=("bona_fide",))
    make_set(tmp_path, dataset="prints", name="prints.csv", species=("print",), seed=1)
    lines = [(tmp_path / f"{name}.csv").read_text().splitlines() for name in ("faces", "prints")]
    (tmp_path / NAME).write_text("\n".join([*lines[0], *lines[1][1:]]))
    with pytest.raises(DataError, match="'faces' has no attack to train with.*options.domains: source"):
        prepare(plain, tmp_path, None)
    found = prepare(changed(plain, "options.domains=source", "options.live_share=0.34"), tmp_path, None)
    assert found.facts["rows_per_batch"] == {"drawn, live": 2, "drawn, attack": 4}
    assert found.facts["datasets"] == ["faces", "prints"]


def test_a_model_of_the_room_is_trained_further_as_it_is(learned, data, tmp_path):
    further = changed(
        load_recipe(RECIPES / "clipc8.yaml"),
        f"start={learned.model}",
        "options.architecture=null",
        "options.taxonomy=null",
        "options.crop=null",
        "options.steps_per_epoch=2",
        "epochs=1",
        "batch_size=6",
        "evaluation.min_above_chance=-1",
    )
    result = verticlip.train(further, data, tmp_path / "further")
    config = verticlip.from_pretrained(result.model).config
    assert config.options == verticlip.from_pretrained(learned.model).config.options
    assert result.metrics["start"]["new"] == []
    header = (result.model / "README.md").read_text().split("---\n")[1]
    terms = yaml.safe_load(header)["training_data_terms"]
    assert terms == "presentations: research only, by agreement with the makers of each data set"
