"""Cards of models that are no two-tower run: tasks, retrieval, somebody else's weights, linear heads."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import verticlip
import yaml
from huggingface_hub import ModelCard
from make_card_folder import estimate, make_card_folder
from make_publishable import restate
from verticlip.core.errors import ConfigError
from verticlip.core.files import read_json, write_json_atomic
from verticlip.hub.card import check_card, render_card, render_probe_card, write_probe_card
from verticlip.hub.card_check import split_card


def table_rows(card: str, start: str) -> list[str]:
    return [line for line in card.splitlines() if line.startswith(start)]


def test_a_task_shows_its_score_with_unit_interval_classes_and_conditions(model_folder, tmp_path):
    validation = {
        "score": 5.8, "chance": 0.0, "score_interval": {"value": 5.8, "low": 4.6, "high": 7.1, "n": 80},
        "sources": {"shapes": {"score": 5.8, "chance": 0.0, "classes": {"rain": 1.769, "dog | cat": 6.0}}},
        "conditions": {"text": 0.97},
    }  # fmt: skip
    folder = make_card_folder(
        model_folder,
        tmp_path / "m",
        recipe={"task": "made_up", "domain": "audio", "model": None, "start": "audio/tiny-tagger"},
        config={"domain": "audio"},
        metrics={
            "score_name": "SI-SDR improvement", "score_unit": "dB", "chance_name": "the mixture itself",
            "validation": validation, "pipeline_tag": "audio-to-audio",
            "baseline": {"score": -0.2, "sources": {"shapes": {"score": -0.2}}},
            "start": {"id": "audio/tiny-tagger", "revision": "sha256:c9f0"}, "adapted": ["a.weight"],
        },
    )  # fmt: skip
    card = render_card(folder)
    assert "| shapes | 5.800 (4.600 to 7.100) dB | 0.000 dB | -0.200 dB |" in card
    assert "Mean: 5.800 dB; before training -0.200 dB; the mixture itself 0.000 dB." in card
    assert "| dog \\| cat | 6.000 dB |\n| rain | 1.769 dB |" in card
    assert "| condition | SI-SDR improvement |\n| --- | --- |\n| text | 0.970 dB |" in card
    assert "Training began with `audio/tiny-tagger` (sha256:c9f0). Low-rank changes of 1 weights" in card
    header, _ = split_card(card)
    assert header is not None
    assert header["tags"] == ["verticlip", "made-up", "audio", "contrastive"]
    assert header["co2_eq_emissions"]["training_type"] == "fine-tuning"
    (metric,) = header["model-index"][0]["results"][0]["metrics"]
    assert (metric["type"], metric["name"], metric["value"]) == (
        "si_sdr_improvement", "SI-SDR improvement (dB)", 5.8,
    )  # fmt: skip
    assert metric["args"] == {"interval_95": [4.6, 7.1]}


def test_retrieval_shows_both_ways_by_depth(model_folder, tmp_path):
    way = {"recall@1": estimate(0.5), "recall@10": estimate(0.9), "median_rank": {"value": 2.0}}
    report = {
        "images": 1200,
        "texts": 1300,
        "duplicates": "merge",
        "image_to_text": way,
        "text_to_image": way,
    }
    validation = {"score": 0.7, "chance": 0.01, "across": None, "sources": {"shapes": report}}
    card = render_card(make_card_folder(model_folder, tmp_path / "m", metrics={"validation": validation}))
    assert "| source | direction | recall@1 | recall@10 | median rank | images | texts |" in card
    cells = "0.500 (0.400 to 0.600) | 0.900 (0.800 to 1.000) | 2.0 | 1,200 | 1,300 |"
    assert f"| shapes | image to text | {cells}" in card
    assert "captions that read the same are one text, which is right for every image that has it" in card
    assert "model.similarity(images, texts)" in card
    names = [metric.metric_name for metric in ModelCard(card).data.eval_results or []]
    assert names == [
        f"recall@{k}, {a} to {b}" for a, b in (("image", "text"), ("text", "image")) for k in (1, 10)
    ]


@pytest.fixture
def converted(model_folder, tmp_path):
    """Somebody else's weights, as conversion leaves them."""
    import shutil

    folder = shutil.copytree(model_folder, tmp_path / "m")
    config = {
        **read_json(folder / "config.json"),
        "description": "Weights of others.",
        "licence": "CC-BY-NC-4.0",
    }
    write_json_atomic(folder / "config.json", config)
    restate(folder)
    return folder


def test_converted_weights_say_whose_they_are_and_claim_no_figures(converted):
    card = render_card(converted)
    row = f"| `weights.bin` | somebody/random | `{'a' * 40}` | `{'b' * 64}` | 12 | the registered hash |"
    assert row in card
    assert "These weights were trained by others and were not trained here" in card
    assert "12 tensors were taken over as they are." in card
    assert "Training data: not recorded here; see the authors." in card
    assert "No error rate and no score was measured for this card" in card
    header, _ = split_card(card)
    assert header is not None
    assert header["base_model"] == ["somebody/random"]
    assert header["license"] == "cc-by-nc-4.0"
    assert not {"model-index", "co2_eq_emissions", "metrics", "datasets"} & set(header)
    assert check_card(card, converted) == []


def test_a_conversion_shows_what_was_checked_and_its_own_limits(converted):
    said = read_json(converted / "conversion.json")
    said |= {
        "checks": [{"what": "largest | difference", "value": "2.4e-6"}],
        "limits": ["Made for phones."],
        "training_data": "private",
        "notice": ["Copyright 2020 <b>Somebody</b>."],
        "card_header": {"training_data_terms": "private", "license": "mit"},
    }
    said["files"].append(
        {**said["files"][0], "registered": None, "commit": None, "repo_id": "", "name": "x.pt"}
    )
    write_json_atomic(converted / "conversion.json", said)
    card = render_card(converted)
    assert "| largest \\| difference | 2.4e-6 |" in card
    assert "- Made for phones." in card
    assert "Training data: private." in card
    assert "Copyright 2020 &lt;b&gt;Somebody&lt;/b&gt;." in card
    assert f"| `x.pt` | the user's own files | not recorded | `{'b' * 64}` | 12 | nothing |" in card
    assert ModelCard(card).data.license == "cc-by-nc-4.0"


def test_a_description_that_repeats_the_summary_stands_alone(converted):
    config = read_json(converted / "config.json")
    write_json_atomic(
        converted / "config.json", {**config, "description": "random. Converted from a variant."}
    )
    assert "# random\n\n**random. Converted from a variant.**\n\n## " in render_card(converted)


def test_minifasnet_says_what_it_is_and_is_not():
    folder = Path(verticlip.__file__).parent / "domains" / "liveness" / "weights" / "minifasnet-v2"
    card = (folder / "README.md").read_text(encoding="utf-8")
    source = json.loads((folder / "conversion.json").read_text())["files"][0]
    assert source["commit"] in card
    assert source["sha256"] in card
    assert "| `attack_b` | attack |" in card
    for words in (
        "never the only reason to refuse a person",
        "skin tone",
        "No error rate",
        "LICENSE.txt",
        "2020 Minivision",
    ):
        assert words in card, words


@pytest.fixture
def probe_run(tmp_path):
    """A run folder of a linear probe."""
    report = {"balanced_accuracy": estimate(0.8), "auc": None, "accuracy": estimate(0.75)}
    probes = [{
        "fraction": 0.1, "training_images": 1200, "mean": {"balanced_accuracy": 0.81}, "report": report,
        "c": [1.0, 0.01],
    }]  # fmt: skip
    recipe = {
        "kind": "probe", "name": "medical/linear-probe", "domain": "medical", "start": "medical/tiny",
        "data": {"sources": [{"name": "mri", "path": "mri", "origin": "A | set", "licence": "MIT"}]},
    }  # fmt: skip
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    metrics = {
        "recipe": "d" * 16, "data": "e" * 16, "start": {"id": "medical/tiny", "revision": "sha256:ab"},
        "modality": "image", "classes": ["no tumor", "<b>glioma</b>"], "chance": 0.5, "probes": probes,
        "source_splits": {"mri": {"train": 90, "val": 30}}, "seconds": 12.0,
        "run": {"device": "1 CPU thread", "versions": {"torch": "2.14.1"}},
    }  # fmt: skip
    write_json_atomic(tmp_path / "metrics.json", metrics)
    (tmp_path / "head").mkdir()
    return tmp_path


def test_a_linear_head_has_a_card_of_its_own(probe_run):
    card = render_probe_card(probe_run)
    assert "on the embeddings of `medical/tiny` (sha256:ab)" in card
    assert "| 10 % | 1,200 | 0.810 | 0.800 (0.700 to 0.900) | - | 1, 0.01 |" in card
    assert "Classes: no tumor, &lt;b&gt;glioma&lt;/b&gt;." in card
    assert "| mri | A \\| set | MIT | not recorded | not recorded | 90 | 30 |" in card
    assert "- Not a medical device." in card
    assert "| time | 12 seconds, evaluations included |" in card
    data = ModelCard(card).data
    assert (data.license, data.pipeline_tag) == ("apache-2.0", "image-classification")
    assert data.tags == ["verticlip", "linear-probe", "medical"]
    assert [one.metric_value for one in data.eval_results or []] == [0.75, 0.8]
    assert check_card(write_probe_card(probe_run).read_text(), probe_run) == []


def test_damaged_records_of_a_linear_head_are_said(probe_run):
    metrics = read_json(probe_run / "metrics.json")
    write_json_atomic(probe_run / "metrics.json", {**metrics, "probes": [{}]})
    with pytest.raises(ConfigError, match="metrics.json is not whole"):
        render_probe_card(probe_run)


def test_parts_without_towers_have_a_card(converted):
    config = read_json(converted / "config.json")
    changes = {"architecture": "bigvgan", "domain": "audio", "embed_dim": 0, "towers": {}, "prompts": None}
    write_json_atomic(converted / "config.json", {**config, **changes})
    card = render_card(converted)
    assert 'model = verticlip.from_pretrained("ORG/NAME")\n```' in card
    assert ModelCard(card).data.pipeline_tag == "audio-to-audio"


def test_only_the_registered_weights_are_loaded_by_their_name(model_folder, tmp_path):
    packaged = Path(verticlip.__file__).parent / "domains" / "medical" / "weights" / "tiny" / "README.md"
    card = packaged.read_text(encoding="utf-8")
    assert 'verticlip.from_pretrained("medical/tiny")' in card
    assert "verticlip hub verify medical/tiny\n" in card
    other = render_card(make_card_folder(model_folder, tmp_path / "m", config={"name": "medical/tiny"}))
    assert "Demonstration and tests. Not a medical device" in other
    assert 'verticlip.from_pretrained("ORG/NAME")' in other
    assert "verticlip hub verify ORG/NAME --revision " in other


def test_words_are_those_of_the_first_modality_that_is_not_text():
    from verticlip.hub.card_facts import words_of

    for towers, sample in (
        (("text", "audio"), "recording"),
        (("text",), "text"),
        (("image", "text"), "image"),
    ):
        config = SimpleNamespace(towers=dict.fromkeys(towers), domain=None)
        assert words_of(config)["sample"] == sample  # pyright: ignore[reportArgumentType]
