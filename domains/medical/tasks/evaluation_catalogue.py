"""The public evaluation sets: classes in order, layouts on disk, metrics, and what to know about each.

Reference: UniMed-CLIP (Khattak et al. 2024, arXiv 2412.10372), the 21 zero-shot sets and the two that
are left out of its average. Classes and their order are facts of that benchmark.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ....core.data.labelled import FileNames, Folders, Table
from ....core.errors import ConfigError, nearest
from ....core.labelled_sets import LabelledSet
from ....core.prompts import prompt_set


@dataclass(frozen=True)
class EvaluationSet(LabelledSet):
    """A labelled public set.

    Attributes:
        reference_prompts: how many prompts per class the reference uses of its own bank; None for all.
        parts: {name: indices of its classes} that get an accuracy of their own; the choice stays among all.
    """

    reference_prompts: int | None = None
    parts: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


_CHEST = ("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Pleural Effusion")
_YES_NO = ("no", "yes")
_LESION = ("benign", "malignant")
_ORGANS = (
    "heart", "left lung", "right lung", "liver", "spleen", "pancreas", "left kidney", "right kidney",
    "bladder", "left femoral head", "right femoral head",
)  # fmt: skip
_SKIN = {
    "nontumor_skin_necrosis_necrosis": "Necrosis",
    "nontumor_skin_muscle_skeletal": "Skeletal muscle",
    "nontumor_skin_sweatglands_sweatglands": "Eccrine sweat glands",
    "nontumor_skin_vessel_vessel": "Vessels",
    "nontumor_skin_elastosis_elastosis": "Elastosis",
    "nontumor_skin_chondraltissue_chondraltissue": "Chondral tissue",
    "nontumor_skin_hairfollicle_hairfollicle": "Hair follicle",
    "nontumor_skin_epidermis_epidermis": "Epidermis",
    "nontumor_skin_nerves_nerves": "Nerves",
    "nontumor_skin_subcutis_subcutis": "Subcutis",
    "nontumor_skin_dermis_dermis": "Dermis",
    "nontumor_skin_sebaceousglands_sebaceousglands": "Sebaceous glands",
    "tumor_skin_epithelial_sqcc": "Squamous-cell carcinoma",
    "tumor_skin_melanoma_melanoma": "Melanoma in-situ",
    "tumor_skin_epithelial_bcc": "Basal-cell carcinoma",
    "tumor_skin_naevus_naevus": "Naevus",
}
_TUMORS = {written: name for written, name in _SKIN.items() if written.startswith("tumor_")}
_TISSUES = {
    "ADI": "Adipose",
    "DEB": "Debris",
    "LYM": "Lymphocytes",
    "MUC": "Mucus",
    "MUS": "Smooth muscle",
    "NORM": "Normal colon mucosa",
    "STR": "Cancer-associated stroma",
    "TUM": "Colorectal adenocarcinoma epithelium",
}
_BACH = {
    "Benign": "benign tissue", "InSitu": "in-situ carcinoma", "Invasive": "invasive carcinoma",
    "Normal": "normal tissue",
}  # fmt: skip
_GLEASON = {
    "NC": "Benign glands",
    "G3": "Atrophic dense glands",
    "G4": "Cribriform ill-formed fused papillary patterns",
    "G5": "Isolated nest cells without lumen rosetting patterns",
}
_LUNG = {
    "lung_aca": "Lung adenocarcinoma", "lung_n": "Benign lung", "lung_scc": "Lung squamous cell carcinoma",
}  # fmt: skip
_COLON = {"colon_aca": "Colon adenocarcinoma", "colon_n": "Benign colonic tissue"}
_PCAM = ("Lymph node", "Lymph node containing metastatic tumor tissue")
_FIVES = ("age related macular degeneration", "diabetic retinopathy", "glaucoma", "normal")
_DR = ("no_dr", "mild_dr", "moderate_dr", "severe_dr", "full_stage4_dr")
_RADIMAGENET_APPS = "RadImageNet's application sets on GitHub (BMEII-AI/RadImageNet), first fold."
_MEDIMETA = "MedIMeta on Zenodo (record 7884735); the test split is evaluated."
_FLAIR = "image list of the FLAIR project on GitHub (jusiro/FLAIR), images from {}."
_MAYBE_SEEN = "Models trained on UniMed have seen {} and may have seen these images."


def _positions(files: tuple[str, ...], path: int, label: int, **options: Mapping[str, str]) -> Table:
    return Table(files, path=(path,), label=(label,), **options)  # pyright: ignore[reportArgumentType]


def _fold(file: str, app: str, labels: Mapping[str, str]) -> Table:
    names = (file, f"dataframe/{file}", f"{app}/{file}", f"{app}/dataframe/{file}")
    return Table(names, path=("filename", 0), label=(1,), labels=labels)


def _medimeta(folder: str) -> Table:
    names = ("annotations.csv", f"{folder}/annotations.csv")
    return Table(names, path=("filepath", 0), label=(2,), where={"split": "test"})


def _retina(file: str) -> Table:
    return Table((file,), path=("image", 1), label=("categories", 3), literal=True)


def _skin(name: str, labels: Mapping[str, str], *, skip_unknown: bool = False) -> Table:
    files = (f"data/{name}", f"skin_tumor/data/{name}", name)
    return Table(
        files, path=("file", 1), label=("class", 2), labels=labels, where={"set": "Test"},
        skip_unknown=skip_unknown,
    )  # fmt: skip


def _radimagenet_folders() -> dict[str, str]:
    """Return {folder of the original set: class}, for example MR/knee/acl pathology."""
    places = {"abdominal MRI": "MR/abd", "abdominal CT": "CT/abd", "ankle and foot MRI": "MR/af",
              "lung CT": "CT/lung", "ultrasound": "US"}  # fmt: skip
    folders = {}
    for name in prompt_set("radimagenet").class_names:
        part, _, word = name.partition(": ")
        folders[f"{places.get(part, f'MR/{part.split()[0]}')}/{word}"] = name
    return folders


def _radimagenet() -> EvaluationSet:
    classes = prompt_set("radimagenet").class_names
    table = Table(("radimagenet_test_set_formatted.csv",), path=(0,), label=(1,), literal=True)
    folders = _radimagenet_folders()
    kinds = [next((kind for kind in ("MRI", "CT") if f" {kind}: " in name), "ultrasound") for name in classes]
    parts = {
        kind: tuple(i for i, own in enumerate(kinds) if own == kind) for kind in ("MRI", "CT", "ultrasound")
    }
    return EvaluationSet(
        "radimagenet", "mixed", classes, (table, Folders(folders, ("", "radiology_ai"))),
        "RadImageNet (radimagenet.com, on request). The test part is the reference's own list.",
        caution=_MAYBE_SEEN.format("RadImageNet"), averaged=False, parts=parts,
    )  # fmt: skip


SETS: Mapping[str, EvaluationSet] = {
    one.name: one
    for one in (
        EvaluationSet(
            "chexpert-5x200", "X-ray", _CHEST,
            (Table(
                ("chexpert-5x200.csv", "chexpert_5x200.csv", "local_data/chexpert-5x200.csv",
                 "chexpert-5x200-meta.csv"),
                path=("imgpath", "Path", "path"), one_hot={name: name for name in _CHEST},
            ),),
            "Images of CheXpert (Stanford AIMI, on registration); list of 1,000 from the GLoRIA project.",
            images=1000, group=r"(patient\d+)", caution=_MAYBE_SEEN.format("the training part of CheXpert"),
            reference_prompts=11,
        ),
        EvaluationSet(
            "rsna_pneumonia", "X-ray", ("Normal", "Pneumonia"),
            (
                _positions(("RSNA_pneumonia_balanced_testfile.csv",), 1, 2),
                Table(("stage_2_train_labels.csv",), path=("patientId",), label=("Target",),
                      image="stage_2_train_images/{path}.dcm"),
            ),
            "RSNA Pneumonia Detection Challenge on Kaggle. The balanced list was not published; the original "
            "table is read whole and is not balanced.",
            metrics="binary", reference_prompts=1,
            caution=_MAYBE_SEEN.format("ChestX-ray8, where the images of RSNA come from,"),
        ),
        EvaluationSet(
            "acl_mri", "MRI", _YES_NO, (_fold("test_fold1.csv", "acl", {}),), _RADIMAGENET_APPS, "binary",
            group=r"(\d+)_sagittal",
        ),
        EvaluationSet(
            "meniscal_mri", "MRI", _YES_NO,
            (_fold("meniscus_test_fold1.csv", "meniscus", {"p": "yes", "n": "no"}),), _RADIMAGENET_APPS,
            "binary",
        ),
        EvaluationSet(
            "breast_us", "ultrasound", _LESION,
            (_fold("breast_test_fold1.csv", "breast", {}),
             Folders({"benign": "benign", "malignant": "malignant"}, ("Dataset_BUSI_with_GT",), "_mask")),
            _RADIMAGENET_APPS + " The images are those of BUSI (Al-Dhabyani et al. 2020), which is read too.",
            "binary",
        ),
        EvaluationSet(
            "thyroid_us", "ultrasound", _LESION, (_fold("thyroid_test_fold1.csv", "thyroid", {}),),
            _RADIMAGENET_APPS, "binary",
        ),
        *(
            EvaluationSet(f"CT_{view}", "CT", _ORGANS, (_medimeta(f"organs_{view}"),), _MEDIMETA)
            for view in ("axial", "coronal", "sagittal")
        ),
        EvaluationSet("dr_regular", "fundus", _DR, (_medimeta("dr_regular"),), _MEDIMETA),
        EvaluationSet(
            "refuge_retina", "fundus", ("no glaucoma", "glaucoma"),
            (_retina("25_REFUGE.csv"),
             Folders({"Non-Glaucoma": "no glaucoma", "Glaucoma": "glaucoma"},
                     ("Training400", "Training400/Training400"))),
            _FLAIR.format("the REFUGE challenge"), "binary", images=400,
        ),
        EvaluationSet(
            "five_retina", "fundus", _FIVES,
            (_retina("13_FIVES.csv"),
             FileNames(r"^\d+_(?P<label>[ADGN])\.", dict(zip("ADGN", _FIVES, strict=True)),
                       ("train/Original", "test/Original"), "12_A.png")),
            _FLAIR.format("FIVES on figshare (Jin et al. 2022)"), images=800,
        ),
        EvaluationSet(
            "odir_retina", "fundus", ("normal", "pathologic myopia", "cataract"),
            (_retina("08_ODIR200x3.csv"),), _FLAIR.format("ODIR-5K"), images=600,
            caution=_MAYBE_SEEN.format("ODIR-5K"),
        ),
        EvaluationSet(
            "LC25000_lung", "pathology", tuple(_LUNG.values()),
            (Folders(_LUNG, ("", "lung_image_sets", "lung_colon_image_set/lung_image_sets")),),
            "LC25000 (Borkowski et al. 2019), on Kaggle and GitHub.",
        ),
        EvaluationSet(
            "LC25000_colon", "pathology", tuple(_COLON.values()),
            (Folders(_COLON, ("", "colon_image_sets", "lung_colon_image_set/colon_image_sets")),),
            "LC25000 (Borkowski et al. 2019), on Kaggle and GitHub.",
        ),
        EvaluationSet(
            "PCAM", "pathology", _PCAM,
            (FileNames(r"^[^_]+_(?P<label>[01])\.", dict(zip("01", _PCAM, strict=True)),
                       ("PCam_Test_preprocessed", "test"), "123_0.png"),),
            "PatchCamelyon on Zenodo (Veeling et al. 2018). It ships as HDF5: write each test image as "
            "PCam_Test_preprocessed/<number>_<label>.png first.",
        ),
        EvaluationSet(
            "NCK_CRC", "pathology", tuple(_TISSUES.values()), (Folders(_TISSUES, ("CRC-VAL-HE-7K", "")),),
            "CRC-VAL-HE-7K of NCT-CRC-HE-100K on Zenodo (record 1214456); the folder BACK is left out.",
        ),
        EvaluationSet(
            "BACH", "pathology", tuple(_BACH.values()),
            (Table(tuple(f"{place}microscopy_ground_truth.csv" for place in
                         ("", "BACH/", "Photos/", "ICIAR2018_BACH_Challenge/Photos/")),
                   path=(0,), label=(1,), labels=_BACH, image="{label}/{path}"),
             Folders(_BACH, ("", "Photos", "ICIAR2018_BACH_Challenge/Photos"))),
            "ICIAR 2018 BACH challenge on Zenodo (record 3632035), the 400 photographs.",
        ),
        EvaluationSet(
            "Osteo", "pathology", ("Normal non-tumor", "Necrotic", "Tumor"),
            (_positions(("annotations_final.csv", "Osteosarcoma/annotations_final.csv"), 0, 1, labels={
                "Non-Tumor": "Normal non-tumor", "Non-Viable-Tumor": "Necrotic", "Viable": "Tumor"}),),
            "Osteosarcoma-Tumor-Assessment of The Cancer Imaging Archive, with a table image, label.",
        ),
        EvaluationSet(
            "skin_cancer", "pathology", tuple(_SKIN.values()), (_skin("tiles-v2.csv", _SKIN),),
            "Kriegsmann et al. 2022 on heiDATA (10.11588/data/7QCR8S), rows of the set Test.",
        ),
        EvaluationSet(
            "skin_tumor", "pathology", tuple(_TUMORS.values()),
            (_skin("SkinTumorSubset.csv", _TUMORS), _skin("tiles-v2.csv", _TUMORS, skip_unknown=True)),
            "Kriegsmann et al. 2022 on heiDATA (10.11588/data/7QCR8S), tumor rows of the set Test.",
        ),
        EvaluationSet(
            "SICAPv2", "pathology", tuple(_GLEASON.values()),
            (Table(("partition/Test/Test.csv", "Test.csv"), path=("image_name",),
                   one_hot=_GLEASON, image="images/{path}"),),
            "SICAPv2 on Mendeley Data (Silva-Rodriguez et al. 2020); save partition/Test/Test.xlsx as CSV.",
            averaged=False,
        ),
    )
}  # fmt: skip
"""The 21 sets of the published average, and SICAPv2."""


def names() -> tuple[str, ...]:
    """Return the names of all sets, ``radimagenet`` last."""
    return (*SETS, "radimagenet")


def evaluation_set(name: str) -> EvaluationSet:
    """Return a set by name.

    Raises:
        ConfigError: no such set; the nearest one is named.
    """
    if name == "radimagenet":
        return _radimagenet()
    if name not in SETS:
        raise ConfigError(
            f"No evaluation set called {name!r}.{nearest(name, names())} There are: {', '.join(names())}."
        )
    return SETS[name]
