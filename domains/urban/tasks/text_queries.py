"""From words to vectors that tiles are compared with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from ....core.errors import ConfigError, InputError
from ....core.heads.zero_shot import class_embeddings
from ....core.inputs import encode_texts
from ....core.prompts import PromptSet

if TYPE_CHECKING:
    from ....core.handle import ModelHandle
    from ..outputs.embedding_table import EmbeddingTable

PLAIN_TEMPLATES = ("{}", "a satellite image of {}.", "a satellite photo of {}.", "an aerial view of {}.")
"""How words are put to a model that has no prompts of its own."""


def satellite_prompts(
    model: ModelHandle, labels: Sequence[str] | None, templates: PromptSet | Sequence[str] | None = None
) -> PromptSet:
    """Return the prompt set that answers with ``labels``: the model's own, or plain sentences on imagery.

    Args:
        labels: None takes the classes of ``templates`` or of the model.
        templates: sentences with one ``{}``, or a prompt set.

    Raises:
        InputError: no labels, or an empty, over-long or repeated one.
    """
    if templates is None and model.prompts is None:
        templates = PLAIN_TEMPLATES
    return model.prompts_for(labels, templates)


def text_vectors(
    model: ModelHandle, texts: Sequence[str], templates: Sequence[str] | None = None
) -> list[Tensor]:
    """Return one unit vector float32 [D] per text: the mean direction of the sentences it is put into.

    Raises:
        InputError: an empty or over-long text, or a model without a text tower.
    """
    check_text(model)
    found = []
    for text in texts:
        # One at a time: two texts that mean the same class may be asked for together.
        prompts = satellite_prompts(model, [text], templates)
        found.append(class_embeddings(prompts, lambda some: encode_texts(model, some))[0])
    return found


def check_text(model: ModelHandle) -> None:
    """Raise ``InputError`` for a model without a text tower."""
    if "text" not in model.network.modalities:
        raise InputError(f"{model.id} reads no text, so words cannot be compared with its embeddings.")


def check_maker(model: ModelHandle, table: EmbeddingTable) -> None:
    """Raise unless a table's vectors can be compared with those of a model.

    A commit and a hash of the weights cannot be compared; then the preprocessing alone decides.

    Raises:
        ConfigError: the table was made with another model, other weights or other preprocessing.
    """
    revision, processor = (str(table.meta.get(key, "")) for key in ("revision", "processor"))
    comparable = ("sha256:" in revision) == ("sha256:" in model.revision)
    same = processor == model.processor.fingerprint and (not comparable or revision == model.revision)
    if not same or table.vectors.shape[1] != model.config.embed_dim:
        raise ConfigError(
            f"The embeddings were made with {table.meta.get('model_id') or 'an unnamed model'} at "
            f"{revision[:19] or 'no revision'}, and this is {model.id} at {model.revision[:19]}"
            + (" with other preprocessing" if revision == model.revision else "")
            + ". Give that model, or embed the scene again with this one."
        )
