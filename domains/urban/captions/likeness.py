"""How well captions fit their pictures, by any model with image and text towers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ....core.answers import Failure
from ....core.errors import ConfigError
from .filtering import Captions, Likeness

if TYPE_CHECKING:
    from torch import Tensor

    from ....core.handle import ModelHandle


def image_text_likeness(
    model: ModelHandle,
    folder: str | Path,
    *,
    batch_size: int = 32,
    progress: Callable[[int, int], None] | None = None,
) -> Likeness:
    """Return a function from captions to the cosine of each with its picture.

    Args:
        model: compares pictures with texts.
        folder: the names of the pictures start from it.
        batch_size: inputs per call of the network.
        progress: called with (pictures done, all).

    Returns:
        For :class:`.filtering.CaptionFilter`. The cosine is NaN where the picture cannot be read or the
        caption is longer than the model takes.

    Raises:
        ConfigError: the model has no tower for one of the two.
    """
    for modality in ("image", "text"):
        if modality not in model.config.towers and modality not in model.network.modalities:
            raise ConfigError(
                f"{model.id} has no {modality} tower; it cannot compare captions with pictures."
            )
    root = Path(folder)

    def measure(captions: Captions) -> Mapping[str, Sequence[float]]:
        different = list(dict.fromkeys(text for texts in captions.values() for text in texts))
        texts = model.embed_each(different, modality="text", batch_size=batch_size)
        of_text = dict(zip(different, map(_vector, texts), strict=True))
        files = [root / image for image in captions]
        pictures = model.embed_each(files, modality="image", batch_size=batch_size)
        found: dict[str, list[float]] = {}
        for (image, own), answer in zip(captions.items(), pictures, strict=True):
            vector = _vector(answer)
            found[image] = [_cosine(vector, of_text[text]) for text in own]
            if progress is not None and (len(found) % batch_size == 0 or len(found) == len(files)):
                progress(len(found), len(files))
        return found

    return measure


def _vector(answer: object) -> Tensor | None:
    return None if isinstance(answer, Failure) else answer.vectors[0]  # pyright: ignore[reportAttributeAccessIssue]


def _cosine(left: Tensor | None, right: Tensor | None) -> float:
    return math.nan if left is None or right is None else float(left @ right)
