"""Labelled sets whose captions, or reports, are written from the labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from verticlip.core.errors import ConfigError
from verticlip.core.registry import room
from verticlip.domains.medical.biovil.sections import split_report
from verticlip.domains.medical.unimed.captioned import (
    label_reports,
    read_captioned_boxes,
    read_captioned_npz,
)
from verticlip.domains.medical.unimed.templates import CaptionRequest, TemplateCaptions, concept_phrases


@pytest.fixture
def npz(tmp_path: Path) -> Path:
    path = tmp_path / "set.npz"
    arrays = {f"{split}_images": np.zeros((4, 8, 8), np.uint8) for split in ("train", "val")}
    labels = {f"{split}_labels": np.array([[0], [1], [1], [0]]) for split in ("train", "val")}
    np.savez(path, **arrays, **labels)
    return path


def test_an_npz_gets_captions_and_the_words_of_its_concepts(npz):
    rows = read_captioned_npz(npz, labels=["normal", "pneumonia"], modality="X-ray", anatomy="chest", count=6)
    assert [row["label"] for row in rows[:4]] == ["normal", "pneumonia", "pneumonia", "normal"]
    assert {len(row["text"]) for row in rows} == {6}
    assert rows[1]["text"] == rows[2]["text"] != rows[0]["text"]
    assert rows[1]["extras"]["phrases"][0] == "pneumonia"
    assert rows[5]["split"] == "val"
    assert rows[0]["locator"] == {"array": "train_images", "index": 0}


def test_every_caption_names_a_finding_and_nothing_else_that_is_looked_up():
    for labels in (("normal",), ("pneumonia",), ("Mass", "no_tumor")):
        request = CaptionRequest(labels, "X-ray", "chest", 60)
        phrases = concept_phrases(request)
        assert phrases[-1] == "chest"
        findings = phrases[: phrases.index("X-ray")]
        for caption in TemplateCaptions()(request):
            assert any(finding.casefold() in caption.casefold() for finding in findings), caption
    assert concept_phrases(CaptionRequest(("Mass", "no_tumor"))) == ["mass", "no tumor"]


def test_reports_have_both_sections_and_say_the_same(npz):
    rows = read_captioned_npz(npz, labels=["normal", "pneumonia"], modality="X-ray", reports=True)
    for report in rows[1]["text"]:
        sections = split_report(report)
        assert set(sections) == {"findings", "impression"}
        assert all("pneumonia" in section.casefold() for section in sections.values())
    assert len(set(rows[1]["text"])) == len(rows[1]["text"]) > 5
    with pytest.raises(ConfigError, match=r"A report takes 3 captions, here are 2. Raise count."):
        label_reports(["a.", "b.", "c: d."])


def test_boxes_are_called_by_the_words_that_were_given(tmp_path):
    Image.new("RGB", (40, 40)).save(tmp_path / "a.png")
    box = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>20</xmax><ymax>20</ymax></bndbox>"
    objects = "".join(f"<object><name>{name}</name>{box}</object>" for name in ("RBC", "Platelets"))
    size = "<size><width>40</width><height>40</height></size>"
    (tmp_path / "a.xml").write_text(f"<annotation>{size}{objects}</annotation>")
    rows = read_captioned_boxes(
        tmp_path, names=["RBC = red blood cell"], modality="microscopy", anatomy="blood"
    )
    assert [row["label"] for row in rows] == ["red blood cell", "Platelets"]
    assert all("red blood cell" in text.casefold() for text in rows[0]["text"])
    assert rows[1]["extras"]["phrases"][0] == "platelets"
    with pytest.raises(ConfigError, match=r"'RBC' is not label=words, for example"):
        read_captioned_boxes(tmp_path, names=["RBC"])
    with pytest.raises(
        ConfigError, match=r"names has 'WBC', which no box is labelled; labels: Platelets, RBC"
    ):
        read_captioned_boxes(tmp_path, names=["WBC=x"])


def test_recipes_reach_them_by_name():
    medical = room("medical")
    assert medical.function("readers", "captioned_npz") is read_captioned_npz
    assert medical.function("readers", "captioned_boxes") is read_captioned_boxes
