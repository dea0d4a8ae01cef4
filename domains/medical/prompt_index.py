"""The prompt sets of the room: plain data, one YAML file each under ``prompts/``."""

from __future__ import annotations

from ...core.registry import PromptSpec

_RADIMAGENET = {
    "knee MRI": "radimagenet-mri-knee",
    "shoulder MRI": "radimagenet-mri-shoulder",
    "hip MRI": "radimagenet-mri-hip",
    "spine MRI": "radimagenet-mri-spine",
    "brain MRI": "radimagenet-mri-brain",
    "abdominal MRI": "radimagenet-mri-abdomen",
    "abdominal CT": "radimagenet-ct-abdomen",
    "ankle and foot MRI": "radimagenet-mri-ankle-foot",
    "lung CT": "radimagenet-ct-lung",
    "ultrasound": "radimagenet-us-organs",
}
"""Body part: its set, in the index order of the 165 classes."""


def _modality(part: str) -> str:
    return next((word for word in ("MRI", "CT") if word in part), "ultrasound")


PROMPTS = (
    PromptSpec("tiny", "mixed", "the nine classes of medical/tiny"),
    # Public evaluation sets; the names are those of the sets.
    PromptSpec("chexpert-5x200", "X-ray", "five chest findings"),
    PromptSpec("rsna_pneumonia", "X-ray", "pneumonia or none"),
    PromptSpec("rsna_pneumonia-statements", "X-ray", "pneumonia as reports state it or rule it out"),
    PromptSpec("acl_mri", "MRI", "anterior cruciate ligament, intact or torn"),
    PromptSpec("meniscal_mri", "MRI", "meniscus, normal or torn"),
    PromptSpec("breast_us", "ultrasound", "breast lesion, benign or malignant"),
    PromptSpec("thyroid_us", "ultrasound", "thyroid nodule, benign or malignant, by shape and margin"),
    PromptSpec("CT_axial", "CT", "eleven organs on axial slices"),
    PromptSpec("CT_coronal", "CT", "eleven organs on coronal slices"),
    PromptSpec("CT_sagittal", "CT", "eleven organs on sagittal slices"),
    PromptSpec("dr_regular", "fundus", "five grades of diabetic retinopathy"),
    PromptSpec("refuge_retina", "fundus", "glaucoma or none"),
    PromptSpec("five_retina", "fundus", "macular degeneration, diabetic retinopathy, glaucoma or normal"),
    PromptSpec("odir_retina", "fundus", "normal, pathologic myopia or cataract"),
    PromptSpec("LC25000_lung", "pathology", "lung tissue, two cancers or benign"),
    PromptSpec("LC25000_colon", "pathology", "colon tissue, cancer or benign"),
    PromptSpec("PCAM", "pathology", "lymph node with or without metastasis"),
    PromptSpec("NCK_CRC", "pathology", "eight tissues of colorectal cancer specimens"),
    PromptSpec("BACH", "pathology", "breast tissue: benign, in situ, invasive, normal"),
    PromptSpec("Osteo", "pathology", "treated osteosarcoma: normal, necrotic, viable"),
    PromptSpec("skin_cancer", "pathology", "sixteen skin tissues and tumors"),
    PromptSpec("skin_tumor", "pathology", "four skin tumors"),
    PromptSpec("SICAPv2", "pathology", "Gleason patterns of prostate biopsies"),
    PromptSpec("radimagenet", "mixed", "all 165 classes of RadImageNet", _RADIMAGENET),
    *(
        PromptSpec(name, _modality(part), f"classes of RadImageNet: {part}")
        for part, name in _RADIMAGENET.items()
    ),
    # Common findings, for users' own images.
    PromptSpec("chest-xray-findings", "X-ray", "fourteen chest findings, stated as present"),
    PromptSpec("chest-xray-findings-absent", "X-ray", "the same fourteen findings, denied"),
    PromptSpec("brain-mri", "MRI", "common findings of the brain"),
    PromptSpec("mammography", "mammography", "masses, calcifications, distortion, asymmetry or none"),
    PromptSpec("breast-ultrasound", "ultrasound", "cysts, fibroadenoma, carcinoma and others"),
    PromptSpec("fundus", "fundus", "common diseases of the retina and optic nerve"),
    PromptSpec("dermatoscopy", "dermatoscopy", "eight kinds of skin lesion"),
    PromptSpec("histology-organs", "pathology", "fifteen organs in H&E sections"),
    PromptSpec("ct-organs", "CT", "fourteen organs in any plane"),
)
"""Every set by its short name."""
