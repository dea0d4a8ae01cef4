from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from verticlip.core.errors import ConfigError, InputError, LimitError
from verticlip.core.limits import Limits
from verticlip.core.prompts import (
    PLAIN_TEMPLATES,
    PromptSet,
    check_labels,
    normalize_label,
    prompt_words,
    select_templates,
    template_scores,
)

BRAIN = """
name: brain-mri
version: "2"
classes:
  glioma: [glioma, glial tumor]
  no_tumor: [no tumor, healthy brain]
templates: ["an MRI scan showing {}.", "brain MRI, {}."]
weights: [3, 1]
prompts:
  no_tumor: ["a normal brain MRI scan."]
"""


@pytest.fixture
def brain(tmp_path: Path) -> PromptSet:
    (tmp_path / "brain.yaml").write_text(BRAIN)
    return PromptSet.load(tmp_path / "brain.yaml")


def test_load_yaml_and_json_give_the_same_set(brain: PromptSet, tmp_path: Path):
    (tmp_path / "brain.json").write_text(json.dumps(brain.model_dump(mode="json")))
    again = PromptSet.load(tmp_path / "brain.json")
    assert again == brain
    assert again.fingerprint == brain.fingerprint
    assert brain.class_names == ("glioma", "no_tumor")


def test_texts_and_weights(brain: PromptSet):
    assert brain.texts("glioma") == [
        "an MRI scan showing glioma.",
        "an MRI scan showing glial tumor.",
        "brain MRI, glioma.",
        "brain MRI, glial tumor.",
    ]
    assert brain.text_weights("glioma") == [0.375, 0.375, 0.125, 0.125]
    assert brain.texts("no_tumor") == ["a normal brain MRI scan."]
    assert brain.text_weights("no_tumor") == [1.0]


def test_fingerprint_follows_content_and_class_order():
    sets = [
        PromptSet.from_labels(["cat", "dog"]),
        PromptSet.from_labels(["dog", "cat"]),
        PromptSet.from_labels(["cat", "dog"], templates=["{}"]),
    ]
    assert len({prompts.fingerprint for prompts in sets}) == 3
    assert sets[0].fingerprint == PromptSet.from_labels(["cat", "dog"]).fingerprint


def test_labels_stay_the_answer_key_and_become_words_in_the_prompt():
    prompts = PromptSet.from_labels(["no_tumor", " MRI  scan"], templates=["shows {}"])
    assert prompts.class_names == ("no_tumor", " MRI  scan")
    assert prompts.texts("no_tumor") == ["shows no tumor"]
    assert prompts.texts(" MRI  scan") == ["shows MRI scan"]


def test_braces_in_a_label_are_not_a_format_string():
    prompts = PromptSet.from_labels(["{0.real}", "{}"], templates=["a {}"])
    assert prompts.texts("{0.real}") == ["a {0.real}"]
    assert prompts.texts("{}") == ["a {}"]


@given(st.text(max_size=20))
@settings(max_examples=100)
def test_normal_form_is_stable(label: str):
    once = normalize_label(label)
    assert normalize_label(prompt_words(label).upper().lower()) == normalize_label(label.upper().lower())
    assert "_" not in once
    assert once == once.strip()


def test_matching_uses_known_classes_and_plain_templates_for_the_rest(brain: PromptSet):
    found = brain.matching(["Glial_Tumor", "stroke", "healthy brain"])
    assert found.class_names == ("Glial_Tumor", "stroke", "healthy brain")
    assert found.texts("Glial_Tumor") == brain.texts("glioma")
    assert found.text_weights("Glial_Tumor") == brain.text_weights("glioma")
    assert found.texts("stroke") == [PLAIN_TEMPLATES[0].replace("{}", "stroke")]
    assert found.texts("healthy brain") == brain.texts("no_tumor")
    assert brain.matching(["stroke"], plain=["{} on CT"]).texts("stroke") == ["stroke on CT"]


def test_matching_by_class_name_that_is_not_among_its_words():
    prompts = PromptSet(name="x", classes={"normal": ("healthy",), "ill": ("sick",)})
    assert prompts.matching(["NORMAL", "other"]).texts("NORMAL") == prompts.texts("normal")


def test_two_labels_of_one_class_are_refused(brain: PromptSet):
    with pytest.raises(
        InputError, match="'glioma' and 'glial tumor' both mean 'glioma' in prompt set 'brain-mri'"
    ):
        brain.matching(["glioma", "glial tumor"])


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([], "labels is empty"),
        ("cat", "must be a list of strings, got the single string 'cat'"),
        (["cat", 3], "Label 1 is int, expected a string"),
        (["cat", " _ "], r"Label 1 \(' _ '\) is empty"),
        (["No_Tumor", "no  tumor"], "'No_Tumor' and 'no  tumor' read the same"),
    ],
)
def test_label_messages(labels: list[str], message: str):
    for refuse in (check_labels, PromptSet.from_labels, PromptSet.from_labels(["a"]).matching):
        with pytest.raises(InputError, match=message):
            refuse(labels)


def test_label_limits(tmp_path: Path):
    with pytest.raises(LimitError, match=r"label 'aaaa.*characters 50 is over the limit of 40"):
        PromptSet.from_labels(["a" * 50], limits=Limits(text_chars=40))
    with pytest.raises(LimitError, match="labels: number 3 is over the limit of 2"):
        PromptSet.from_labels(["a", "b", "c"], limits=Limits(labels=2))
    (tmp_path / "set.json").write_text('{"name": "x", "classes": {"a": ["long text"], "b": ["c"]}}')
    with pytest.raises(LimitError, match=r"set.json: classes 2"):
        PromptSet.load(tmp_path / "set.json", limits=Limits(labels=1))
    with pytest.raises(LimitError, match=r"set.json: class 'a': characters"):
        PromptSet.load(tmp_path / "set.json", limits=Limits(text_chars=20))
    with pytest.raises(LimitError, match=r"set.json: bytes"):
        PromptSet.load(tmp_path / "set.json", limits=Limits(config_bytes=10))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"template": ["{}"]}, "unknown key 'template'.*Did you mean 'templates'"),
        ({"templates": ["no slot"]}, "exactly one {}, got 'no slot'"),
        ({"templates": ["{} {}"]}, "exactly one {}"),
        ({"weights": [1, 2]}, "2 weights for 1 templates"),
        ({"weights": [0]}, "0 or more with a positive sum"),
        ({"classes": {"a": []}}, "class 'a' needs at least one text"),
        ({"classes": {"a": [" "]}}, "class 'a' needs at least one text and no empty one"),
        ({"classes": {"a": ["x"], "b": ["X "]}}, "'x' stands for both 'a' and 'b'"),
        ({"prompts": {"z": ["x"]}}, "prompts name 'z', which is not one of the classes"),
        ({"classes": {}}, "classes"),
    ],
)
def test_file_messages(change: dict[str, object], message: str, tmp_path: Path):
    path = tmp_path / "set.json"
    path.write_text(json.dumps({"name": "x", "classes": {"a": ["a"]}, "templates": ["{}"], **change}))
    with pytest.raises(ConfigError, match=message):
        PromptSet.load(path)


def test_template_message_of_from_labels():
    with pytest.raises(ConfigError, match=r"exactly one \{\}, got 'a photo'"):
        PromptSet.from_labels(["a"], templates=["a photo"])


def embeddings(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_equal_templates_get_equal_weight_and_weights_sum_to_one():
    prompts = PromptSet.from_labels(["a", "b"], templates=["{}", "a {}", "{}."])
    texts = embeddings(3, 2, 8)
    texts[2] = texts[0]
    weighted = prompts.weight(
        texts, embeddings(9, 8, seed=1), scale=10.0, pretrain_embeddings=embeddings(7, 8, seed=2)
    )
    assert weighted.weights is not None
    assert weighted.weights[0] == pytest.approx(weighted.weights[2], rel=1e-4)
    assert weighted.weights[0] != pytest.approx(weighted.weights[1], rel=1e-2)
    assert sum(weighted.weights) == pytest.approx(1.0)
    assert weighted.fingerprint != prompts.fingerprint
    alone = prompts.weight(texts, embeddings(9, 8, seed=1), scale=10.0)
    assert alone.weights != weighted.weights


def test_selection_keeps_the_best_templates_and_falls_back_to_weights():
    prompts = PromptSet.from_labels(["a", "b"], templates=["{}", "a {}", "{}.", "the {}"])
    texts, images = embeddings(4, 2, 8), embeddings(9, 8, seed=1)
    plain = prompts.weight(texts, images, scale=10.0).weights
    chosen = prompts.weight(texts, images, scale=10.0, select_above=0.5).weights
    assert plain is not None
    assert chosen is not None
    assert set(chosen) == {0.0, 1.0}
    assert chosen[plain.index(max(plain))] == 1.0
    assert prompts.weight(texts, images, scale=10.0, select_above=1e9).weights == plain


def test_a_constant_on_one_template_and_class_cancels_in_mode_both():
    logits, prior = embeddings(9, 4, 3), embeddings(7, 4, 3, seed=1)
    shift = torch.zeros(4, 3)
    shift[2, 1] = 50.0
    before = template_scores(logits, prior, debias="both")
    torch.testing.assert_close(
        template_scores(logits + shift, prior + shift, debias="both"), before, atol=1e-4, rtol=0
    )
    assert not torch.allclose(template_scores(logits + shift, prior, debias="none"), before)


def test_selection_by_hand():
    # Median 3, absolute deviations 2 1 0 1 97, their median 1: only 100 is more than 1 above.
    assert select_templates(torch.tensor([1.0, 2, 3, 4, 100]), 1.0).tolist() == [4]


def test_weight_messages(brain: PromptSet):
    with pytest.raises(InputError, match="Class 'no_tumor' of 'brain-mri' has ready sentences"):
        brain.weight(embeddings(2, 2, 8), embeddings(3, 8), scale=1.0)
    with pytest.raises(InputError, match=r"must be \[1 templates, 2 classes, D\], got \(2, 2, 8\)"):
        PromptSet.from_labels(["a", "b"]).weight(embeddings(2, 2, 8), embeddings(3, 8), scale=1.0)
    with pytest.raises(InputError, match="debias='both' needs pretrain_logits"):
        template_scores(embeddings(2, 2, 2), debias="both")
