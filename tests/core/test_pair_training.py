"""Training on images with captions of their own, from new weights and from given ones."""

from __future__ import annotations

import json
import math
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
import verticlip
import yaml
from PIL import Image
from verticlip.core.checkpoint import read_weights
from verticlip.core.errors import ConfigError, DataError, InputError, WeightsError
from verticlip.core.recipe import load_recipe
from verticlip.core.train import train
from verticlip.core.training_data import prepare_data
from verticlip.core.validation import evaluate_retrieval

COLORS = {"red": (220, 40, 40), "green": (40, 200, 60), "blue": (50, 70, 230), "yellow": (230, 220, 40)}
RECIPE = """
name: pairs
seed: 1
model:
  name: test/pairs
  licence: Apache-2.0
  description: For tests.
  embed_dim: 16
  towers:
    image: {backend: timm, architecture: resnet10t, options: {channels: [8, 8, 16, 16], stem_width: 8}}
    text: {backend: bert, vocab_size: 99, width: 16, layers: 1, heads: 2, mlp_width: 32, max_positions: 16, dropout: 0.1}
image: {size: 16, resize: squash}
text: {context_length: 16}
tokenizer: {vocab_size: 200}
data:
  sources:
    - {name: figures, reader: jsonl, path: pairs.jsonl, captions: text, columns: {path: image, text: caption}}
  validation: {fraction: 0.25}
augment: {flip_horizontal: 0.5, noise: 0.02}
objective: {name: infonce, options: {positives: pairs, chunk: null}}
optim: {lr: 0.02, ema_decay: 0.8, warmup_steps: 2}
batch_size: 8
epochs: 8
checkpoint_steps: 1
evaluation: {every_epochs: 4, recall_at: [1, 3]}
"""


SPOKEN = "[{name: f, reader: jsonl, path: pairs.jsonl, captions: text, modality_captions: [x], "
SPOKEN += "columns: {path: image, text: caption}}]"


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> Path:
    """48 pictures: four colours, bright half left or right or at the top, two captions each."""
    folder = tmp_path_factory.mktemp("pairs")
    (folder / "pictures").mkdir()
    rng = np.random.default_rng(0)
    rows = []
    for number, (color, side) in enumerate(product(COLORS, ("left", "right", "top", "bottom") * 3)):
        picture = np.full((20, 20, 3), 10) + rng.integers(0, 12, (20, 20, 3))
        area = {"left": np.s_[:, :10], "right": np.s_[:, 10:], "top": np.s_[:10], "bottom": np.s_[10:]}[side]
        picture[area] = np.array(COLORS[color]) - rng.integers(0, 30, picture[area].shape)
        name = f"pictures/{number}.png"
        Image.fromarray(picture.astype(np.uint8)).save(folder / name)
        captions = [f"a {color} field at the {side}", f"{side} part in {color}"]
        rows.append({"image": name, "caption": captions, "doi": number})
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "recipe.yaml").write_text(RECIPE)
    return folder


def run(pairs: Path, out: Path, *overrides: str, **options):
    return train(pairs / "recipe.yaml", pairs, out, overrides=overrides, **options)


def data_of(pairs: Path, *overrides: str, start=None):
    loaded = load_recipe(pairs / "recipe.yaml")
    return prepare_data(type(loaded)(loaded.recipe.with_(overrides), loaded.prompts), pairs, start)


@pytest.fixture(scope="module")
def finished(pairs, tmp_path_factory):
    torch.set_num_threads(1)
    return run(pairs, tmp_path_factory.mktemp("runs") / "a")


def assert_same_weights(first: Path, second: Path) -> None:
    ours, theirs = (read_weights(folder / "model.safetensors") for folder in (first, second))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())


def test_pairs_are_learned_and_judged_by_retrieval(pairs, finished):
    rows = [json.loads(line) for line in (finished.folder / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["train_loss"] < rows[1]["train_loss"]
    assert rows[-1]["valid_loss"] < rows[0]["valid_loss"]
    report = finished.metrics["validation"]
    assert report["score"] > report["chance"] + 0.1
    found = report["sources"]["figures"]
    assert set(found["image_to_text"]) >= {"recall@1", "recall@3", "median_rank"}
    words = {text for own in data_of(pairs).validation_texts("figures") for text in own}
    assert (found["images"], found["texts"], found["duplicates"]) == (12, len(words), "merge")
    assert found["score_interval"]["low"] > found["chance"]
    assert finished.metrics["captions"] == {"captions": 32, "context": 16, "longest": 8, "overlong": 0}
    assert "24" not in finished.summary
    assert f"{report['score']:.3f}, chance {report['chance']:.3f}" in finished.summary


VIT = (
    "{backend: vit, image_size: 16, patch_size: 8, width: 16, layers: 1, heads: 2, mlp_width: 32, "
    "projection: linear}"
)
IN_PIECES = (f"model.towers.image={VIT}", "micro_batch=3", "epochs=2", "peft={policy: lora, rank: 2}")


@pytest.mark.parametrize(("stop_after", "changes"), [(3, ()), (5, ()), (6, IN_PIECES)])
def test_resuming_is_exact_with_drawn_captions(pairs, finished, tmp_path, monkeypatch, stop_after, changes):
    from verticlip.core.objectives.pairwise import InfoNCE

    whole = run(pairs, tmp_path / "whole", *changes) if changes else finished
    original, calls = InfoNCE.forward, []

    def failing(self, outputs, batch):
        calls.extend([1] * self.training)
        if len(calls) > stop_after:
            raise KeyboardInterrupt
        return original(self, outputs, batch)

    monkeypatch.setattr(InfoNCE, "forward", failing)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        run(pairs, tmp_path / "stopped", *changes)
    monkeypatch.setattr(InfoNCE, "forward", original)
    resumed = run(pairs, tmp_path / "stopped", *changes)
    assert resumed.resumed_from == stop_after
    assert_same_weights(resumed.model, whole.model)


def test_a_caption_is_drawn_anew_each_time_and_the_same_for_the_same_generator(pairs):
    data = data_of(pairs)
    records = data.loader.records[:8]
    first, again, other = (
        data.collate(records, torch.Generator().manual_seed(seed)).inputs["text"]["input_ids"]
        for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert first.shape != other.shape or not torch.equal(first, other)
    batches = list(data.loss_batches())
    assert [len(batch) for batch in batches] == [8]
    assert torch.equal(
        batches[0].inputs["image"]["pixels"], next(data.loss_batches()).inputs["image"]["pixels"]
    )


def test_a_folder_of_links_is_a_data_folder_like_any_other(pairs, finished, tmp_path):
    for name in ("pictures", "pairs.jsonl", "recipe.yaml"):
        (tmp_path / name).symlink_to(pairs / name)
    linked, plain = data_of(tmp_path), data_of(pairs)
    assert linked.digest == plain.digest
    assert linked.manifest.records == plain.manifest.records
    (tmp_path / "outside.jsonl").write_text('{"image": "../pictures/1.png", "caption": "a"}\n')
    with pytest.raises(InputError, match=r"row 1: '../pictures/1.png' leaves the data folder"):
        data_of(tmp_path, "data.sources=[{name: a, reader: jsonl, path: outside.jsonl, captions: text, "
                "columns: {path: image, text: caption}}]")  # fmt: skip


def test_rows_of_one_image_are_one_record_with_several_captions(pairs, tmp_path):
    table = tmp_path / "pairs.csv"
    lines = [f"pictures/{n // 2}.png,caption {n} of it" for n in range(80)]
    table.write_text("image,caption\n" + "\n".join(lines) + "\n")
    (tmp_path / "pictures").symlink_to(pairs / "pictures")
    source = {"name": "t", "reader": "csv", "path": "pairs.csv", "captions": "text"}
    source |= {"columns": {"path": "image", "text": "caption"}}
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    data = data_of(tmp_path, f"data.sources=[{json.dumps(source)}]")
    assert len(data.manifest) == 40
    assert {record.path.partition("/")[0] for record in data.manifest} == {"pictures"}
    assert data.texts.of(data.manifest[3]) == ("caption 6 of it", "caption 7 of it")


def test_retrieval_numbers_agree_with_counting(pairs, finished):
    model = verticlip.from_pretrained(finished.model)
    data = data_of(pairs)
    report = evaluate_retrieval(model.network, data, "figures", depths=(1, 3, 500), duplicates="separate")
    records = data.validation["figures"]
    images = model.embed([data.manifest.file_of(record) for record in records]).vectors
    texts, owner = [], []
    for row, record in enumerate(records):
        texts += data.texts.of(record)
        owner += [row] * len(data.texts.of(record))
    cosines = images @ model.embed(texts).vectors.T

    def rank(scores: torch.Tensor, own: int) -> int:
        """Equal captions have equal scores; then the earlier one comes first."""
        higher = scores > scores[own] + 1e-6
        equal = (scores - scores[own]).abs() <= 1e-6
        return int(higher.sum() + equal[:own].sum())

    image_ranks = [
        min(rank(cosines[row], own) for own in range(len(texts)) if owner[own] == row) for row in range(12)
    ]
    ranks = [rank(cosines[:, text], owner[text]) for text in range(len(texts))]
    for k in (1, 3):
        assert report["image_to_text"][f"recall@{k}"] == pytest.approx(np.mean([r < k for r in image_ranks]))
        assert report["text_to_image"][f"recall@{k}"] == pytest.approx(np.mean([r < k for r in ranks]))
    assert "recall@500" not in report["image_to_text"], "every image would be among the first 500"
    assert report["text_to_image"]["median_rank"] == pytest.approx(np.median(ranks) + 1)
    keys = [report[way][f"recall@{k}"] for way in ("image_to_text", "text_to_image") for k in (1, 3)]
    assert report["score"] == pytest.approx(np.mean(keys))
    # A random order: k of 12 images, and at least one of an image's two captions among k of 24.
    one = [1 - math.comb(22, k) / math.comb(24, k) for k in (1, 3)]
    assert report["chance"] == pytest.approx(np.mean([*one, 1 / 12, 3 / 12]))


def test_equal_captions_and_images_are_one_unless_the_recipe_says_otherwise(pairs, finished, tmp_path):
    def twice(number: int, row: dict) -> dict:
        return {"image": "pictures/0.png" if number == 1 else row["image"], "caption": row["caption"][:1]}

    folder = changed(pairs, tmp_path, twice)
    rows = [json.loads(line) for line in (folder / "pairs.jsonl").read_text().splitlines()]
    for number, row in enumerate(rows):
        row |= {"split": "val" if number < 8 else "train", "doi": number}
        row["id"] = f"row {number}"
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "pictures" / "3.png").write_bytes((folder / "pictures" / "2.png").read_bytes())
    columns = "{path: image, text: caption, split: split, id: id}"
    source = f"{{name: figures, reader: jsonl, path: pairs.jsonl, captions: text, columns: {columns}}}"
    data = data_of(folder, f"data.sources=[{source}]")
    model = verticlip.from_pretrained(finished.model).network
    merged, separate = (
        evaluate_retrieval(model, data, "figures", depths=(1,), duplicates=way)
        for way in ("merge", "separate")
    )
    # Rows 0 and 1 name one file, files 2 and 3 have the same pixels; rows 0 and 4 say the same, and so on.
    assert (merged["images"], merged["texts"]) == (6, 4)
    assert (separate["images"], separate["texts"]) == (8, 8)
    assert separate["chances"]["image_to_text"] == {"recall@1": 1 / 8}
    # Images 0 and 2 have two of the four texts each, the others one.
    assert merged["chances"]["image_to_text"]["recall@1"] == pytest.approx((2 + 2 + 1 + 1 + 1 + 1) / 6 / 4)
    changes = ["epochs=1", "evaluation.duplicates=separate"]
    result = verticlip.train(pairs / "recipe.yaml", pairs, tmp_path / "out", overrides=changes)
    assert result.metrics["validation"]["sources"]["figures"]["texts"] == 24
    assert "only an image's own captions count as right" in (result.model / "README.md").read_text()


def test_micro_batches_take_the_same_steps(pairs, tmp_path):
    # Batch norm would see other statistics; this tower has none.
    options = [
        f"model.towers.image={VIT}",
        "epochs=2",
        "evaluation.every_epochs=2",
        "model.towers.text.dropout=0",
    ]
    options += ["optim.ema_decay=null", "optim.lr=0.001"]
    whole = run(pairs, tmp_path / "whole", *options)
    pieces = run(pairs, tmp_path / "pieces", *options, "micro_batch=3")
    assert whole.steps == pieces.steps
    ours, theirs = (read_weights(one.model / "model.safetensors") for one in (whole, pieces))
    assert max(float((ours[name] - theirs[name]).abs().max()) for name in ours) < 1e-5


def test_bfloat16_runs_and_learns_the_same_thing_roughly(pairs, tmp_path):
    options = [f"model.towers.image={VIT}", "epochs=2", "optim.lr=0.001", "precision=bf16-mixed"]
    options += ["model.towers.text.dropout=0"]
    losses = {}
    for name, more in {"whole": (), "pieces": ("micro_batch=4",)}.items():
        result = run(pairs, tmp_path / name, *options, *more)
        rows = [json.loads(line) for line in (result.folder / "metrics.jsonl").read_text().splitlines()]
        losses[name] = rows[-1]["train_loss"]
        before, after = rows[0]["valid_loss"], rows[-1]["valid_loss"]
        assert after < before, "gradients arrive under autocast, also with the gradient cache"
    assert losses["whole"] == pytest.approx(losses["pieces"], abs=0.02)


def test_a_vocabulary_file_makes_the_tokenizer(pairs):
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "field", "red", "##dish"]
    (pairs / "vocab.txt").write_text("\n".join(words) + "\n")
    data = data_of(pairs, "tokenizer.vocab_file=vocab.txt")
    assert data.model_config.towers["text"].vocab_size == 9
    assert data.processor("text", ["a reddish field"])["input_ids"].tolist() == [[2, 5, 7, 8, 6, 3]]


def test_rows_of_one_class_or_of_the_same_captions_share_a_label(pairs):
    data = data_of(pairs)
    records = [record for record in data.manifest if record.id.endswith(("/0.png", "/4.png", "/1.png"))]
    labels = dict(zip((record.id for record in records), data.texts.labels(records).tolist(), strict=True))
    assert labels["figures/pictures/0.png"] == labels["figures/pictures/4.png"]
    assert labels["figures/pictures/0.png"] != labels["figures/pictures/1.png"]


def test_the_image_before_comes_along_at_its_share(pairs, tmp_path):
    def patient(number: int, row: dict) -> dict:
        return {"image": row["image"], "caption": row["caption"], "patient": f"p{number // 3}"}

    folder = changed(pairs, tmp_path, patient)
    columns = "{path: image, text: caption, group: patient}"
    source = f"{{name: f, reader: jsonl, path: pairs.jsonl, captions: text, columns: {columns}}}"
    data = data_of(folder, f"data.sources=[{source}]", "data.previous_share=0.5", "augment={}")
    records = [record for record in data.manifest if record.group in ("f/p0", "f/p1")]
    before = [data.texts.previous(record) for record in records]
    assert [one and one.id for one in before] == [
        None, records[0].id, records[1].id, None, records[3].id, records[4].id,
    ]  # fmt: skip
    whole = data.collate(records, torch.Generator(), train=False).inputs["image"]
    assert whole["has_previous"].tolist() == [False, True, True, False, True, True]
    assert torch.equal(whole["previous"][1], whole["pixels"][0])
    assert not whole["previous"][0].any()
    drawn = [
        data.collate(records, torch.Generator().manual_seed(seed)).inputs["image"]["has_previous"]
        for seed in range(40)
    ]
    assert 0.35 < torch.stack(drawn)[:, [1, 2, 4, 5]].float().mean() < 0.65
    assert (
        "previous"
        not in data_of(pairs).collate(data_of(pairs).manifest.records[:2], torch.Generator()).inputs["image"]
    )


@pytest.fixture(scope="module")
def labelled(pairs) -> Path:
    """The pictures once more, as a table with the colour as class beside the caption."""
    rows = [json.loads(line) for line in (pairs / "pairs.jsonl").read_text().splitlines()]
    lines = [f"{row['image']},{row['caption'][0]},{row['caption'][0].split()[1]}" for row in rows]
    (pairs / "labelled.csv").write_text("image,caption,color\n" + "\n".join(lines) + "\n")
    (pairs / "colors.yaml").write_text(
        "name: colors\nclasses: {red: [red], green: [green], blue: [blue], yellow: [yellow]}\n"
    )
    return pairs


TABLE = (
    "data.sources=[{name: t, reader: csv, path: labelled.csv, captions: text, "
    "columns: {path: image, text: caption, label: color}}]"
)


@pytest.mark.parametrize(
    ("suite", "keys"),
    [
        ("[]", {"accuracy", "balanced_accuracy"}),
        ("[zero_shot, retrieval]", {"accuracy", "balanced_accuracy", "image_to_text", "text_to_image"}),
        ("[retrieval]", {"image_to_text", "text_to_image"}),
        ("[neighbors]", {"neighbors"}),
    ],
)
def test_the_suite_is_chosen_by_the_data_or_the_recipe(labelled, tmp_path, suite, keys):
    (labelled / "labelled.yaml").write_text(RECIPE.replace("seed: 1", "seed: 1\nprompts: colors"))
    options = [TABLE, f"evaluation.suite={suite}", "epochs=1"]
    result = train(labelled / "labelled.yaml", labelled, tmp_path / "out", overrides=options)
    validation = result.metrics["validation"]
    assert keys <= set(validation["sources"]["t"])
    assert ("accuracy" in validation["sources"]["t"]) == ("accuracy" in keys)
    assert (validation["across"] is None) == ("accuracy" not in keys)
    assert (result.folder / "curves.png").stat().st_size > 1000


# What a run starts from.


def test_a_run_starts_from_a_saved_model(pairs, finished, tmp_path):
    recipe = yaml.safe_load(RECIPE)
    for key in ("model", "image", "text", "tokenizer"):
        del recipe[key]
    recipe |= {"name": "more", "start": str(finished.model), "summary": "trained on"}
    recipe["optim"] |= {"lr": 1e-9, "warmup_steps": 0}
    recipe |= {"epochs": 1}
    (tmp_path / "more.yaml").write_text(yaml.safe_dump(recipe))
    result = verticlip.train(tmp_path / "more.yaml", pairs, tmp_path / "out")
    before, after = (read_weights(one.model / "model.safetensors") for one in (finished, result))
    assert before.keys() == after.keys()
    assert all(
        torch.allclose(before[k], after[k], atol=1e-5)
        for k in before
        if "running" not in k and "num" not in k
    )
    assert (result.model / "tokenizer.json").read_text() == (finished.model / "tokenizer.json").read_text()
    config = json.loads((result.model / "config.json").read_text())
    assert (config["name"], config["licence"], config["description"]) == ("more", "Apache-2.0", "trained on")
    start = result.metrics["start"]
    assert start["id"] == "test/pairs"
    assert start["revision"] == verticlip.from_pretrained(finished.model).revision
    written = (result.model / "recipe.yaml").read_text() + (result.model / "README.md").read_text()
    assert str(finished.model) not in written, "no path of this computer leaves it"
    assert "Training began with `test/pairs`" in written
    assert result.metrics["baseline"]["score"] == pytest.approx(finished.metrics["validation"]["score"])


def test_new_parts_are_named_in_the_recipe(pairs, finished, tmp_path):
    bias = ["start=" + str(finished.model), "model.logit_bias=-10.0", "objective={name: sigmoid}", "epochs=1"]
    with pytest.raises(
        WeightsError, match=r"test/pairs does not fit .* it lacks 1 tensors \(logit_bias\)"
    ) as error:
        verticlip.train(pairs / "recipe.yaml", pairs, tmp_path / "a", overrides=bias)
    assert "name them in start.new (for example logit_bias*)" in str(error.value)
    named = [f"start={{model: {finished.model}, new: [logit_bias]}}", *bias[1:]]
    result = verticlip.train(pairs / "recipe.yaml", pairs, tmp_path / "b", overrides=named)
    assert result.metrics["start"]["new"] == ["logit_bias"]
    assert "logit_bias" in read_weights(result.model / "model.safetensors")


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        (["start={model: START}", "model.embed_dim=8"], WeightsError, "another shape for 2 tensors .projections"),
        (["start={model: START, drop: [towers.text.*]}", "model.logit_bias=-1"], WeightsError, "lacks 1 tensors"),
        (["start=./nowhere"], ConfigError, "nowhere: does not exist"),
        (["start=medical/tinny"], ConfigError, "Did you mean 'medical/tiny'"),
        (["start={model: START, nw: [a]}"], ConfigError, "unknown key 'start.nw'"),
        (["start=../up"], ConfigError, "leaves the folder"),
        (["model=null"], ConfigError, "model missing; only a recipe with start can leave them out"),
        (["kind=probe"], ConfigError, "a probe needs start"),
        (["data.sources.0.captions=text"], ConfigError, "no setting 'data.sources.0.captions'"),
        (["data.sources=[{name: a, path: pictures}]"], DataError, "no usable rows"),
        (["data.modality_share=0.5", "data.sources=" + SPOKEN], ConfigError, "captions all come from classes"),
        (["data.collate=spans"], ConfigError, "'spans' belongs to a domain"),
        (["evaluation.suite=[zero_shot]"], ConfigError, "no source has what it needs"),
        (["objective={name: infonce, options: {positives: pair}}"], ConfigError, "positives"),
        (["peft={policy: lora, targets: [nothing]}"], ConfigError, "match no weight"),
        (["text.context_length=5"], DataError, "captions have more than 5 tokens, first of 'figures/"),
    ],
)  # fmt: skip
def test_bad_recipes_say_what_is_wrong(pairs, finished, tmp_path, changes, error, message):
    changes = [change.replace("START", str(finished.model)) for change in changes]
    with pytest.raises(error, match=message):
        verticlip.train(pairs / "recipe.yaml", pairs, tmp_path / "x", overrides=changes)
    assert not (tmp_path / "x" / "model").exists()


def test_without_someone_who_finds_models_a_start_is_refused(pairs, tmp_path):
    with pytest.raises(ConfigError, match=r"starts from 'medical/tiny', which this call cannot look up"):
        run(pairs, tmp_path / "x", "start=medical/tiny")


def test_another_start_is_another_run(pairs, finished, tmp_path):
    options = [f"start={finished.model}", "epochs=1"]
    verticlip.train(pairs / "recipe.yaml", pairs, tmp_path / "x", overrides=options)
    identity = json.loads((tmp_path / "x" / "run.json").read_text())
    (tmp_path / "x" / "run.json").write_text(json.dumps({**identity, "start": "sha256:0"}))
    with pytest.raises(ConfigError, match="holds a run of another start"):
        verticlip.train(pairs / "recipe.yaml", pairs, tmp_path / "x", overrides=options)


# Data that is not as it should be.


def changed(pairs: Path, tmp_path: Path, change) -> Path:
    """Return a copy of the data whose rows went through ``change``."""
    import shutil

    folder = shutil.copytree(pairs, tmp_path / "data")
    rows = [json.loads(line) for line in (folder / "pairs.jsonl").read_text().splitlines()]
    changed_rows = [change(number, row) for number, row in enumerate(rows)]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in changed_rows))
    return folder


def test_rows_without_captions_are_refused(pairs, tmp_path):
    folder = changed(
        pairs, tmp_path, lambda n, row: {**row, "caption": [" "] if n in (3, 9) else row["caption"]}
    )
    with pytest.raises(DataError, match=r"2 of 48 rows have no caption, first 'pictures/3.png'"):
        data_of(folder)


def test_captions_that_are_no_text_are_refused(pairs, tmp_path):
    folder = changed(pairs, tmp_path, lambda n, row: {**row, "caption": [7]})
    with pytest.raises(DataError, match=r"pairs.jsonl row 1: a caption is int, not text"):
        data_of(folder)


def test_missing_images_are_counted_and_too_many_are_an_error(pairs, tmp_path, caplog):
    folder = changed(pairs, tmp_path, lambda n, row: row)
    (folder / "pictures" / "5.png").unlink()
    assert len(data_of(folder).manifest) == 47
    assert "1 of 48 images cannot be read, first figures/pictures/5.png" in caplog.text
    for number in (6, 7, 8):
        (folder / "pictures" / f"{number}.png").unlink()
    with pytest.raises(DataError, match=r"4 of 48 images cannot be read.*More than 5% stops a run"):
        data_of(folder)


def test_long_captions_are_cut_when_the_recipe_says_so(pairs, finished, tmp_path, caplog):
    data = data_of(pairs, "text.context_length=7", "text.overlong=truncate")
    assert data.lengths.to_dict() == {"captions": 32, "context": 7, "longest": 8, "overlong": 16}
    assert "16 of 32 captions are cut to 7 tokens; the longest has 8." in caplog.text


def test_equal_captions_on_both_sides_are_counted(pairs, labelled, finished, tmp_path, caplog):
    data = data_of(pairs)
    train, val = (
        {text for record in data.manifest if record.split == part for text in data.texts.of(record)}
        for part in ("train", "val")
    )
    counted = {"figures": {"validation": len(val), "in_training": len(val & train)}}
    assert data.equal_captions == finished.metrics["equal_captions"] == counted
    assert val & train
    assert f"{len(val & train)} of {len(val)} validation captions of figures also stand" in caplog.text
    # With a class for each colour: one caption for the whole class is made from it, others are not.
    free = data_of(labelled, TABLE).equal_captions["t"]
    assert free["in_training"] > 0
    lines = (labelled / "labelled.csv").read_text().splitlines()
    made = [
        lines[0],
        *(f"{line.split(',')[0]},all {line.split(',')[2]},{line.split(',')[2]}" for line in lines[1:]),
    ]
    (labelled / "labelled.csv").write_text("\n".join(made) + "\n")
    try:
        assert data_of(labelled, TABLE).equal_captions == {}
    finally:
        (labelled / "labelled.csv").write_text("\n".join(lines) + "\n")


def test_equal_images_on_both_sides_of_given_splits_are_an_error(pairs, tmp_path):
    def split(number: int, row: dict) -> dict:
        return {"image": row["image"], "caption": row["caption"], "split": "val" if number < 8 else "train"}

    folder = changed(pairs, tmp_path, split)
    columns = "{path: image, text: caption, split: split}"
    source = f"{{name: figures, reader: jsonl, path: pairs.jsonl, captions: text, columns: {columns}}}"
    assert len(data_of(folder, f"data.sources=[{source}]").validation["figures"]) == 8
    (folder / "pictures" / "40.png").write_bytes((folder / "pictures" / "2.png").read_bytes())
    with pytest.raises(DataError, match="Splits share 1 equal files"):
        data_of(folder, f"data.sources=[{source}]")


def test_a_result_at_chance_fails(pairs, tmp_path):
    with pytest.raises(DataError, match=r"chance is 0.\d+ and the recipe asks for 0.9 more"):
        run(pairs, tmp_path / "low", "epochs=1", "evaluation.min_above_chance=0.9")


# Classification heads.


def test_a_classifier_has_the_classes_that_occur(labelled):
    from verticlip.core.data import Record
    from verticlip.core.prompts import PromptSet
    from verticlip.core.sources import class_names

    recipe = load_recipe(labelled / "recipe.yaml").recipe
    prompts = PromptSet.load(labelled / "colors.yaml")
    records = [Record("1", label="blue", source="figures"), Record("2", label="red", source="figures")]
    assert class_names(records, recipe, prompts) == ("red", "green", "blue", "yellow")
    assert class_names(records, recipe, None) == ("blue", "red")
    classifier = recipe.with_(["objective={name: cross_entropy}"])
    assert class_names(records, classifier, prompts) == ("red", "blue")


def test_a_classifier_is_trained_saved_and_used(shapes, tmp_path):
    options = [
        "prompts=null",
        "objective={name: cross_entropy, options: {label_smoothing: 0.1}}",
        "freeze=[text]",
    ]
    options += ["epochs=6", "model.licence=MIT", "model.description=Two shapes.", "optim.layer_decay=0.75"]
    result = verticlip.train(shapes / "recipe.yaml", shapes, tmp_path / "a", overrides=options)
    assert result.metrics["validation"]["score"] >= 0.8
    assert result.metrics["classes"] == ["circle", "square"]
    files = sorted((shapes / "photos" / "square").glob("*.png"))
    model = verticlip.from_pretrained(result.model)
    answers = model.classify(files, head=result.model / "head")
    assert sum(answer.label == "square" for answer in answers) >= 0.8 * len(files)
    assert sum(answers[0].scores.values()) == pytest.approx(1)
    assert "The trained classification head" in (result.model / "README.md").read_text()
    with pytest.raises(ConfigError, match="has classes of its own"):
        model.classify(files, ["a", "b"], head=result.model / "head")
    with pytest.raises(ConfigError, match=r"The head was fitted on the model beside it at sha256:"):
        verticlip.from_pretrained("medical/tiny").classify(files, head=result.model / "head")
    with pytest.raises(ConfigError, match="holds no trained head"):
        model.classify(files, head=result.model)
    pieces = verticlip.train(
        shapes / "recipe.yaml",
        shapes,
        tmp_path / "b",
        overrides=[*options, "micro_batch=3", "epochs=2", "evaluation.min_above_chance=0"],
    )
    assert pieces.steps == 8
