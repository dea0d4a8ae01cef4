"""The shipped prompt sets: they load, say enough about each class, and fit the models that read them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from verticlip.core.errors import ConfigError
from verticlip.core.prompts import PromptSet, prompt_set
from verticlip.core.registry import room
from verticlip.domains.medical.tasks import evaluation_catalogue as catalogue

NAMES = sorted(set(room("medical").prompts) - {"tiny"})
# Class names in index order, as the benchmark lists them.
ORGANS = "heart; left lung; right lung; liver; spleen; pancreas; left kidney; right kidney; bladder; left femoral head; right femoral head"
CLASSES = {
    "chexpert-5x200": "Atelectasis; Cardiomegaly; Consolidation; Edema; Pleural Effusion",
    "rsna_pneumonia": "Normal; Pneumonia",
    "acl_mri": "no; yes",
    "meniscal_mri": "no; yes",
    "breast_us": "benign; malignant",
    "thyroid_us": "benign; malignant",
    "CT_axial": ORGANS,
    "CT_coronal": ORGANS,
    "CT_sagittal": ORGANS,
    "dr_regular": "no_dr; mild_dr; moderate_dr; severe_dr; full_stage4_dr",
    "refuge_retina": "no glaucoma; glaucoma",
    "five_retina": "age related macular degeneration; diabetic retinopathy; glaucoma; normal",
    "odir_retina": "normal; pathologic myopia; cataract",
    "LC25000_lung": "Lung adenocarcinoma; Benign lung; Lung squamous cell carcinoma",
    "LC25000_colon": "Colon adenocarcinoma; Benign colonic tissue",
    "PCAM": "Lymph node; Lymph node containing metastatic tumor tissue",
    "NCK_CRC": "Adipose; Debris; Lymphocytes; Mucus; Smooth muscle; Normal colon mucosa; Cancer-associated stroma; Colorectal adenocarcinoma epithelium",
    "BACH": "benign tissue; in-situ carcinoma; invasive carcinoma; normal tissue",
    "Osteo": "Normal non-tumor; Necrotic; Tumor",
    "skin_cancer": "Necrosis; Skeletal muscle; Eccrine sweat glands; Vessels; Elastosis; Chondral tissue; Hair follicle; Epidermis; Nerves; Subcutis; Dermis; Sebaceous glands; Squamous-cell carcinoma; Melanoma in-situ; Basal-cell carcinoma; Naevus",
    "skin_tumor": "Squamous-cell carcinoma; Melanoma in-situ; Basal-cell carcinoma; Naevus",
    "SICAPv2": "Benign glands; Atrophic dense glands; Cribriform ill-formed fused papillary patterns; Isolated nest cells without lumen rosetting patterns",
}
PARTS = {
    "knee MRI": 18, "shoulder MRI": 14, "hip MRI": 14, "spine MRI": 9, "brain MRI": 10, "abdominal MRI": 26,
    "abdominal CT": 28, "ankle and foot MRI": 25, "lung CT": 6, "ultrasound": 15,
}  # fmt: skip


def test_every_file_is_listed_and_every_listed_set_has_a_file() -> None:
    home = room("medical")
    files = {path.stem for path in (home.folder / "prompts").glob("*.yaml")}
    assert files == {name for name, spec in home.prompts.items() if not spec.parts}
    assert all(spec.modality and spec.summary for spec in home.prompts.values())


@pytest.mark.parametrize("name", NAMES)
def test_what_a_set_says(name: str) -> None:
    prompts = prompt_set(name)
    assert prompts.name == name
    seen: dict[str, str] = {}
    for label in prompts.class_names:
        texts = prompts.texts(label)
        assert len(texts) >= 3, label
        for text in texts:
            assert text.isascii(), text
            assert text == " ".join(text.split()), text
            assert not re.search(r"[{}<>]|TODO|XXX|lorem", text), text
            # A WordPiece vocabulary cuts medical words into two to four; 75 leaves room for the two ends.
            assert len(text.split()) <= 60, text
            assert len(re.findall(r"\w{1,4}|[^\w\s]", text)) <= 75, text
            assert seen.setdefault(text.casefold(), label) == label, text
        assert len({text.casefold() for text in texts}) == len(texts), label


@pytest.mark.parametrize("name", CLASSES)
def test_classes_stand_in_the_order_of_the_benchmark(name: str) -> None:
    assert "; ".join(prompt_set(name).class_names) == CLASSES[name]
    assert "; ".join(catalogue.evaluation_set(name).classes) == CLASSES[name]


def test_there_are_the_sets_of_the_published_average() -> None:
    averaged = [name for name in catalogue.names() if catalogue.evaluation_set(name).averaged]
    assert len(averaged) == 21
    assert set(catalogue.names()) == {*CLASSES, "radimagenet"}
    binary = {name for name in averaged if catalogue.evaluation_set(name).metrics == "binary"}
    assert binary == {"rsna_pneumonia", "acl_mri", "meniscal_mri", "breast_us", "thyroid_us", "refuge_retina"}


def test_radimagenet_joins_its_parts() -> None:
    prompts = prompt_set("radimagenet")
    counts: dict[str, int] = {}
    for name in prompts.class_names:
        counts[name.partition(": ")[0]] = counts.get(name.partition(": ")[0], 0) + 1
    assert list(counts.items()) == list(PARTS.items())
    assert sum(PARTS.values()) == 165
    assert prompts.class_names[0] == "knee MRI: meniscal abnormality"
    assert prompts.class_names[-1] == "ultrasound: last"
    assert prompts.texts("knee MRI: mcl pathology") == prompt_set("radimagenet-mri-knee").texts(
        "mcl pathology"
    )


def test_findings_are_stated_and_denied_in_one_order() -> None:
    present, absent = prompt_set("chest-xray-findings"), prompt_set("chest-xray-findings-absent")
    assert present.class_names == absent.class_names
    assert len(present.class_names) == 14
    both = {name: {*present.texts(name), *absent.texts(name)} for name in present.class_names}
    assert all(len(both[name]) == len(present.texts(name)) + len(absent.texts(name)) for name in both)


def test_a_set_is_found_by_either_name_or_as_a_file(tmp_path: Path) -> None:
    assert prompt_set("medical/PCAM") == prompt_set("PCAM")
    path = tmp_path / "own.yaml"
    path.write_text("name: own\nclasses: {cat: [cat], dog: [dog]}\n")
    assert prompt_set(path) == PromptSet.load(path)
    with pytest.raises(ConfigError, match=r"No prompt set called 'PCAMM'\. Did you mean"):
        prompt_set("PCAMM")
    with pytest.raises(ConfigError, match="No prompt set called 'urban/PCAM'"):
        prompt_set("urban/PCAM")
