"""The shipped prompt sets of the room."""

from __future__ import annotations

import pytest
from verticlip.core.prompts import PromptSet
from verticlip.core.registry import room
from verticlip.domains.audio.prompt_index import PROMPTS

FOLDER = room("audio").folder / "prompts"
SIZES = {
    "esc-50": 50,
    "esc-10": 10,
    "urbansound8k": 10,
    "vggsound": 309,
    "audioset": 527,
    "fsd50k": 200,
    "gtzan": 10,
}


def test_every_file_is_listed_and_every_listed_set_has_a_file():
    assert {path.stem for path in FOLDER.glob("*.yaml")} == {spec.name for spec in PROMPTS}
    assert all(spec.modality and spec.summary for spec in PROMPTS)


@pytest.mark.parametrize("name", SIZES)
def test_a_set_has_its_classes_and_the_sentence_of_the_protocol(name):
    prompts = PromptSet.load(FOLDER / f"{name}.yaml")
    assert prompts.name == name
    assert len(prompts.class_names) == SIZES[name]
    template = "This audio is a {} song." if name == "gtzan" else "This is a sound of {}"
    assert prompts.templates == (template,)
    assert not any("_" in text for label in prompts.class_names for text in prompts.texts(label))


def test_esc_10_answers_to_the_names_of_its_folders_and_of_esc_50():
    small = PromptSet.load(FOLDER / "esc-10.yaml")
    assert small.texts("dog_bark") == ["This is a sound of dog bark", "This is a sound of dog"]
    whole = set(PromptSet.load(FOLDER / "esc-50.yaml").class_names)
    assert all(any(word in whole for word in words) for words in small.classes.values())
