"""How each public set names its classes where patches are compared with words, not with sentences.

The shipped prompts describe ("sharp costophrenic angles") and seldom name; comparing patches with the
class words takes one sentence per set with the words in it. Own wording.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ....core.answer_each import answer_each
from ....core.answers import Failure
from ....core.embed_each import Progress
from ....core.errors import ConfigError
from ....core.inputs import Fitted, fit
from ....core.prompts import PromptSet, normalize_label, prompt_set
from ..conceptclip.scoring import WORDS_TEMPLATE, Filled, PatchScorer, Weights, filled_prompts
from ..prompt_index import PROMPTS
from .evaluation_catalogue import EvaluationSet

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from ....core.handle import ModelHandle

_OF_MODALITY = {
    "X-ray": "a chest X-ray showing {}",
    "fundus": "a fundus photograph showing {}",
    "pathology": "an H&E stained section showing {}",
}
_OF_SET = {
    "CT_axial": "an axial CT slice showing the {}",
    "CT_coronal": "a coronal CT slice showing the {}",
    "CT_sagittal": "a sagittal CT slice showing the {}",
    "SICAPv2": "an H&E stained prostate biopsy showing {}",
    "thyroid_us": "a thyroid ultrasound showing {}",
    "breast_us": "a breast ultrasound showing {}",
    "acl_mri": "a knee MRI showing {}",
    "meniscal_mri": "a knee MRI showing {}",
}
_WORDS: Mapping[str, Mapping[str, str]] = {
    "rsna_pneumonia": {"Normal": "normal lungs"},
    "thyroid_us": {"benign": "a benign nodule", "malignant": "a malignant nodule"},
    "breast_us": {"benign": "a benign lesion", "malignant": "a malignant lesion"},
    "acl_mri": {"no": "an intact anterior cruciate ligament", "yes": "an anterior cruciate ligament tear"},
    "meniscal_mri": {"no": "a normal meniscus", "yes": "a meniscal tear"},
    "dr_regular": {
        "no_dr": "no diabetic retinopathy", "mild_dr": "mild diabetic retinopathy",
        "moderate_dr": "moderate diabetic retinopathy", "severe_dr": "severe diabetic retinopathy",
        "full_stage4_dr": "proliferative diabetic retinopathy",
    },
    "five_retina": {"normal": "a healthy retina"},
    "odir_retina": {"normal": "a healthy retina"},
}  # fmt: skip
"""{set: {class: words}} for classes whose own name says nothing inside a sentence."""


def words_template(one: EvaluationSet) -> str:
    """Return the sentence of a set that class words go into."""
    return _OF_SET.get(one.name, _OF_MODALITY.get(one.modality, WORDS_TEMPLATE))


def word_prompts(one: EvaluationSet, prompts: PromptSet) -> dict[str, list[Filled]]:
    """Return {class: prompts with the place of its words} of a set, in the set's order.

    Args:
        one: the set.
        prompts: its prompts. Their templates are used where they have some; ready sentences are left
            to the whole picture, and the set's own words and template take their place.

    Raises:
        ConfigError: prompts of other classes.
    """
    if prompts.prompts:
        parts = next((spec.parts for spec in PROMPTS if spec.name == one.name), {})
        if parts:
            # A joined set keeps sentences only; the sets it joins know which words of them name the class.
            return {
                f"{before}: {name}": filled
                for before, part in parts.items()
                for name, filled in filled_prompts(prompt_set(part)).items()
            }
        words = _WORDS.get(one.name, {})
        return {name: [Filled.of(words_template(one), words.get(name, name))] for name in one.classes}
    filled = {normalize_label(name): some for name, some in filled_prompts(prompts).items()}
    try:
        return {name: filled[normalize_label(name)] for name in one.classes}
    except KeyError as error:
        raise ConfigError(
            f"Prompt set {prompts.name!r} has no class {error.args[0]!r} of {one.name}."
        ) from None


def patch_scores(
    model: ModelHandle,
    files: Sequence[Path],
    scorer: PatchScorer,
    *,
    ids: Sequence[str],
    batch_size: int = 8,
    progress: Progress | None = None,
    **options: Any,
) -> tuple[NDArray[np.float64], list[int], list[Failure]]:
    """Return scores [M, K] of the files that could be used, their M positions, and the failures.

    Args:
        scorer: of the set's classes. ids: what failures are called.
        progress: told (done, all). options: of the domain's loader.
    """

    def prepare(file: Path, position: int) -> Fitted:
        return fit(model, file, position, options)

    def run(fitted: list[Fitted]) -> list[list[float]]:
        return scorer.scores(fitted).tolist()

    rows: list[list[float]] = []
    kept: list[int] = []
    failures: list[Failure] = []
    found = answer_each(files, prepare, run, batch_size=batch_size, name=lambda _, position: ids[position])
    for position, (_, answer) in enumerate(found):
        if isinstance(answer, Failure):
            failures.append(answer)
        else:
            kept.append(position)
            rows.append(answer)
        if progress is not None and ((position + 1) % batch_size == 0 or position + 1 == len(files)):
            progress(position + 1, len(files))
    return np.array(rows).reshape(len(rows), len(scorer.class_names)), kept, failures


def words_origin(filled: Mapping[str, Sequence[Filled]], weights: Weights) -> dict[str, str]:
    """Return what a report says about the comparison with patches."""
    content = [[name, [[one.text, one.start, one.end] for one in some]] for name, some in filled.items()]
    return {
        "local_weight": f"{weights.local_weight:g}",
        "topk": "all" if weights.topk is None else str(weights.topk),
        "word_prompts": hashlib.sha256(json.dumps(content).encode()).hexdigest(),
    }
