"""The stored reference results of UniMed-CLIP, replayed through the real code."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from verticlip.core.errors import InputError, VerticlipError
from verticlip.core.verify import replay

CASES = ("tiny_b16", "tiny_l14")


@pytest.fixture
def copied(small_golden: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(small_golden / "unimed_clip" / "tiny_l14", tmp_path / "tiny_l14"))


def edit(path: Path, change) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize("case", CASES)
def test_every_stored_output_is_reproduced(small_golden: Path, case: str) -> None:
    report = replay("unimed_clip", small_golden / "unimed_clip" / case)
    assert report.passed
    assert all(check.status == "ok" for check in report.checks)
    assert len(report.checks) > 90


def test_a_case_of_another_name_is_replayed(copied: Path) -> None:
    edit(copied / "config.json", lambda config: config.update(case="another"))
    assert replay("unimed_clip", copied).passed


def test_plain_gelu_would_be_noticed(copied: Path) -> None:
    edit(copied / "config.json", lambda config: config.update(quick_gelu=False))
    report = replay("unimed_clip", copied)
    (image,) = (check for check in report.checks if check.name == "image_features")
    assert image.status == "over"
    assert image.error > 0.01


def test_tokens_are_compared(copied: Path) -> None:
    edit(copied / "texts.json", lambda texts: texts["texts"].__setitem__(1, "left kidney"))
    with pytest.raises(VerticlipError, match=r"tokens of text 1 \('left kidney'\) differ"):
        replay("unimed_clip", copied)


@pytest.mark.parametrize(("key", "value"), [("possible_captions", ["x"]), ("pick_with_random_seed_7", "x")])
def test_captions_are_compared(copied: Path, key: str, value) -> None:
    edit(copied / "texts.json", lambda texts: texts["caption_sampling"][0].update({key: value}))
    with pytest.raises(VerticlipError, match="caption_sampling 0"):
        replay("unimed_clip", copied)


def test_a_setting_that_the_system_does_not_have_is_refused(copied: Path) -> None:
    edit(copied / "config.json", lambda config: config["text"].update(pooler="mean_pooler"))
    with pytest.raises(InputError, match="pooler is 'mean_pooler'; UniMed-CLIP has"):
        replay("unimed_clip", copied)


@pytest.mark.parametrize(
    ("stored", "possible"),
    [
        ("a._mimiccxr_b._mimiccxr__mimiccxr_noreportpresent", ["", "a.", "b.", "noreportpresent"]),
        ("a._mimiccxr_", [""]),
        ("a._chexpert_a._chexpert_", ["", "a.", "a."]),
        (" a ._dr_noreportpresent_dr_", ["", " a .", "noreportpresent"]),
    ],
)
def test_defects_of_the_reference_reader_are_told_from_ours(copied: Path, stored: str, possible) -> None:
    case = {"stored_text": stored, "possible_captions": possible}
    edit(copied / "texts.json", lambda texts: texts.update(caption_sampling=[case]))
    assert replay("unimed_clip", copied).passed


def test_an_empty_text_is_start_and_end_to_the_reference(copied: Path) -> None:
    """It is encoded and then compared, rather than refused as input of a user."""
    edit(copied / "texts.json", lambda texts: texts["texts"].__setitem__(2, ""))
    with pytest.raises(VerticlipError, match=r"tokens of text 2 \(''\) differ"):
        replay("unimed_clip", copied)


def test_class_names_do_not_matter(copied: Path) -> None:
    edit(copied / "texts.json", lambda texts: texts.update(class_prompts={
        "a b": texts["class_prompts"]["a"], "A_B": texts["class_prompts"]["b"]
    }))  # fmt: skip
    assert replay("unimed_clip", copied).passed
