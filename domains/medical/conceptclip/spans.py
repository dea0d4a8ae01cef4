"""Where words of a text stand among its tokens.

A token span is ``[start, end)`` counted without the start token, as concept annotations count; a
position is an index into ``input_ids``, the start token being 0.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ....core.errors import InputError

if TYPE_CHECKING:
    from ....core.processing import Processor

TokenSpan = tuple[int, int]


@dataclass(frozen=True)
class PhraseMatch:
    """A phrase found in a text.

    Attributes:
        phrase: as it was asked for.
        start, end: characters [start, end) of the text.
        tokens: token span [start, end), or None when its tokens are cut off by the context length.
    """

    phrase: str
    start: int
    end: int
    tokens: TokenSpan | None


class TokenLocator:
    """Finds the tokens of character spans of one text.

    Args:
        text: as the caller has it; the tokenizer sees it cleaned, and spans are carried over.
        processor: with a tokenizer file and a start and an end token (BERT).
    """

    def __init__(self, text: str, processor: Processor) -> None:
        self.text, self.processor = text, processor
        self.clean = processor.clean_text(text)
        offsets = processor.token_offsets(text)
        if len(offsets) < 2 or offsets[0] != (0, 0) or offsets[-1] != (0, 0):
            raise InputError(
                "Concept spans need a tokenizer that puts a start and an end token around a text (BERT)."
            )
        self._offsets = offsets[1:-1]

    def __len__(self) -> int:
        return len(self._offsets)

    def find(self, start: int, end: int, *, phrase: str | None = None) -> TokenSpan | None:
        """Return the token span of the characters [start, end), or None when they have no token.

        Args:
            start, end: of the text as given.
            phrase: the words that stand there; when the text has others (a rewritten caption), their
                nearest other place in the text is taken, None without one.
        """
        piece = self.text[start:end]
        if phrase is not None and piece.casefold() != phrase.casefold():
            piece = phrase
        elif self.clean == self.text:
            return self._tokens(start, end)
        cleaned = self.processor.clean_text(piece)
        if not cleaned:
            return None
        # Cleaning shortens what comes before by collapsing white space and mending escapes.
        expected = len(self.processor.clean_text(self.text[:start] + "x")) - 1
        pattern = re.compile(rf"(?<!\w){re.escape(cleaned)}(?!\w)", re.IGNORECASE)
        places = [found.start() for found in pattern.finditer(self.clean)]
        if self.clean[expected : expected + len(cleaned)] == cleaned:
            places = [expected]
        if not places:
            return None
        at = min(places, key=lambda place: abs(place - expected))
        return self._tokens(at, at + len(cleaned))

    def _tokens(self, start: int, end: int) -> TokenSpan | None:
        inside = [index for index, (first, last) in enumerate(self._offsets) if first < end and last > start]
        return (inside[0], inside[-1] + 1) if inside else None


def fits(span: TokenSpan, processor: Processor) -> bool:
    """Return whether a token span lies before the end token of a text of full context length."""
    text = processor.config.text
    return text is None or span[1] <= text.context_length - 2


@functools.lru_cache(maxsize=64)
def _matcher(phrases: tuple[str, ...]) -> tuple[re.Pattern[str], dict[str, str]]:
    known: dict[str, str] = {}
    for phrase in phrases:
        key = " ".join(phrase.split()).casefold()
        if not key:
            raise InputError("A phrase to look for is empty; remove it.")
        known.setdefault(key, phrase)
    longest_first = sorted(known, key=lambda key: (-len(key), key))
    choices = "|".join(r"\s+".join(map(re.escape, key.split(" "))) for key in longest_first)
    return re.compile(rf"(?<!\w)(?:{choices})(?!\w)", re.IGNORECASE), known


def match_phrases(text: str, phrases: Sequence[str], processor: Processor) -> list[PhraseMatch]:
    """Return where whole-word phrases stand in ``text``, from left to right, without overlap.

    Case and the amount of white space do not count; where phrases overlap the longer one is taken. A
    plain look-up: no inflection, no negation, no synonyms.

    Args:
        text: a caption or report.
        phrases: concept words; at least one.
        processor: whose tokenizer counts the tokens.

    Raises:
        InputError: no phrase, or an empty one.

    Example:
        >>> [match.tokens for match in match_phrases("Large pleural effusion.", ["effusion"], processor)]
        [(2, 3)]
    """
    if isinstance(phrases, str) or not len(phrases):
        raise InputError("Give the phrases to look for as a list of at least one string.")
    pattern, known = _matcher(tuple(phrases))
    locator = TokenLocator(text, processor)
    matches = []
    for found in pattern.finditer(text):
        tokens = locator.find(*found.span())
        if tokens is not None and not fits(tokens, processor):
            tokens = None
        # Upper and lower case may differ in length or kind ("ß"): then the words found stand for themselves.
        phrase = known.get(" ".join(found.group().split()).casefold(), found.group())
        matches.append(PhraseMatch(phrase, *found.span(), tokens))
    return matches


def word_positions(
    texts: Sequence[str], places: Sequence[tuple[int, int]], processor: Processor, *, length: int
) -> Tensor:
    """Return bool [P, L], True at the positions of the characters ``places[i]`` of ``texts[i]``.

    Raises:
        InputError: the words have no token of their own, or lie behind the context length.
    """
    marks = torch.zeros(len(texts), length, dtype=torch.bool)
    for row, (text, (start, end)) in enumerate(zip(texts, places, strict=True)):
        span = TokenLocator(text, processor).find(start, end)
        if span is None or not fits(span, processor) or span[1] + 1 >= length:
            raise InputError(
                f"The words {text[start:end]!r:.80} have no tokens of their own in {text!r:.80}. Use other "
                "words, or a template that is short enough for the model."
            )
        marks[row, span[0] + 1 : span[1] + 1] = True
    return marks


def phrase_positions(ids: Tensor, phrases: Sequence[str], processor: Processor) -> Tensor:
    """Return bool [P, L], True where the tokens of ``phrases[i]`` stand together in row i of ``ids``.

    Where a phrase occurs more than once its last place is taken: templates end in the concept.

    Args:
        ids: int64 [P, L] with start and end tokens.

    Raises:
        InputError: a phrase is not in its text; both are named by their place.
    """
    marks = torch.zeros(ids.shape, dtype=torch.bool, device=ids.device)
    for row, phrase in enumerate(phrases):
        wanted = processor("text", [phrase])["input_ids"][0, 1:-1].to(ids.device)
        size = len(wanted)
        windows = ids[row].unfold(0, size, 1) if 0 < size <= ids.shape[1] else ids.new_zeros(0, size)
        places = (windows == wanted).all(dim=1).nonzero()
        if not size or not len(places):
            raise InputError(
                f"Phrase {row}, {phrase!r}, is not in the text that was given for it. Give the text with the "
                "phrase in it, or the phrase itself."
            )
        at = int(places[-1])
        marks[row, at : at + size] = True
    return marks
