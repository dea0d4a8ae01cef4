"""Offsets of the published concept annotations, and the way back to the caption.

``start_char`` and ``end_char`` of the published files do not count characters of the caption. They
count characters of the caption as an uncased BERT tokenizer writes it back: words and punctuation
in lower case, joined by single blanks, with the blanks before ``. , ? !`` and around English
contractions taken out again. Reading them as characters of the caption gives other words for 232 of
the 280 concepts of the published sample; reading them this way spells all 280.
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

_REJOINED = (" .", " ?", " !", " ,", " ' ", " n't", " 'm", " 's", " 've", " 're")
"""Where the blanks are taken out again, in this order."""


@functools.cache
def _splitter() -> Any:
    """Return a tokenizer that splits as uncased BERT does, without splitting words into pieces."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer


class DecodedText:
    """A caption as the annotators' tokenizer wrote it back.

    Args:
        caption: as published.

    Attributes:
        text: what the offsets count.

    Example:
        >>> decoded = DecodedText("MRI (T1): edema.")
        >>> decoded.text
        'mri ( t1 ) : edema.'
        >>> decoded.to_caption(13, 18)
        (10, 15)
    """

    def __init__(self, caption: str) -> None:
        self.caption = caption
        characters: list[str] = []
        # For each character the part of the caption it stands for; blanks stand for nothing.
        places: list[tuple[int, int] | None] = []
        for start, end, word in _words(caption):
            if characters:
                characters.append(" ")
                places.append(None)
            same = len(word) == end - start
            for offset, character in enumerate(word):
                characters.append(character)
                places.append((start + offset, start + offset + 1) if same else (start, end))
        for pattern in _REJOINED:
            text = "".join(characters)
            blanks = {
                found.start() + offset
                for found in re.finditer(re.escape(pattern), text)
                for offset, character in enumerate(pattern)
                if character == " "
            }
            characters = [one for index, one in enumerate(characters) if index not in blanks]
            places = [one for index, one in enumerate(places) if index not in blanks]
        self.text = "".join(characters)
        self._places = places

    def to_caption(self, start: int, end: int) -> tuple[int, int] | None:
        """Return the characters of the caption that [start, end) of :attr:`text` stands for, or None."""
        inside = [place for place in self._places[start:end] if place is not None]
        return (inside[0][0], inside[-1][1]) if inside else None

    def find(self, words: str, near: int) -> tuple[int, int] | None:
        """Return the place of ``words`` in :attr:`text` that starts closest to ``near``, or None."""
        starts = [found.start() for found in re.finditer(rf"(?<!\w){re.escape(words)}(?!\w)", self.text)]
        if not starts:
            return None
        start = min(starts, key=lambda place: abs(place - near))
        return start, start + len(words)


def spelled(pieces: list[str]) -> str:
    """Return WordPiece tokens as the annotators' tokenizer writes them back."""
    text = " ".join(pieces).replace(" ##", "")
    for pattern in _REJOINED:
        text = text.replace(pattern, pattern.replace(" ", ""))
    return text


def _words(caption: str) -> Iterator[tuple[int, int, str]]:
    """Yield (start, end, normalized word) of every word and punctuation mark of the caption."""
    splitter = _splitter()
    for start, end in splitter.encode(caption).offsets:
        word = splitter.normalizer.normalize_str(caption[start:end]).strip()
        if word:
            yield start, end, word
