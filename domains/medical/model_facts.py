"""What the catalogue says of the medical models: tasks, sizes, where they are from, figures. Plain data."""

from __future__ import annotations

from ...core.registry import Facts, Measured

_UNIMED, _UNIMED_PAPER = "https://github.com/mbzuai-oryx/UniMed-CLIP", "arXiv 2412.10372"
_HI_ML = "https://github.com/microsoft/hi-ml"
_ANSWERS = ("zero-shot classification", "retrieval")
_UNIMED_PARITY = Measured(
    "image and text features within 3.6e-7 of the authors' code, on a reduced model",
    "verticlip verify unimed_clip tests/golden/unimed_clip/tiny_l14",
)
_HEAT_MAPS = Measured(
    "heat maps within 2.1e-7 of the authors' code, on a reduced model",
    "verticlip verify biovil tests/golden/biovil/phrase_grounding",
)


def _unimed(figure: str, parameters: int) -> Facts:
    """Return the facts of one UniMed-CLIP; ``figure`` is its authors'."""
    theirs = Measured(figure, source=_UNIMED_PAPER)
    return Facts(_ANSWERS, _UNIMED, parameters, (_UNIMED_PARITY, theirs))


FACTS = {
    "medical/tiny": Facts(
        _ANSWERS,
        measured=(
            Measured(
                "brain MRI, 4 classes: accuracy {validation/sources/brain_mri/accuracy:.3f}; "
                "chest X-ray: AUC {validation/sources/chest_xray/auc:.3f}; "
                "blood cells, 3 classes: accuracy {validation/sources/blood_cells/accuracy:.3f}",
                "verticlip train run medical/tiny --data DATA --out RUN",
            ),
        ),
    ),
    "medical/unimed-clip-vit-b16": _unimed("61.63, mean of 21 sets", 195_903_489),
    "medical/unimed-clip-vit-l14-336-base-text": _unimed(
        "64.84, mean of 21 sets; the best average", 414_365_185
    ),
    "medical/unimed-clip-vit-l14-336-large-text": _unimed("62.09, mean of 21 sets", 639_991_809),
    "medical/conceptclip": Facts(
        (*_ANSWERS, "concept annotation"),
        "https://github.com/JerrryNie/ConceptCLIP",
        measured=(
            Measured(
                "every output within 5 % of its tolerance of the authors' code, on a reduced model",
                "verticlip verify conceptclip tests/golden/conceptclip/tiny_b",
            ),
            Measured("PMC-9K image to text R@1 82.85", source="arXiv 2501.15579"),
        ),
    ),
    "medical/biovil": Facts(
        (*_ANSWERS, "phrase grounding"),
        _HI_ML,
        measured=(_HEAT_MAPS, Measured("MS-CXR CNR 1.07, mIoU 0.229", source="arXiv 2301.04558")),
    ),
    "medical/biovil-t": Facts(
        (*_ANSWERS, "phrase grounding", "progression"),
        _HI_ML,
        measured=(_HEAT_MAPS, Measured("MS-CXR CNR 1.33, mIoU 0.240", source="arXiv 2301.04558")),
    ),
    "medical/cxr-bert-general": Facts(
        ("masked words",),
        _HI_ML,
        measured=(
            Measured(
                "embeddings and logits within 2.1e-7 of the authors' code, on a reduced model",
                "verticlip verify biovil tests/golden/biovil/text_encoder",
            ),
        ),
    ),
}
"""{name: its facts}, of every model of the room."""
