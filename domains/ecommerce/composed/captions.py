"""Words for a picture that came without any: the nearest of a few descriptions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from ....core.errors import InputError
from ....core.prompts import PromptSet
from .query import QueryEncoder, encode_words

TEMPLATE = "a photo of a {}"
"""Sentence around the name of a category."""
_BATCH = 64


@dataclass(frozen=True, eq=False)
class ReferenceCaptions:
    """Descriptions to choose from, and their vectors.

    Attributes:
        texts: N descriptions. vectors: float32 [N, D], unit length.
    """

    texts: tuple[str, ...]
    vectors: Tensor

    @classmethod
    def from_texts(cls, encoder: QueryEncoder, texts: Iterable[str]) -> ReferenceCaptions:
        """Return descriptions encoded once, in the order given; one that stands twice counts once.

        Raises:
            InputError: there is none.
        """
        unique = tuple(dict.fromkeys(" ".join(text.split()) for text in texts if text.strip()))
        if not unique:
            raise InputError("There is no description to choose from; give at least one.")
        batches = [
            encode_words(encoder, unique[start : start + _BATCH]) for start in range(0, len(unique), _BATCH)
        ]
        return cls(unique, torch.cat(batches))

    @classmethod
    def from_categories(
        cls, encoder: QueryEncoder, categories: Iterable[str], *, template: str = TEMPLATE
    ) -> ReferenceCaptions:
        """Return one description per category: of "women > dress" the leaf, in ``template``."""
        leaves = (path.rpartition(">")[2].strip().lower() for path in categories)
        return cls.from_texts(encoder, (template.replace("{}", leaf) for leaf in leaves if leaf))

    @classmethod
    def from_prompts(cls, encoder: QueryEncoder, prompts: PromptSet) -> ReferenceCaptions:
        """Return the first sentence of each class of a prompt set."""
        return cls.from_texts(encoder, (prompts.texts(name)[0] for name in prompts.class_names))

    def of(self, image: Tensor) -> str:
        """Return the description nearest to a picture's embedding [1, D]; equal ones go by their order."""
        scores = (image.float() @ self.vectors.T).reshape(-1)
        return self.texts[int(scores.argsort(descending=True, stable=True)[0])]
