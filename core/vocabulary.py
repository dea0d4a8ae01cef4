"""Words that a model's texts were never trained with."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .handle import ModelHandle

_WORD = re.compile(r"[^\W\d_]{3,}")
_SPELLED = 0.6
"""Tokens per letter above which a word is spelled out rather than read; published tokenizers stay below."""


def unfamiliar_words(model: ModelHandle, texts: Iterable[str]) -> list[str]:
    """Return the words that the model's tokenizer has to spell letter by letter, each once.

    A small tokenizer holds the words of its training captions; what it spells out, the text tower has not
    learned, and a comparison with it says little. Large tokenizers hold parts of all words: nothing is
    returned for them, nor for a model whose tokenizer does not tell where its tokens stand.
    """
    if model.processor.tokenizer_json is None:
        return []
    found: dict[str, None] = {}
    for text in texts:
        clean = model.processor.clean_text(text)
        spans = sorted((start, end) for start, end in model.processor.token_offsets(text) if start < end)
        starts = [start for start, _ in spans]
        for word in _WORD.finditer(clean):
            inside = spans[bisect_left(starts, word.start()) : bisect_left(starts, word.end())]
            pieces = sum(end <= word.end() for _, end in inside)
            if pieces > _SPELLED * len(word.group()):
                found[word.group()] = None
    return list(found)
