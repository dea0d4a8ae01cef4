"""The weights that ship: whole, small, as good on unheard recordings as their card says, in words people use."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import verticlip
from verticlip.core.checkpoint import read_weights
from verticlip.domains.audio.readers import read_esc, read_spoken_digits
from verticlip.domains.audio.tasks.tagging import TaggingOptions, tag

DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


@pytest.fixture(scope="module")
def model():
    return verticlip.from_pretrained("audio/tiny-tagger")


@pytest.fixture(scope="module")
def folder(root) -> Path:
    return root / "domains" / "audio" / "weights" / "tiny-tagger"


@pytest.fixture(scope="module")
def recipe():
    from verticlip.core.recipe import load_recipe

    return load_recipe("audio/tiny-tagger").recipe


def test_weights_are_small_and_half_precision(folder):
    assert (folder / "model.safetensors").stat().st_size <= 6 * 1024**2
    kinds = {str(tensor.dtype) for tensor in read_weights(folder / "model.safetensors").values()}
    assert kinds <= {"torch.float16", "torch.int64"}


def test_metrics_meet_what_the_recipe_was_made_for(folder):
    sources = json.loads((folder / "metrics.json").read_text())["validation"]["sources"]
    assert sources["esc10"]["accuracy"]["value"] >= 0.88
    assert sources["spoken_digits"]["accuracy"]["value"] >= 0.98


def test_the_weights_are_those_of_the_recipe_in_the_repository(folder, recipe):
    assert json.loads((folder / "metrics.json").read_text())["recipe"] == recipe.digest


def test_labels_as_people_write_them_mean_the_classes(model):
    usual = model.prompts_for(["dog barking", "sea waves", "seven", "clock ticking"])
    folders = model.prompts_for(["dog_bark", "waves", "7", "clock_tick"])
    for one, other in zip(usual.class_names, folders.class_names, strict=True):
        assert usual.texts(one) == folders.texts(other)


def test_words_of_a_class_lie_together_and_unheard_sentences_beside_them(model):
    sentences = {
        "dog barking": ["my dog is barking at the door", "puppy barks"],
        "rain": ["rain is pouring outside", "it rains heavily"],
        "seven": ["a little girl says the number seven", "pronouncing seven out loud"],
        "sea waves": ["waves on the sea shore", "ocean surf"],
    }
    names = list(model.prompts.class_names)
    classes = torch.nn.functional.normalize(
        torch.stack([model.embed(model.prompts.texts(name)[::7]).vectors.mean(dim=0) for name in names]),
        dim=1,
    )
    for name, said in sentences.items():
        nearest = (model.embed(said).vectors @ classes.T).argmax(dim=1).tolist()
        assert [names[one] for one in nearest] == [name] * len(said)


def some(records: list[dict], each: int) -> list[dict]:
    """Return ``each`` validation records of every label."""
    chosen: dict[str, list[dict]] = {}
    for record in records:
        if record["split"] == "val" and len(chosen.setdefault(record["label"], [])) < each:
            chosen[record["label"]].append(record)
    return [record for one in chosen.values() for record in one]


@pytest.mark.data
def test_unheard_clips_by_the_names_of_their_folders(model, data_dir):
    records = some(read_esc(data_dir / "audio/esc10", validation_fold=4), 4)
    labels = list(dict.fromkeys(record["label"] for record in records))
    answers = model.classify([Path(record["path"]) for record in records], labels, batch_size=16)
    hits = [answer.label == record["label"] for answer, record in zip(answers, records, strict=True)]
    assert np.mean(hits) >= 0.85


@pytest.mark.data
def test_unheard_takes_of_digits_by_words_and_numbers(model, data_dir):
    records = some(read_spoken_digits(data_dir / "audio/spoken_digits/train", validation_takes="5-9"), 6)
    paths = [Path(record["path"]) for record in records]
    by_number = model.classify(paths, [str(digit) for digit in range(10)], batch_size=16)
    by_sentence = model.classify(paths, DIGITS, templates=["somebody says {}"], batch_size=16)
    for numbers, words in ((by_number, False), (by_sentence, True)):
        wanted = [DIGITS[int(one["label"])] if words else one["label"] for one in records]
        hits = [answer.label == word for answer, word in zip(numbers, wanted, strict=True)]
        assert np.mean(hits) >= 0.95


@pytest.mark.data
def test_a_bark_is_found_where_it_is(model, data_dir):
    bark = model.load(data_dir / "audio/esc10/dog_bark/4-182395-A.ogg").value[0].numpy()[:24_000]
    recording = np.concatenate([np.zeros(64_000, np.float32), bark, np.zeros(64_000, np.float32)])
    found = tag(model, recording, options=TaggingOptions(window_s=1.0, hop_s=0.25, threshold=0.4))
    assert [event.label for event in found.events] == ["dog barking"]
    assert found.events[0].start_s >= 3.5
    assert found.events[0].end_s <= 6.0


def test_recordings_are_embedded_the_same_every_time(model):
    wave = torch.sin(torch.arange(40_000) / 9)
    first, second = (model.embed([wave], modality="audio").vectors for _ in range(2))
    assert torch.equal(first, second)
