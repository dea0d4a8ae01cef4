"""What the caption loss reads of a batch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ....core.errors import ConfigError
from ....core.processing import Processor


def collate_captions(
    extras: list[dict[str, Any]], captions: list[str], processor: Processor, generator: torch.Generator
) -> dict[str, Tensor]:
    """Return ``{"caption_labels": int64 [B, L - 1]}``: the tokens of each caption from the second on.

    Position j is what the decoder shall say after token j. Padding keeps the id that the objective ignores;
    in CLIP's vocabulary that id is also the exclamation mark, which is never learned, as published.

    Args:
        extras: of the records; not read.
        captions: B drawn captions.
        processor: of the model.
        generator: not used.

    Raises:
        ConfigError: the processor takes no text.
    """
    if processor.config.text is None:
        raise ConfigError("Captions need a text tower and its processing. Add text to the recipe.")
    return {"caption_labels": processor("text", captions)["input_ids"][:, 1:]}
