"""From labels to captions: templates, language models, the bank on disk, pairs and the reader."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from verticlip.core import registry
from verticlip.core.errors import ConfigError, DataError, LimitError
from verticlip.core.limits import DEFAULT
from verticlip.domains.medical.unimed.captions import (
    CaptionBank,
    CaptionEntry,
    label_sets_of,
    labels_of,
    language_model,
    make_pairs,
    read_caption_bank,
)
from verticlip.domains.medical.unimed.templates import (
    MODALITIES,
    CaptionRequest,
    TemplateCaptions,
    join_labels,
    modality_names,
)


@pytest.fixture
def bank() -> CaptionBank:
    bank = CaptionBank()
    sets = [["Atelectasis"], ["Atelectasis", "Pleural_Effusion"], ["No Finding"]]
    bank.generate("chexpert", sets, modality="X-ray", anatomy="chest")
    return bank


def test_templates_are_many_different_and_follow_the_seed() -> None:
    request = CaptionRequest(("glioma",), "MRI", "brain", count=10)
    first = TemplateCaptions(seed=1)(request)
    assert len(set(first)) == 10
    assert first == TemplateCaptions(seed=1)(request)
    assert first != TemplateCaptions(seed=2)(request)
    assert all("glioma" in caption.lower() for caption in first)
    assert len({caption.split(" ")[0] for caption in first}) > 4


@pytest.mark.parametrize("modality", [*MODALITIES, "cxr", "CT scan", "OCT", ""])
def test_templates_name_the_modality_with_the_right_article(modality: str) -> None:
    captions = TemplateCaptions()(CaptionRequest(("edema",), modality, "chest", count=100))
    names = modality_names(modality)
    assert any(name in caption for caption in captions for name in names)
    for caption in captions:
        assert "{" not in caption
        for wrong in ("a MRI", "a MR ", "an CT", "a X-ray", "a ultrasound", "a OCT", "a image", "  "):
            assert wrong not in caption.replace("A ", "a ").replace("An ", "an "), caption


def test_normal_images_get_sentences_of_their_own() -> None:
    captions = TemplateCaptions()(CaptionRequest(("No Finding",), "X-ray", "chest", count=12))
    assert len(captions) == 12
    assert not any("showing no finding" in caption.lower() for caption in captions)
    others = TemplateCaptions()(CaptionRequest(("no tumor",), "MRI", "brain", count=12))
    assert all("no tumor" in caption.lower() for caption in others)


def test_labels_read_as_words() -> None:
    assert join_labels(["Pleural_Effusion"]) == "pleural effusion"
    assert join_labels(["MCL pathology", "Edema"]) == "MCL pathology and edema"
    assert join_labels(["a", "b", "EOSINOPHIL"]) == "a, b and eosinophil"


def test_any_function_from_text_to_texts_is_a_writer() -> None:
    asked = []

    def call(prompt: str) -> list[str]:
        asked.append(prompt)
        return ["1. A film with edema.", "- Edema on a film.", "", '"Edema."', "Edema."]

    bank = CaptionBank()
    assert (
        bank.generate("x", [["edema"]], modality="X-ray", anatomy="chest", writer=language_model(call)) == 1
    )
    assert bank.captions("x", ["edema"]) == ("A film with edema.", "Edema on a film.", "Edema.")
    assert bank.entry("x", ["edema"]).writer == "language model"
    assert "X-ray image of the chest whose label is: edema" in asked[0]
    with pytest.raises(DataError, match="the writer gave no caption for 'edema'"):
        bank.generate("y", [["edema"]], writer=lambda request: ["", " "])
    with pytest.raises(DataError, match="gave str, expected a list of strings"):
        bank.generate("y", [["edema"]], writer=language_model(lambda prompt: "one text"))


def test_captions_belong_to_the_combination_of_labels_in_any_order(bank: CaptionBank) -> None:
    both = bank.captions("chexpert", ["pleural effusion", "atelectasis"])
    assert both != bank.captions("chexpert", ["Atelectasis"])
    assert all("atelectasis and pleural effusion" in caption.lower() for caption in both)


def test_what_is_there_is_kept_unless_replaced(bank: CaptionBank) -> None:
    bank.put(CaptionEntry(dataset="chexpert", labels=("Atelectasis",), captions=("By hand.",), writer="hand"))
    assert bank.generate("chexpert", [["atelectasis"]]) == 0
    assert bank.captions("chexpert", ["Atelectasis"]) == ("By hand.",)
    assert bank.generate("chexpert", [["atelectasis"]], replace=True) == 1
    assert len(bank.captions("chexpert", ["Atelectasis"])) == 10


def test_a_bank_survives_the_disk_and_an_editor(bank: CaptionBank, tmp_path: Path) -> None:
    path = tmp_path / "bank.json"
    bank.save(path)
    first = path.read_bytes()
    again = CaptionBank.load(path)
    assert sorted(map(repr, again)) == sorted(map(repr, bank))
    again.save(path)
    assert path.read_bytes() == first
    content = json.loads(path.read_text())
    content["entries"][0]["captions"] = ["Written by a person."]
    path.write_text(json.dumps(content))
    edited = CaptionBank.load(path)
    assert ("Written by a person.",) in [entry.captions for entry in edited]


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda entry: entry.update(captions=[]), "captions"),
        (lambda entry: entry.update(captions=["a", " "]), "an empty text; remove it"),
        (lambda entry: entry.update(captions=["a", "a"]), "'a' stands twice"),
        (
            lambda entry: entry.update(captions=["a_chexpert_b"]),
            "contains '_chexpert_', which training shards",
        ),
        (lambda entry: entry.update(caption="a"), "unknown key.*Did you mean 'captions'"),
    ],
)
def test_a_bank_that_cannot_be_used(bank: CaptionBank, tmp_path: Path, change, match: str) -> None:
    bank.save(tmp_path / "bank.json")
    content = json.loads((tmp_path / "bank.json").read_text())
    change(content["entries"][0])
    (tmp_path / "bank.json").write_text(json.dumps(content))
    with pytest.raises(ConfigError, match=match):
        CaptionBank.load(tmp_path / "bank.json")


def test_a_label_set_that_stands_twice_and_a_long_caption(bank: CaptionBank, tmp_path: Path) -> None:
    bank.save(tmp_path / "bank.json")
    content = json.loads((tmp_path / "bank.json").read_text())
    content["entries"].append({**content["entries"][0], "labels": ["ATELECTASIS"]})
    (tmp_path / "bank.json").write_text(json.dumps(content))
    with pytest.raises(
        ConfigError, match="'ATELECTASIS' (has captions|stand).*twice|captions for 'ATELECTASIS'"
    ):
        CaptionBank.load(tmp_path / "bank.json")
    bank.save(tmp_path / "bank.json")
    with pytest.raises(LimitError, match="bank.json: 'Atelectasis': characters"):
        CaptionBank.load(tmp_path / "bank.json", limits=DEFAULT.with_(text_chars=10))


def test_pairs_carry_captions_labels_and_what_the_image_is_of(bank: CaptionBank) -> None:
    rows = [
        {"id": "1", "path": "a.png", "label": "Atelectasis"},
        {"id": "2", "path": "b.png", "extras": {"labels": ["Pleural Effusion", "Atelectasis"], "age": 3}},
        {"id": "3", "path": "c.png", "label": "No Finding", "text": "Clear lungs."},
    ]
    pairs = make_pairs(rows, bank, dataset="chexpert")
    assert pairs[0]["text"] == list(bank.captions("chexpert", ["Atelectasis"]))
    words = ["atelectasis", "X-ray", "radiograph", "plain film", "projection radiograph", "chest"]
    assert pairs[0]["extras"] == {
        "labels": ["Atelectasis"], "modality": "X-ray", "anatomy": "chest", "phrases": words,
    }  # fmt: skip
    assert pairs[1]["label"] == "Pleural Effusion; Atelectasis"
    assert pairs[1]["extras"]["age"] == 3
    assert pairs[2]["text"] == ["Clear lungs."]
    assert pairs[2]["extras"]["report"] == "Clear lungs."
    assert make_pairs(rows, bank, dataset="chexpert", reports="with")[2]["text"][0] == "Clear lungs."
    assert "Clear lungs." not in make_pairs(rows, bank, dataset="chexpert", reports="ignore")[2]["text"]
    assert labels_of({"label": "a; b"}) == ("a", "b")
    assert label_sets_of([*rows, {"label": "atelectasis"}]) == [
        ("atelectasis",), ("Pleural Effusion", "Atelectasis"), ("No Finding",),
    ]  # fmt: skip


def test_missing_captions_name_the_nearest(bank: CaptionBank) -> None:
    with pytest.raises(DataError, match="nothing for 'Atelectas'. Did you mean 'Atelectasis'.*generate"):
        make_pairs([{"id": "1", "label": "Atelectas"}], bank, dataset="chexpert")
    with pytest.raises(DataError, match="no data set 'chexprt'; it has: chexpert. Did you mean 'chexpert'"):
        make_pairs([{"id": "1", "label": "x"}], bank, dataset="chexprt")
    with pytest.raises(DataError, match="Row '1' has no label"):
        make_pairs([{"id": "1"}], bank, dataset="chexpert")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    from PIL import Image

    for name in ("glioma", "no_tumor"):
        (tmp_path / "brain" / name).mkdir(parents=True)
        for number in range(2):
            Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "brain" / name / f"{number}.png")
    return tmp_path / "brain"


def test_the_reader_takes_a_labelled_folder_and_a_bank(folder: Path) -> None:
    bank = CaptionBank()
    bank.generate("brain-mri", [["glioma"], ["no tumor"]], modality="MRI", anatomy="brain", count=3)
    bank.save(folder.parent / "captions.json")
    rows = read_caption_bank(folder, bank="captions.json")
    assert len(rows) == 4
    assert {row["label"] for row in rows} == {"glioma", "no_tumor"}
    assert all(Path(row["path"]).is_file() and len(row["text"]) == 3 for row in rows)
    (folder.parent / "captions.json").rename(folder / "captions.json")
    assert read_caption_bank(folder, bank="captions.json") == rows
    with pytest.raises(ConfigError, match="no such file"):
        read_caption_bank(folder, bank="missing.json")


def test_the_reader_writes_from_templates_without_a_bank(folder: Path) -> None:
    read = registry.room("medical").function("readers", "caption_bank")
    rows = read(folder, modality="MRI", anatomy="brain", count=4)
    assert all(len(row["text"]) == 4 for row in rows)
    assert rows[0]["extras"]["modality"] == "MRI"


def test_the_reader_takes_a_manifest_with_reports(folder: Path) -> None:
    lines = ["path,label,text", "glioma/0.png,glioma; edema,A report.", "glioma/1.png,glioma,"]
    (folder / "rows.csv").write_text("\n".join(lines))
    rows = read_caption_bank(folder / "rows.csv", modality="MRI")
    assert rows[0]["text"] == ["A report."]
    assert rows[0]["extras"]["labels"] == ["glioma", "edema"]
    assert len(rows[1]["text"]) == 10
