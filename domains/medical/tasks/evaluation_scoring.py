"""How the images of a public set are scored: by the cosine of whole images, or as ConceptCLIP scores them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ....core.answers import Failure
from ....core.data.labelled import LabelledRow
from ....core.embed_each import embed_images
from ....core.prompts import PromptSet
from .evaluation_catalogue import EvaluationSet
from .evaluation_protocol import Ensemble, class_vectors, in_set_order

if TYPE_CHECKING:
    from ....core.handle import ModelHandle
    from ..conceptclip.scoring import Weights


def patch_scoring(local_weight: float = 0.5, topk: int | None = None) -> Weights:
    """Return the ``scoring`` of a ConceptCLIP.

    Args:
        local_weight: share of the patches in the score, from 0 to 1.
        topk: patches that count; None takes the published 128.

    Raises:
        ConfigError: a share outside [0, 1], or a number of patches below 1.
    """
    from ..conceptclip.scoring import Weights

    weights = Weights(local_weight, 128 if topk is None else topk)
    weights.check()
    return weights


@dataclass(frozen=True)
class SetProtocol:
    """How images are scored; see :func:`~.evaluation_sets.evaluate_set`."""

    scoring: Ensemble | Weights
    batch_size: int


@dataclass(frozen=True)
class Scored:
    """Scores float64 [M, K] of the images that could be used, their places, the others, and the origin."""

    scores: NDArray[np.float64]
    kept: Sequence[int]
    failures: Sequence[Failure]
    origin: Mapping[str, str]


def score_rows(
    model: ModelHandle,
    one: EvaluationSet,
    rows: Sequence[LabelledRow],
    prompts: PromptSet,
    protocol: SetProtocol,
    **options: Any,
) -> Scored:
    """Return the scores of the images of a set.

    Args:
        one: the set. rows: its images.
        prompts: of its classes. protocol: how they are scored.
        options: of the domain's loader; ``progress`` is told (done, all).

    Raises:
        ConfigError: prompts for other classes.
        InputError: weights of patches for another model than a ConceptCLIP.
    """
    files, ids = [Path(row["path"]) for row in rows], [row["id"] for row in rows]
    ordered = in_set_order(prompts, one)
    origin = {
        "model": model.id,
        "revision": model.revision,
        "processor": model.processor.fingerprint,
        "prompt_set": f"{prompts.name} {prompts.version}",
        "prompts": ordered.fingerprint,
        "ensemble": protocol.scoring if isinstance(protocol.scoring, str) else "unit",
    }
    options = {"ids": ids, "batch_size": protocol.batch_size, **options}
    if isinstance(protocol.scoring, str):
        classes = class_vectors(model, ordered, protocol.scoring)
        embedded = embed_images(model, files, **options)
        cosines = (embedded.vectors.double() @ classes.double().T).numpy()
        return Scored(cosines, embedded.kept, embedded.failures, origin)
    from ..conceptclip.scoring import PatchScorer
    from .evaluation_words import patch_scores, word_prompts, words_origin

    filled = word_prompts(one, prompts)
    scorer = PatchScorer.of(model, ordered, protocol.scoring, filled=filled)
    found = patch_scores(model, files, scorer, **options)
    return Scored(*found, {**origin, **words_origin(filled, protocol.scoring)})
