from __future__ import annotations

import pytest
from make_card_folder import make_card_folder
from verticlip.core.errors import ConfigError
from verticlip.hub.card import check_card, render_card


@pytest.fixture(scope="module")
def folder(model_folder, tmp_path_factory):
    return make_card_folder(model_folder, tmp_path_factory.mktemp("cards") / "m")


def test_a_rendered_card_has_no_problems_and_may_end_with_a_note(folder):
    card = render_card(folder)
    assert check_card(card, folder) == []
    assert check_card(card + "\n## Note\n\nWe also make bicycles.\n", folder) == []


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("license: apache-2.0", "license: mit", "Metadata: license is 'mit'; the folder's records give 'apache-2.0'."),
        ("license: apache-2.0", "license: mine", "Metadata: license 'mine' is no identifier of the Hub."),
        ("license: apache-2.0", "license: other", "Metadata: license other needs license_name and license_link."),
        ("library_name: verticlip", "library_name: timm", "Metadata: library_name is not verticlip."),
        ("pipeline_tag: zero-shot-image", "pipeline_tag: magic-image", "is no task of the Hub."),
        ("- verticlip\n", "", "Metadata: tags lack verticlip"),
        ("model-index:\n- name: random", "model-index:\n- title: random", "Metadata: the Hub's reader refuses it"),
        ("value: 0.8\n", "value: 0.99\n", "Metadata: model-index is "),
        ("## Limits\n", "## Limit\n", "The section 'Limits' is missing."),
        ("0.800 (0.700 to 0.900)", "0.990 (0.980 to 1.000)", "In 'Results on validation': '| shapes | 0.990"),
        ("Random weights.", "Cures everything.", "In the beginning: '**Cures everything.**'"),
        ("Drawn shapes |", "{origin} |", "A place was left unfilled: {origin}."),
        ("---\nlicense", "license", "The card does not begin with metadata between '---' lines"),
        ("license: apache-2.0", "license: [apache", "The card does not begin with metadata between '---' lines"),
        ("---\n\n# random", "inference: false\n---\n\n# random", "Metadata: inference is False; "),
    ],
)  # fmt: skip
def test_what_does_not_agree_is_said(folder, old, new, expected):
    card = render_card(folder)
    assert old in card
    problems = check_card(card.replace(old, new, 1), folder)
    assert any(expected in problem for problem in problems), problems


def test_records_that_changed_since_are_found(model_folder, folder, tmp_path):
    card = render_card(folder)
    other = make_card_folder(model_folder, tmp_path / "m", metrics={"steps": 99})
    assert check_card(card, other) == [
        "In 'Training': '| steps | 1,200, at most 2 epochs; the best model was kept |'; the folder's records give "
        "'| steps | 99, at most 2 epochs; the best model was kept |'."
    ]


DAMAGE = {
    "run": None, "validation": {"sources": [1]}, "baseline": 3, "steps": "many", "classes": None, "source_splits": 1,
    "further": {"summary": [1]}, "source_files": {"shapes": 3}, "start": "x", "card_header": [1],
    "equal_captions": {"shapes": {"in_training": "x"}}, "adapted": 1,
}  # fmt: skip


@pytest.mark.parametrize("key", DAMAGE)
def test_damaged_records_are_a_sentence_and_no_traceback(model_folder, tmp_path, key):
    metrics = {"start": {"id": "a/b", "revision": "c"}, key: DAMAGE[key]}
    made = make_card_folder(model_folder, tmp_path / "m", metrics=metrics)
    with pytest.raises(ConfigError, match=r"metrics.json is not whole \(.*Take the file that training"):
        check_card("x", made)


def test_many_differences_are_cut_short(folder):
    header, mark, body = render_card(folder).partition("\n# ")
    problems = check_card(header + mark + body.replace(" ", "  "), folder)
    assert problems[-1] == "There may be more; write the card again."
