"""Which captions of a stored UniMed training text may be drawn, and drawing one.

The reference stores all captions of an image in one text, joined by a tag that names the data set;
our own shards store a list. Both come down to a list of candidates here.

Reference: ``src/training/data.py`` of mbzuai-oryx/UniMed-CLIP.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ....core.errors import DataError

Rule = Literal["first", "original", "noted", "report"]


@dataclass(frozen=True)
class _Tag:
    """How the texts of one data set are read: its rule, and how many pieces the rule looks at."""

    word: str
    rule: Rule
    pieces: int | None


_TAGS = (
    _Tag("_radimagenet_", "first", 10),
    _Tag("_chexpert_", "first", 10),
    _Tag("_openi_", "original", 4),
    _Tag("_chestxray8_", "first", 10),
    _Tag("_all_retina_merged_", "first", 10),
    _Tag("_dr_", "first", 15),
    _Tag("_medicat_", "noted", None),
    _Tag("_mimiccxr_", "report", 10),
)
"""In the order in which a text is searched for them; the first that occurs is the one."""

NO_REPORT = "noreportpresent"
NO_MENTION = "nothingpresent"
"""What the reference stores where an image has no report, or a figure is not mentioned in the text."""


def candidates(text: str, *, reference: bool = False) -> list[str]:
    """Return the captions of a stored training text that may be drawn, in stored order.

    Texts without a tag are captions themselves. Empty pieces, which a data set with fewer captions
    than its rule looks at leaves behind, are dropped.

    Args:
        text: with or without a data set's tag.
        reference: keep empty pieces, and read a report without captions as the reference does.

    Raises:
        DataError: nothing is left to draw.

    Example:
        >>> candidates("a scan._chexpert_a film._chexpert_")
        ['a scan.', 'a film.']
    """
    tag = next((tag for tag in _TAGS if tag.word in text), None)
    found = [text] if tag is None else _pieces(text.split(tag.word), tag, reference=reference)
    if not reference:
        found = [piece.strip() for piece in found if piece.strip()]
    if not found:
        raise DataError(f"A training text of {len(text)} characters has no caption in it. Leave it out.")
    return found


def _pieces(pieces: list[str], tag: _Tag, *, reference: bool) -> list[str]:
    if tag.rule == "original":
        # The reference has a switch for drawing among the rewrites as well; it is off.
        return pieces[:1]
    if tag.rule == "noted":
        return pieces[:1] if len(pieces) > 1 and pieces[1] == NO_MENTION else pieces
    if tag.rule == "report":
        if pieces[-1] != NO_REPORT:
            return pieces[-1:]
        return pieces[: tag.pieces] if reference else pieces[:-1][: tag.pieces]
    return pieces[: tag.pieces]


def tags_in(text: str) -> list[str]:
    """Return the tags that occur in a text; a caption that has one would be split there by mistake."""
    return [tag.word for tag in _TAGS if tag.word in text]


def draw(captions: Sequence[str], seed: int | str) -> str:
    """Return one of ``captions``, each as likely, the same one for the same seed."""
    return random.Random(seed).choice(list(captions))
