"""Sentences of English prose such as reports."""

from __future__ import annotations

import re

_NUMBER = re.compile(r"\d{1,2}\.")


def sentences(text: str, *, ends: str = ".!?", lines: bool = False) -> list[str]:
    """Return the sentences of a text, in order; together they hold all of its words.

    A sentence ends at one of ``ends`` before white space and a capital, a digit or an opening bracket.
    The number of an item of a list, as in "2. Clear lungs.", stays with its sentence.

    Args:
        text: prose.
        ends: characters a sentence may end with.
        lines: let every line end a sentence, too; not for text that is wrapped.

    Example:
        >>> sentences("No effusion. Heart size 1.2 times normal. 2. Clear lungs.")
        ['No effusion.', 'Heart size 1.2 times normal.', '2. Clear lungs.']
    """
    end = rf"(?<=[{re.escape(ends)}])\s+(?=[A-Z0-9\[(])"
    pieces = re.split(rf"{end}|\s*\n\s*" if lines else end, text)
    joined: list[str] = []
    for piece in filter(None, map(str.strip, pieces)):
        # "2." is the number of the next sentence, not a sentence.
        if joined and _NUMBER.fullmatch(joined[-1]):
            joined[-1] += f" {piece}"
        else:
            joined.append(piece)
    return joined
