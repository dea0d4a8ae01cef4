"""What classifies embeddings: the prompt set for some labels, or a fitted head; and its predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .answers import Prediction
from .errors import ConfigError, InputError
from .heads.pointer import load_pointed_head
from .prompts import PLAIN_TEMPLATES, SOUND_TEMPLATES, PromptSet

if TYPE_CHECKING:
    from torch import Tensor

    from .heads.base import Head
    from .limits import Limits

Origin = tuple[str, str, str]
"""Model, revision and processor fingerprint, as every answer names them."""


def choose_prompts(
    own: PromptSet | None,
    labels: Sequence[str] | None,
    templates: PromptSet | Sequence[str] | None,
    *,
    name: str,
    limits: Limits,
    modality: str = "image",
) -> PromptSet:
    """Return the prompt set that answers with ``labels``.

    Args:
        own: the model's, if it has one.
        labels: None takes the classes of ``templates`` or of the model.
        templates: sentences with one ``{}``, or a prompt set; None takes the model's.
        name: of the model, for messages.
        modality: what is classified; where no one says how labels are put, sounds are no photos.

    Raises:
        InputError: no labels, or an empty, over-long or repeated one.
    """
    base = templates if isinstance(templates, PromptSet) else own
    if templates is not None and not isinstance(templates, PromptSet):
        if isinstance(templates, str):
            raise InputError(
                f"templates must be a list of sentences, got the single string {templates[:80]!r}."
            )
        words = labels if labels is not None else base.class_names if base else ()
        return PromptSet.from_labels(words, templates=templates, limits=limits)
    if labels is None:
        if base is None:
            raise InputError(f"{name} has no classes of its own. Pass labels=[...].")
        return base
    if base is None:
        plain = SOUND_TEMPLATES if modality == "audio" else PLAIN_TEMPLATES
        return PromptSet.from_labels(labels, templates=plain, limits=limits)
    return base.matching(labels, plain=base.templates, limits=limits)


def check_head(head: Head | str | Path, origin: Origin, modality: str) -> Head:
    """Return a fitted classifier, read from its folder where a path is given.

    Raises:
        ConfigError: it belongs to another model, or classifies nothing of ``modality``.
    """
    if isinstance(head, (str, Path)):
        head, pointer = load_pointed_head(head)
        pointer.check(*origin)
    if head.modality != modality or not hasattr(head, "class_names"):
        raise ConfigError(
            f"The head is a {head.kind} for {head.modality!r}; classifying {modality!r} needs a "
            "classifier of its embeddings."
        )
    return head


def predictions(
    head: Any,
    vectors: Tensor,
    ids: Sequence[str | None],
    metas: Sequence[Mapping[str, Any]],
    origin: Origin,
) -> list[Prediction]:
    """Return one prediction per row of embeddings float32 [B, D]; ``head`` has scores and class names."""
    answers = []
    for row, identifier, meta in zip(head.scores(vectors).tolist(), ids, metas, strict=True):
        scores = dict(zip(head.class_names, row, strict=True))
        best = max(scores, key=scores.__getitem__)
        answers.append(Prediction(best, scores[best], scores, identifier, meta, *origin))
    return answers
