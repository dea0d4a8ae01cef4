"""The sentences that queries are means of, as the published scripts fill them in."""

from __future__ import annotations

import pytest
from verticlip.core.limits import DEFAULT
from verticlip.core.prompts import PromptSet

_FOUR = [
    "a photo of {}.",
    "a photo of the small {}.",
    "a low resolution photo of a {}.",
    "a photo of many {}.",
]


def load(root, name) -> PromptSet:
    return PromptSet.load(root / "domains" / "audio" / "prompts" / f"{name}.yaml")


@pytest.mark.parametrize(
    ("name", "templates"),
    [
        ("clipsep", _FOUR),
        ("clipsep-eval", [_FOUR[0], _FOUR[1], _FOUR[1], *_FOUR[2:]]),
        ("clipsep-train", ["a photo of {}"]),
    ],
)
def test_the_published_sentences(root, name, templates):
    prompts = load(root, name)
    assert prompts.name == name
    assert len(prompts.classes) == 11
    # The lists of MUSIC have underscores, and they reach the text tower unchanged.
    assert prompts.texts("acoustic_guitar") == [one.format("acoustic_guitar") for one in templates]
    assert prompts.text_weights("violin") == pytest.approx([1 / len(templates)] * len(templates))


def test_other_words_fill_the_same_sentences(root):
    prompts = load(root, "clipsep-eval")
    asked = prompts.matching(["playing bagpipes"], plain=prompts.templates, limits=DEFAULT)
    texts = asked.texts("playing bagpipes")
    assert len(texts) == 5
    assert texts.count("a photo of the small playing bagpipes.") == 2
